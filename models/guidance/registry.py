"""The guidances by name: those in the tree, those of installed packages (entry points), those of a plugin file."""

from models.guidance.base import Guidance
from models.plugins.installed import load_installed
from models.plugins.registry import Registry

ENTRY_POINTS = "sampler_bench.guidances"

GUIDANCES: Registry[Guidance] = Registry("guidance", Guidance, discover=lambda: load_installed(ENTRY_POINTS))
register = GUIDANCES.register
