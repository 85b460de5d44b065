"""Every registered sampler conforms, with the order of the literature."""

from collections.abc import Iterator
from itertools import product

import pytest

from bench.conformance.law_checks import reaches_law
from bench.conformance.laws import convergence
from bench.conformance.repeat_checks import repeats_at_ends
from bench.conformance.suite import CHECKS, Check, run_check
from samplers import SAMPLERS

_VARIANTS = [
    "ddpm[variance=fixed_large]",
    "ddpm[variance=learned_range]",
    "ddpm[variance=analytic]",
    "ddim[eta=0.5]",
    "ddim[eta=1]",
    "deis[degree=1]",
    "deis[degree=2]",
    "deis[variable=rho]",
    "deis[variable=vp-t]",
    "deis[variable=log-rho]",
    "edm[s_churn=0]",
    "er-sde[noise_scale=ode]",
    "er-sde[noise_scale=sde,solver_order=1]",
    "dpm++3m[halved=true,lower_order_below=1000]",
    "dpm++2m[solver_type=taylor]",
    "dpm++3s[solver_type=taylor]",
    "dpm-solver-2[solver_type=taylor]",
    "dpm-solver-multistep[solver_order=3]",
    "gradient-estimation[gamma=1.5]",
    "ipndm[solver_order=2]",
    "ipndm[variant=exact]",
    "ipndm[variant=v-published]",
    "pndm[variant=S]",
    "rk[tableau=kutta3,variable=t]",
    "rk[tableau=heun2,variable=flow]",
    "rk[tableau=etd4rk]",
    "rk[tableau=res-3s,variable=lambda-noise]",
    "predictor-corrector[predictor=ancestral]",
    "sa-solver[tau=0,predictor_order=3,corrector_order=4]",
    "stork[published=true]",
    "stork[solver_order=4]",
    "unipc[prediction=noise]",
    "unipc[solver_order=1,variant=bh1]",
    "unipc[solver_order=2]",
]


def _checked() -> Iterator[tuple[str, Check]]:
    """All checks of all samplers. Of a variant that declares an order the law is left out: its error on a mixture,
    which has to fall with that order, says more in less time; and so is what tries parameters itself.
    """
    for spec, check in product([*SAMPLERS.names(), *_VARIANTS], CHECKS):
        solves = spec in _VARIANTS and SAMPLERS.make(spec).order is not None
        tried = spec in _VARIANTS and check.run is repeats_at_ends
        if not (tried or (solves and check.run is reaches_law)):
            yield spec, check


@pytest.mark.parametrize(("spec", "check"), list(_checked()), ids=lambda each: getattr(each, "name", each))
def test_conforms(spec: str, check: Check) -> None:
    result = run_check(check, SAMPLERS.make(spec))
    assert result.outcome != "failed", result.detail


@pytest.mark.parametrize(
    ("spec", "order"),
    [
        ("ddim", 1),
        ("pf-euler", 1),
        ("heun", 2),
        ("dpm-solver-2", 2),
        ("dpm++2s", 2),
        ("dpm++2m", 2),
        ("pndm", 2),
        ("ipndm", 2),
        ("dpm-solver-multistep", 2),
        ("rk", 4),
        ("dpm-solver-3", 3),
        ("dpm++3m", 3),
        ("dpm++3s", 3),
        ("rk[tableau=kutta3]", 3),
        ("unipc[solver_order=2]", 3),
        ("deis[degree=2]", 3),
        ("unipc", 4),
        ("deis", 4),
    ],
)
def test_the_last_doubling_of_the_steps_shows_the_order_of_the_literature(spec: str, order: int) -> None:
    assert convergence(SAMPLERS.make(spec)).orders[-1] == pytest.approx(order, abs=0.1)


def test_the_order_of_sa_solver_without_noise_shows_with_many_steps() -> None:
    """With two values each the errors of predictor and corrector cancel where steps are few."""
    found = convergence(SAMPLERS.make("sa-solver[tau=0]"), (510, 1022, 2042)).orders
    assert found[-1] == pytest.approx(2, abs=0.2)
