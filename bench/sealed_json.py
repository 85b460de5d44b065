"""Files of JSON with a digest of what they hold, by which damage and changes by hand are told, and with a schema."""

import json
from pathlib import Path
from typing import Any

from bench.packed import read_bytes
from bench.record_schema import SCHEMA
from models.common.errors import UsageError
from models.common.files import json_sha256
from models.common.writing import write_text

DIGEST = "sha256_of_the_rest"
"""The entry of the digest."""
_ELSEWHERE = "choose another folder with --out"


class NewerRun(UsageError):
    """A file that a newer version wrote."""


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file whole or not at all. ValueError for NaN."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write a file with a digest, which tells a file that is damaged. ValueError for NaN or half a character."""
    write_json(path, content | {DIGEST: json_sha256(content, DIGEST)})


def read_sealed(path: Path, schema: int = SCHEMA, instead: str = _ELSEWHERE, *, sealed: bool = False) -> Any:
    """The content of a file with a digest, or of one that an older version wrote without.

    Args:
        path: the file.
        schema: the newest that this version reads.
        instead: what to do about a newer one but to upgrade.
        sealed: whether it has to have a digest, as what this version writes has.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is no JSON, or not what was written.
        NewerRun: a newer version has written it.
    """
    try:
        content = json.loads(read_bytes(path).decode())
        _refuse_newer(path, content, schema, instead)
        if isinstance(content, dict):
            digest = json_sha256(content, DIGEST)
            if sealed and DIGEST not in content:
                raise ValueError("it is not what was written: its digest is missing")
            if content.pop(DIGEST, digest) != digest:
                raise ValueError("it is not what was written: its digest is another")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return content


def has_digest(path: Path) -> bool:
    """Whether a file says a digest, be it that of what it holds or not; False for what is not there or is no table."""
    try:
        content = json.loads(read_bytes(path).decode())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and DIGEST in content


def _refuse_newer(path: Path, content: object, newest: int, instead: str) -> None:
    schema = content.get("schema") if isinstance(content, dict) else None
    if isinstance(schema, int) and schema > newest:
        raise NewerRun(
            f"{path} has schema {schema}, but this version reads {newest}: a newer version has written it. Upgrade "
            f"sampler-bench, or {instead}"
        )
