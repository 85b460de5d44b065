"""Files of tensors with a digest of all that they say: safetensors finds a file cut short, but no flipped bit."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from models.common.errors import UsageError
from models.common.writing import write_bytes

_DIGEST = "sha256"


def content_sha256(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Hexadecimal sha256 of names, types, shapes and numbers of tensors, and of the metadata but for a digest in it."""
    digest = hashlib.sha256(repr(sorted(item for item in metadata.items() if item[0] != _DIGEST)).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"\n{name!r} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors, on any device and in any memory format, as safetensors, whole or not at all; or NotWritten."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # not by the library's save_file: its files are their owner's alone, and a kill leaves them under names of its own
    write_bytes(path, save(held, None if metadata is None else dict(metadata)))


def save_sealed(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata with their digest, as `save_tensors` does."""
    save_tensors(path, tensors, {**metadata, _DIGEST: content_sha256(tensors, metadata)})


def load_sealed(path: Path) -> tuple[dict[str, Tensor], dict[str, str], bool]:
    """The tensors and the metadata of a file, and whether it has a digest; UsageError if it is not what was written."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"cannot read {path} as safetensors (damaged, or cut short?): {error}") from None
    expected = metadata.pop(_DIGEST, None)
    if expected is not None and (found := content_sha256(tensors, metadata)) != expected:
        raise UsageError(f"{path} is damaged: what it holds has sha256 {found}, but {expected} was written")
    return tensors, metadata, expected is not None
