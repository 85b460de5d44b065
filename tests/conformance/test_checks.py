"""Every registered sampler conforms, with the order of the literature."""

import math
from collections.abc import Iterator
from itertools import product

import pytest

from bench.conformance import strong
from bench.conformance.law_checks import reaches_law
from bench.conformance.laws import convergence
from bench.conformance.purity_checks import PURITY_CHECKS
from bench.conformance.repeat_checks import repeats_at_ends
from bench.conformance.suite import CHECKS, Check, run_check
from samplers import SAMPLERS

_VARIANTS = [
    "ddpm[variance=fixed_large]",
    "ddpm[variance=learned_range]",
    "ddpm[variance=analytic]",
    "ddim[eta=0.5]",
    "ddim[eta=1]",
    "ddim[eta=1.5]",
    "deis[degree=1]",
    "deis[degree=2]",
    "deis[variable=rho]",
    "deis[variable=vp-t]",
    "deis[variable=log-rho]",
    "dpm++2m-sde[solver=heun,eta=0.5]",
    "dpm++2m-sde[eta=0,solver=heun]",
    "dpm++2s-ancestral[eta=0]",
    "dpm++3m-sde[halved=false]",
    "dpm++3m-sde[eta=0]",
    "dpm++3m-sde[eta=0,halved=false]",
    "dpm++sde[clock=snr]",
    "dpm++sde[eta=0.5]",
    "dpm++sde[eta=0]",
    "dpm-2-ancestral[eta=0]",
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
    "restart[intervals=[[2,2,0.06,0.3],[2,1,1,2]]]",
    "sa-solver[tau=0,predictor_order=3,corrector_order=4]",
    "sa-solver[tau=0,corrector_order=0,predictor_order=3]",
    "sa-solver[tau=0,pc_mode=PECE,predictor_order=3,corrector_order=4]",
    "sa-solver[mode=few_steps]",
    "sa-solver[mode=more_steps,pc_mode=PECE]",
    "sa-solver[t_min=0,t_max=1]",
    "seeds-2[prediction=noise]",
    "seeds-2[r=1,solver=phi_2]",
    "seeds-2[eta=0,solver=phi_2]",
    "seeds-2[eta=0,prediction=noise]",
    "seeds-3[prediction=noise]",
    "seeds-3[eta=0]",
    "seeds-3[eta=0,prediction=noise]",
    "stork[published=true]",
    "stork[solver_order=4]",
    "unipc[prediction=noise]",
    "unipc[solver_order=1,variant=bh1]",
    "unipc[solver_order=2]",
]


_OF_THE_CLASS = {
    "keeps shape, dtype and device, and stays finite",
    "leaves its input untouched",
    *(check.name for check in PURITY_CHECKS),
    "has parameters that survive JSON",
    "says what a record can hold",
}
"""What no parameter changes; and of its parameters a sampler's own check tries all the ends."""


def _checked() -> Iterator[tuple[str, Check]]:
    """All checks of all samplers, but the law of what solves the probability flow: its error on a mixture, which has to
    fall with its order, or for those without one to the exact solution on every schedule (test_parametrisations.py),
    says more in less time. Of a variant what is left out, too, is of its class.
    """
    for spec, check in product([*SAMPLERS.names(), *_VARIANTS], CHECKS):
        sampler = SAMPLERS.make(spec)
        solves = not sampler.stochastic and sampler.needs == "denoiser"
        tried = spec in _VARIANTS and (check.run is repeats_at_ends or check.name in _OF_THE_CLASS)
        if not (tried or (solves and check.run is reaches_law)):
            yield spec, check


def test_what_is_left_out_of_variants_are_checks() -> None:
    assert {check.name for check in CHECKS} >= _OF_THE_CLASS


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


@pytest.mark.parametrize("variant", ["", ",mode=more_steps", ",mode=few_steps,predictor_order=3,corrector_order=4"])
def test_the_order_of_sa_solver_without_noise_shows_with_many_steps(variant: str) -> None:
    """With two values each the errors of predictor and corrector cancel where steps are few; of higher orders, the
    error of the last step of the authors' modes, which is of first order, is a small part there.
    """
    sampler = SAMPLERS.make(f"sa-solver[tau=0{variant}]")
    assert convergence(sampler, (510, 1022, 2042)).orders[-1] == pytest.approx(2, abs=0.2)
    assert sampler.order == 2


def test_the_table_of_strong_orders_has_a_line_for_each_sampler(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(strong, "_TABLE", (8, 16))
    strong.main(["ddpm", "seeds-2"])
    head, rule, *lines = capsys.readouterr().out.splitlines()
    assert head == "| Sampler | 8 steps | 16 steps | Last order |"
    assert rule == "|:--|--:|--:|--:|"
    assert [line.split("`")[1] for line in lines] == ["ddpm", "seeds-2"]
    coarse, fine, order = (float(cell) for cell in lines[0].split("|")[2:5])
    assert order == pytest.approx(math.log2(coarse / fine), abs=0.2)
