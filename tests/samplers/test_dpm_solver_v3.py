"""DPM-Solver-v3 against what it is without statistics, its statistics against closed forms, and an independent step."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from bench.conformance import laws
from bench.conformance.check import SHAPE
from bench.fitting.model import CountedModel, fitted_to
from models.analytic import Gaussian
from models.denoiser import Denoiser
from models.fitted import images_of
from models.grids import GRIDS
from models.schedule import ContinuousVP, DiscreteVP, Level
from samplers import SAMPLERS, model_statistics
from samplers.coefficients import exponential_weights
from samplers.dpm_solver_v3 import DPMSolverV3
from samplers.model_statistics import Statistics

SCHEDULE = ContinuousVP()


def model_of(network: Any) -> CountedModel:
    def make(numbers: Tensor) -> tuple[Denoiser, Any]:
        return Denoiser(network, "sample", SCHEDULE), lambda: 0

    return CountedModel(SCHEDULE, SHAPE, (-100.0, 100.0), make, 64, torch.device("cpu"), dtype=torch.float64)


def degenerate(schedule: Any) -> Statistics:
    logsnrs = np.linspace(schedule.level(schedule.t_max).logsnr, schedule.level(schedule.t_min).logsnr, 9)
    ones = torch.ones(9, *SHAPE, dtype=torch.float64)
    given = {"logsnrs": torch.from_numpy(logsnrs), "l": ones, "s": 0.0 * ones, "b": 0.0 * ones}
    return Statistics.read(given)


def no_noise(like: Tensor) -> Tensor:
    raise AssertionError("it draws noise")


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("below", [0, 100])
def test_without_statistics_it_is_the_exact_exponential_multistep_for_x_0(clean: bool, order: int, below: int) -> None:
    law = laws.mixture_law().network
    x = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ours = SAMPLERS.make(f"dpm-solver-v3[corrector=none,solver_order={order},lower_order_below={below}]")
    for schedule in (SCHEDULE, DiscreteVP.linear()):
        levels = GRIDS.make(f"logsnr[clean={str(clean).lower()}]")(schedule, 7)
        model = Denoiser(law, "sample", schedule, fitted=degenerate(schedule))
        with torch.inference_mode():
            found = ours.sample(model, x, levels, no_noise)
            state, past = x, list[tuple[Level, Tensor]]()
            for done, (t, s) in enumerate(pairwise(levels)):
                past = [(t, model(state, t).x0), *past]
                if s.is_clean:
                    state = past[0][1]
                    break
                left = 7 - clean - done if below else order
                used = past[: min(order, done + 1, max(left, 1))]
                weights = exponential_weights(1.0, t, s, *(level for level, _ in used))
                parts = (weight * x0 for weight, (_, x0) in zip(weights, used, strict=True))
                state = s.sigma / t.sigma * state + s.alpha * sum(parts, torch.zeros_like(x))
        torch.testing.assert_close(found, state, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pseudo", [False, True])
@pytest.mark.parametrize("corrector", ["none", "same", "pseudo", "higher"])
def test_predictor_and_corrector_are_the_authors_in_all_their_modes(corrector: str, pseudo: bool) -> None:
    """Without statistics: x_t = sigma_t / sigma_s x_s + sigma_t integral exp(lambda) x_0 (lambda), by quadrature of the
    powers of lambda - lambda_s, whose coefficients are those of the polynomial, or the divided differences.
    """
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    levels = GRIDS.make("logsnr[clean=false]")(SCHEDULE, 6)
    model = Denoiser(laws.mixture_law().network, "sample", SCHEDULE, fitted=degenerate(SCHEDULE))

    def step(x_s: Tensor, s: Level, t: Level, known: list[tuple[Level, Tensor]], differences: bool) -> Tensor:
        h = np.array([level.logsnr - s.logsnr for level, _ in known])
        values = np.stack([value.numpy().reshape(-1) for _, value in known])
        if differences:
            columns = [values]
            for k in range(1, len(h)):
                columns.append((columns[-1][:-1] - columns[-1][1:]) / (h[: len(h) - k] - h[k:])[:, None])
            powers = [each[0] for each in columns]
        else:
            powers = list(np.linalg.solve(np.vander(h, increasing=True), values))
        areas = [
            quad(lambda at, k=k: math.exp(at) * (at - s.logsnr) ** k, s.logsnr, t.logsnr, epsabs=1e-13)[0]
            for k in range(len(h))
        ]
        drawn = sum(area * power for area, power in zip(areas, powers, strict=True))
        return t.sigma / s.sigma * x_s + t.sigma * torch.from_numpy(drawn).reshape(x_s.shape)

    with torch.inference_mode():
        made = SAMPLERS.make(f"dpm-solver-v3[corrector={corrector},pseudo_predictor={str(pseudo).lower()}]")
        found = made.sample(model, x, levels, no_noise)
        state, past, order = x, list[tuple[Level, Tensor, Tensor]](), 0
        for done, (t, s) in enumerate(pairwise(levels)):
            x0 = model(state, t).x0
            size = order + (corrector in ("pseudo", "higher"))
            if corrector != "none" and size > 1:
                (before, earlier, start), *older = past
                known = [(before, earlier), (t, x0), *((level, value) for level, value, _ in older)]
                state = step(start, before, t, known[:size], corrector == "pseudo")
            past = [(t, x0, state), *past]
            order = min(3, done + 1, 6 - done)
            state = step(state, t, s, [(level, value) for level, value, _ in past[:order]], pseudo)
    torch.testing.assert_close(found, state, rtol=1e-9, atol=1e-9)


def test_statistics_of_a_gaussian_have_a_closed_form() -> None:
    """Its noise prediction is linear: sigma d eps / dx is sigma^2 / (alpha^2 v + sigma^2), and f is then constant."""
    variances = torch.linspace(0.2, 1.5, 64, dtype=torch.float64)
    law = Gaussian(torch.linspace(-0.5, 0.5, 64, dtype=torch.float64), variances.diag(), SHAPE)
    with torch.inference_mode():
        found = model_statistics.fit(model_of(law), 64, 24)
    for n, at in enumerate(model_statistics.nodes(SCHEDULE, 24)):
        expected = at.sigma**2 / (at.alpha**2 * variances + at.sigma**2)
        torch.testing.assert_close(found["l"][n].flatten(), expected, rtol=1e-6, atol=1e-9)


def test_s_and_b_are_the_regression_of_the_derivative_along_the_flow() -> None:
    """By least squares over images, from derivatives of a spline through f along exact trajectories."""
    law, count, images = laws.smooth_mixture(), 60, 96
    model = model_of(law)
    with torch.inference_mode():
        found = model_statistics.fit(model, images, count)
        levels = model_statistics.nodes(SCHEDULE, count)
        numbers = torch.arange(images)
        x0 = images_of(model, range(images))
        fresh = model.noise(numbers, first=1)(x0)
        denoiser, h, n = model.denoiser(numbers), 1e-3, 30
        at, slope = levels[n], (found["l"][n + 1] - found["l"][n - 1]) / (levels[n + 1].logsnr - levels[n - 1].logsnr)
        x = at.alpha * x0 + at.sigma * fresh
        ends = [SCHEDULE.level(SCHEDULE.t_at(at.logsnr + each)) for each in (-h, h)]
        moved = [model.flow(denoiser, x, at, ends[1], 4), backwards(denoiser, x, at, ends[0])]
        values = []
        for end, state in zip(ends, reversed(moved), strict=True):
            own = found["l"][n] + slope * (end.logsnr - at.logsnr)
            values.append((end.sigma * denoiser(state, end).eps - own * state) / end.alpha)
        f = (at.sigma * denoiser(x, at).eps - found["l"][n] * x) / at.alpha
        rate = (values[1] - values[0]) / (2.0 * h)
    for element in (0, 17, 63):
        s, b = np.polyfit(f.flatten(1)[:, element].numpy(), rate.flatten(1)[:, element].numpy(), 1)
        assert float(found["s"][n].flatten()[element]) == pytest.approx(s, rel=0.03, abs=0.03)
        assert float(found["b"][n].flatten()[element]) == pytest.approx(b, rel=0.03, abs=0.01)


def backwards(model: Denoiser, x: Tensor, at: Level, end: Level) -> Tensor:
    """Up the flow by a step of the midpoint method in sigma / alpha."""
    middle = SCHEDULE.at_ratio(0.5 * (at.ratio + end.ratio))
    half = middle.alpha * (x / at.alpha + (middle.ratio - at.ratio) * model(x, at).eps)
    return end.alpha * (x / at.alpha + (end.ratio - at.ratio) * model(half, middle).eps)


def test_a_step_is_the_papers_with_its_integrals_by_another_rule() -> None:
    """Order 2 on three levels: all integrals by the trapezoidal rule over 20,000 points, as eq. 9 and 17 have them."""
    law = laws.smooth_mixture()
    with torch.inference_mode():
        solver = DPMSolverV3(images=64, nodes=40)
        statistics = fitted_to(solver, lambda numbers: Denoiser(law, "sample", SCHEDULE), SHAPE)
        levels = [SCHEDULE.level(t) for t in (0.8, 0.5, 0.3)]
        x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        model = Denoiser(law, "sample", SCHEDULE, fitted=statistics)
        spec = "dpm-solver-v3[solver_order=2,corrector=none,lower_order_below=0,images=64,nodes=40]"
        found = SAMPLERS.make(spec).sample(model, x, levels, no_noise)
        states, values = [x.numpy()], list[np.ndarray]()
        for n, (s, t) in enumerate(pairwise(levels)):
            eps = model(torch.from_numpy(states[-1]), s).eps.numpy()
            values.append((s.sigma * eps - statistics.own(s.logsnr) * states[-1]) / s.alpha)
            points = np.linspace(s.logsnr, t.logsnr, 20_001)
            of_l, of_s = (each(points) - each(s.logsnr) for each in (statistics.of_l, statistics.of_s))
            growth = np.exp(of_l + of_s)
            first = np.exp(statistics.of_s(s.logsnr))
            of_b = first * (statistics.of_b(points) - statistics.of_b(s.logsnr))
            slope = 0.0
            if n:
                before = levels[n - 1].logsnr
                ahead = statistics.of_s(before) - statistics.of_s(s.logsnr)
                b = first * (statistics.of_b(before) - statistics.of_b(s.logsnr))
                slope = (values[-1] - (np.exp(-ahead) * values[-2] - b)) / (s.logsnr - before)
            shape = (-1, 1, 1, 1)
            straight = np.trapezoid(growth, points, axis=0)
            ramp = np.trapezoid(growth * (points - s.logsnr).reshape(shape), points, axis=0)
            offset = np.trapezoid(growth * of_b, points, axis=0)
            end = states[-1] / s.alpha - straight * values[-1] - ramp * slope - offset
            states.append(t.alpha * np.exp(-of_l[-1]) * end)
    np.testing.assert_allclose(found.numpy(), states[-1], rtol=1e-7, atol=1e-9)


def test_in_few_steps_it_is_closer_to_the_flow_than_solvers_without_statistics() -> None:
    ours, *others = (laws.convergence(SAMPLERS.make(name), (5, 8)) for name in ("dpm-solver-v3", "unipc", "dpm++3m"))
    for other in others:
        assert all(mine < 0.5 * theirs for mine, theirs in zip(ours.errors, other.errors, strict=True))
