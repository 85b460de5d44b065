"""A sampler's images are those of its arguments, whatever ran before: the check of it catches what does otherwise."""

import dataclasses
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Literal

import pytest
import torch
from annotated_types import Ge, Gt, Lt
from nonlinear import NoiseOf, counted_nonlinear, nonlinear, start
from pydantic import Field
from torch import Tensor

from bench.conformance.check import Check, run_check
from bench.conformance.repeat_checks import at_ends, repeats_at_ends
from models.common.errors import UsageError
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.schedule import DiscreteVP, Level
from samplers import SAMPLERS, Noise, Sampler
from samplers.ddim import DDIM
from samplers.edm import EDM
from samplers.rk45 import RK45

CHECK = Check("repeats", repeats_at_ends)


@lru_cache(1000)
def kept(t: Level) -> Level:
    """The first of all equal levels that it was asked about."""
    return t


@dataclass(frozen=True)
class ComparesByIdentity(DDIM):
    """Adds noise where a level is not the very object that a cache holds: above a limit only, as EDM once did."""

    limit: Annotated[float, Gt(0)] = 1.0

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        if t.ratio <= self.limit and kept(t) is not t:
            x = x + 0.1 * noise(x)
        return super().step(model, x, t, s, noise)


@dataclass(frozen=True)
class KeepsByStep(DDIM):
    """Keeps coefficients by the number of the step, as long as there are no more steps than it has them for."""

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:  # type: ignore[misc]
        if len(COEFFICIENTS) < len(levels):
            COEFFICIENTS[:] = [level.sigma for level in levels]
        for number, (t, s) in enumerate(pairwise(levels)):
            prediction = model(x, t)
            x = s.alpha * prediction.x0 + COEFFICIENTS[number + 1] * prediction.eps
        return x


COEFFICIENTS: list[float] = []


@dataclass(frozen=True)
class KeepsAtTheEnd(DDIM):
    """Has hidden state only where a whole number has the highest value that it may have."""

    kind: Annotated[int, Field(ge=1, le=7)] = 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        moved = super().step(model, x, t, s, noise)
        CALLS.append(1)
        return moved * (1.0 + 1e-12 * len(CALLS)) if self.kind == 7 else moved


CALLS: list[int] = []


@pytest.mark.parametrize(
    ("mutant", "said"),
    [
        (ComparesByIdentity(), "as given: a second call on equal levels differs by up to"),
        (ComparesByIdentity(limit=0.004), "limit = 4.0: "),
        (
            KeepsByStep(),
            "as given: after calls at other steps, batches and levels, one on the same levels differs by up to",
        ),
        (KeepsAtTheEnd(), "kind = 7: a second call on the same levels differs by up to"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Sampler) else "",
)
def test_what_depends_on_an_earlier_call_is_caught(mutant: Sampler, said: str) -> None:
    found = run_check(CHECK, mutant)
    assert found.outcome == "failed"
    assert found.detail.startswith(said)


@dataclass(frozen=True)
class Many(DDIM):
    choice: Literal["a", "b"] = "a"
    flag: bool = False
    share: Annotated[float, Ge(0), Lt(1)] = 0.5
    open: Annotated[float, Gt(0)] | Literal["inf"] = 2.0
    whole: Annotated[int, Ge(1)] | None = 2
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.flag and self.choice == "a":
            raise UsageError("not both")


def test_ends_are_those_of_what_parameters_may_be() -> None:
    changed = [change for change, _ in at_ends(Many(choice="b"))]
    assert changed == [
        *("as given", "eta = 1000.0", "s_noise = 0.01", "s_noise = 1000.0"),
        *("choice = a", "flag = True", "share = 0.0", "share = 0.995"),
        *("open = 0.02", "open = 2000.0", "open = inf", "whole = 1", "whole = 5", "whole = None"),
    ]
    assert "flag = True" not in [change for change, _ in at_ends(Many())]  # refused with that choice


def test_the_ends_of_every_registered_sampler_can_be_written_down() -> None:
    for name in SAMPLERS.names():
        for change, variant in at_ends(SAMPLERS.make(name)):
            assert SAMPLERS.make(SAMPLERS.spec_of(variant)) == variant, f"{name}: {change}"
            json.dumps(dataclasses.asdict(variant), allow_nan=False)  # type: ignore[call-overload]


def test_a_sampler_that_refuses_every_call_does_not_pass_and_logging_is_as_it_was() -> None:
    @dataclass(frozen=True)
    class Refuses(DDIM):
        def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
            logging.getLogger("library").warning("never heard")
            raise UsageError("no")

    before = logging.root.manager.disable
    assert run_check(CHECK, Refuses()).detail.startswith("refuses every call")
    assert logging.root.manager.disable == before


class Counted:
    def __init__(self, noise: Noise) -> None:
        self._noise, self.draws = noise, 0

    def __call__(self, like: Tensor) -> Tensor:
        self.draws += 1
        return self._noise(like)


@pytest.mark.parametrize("s_max", ["1000", "inf"])
def test_edm_draws_nothing_at_the_noisiest_level_whichever_equal_level_it_is_given(s_max: str, noise: NoiseOf) -> None:
    """Churn there would be of weight 0, and its draw would shift all later ones."""
    schedule, sampler = DiscreteVP.linear(), SAMPLERS.make(f"edm[s_max={s_max}]")
    found = []
    for steps in (10, 12, 10):
        draws = Counted(noise(1))
        levels = GRIDS.make("trailing")(schedule, steps)
        found.append(sampler.sample(nonlinear(schedule=schedule), start(), levels, draws))
        churned = [t for t in levels[1:-1] if t.ratio >= 0.01]
        assert draws.draws == len(churned)
    assert torch.equal(found[0], found[2])


def test_no_upper_end_of_churn_is_infinity_and_written_as_json_can_hold_it(noise: NoiseOf) -> None:
    assert SAMPLERS.make("edm[s_max=inf]") == EDM(s_max="inf") == EDM(s_max=math.inf)
    assert SAMPLERS.spec_of(EDM(s_max=math.inf)) == "edm[s_max=inf]"
    levels = GRIDS.make("karras")(DiscreteVP.linear(), 7)
    without, far = (
        EDM(s_max=end).sample(nonlinear(schedule=DiscreteVP.linear()), start(), levels, noise(1))
        for end in ("inf", 1e9)
    )
    assert torch.equal(without, far)


@pytest.mark.parametrize("s_max", ["Infinity", "infinite", "-1", "0", "1e999", "NaN"])
def test_what_is_no_end_of_churn_is_refused(s_max: str) -> None:
    with pytest.raises(UsageError):
        SAMPLERS.make(f"edm[s_max={s_max}]")


def test_rk45_has_nothing_to_solve_between_equal_levels(noise: NoiseOf) -> None:
    level, (model, evaluated) = DiscreteVP.linear().level(0.5), counted_nonlinear()
    RK45().sample(model, start(), [level, Level(*level)], noise(1))
    assert evaluated() == 0
