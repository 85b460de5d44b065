"""Fits grids to a model and writes their levels, for studies and for other libraries."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bench.escape import terminal_text
from bench.progress import output, say
from bench.report.data.text import significant
from bench.report.figures.plot_levels import Levels, draw
from bench.running.fit import Fits
from bench.running.resolve import Resolved, resolve
from bench.running.session import Session
from bench.study.file import load_study, study_of
from bench.study.plan import plan
from bench.study.study import Study
from models.common.errors import UsageError
from models.common.writing import write_bytes, write_text
from models.fitted import OWN
from models.grids import GRIDS, TooManySteps
from models.grids.fitted import FittedGrid
from models.schedule import Flow, Level, Schedule
from samplers import SAMPLERS

_BESIDE = ("trailing", "logsnr", "karras")
"""Fixed grids whose levels the figure shows, too."""


def fit_grid(
    block: dict[str, Any], model: str | None, study: str | None, out: Path, as_json: bool, options: dict[str, Any]
) -> int:
    """Fit the grid of a block of a study, and write what was found."""
    (sampler,), (grid,) = block["samplers"], block["grids"]
    made = GRIDS.make(grid)
    if not isinstance(made, FittedGrid):
        names = ", ".join(name for name in GRIDS.names() if issubclass(GRIDS.get(name), FittedGrid))
        raise UsageError(f"grid {grid!r} is the same on every model; expected one that is fitted: {names}")
    if SAMPLERS.make(sampler).places_steps:
        raise UsageError(f"a grid is fitted for samplers that walk one, and {sampler} places its steps itself")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {str(out)!r} is a file; expected a folder, which is made if it is not there")
    session = Session.load(_study(model, study, block, options, made))
    fits, found = Fits(out / "fits", session), list[dict[str, Any]]()
    cells = {cell.steps: cell for cell in plan(session.study) if cell.grid == GRIDS.spec_of(GRIDS.make(grid))}
    for count in sorted(cells):
        if not as_json:
            say(f"{grid} in {count} steps")
        found.append(_found(resolve(cells[count], session), fits))
    schedule, named = session.subject.schedule, sampler if made.fits_sampler == OWN else made.fits_sampler
    title = f"{grid} on {session.subject.card.name}" + (f", fitted to {named}" if named else "")
    panels = {each["steps"]: [*_fixed(schedule, each["steps"], made.clean), _fitted(each)] for each in found}
    write_bytes(out / "levels.png", draw(title, panels))
    write_text(out / "levels.json", json.dumps(found, indent=1))
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        output(soft_wrap=True).print(_table(found, title))
        say(f"wrote {out / 'levels.json'} and {out / 'levels.png'}")
    return 0


def _study(
    model: str | None, study: str | None, block: dict[str, Any], options: dict[str, Any], grid: FittedGrid
) -> Study:
    """The settings that are fitted, on a model as its card has it or as a study has it."""
    if model is not None and study is not None:
        raise UsageError(f"expected either --model or --study, got {model!r} and {study!r}; a study says its model")
    said: dict[str, Any] = {"model": model or "digits"}
    if study is not None:
        names = {"model", "checkpoint", "clip", "label", "labels", "prompts"}
        said = load_study(study).model_dump(mode="json", include=names, exclude_none=True)
    # a baseline that nothing is said of, and as many images as the fit has, so that a batch may be as large
    content: dict[str, Any] = {"name": "fit", "title": "fit", "metrics": ["solver_error"]}
    content |= {"baseline": {"sampler": "ddim", "grid": "trailing", "steps": 1}, "images": max(16, grid.fit_images)}
    return study_of(content | said | options | {"block": [block]}, "what is to be fitted", complete=True)


def _found(resolved: Resolved, fits: Fits) -> dict[str, Any]:
    """What is written of one number of steps."""
    (fitted, columns), found = fits(resolved), fits.of(resolved)["grid"].found
    noisy, total = [each for each in fitted.levels if not each.is_clean], resolved.model.schedule.train_steps
    errors = found["errors"].tolist() if "errors" in found else None
    return {
        "model": resolved.model.card.name,
        "guidance": resolved.cell.guidance,
        "sampler": resolved.cell.sampler,
        "grid": resolved.cell.grid,
        "steps": resolved.cell.steps,
        "t": columns["fitted_t"],
        "sigma": [each.ratio for each in noisy],
        "index": None if total is None else [each.t * total - 1.0 for each in noisy],
        "diffusers": _for_diffusers(resolved.model.schedule, noisy, fitted.levels[-1].is_clean),
        "explicit": f"explicit[clean={json.dumps(fitted.levels[-1].is_clean)},t={json.dumps(columns['fitted_t'])}]",
        "error": errors and errors[0],
        "error_at_start": errors and errors[1],
        **{name: columns[name] for name in ("fit_images", "fit_nfe", "fit_s")},
    }


def _for_diffusers(schedule: Schedule, noisy: Sequence[Level], clean: bool) -> dict[str, Any]:
    """What its schedulers take: as timesteps= whole numbers, since most cut off the rest; as sigmas= those of Euler's,
    with the end, which that of flows adds itself.
    """
    total = schedule.train_steps
    if isinstance(schedule, Flow):
        return {"FlowMatchEulerDiscreteScheduler": {"sigmas": [each.sigma for each in noisy]}}
    found = {} if total is None else {"timesteps": [max(0, round(each.t * total - 1.0)) for each in noisy]}
    return {**found, "EulerDiscreteScheduler": {"sigmas": [each.ratio for each in noisy] + [0.0] * clean}}


def _fitted(found: dict[str, Any]) -> Levels:
    return Levels(found["grid"], found["sigma"], fitted=True)


def _fixed(schedule: Schedule, steps: int, clean: bool) -> list[Levels]:
    found = list[Levels]()
    for name in _BESIDE:
        try:
            levels = replace(GRIDS.make(name), clean=clean)(schedule, steps)
        except TooManySteps:
            continue
        found.append(Levels(name, [level.ratio for level in levels if not level.is_clean]))
    return found


def _table(found: Sequence[dict[str, Any]], title: str) -> Table:
    table = Table(title=Text(terminal_text(title), "table.title"), title_justify="left", box=SIMPLE_HEAD)
    table.add_column("steps", justify="right")
    errors = any(each["error"] is not None for each in found)
    for name in ("median error", "at its start") if errors else ():
        table.add_column(name, justify="right")
    table.add_column("evaluations of the fit", justify="right")
    table.add_column("sigma / alpha", ratio=1)
    for each in found:
        told = [significant(each[name], 3) for name in ("error", "error_at_start")] if errors else []
        sigmas = ", ".join(significant(sigma, 4) for sigma in each["sigma"])
        table.add_row(str(each["steps"]), *told, f"{each['fit_nfe']:,}", sigmas)
    return table
