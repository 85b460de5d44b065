"""What takes long and depends on nothing but what is known before: worked out once, and kept in a folder of the run."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from models.common.errors import UsageError
from models.common.sealed import load_sealed, save_sealed
from models.common.writing import naming

_KEY = "problem"


class Found(NamedTuple):
    """What was kept: tensors, and words."""

    tensors: Mapping[str, Tensor]
    said: Mapping[str, str]


class Kept:
    """Results in files that are named by the hash of all that they depend on.

    Args:
        folder: made when something is kept. A file that is damaged, or another's, counts as none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, content: Mapping[str, Any]) -> Found | None:
        """What was kept of what depends on this content of JSON; None if there is nothing."""
        path, key = self.place(content)
        try:
            tensors, said, sealed = load_sealed(path)
        except UsageError:
            return None
        return Found(tensors, said) if sealed and said.get(_KEY) == key else None

    def put(self, content: Mapping[str, Any], found: Found) -> None:
        """Keep it, whole or not at all."""
        path, key = self.place(content)
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_sealed(path, found.tensors, {**found.said, _KEY: key})

    def place(self, content: Mapping[str, Any]) -> tuple[Path, str]:
        """The file, which need not be there, and all that it depends on as text."""
        key = json.dumps(content, sort_keys=True)
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors", key
