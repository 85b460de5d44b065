"""Weights, which are read as tensors or not at all. Nothing is ever unpickled.

Weights are safetensors, in one file or in shards with an index, or state dicts of `torch.save`, which torch reads with
`weights_only=True`: tensors and plain containers, no code.
"""

import pickle
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.diffusers_folder import Layout
from models.errors import UsageError
from models.files import INDEX, how_to_convert, refuse_programs, shards_of

_CLASS = re.compile(r"GLOBAL (\S+)")
_ADVICE = " In PyTorch"  # where torch begins to say how a file is unpickled all the same
_LONGEST = 600  # characters of a library's message: torch lists every key of a network that does not fit


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; UsageError if it cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"cannot read {path} as safetensors (damaged, or cut short?): {error}") from None


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


def load_unet(folder: Path, layout: Layout, weights: list[str]) -> nn.Module:
    """The network with its weights, by diffusers itself, which knows what older releases called them.

    Raises:
        UsageError: weights that are missing, left over, of another shape, NaN or infinite, or cannot be read.
    """
    from diffusers.models.unets.unet_2d import UNet2DModel  # several seconds of import: only where a U-Net is made

    safe = ".safetensors" in weights[0]
    for name in weights:
        refuse_programs(folder / name)
        if not safe and not name.endswith(INDEX):
            load_state(folder / name)  # for our own refusals: diffusers gives no reason
    try:
        unet, info = UNet2DModel.from_pretrained(
            folder / layout.unet,
            local_files_only=True,
            use_safetensors=safe,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except Exception as error:  # of diffusers, torch and safetensors, for configs and weights alike
        raise UsageError(
            f"cannot load the UNet2DModel of {folder / layout.unet} (damaged, cut short, or weights of another "
            f"network?): {shortened(str(error))}"
        ) from None
    wrong = {name: sorted(map(str, keys)) for name, keys in info.items() if keys}
    if wrong:
        raise UsageError(
            f"the weights in {folder / weights[0]} do not fit the network of its config: {shortened(str(wrong))}"
        )
    check_finite(unet.state_dict(), str(folder / weights[0]))
    network: nn.Module = unet.eval().requires_grad_(False)
    return network


def shortened(message: str) -> str:
    """A library's message, cut where it goes on for pages."""
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]} ..."
