"""The analytical first step: what it does to a sampler, and of which it can be one."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from nonlinear import (
    VP,
    Array,
    assert_as_by_hand,
    counted_nonlinear,
    no_noise,
    nonlinear,
    predicted,
    predicted_eps,
    rho,
    start,
)

from models.common.errors import UsageError
from models.grids import GRIDS
from models.schedule import VE, DiscreteVP, Flow, Level, Schedule
from samplers import SAMPLERS
from samplers.afs import AnalyticalFirstStep


@pytest.mark.parametrize("schedule", [VE(), VP, DiscreteVP.linear()], ids=["ve", "vp", "ddpm"])
def test_the_analytical_first_step_takes_the_state_for_its_noise(schedule: Schedule) -> None:
    """diff-sampler's on EDM's levels: d = x / sqrt(1 + sigma^2); eps = x on variance-preserving ones, GENIE's."""

    def euler(x: Array, levels: Sequence[Level]) -> Array:
        y = x / levels[0].alpha
        for i, (t, s) in enumerate(pairwise(levels)):
            known = i == 0 and len(levels) > 2
            d = y / math.sqrt(1 + rho(t) ** 2) if known else predicted_eps(y * t.alpha, t)
            if known and not isinstance(schedule, VE):
                np.testing.assert_allclose(d, x, rtol=1e-10)
            y = y + d * (rho(s) - rho(t))
        return y * levels[-1].alpha

    assert_as_by_hand(SAMPLERS.make("afs[sampler=ddim]"), lambda x, levels, _: euler(x, levels), schedule)


def test_the_analytical_first_step_is_one_evaluation_fewer_of_any_sampler() -> None:
    levels = GRIDS.make("leading")(VP, 6)
    for spec in ("ddim", "ipndm", "heun", "unipc", "dpm-solver-3", "rk[tableau=etd4rk]", "dpm++2m[solver_type=taylor]"):
        inner, outer = SAMPLERS.make(spec), SAMPLERS.make(f"afs[sampler={spec}]")
        model, evaluated = counted_nonlinear()
        found = outer.sample(model, start(), levels, no_noise)
        assert evaluated() / len(start()) == outer.nfe(levels) == (inner.nfe(levels) or 0) - 1
        assert not torch.equal(found, inner.sample(model, start(), levels, no_noise))
        assert (outer.order, outer.stochastic, outer.family) == (None, inner.stochastic, inner.family)
        assert SAMPLERS.spec_of(outer) == (f"afs[sampler={spec}]" if spec != "ipndm" else "afs")
    assert AnalyticalFirstStep("ddim[eta=0.5]").stochastic
    assert (AnalyticalFirstStep("ddpm").strong_order, AnalyticalFirstStep("ddim").strong_order) == (1.0, None)


def test_the_analytical_first_step_says_of_a_sampler_what_that_says_itself() -> None:
    body = {"takes_betas": True, "takes_flow": True, "caveat": "of libraries", "__module__": __name__}
    SAMPLERS.register("particular")(type("Particular", (type(SAMPLERS.make("ddim")),), body))
    outer = AnalyticalFirstStep("particular")
    assert (outer.takes_betas, outer.takes_flow, outer.caveat) == (True, True, "of libraries")


def test_with_the_analytical_first_step_a_flow_can_start_at_noise_alone() -> None:
    levels = [Flow().level(t) for t in (1.0, 0.5, 0.0)]
    sampler = SAMPLERS.make("afs[sampler=ddim]")
    assert sampler.starts_at_noise
    found = sampler.sample(nonlinear(schedule=Flow()), start(), levels, no_noise)
    np.testing.assert_allclose(found, predicted(0.5 * start().numpy(), levels[1]), rtol=1e-12)


@pytest.mark.parametrize("spec", ["one-step", "consistency", "afs", "diffusers:DDIMScheduler"])
def test_the_analytical_first_step_refuses_samplers_that_have_none(spec: str) -> None:
    with pytest.raises(UsageError, match=f"samplers on a grid that ask a denoiser, got '{spec}'"):
        SAMPLERS.make(f"afs[sampler={spec}]")


def test_the_analytical_first_step_says_what_it_cannot_wrap() -> None:
    with pytest.raises(UsageError, match=r"without a fit, got 'ddpm\[variance=analytic\]'"):
        SAMPLERS.make("afs[sampler=ddpm[variance=analytic]]")
    assert SAMPLERS.make("afs[sampler=ddpm[variance=learned_range]]").takes_variance
    with pytest.raises(UsageError, match="fixed steps, got 'rk45'"):
        SAMPLERS.make("afs[sampler=rk45]").nfe(GRIDS.make("leading")(VP, 4))
    with pytest.raises(UsageError, match="unknown sampler 'ddin'"):
        SAMPLERS.make("afs[sampler=ddin]")
