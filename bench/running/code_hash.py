"""The code that a cell's result comes from, as hashes: when it changes, the cell is measured again.

Files are read once a process: what runs is what was imported, whatever happens to the files afterwards.
"""

import inspect
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from bench.environment import versions
from bench.running.closure import (
    Module,
    contents,
    data_of,
    digest_of,
    environment_of,
    in_tree,
    module_file,
    modules_of,
    versions_of,
)
from bench.running.named_files import texts_in
from models.architectures import maker_of
from models.cards.card import BUILT_BY_DIFFUSERS, OF_PROMPTS
from models.cards.decoder_card import AUTOENCODERS
from models.common.errors import UsageError
from models.common.files import read_json
from models.fitted import OWN
from models.grids import GRIDS, Grid
from models.grids.fitted import FittedGrid
from models.guidance import Guidance
from models.loading.layout import CONFIG
from models.loading.model import Model
from models.plugins.foreign import is_installed, is_standard
from models.plugins.plain import parameters_of
from samplers import Sampler, base, registry

_MEASURES = ("bench.running.cell", "bench.running.rounds", "bench.running.study_flops", base.__name__)
"""What makes, scores and times images: its code, and all that it imports but for the samplers, all cells share."""

_LOOKS = ("bench.conformance.model_check", "bench.quality.floors", base.__name__, "samplers.ddim", "samplers.one_step")
"""What looks at models before a run."""

_ROOT = Path(__file__).parents[2]
_APART = (registry.__name__, registry.__name__.partition(".")[0])
_ABOVE = "bench.interface"
"""What `import bench` gives to notebooks: it uses all of the harness, and nothing uses it."""
_LOOKED_UP = {"SAMPLERS", "samplers"}
"""Words of a plugin that takes samplers of the tree by name: it may use any of them."""


@cache
def code_sha256() -> str:
    """Of the code that all cells share."""
    return digest_of(contents(_shared(), _ROOT))


@cache
def look_sha256() -> str:
    """Of what checks models and measures floors, its samplers too, with the versions of the packages."""
    found = modules_of(_LOOKS, _is_shared)
    installed = (f"{name} {each}" for name, each in versions().items() if name != "version_sampler-bench")
    return digest_of({*contents((module.path for module in found), _ROOT), *installed})


@cache
def _shared() -> frozenset[Path]:
    found = modules_of(_MEASURES, _is_shared)
    return frozenset(module.path for module in found)


@cache
def sampler_sha256(cls: type[Sampler], given: tuple[str, ...] = ()) -> str:
    """Of the modules that a sampler's class and its base classes stand in, and of all that `_code_sha256` adds.

    Args:
        cls: the class.
        given: the texts among its parameters, which may name files.
    """
    own = [each for each in cls.__mro__ if issubclass(each, Sampler) and each.__module__ != base.__name__]
    unread = [_text_of(each) for each in own if module_file(each.__module__) is None]
    return _code_sha256(tuple(dict.fromkeys(each.__module__ for each in own)), tuple(unread), given)


def code_sha256_of(sampler: Sampler) -> str:
    """Of the code of a sampler, and of another one that its parameter `sampler` names."""
    parameters = parameters_of(sampler)
    own = sampler_sha256(type(sampler), tuple(texts_in(parameters)))
    inner = parameters.get("sampler")
    return own if inner is None else digest_of([own, code_sha256_of(registry.SAMPLERS.make(inner))])


def architecture_sha256(model: Model) -> str | None:
    """Of the code of a network and of a decoder that a plugin brings, and of the files that their config.json name;
    None for those of diffusers, whose version is recorded.
    """
    card, found = model.card, list[str]()
    if card.architecture not in (*BUILT_BY_DIFFUSERS, *OF_PROMPTS):
        found.append(_maker_sha256(card.architecture, model.folder / CONFIG))
    if card.decoder is not None and card.decoder.kind not in AUTOENCODERS:
        found.append(_maker_sha256(card.decoder.kind, model.folder / card.decoder.folder / CONFIG))
    return digest_of(found) if len(found) > 1 else next(iter(found), None)


def _maker_sha256(name: str, config: Path) -> str:
    """Of the code of an architecture that a plugin brings."""
    maker: Callable[..., Any] = maker_of(name)
    while isinstance(maker, partial):
        maker = maker.func
    given = texts_in(read_json(config)) if config.is_file() else ()
    return _code_sha256((inspect.unwrap(maker).__module__,), given=tuple(given))


def guidance_code_sha256(cls: type[Guidance]) -> str | None:
    """Of the code of a guidance that a plugin or an installed package brings; None for one of ours."""
    return None if in_tree(cls.__module__) else _code_sha256((cls.__module__,))


def grid_code_sha256(grid: Grid) -> str | None:
    """Of the code of a grid that a plugin or an installed package brings, and of the sampler that it is fitted to and
    the grid that it starts from, where it names one.

    None for one of ours that names none, or one of our grids.
    """
    found = [] if in_tree(type(grid).__module__) else [_code_sha256((type(grid).__module__,))]
    if isinstance(grid, FittedGrid):
        if grid.fits_sampler not in (None, OWN):
            found.append(code_sha256_of(registry.SAMPLERS.make(grid.fits_sampler)))
        if grid.fits_grid is not None:
            found += filter(None, [grid_code_sha256(GRIDS.make(grid.fits_grid))])
    return digest_of(found) if found else None


def extractor_code_sha256(module: object) -> str | None:
    """Of the code of an extractor that a plugin brings; None for one of ours or of the library, whose version is
    recorded.
    """
    name = type(module).__module__
    path = module_file(name)
    return None if in_tree(name) or path is None or is_installed(path) else _code_sha256((name,))


@cache
def _code_sha256(roots: tuple[str, ...], words: tuple[str, ...] = (), given: tuple[str, ...] = ()) -> str:
    """Of modules, of those that they import and that are no one else's, of the data files that they name or are given,
    of the versions of the packages that they import, and of the environment variables that they look up; see
    `bench.running.closure`.
    """
    modules = _modules(roots)
    if any(not module.in_tree and _LOOKED_UP & module.symbols for module in modules):
        tree = (name for name in sys.modules if name.startswith("samplers.") and name not in _APART)
        modules = _modules((*roots, *sorted(tree)))
    first = module_file(roots[0])
    folder = _ROOT if first is None or in_tree(roots[0]) else first.parent
    ours = {module.path for module in modules if module.in_tree} - _shared()
    brought = {module.path for module in modules if not module.in_tree} | data_of(modules, given)
    files = contents(ours, _ROOT) | contents(brought - ours, folder)  # the same wherever either lies
    return digest_of([*files, *words, *versions_of(modules), *environment_of(modules)])


def _is_shared(name: str, path: Path) -> bool:
    """Whether a module that something imports is the tree's, and no sampler."""
    return in_tree(name) and name.partition(".")[0] != "samplers" and name != _ABOVE


def _modules(roots: tuple[str, ...]) -> list[Module]:
    packages = {root.partition(".")[0] for root in roots}

    def follows(name: str, path: Path) -> bool:
        if in_tree(name):
            return name not in (*_APART, _ABOVE) and path not in _shared()
        return name.partition(".")[0] in packages or not is_installed(path)

    read = [root for root in roots if (path := module_file(root)) is None or not is_standard(path)]
    return modules_of(read, follows)


def _text_of(cls: type[Sampler]) -> str:
    """The text of a class that no file has, as of a notebook's; UsageError if nothing has it."""
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):
        raise UsageError(
            f"the code of sampler {cls.__qualname__} is in no file, so that nobody can tell when it changes; write it "
            "into one, and give that with --plugin"
        ) from None
