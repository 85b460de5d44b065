"""State dicts and the networks that they belong to: names as wrappers leave them, and what does not fit."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from models.common.errors import Notice, UsageError

_WRAPPERS = {"module": "DistributedDataParallel", "_orig_mod": "torch.compile"}
"""Parts of names that are not the network's own, and who puts them there."""

_LONGEST = 600  # characters of a library's message: torch lists every key of a network that does not fit
_LISTED = 250  # characters of names: what is missing must not hide what is left over


def shortened(message: str, longest: int = _LONGEST) -> str:
    """A library's message, cut where it goes on for pages."""
    return message if len(message) <= longest else f"{message[:longest]} ..."


def fit(network: nn.Module, state: Mapping[str, Tensor], origin: str, ignore: Sequence[str] | None = None) -> None:
    """Load a state dict, read from the file `origin`, into a network, which is changed in place.

    The `module.` of DistributedDataParallel and the `_orig_mod.` of torch.compile are taken out of its names where the
    network has none; a warning says so. Names that a glob pattern of a card's `ignore` matches are left out; None:
    there is no card.

    Raises:
        UsageError: tensors that are missing, left over, of another shape or no real numbers; a pattern that matches
            nothing left over.
    """
    own = network.state_dict().keys()
    named = _unwrapped(own, state, origin)
    passed_over = _ignored([name for name in named if name not in own], ignore or (), origin)
    real = {name for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    refuse_codes([name for name in named if name in real and not named[name].is_floating_point()], origin)
    try:
        # strict only below, as its own message lists what is missing for pages before it comes to what is left over
        found = network.load_state_dict({name: named[name] for name in named if name not in passed_over}, strict=False)
    except RuntimeError as error:
        raise UsageError(f"{_NO_FIT.format(origin)}: {shortened(str(error))}") from None
    if found.missing_keys or found.unexpected_keys:
        raise misfit(found.missing_keys, found.unexpected_keys, origin, may_ignore=ignore is not None)
    _refuse_others(network.state_dict(), named, origin)


def _refuse_others(held: Mapping[str, Tensor], named: Mapping[str, Tensor], origin: str) -> None:
    """UsageError for tensors that a network holds otherwise than its file, but for the rounding of real numbers.

    Of two tied ones the network keeps the second alone; what its types cannot hold is cut off, or infinite.
    """
    others = [name for name, tensor in held.items() if name in named and not _is_held(tensor, named[name])]
    if others:
        raise UsageError(
            f"{origin}: {len(others)} of its tensors are not what the network then holds ({_listed(others)}): it ties "
            "some to others that differ in the file, keeps them in a type that cannot hold them, or changes them as it "
            "loads them; build the network that the weights are of"
        )


def _is_held(held: Tensor, given: Tensor) -> bool:
    if not held.is_floating_point() or not given.is_floating_point():
        return held.shape == given.shape and torch.equal(held.double(), given.double())
    rounded = given.to(held.dtype)
    return torch.equal(held, rounded.to(held.device)) and bool(rounded.isfinite().all())


def refuse_codes(names: Sequence[str], origin: str) -> None:
    """UsageError for tensors that are real numbers in the network, but codes of these, or complex, in the file.

    torch would copy integers as if they were the weights, and the real parts of complex numbers.
    """
    if names:
        raise UsageError(
            f"{origin}: {len(names)} of its tensors are no real numbers ({_listed(names)}), as those of quantised or "
            "packed weights are; export the weights in float32, bfloat16 or float16"
        )


_NO_FIT = "the weights in {} do not fit the network of its config"


def misfit(missing: Sequence[str], left_over: Sequence[str], origin: str, *, may_ignore: bool = False) -> UsageError:
    """The error for weights that a network lacks and for those that it does not have, which a card may ignore."""
    said = [f"{len(missing)} missing ({_listed(missing)})"] if missing else []
    said += [f"{len(left_over)} not the network's ({_listed(left_over)})"] if left_over else []
    advice = (
        ". Where these have no part in what the network computes, name them on the card, such as "
        f'ignore = ["{min(left_over)}"]; * stands for anything'
        if may_ignore and left_over and not missing
        else ""
    )
    return UsageError(f"{_NO_FIT.format(origin)}: {'; '.join(said)}{advice}")


def _listed(names: Iterable[str]) -> str:
    return shortened(", ".join(sorted(names)), _LISTED)


def is_wrapped(name: str) -> bool:
    """Whether a name has a part that DistributedDataParallel or torch.compile puts there."""
    return not _WRAPPERS.keys().isdisjoint(name.split("."))


def _unwrapped(own: Iterable[str], state: Mapping[str, Tensor], origin: str) -> Mapping[str, Tensor]:
    """The state dict under the network's own names, where these are found without the parts that wrappers put there."""

    def bare(name: str) -> str:
        return ".".join(part for part in name.split(".") if part not in _WRAPPERS)

    wanted = set(own)
    if wanted <= state.keys():
        return state
    by_bare = {bare(name): name for name in wanted}  # a network may have a layer that is called so itself
    named = {by_bare.get(bare(name), bare(name)): tensor for name, tensor in state.items()}
    if len(named) < len(state) or len(wanted & named.keys()) <= len(wanted & state.keys()):
        return state
    parts = {part for name in state for part in name.split(".")}
    found = [f"{part!r} of {by}" for part, by in _WRAPPERS.items() if part in parts]
    said = f"{origin}: its weights are taken by their names without the {' and '.join(found)}"
    warnings.warn(said, Notice, stacklevel=3)
    return named


def _ignored(left_over: Sequence[str], patterns: Sequence[str], origin: str) -> set[str]:
    """The names that patterns match; UsageError for a pattern that matches none."""
    found = {pattern: {name for name in left_over if fnmatchcase(name, pattern)} for pattern in patterns}
    if idle := [pattern for pattern, names in found.items() if not names]:
        there = f"these are left over: {_listed(left_over)}" if left_over else "nothing is left over"
        raise UsageError(
            f"{origin}: the card's ignore names {', '.join(map(repr, idle))}, which matches no tensor that the network "
            f"does not have ({there}); correct it or take it out"
        )
    return set().union(*found.values())
