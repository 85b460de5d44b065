"""Studies of very many cells, for `growth.py`.

    python tests/benchmarks/growth_cells.py write COUNT STUDY.toml RUN     a study, and a run folder of its records
    python tests/benchmarks/growth_cells.py plan COUNT STUDY.toml          only plan it, and nothing else

Records are copies of one that is measured here, with the settings of each cell and other, repeatable numbers.
"""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SEEDS, MOST_STEPS = 5, 10
GRIDS = ("trailing", "leading", "linspace", "quad", "power", "karras", "karras[rho=5]", "logsnr")
SAMPLERS = (
    *("ddim", "ddpm", "deis", "dpm++2m", "dpm++2s", "dpm++3m", "dpm-solver-2", "er-sde", "euler-maruyama", "heun"),
    *("ipndm", "langevin", "pf-euler", "predictor-corrector", "reverse-diffusion", "sa-solver", "dpm++2m-sde", "unipc"),
    *(f"ddim[eta=0.{n}]" for n in range(1, 8)),
)

STUDY = """\
name = "cells"
title = "How cost grows"
model = "digits"
images = {images}
batch = 50
seeds = {seeds}
timing = {{ repeats = {repeats}, seconds = 0 }}
baseline = {{ sampler = "{samplers[0]}", grid = "{grids[0]}", steps = {steps[0]} }}

[[block]]
samplers = {samplers}
grids = {grids}
steps = {steps}
"""


def study_of(count: int) -> str:
    """A study of so many cells: the product of samplers, grids, steps and five seeds.

    Raises:
        ValueError: it is not five times a number whose factors fit.
    """
    settings = count // SEEDS
    steps = min(MOST_STEPS, settings)
    curves = settings // steps
    grids = next(number for number in range(min(len(GRIDS), curves), 0, -1) if curves % number == 0)
    if SEEDS * steps * curves != count or curves // grids > len(SAMPLERS):
        most = SEEDS * MOST_STEPS * len(GRIDS) * len(SAMPLERS)
        raise ValueError(f"{count} cells: expected 5, 10, ... 50, or such multiples of 50 as 100, 1000, {most}")
    return STUDY.format(
        images=100,
        repeats=5,
        seeds=list(range(SEEDS)),
        samplers=list(SAMPLERS[: curves // grids]),
        grids=list(GRIDS[:grids]),
        steps=[5 * (n + 1) for n in range(steps)],
    )


def plan_cells(count: int, study: Path) -> None:
    """Read and plan a study, as every command that takes one does first."""
    from bench.study.file import load_study
    from bench.study.plan import plan

    found = len(plan(load_study(str(study))))
    if found != count:
        raise ValueError(f"{study} has {found} cells, not {count}")


def write_cells(count: int, study: Path, folder: Path) -> None:
    """Write a study and the records of all its cells."""
    from bench.record import RunFolder, cell_id
    from bench.sealed_json import DIGEST
    from bench.study.file import load_study
    from bench.study.plan import plan
    from models.common.files import json_sha256

    study.write_text(study_of(count))
    loaded, template = load_study(str(study)), _measured_record()
    records = [
        template
        | {"id": cell_id({"cell": str(cell)})}
        | {name: getattr(cell, name) for name in ("sampler", "grid", "steps", "seed")}
        | _numbers(cell.sampler, cell.grid, cell.steps, cell.seed, template)
        for cell in plan(loaded)
    ]
    run = RunFolder(folder)
    run.create()
    run.write_manifest(loaded.model_dump(mode="json"), [record["id"] for record in records])
    for record in records:
        # as RunFolder.write has it, but not flushed to the disk one by one
        (run.cells / f"{record['id']}.json").write_text(
            json.dumps(record | {DIGEST: json_sha256(record, DIGEST)}) + "\n"
        )


def _numbers(sampler: str, grid: str, steps: int, seed: int, template: dict[str, Any]) -> dict[str, Any]:
    """What differs between cells: quality that improves with steps, times that grow with them; of one seed only."""
    draw = random.Random(f"{sampler} {grid} {steps} {seed}")
    distance = (0.3 + 20.0 / steps**1.5) * draw.uniform(0.9, 1.1)
    times = [0.005 * steps * draw.uniform(0.99, 1.02) for _ in range(5)]
    of_times = ("latency_s", "network_s", "timing_", "sweep_")
    timed: dict[str, Any] = {name: None for name in template if name.startswith(of_times) or "latency_s" in name}
    if seed == 0:
        timed = {"latency_s": times, "network_s": [0.97 * each for each in times], "latency_s_median": sorted(times)[2]}
    return {"fd_digits": distance, "kid_mean": distance / 50, "nfe": float(steps), "nfe_declared": steps} | timed


def _measured_record() -> dict[str, Any]:
    """The record of a small cell, measured here and now."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = folder / "study.toml"
        study.write_text(study_of(SEEDS))
        command = [sys.executable, "run_bench.py", "run", str(study), "--seed", "0", "--out", str(folder / "run")]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        record: dict[str, Any] = json.loads(next((folder / "run" / "cells").glob("*.json")).read_text())
        return record


def main() -> None:
    """Do what the command line says."""
    sys.path.insert(0, str(ROOT))  # as `run_bench.py` has it, wherever this is called from
    match sys.argv[1:]:
        case ["write", count, study, folder]:
            write_cells(int(count), Path(study), Path(folder))
        case ["plan", count, study]:
            plan_cells(int(count), Path(study))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
