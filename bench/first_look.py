"""What a run looks at before its first cell, once: whether each model is what its card says, in short, and the floors.

It is kept in `first-look.json` of the run folder, which the report reads; a folder without one reports all the same. A
model that `check-model` has checked on real images is not looked at again: that check's words are taken over.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.datasets import data_root
from bench.floors import measure_floors
from bench.look import FIRST_LOOK, SCHEMA, read_first_look, read_json, warning
from bench.model_check import BRIEF, Check, check_model
from bench.record import write_json
from bench.rig import PLAIN, Rig
from models.errors import UsageError
from models.execution import arithmetic
from models.zoo import Model, load_model


def first_look(rig: Rig, folder: Path, warn: Callable[[str], None]) -> None:
    """Look at what has not been looked at yet, keep it in the folder, and tell what is wrong with the models.

    Nothing that is found, or goes wrong, stops a run.
    """
    found = read_first_look(folder)
    before = json.dumps(found)
    for name in dict.fromkeys(name for name, _ in rig.models):
        subject = next(model for (each, _), model in rig.models.items() if each == name)
        if subject.sha256 not in found["models"] and not subject.card.is_exact:
            found["models"][subject.sha256] = {"model": subject.card.name, **_looked(rig, name, subject)}
        for text in found["models"].get(subject.sha256, {}).get("wrong", []):
            warn(warning(subject.card.name, text))
    if (floors := _floors(rig, found["floors"])) is not None:
        found["floors"].append(floors)
    if json.dumps(found) != before:
        write_json(folder / FIRST_LOOK, found)


def remember(check: Check) -> None:
    """Keep a check on real images for the runs that follow, by the hash of weights and card."""
    path = _recorded(check.model_sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"schema": SCHEMA, **_content(check)})


def _recorded(sha256: str) -> Path:
    return data_root() / "checks" / f"{sha256}.json"


def _content(check: Check) -> dict[str, Any]:
    return {"data": check.data, "evaluations": check.evaluations, "wrong": check.bad}


def _looked(rig: Rig, name: str, subject: Model) -> dict[str, Any]:
    """The recorded check of a model; if there is none, a brief one."""
    recorded = read_json(_recorded(subject.sha256))
    if recorded.get("schema") == SCHEMA and isinstance(recorded.get("wrong"), list):
        return {key: recorded.get(key) for key in ("data", "evaluations", "wrong")}
    try:
        plain = rig.models.get((name, PLAIN))
        if plain is None:  # a compiled one would be compiled again for so few images
            plain = load_model(name, rig.device, rig.study.changes_of(name), PLAIN)
        with arithmetic(PLAIN.precision):
            return _content(check_model(plain, rig.device, depth=BRIEF))
    except (UsageError, RuntimeError, MemoryError, ArithmeticError, TypeError, ValueError, IndexError) as error:
        return {"data": None, "evaluations": 0, "wrong": [f"it could not be looked at ({error})"]}


def _floors(rig: Rig, there: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The floors of the study's distance, unless they are there or it measures none."""
    extractor, reference = rig.extractor, rig.reference
    if extractor is None or reference is None or not {"fd", "fd_infinity"} & set(rig.study.metrics):
        return None
    key = {
        "column": extractor.column(rig.study.images),
        "extractor_sha256": extractor.sha256,
        "reference_sha256": reference.sha256,
    }
    if any(key.items() <= each.items() for each in there):
        return None
    try:
        return asdict(measure_floors(extractor, reference, rig.subject.card.shape, rig.study.images))
    except (RuntimeError, MemoryError, ArithmeticError):  # cells that need the same will say why
        return None
