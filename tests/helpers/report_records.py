"""Records, studies and run folders for the tests of the report, and what to look for in its outputs."""

import hashlib
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from rich.console import Console

from bench.record import MANIFEST, SCHEMA, Record, RunFolder
from bench.report import Summary, View, summarise, terminal_table
from bench.report.data.section import Section
from bench.report.data.text import Column
from bench.report.tables.table import columns

BASELINE = ("ddpm", "trailing", 200)
GRID = "trailing"
SUBJECT = "a1" * 32
SAMPLERS = ("ddpm", "ddim", "langevin", "euler-maruyama", "heun", "dpm++2m")
# (distance at infinitely many steps, at one step, order, network calls a step, overhead of a step in ms a batch)
_CURVES: Mapping[str, tuple[float, float, float, int, float]] = {
    "ddpm": (1.15, 900.0, 1.3, 1, 0.5),
    "ddim": (1.12, 60.0, 1.1, 1, 0.3),
    "langevin": (1.4, 700.0, 1.0, 2, 1.4),
    "euler-maruyama": (1.2, 1500.0, 1.4, 1, 0.4),
    "heun": (1.1, 500.0, 2.1, 2, 0.6),
    "dpm++2m": (1.1, 70.0, 1.9, 1, 0.8),
}


def record(sampler: str = "ddim", grid: str = GRID, steps: int = 10, seed: int = 0, **changes: Any) -> Record:
    """A record like those of the runner: 1,000 images, batch 250, four timed calls, repeatable numbers."""
    limit, scale, order, calls, extra = _CURVES.get(sampler, _CURVES["ddim"])
    random = np.random.default_rng(zlib.crc32(f"{sampler} {grid} {steps} {seed}".encode()))
    nfe = calls * steps - (sampler == "heun")
    network = [nfe * 0.011 * factor for factor in random.uniform(0.98, 1.05, 4)]
    latency = [inside + steps * extra / 1000.0 for inside in network]
    fd = (limit + scale * steps**-order) * random.normal(1.0, 0.015)
    values: Record = {
        "schema": SCHEMA, "status": "ok", "error": None, "note": None,
        "model": "digits", "model_sha256": SUBJECT, "images": 1000, "batch": 250, "repeats": 4, "mode": "fp32",
        "dtype": "fp32", "channels_last": False, "compile": False, "graph": False,
        "metrics": ["fd", "kid"], "device_name": "Example CPU @ 2.00GHz, 2 threads", "version_torch": "2.11.0",
        "extractor": "digits", "extractor_sha256": "b2" * 32, "reference": "digits", "reference_sha256": "c3" * 32,
        "reference_count": 1797, "reference_features": 1797, "quantiser": "round",
        "sampler": sampler, "sampler_parameters": {},
        "sampler_sha256": hashlib.sha256(sampler.encode()).hexdigest(), "grid": grid, "grid_parameters": {},
        "steps": steps, "seed": seed, "family": "other", "stochastic": sampler in ("ddpm", "langevin"), "device": "cpu",
        "intervals": steps, "nfe_declared": nfe, "nfe": float(nfe),
        "latency_s": latency, "network_s": network, "first_call_s": 1.5 * latency[0], "peak_mem_mib": None,
        "fd_digits": fd, "kid_mean": (fd - 1.0) / 900.0, "kid_std": 0.0002, "kid_subset_size": 1000,
        "inception_score": 9.4 - 0.8 * np.log10(fd), "inception_score_std": 0.08,
        "precision": 0.99 / (1 + fd / 80), "recall": 0.95 / (1 + fd / 60), "preview_count": 10,
        "python": "3.11.9", "platform": "Linux", "git_commit": "0" * 40, "git_dirty": False, "command": "run_bench.py",
    }  # fmt: skip
    values |= {"subject_sha256": changes.get("model_sha256", SUBJECT)} | in_mode(changes.get("mode", "fp32")) | changes
    values.setdefault("timed_batch", None if values["batch"] == "auto" else min(values["batch"], values["images"]))
    names = ("sampler", "grid", "steps", "seed", "mode", "model_sha256", "images", "device_name")
    identity = "".join(f"{key}={values[key]}" for key in names)
    return {"id": hashlib.sha256(identity.encode()).hexdigest()[:16]} | values


def in_mode(mode: str) -> Record:
    """The columns of a mode."""
    dtype, *flags = mode.split("+")
    return {"mode": mode, "dtype": dtype} | {name: name in flags for name in ("channels_last", "compile", "graph")}


def untimed(each: Record) -> Record:
    """A record as it is before it is timed, and as those of all seeds but the first stay."""
    return each | {"latency_s": None, "network_s": None, "timed_batch": None}


def failed(sampler: str = "heun", grid: str = GRID, steps: int = 5, seed: int = 0, **changes: Any) -> Record:
    """The record of a cell that failed."""
    measured = ("nfe", "latency_s", "network_s", "fd_digits", "kid_mean", "kid_std", "inception_score", "precision")
    nothing = dict.fromkeys((*measured, "recall", "inception_score_std", "preview_count", "first_call_s"))
    error = {"status": "failed", "error": "BadSamples: 3 of 250 images of a batch hold NaN or Inf"}
    return record(sampler, grid, steps, seed, **(nothing | error | changes))


def study(name: str = "quick", **changes: Any) -> dict[str, Any]:
    """A resolved study."""
    sampler, grid, steps = BASELINE
    block = {"samplers": list(SAMPLERS), "grids": [GRID], "steps": [5, 10, 20, 50], "seeds": None}
    values: dict[str, Any] = {
        "name": name, "title": "Quick study", "model": "digits", "images": 1000, "batch": 250, "timing": {"repeats": 4},
        "seeds": [0], "device": "auto", "modes": ["fp32"], "metrics": ["fd", "kid"], "tolerance": 0.1,
        "baseline": {"sampler": sampler, "grid": grid, "steps": steps}, "block": [block],
    }  # fmt: skip
    return values | changes


def write_run(
    folder: Path, records: Sequence[Record], published: Sequence[dict[str, Any]] = (), **changes: Any
) -> Path:
    """A run folder with these records, through the code that writes real ones."""
    run = RunFolder(folder)
    run.create()
    run.write_manifest(study(folder.name, **changes), [each["id"] for each in records], published)
    for each in records:
        run.write(each)
    return folder


def without_digests(run: Path) -> Path:
    """The run folder as a version before digests wrote it."""
    for path in (run / MANIFEST, *(run / "cells").glob("*.json")):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in content.items() if not key.startswith("sha256_of")}))
    return run


def write_preview(folder: Path, each: Record, tiles: Sequence[np.ndarray[Any, np.dtype[np.uint8]]]) -> None:
    """The first images of a cell, side by side."""
    Image.fromarray(np.concatenate(tiles, axis=1)).save(RunFolder(folder).preview(each["id"]))


QUICK = [record(*BASELINE), failed(), *(record(name, steps=n) for name in SAMPLERS for n in (10, 20))]
SMALL_N = "Small N: 1,000 images a row; FD is biased upwards, compare rows of this"


def summary_of(folder: Path, cells: Sequence[Record], **changes: Any) -> Summary:
    """What is said of a run of these cells."""
    return summarise([write_run(folder / "run", cells, **changes)])


def section_of(folder: Path, cells: Sequence[Record], **changes: Any) -> Section:
    """Its only section."""
    (section,) = summary_of(folder, cells, **changes).sections
    return section


def column(section: Section, heading: str) -> Column:
    """The column of its table whose heading begins like this."""
    return next(each for each in columns(section) if each.heading.startswith(heading))


def terminal(runs: Sequence[Path], width: int = 200, view: View = View()) -> str:  # noqa: B008  (frozen)
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(terminal_table(summarise(runs, view)))
    return captured.get()


def rows_in(shown: str) -> str:
    """Of what the terminal shows of one section, the table of rows, which follows that of samplers."""
    return shown[shown.rindex("Sampler") :]


def texts(figure: Figure) -> str:
    """What stands in a figure; a dollar is escaped there."""
    return " ".join(text.get_text().replace(r"\$", "$") for text in figure.findobj(Text) if isinstance(text, Text))


def plain_text(figure: Figure) -> str:
    return " ".join(texts(figure).split())


def row_of(run: Path, sampler: str, steps: int) -> dict[Any, Any]:
    table = summarise([run]).table
    found = table[(table["sampler"] == sampler) & (table["steps"] == steps)]
    assert len(found) == 1
    return found.iloc[0].to_dict()


def timed(sampler: str, steps: int, fd: float, seconds: float, seed: int = 0) -> Record:
    return record(sampler, steps=steps, seed=seed, fd_digits=fd, latency_s=[seconds], network_s=[seconds / 2])


PROTOCOLS: list[dict[str, Any]] = [
    {"images": 2000},
    {"model_sha256": "d4" * 32},
    {"reference_sha256": "d4" * 32},
    {"extractor_sha256": "d4" * 32},
    {"quantiser": "floor"},
    {"labels": "uniform"},
    {"extractor_batch": 64},
    {"extractor_layer": "2048"},
]


FAMILIES = ("ODE, one step", "ODE, multistep", "SDE", "Langevin", "generator")


def many(samplers: int = 40) -> list[Record]:
    """Cells of a baseline at 1,000 steps and of samplers in five families, each worse than the one before."""
    cells = [record(*BASELINE[:2], steps=1000, family="SDE", fd_digits=1.2)]
    for n in range(samplers):
        distances = ((steps, (1.1 + 90 / steps**1.8) * 1.08**n) for steps in (5, 10, 20, 50, 100))
        cells += [record(f"sampler{n}", steps=steps, family=FAMILIES[n % 5], fd_digits=fd) for steps, fd in distances]
    return cells


def own_truth(sampler: str, steps: int, law_fd: float | None, solver_rmse: float | None, **changes: Any) -> Record:
    """A record on an exact model: no extractor, no reference, distances to the model's own truth."""
    names = ("fd_digits", "kid_mean", "kid_std", "kid_subset_size", "inception_score", "inception_score_std")
    nothing: Record = dict.fromkeys((*names, "precision", "recall", "extractor", "extractor_sha256", "reference"))
    nothing |= dict.fromkeys(("reference_sha256", "reference_count"))
    values: Record = {"law_fd": law_fd, "law_fd_floor": 0.02, "law_nearest_rmse": law_fd and law_fd / 10}
    values |= {"solver_rmse": solver_rmse, "solver_rmse_reference": 1e-6, "solver_images": 256}
    return record(sampler, steps=steps, **(nothing | values | {"model": "oracle"} | changes))


def write_zoo(folder: Path, cells: Sequence[Record]) -> Path:
    """A run folder with the baseline of `many`."""
    return write_run(folder, cells, baseline={"sampler": "ddpm", "grid": GRID, "steps": 1000})


STEPS = {"steps": [5, 10, 20], "evaluations": None}
BUDGETS = {"steps": None, "evaluations": [5, 10, 20]}
"""What a block asks for."""


def block(**asked: Any) -> list[dict[str, Any]]:
    return [{"samplers": ["ddim"], "grids": ["trailing"], "seeds": None, **asked}]


def cell(sampler: str, nfe: float, fd: float, steps: int | None = None, **changes: Any) -> Record:
    """A record of so many evaluations, in as many steps if nothing else is said."""
    declared = changes.pop("nfe_declared", int(nfe) if nfe == int(nfe) else None)
    given = {"nfe": float(nfe), "nfe_declared": declared, "fd_digits": fd}
    return record(sampler, steps=steps or int(nfe), **given | changes)


BASE = cell("ddpm", 200, 2.0, family="SDE")
"""The baseline."""


def guided(guidance: str, sampler: str = "ddim", steps: int = 10, evaluations: float = 2, **changes: Any) -> Record:
    """A record with guidance, of so many network evaluations a call; the weaker network of `auto` costs a quarter."""
    plain = record(sampler, steps=steps, **changes)
    inside = [each.split("=") for each in guidance.partition("[")[2].removesuffix("]").split(",") if each]
    given = {name: value if name == "model" else float(value) for name, value in inside}
    weaker = given.get("model")
    nfe = evaluations * plain["nfe"]
    return plain | {
        "id": hashlib.sha256(f"{plain['id']} {guidance}".encode()).hexdigest()[:16],
        "guidance": guidance, "guidance_parameters": {"low": 0.0, "high": "inf"} | given, "guidance_model": weaker,
        "guidance_model_sha256": weaker and hashlib.sha256(str(weaker).encode()).hexdigest(), "guidance_batches": 1,
        "calls": plain["nfe"], "calls_declared": plain["nfe_declared"], "nfe": nfe, "nfe_declared": round(nfe),
        "network_s": [evaluations * each for each in plain["network_s"] or ()], "gflop_per_evaluation": 0.4,
        "guidance_gflop_per_evaluation": 0.1 if weaker else None,
        "latency_s": [evaluations * each for each in plain["latency_s"] or ()],
    }  # fmt: skip
