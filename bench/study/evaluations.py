"""How many network evaluations a sampler makes under a guidance, told before it runs."""

from collections.abc import Sequence
from typing import Any

from models.denoiser import Denoiser
from models.fitted import takes_fit
from models.guidance import Guidance
from models.plugins import installed
from models.plugins.foreign import foreign
from models.schedule import Level, Schedule
from samplers import Sampler
from samplers.about import declared_evaluations


def declared_nfe(
    spec: str,
    sampler: Sampler,
    guidance: Guidance,
    levels: Sequence[Level],
    schedule: Schedule,
    fitted: Any = None,
) -> int | None:
    """Network evaluations an image: those of each call, by the calls that the sampler declares.

    None if the sampler cannot say before, or what it takes is not fitted yet where that matters. Under a guidance whose
    evaluations depend on the level, the levels that are asked about are found by a rehearsal.

    Raises:
        PluginError: the sampler or the guidance raises, or says what is no number.
    """
    calls = declared_evaluations(spec, sampler, levels)
    if calls is None:
        return None
    with foreign("a guidance: branches()", type(guidance).branches):
        if not guidance.varies:
            return calls * len(guidance.branches(levels[0]))
        if takes_fit(sampler) and fitted is None:
            return None
        return sum(len(guidance.branches(at)) for at in levels_asked(spec, sampler, levels, schedule, fitted))


def levels_asked(
    spec: str, sampler: Sampler, levels: Sequence[Level], schedule: Schedule, fitted: Any = None
) -> list[Level]:
    """The levels of all calls of a sampler, in order.

    It is let sample a single value, whose noise is predicted as zero: the calls of samplers that declare their
    evaluations do not depend on what the network says.
    """
    import torch  # only here: what only plans needs no torch

    found = list[Level]()

    def network(x: torch.Tensor, at: Level) -> torch.Tensor:
        found.extend([at] * len(x))
        return torch.zeros_like(torch.cat([x, x], dim=1))

    model = Denoiser(network, "epsilon", schedule, learns_variance=True, fitted=fitted)
    with torch.inference_mode(), installed.around(spec), foreign(f"sampler {spec!r}", type(sampler)):
        sampler.sample(model, torch.ones(1, 1, 1, 1), list(levels), lambda like: torch.zeros_like(like))
    return found
