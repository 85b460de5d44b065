"""Files of a model: hashes, JSON, and weights, which are read as tensors or not at all. Nothing is ever unpickled.

Weights are safetensors, in one file or in shards with an index, or state dicts of `torch.save`, which torch reads with
`weights_only=True`: tensors and plain containers, no code.
"""

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.errors import UsageError

INDEX = ".index.json"
_STATE_DICTS = (".pt", ".pth", ".bin", ".ckpt")
_PROGRAMS = {
    ".pkl": "a pickle, and reading one runs whatever code is in it",
    ".pickle": "a pickle, and reading one runs whatever code is in it",
    ".pt2": "an exported program, not weights",
    ".onnx": "an exported program, not weights",
    ".msgpack": "made by another framework",
    ".h5": "made by another framework",
}
_LFS_POINTER = b"version https://git-lfs"
_CLASS = re.compile(r"GLOBAL (\S+)")
_ADVICE = " In PyTorch"  # where torch begins to say how a file is unpickled all the same
_LONGEST = 600  # characters of a library's message: torch lists every key of a network that does not fit


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joint_sha256(hashes: Sequence[str]) -> str:
    """One hash for weights in several files: of their hashes' digits one after the other; of one file its own."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; UsageError if it is not one."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path} as JSON: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds a {type(content).__name__}; expected a JSON object")
    return content


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; UsageError if it cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"cannot read {path} as safetensors (damaged, or cut short?): {error}") from None


def how_to_convert(path: Path) -> str:
    """What to run where the authors' code runs, to make weights of a file that is refused here."""
    return (
        f"Convert it where its authors' own code runs and you trust the file: load {path.name!r} as they do, then\n"
        "    from safetensors.torch import save_file\n"
        "    state = {name: value.contiguous() for name, value in network.state_dict().items()}\n"
        '    save_file(state, "diffusion_pytorch_model.safetensors")\n'
        "and write a card.toml beside it whose architecture is registered with models.architectures.register_network "
        "in a --plugin file"
    )


def refuse_programs(path: Path) -> None:
    """UsageError for a file that would have to be executed, that no reader here knows, or that is not there yet."""
    if path.suffix in _PROGRAMS:
        raise UsageError(f"{path} is {_PROGRAMS[path.suffix]}: it is not read. {how_to_convert(path)}")
    if path.suffix not in (".safetensors", *_STATE_DICTS) and not path.name.endswith(INDEX):
        known = ", ".join((".safetensors", f".safetensors{INDEX}", *_STATE_DICTS))
        raise UsageError(f"{path} is no file of weights that is known here; expected one of {known}")
    if path.is_file() and _starts_with(path, _LFS_POINTER):
        raise UsageError(f"{path} is a pointer of git LFS, not the file: run git lfs pull where it was cloned")
    if path.suffix in _STATE_DICTS and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist()):
                raise UsageError(f"{path} is a TorchScript archive, a program: it is not run. {how_to_convert(path)}")


def _starts_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def shards_of(index: Path) -> list[str]:
    """The names of the files that an index of sharded weights lists; UsageError if it does not, or leads elsewhere."""
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise UsageError(f"{index} is no index of weights: it has no weight_map from tensors to files")
    names = sorted(set(listed.values()))
    kind = Path(index.name.removesuffix(INDEX)).suffix
    astray = [name for name in names if Path(name).name != name or Path(name).suffix != kind]
    if astray:
        raise UsageError(f"{index} names {astray[0]!r}; the files of its weights lie beside it, and are {kind} too")
    return names


def load_state(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """The tensors of a file of weights, or of all files that an index lists, on the CPU.

    Args:
        path: `.safetensors`, its `.index.json`, or a `.pt`, `.pth`, `.bin` or `.ckpt` of tensors alone.
        key: what of a `torch.save` is the state dict; None: all of it.

    Raises:
        UsageError: it cannot be read, would have to be executed, or holds something else than named, finite tensors.
    """
    refuse_programs(path)
    if path.name.endswith(INDEX):
        parts = [load_tensors(path.parent / name) for name in shards_of(path)]
        state = {name: tensor for part in parts for name, tensor in part.items()}
    elif path.suffix == ".safetensors":
        state = load_tensors(path)
    else:
        state = _state_dict(path, key)
    check_finite(state, str(path))
    return state


def _state_dict(path: Path, key: str | None) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path} holds more than tensors, and reading that would run code: it is not read "
            f"({_more_than_tensors(error)}). {how_to_convert(path)}"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = shortened(str(error).partition(_ADVICE)[0])
        raise UsageError(f"cannot read {path} as weights (damaged, or cut short?): {reason}") from None
    if key is not None:
        if not isinstance(content, dict) or key not in content:
            raise UsageError(f"{path} has no {key!r}, which the card's state_key names; {_inside(content)}")
        content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UsageError(
            f"{path} is no state dict; {_inside(content)}. Say which of them is one with state_key on the card"
        )
    return content


def _more_than_tensors(error: Exception) -> str:
    """What a refused pickle asks for, without torch's advice to unpickle it all the same."""
    found = _CLASS.search(str(error))
    return f"it asks for {found[1]}" if found else "a pickle, but no state dict of torch.save"


def _inside(content: object) -> str:
    if not isinstance(content, dict):
        return f"it holds a {type(content).__name__}"
    kinds = (f"{name} ({type(value).__name__})" for name, value in content.items())
    return f"it holds {shortened(', '.join(kinds)) or 'nothing'}"


def check_finite(state: dict[str, Tensor], origin: str) -> None:
    """UsageError for weights that are NaN or infinite."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UsageError(
                f"{origin}: {name} has weights that are NaN or infinite; the training diverged, or the file is damaged"
            )


def load_weights(network: nn.Module, path: Path, key: str | None = None) -> nn.Module:
    """The network with the weights of a file, frozen and in evaluation mode; UsageError if they do not fit."""
    try:
        network.load_state_dict(load_state(path, key))
    except RuntimeError as error:
        raise UsageError(
            f"the weights in {path} do not fit the network of its config: {shortened(str(error))}"
        ) from None
    return network.eval().requires_grad_(False)


def shortened(message: str) -> str:
    """A library's message, cut where it goes on for pages."""
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]} ..."
