"""The code that a cell's result comes from, as hashes: when it changes, the cell is measured again.

Files are read once a process: what runs is what was imported, whatever happens to the files afterwards.
"""

import inspect
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

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
from bench.running.layers import Layers, text_of
from bench.running.named_files import text_of_pattern, texts_in
from models.architectures import maker_of
from models.cards.card import BUILT_BY_DIFFUSERS, OF_PROMPTS
from models.cards.decoder_card import AUTOENCODERS
from models.common.errors import UsageError
from models.common.files import read_json
from models.fitted import OWN
from models.grids import GRIDS, Grid
from models.grids.fitted import FittedGrid
from models.guidance import GUIDANCES, Guidance
from models.loading.layout import CONFIG
from models.loading.model import Model
from models.plugins.foreign import is_installed, is_standard
from models.plugins.plain import parameters_of
from models.plugins.registry import Registry
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
_REGISTRIES: dict[str, tuple[Registry[Any], type]] = {
    "SAMPLERS": (registry.SAMPLERS, Sampler),
    "GRIDS": (GRIDS, Grid),
    "GUIDANCES": (GUIDANCES, Guidance),
}
"""Words of code that makes others by name, where they are looked up, and what all are derived from."""


class _Start(NamedTuple):
    """Where code begins.

    Attributes:
        roots: the names of modules.
        words: what is in no module, such as the text of a class that no file has.
        given: texts that it is given, as parameters are: they may name files, and others to make.
    """

    roots: tuple[str, ...]
    words: tuple[str, ...] = ()
    given: tuple[str, ...] = ()

    def with_others(self, others: Iterable["_Start"]) -> "_Start":
        """It, and where others begin."""
        columns = zip(self, *others, strict=True)
        return _Start(*(tuple(dict.fromkeys(each for part in column for each in part)) for column in columns))


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
        given: the texts among its parameters, which may name files and other samplers.
    """
    return _code_sha256(_start_of(cls, Sampler, given))


def code_sha256_of(sampler: Sampler) -> str:
    """Of the code of a sampler, and of all that its parameters name: files, other samplers and theirs."""
    return sampler_sha256(type(sampler), _texts_of(sampler))


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
    """Of the code of an architecture that a plugin brings: all that its function was put together from."""
    maker: Any = maker_of(name)
    layers = Layers()
    said = layers.of(maker)
    while isinstance(maker, partial):
        maker = maker.func
    roots = layers.theirs or (inspect.unwrap(maker).__module__,)  # of a package, the innermost
    given = texts_in(read_json(config)) if config.is_file() else ()
    return _code_sha256(_Start(roots, (said,), (*given, *layers.texts)))


def guidance_code_sha256(guidance: Guidance) -> str | None:
    """Of the code of a guidance that a plugin or an installed package brings, and of all that its parameters name;
    None for one of ours.
    """
    cls = type(guidance)
    return None if in_tree(cls.__module__) else _code_sha256(_start_of(cls, Guidance, _texts_of(guidance)))


def grid_code_sha256(grid: Grid) -> str | None:
    """Of the code of a grid that a plugin or an installed package brings, and of all that its parameters name; and of
    the sampler that it is fitted to and the grid that it starts from, where it names one.

    None for one of ours that names none, or one of our grids.
    """
    cls, found = type(grid), list[str]()
    if not in_tree(cls.__module__):
        found.append(_code_sha256(_start_of(cls, Grid, _texts_of(grid))))
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
    return None if in_tree(name) or path is None or is_installed(path) else _code_sha256(_Start((name,)))


@cache
def _code_sha256(start: _Start) -> str:
    """Of modules, of those that they import and that are no one else's, of samplers, grids and guidances that they make
    by name, of the data files that they name or are given, of the versions of the packages that they import, and of the
    environment variables that they look up; see `bench.running.closure`.
    """
    whole, modules = _with_named(start)
    if any(not module.in_tree and _LOOKED_UP & module.symbols for module in modules):
        tree = sorted(f"samplers.{path.stem}" for path in (_ROOT / "samplers").glob("[a-z]*.py"))
        modules = _modules((*whole.roots, *(name for name in tree if name not in _APART)))
    first = module_file(start.roots[0])
    folder = _ROOT if first is None or in_tree(start.roots[0]) else first.parent
    ours = {module.path for module in modules if module.in_tree} - _shared()
    brought = {module.path for module in modules if not module.in_tree} | data_of(modules, whole.given)
    files = contents(ours, _ROOT) | contents(brought - ours, folder)  # the same wherever either lies
    return digest_of([*files, *whole.words, *versions_of(modules), *environment_of(modules)])


def _start_of(cls: type, kind: type, given: tuple[str, ...]) -> _Start:
    """Where the code of a sampler, grid or guidance begins: in its class and the base classes that are not ours all are
    derived from.
    """
    own = [each for each in cls.__mro__ if issubclass(each, kind) and each.__module__ != kind.__module__]
    unread = [text_of(each) for each in own if module_file(each.__module__) is None]
    return _Start(tuple(dict.fromkeys(each.__module__ for each in own)), tuple(unread), given)


def _texts_of(thing: Any) -> tuple[str, ...]:
    """The texts among parameters."""
    return tuple(texts_in(parameters_of(thing)))


def _with_named(start: _Start) -> tuple[_Start, list[Module]]:
    """Where all begins that code consists of, with what it makes by name and what that makes; and its modules."""
    followed = set[_Start]()
    while True:
        modules = _modules(start.roots)
        new = {*_named(modules, start.given)} - followed
        if not new:
            return start, modules
        followed |= new
        start = start.with_others(sorted(new))


def _named(modules: list[Module], given: Iterable[str]) -> Iterator[_Start]:
    """Where the code of those begins that modules make by the names that they hold or are given."""
    held = {text_of_pattern(each) for module in modules if not module.in_tree for each in module.strings}
    for word, (known, kind) in _REGISTRIES.items():
        if any(word in module.symbols for module in modules):
            texts = {*held, *given}
            for each in given:
                with suppress(UsageError):  # it stands for several things elsewhere, and is no name here
                    texts.add(known.ours(each, quiet=True))
            for spec in known.named_in(texts):
                yield from _made(known, kind, spec)


def _made(known: Registry[Any], kind: type, spec: str) -> Iterator[_Start]:
    """Where the code of what a text stands for begins; of the class alone where it cannot be made so."""
    with suppress(UsageError):
        made = known.make(spec)
        yield _start_of(type(made), kind, _texts_of(made))
        return
    with suppress(UsageError):
        yield _start_of(known.get(spec.partition("[")[0].strip()), kind, ())


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
