"""How time and memory of a whole run grow with images, steps, batch and number of cells.

    python tests/benchmarks/growth.py --out FOLDER [--only images,steps,batch,cells] [--images 1000,2000,...] ...

Every point is the command that a user gives, `run_bench.py run STUDY.toml --out RUN` on the embedded digits, in a
process of its own: its seconds from start to exit, and the most memory that it held. What grows with the number of
cells is what is done for all of them at once: planning a study, and reporting its records (copies of a measured one
with changed settings). Written are growth.csv, growth.md, growth.png and growth.pdf.

A process begins with its parent's high-water mark of memory, so that this one imports neither torch nor matplotlib
before the last point is measured.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

ROOT = Path(__file__).parents[2]
MIB = 2**20 if sys.platform == "darwin" else 2**10
"""Units of ru_maxrss in a MiB."""

AXES = ("images", "steps", "batch", "cells")
IMAGES, STEPS, BATCH = 2_000, 10, 250
"""Of the points of the other axes."""
DEFAULTS = {
    "images": [1_000, 2_000, 5_000, 10_000, 20_000, 50_000],
    "steps": [5, 10, 20, 50, 100],
    "batch": [1, 4, 16, 64, 256, 1_024],
    "cells": [10, 100, 1_000, 10_000],
}
METRICS = ("fd", "kid")

STUDY = """\
name = "growth"
title = "How cost grows"
model = "digits"
images = {images}
batch = {batch}
metrics = [{metrics}]
timing = {{ repeats = 0 }}
baseline = {{ sampler = "ddim", grid = "trailing", steps = {steps} }}

[[block]]
samplers = ["ddim"]
grids = ["trailing"]
steps = [{steps}]
"""


@dataclass(frozen=True)
class Point:
    """What one process took.

    Attributes:
        what: "run", "plan" or "report".
        axis: what was varied.
        value: to what.
        seconds: from its start to its exit.
        processor_s: of all its threads.
        peak_mib: the most memory that it held.
    """

    what: str
    axis: str
    value: int
    seconds: float
    processor_s: float
    peak_mib: float


def measured(what: str, axis: str, value: int, command: Sequence[str]) -> Point:
    """Run a command to its end; RuntimeError with what it said if it fails."""
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said.read()}")
    point = Point(what, axis, value, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / MIB)
    text = (
        f"{what}, {value:,} {axis}: {seconds:.2f} s, {point.processor_s:.2f} s of processors, {point.peak_mib:,.0f} MiB"
    )
    print(text, file=sys.stderr, flush=True)
    return point


def run_points(axis: str, values: Sequence[int], metrics: Sequence[str], folder: Path) -> Iterator[Point]:
    """Runs of one cell."""
    for value in values:
        given = {"images": IMAGES, "steps": STEPS, "batch": BATCH} | {axis: value}
        given["images"] = max(given["images"], given["batch"])
        study = folder / f"{axis}-{value}.toml"
        study.write_text(STUDY.format(**given, metrics=", ".join(f'"{name}"' for name in metrics)))
        out = folder / f"{axis}-{value}"
        yield measured("run", axis, value, [*_bench("run"), str(study), "--out", str(out)])


def cell_points(values: Sequence[int], folder: Path) -> Iterator[Point]:
    """Planning and reporting of studies of so many cells, none of which is run."""
    cells = [sys.executable, str(Path(__file__).with_name("growth_cells.py"))]
    for value in values:
        study, run = folder / f"cells-{value}.toml", folder / f"cells-{value}"
        subprocess.run([*cells, "write", str(value), str(study), str(run)], cwd=ROOT, check=True)
        yield measured("plan", "cells", value, [*cells, "plan", str(value), str(study)])
        yield measured(
            "report", "cells", value, [*_bench("report"), str(run), "--out", str(folder / f"report-{value}")]
        )


def _bench(command: str) -> list[str]:
    return [sys.executable, str(ROOT / "run_bench.py"), command]


def read(path: Path) -> list[Point]:
    """The points of a file that `write` made."""
    with path.open(newline="") as file:
        return [_point(**row) for row in csv.DictReader(file)]


def _point(what: str, axis: str, value: str, seconds: str, processor_s: str, peak_mib: str) -> Point:
    return Point(what, axis, int(value), float(seconds), float(processor_s), float(peak_mib))


def write(points: Sequence[Point], path: Path) -> None:
    """All points as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Point)])
        writer.writeheader()
        writer.writerows(asdict(point) for point in points)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description="how time and memory of a run grow")
    parser.add_argument("--out", type=Path, required=True, help="folder for growth.csv, .md, .png and .pdf")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=list(AXES), help="axes, such as steps,cells"
    )
    parser.add_argument("--metrics", type=lambda text: text.split(","), default=list(METRICS))
    parser.add_argument("--draw", action="store_true", help="table and figure of the growth.csv that is there")
    for axis, values in DEFAULTS.items():
        parser.add_argument(f"--{axis}", type=_numbers, default=values, help=f"default: {','.join(map(str, values))}")
    given = parser.parse_args(arguments)
    if wrong := [name for name in given.only if name not in AXES]:
        parser.error(f"--only: no such axis: {', '.join(wrong)}; there are {', '.join(AXES)}")
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "growth.csv"
    if not given.draw:
        points = list[Point]()
        with tempfile.TemporaryDirectory() as folder:
            for axis in given.only:
                values = getattr(given, axis)
                points += (
                    cell_points(values, Path(folder))
                    if axis == "cells"
                    else run_points(axis, values, given.metrics, Path(folder))
                )
                write(points, file)
    from growth_figure import draw, table  # only now: it imports matplotlib

    points = read(file)
    (given.out / "growth.md").write_text(table(points) + "\n")
    draw(points, given.out)
    print(table(points))


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
