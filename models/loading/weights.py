"""Weights, which are read as tensors or not at all. Nothing is ever unpickled.

Weights are safetensors, in one file or in shards with an index, or state dicts of `torch.save`, which torch reads with
`weights_only=True`: tensors and plain containers, no code.
"""

import logging
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from models.common.errors import UsageError
from models.common.files import INDEX, how_to_convert, refuse_programs, shards_of
from models.common.words import counted
from models.loading.fitting import fit, is_wrapped, misfit, refuse_codes
from models.loading.fitting import shortened as shortened

_CLASS = re.compile(r"GLOBAL (\S+)")
_ADVICE = " In PyTorch"  # where torch begins to say how a file is unpickled all the same
_DEEPEST = 6  # containers in one another that are searched for state dicts
_NAMED = 8  # state dicts that a message names


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; UsageError if it cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"cannot read {path} as safetensors (damaged, or cut short?): {error}") from None


def load_state(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """The tensors of a file of weights, or of all files that an index lists, on the CPU.

    Args:
        path: `.safetensors`, its `.index.json`, or a `.pt`, `.pth`, `.bin`, `.ckpt` or `.tar` of tensors alone.
        key: a card's `state_key`; None: all of it.

    Raises:
        UsageError: it cannot be read, would have to be executed, or holds something else than named tensors, dense and
            finite ones.
    """
    refuse_programs(path)
    if path.name.endswith(INDEX):
        parts = {name: load_tensors(path.parent / name) for name in shards_of(path)}
        _refuse_twice(parts, str(path))
        content: object = {name: tensor for part in parts.values() for name, tensor in part.items()}
    elif path.suffix.lower() == ".safetensors":
        content = load_tensors(path)
    else:
        content = _load_plain(path)
    state = _state_dict(content, key, str(path))
    _refuse_layouts(state, str(path))
    check_finite(state, str(path))
    return state


def _load_plain(path: Path) -> object:
    """What torch.save wrote, if it is tensors and plain containers."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = _CLASS.search(str(error))  # of torch's message nothing else, which advises to unpickle it all the same
        more = f"it asks for {found[1]}" if found else "a pickle, but no state dict of torch.save"
        raise UsageError(
            f"{path} holds more than tensors, and reading that would run code: it is not read ({more}). "
            f"{how_to_convert(path)}"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = shortened(str(error).partition(_ADVICE)[0])
        raise UsageError(f"cannot read {path} as weights (damaged, or cut short?): {reason}") from None


def _state_dict(content: object, key: str | None, origin: str) -> dict[str, Tensor]:
    """The state dict that a key leads to; UsageError says what there is."""
    found = content if key is None else next(_reached(content, key), None)
    if found is None:
        raise UsageError(
            f"{origin} has no {key!r}, which the card's state_key names; {_inside(content)}. {_choices(content)}"
        )
    if not _is_state_dict(found):
        where = "" if key is None else f": {key!r}, which the card's state_key names,"
        raise UsageError(f"{origin}{where} is no state dict; {_inside(found)}. {_choices(content)}")
    return found


def _is_state_dict(content: object) -> TypeGuard[dict[str, Tensor]]:
    if not isinstance(content, dict) or not content:
        return False
    return all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())


def _parts(content: object) -> list[tuple[str, object]]:
    """What a container holds, by name or number; of anything else nothing."""
    if isinstance(content, dict):
        return [(str(name), value) for name, value in content.items()]
    return [(str(at), value) for at, value in enumerate(content)] if isinstance(content, list | tuple) else []


def _reached(content: object, key: str) -> Iterator[object]:
    """All that a dotted key may mean, since names may have dots in them."""
    for name, value in _parts(content):
        if name == key:
            yield value
        elif key.startswith(f"{name}."):
            yield from _reached(value, key.removeprefix(f"{name}."))
    if inside := {name.removeprefix(f"{key}."): value for name, value in _parts(content) if name.startswith(f"{key}.")}:
        yield inside


def _state_dicts(content: object, at: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    """The dotted key of every state dict in a container, and how many tensors it has."""
    if _is_state_dict(content):
        yield ".".join(at), len(_parts(content))
    elif len(at) < _DEEPEST:
        for name, value in _parts(content):
            yield from _state_dicts(value, (*at, name))


def _choices(content: object) -> str:
    """What state_key may be, the state dicts of the most tensors first: an optimiser has many small ones."""
    found = sorted(_state_dicts(content), key=lambda each: -each[1])
    if not found:
        return "There is no state dict in it"
    if not found[0][0]:
        return "It is a state dict itself: leave state_key out"
    said = ", ".join(f'"{key}" ({counted(count, "tensor")})' for key, count in found[:_NAMED])
    more = f" and {len(found) - _NAMED} smaller ones" if len(found) > _NAMED else ""
    return f"State dicts in it are {said}{more}: name one on a card.toml, as state_key"


def _inside(content: object) -> str:
    """What something holds: what is no tensor first, as that is why it is no state dict."""
    if not isinstance(content, dict | list | tuple):
        return f"it holds a {type(content).__name__}"
    parts = sorted(_parts(content), key=lambda part: isinstance(part[1], Tensor))
    kind = "" if isinstance(content, dict) else f"a {type(content).__name__} of {len(content)}: "
    said = ", ".join(f"{name} ({type(value).__name__})" for name, value in parts)
    return f"it holds {kind}{shortened(said) or 'nothing'}"


def _refuse_layouts(state: Mapping[str, Tensor], origin: str) -> None:
    """UsageError for tensors that are sparse, or of the meta device, which has shapes and no numbers."""
    for name, tensor in state.items():
        if tensor.is_meta or tensor.layout is not torch.strided:
            what = "has a shape and no numbers (meta device)" if tensor.is_meta else "is sparse, and no layer is"
            raise UsageError(f"{origin}: {name} {what}; save the weights as dense tensors of the CPU")


def check_finite(state: dict[str, Tensor], origin: str) -> None:
    """UsageError for weights that are NaN or infinite."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UsageError(
                f"{origin}: {name} has weights that are NaN or infinite; the training diverged, or the file is damaged"
            )


def load_weights(
    network: nn.Module, path: Path, key: str | None = None, ignore: Sequence[str] | None = None
) -> nn.Module:
    """The network with the weights of a file, frozen and in evaluation mode; UsageError as `load_state` and `fit`."""
    fit(network, load_state(path, key), str(path), ignore)
    return network.eval().requires_grad_(False)


def _refuse_twice(parts: Mapping[str, Iterable[str]], origin: str) -> None:
    """UsageError for a tensor that is in two of the files that an index lists: one of them is of another save."""
    seen = dict[str, str]()
    for file, names in parts.items():
        for name in names:
            if name in seen:
                raise UsageError(
                    f"{origin}: {name} is in {seen[name]} and in {file}, and which one is meant is not known; save the "
                    "weights into an empty folder"
                )
            seen[name] = file


def _real(path: Path) -> dict[str, bool]:
    """Whether each tensor of a file of weights has real numbers; of safetensors nothing but the header is read."""
    if path.suffix.lower() != ".safetensors":
        return {name: tensor.is_floating_point() for name, tensor in load_state(path).items()}
    try:
        with safe_open(path, framework="pt") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError):
        return {}  # who reads the rest says so
    return {name: kind.startswith(("F", "BF")) for name, kind in kinds.items()}


def load_diffusers(name: str, folder: Path, part: str, weights: Sequence[str]) -> nn.Module:
    """A network with its weights, by diffusers itself, which knows what older releases called them.

    Args:
        name: its class.
        folder: of the model.
        part: the folder in that, or "".
        weights: its files, relative to `folder`.

    Raises:
        UsageError: weights that are missing, left over, of another shape, NaN or infinite, or cannot be read.
    """
    import diffusers  # several seconds of import: only where a network is made

    origin = str(folder / weights[0])
    for each in weights:
        refuse_programs(folder / each)
    # for our own refusals: diffusers gives no reason, or takes what it finds
    parts = {each: _real(folder / each) for each in weights if not each.endswith(INDEX)}
    _refuse_twice(parts, origin)
    refuse_codes([each for found in parts.values() for each, real in found.items() if not real], origin)
    logger = logging.getLogger("diffusers.models.modeling_utils")  # which also logs pages of names that do not fit
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        network, info = getattr(diffusers, name).from_pretrained(
            folder / part,
            local_files_only=True,
            use_safetensors=".safetensors" in weights[0],
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except Exception as error:  # of diffusers, torch and safetensors, for configs and weights alike
        raise UsageError(
            f"cannot load the {name} of {folder / part} (damaged, cut short, or weights of another network?): "
            f"{shortened(str(error))}"
        ) from None
    finally:
        logger.setLevel(level)
    missing, left_over = info["missing_keys"], info["unexpected_keys"]
    if any(map(is_wrapped, left_over)):
        fit(network, {name: tensor for file in parts for name, tensor in load_state(folder / file).items()}, origin)
    elif missing or left_over:
        raise misfit(missing, left_over, origin)
    check_finite(network.state_dict(), origin)
    loaded: nn.Module = network.eval().requires_grad_(False)
    return loaded
