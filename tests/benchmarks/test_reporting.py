"""What the report of 10,000 cells costs: 500 settings in four modes, five seeds of each.

    OMP_NUM_THREADS=1 pytest tests/benchmarks/test_reporting.py --benchmark-only

Deselected otherwise, as all benchmarks are.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_records import FAMILIES, record, untimed, write_run

from bench.record import Record
from bench.report import Summary, summarise, terminal_table, write_report
from bench.report.figures.plots import FIGURES, render, worth_drawing
from bench.report.page import page
from bench.report.tables.markup import markdown
from bench.report.tables.tex import latex

Benchmark = Any  # pytest-benchmark has no types

CELLS = 10_000
SAMPLERS, GRIDS, SEEDS = 25, 2, 5
STEPS = (5, 8, 10, 15, 20, 30, 40, 50, 75, 100)
MODES = {"fp32": 1.0, "fp16": 1.3, "bf16+compile": 1.6, "fp32+graph": 1.1}
MOST_MIB = 500

_WHOLE = """
import sys
from pathlib import Path
from bench.report import write_report
write_report([Path(sys.argv[1])], out=Path(sys.argv[2]))
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
"""


def cells() -> Iterator[Record]:
    """Records of a study of all modes, of which the first seed's have times."""
    random = np.random.default_rng(0)
    for n in range(SAMPLERS * GRIDS * len(STEPS)):
        (sampler, grid), steps = divmod(n // len(STEPS), GRIDS), STEPS[n % len(STEPS)]
        for mode, speed in MODES.items():
            for seed in range(SEEDS):
                distance = (1.1 + 90 / steps**1.8) * 1.05**sampler * 1.02**grid * (1 + 0.03 * random.normal())
                times = (0.01 * steps / speed * random.uniform(0.98, 1.05, 8)).tolist()
                identity: Record = {"family": FAMILIES[sampler % 5], "mode": mode, "fd_digits": distance}
                identity |= {"latency_s": times, "network_s": times, "timing_valid": random.random() > 0.01}
                cell = record(f"sampler{sampler}", f"grid{grid}", steps, seed, **identity)
                yield cell if seed == 0 else untimed(cell)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run folder of 10,000 records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.record.os.fsync", lambda file: None)  # waits for no disk
        made = list(cells())
        assert len(made) == CELLS
        baseline = {name: made[0][name] for name in ("sampler", "grid", "steps")}
        yield write_run(tmp_path_factory.mktemp("many"), made, modes=list(MODES), baseline=baseline)


@pytest.fixture(scope="module")
def summary(run: Path) -> Summary:
    return summarise([run])


def test_reading_and_summarising(benchmark: Benchmark, run: Path) -> None:
    found = benchmark.pedantic(summarise, ([run],), rounds=3)
    assert len(found.table) == CELLS / SEEDS
    assert len(found.sections[0].modes) == CELLS / SEEDS * (1 - 1 / len(MODES))


@pytest.mark.parametrize("text", [markdown, latex, terminal_table, lambda summary: page(summary, {}, {})])
def test_tables(benchmark: Benchmark, summary: Summary, text: Any) -> None:
    assert benchmark.pedantic(text, (summary,), rounds=3)


@pytest.mark.parametrize("name", list(FIGURES))
def test_figures(benchmark: Benchmark, summary: Summary, name: str) -> None:
    if name not in worth_drawing(summary):
        pytest.skip("nothing to draw")
    assert benchmark.pedantic(lambda: render(FIGURES[name](summary), "png"), rounds=1)


def test_files_of_columns(benchmark: Benchmark, run: Path, tmp_path: Path) -> None:
    assert benchmark.pedantic(write_report, ([run], ["csv", "parquet"], tmp_path), rounds=1)


def test_the_whole_report_takes_less_than_500_mib(benchmark: Benchmark, run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WHOLE, str(run), str(tmp_path)]
    done = benchmark.pedantic(
        subprocess.run, (command,), {"capture_output": True, "text": True, "check": True}, rounds=1
    )
    assert float(done.stdout) < MOST_MIB
