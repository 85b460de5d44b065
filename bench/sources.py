"""The code that a cell's result comes from, as a hash: when it changes, the cell is measured again.

Files are read once a process: what runs is what was imported, whatever happens to the files afterwards.
"""

import hashlib
import inspect
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from models.architectures import maker_of
from models.card import DIFFUSERS
from models.zoo import Model
from samplers import Sampler, base, registry

# what measures, and what a model is made of; the sampler's own code is hashed apart
_BENCH = (
    *("cell", "generation", "images", "labels", "noise", "noise_kernel", "philox", "resolve", "rig", "score"),
    *("solution", "sources"),
)
_MODELS = (
    *("analytic", "building", "classifier", "denoiser", "execution", "grids", "modes", "networks", "resnet"),
    *("schedule", "vae"),
)
_ROOT = Path(__file__).parent
_CODE = (
    *(_ROOT / f"{name}.py" for name in _BENCH),
    *sorted((_ROOT / "quality").glob("*.py")),
    *sorted((_ROOT / "timing").glob("*.py")),
    *(_ROOT.parent / "models" / f"{name}.py" for name in _MODELS),
    Path(inspect.getfile(base)),
)
_APART = (base.__name__, registry.__name__)


@cache
def code_sha256() -> str:
    """Of the code that all cells share."""
    return _hash_of([path.read_text() for path in _CODE])


@cache
def sampler_sha256(cls: type[Sampler]) -> str:
    """Of the files that a sampler's class and its base classes stand in, and of those that they use."""
    own = [each.__module__ for each in cls.__mro__ if issubclass(each, Sampler) and each.__module__ not in _APART]
    return _hash_of(_texts(own))


def architecture_sha256(model: Model) -> str | None:
    """Of the files of a network that a plugin brings; None for one of diffusers', whose version is recorded."""
    name = model.card.architecture
    return None if name == DIFFUSERS else _module_sha256(maker_of(name).__module__)


@cache
def _module_sha256(name: str) -> str:
    return _hash_of(_texts([name]))


def _texts(names: list[str]) -> list[str]:
    """The text of modules, and of those of the same packages, or of `samplers`, that they take something from."""
    packages = {name.partition(".")[0] for name in names} | {"samplers"}
    waiting, found = list(names), dict[str, str]()
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        if name not in found and module is not None:
            found[name] = _text(module)
            taken = {getattr(value, "__module__", None) or "" for value in vars(module).values()}
            waiting += sorted(each for each in taken if each.partition(".")[0] in packages and each not in _APART)
    return [found[name] for name in sorted(found)]


def _text(module: ModuleType) -> str:
    path = getattr(module, "__file__", None)
    return Path(path).read_text() if path and path.endswith(".py") else ""


def _hash_of(texts: list[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
