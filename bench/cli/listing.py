"""What there is, kind by kind; what is not a sampler is imported when it is listed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from bench.cli.known_names import NOT_QUITE, in_a_cell, known_as
from bench.cli.sampler_list import Row, parameters, sampler_rows, show_samplers, source
from bench.escape import terminal_text
from bench.outputs import RESULTS
from bench.packed import PACKED, is_packed
from bench.progress import output, say
from models.common.errors import UsageError
from models.grids import GRIDS
from models.guidance import registry as guidances
from models.plugins.installed import load_installed
from models.plugins.registry import Registry

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
        show_samplers(found)
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
