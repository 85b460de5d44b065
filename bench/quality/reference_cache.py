"""Where the statistics of data sets lie once `run_bench.py reference` has made them."""

import hashlib
from pathlib import Path

from bench.quality.datasets import DATA_SETS, data_root
from bench.quality.extractor import Extractor
from bench.quality.image_folder import walk
from bench.quality.images import QUANTISER
from models.common.files import expanded

_READING = 2
"""How folders are read; statistics of earlier numbers may be of other images."""


def cached_path(data: str, extractor: Extractor) -> Path:
    """The file of a data set's statistics by an extractor, whether it is there or not.

    Args:
        data: a name of `DATA_SETS`, a folder or a file: when a file in that comes, goes or changes, so does the path.
        extractor: by its weights and layer.
    """
    content = data if data in DATA_SETS else _listing(expanded(data))
    key = (content, extractor.name, extractor.sha256, extractor.layer, QUANTISER)
    digest = hashlib.sha256(repr(key).encode()).hexdigest()
    stem = data if data in DATA_SETS else expanded(data).resolve().name
    return data_root() / "references" / f"{stem}-{extractor.name}-{digest[:16]}.safetensors"


def _listing(folder: Path) -> str:
    """Names, sizes and times of all files that are looked at, which are read far sooner than the images themselves."""
    files = [path for path in walk(folder.resolve())[0] if path.is_file()] if folder.is_dir() else [folder.resolve()]
    return repr([(_READING, str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files])
