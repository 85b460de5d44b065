"""The file of what a run looked at before its first cell: floors of its distance, and what is wrong with its models.

Nothing here needs torch, so that reports read it at once. A folder without the file, or a damaged one, has nothing.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIRST_LOOK = "first-look.json"
SCHEMA = 1


@dataclass(frozen=True)
class Floors:
    """Frechet distances by one extractor and reference that others are to be seen beside.

    Attributes:
        column: what the distance is called in a record.
        extractor_sha256, reference_sha256: what they are measured with.
        noise: of pure noise to the reference, standard normal over half the range of values, clamped and rounded.
        noise_images: how many of it.
        real: between two halves of the reference's images; None: it does not keep their features.
        real_images: in each half.
    """

    column: str
    extractor_sha256: str
    reference_sha256: str
    noise: float
    noise_images: int
    real: float | None
    real_images: int | None


def warning(model: str, text: str) -> str:
    """A finding in words that say what to do."""
    return f"Model {model}: {text}; see check-model"


def read_look(folder: Path) -> tuple[list[Floors], list[str]]:
    """The floors that a run folder has, and what is wrong with its models, in words; nothing if it has no look."""
    found = read_first_look(folder)
    floors = []
    for each in found["floors"]:
        try:
            floors.append(Floors(**each))
        except TypeError:
            continue
    models = [each for each in found["models"].values() if isinstance(each, dict)]
    return floors, [warning(str(each.get("model")), str(text)) for each in models for text in each.get("wrong") or []]


def read_first_look(folder: Path) -> dict[str, Any]:
    """The whole content: `models` by hash, and `floors`."""
    found = read_json(folder / FIRST_LOOK)
    whole = found.get("schema") == SCHEMA and isinstance(found.get("models"), dict)
    if whole and isinstance(found.get("floors"), list):
        return found
    return {"schema": SCHEMA, "models": {}, "floors": []}


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where there is none, or it is damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
