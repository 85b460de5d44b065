"""Pages of runs, to be looked at in a browser."""

from pathlib import Path

import numpy as np
from report_records import BASELINE, FAMILIES, GRID, record, write_preview, write_run

from bench.report import write_report

SAMPLERS = ("ddim", "heun", "dpm++2m", "euler-maruyama")
HOSTILE = '<img src=x onerror="window.fooled=1">&lt;b&gt;'


def paged(run: Path) -> Path:
    """The page of a run."""
    write_report([run], ["html"])
    return run / "index.html"


def page_of_several(folder: Path) -> Path:
    """Of samplers of several families, on two grids, with first images."""
    cells = [record(*BASELINE, family="SDE", preview_count=4)]
    for n, name in enumerate(SAMPLERS):
        cells += [record(name, GRID, steps, family=FAMILIES[n % 3], preview_count=4) for steps in (5, 10, 20)]
    cells += [record("ddim", "quad", steps, family=FAMILIES[0], preview_count=4) for steps in (5, 10, 20)]
    run = write_run(folder, cells)
    random = np.random.default_rng(0)
    for each in cells:
        write_preview(run, each, [random.integers(0, 255, (8, 8), dtype=np.uint8) for _ in range(4)])
    return paged(run)
