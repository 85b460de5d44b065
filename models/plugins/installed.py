"""What installed packages register, by entry points."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import entry_points

from models.common.errors import UsageError
from models.plugins.foreign import foreign, packages

around: Callable[[str], AbstractContextManager[object]] = nullcontext
"""What the import of an installed plugin, and the question how many evaluations a sampler makes, stand in, by a name.

`bench.purity.unchanged` puts there what puts back what they change; here nothing needs torch, and nothing is run.
"""


def load_installed(group: str) -> dict[str, str]:
    """Import the plugins of installed packages; the reasons of those that cannot be, by entry-point name.

    A broken plugin stops nobody else: it is reported and left out.

    Args:
        group: of entry points, such as "sampler_bench.samplers".
    """
    failed: dict[str, str] = {}
    for point in entry_points(group=group):
        packages.add(re.split("[.:]", point.value)[0])
        try:
            with around(f"the plugin {point.value!r}"), foreign(point.value):
                point.load()
        except UsageError as error:
            failed[point.name] = str(error)
    return failed
