"""The samplers by name: those in the tree, those of installed packages (entry points), those of a plugin file, and the
schedulers of diffusers, which is imported only when one of them is asked for.
"""

import warnings
from functools import partial
from pathlib import Path

from models.common.errors import UsageError
from models.grids import GRIDS
from models.plugins.foreign import foreign
from models.plugins.installed import load_installed
from models.plugins.modules import execute
from models.plugins.registry import Family, Registry
from samplers.about import about
from samplers.base import Sampler
from samplers.diffusers_schedulers import SCHEDULERS
from samplers.known_as import Names

ENTRY_POINTS = "sampler_bench.samplers"


def load_file(path: Path) -> None:
    """Import a plugin file, whose samplers register themselves; UsageError if it is missing or raises."""
    if not path.is_file():
        raise UsageError(f"no plugin file {str(path)!r}; expected a Python file that registers a sampler")
    if path.suffix != ".py":
        raise UsageError(f"{str(path)!r} is not a Python file; expected NAME.py")
    with foreign(f"plugin {str(path)!r} failed to load"):
        execute(path)


def _diffusers_class(name: str) -> type[Sampler]:
    with warnings.catch_warnings():  # the import of the library sets filters for all
        from samplers.diffusers_adapter import sampler_class  # which takes seconds: only where a scheduler is asked for

        return sampler_class(name)


SAMPLERS: Registry[Sampler] = Registry(
    "sampler", Sampler, discover=partial(load_installed, ENTRY_POINTS), examine=about
)
SAMPLERS.add_family("diffusers", Family(_diffusers_class, SCHEDULERS.keys))
SAMPLERS.elsewhere, GRIDS.elsewhere = Names("samplers"), Names("grids")
register = SAMPLERS.register
