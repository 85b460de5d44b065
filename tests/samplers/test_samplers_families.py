"""Methods that users know by name from other programs, against those programs' formulas, written out in numpy."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
import torch
from nonlinear import (
    VP,
    Array,
    assert_as_by_hand,
    counted_nonlinear,
    each_schedule,
    lagrange,
    lam,
    no_noise,
    nonlinear,
    of_every_length,
    predicted,
    predicted_eps,
    rho,
    start,
)
from scipy.integrate import quad

from models.common.errors import UsageError
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.schedule import VE, DiscreteVP, Flow, Level, Schedule
from samplers import SAMPLERS
from samplers.afs import AnalyticalFirstStep
from samplers.dpm_adaptive import DPMAdaptive
from samplers.dpm_solver_multistep import DPMSolverMultistep
from samplers.dpmpp_2m import DPMpp2M
from samplers.gradient_estimation import GradientEstimation
from samplers.ipndm import IPNDM
from samplers.stork import STORK
from samplers.unipc import UniPC

# k-diffusion works on x / alpha and sigma / alpha


def linear_multistep(order: int, denoised_end: bool, x: Array, levels: Sequence[Level]) -> Array:
    """`sample_lms`: each coefficient an integral of a Lagrange polynomial; ComfyUI ends with the denoised image."""
    y, slopes = x / levels[0].alpha, list[Array]()
    for i, (t, s) in enumerate(pairwise(levels)):
        slopes = [*slopes, predicted_eps(y * t.alpha, t)][-order:]
        if s.is_clean and denoised_end:
            return predicted(y * t.alpha, t)
        places = [rho(levels[i - k]) for k in range(len(slopes))]
        for j, slope in enumerate(reversed(slopes)):
            share, _ = quad(lambda v, j=j, at=places: lagrange(j, at, v), rho(t), rho(s), epsabs=0, epsrel=1e-12)
            y = y + share * slope
    return y * levels[-1].alpha


@each_schedule
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_exact_ipndm_is_the_linear_multistep_method(order: Literal[1, 2, 3, 4], schedule: Schedule) -> None:
    by_hand = partial(linear_multistep, order, False)
    assert_as_by_hand(IPNDM(order, "exact"), lambda x, levels, _: by_hand(x, levels), schedule, None, 1e-9)


@each_schedule
def test_deis_in_rho_is_the_linear_multistep_method_that_ends_with_the_denoised_image(schedule: Schedule) -> None:
    by_hand = partial(linear_multistep, 4, True)
    assert_as_by_hand(
        SAMPLERS.make("deis[variable=rho]"), lambda x, levels, _: by_hand(x, levels), schedule, None, 1e-9
    )


def gradient_estimation(gamma: float, x: Array, levels: Sequence[Level]) -> Array:
    """ComfyUI's: Euler's step, and gamma - 1 of the change of the slope."""
    y, before = x / levels[0].alpha, None
    for t, s in pairwise(levels):
        x0, d = predicted(y * t.alpha, t), predicted_eps(y * t.alpha, t)
        if s.is_clean:
            return x0
        y = y + d * (rho(s) - rho(t))
        if before is not None:
            y = y + (gamma - 1) * (d - before) * (rho(s) - rho(t))
        before = d
    return y * levels[-1].alpha


@each_schedule
@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.3])
def test_gradient_estimation_adds_the_change_of_the_slope(gamma: float, schedule: Schedule) -> None:
    by_hand = partial(gradient_estimation, gamma)
    assert_as_by_hand(GradientEstimation(gamma), lambda x, levels, _: by_hand(x, levels), schedule)


def res_multistep(x: Array, levels: Sequence[Level]) -> Array:
    """ComfyUI's `res_multistep` without ancestral noise, with phi functions, for alpha = 1: here for y = x / alpha."""
    y, before = x / levels[0].alpha, None
    for t, s in pairwise(levels):
        x0 = predicted(y * t.alpha, t)
        if s.is_clean:
            return x0
        h = lam(s) - lam(t)
        if before is None:
            y = y + (y - x0) / rho(t) * (rho(s) - rho(t))
        else:
            c2 = (before[0] - lam(t)) / h
            phi1 = math.expm1(-h) / -h
            phi2 = (phi1 - 1) / -h
            y = math.exp(-h) * y + h * ((phi1 - phi2 / c2) * x0 + phi2 / c2 * before[1])
        before = lam(t), x0
    return y * levels[-1].alpha


@each_schedule
def test_dpmpp_2m_with_the_exact_integral_is_res_multistep(schedule: Schedule) -> None:
    sampler = DPMpp2M(lower_order_below=0, solver_type="taylor")
    assert_as_by_hand(sampler, lambda x, levels, _: res_multistep(x, levels), schedule)


def two_evaluations(name: str, schedule: Schedule, x: Array, levels: Sequence[Level]) -> Array:
    """`sample_dpm_2`, `sample_dpmpp_2s_ancestral` at eta = 0, and ComfyUI's `exp_heun_2_x0`, for y = x / alpha."""
    y = x / levels[0].alpha
    for t, s in pairwise(levels):
        x0, d = predicted(y * t.alpha, t), predicted_eps(y * t.alpha, t)
        if s.is_clean:
            return x0
        h = math.log(rho(t) / rho(s))
        between = schedule.at_ratio(math.sqrt(rho(t) * rho(s)))
        if name == "dpm_2":
            y_2 = y + d * (rho(between) - rho(t))
            y = y + predicted_eps(y_2 * between.alpha, between) * (rho(s) - rho(t))
        elif name == "dpmpp_2s":
            y_2 = rho(between) / rho(t) * y - math.expm1(-h / 2) * x0
            y = rho(s) / rho(t) * y - math.expm1(-h) * predicted(y_2 * between.alpha, between)
        else:
            y_2 = math.exp(-h) * y - math.expm1(-h) * x0
            phi_2 = (math.expm1(-h) + h) / h
            y = y_2 + phi_2 * (predicted(y_2 * s.alpha, s) - x0)
    return y * levels[-1].alpha


@each_schedule
@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("rk[tableau=exp-midpoint,variable=lambda-noise]", "dpm_2"),
        ("rk[tableau=exp-midpoint]", "dpmpp_2s"),
        ("rk[tableau=etd2rk]", "exp_heun_2_x0"),
    ],
)
def test_two_stage_samplers_of_other_programs_are_exponential_tableaus(
    spec: str, name: str, schedule: Schedule
) -> None:
    by_hand = partial(two_evaluations, name, schedule)
    assert_as_by_hand(SAMPLERS.make(spec), lambda x, levels, _: by_hand(x, levels), schedule, None, 1e-9)


class PID:
    """k-diffusion's controller of steps."""

    def __init__(self, h: float, p: float, i: float, d: float, order: int, safety: float) -> None:
        self.h, self.safety = h, safety
        self.b1, self.b2, self.b3 = (p + i + d) / order, -(p + 2 * d) / order, d / order
        self.errs: list[float] = []

    def accepts(self, error: float) -> bool:
        inverse = 1 / (error + 1e-8)
        if not self.errs:
            self.errs = [inverse, inverse, inverse]
        self.errs[0] = inverse
        factor = self.errs[0] ** self.b1 * self.errs[1] ** self.b2 * self.errs[2] ** self.b3
        factor = 1 + math.atan(factor - 1)
        accept = factor >= self.safety
        if accept:
            self.errs[2] = self.errs[1]
            self.errs[1] = self.errs[0]
        self.h *= factor
        return accept


def dpm_adaptive(
    y: Array, t: float, end: float, eps: Callable[[Array, float], Array], order: int, options: dict[str, float]
) -> tuple[Array, int]:
    """`dpm_solver_adaptive` on one image: y = x / alpha, t = log(alpha / sigma); and its evaluations."""
    p, i, d = options.get("pcoeff", 0.0), options.get("icoeff", 1.0), options.get("dcoeff", 0.0)
    pid = PID(options.get("h_init", 0.05), p, i, d, order, 0.81)
    rtol, atol = options.get("rtol", 0.05), 0.0078
    before, evaluations = y, 0
    while t < end:
        s = min(end, t + pid.h)
        h = s - t
        e = eps(y, t)
        if order == 2:
            low = y - math.exp(-s) * math.expm1(h) * e
            u1 = y - math.exp(-t - h / 2) * math.expm1(h / 2) * e
            e1 = eps(u1, t + h / 2)
            high = y - math.exp(-s) * math.expm1(h) * e - math.exp(-s) * math.expm1(h) * (e1 - e)
        else:
            r1, r2 = 1 / 3, 2 / 3
            u1 = y - math.exp(-t - r1 * h) * math.expm1(r1 * h) * e
            e1 = eps(u1, t + r1 * h)
            low = y - math.exp(-s) * math.expm1(h) * (e + (e1 - e) / (2 * r1))
            u2 = y - math.exp(-t - r2 * h) * math.expm1(r2 * h) * e
            u2 = u2 - math.exp(-t - r2 * h) * (r2 / r1) * (math.expm1(r2 * h) / (r2 * h) - 1) * (e1 - e)
            e2 = eps(u2, t + r2 * h)
            high = y - math.exp(-s) * math.expm1(h) * e - math.exp(-s) / r2 * (math.expm1(h) / h - 1) * (e2 - e)
        evaluations += order
        delta = np.maximum(atol, rtol * np.maximum(np.abs(low), np.abs(before)))
        if pid.accepts(float(np.linalg.norm((low - high) / delta)) / math.sqrt(y.size)):
            before, y, t = low, high, s
    return y, evaluations


@each_schedule
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"rtol": 0.002, "h_init": 1.0}, {"rtol": 0.01, "pcoeff": 0.4, "icoeff": 0.5, "dcoeff": 0.1, "h_init": 2.0}],
)
def test_dpm_adaptive_is_k_diffusions_on_each_image(
    order: Literal[2, 3], options: dict[str, float], schedule: Schedule
) -> None:
    def eps(y: Array, t: float) -> Array:
        at = schedule.level(schedule.t_at(t))
        return predicted_eps(y * at.alpha, at)

    sampler = DPMAdaptive(order, **options)
    for levels in of_every_length(schedule)[4:6]:
        x = start() * max(levels[0].sigma, 1.0)
        noisy = [level for level in levels if not level.is_clean]
        runs = [
            dpm_adaptive(image / levels[0].alpha, lam(noisy[0]), lam(noisy[-1]), eps, order, options)
            for image in x.numpy()
        ]
        expected = np.stack([y for y, _ in runs]) * noisy[-1].alpha
        if levels[-1].is_clean:
            expected = predicted(expected, noisy[-1])
        model, evaluated = counted_nonlinear(schedule=schedule)
        found = sampler.sample(model, x, levels, no_noise)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
        assert evaluated() == sum(count for _, count in runs) + len(x) * levels[-1].is_clean


@pytest.mark.parametrize("order", [2, 3])
def test_the_error_of_dpm_adaptive_falls_with_its_tolerance(order: Literal[2, 3]) -> None:
    levels, x = GRIDS.make("leading[clean=false]")(VP, 3), start()
    exact = SAMPLERS.make("rk45[rtol=1e-9,atol=1e-11]").sample(nonlinear(), x, levels, no_noise)
    errors, evaluations = [], []
    for tolerance in (1e-1, 1e-2, 1e-3):
        model, evaluated = counted_nonlinear()
        found = DPMAdaptive(order, rtol=tolerance, atol=tolerance / 10).sample(model, x, levels, no_noise)
        errors.append(float((found - exact).abs().max()))
        evaluations.append(evaluated())
    assert errors[0] > 2 * errors[1] > 8 * errors[2]
    assert evaluations[0] < evaluations[1] < evaluations[2]


def test_dpm_adaptive_says_when_no_step_is_short_enough() -> None:
    def broken(x: torch.Tensor, at: Level) -> torch.Tensor:
        return torch.full_like(x, math.nan)

    with pytest.raises(RuntimeError, match=r"an error of nan in a step of 0\.05"):
        DPMAdaptive().sample(Denoiser(broken, "sample", VP), start(), GRIDS.make("leading")(VP, 3), no_noise)


# the authors' toolboxes for the noise prediction


def multistep_dpm_solver(
    order: int, solver_type: str, halved: bool, below: int, x: Array, levels: Sequence[Level]
) -> Array:
    """`multistep_dpm_solver_second_update` and `third_update` for "dpmsolver"; the steps lose order at the end."""
    past: list[tuple[float, Array]] = []
    steps = len(levels) - 1
    for i, (t, s) in enumerate(pairwise(levels)):
        past.insert(0, (lam(t), predicted_eps(x, t)))
        if s.is_clean:
            return predicted(x, t)
        p = min(order, i + 1, steps - levels[-1].is_clean - i if steps < below else order)
        h, m0 = lam(s) - lam(t), past[0][1]
        phi_1 = math.expm1(h)
        phi_2 = phi_1 / h - 1
        phi_3 = phi_2 / h - 0.5
        x = s.alpha / t.alpha * x - s.sigma * phi_1 * m0
        if p > 1:
            r0 = (past[0][0] - past[1][0]) / h
            d1_0 = (m0 - past[1][1]) / r0
        if p == 2:
            x = x - s.sigma * (0.5 * phi_1 if solver_type == "midpoint" else phi_2) * d1_0
        if p == 3:
            r1 = (past[1][0] - past[2][0]) / h
            d1_1 = (past[1][1] - past[2][1]) / r1
            d1 = d1_0 + r0 / (r0 + r1) * (d1_0 - d1_1)
            d2 = (1 if halved else 2) / (r0 + r1) * (d1_0 - d1_1)
            x = x - s.sigma * phi_2 * d1 - s.sigma * phi_3 * d2
    return x


@each_schedule
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("solver_type", ["midpoint", "taylor"])
def test_multistep_dpm_solver_is_that_of_its_authors_code(
    order: Literal[2, 3], solver_type: Literal["midpoint", "taylor"], schedule: Schedule
) -> None:
    for halved, below in ((False, 100), (True, 10), (False, 0), (True, 4)):
        by_hand = partial(multistep_dpm_solver, order, solver_type, halved, below)
        sampler = DPMSolverMultistep(order, solver_type, halved, below)
        assert_as_by_hand(sampler, lambda x, levels, _, by=by_hand: by(x, levels), schedule)  # type: ignore[misc]


def unipc_of_noise(order: int, variant: str, x: Array, levels: Sequence[Level]) -> Array:
    """`multistep_uni_pc_bh_update` with `predict_x0=False`, the order never falling."""

    def update(x: Array, s: Level, p: int, new: Array | None) -> Array:
        h, m0 = lam(s) - past[0][0], past[0][1]
        rks = [(past[i][0] - past[0][0]) / h for i in range(1, p)]
        d1s = [(past[i][1] - m0) / rk for i, rk in enumerate(rks, 1)]
        if new is not None:
            rks, d1s = [*rks, 1.0], [*d1s, new - m0]
        b_h = h if variant == "bh1" else math.expm1(h)
        phi_k, factorial, b = math.expm1(h) / h - 1, 1.0, list[float]()
        for k in range(1, len(rks) + 1):
            b.append(phi_k * factorial / b_h)
            factorial *= k + 1
            phi_k = phi_k / h - 1 / factorial
        r = np.array([[rk**k for rk in rks] for k in range(len(rks))])
        rhos = [0.5] if len(rks) == 1 else np.linalg.solve(r, np.array(b)) if rks else []
        base = s.alpha / t.alpha * x - s.sigma * math.expm1(h) * m0
        return np.asarray(base - s.sigma * b_h * sum((rho * d for rho, d in zip(rhos, d1s, strict=True)), 0.0 * x))

    past: list[tuple[float, Array]] = [(lam(levels[0]), predicted_eps(x, levels[0]))]
    for i, (t, s) in enumerate(pairwise(levels)):
        if s.is_clean:
            return np.asarray((x - t.sigma * past[0][1]) / t.alpha)
        p = min(order, i + 1)
        guess = update(x, s, p, None)
        if i == len(levels) - 2:
            return guess
        new = predicted_eps(guess, s)
        x = update(x, s, p, new)
        past.insert(0, (lam(s), new))
    return x


@each_schedule
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
def test_unipc_for_the_noise_prediction_is_that_of_its_authors_code(
    order: Literal[1, 2, 3], variant: Literal["bh1", "bh2"], schedule: Schedule
) -> None:
    sampler = UniPC(order, variant, lower_order_below=0, prediction="noise")
    by_hand = partial(unipc_of_noise, order, variant)
    assert_as_by_hand(sampler, lambda x, levels, _: by_hand(x, levels), schedule, None, 1e-9)


# stabilised Runge-Kutta


def b_of(j: int) -> float:
    return {0: 1.0, 1: 1 / 3}.get(j) or 4 * (j - 1) * (j + 4) / (3 * j * (j + 1) * (j + 2) * (j + 3))


def rkg2(y: Array, slope: Callable[[float, Array], Array], substeps: int, published: bool) -> Array:
    """The recursion on images, over a step of length 1; where its substeps lie from the derivative of its polynomials.

    R_j(z) = a_j + b_j C_j(1 + w z) with Gegenbauer's C_j of index 3/2 lies at c_j = b_j w C_j'(1).
    """
    s = substeps
    w = 6 / ((s + 4) * (s - 1))

    def place(j: int) -> float:
        if published:
            return 4 / (3 * (s**2 + s - 2)) if j == 1 else (j**2 + j - 2) / (s**2 + s - 2)
        return b_of(j) * w * 3 * math.comb(j + 3, 4)

    k0 = slope(0.0, y)
    states = [y, y + w * k0]
    for j in range(2, s + 1):
        mu, nu = (2 * j + 1) / j * b_of(j) / b_of(j - 1), -(j + 1) / j * b_of(j) / b_of(j - 2)
        a_before = 1 - j * (j + 1) / 2 * b_of(j - 1)
        new = mu * states[-1] + nu * states[-2] + (1 - mu - nu) * y
        new = new + mu * w * slope(place(j - 1), states[-1]) - a_before * mu * w * k0
        states = [states[-1], new]
    return states[-1]


def continued(past: list[tuple[float, Array]], h: float, c: float) -> Array:
    """The polynomial through the values, c of a step h after the latest."""
    nodes = [at for at, _ in past]
    return np.asarray(sum(lagrange(j, nodes, nodes[0] + c * h) * each for j, (_, each) in enumerate(past)))


def parabola(past: list[tuple[float, Array]], h: float, c: float) -> Array:
    """The code's Taylor polynomial, by its derivatives."""
    (t0, v0), (t1, v1), (t2, v2) = past
    h1, h2 = t1 - t0, t2 - t1
    d1 = (-v2 + 4 * v1 - 3 * v0) / (2 * h1)
    d2 = 2 / (h1 * h2 * (h1 + h2)) * (v2 * h1 - v1 * (h1 + h2) + v0 * h2)
    return np.asarray(v0 + c * h * d1 + 0.5 * (c * h) ** 2 * d2)


def stork(
    flow: bool, degree: int, substeps: int, published: bool, schedule: Schedule, x: Array, levels: Sequence[Level]
) -> Array:
    def time(at: Level) -> float:
        return at.sigma / (at.alpha + at.sigma) if flow else at.t

    def value(x: Array, at: Level) -> Array:
        return predicted_eps(x, at) - predicted(x, at) if flow else predicted_eps(x, at)

    def slope_of(y: Array, at: Level, said: Array) -> Array:
        return said if flow else at.drift * y + 0.5 * at.diffusion2 / at.sigma * said

    past: list[tuple[float, Array]] = []
    for i, (t, s) in enumerate(pairwise(levels)):
        now = value(x, t)
        past = [(time(t), now), *past[:degree]]
        if s.is_clean and (i == 0 or not flow):
            return predicted(x, t)
        h = time(s) - time(t)
        scale = (t.alpha + t.sigma) if flow else 1.0
        y = x / scale
        if i == 0:
            middle = (
                schedule.at_ratio((time(t) + h / 2) / (1 - time(t) - h / 2)) if flow else schedule.level(t.t + h / 2)
            )
            k0 = slope_of(y, t, now)
            half = y + h / 2 * k0
            k1 = slope_of(half, middle, value(half * ((middle.alpha + middle.sigma) if flow else 1.0), middle))
            y = half + h / 2 * (1.5 * k1 - 0.5 * k0)
        else:
            said = partial(parabola if published and len(past) == 3 else continued, past, h)

            def slope(c: float, y: Array, t: Level = t, h: float = h, said: Callable[[float], Array] = said) -> Array:
                return h * slope_of(y, t if flow else schedule.level(t.t + c * h), said(c))

            y = rkg2(y, slope, substeps, published and len(past) == 3)
        x = y * ((s.alpha + s.sigma) if flow else 1.0)
    return x


@each_schedule
@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("prediction", ["flow", "noise"])
def test_stork_2_is_its_recursion_with_continued_predictions(
    prediction: Literal["flow", "noise"], degree: Literal[1, 2, 3], schedule: Schedule
) -> None:
    for substeps in (2, 3, 20):
        by_hand = partial(stork, prediction == "flow", degree, substeps, False, schedule)
        if prediction == "flow" or schedule.train_steps is None:  # the kinks of a discrete schedule: by round-off
            sampler = STORK(2, prediction, degree, substeps)
            tolerance = 1e-8 if isinstance(schedule, VE) else 1e-9  # sigma = 72 and 50 are 0.986 and 0.980 in flow time
            assert_as_by_hand(sampler, lambda x, levels, _, by=by_hand: by(x, levels), schedule, None, tolerance)  # type: ignore[misc]


@each_schedule
def test_published_stork_2_has_its_codes_places_and_derivatives(schedule: Schedule) -> None:
    by_hand = partial(stork, True, 2, 50, True, schedule)
    sampler = SAMPLERS.make("stork[published=true]")
    assert_as_by_hand(sampler, lambda x, levels, _: by_hand(x, levels), schedule, None, 1e-9)


def test_stork_4_for_flows_is_adams_bashforth_in_their_time() -> None:
    """On a flow's own schedule, after the start: the integral of the polynomial through the last velocities."""
    schedule = Flow()
    levels = [schedule.level(t) for t in (1.0, 0.7, 0.55, 0.2, 0.0)]
    for degree in (1, 2, 3):
        x = start()
        sampler = SAMPLERS.make(f"stork[solver_order=4,degree={degree}]")
        found = sampler.sample(nonlinear(schedule=schedule), x, levels, no_noise)
        y, past = x.numpy(), list[tuple[float, Array]]()
        for i, (t, s) in enumerate(pairwise(levels)):
            v, h = predicted_eps(y, t) - predicted(y, t), s.t - t.t
            past = [(t.t, v), *past[:degree]]
            if i == 0:
                middle = schedule.level(t.t + h / 2)
                half = y + h / 2 * v
                y = half + h / 2 * (1.5 * (predicted_eps(half, middle) - predicted(half, middle)) - 0.5 * v)
                continue
            nodes = [at for at, _ in past]
            for j, (_, each) in enumerate(past):
                y = y + quad(lambda u, j=j, at=nodes: lagrange(j, at, u), t.t, s.t)[0] * each
        np.testing.assert_allclose(found, y, rtol=1e-9, atol=1e-9)


def test_stork_refuses_what_it_is_not() -> None:
    for wrong in ("solver_order=4,prediction=noise", "published=true,degree=3", "published=true,prediction=noise"):
        with pytest.raises(UsageError, match=r"STORK-4 for the noise|published is of"):
            SAMPLERS.make(f"stork[{wrong}]")


# the analytical first step


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
