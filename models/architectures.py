"""What a card's `architecture` names: diffusers' UNet2DModel or DiTTransformer2DModel, or a network that a plugin
brings.

EDM's SongUNet, Score SDE's NCSN++ or ADM's U-Net are their authors' code. A plugin file (`--plugin FILE`) that imports
it registers a function from the content of config.json to a module, and a card with that name does the rest:

    from models.architectures import register_network
    from networks import SongUNet    # beside the plugin file, in whatever module or package: `models`, too

    @register_network("SongUNet")
    def song_unet(config):    # {} where the card lists no config.json
        return SongUNet(**config)

The module is called as `module(x, condition)`, or `module(x, condition, labels)` by a card with classes: x
(N, C, H, W), condition (N,) float32 or better (int64 where the card says `round_time`), whose meaning the card's
`network` says, and labels (N,) int64.
"""

from collections.abc import Callable
from typing import Any, cast

from torch import nn

from models.cards.card import BUILT_BY_DIFFUSERS, DIFFUSERS, DIT
from models.common.errors import UsageError
from models.networks.network import Conditioned, call_diffusers, make_dit, make_unet
from models.plugins.foreign import foreign
from models.plugins.registry import origin as origin_of
from models.plugins.registry import unknown

Maker = Callable[[dict[str, Any]], nn.Module]

_makers: dict[str, Maker] = {DIFFUSERS: make_unet, DIT: make_dit}


def register_network(name: str) -> Callable[[Maker], Maker]:
    """Decorator that enters a function from a config to a module under a name, which cards have as their architecture.

    UsageError for a name that is taken, or is no text without blanks around it.
    """
    if not isinstance(name, str) or not name.strip() or name != name.strip() or not name.isprintable():
        raise UsageError(f"{name!r} cannot name a network; expected a text as cards have it, such as 'SongUNet'")

    def enter(maker: Maker) -> Maker:
        known = _makers.get(name)
        if known is not None and origin_of(known) != origin_of(maker):  # a plugin file may be executed again
            raise UsageError(
                f"two networks are called {name!r}: {origin_of(known)} and {origin_of(maker)}; rename one of them"
            )
        _makers[name] = maker
        return maker

    return enter


def maker_of(name: str) -> Maker:
    """The function that makes an architecture."""
    return _makers[name]


def network_names() -> list[str]:
    """All architectures that a card may name now."""
    return sorted(_makers)


def make_network(name: str, config: dict[str, Any], origin: str) -> nn.Module:
    """The module that a config describes, with random weights.

    Raises:
        UsageError: no such architecture, or it does not take the config; names `origin`.
    """
    if name not in _makers:
        raise UsageError(
            f"{origin}: {unknown('architecture', name, _makers)} Others come from a plugin file that calls "
            "models.architectures.register_network: give it with --plugin FILE"
        )
    theirs = name in BUILT_BY_DIFFUSERS
    made = f"a diffusers {name}" if theirs else f"a {name}"
    with foreign(f"{origin} does not describe {made}", None if theirs else _makers[name]):
        module = _makers[name](config)
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"architecture {name!r} ({origin_of(_makers[name])}) gave a {type(module).__name__}, no nn.Module"
        )
    return module


def as_called(name: str, module: nn.Module) -> Conditioned:
    """The module as networks call it: state, condition and labels."""
    return call_diffusers(module) if name in BUILT_BY_DIFFUSERS else module


def misfit(name: str, module: nn.Module, shape: tuple[int, int, int]) -> str | None:
    """Why an architecture cannot be evaluated on images (C, H, W), in words, where that is for their sides."""
    if name != DIFFUSERS:
        return None
    levels, (_, height, width) = len(cast(nn.ModuleList, module.down_blocks)), shape
    multiple = 2 ** (levels - 1)
    uneven = [side for side in (height, width) if side % multiple]
    if not uneven:
        return None
    up = [-(-side // multiple) * multiple for side in (height, width)]
    return (
        f"a {name} of {levels} levels cannot be evaluated on images of {height} x {width}: it divides their sides by "
        f"{multiple}, and {uneven[0]} is no multiple of that. Give the size that it was trained on, such as "
        f"{up[0]} x {up[1]}, in config.json (sample_size) or card.toml (shape)"
    )
