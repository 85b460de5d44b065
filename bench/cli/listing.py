"""What there is, kind by kind: samplers with what each says of itself, and all else, which is imported when listed."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from bench.cli.known_names import NOT_QUITE, in_a_cell, known_as, table_of
from bench.escape import terminal_text
from bench.outputs import RESULTS
from bench.packed import PACKED, is_packed
from bench.progress import output, say
from models.common.errors import UsageError
from models.grids import GRIDS
from models.guidance import registry as guidances
from models.plugins.foreign import foreign
from models.plugins.installed import load_installed
from models.plugins.registry import Registry, origin
from models.schedule import DiscreteVP, Level
from samplers import SAMPLERS
from samplers.about import about, declared_evaluations
from samplers.registry import ENTRY_POINTS

Row = dict[str, Any]

_TREE = "tree"
_WIDE = 100
"""Columns of a terminal that has room for papers."""
_SHOWN_STEPS = 10


def rows(what: str, steps: int | None = None) -> list[Row]:
    """A row for everything of one kind; the samplers' network evaluations are those of so many steps."""
    if what == "samplers":
        return sampler_rows(_SHOWN_STEPS if steps is None else steps)
    if steps is not None:
        raise UsageError(f"--steps {steps} says nothing about {what}; it goes with: list samplers")
    return _KINDS[what]()


def show(what: str, found: list[Row]) -> None:
    """Print rows as a table on stdout."""
    if what == "samplers":
        _show_samplers(found)
        return
    if what == "grids":
        output().print(f"{NOT_QUITE}\n")
        found = [in_a_cell(row) for row in found]
    table = Table(title=what, title_justify="left")
    for column in found[0] if found else ():
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in found:
        table.add_row(*(Text("" if value is None else terminal_text(str(value))) for value in row.values()))
    output().print(table if found else f"no {what}")


def sampler_rows(steps: int) -> list[Row]:
    """A row for every sampler, and for every installed plugin that cannot be imported; UsageError if steps do not fit.

    What a stranger's sampler raises when asked about itself becomes its reason, and the others are listed.
    """
    levels = GRIDS.make("trailing")(DiscreteVP.linear(), steps)
    failed = load_installed(ENTRY_POINTS)
    found = [_row(name, levels) for name in SAMPLERS.names()]
    packages = {point.name: _package(point) for point in entry_points(group=ENTRY_POINTS)}
    broken = [
        _blank(name, steps) | {"source": packages[name], "unavailable": reason} for name, reason in failed.items()
    ]
    # a library's adapters are named but not made: that would import the library
    adapters = list[Row]()
    for prefix, names in SAMPLERS.families().items():
        library = prefix
        with suppress(PackageNotFoundError):
            library = f"{prefix} {version(prefix)}"
        adapters += [_blank(name, steps) | {"family": "library", "source": library} for name in names]
    return found + adapters + broken


def source(cls: type) -> str:
    """Where the class of a sampler or a guidance comes from: "tree", a package with its version, or a plugin file."""
    module = cls.__module__
    root = module.partition(".")[0]
    if root in ("samplers", "models"):
        return _TREE
    named = [*entry_points(group=ENTRY_POINTS), *entry_points(group=guidances.ENTRY_POINTS)]
    points = [point for point in named if point.module.partition(".")[0] == root]
    for point in sorted(points, key=lambda point: point.module != module):
        return _package(point)
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def parameters(cls: type) -> str:
    """The parameters of a registered class with their defaults, as they are written in a specification: "eta=0.0"."""
    if not dataclasses.is_dataclass(cls):
        return ""
    said = []
    for field in dataclasses.fields(cls):
        value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        said.append(f"{field.name} (required)" if value is dataclasses.MISSING else f"{field.name}={text}")
    return ", ".join(said)


def _show_samplers(found: Sequence[Row]) -> None:
    """Print the samplers as a table on stdout, then those that are not the tree's by source, then what is unusable."""
    console = output()
    nfe = next(key for key in found[0] if key.startswith("nfe"))
    console.print(f"samplers; NFE: network evaluations an image {nfe[4:].replace('_', ' ')}, blank if unknown before\n")
    console.print(_table(found, nfe, console.width))
    console.print(f"\n{NOT_QUITE}\n")
    console.print(table_of(found))
    for row in found:
        if row["unavailable"] is not None:
            say(f"\nunavailable: {row['name']} ({row['source']}): {' '.join(row['unavailable'].split())}")
    elsewhere: dict[str, list[str]] = {}
    for row in found:
        if row["source"] != _TREE and row["unavailable"] is None:
            elsewhere.setdefault(row["source"], []).append(row["name"])
    for where, names in elsewhere.items():
        console.print(Text(terminal_text(f"\nfrom {where}: {', '.join(names)}")))


def _table(found: Sequence[Row], nfe: str, width: int) -> Table:
    heads = {"name": "name", "family": "family", "order": "order", "stochastic": "noise", nfe: "NFE"}
    heads |= {"parameters": "parameters"} | ({"paper": "paper"} if width >= _WIDE else {})
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column, head in heads.items():
        folds, number = column in ("parameters", "paper"), column in ("order", nfe)
        table.add_column(head, no_wrap=not folds, overflow="fold", justify="right" if number else "left")
    for row in found:
        if row["origin"] is not None:
            table.add_row(*(Text(_cell(row[column])) for column in heads))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else terminal_text(str(value))


def _blank(name: str, steps: int) -> Row:
    about = ("family", "order", "stochastic", f"nfe_at_{steps}_steps", "parameters", "paper", "source")
    more = ("needs", "places_steps", "caveat", "origin", "unavailable", "known_as", "known_as_differs")
    return {"name": name} | dict.fromkeys((*about, *more))


def _row(name: str, levels: Sequence[Level]) -> Row:
    steps = len(levels) - 1
    row = _blank(name, steps)
    try:
        cls = SAMPLERS.get(name)
        row |= {"source": source(cls), "origin": origin(cls)}
        row |= known_as("samplers", name if row["source"] == _TREE else "")
        with foreign("its parameters cannot be listed", cls):
            row["parameters"] = parameters(cls)
        sampler = SAMPLERS.make(name)
        said = about(name, sampler)
        for key in ("family", "paper", "needs", "places_steps", "caveat", "order", "stochastic"):
            row[key] = getattr(said, key)
        row[f"nfe_at_{steps}_steps"] = declared_evaluations(name, sampler, levels)
    except UsageError as error:
        row["unavailable"] = str(error)
    return row


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value


def _grids() -> list[Row]:
    return [row | known_as("grids", row["name"]) for row in _registered(GRIDS)]


def _guidances() -> list[Row]:
    for name, reason in load_installed(guidances.ENTRY_POINTS).items():
        say(f"unavailable: {name}: {' '.join(reason.split())}")
    registry: Registry[Any] = guidances.GUIDANCES
    more = ({"paper": registry.get(name).paper, "source": source(registry.get(name))} for name in registry.names())
    return [row | each for row, each in zip(_registered(registry), more, strict=True)]


def _registered(registry: Registry[Any]) -> list[Row]:
    """What each registered class takes and is."""
    classes = {name: registry.get(name) for name in registry.names()}
    return [
        {"name": name, "parameters": parameters(cls), "description": (cls.__doc__ or "").strip().splitlines()[0]}
        for name, cls in classes.items()
    ]


def _models() -> list[Row]:
    from models.loading.sources import load_card, model_folder, zoo_names

    cards = [load_card(model_folder(name)) for name in zoo_names()]
    return [
        {"name": card.name, "shape": list(card.shape), "data": card.data, "about": card.description} for card in cards
    ]


def _extractors() -> list[Row]:
    from bench.quality.extractor import INCEPTION
    from bench.quality.extractors import LIBRARY, compact_names
    from models.loading.sources import load_measuring_card, measuring_folder

    found: list[Row] = []
    for name in compact_names():
        folder = measuring_folder(name)
        card = None if folder is None else load_measuring_card(folder)
        if card is not None and card.extractor is not None:
            found.append({"name": name, "distance": f"fd_{card.extractor.name}", "data": card.data})
    weights, official = "torch-fidelity's weights, downloaded or given as a file", {INCEPTION: "fid, "}
    return found + [
        {"name": name, "distance": f"{official.get(name, '')}fd_{family}", "data": weights}
        for name, family in LIBRARY.items()
    ]


def _metrics() -> list[Row]:
    from bench.study.metrics import METRICS

    columns = {
        "fd": "fid (Inception's own weights, 50,000 images or more), else fd_<extractor>: Frechet distance of features "
        "to the reference; lower is better",
        "fd_infinity": "<fd>_inf: the same extrapolated to infinitely many images (arXiv 1911.07023)",
        "kid": "kid_mean, kid_std: kernel distance, unbiased by the number of images; lower is better",
        "inception_score": "inception_score, inception_score_std: exp of the KL of class predictions; higher is better",
        "precision_recall": "precision, recall: of 3-nearest-neighbour manifolds; higher is better",
        "class_accuracy": "class_accuracy: of class-conditional models, share of the images that the extractor takes "
        "for the class asked for, beside that of real images (class_accuracy_real); higher is better",
        "clip_score": "clip_score: of models that are given prompts, 100 max(cos, 0) of CLIP's embeddings of an image "
        "and of its prompt, by the study's clip_model; needs no reference; higher is better",
        "solver_error": "solver_rmse: of deterministic samplers, distance from the exact solution of the probability "
        "flow from the same noise; needs no reference",
        "psnr": "psnr: of deterministic samplers, dB between their images, decoded where there is a decoder, and those "
        "of the exact solution from the same noise; needs no reference; higher is better",
        "law": "law_fd, law_nearest_rmse, law_occupancy: distance from the law of an exact model (digits-oracle, "
        "digits-mixture), each beside that of as many exact samples; needs no reference",
    }
    return [{"name": name, "columns": columns[name]} for name in METRICS]


def _columns() -> list[Row]:
    from bench.column_meanings import columns

    return [
        {"column": each.name, "in": ", ".join(each.files), "unit": each.unit, "meaning": each.meaning}
        for each in columns()
    ]


def _studies() -> list[Row]:
    from bench.study.file import load_study, study_names
    from bench.study.plan import plan

    found: list[Row] = []
    for name in study_names():
        study = load_study(name)
        cells, images = len(plan(study)), study.most_images
        found.append({"name": name, "title": study.title, "model": study.model, "cells": cells, "images": images})
    return found


def _run_paths() -> Iterator[Path]:
    """Folders of runs, and packed ones, which are called otherwise than what stands in a folder of reports."""
    from bench.record import MANIFEST

    yield from (path.parent for name in (MANIFEST, PACKED) for path in RESULTS.glob(f"**/{name}"))
    yield from (path for path in RESULTS.glob("**/*.zip") if path.name != PACKED and is_packed(path))


def _runs() -> list[Row]:
    from bench.record import RunFolder

    found: list[Row] = []
    for folder in map(RunFolder, sorted(_run_paths())):
        row: Row = {"run": str(folder.path)}
        try:
            content = folder.manifest()
            cells = content["cells"][: len(content["cells"]) // max(1, len(content.get("looks", ())))]
            records = [folder.read(cell) for cell in cells]  # of the first look, which has all settings
        except UsageError as error:
            found.append(row | {"study": str(error), "cells": None, "done": None, "failed": None})
            continue
        status = [record["status"] for record in records if record is not None]
        row |= {"study": content["study"]["title"], "cells": len(records)}
        found.append(row | {"done": status.count("ok"), "failed": status.count("failed")})
    return found


_KINDS: dict[str, Callable[[], list[Row]]] = {
    "grids": _grids,
    "guidances": _guidances,
    "models": _models,
    "extractors": _extractors,
    "metrics": _metrics,
    "columns": _columns,
    "studies": _studies,
    "runs": _runs,
}
