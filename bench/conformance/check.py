"""What a conformance check is, and how a sampler is run for one: on a network in closed form, in float64."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from bench.fitting.model import fitted_to
from bench.noise.stream import ImageNoise
from bench.purity.aspect import Change
from bench.purity.tables import tables_of
from bench.purity.unchanged import Impure, KeptNames, ProcessState, other_random_states, steady, unchanged
from bench.purity.weights import KeptWeights
from models.common.errors import PluginError
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.networks.network import Network, counted
from models.plugins.foreign import INTERRUPTIONS, told
from models.schedule import DiscreteVP, Level, Schedule
from samplers import Noise, Sampler
from samplers.about import declared_evaluations

SHAPE = (1, 8, 8)


class Nonconforming(AssertionError):
    """A sampler fails a check; the message says by how much."""


class NotApplicable(Exception):
    """A check says nothing about this sampler; the message says why."""


@dataclass(frozen=True)
class Check:
    """One property: its name is what must be true, `run` returns how well it holds or raises `Nonconforming`."""

    name: str
    run: Callable[[Sampler], str]


@dataclass(frozen=True)
class Result:
    """The outcome of a check on a sampler."""

    outcome: Literal["passed", "failed", "skipped"]
    detail: str


def run_check(check: Check, sampler: Sampler) -> Result:
    """Run one check; whatever the sampler raises is a failure, and so is what it changes outside of its calls."""
    tables_of(type(sampler))  # as they are before it has done anything
    try:
        with unchanged("it", ProcessState(), KeptNames()):
            return Result("passed", check.run(sampler))
    except NotApplicable as reason:
        return Result("skipped", str(reason))
    except (Nonconforming, Impure, PluginError) as failure:
        return Result("failed", str(failure))
    except INTERRUPTIONS:
        raise
    except BaseException as error:
        return Result("failed", f"raised {told(error)}")


def require(holds: bool, message: str) -> None:
    if not holds:
        raise Nonconforming(message)


def declared(sampler: Sampler, levels: Sequence[Level]) -> int | None:
    """Evaluations an image that it declares, as a run asks for them."""
    return declared_evaluations(type(sampler).__qualname__, sampler, levels)


@dataclass(frozen=True)
class _Run:
    """One `sample` call on a law in closed form: its evaluations of an image, and what of others' it changed."""

    x: Tensor
    start: Tensor
    result: Tensor
    evaluations: float
    changed: Sequence[Change]
    noise: "_CountingNoise"


class _CountingNoise:
    """Counter-based noise that remembers how often it was asked."""

    def __init__(self, seed: int, images: Tensor) -> None:
        self._source, self.draws = ImageNoise(seed, images), 0

    def __call__(self, like: Tensor) -> Tensor:
        self.draws += 1
        return self._source(like)


def call(
    sampler: Sampler,
    model: Denoiser,
    x: Tensor,
    levels: Sequence[Level],
    noise: Noise,
    networks: Mapping[str, object] | None = None,
) -> tuple[Tensor, list[Change]]:
    """One `sample` call: its result, and what it changed of what all samplers share, which is put back.

    The global generators of random numbers are in states that no earlier call has left, so that neither drawing from
    them nor seeding them looks like having left them alone.

    Args:
        sampler, model, x, levels, noise: as `Sampler.sample` takes them.
        networks: whose weights are watched too, by what they are called.
    """
    with torch.inference_mode(), other_random_states():
        kept = (ProcessState(), KeptWeights(networks or {}))
        try:
            result = sampler.sample(model, x, levels, noise)
        finally:
            changed = [change for each in kept for change in each.put_back()]
    return result, changed


def fit_of(sampler: Sampler, network: Network, schedule: Schedule) -> Any:
    """What a sampler finds in `model.fitted` on a network in closed form; None if it takes nothing."""
    return fitted_to(sampler, lambda numbers: Denoiser(network, "sample", schedule), SHAPE)


def denoiser(
    sampler: Sampler, network: Network, schedule: Schedule, asked: Network | None = None, fit: Any = None
) -> Denoiser:
    """A network in closed form as a sampler asks it: fitted first, if it takes that; if it takes a variance, with the
    smaller bound of every step.

    Args:
        sampler, network, schedule: that are run.
        asked: in the place of the network, which it wraps.
        fit: what `fit_of` gave for these, where several calls share it; None: it is made.
    """
    fitted = fit_of(sampler, network, schedule) if fit is None else fit
    network = asked or network
    if not sampler.takes_variance:
        return Denoiser(network, "sample", schedule, fitted=fitted)

    def with_variance(x: Tensor, at: Level) -> Tensor:
        return torch.cat([network(x, at), torch.full_like(x, -1.0)], dim=1)

    return Denoiser(with_variance, "sample", schedule, learns_variance=True, fitted=fitted)


def sample(
    sampler: Sampler,
    network: Network,
    steps: int = 10,
    images: Tensor | None = None,
    grid: str = "trailing",
    schedule: Schedule | None = None,
    fit: Any = None,
) -> _Run:
    """One run on a network in closed form; on DiscreteVP.linear(), unless a schedule is given."""
    numbers = torch.arange(16) if images is None else images
    schedule = DiscreteVP.linear() if schedule is None else schedule
    levels = GRIDS.make(grid)(schedule, steps)
    noise = _CountingNoise(0, numbers)
    x = noise(torch.empty(len(numbers), *SHAPE, dtype=torch.float64)) * schedule.prior_std(levels[0])
    noise.draws = 0
    evaluate, evaluated = counted(steady(network, "it"), SHAPE)
    start = x.clone()
    model = denoiser(sampler, network, schedule, evaluate, fit)
    result, changed = call(sampler, model, x, levels, noise, {"the law": network})
    return _Run(x, start, result, evaluated() / len(x), changed, noise)
