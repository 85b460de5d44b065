"""The samplers by name: those in the tree, those of installed packages (entry points), those of a plugin file, and the
schedulers of diffusers, which is imported only when one of them is asked for.
"""

import hashlib
import importlib.util
import os
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import entry_points
from pathlib import Path

from models.errors import UsageError
from models.foreign import foreign, packages
from models.registry import PLUGIN, Family, Registry
from samplers.about import about
from samplers.base import Sampler
from samplers.diffusers_schedulers import SCHEDULERS

ENTRY_POINTS = "sampler_bench.samplers"

around: Callable[[str], AbstractContextManager[object]] = nullcontext
"""What the import of an installed plugin, and the question how many evaluations a sampler makes, stand in, by a name.

`bench.purity.unchanged` puts there what puts back what they change; here nothing needs torch, and nothing is run.
"""


def load_installed() -> dict[str, str]:
    """Import the plugins of installed packages; the reasons of those that cannot be, by entry-point name.

    A broken plugin stops nobody else: it is reported and left out.
    """
    failed: dict[str, str] = {}
    for point in entry_points(group=ENTRY_POINTS):
        packages.add(re.split("[.:]", point.value)[0])
        try:
            with around(f"the plugin {point.value!r}"), foreign(point.value):
                point.load()
        except UsageError as error:
            failed[point.name] = str(error)
    return failed


def load_file(path: Path) -> None:
    """Import a plugin file, whose samplers register themselves; UsageError if it is missing or raises."""
    if not path.is_file():
        raise UsageError(f"no plugin file {str(path)!r}; expected a Python file that registers a sampler")
    # files of one name in two folders are two modules
    place = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    module_name = f"{PLUGIN}{path.stem}_{place}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{str(path)!r} is not a Python file; expected NAME.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up there
    with foreign(f"plugin {str(path)!r} failed to load"):
        spec.loader.exec_module(module)


def _diffusers_class(name: str) -> type[Sampler]:
    with warnings.catch_warnings():  # the import of the library sets filters for all
        from samplers.diffusers_adapter import sampler_class  # which takes seconds: only where a scheduler is asked for

        return sampler_class(name)


SAMPLERS: Registry[Sampler] = Registry("sampler", Sampler, discover=load_installed, examine=about)
SAMPLERS.add_family("diffusers", Family(_diffusers_class, SCHEDULERS.keys))
register = SAMPLERS.register
