"""Where diffusers' schedulers do something else than our samplers, whatever their settings: what it is, who is right.

Each difference is named and undone on one side, and then the two agree to round-off: it is all there is. What the
papers say is worked out by hand in test_samplers_*.py; here exact solutions tell the two apart.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_consistency_models import CMStochasticIterativeScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_dpmsolver_singlestep import DPMSolverSinglestepScheduler
from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_sasolver import SASolverScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from diffusers_runs import SCHEDULE, NoiseOf, Stepped, as_table, difference, digits, draws_from
from torch import Tensor

from models.analytic import Gaussian
from models.denoiser import Denoiser
from models.grids import LogSNR
from models.schedule import ContinuousVP, Level
from samplers import SAMPLERS, Noise, coefficients, sa_solver

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*dpmsolver.* is deprecated:FutureWarning"),
]

TO_DATA, TO_NOISE = "quad", "quad[clean=false]"
EXACT = torch.float64
each_steps = pytest.mark.parametrize("steps", [10, 20])

Moment = Callable[[float, int], float]
_moment = coefficients._exponential_moment


def with_moments(patch: pytest.MonkeyPatch, module: Any, moment_of: Callable[[int], Moment]) -> None:
    """Let a sampler integrate its polynomials with other moments, given the number of their nodes."""

    def weights(rate: float, t: Level, s: Level, *nodes: Level) -> tuple[float, ...]:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(coefficients, "_exponential_moment", moment_of(len(nodes)))
            return coefficients.exponential_weights.__wrapped__(rate, t, s, *nodes)

    patch.setattr(module, "exponential_weights", weights)


# DPM-Solver++(3M): the quadratic term has half its coefficient there, so the method is of second order


@each_steps
def test_diffusers_takes_half_of_the_quadratic_term_of_dpmpp_3m(steps: int, noise: NoiseOf) -> None:
    theirs = Stepped(DPMSolverMultistepScheduler, {"solver_order": 3, "lower_order_final": False})
    ours = "dpm++3m[lower_order_below=0]"
    assert difference(ours, TO_DATA, steps, theirs, noise, EXACT) > 1e-3
    halved = "dpm++3m[halved=true,lower_order_below=0]"
    assert difference(halved, TO_DATA, steps, theirs, noise, EXACT) < 1e-11
    assert difference(halved, TO_DATA, steps, theirs, noise, torch.float32) < 1e-4


_third_order = DPMSolverMultistepScheduler.multistep_dpm_solver_third_order_update


def with_the_right_sign(scheduler: Any, outputs: list[Tensor], *args: Any, **options: Any) -> Tensor:
    """The third-order step of the reverse SDE with + 1 / 2 where it has - 1 / 2 in the factor of D_2."""
    at = [scheduler.sigmas[scheduler.step_index + offset] for offset in (1, 0, -1, -2)]  # sigma / alpha
    h, h_0, h_1 = (float(b.log() - a.log()) for a, b in pairwise(at))
    first, second = (outputs[-1] - outputs[-2]) * (h / h_0), (outputs[-2] - outputs[-3]) * (h / h_1)
    left_out = float(scheduler._sigma_to_alpha_sigma_t(at[0])[0]) * (first - second) * (h / (h_0 + h_1))
    found: Tensor = _third_order(scheduler, outputs, *args, **options) + left_out
    return found


@each_steps
def test_diffusers_has_a_wrong_sign_in_the_third_order_step_of_the_reverse_sde(
    steps: int, noise: NoiseOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves minus D_2 in every step, an error in h^2, as a method of first order has."""
    options = {"algorithm_type": "sde-dpmsolver++", "solver_order": 3, "solver_type": "heun"}
    theirs = Stepped(DPMSolverMultistepScheduler, {**options, "lower_order_final": False})
    assert difference("dpm++3m-sde", TO_DATA, steps, theirs, noise, EXACT) > 1e-2
    monkeypatch.setattr(DPMSolverMultistepScheduler, _third_order.__name__, with_the_right_sign)
    assert difference("dpm++3m-sde", TO_DATA, steps, theirs, noise, EXACT) < 1e-10
    assert difference("dpm++3m-sde", TO_DATA, steps, theirs, noise, torch.float32) < 1e-4
    spec = "diffusers:DPMSolverMultistepScheduler[algorithm_type=sde-dpmsolver++,solver_order=3]"
    assert "has the wrong sign" in (SAMPLERS.make(spec).caveat or "")


def diffusers_on(model: Denoiser, x: Tensor, levels: Sequence[Level]) -> Tensor:
    """`DPMSolverMultistepScheduler` of order 3 on any network that knows the levels."""
    scheduler = DPMSolverMultistepScheduler(solver_order=3, lower_order_final=False, final_sigmas_type="sigma_min")
    scheduler.set_timesteps(len(levels) - 1)
    scheduler.sigmas = torch.tensor([level.ratio for level in levels], dtype=EXACT)
    scheduler.timesteps = torch.arange(len(levels) - 1)
    for t, level in zip(scheduler.timesteps, levels, strict=False):
        eps = model(x, level).eps
        with draws_from(lambda like: like, scheduler, EXACT):
            x = scheduler.step(eps, t, x, return_dict=False)[0]
    return x


def test_dpmpp_3m_is_of_third_order_and_that_of_diffusers_of_second(noise: NoiseOf) -> None:
    mean, variances = torch.tensor([[0.3, -0.5], [1.5, 0.3]], dtype=EXACT)
    law = Gaussian(mean, torch.diag(variances), (1, 1, 2))
    schedule = ContinuousVP()
    model = Denoiser(law, "sample", schedule)
    x = noise(1)(torch.empty(8, 1, 1, 2, dtype=EXACT))
    errors: dict[str, list[float]] = {"ours": [], "theirs": []}
    for steps in (80, 160, 320):
        levels = LogSNR(clean=False, t_end=0.1)(schedule, steps)
        exact = law.flow(x, levels[0], levels[-1])
        ours = SAMPLERS.make("dpm++3m[lower_order_below=0]").sample(model, x, levels, noise(2))
        errors["ours"].append(float((ours - exact).abs().max()))
        errors["theirs"].append(float((diffusers_on(model, x, levels) - exact).abs().max()))
    orders = {who: [math.log2(a / b) for a, b in pairwise(found)] for who, found in errors.items()}
    assert orders["ours"] == pytest.approx([3.0, 3.0], abs=0.2)
    assert orders["theirs"] == pytest.approx([2.0, 2.0], abs=0.2)


# DPM-Solver-3: its second stage has another coefficient there, that of DPM-Solver-2


def second_stage_of_the_paper(scheduler: Any) -> dict[str, Any]:
    """Take "heun", (e^h - 1) / h - 1, in the stages of order 2 that one of order 3 follows (algorithm 5, line 5)."""
    orders, at = scheduler.order_list, scheduler.step_index or 0
    stage = orders[at : at + 2] == [2, 3]
    scheduler.register_to_config(solver_type="heun" if stage else "midpoint")
    return {}


@each_steps
def test_diffusers_takes_half_a_step_in_the_second_stage_of_dpm_solver_3(steps: int, noise: NoiseOf) -> None:
    options = {"solver_order": 3, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
    theirs = Stepped(DPMSolverSinglestepScheduler, options)
    assert difference("dpm-solver-3", TO_NOISE, steps, theirs, noise, EXACT) > 1e-3
    of_the_paper = Stepped(DPMSolverSinglestepScheduler, options, before=second_stage_of_the_paper)
    assert difference("dpm-solver-3", TO_NOISE, steps, of_the_paper, noise, EXACT) < 1e-11
    assert difference("dpm-solver-3", TO_NOISE, steps, of_the_paper, noise, torch.float32) < 1e-4


# UniPC: B(h) = h is infinite on the step to the clean level


@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_with_bh1_reaches_the_clean_level_and_that_of_diffusers_is_nan(order: int, noise: NoiseOf) -> None:
    options = {"solver_order": order, "solver_type": "bh1", "final_sigmas_type": "zero"}
    theirs = Stepped(UniPCMultistepScheduler, options)
    assert math.isnan(difference(f"unipc[solver_order={order},variant=bh1]", TO_DATA, 10, theirs, noise, EXACT))
    levels = LogSNR()(SCHEDULE, 10)
    x = noise(1)(torch.empty(2, 1, 8, 8, dtype=EXACT))
    seen: list[Tensor] = []

    def network(x: Tensor, at: Level) -> Tensor:
        output = digits(EXACT)(x, at)
        seen.append((x - at.sigma * output) / at.alpha)
        return output

    ours = SAMPLERS.make(f"unipc[solver_order={order},variant=bh1]")
    found = ours.sample(Denoiser(network, "epsilon", SCHEDULE), x, levels, noise(2))
    assert torch.allclose(found, seen[-1], rtol=0.0, atol=1e-12)  # the step to the data is x_0 itself


# SA-Solver: at order 2 the linear term is integrated as if the step were short


def short_step(nodes: int) -> Moment:
    """The first moment z / 2 of a short step in place of (z - 1 + e^-z) / z, where two values are used."""
    return lambda z, m: z / 2.0 if (nodes, m) == (2, 1) else _moment(z, m)


@pytest.mark.parametrize(("tau", "steps"), [(0.0, 20), (1.0, 10)])
@pytest.mark.parametrize(("predictor", "corrector", "below"), [(2, 2, 0), (3, 3, 0), (3, 4, 0), (2, 2, 99), (3, 4, 99)])
def test_diffusers_adds_a_term_to_sa_solver_where_two_values_are_used(
    predictor: int, corrector: int, below: int, tau: float, steps: int, noise: NoiseOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Higher orders have it in their first steps, and in the last ones where the order falls."""
    orders = {"predictor_order": predictor, "corrector_order": corrector}
    theirs = Stepped(SASolverScheduler, {**orders, "tau_func": lambda t: tau, "lower_order_final": below > 0})
    ours = f"predictor_order={predictor},corrector_order={corrector},tau={tau},t_min=0,t_max=1"
    ours = f"sa-solver[{ours},lower_order_below={below}]"
    assert difference(ours, TO_NOISE, steps, theirs, noise, EXACT) > 1e-4
    with_moments(monkeypatch, sa_solver, short_step)
    assert difference(ours, TO_NOISE, steps, theirs, noise, EXACT) < 1e-10
    assert difference(ours, TO_NOISE, steps, theirs, noise, torch.float32) < 1e-4


def test_sa_solver_is_exact_where_x_0_is_linear_in_log_snr_and_with_the_added_term_it_is_not(
    noise: NoiseOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eq. 14 at tau = 0: (sigma_s / sigma_t) x + alpha_s times the integral of e^(lambda - lambda_s) x_0."""
    model = Denoiser(lambda x, at: torch.full_like(x, 0.2 + 0.1 * at.logsnr), "sample", SCHEDULE)
    levels = LogSNR(clean=False)(SCHEDULE, 5)
    t, s = levels[0], levels[-1]
    x = noise(1)(torch.empty(2, 1, 2, 2, dtype=EXACT))
    decay = math.exp(t.logsnr - s.logsnr)
    integral = (0.2 + 0.1 * (s.logsnr - 1.0)) - decay * (0.2 + 0.1 * (t.logsnr - 1.0))
    exact = s.sigma / t.sigma * x + s.alpha * integral
    sampler = SAMPLERS.make("sa-solver[tau=0,lower_order_below=0]")
    assert float((sampler.sample(model, x, levels, noise(2)) - exact).abs().max()) < 1e-13
    with_moments(monkeypatch, sa_solver, short_step)
    assert float((sampler.sample(model, x, levels, noise(2)) - exact).abs().max()) > 1e-2


@each_steps
def test_sa_solver_has_noise_at_the_same_times_as_that_of_diffusers(steps: int, noise: NoiseOf) -> None:
    """Its default window; diffusers draws outside of it, too, for nothing, so here all draws are the same."""
    options = {"predictor_order": 1, "corrector_order": 1, "tau_func": lambda t: float(200 <= t + 1 <= 800)}

    def same(_: int) -> Noise:
        return lambda like: noise(3)(like)

    def of_seed(seed: int) -> Noise:
        return noise(1) if seed == 1 else same(seed)

    ours = "sa-solver[predictor_order=1,corrector_order=1]"
    theirs = Stepped(SASolverScheduler, options)
    assert difference(ours, TO_NOISE, steps, theirs, of_seed, EXACT) < 1e-11


# S-PNDM: what diffusers has under `skip_prk_steps` goes on to four values


def two_values(scheduler: Any) -> dict[str, Any]:
    scheduler.ets = scheduler.ets[-1:] if scheduler.counter > 1 else scheduler.ets
    return {}


@each_steps
def test_diffusers_goes_on_from_s_pndm_to_four_values(steps: int, noise: NoiseOf) -> None:
    """As latent diffusion's PLMS does; the paper's second-order variant stays at two (appendix A.4)."""
    theirs = Stepped(PNDMScheduler, {"skip_prk_steps": True}, as_table)
    assert difference("pndm[variant=S]", "leading", steps, theirs, noise, EXACT) > 1e-3
    with_two = Stepped(PNDMScheduler, {"skip_prk_steps": True}, as_table, before=two_values)
    assert difference("pndm[variant=S]", "leading", steps, with_two, noise, EXACT) < 1e-11
    assert difference("pndm[variant=S]", "leading", steps, with_two, noise, torch.float32) < 1e-4


# The linear multistep method: diffusers extrapolates its polynomial to sigma = 0


def first_order_at_the_end(scheduler: Any) -> dict[str, Any]:
    return {"order": 1 if (scheduler.step_index or 0) == len(scheduler.timesteps) - 1 else 4}


@each_steps
def test_diffusers_extrapolates_the_noise_prediction_to_the_clean_level(steps: int, noise: NoiseOf) -> None:
    """There is no noise to predict at sigma = 0; ours ends with a step of first order."""
    theirs = Stepped(LMSDiscreteScheduler, scaled=True)
    assert difference("deis[variable=rho]", TO_DATA, steps, theirs, noise, EXACT) > 1e-4
    ends_low = Stepped(LMSDiscreteScheduler, scaled=True, before=first_order_at_the_end)
    assert difference("deis[variable=rho]", TO_DATA, steps, ends_low, noise, EXACT) < 1e-11
    assert difference("deis[variable=rho]", TO_DATA, steps, ends_low, noise, torch.float32) < 1e-4


# Consistency models: the data themselves have noise of sigma_min there


def consistency_model(sigma_min: float) -> Stepped:
    """Its state is x / alpha, and its network's output lies behind a skip connection, which is taken off again."""

    def output(scheduler: Any, x: Tensor, eps: Tensor) -> Tensor:
        sigma = scheduler.sigmas[scheduler.step_index or 0]
        skip, out = map(float, scheduler.get_scalings_for_boundary_condition(sigma))
        return (x - float(sigma) * eps - skip * x) / out

    def place(scheduler: Any, levels: Sequence[Level], dtype: torch.dtype) -> None:
        scheduler.sigmas = torch.tensor([*(level.ratio for level in levels[:-1]), sigma_min], dtype=dtype)
        scheduler.timesteps = torch.tensor([float(SCHEDULE.index(level.t)) for level in levels[:-1]], dtype=dtype)
        scheduler._step_index = 0
        scheduler.scale_model_input = lambda x, t: x / (scheduler.sigmas[scheduler.step_index] ** 2 + 1.0) ** 0.5
        scheduler.is_scale_input_called = True

    options = {"sigma_min": sigma_min, "clip_denoised": False}
    return Stepped(CMStochasticIterativeScheduler, options, place, scaled=True, output=output)


@each_steps
def test_consistency_sampling_is_that_of_diffusers_for_data_without_noise(steps: int, noise: NoiseOf) -> None:
    """Algorithm 1 puts noise of sqrt(tau^2 - sigma_min^2) onto data that have sigma_min; ours have none."""
    assert difference("consistency", "trailing", steps, consistency_model(0.0), noise, EXACT) < 1e-11
    assert 1e-9 < difference("consistency", "trailing", steps, consistency_model(0.002), noise, EXACT) < 1e-4
