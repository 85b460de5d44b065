"""What 10,000 cells cost before the first of them runs, and when all have: planning, identities, and reading records.

    OMP_NUM_THREADS=1 pytest tests/benchmarks/test_planning.py --benchmark-only

Deselected otherwise, as all benchmarks are. The memory that planning takes is tested in `tests/cli/test_imports.py`, in
a process that does nothing else.
"""

import json
from typing import Any

import pytest

from bench.record import SCHEMA, Record, RunFolder, cell_id
from bench.running.code_hash import code_sha256, sampler_sha256
from bench.sealed_json import DIGEST
from bench.study.placement import place
from bench.study.plan import plan
from bench.study.study import Study
from models.common.files import json_sha256
from models.loading.sources import describe_model
from samplers import SAMPLERS

Benchmark = Any  # pytest-benchmark has no types

CELLS = 10_000
GRIDS = ["leading", "trailing", "linspace", "power", "quad", "karras", "karras[rho=5]", "logsnr"]
COUNTS = [18, 20, 25, 30, 35, 40, 45, 50, 60, 100]
_TIMES = [0.01 * n for n in range(1, 31)]


def many(kind: str) -> Study:
    """About 10,000 cells: all samplers on 8 grids at 10 numbers of steps, or 10 budgets of evaluations, and 5 seeds."""
    samplers = [
        name for name in SAMPLERS.names() if name not in ("dpm-adaptive", "rk45")
    ]  # which cannot say its evaluations
    block: dict[str, Any] = {"samplers": samplers, "grids": GRIDS, kind: COUNTS, "seeds": list(range(5))}
    content = {"name": "many", "title": "Many cells", "model": "digits", "images": 1000, "batch": 100, "block": [block]}
    return Study.model_validate(content | {"baseline": {"sampler": "ddim", "grid": "trailing", "steps": 10}})


def full_record(n: int) -> Record:
    """With as many columns as those of a study of all metrics, and as many raw times as a fast setting has."""
    numbers = {f"metric_{each}": 1.0 / (n + each + 1) for each in range(40)}
    words: Record = {f"version_{each}": f"{each}.{n % 7}" for each in range(20)} | {"status": "ok", "note": None}
    words |= {"subject_sha256": "a" * 64, "family": "ODE, one step", "mode": "fp32"}
    hashes = {f"sha256_{each}": f"{n % 25:064x}" for each in range(6)}
    times: Record = {"latency_s": _TIMES, "network_s": _TIMES, "sweep_latency_s": [_TIMES[:5]] * 5}
    cell: Record = {
        "sampler": "ddim",
        "grid": "trailing",
        "steps": n + 1,
        "seed": n % 5,
        "model": "digits",
        "nfe": 10.0,
    }
    cell |= {"model_sha256": "a", "images": 1000, "batch": 100, "dtype": "fp32", "device_name": "a processor"}
    times["sweep_batches"] = [1, 4, 16, 64, 256]
    return {"schema": SCHEMA, "id": f"{n:016x}", **cell, **words, **hashes, **numbers, **times}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run folder of 10,000 records."""
    made = RunFolder(tmp_path_factory.mktemp("many"))
    made.create()
    for n in range(CELLS):  # not by its own method, which waits for the disk each time
        record = full_record(n)
        sealed = record | {DIGEST: json_sha256(record, DIGEST)}
        (made.cells / f"{n:016x}.json").write_text(json.dumps(sealed, indent=1))
    made.write_manifest(many("steps").model_dump(mode="json"), [f"{n:016x}" for n in range(CELLS)])
    return made


@pytest.mark.parametrize("kind", ["steps", "evaluations"])
def test_planning(benchmark: Benchmark, kind: str) -> None:
    cells = benchmark.pedantic(plan, (many(kind),), rounds=3)
    assert len(cells) > 0.9 * CELLS


def test_placing_and_naming(benchmark: Benchmark) -> None:
    """Every cell's levels and the hash that names its record."""
    study = many("steps")
    card, cells = describe_model(study.model), plan(study)

    def names() -> set[str]:
        code, found = code_sha256(), set[str]()
        for cell in cells:
            sampler, levels = place(cell, card, card)
            identity = {"cell": str(cell), "intervals": len(levels) - 1, "code_sha256": code}
            found.add(cell_id(identity | {"sampler_sha256": sampler_sha256(type(sampler))}))
        return found

    assert len(benchmark.pedantic(names, rounds=3)) == len(cells)


def test_reading_what_is_there(benchmark: Benchmark, folder: RunFolder) -> None:
    """As a run does that goes on."""
    read = benchmark.pedantic(lambda: [folder.read(f"{n:016x}") for n in range(CELLS)], rounds=3)
    assert None not in read


def test_loading_records_into_a_table(benchmark: Benchmark, folder: RunFolder) -> None:
    """As a report does."""
    assert len(benchmark.pedantic(folder.load, rounds=3)) == CELLS
