"""What takes long and depends on nothing but what is known before: worked out once, and kept in a folder, of a run or
of the user.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from models.common.errors import UsageError
from models.common.files import expanded
from models.common.sealed import load_sealed, save_sealed
from models.common.writing import naming

ROOT_VARIABLE = "SAMPLER_BENCH_DATA"
"""Environment variable that names the folder where downloaded data are kept."""
_KEY = "problem"


def data_root() -> Path:
    """Where downloaded data, and what was made of them, are kept: SAMPLER_BENCH_DATA, or the user's cache folder."""
    if named := os.environ.get(ROOT_VARIABLE):
        return expanded(named)
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "sampler-bench"


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
