"""What there is: samplers, grids, models, metrics, studies, runs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.record import RunFolder
from bench.study import METRICS, load_study, plan, study_names
from models.errors import UsageError
from models.grids import GRIDS
from models.registry import Registry, origin
from models.schedule import DiscreteVP
from models.zoo import load_card, model_folder, zoo_names
from samplers import SAMPLERS
from samplers.registry import load_installed

Row = dict[str, Any]
RESULTS = Path("results")
_SHOWN_STEPS = 10


def rows(what: str) -> list[Row]:
    """A row of plain values for everything of one kind."""
    return _KINDS[what]()


def show(what: str, found: list[Row]) -> None:
    """Print rows as a table on stdout."""
    table = Table(title=what, title_justify="left")
    for column in found[0] if found else ():
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in found:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table if found else f"no {what}")


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _parameters(cls: type) -> str:
    if not dataclasses.is_dataclass(cls):
        return ""
    return ", ".join(f"{field.name}={field.default!r}" for field in dataclasses.fields(cls))


def _samplers() -> list[Row]:
    failed = load_installed()
    levels = GRIDS.make("trailing")(DiscreteVP.linear(), _SHOWN_STEPS)
    found: list[Row] = []
    for name in SAMPLERS.names():
        sampler = SAMPLERS.make(name)
        found.append(
            {
                "name": name,
                "order": sampler.order,
                "stochastic": sampler.stochastic,
                f"nfe_at_{_SHOWN_STEPS}_steps": sampler.nfe(levels),
                "parameters": _parameters(type(sampler)),
                "paper": sampler.paper,
                "origin": origin(type(sampler)),
                "unavailable": None,
            }
        )
    blank = dict.fromkeys(found[0])
    return found + [blank | {"name": name, "unavailable": reason} for name, reason in failed.items()]


def _grids() -> list[Row]:
    registry: Registry[Any] = GRIDS
    return [
        {"name": name, "parameters": _parameters(registry.get(name)), "description": _summary(registry.get(name))}
        for name in registry.names()
    ]


def _models() -> list[Row]:
    cards = [load_card(model_folder(name)) for name in zoo_names()]
    return [
        {"name": card.name, "shape": list(card.shape), "data": card.data, "about": card.description} for card in cards
    ]


def _metrics() -> list[Row]:
    columns = {
        "fd": "fd_<extractor>: Frechet distance of features to the reference; lower is better",
        "kid": "kid_mean, kid_std: kernel distance, unbiased by the number of images; lower is better",
        "inception_score": "inception_score, inception_score_std: exp of the KL of class predictions; higher is better",
        "precision_recall": "precision, recall: of 3-nearest-neighbour manifolds; higher is better",
    }
    return [{"name": name, "columns": columns[name]} for name in METRICS]


def _studies() -> list[Row]:
    found = []
    for name in study_names():
        study = load_study(name)
        found.append(
            {
                "name": name,
                "title": study.title,
                "model": study.model,
                "cells": len(plan(study)),
                "images": study.images,
            }
        )
    return found


def _runs() -> list[Row]:
    found: list[Row] = []
    for manifest in sorted(RESULTS.glob("**/study.json")):
        folder = RunFolder(manifest.parent)
        try:
            content = folder.manifest()
            records = [folder.read(cell) for cell in content["cells"]]
        except UsageError as error:
            found.append({"run": str(folder.path), "study": str(error), "cells": None, "done": None, "failed": None})
            continue
        status = [record["status"] for record in records if record is not None]
        found.append(
            {
                "run": str(folder.path),
                "study": content["study"]["title"],
                "cells": len(records),
                "done": status.count("ok"),
                "failed": status.count("failed"),
            }
        )
    return found


_KINDS: dict[str, Callable[[], list[Row]]] = {
    "samplers": _samplers,
    "grids": _grids,
    "models": _models,
    "metrics": _metrics,
    "studies": _studies,
    "runs": _runs,
}
