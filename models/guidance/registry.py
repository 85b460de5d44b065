"""The guidances by name: those in the tree, those of installed packages (entry points), those of a plugin file."""

from functools import partial
from typing import get_args

from models.common.errors import PluginError
from models.guidance.base import Branch, Guidance
from models.plugins.bibtex import check_entries
from models.plugins.foreign import defined_at, foreign
from models.plugins.installed import load_installed
from models.plugins.registry import Registry

ENTRY_POINTS = "sampler_bench.guidances"


def _examine(name: str, guidance: Guidance) -> None:
    """PluginError for a guidance that evaluates what there is not, or nothing."""
    called = f"guidance {name!r}"
    check_entries(called, type(guidance), guidance.bibtex)
    with foreign(called, type(guidance)):
        evaluated, weaker, (low, high) = guidance.evaluated, guidance.weaker, guidance.interval
    if not evaluated or len(set(evaluated)) < len(evaluated) or not set(evaluated) <= set(get_args(Branch)):
        raise PluginError(
            f"{called} evaluates {evaluated}; expected one or more of {', '.join(get_args(Branch))}, each once "
            f"({defined_at(type(guidance))})"
        )
    if "weaker" in evaluated and weaker is None:
        raise PluginError(f"{called} evaluates a weaker model and names none ({defined_at(type(guidance))})")
    if not 0.0 <= low < high:
        raise PluginError(f"{called} has the interval {low:g} ... {high:g} ({defined_at(type(guidance))})")


GUIDANCES: Registry[Guidance] = Registry("guidance", Guidance, partial(load_installed, ENTRY_POINTS), _examine)
register = GUIDANCES.register
