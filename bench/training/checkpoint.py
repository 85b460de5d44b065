"""The state of a training on disk: safetensors shards of at most a stated size, and a small JSON file that names them.

The JSON file is the commit point. Shards of a new state have names of their own, and are all on the disk before it is
replaced; only then those of the state before are removed. A save that is killed anywhere leaves one whole state behind.
Nothing is ever unpickled.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.common.errors import UsageError
from models.common.files import json_sha256
from models.common.sealed import save_tensors
from models.common.writing import remove_leftovers, write_text

STATE = "state.json"
_DIGEST = "sha256"
_MIB = 2**20
_HEADER = 128  # bytes that a tensor takes at most in the header of its file, besides its name


def write_shards(folder: Path, tensors: Mapping[str, Tensor], stem: str, shard_mib: float) -> dict[str, list[str]]:
    """Write tensors as `<stem>.safetensors`, or as `<stem>-00001-of-0000N.safetensors` where one file is too small.

    Args:
        folder: is there.
        tensors: on any device, in any memory format.
        stem: of the files' names.
        shard_mib: the most that a file may have; a single tensor that is larger makes a larger one.

    Returns:
        The names of the tensors in each file, by the file's name.
    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    shards = _split(held, stem, int(shard_mib * _MIB))
    for file, names in shards.items():
        save_tensors(folder / file, {name: held[name] for name in names}, {"format": "pt"})
    return shards


def _split(tensors: dict[str, Tensor], stem: str, size: int) -> dict[str, list[str]]:
    """The names of the tensors of each file; files have at most `size` bytes with their headers."""
    limit = size
    while True:
        split = split_torch_state_dict_into_shards(
            tensors, filename_pattern=stem + "{suffix}.safetensors", max_shard_size=max(1, limit)
        )
        shards: dict[str, list[str]] = split.filename_to_tensors
        over = [_file_size(tensors, names) - size for names in shards.values() if len(names) > 1]
        if not over or max(over) <= 0:
            return shards
        limit -= max(over)


def _file_size(tensors: dict[str, Tensor], names: list[str]) -> int:
    return sum(tensors[name].nbytes + len(name) + _HEADER for name in names) + _HEADER


def save_state(folder: Path, tensors: Mapping[str, Tensor], note: dict[str, Any], shard_mib: float) -> None:
    """Replace the state in a folder by another one.

    Args:
        folder: made where it is missing.
        tensors: by name.
        note: plain values, kept in the JSON file; its `step` names the shards, so it may not be that of the state
            that is there.
        shard_mib: as in `write_shards`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = write_shards(folder, tensors, f"step-{note['step']:08d}", shard_mib)
    content = note | {"shards": {file: _sha256(folder / file) for file in shards}}
    content |= {_DIGEST: json_sha256(content, _DIGEST)}
    write_text(folder / STATE, json.dumps(content, indent=1) + "\n")
    remove_leftovers(folder)
    for path in _strangers(folder, set(shards)):
        path.unlink(missing_ok=True)


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and the note that were saved last; None if nothing was.

    Raises:
        UsageError: a file is missing, damaged, or not what was saved.
    """
    if not (folder / STATE).exists():
        return None
    tensors: dict[str, Tensor] = {}
    try:
        note: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        # checkpoints of older versions have none
        if (said := note.pop(_DIGEST, None)) not in (None, json_sha256(note, _DIGEST)):
            raise ValueError(f"{STATE} holds something else than was written, which had sha256 {said}")
        for file, expected in note.pop("shards").items():
            if (actual := _sha256(folder / file)) != expected:
                raise ValueError(f"{file} has sha256 {actual}, expected {expected}")
            tensors |= load_file(folder / file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise UsageError(f"cannot read the checkpoint {folder}: {error}. Remove it to start afresh") from None
    return tensors, note


def differences(one: Any, other: dict[str, Any]) -> tuple[str, str]:
    """What two identities do not share, of each."""
    flat, flat_other = _flat(one if isinstance(one, dict) else {}), _flat(other)
    names = [name for name in flat | flat_other if flat.get(name) != flat_other.get(name)]
    said = [", ".join(f"{name} {each.get(name)}" for name in names) for each in (flat, flat_other)]
    return said[0], said[1]


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    parts = [value if isinstance(value, dict) else {name: value} for name, value in identity.items()]
    return {name: value for part in parts for name, value in part.items()}


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every name with a prefix and a dot before it."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `with_prefix` was given, out of a larger mapping."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _strangers(folder: Path, ours: set[str]) -> Iterator[Path]:
    return (path for path in list(folder.glob("step-*.safetensors")) if path.name not in ours)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
