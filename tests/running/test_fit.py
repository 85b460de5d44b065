"""The variance of x_0 that is fitted to a model, against closed forms; what is kept of fits, shared and recorded."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from quiet import Quiet
from studies import study_toml
from torch import Tensor

from bench.conformance import laws
from bench.fitting.model import CountedModel
from bench.noise.stream import ImageNoise
from bench.record import RunFolder
from bench.running.estimate import estimate
from bench.running.fit import Fits
from bench.running.resolve import Resolved, resolve
from bench.running.runner import run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from models.analytic import FiniteData, Gaussian
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.networks.network import counted
from models.schedule import DiscreteVP, Flow, Level, Schedule
from samplers import SAMPLERS, x0_variance
from samplers.ddpm import DDPM
from samplers.x0_variance import X0Variance, evaluations, nodes

CPU, SHAPE = torch.device("cpu"), (1, 8, 8)
ANALYTIC = "ddpm[variance=analytic]"


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def gaussian(variance: float, mean: float = 0.3) -> Gaussian:
    """The same in each of 64 elements."""
    eye = torch.eye(64, dtype=torch.float64)
    return Gaussian(torch.full((64,), mean, dtype=torch.float64), variance * eye, SHAPE)


def model_of(network: Callable[..., Tensor], schedule: Schedule, most: float = 2.0, batch: int = 64) -> CountedModel:
    def denoiser(numbers: Tensor) -> tuple[Denoiser, Callable[[], int]]:
        evaluate, count = counted(network)
        return Denoiser(evaluate, "sample", schedule), count

    return CountedModel(schedule, SHAPE, (-most, most), denoiser, batch, CPU)


def fitted(*given: Any, **more: Any) -> X0Variance:
    """The variance that is fitted to a network."""
    return x0_variance.read(x0_variance.fit(model_of(*given, **more)))


def optimal(t: Level, s: Level, left: float) -> float:
    """Theorem 1 of arXiv 2201.06503 in its own letters, from E |eps|^2 / D of data with that variance left.

    Of levels n - 1 (s) and n (t): alpha_n = (alpha_t / alpha_s)^2, bar_beta = sigma^2, lambda^2 that of DDPM.
    """
    alpha_n, bar_beta_n, bar_beta_before = (t.alpha / s.alpha) ** 2, t.sigma**2, s.sigma**2
    lambda2 = bar_beta_before / bar_beta_n * (1.0 - alpha_n)
    gamma = (1.0 - left * (t.alpha / t.sigma) ** 2) / bar_beta_n
    root = math.sqrt(bar_beta_n / alpha_n) - math.sqrt(bar_beta_before - lambda2)
    return lambda2 + root**2 * (1.0 - bar_beta_n * gamma)


def added(sampler: str, model: Denoiser, t: Level, s: Level) -> float:
    """The variance of the noise that a step adds."""
    x = torch.zeros(1, *SHAPE, dtype=torch.float64)
    ends = [SAMPLERS.make(sampler).sample(model, x, [t, s], lambda like, n=n: torch.full_like(like, n)) for n in (0, 1)]
    return float((ends[1] - ends[0]).mean()) ** 2


@pytest.mark.parametrize("variance", [0.04, 0.25, 1.0])
def test_on_a_gaussian_a_step_adds_the_optimal_variance(schedule: Schedule, variance: float) -> None:
    """It has a closed form, that of the exact reverse step: Var[x_s | x_t]; 3 % are 4 standard errors of 512 images."""
    law = gaussian(variance)
    found = fitted(law, schedule)
    model = Denoiser(law, "sample", schedule, fitted=found)
    for t, s in pairwise(GRIDS.make("trailing")(schedule, 10)[:-1]):
        marginal = [each.alpha**2 * variance + each.sigma**2 for each in (t, s)]
        if s.alpha == 0.0:
            continue
        ratio = t.alpha / s.alpha
        expected = marginal[1] - (ratio * marginal[1]) ** 2 / marginal[0]
        assert added(ANALYTIC, model, t, s) == pytest.approx(expected, rel=0.03)
        if t.alpha > 0.0 and isinstance(schedule, DiscreteVP):
            assert optimal(t, s, found(t)) == pytest.approx(added(ANALYTIC, model, t, s), rel=1e-8)


def test_of_unit_gaussian_data_it_is_beta_and_of_data_at_a_point_the_posterior_s() -> None:
    schedule = DiscreteVP.linear()
    for law, fixed in ((gaussian(1.0, 0.0), "fixed_large"), (laws.point(), "fixed_small")):
        found = fitted(law, schedule)
        model = Denoiser(law, "sample", schedule, fitted=found)
        for t, s in pairwise(GRIDS.make("trailing")(schedule, 10)[:-1]):
            expected = added(f"ddpm[variance={fixed}]", model, t, s)
            assert added(ANALYTIC, model, t, s) == pytest.approx(expected, rel=0.03 if fixed == "fixed_large" else 1e-4)


def test_with_modes_it_is_the_mean_squared_error_of_what_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two points, by an independent sum over states: an exact E[x_0 | x_t] errs by what is left, and by no more."""
    monkeypatch.setattr(x0_variance, "IMAGES", 8192)  # all elements of one move together: 8,192 values in all
    schedule, draws = DiscreteVP.linear(), torch.Generator().manual_seed(5)
    points = torch.stack([torch.full(SHAPE, each, dtype=torch.float64) for each in (-0.1, 0.1)])
    law = FiniteData(points)
    found = fitted(law, schedule, batch=1024)
    for t in (0.2, 0.3, 0.5):
        at = schedule.level(t)
        x0 = points[torch.randint(2, (20_000,), generator=draws)]
        x = at.alpha * x0 + at.sigma * torch.randn(x0.shape, generator=draws, dtype=torch.float64)
        expected = float((law(x, at) - x0).square().mean())
        assert found(at) == pytest.approx(expected, rel=0.1)


def test_the_variance_is_within_what_the_range_of_values_allows() -> None:
    """Whatever the network says: one whose predictions are too far out, and one that predicts the noise too large."""
    schedule, levels = DiscreteVP.linear(), [DiscreteVP.linear().level(t) for t in (0.01, 0.3, 0.9)]
    for network in (lambda x, at: 0.0 * x, lambda x, at: (x - 3.0 * at.sigma * x) / at.alpha):
        found = fitted(network, schedule, most=0.5)
        assert all(0.0 <= found(at) <= 0.26 for at in levels)


def test_where_there_is_no_signal_and_beyond_the_ends_it_goes_on() -> None:
    found, low = X0Variance([-2.0, 0.0], [0.3, 1.0]), Flow().level(1e-4)
    assert found(Flow().level(1.0)) == pytest.approx(0.3)
    assert found(low) == pytest.approx(low.ratio**2, rel=1e-3)


def test_the_table_is_fine_enough_between_its_levels() -> None:
    schedule = DiscreteVP.linear()
    logsnrs = sorted(at.logsnr for at in nodes(schedule))
    snrs = [math.exp(2.0 * each) for each in logsnrs]
    table = X0Variance(logsnrs, [0.09 * (1.0 + snr) / (1.0 + 0.09 * snr) for snr in snrs])
    for t in np.linspace(0.001, 1.0, 400):
        at = schedule.level(float(t))
        assert table(at) == pytest.approx(0.09 * at.sigma**2 / (at.alpha**2 * 0.09 + at.sigma**2), rel=0.01)


def test_a_fit_counts_its_evaluations_and_is_the_same_in_every_batch() -> None:
    schedule, law = DiscreteVP.linear(), gaussian(0.25)
    models = [model_of(law, schedule, batch=batch) for batch in (128, 128, 50)]
    found = [x0_variance.read(x0_variance.fit(model)) for model in models]
    assert found[0] == found[1]
    assert {model.nfe for model in models} == {evaluations(schedule)}
    np.testing.assert_allclose(found[2].scaled, found[0].scaled, rtol=1e-4)


def test_a_batch_that_does_not_fit_into_the_memory_is_halved() -> None:
    def network(x: Tensor, at: Level) -> Tensor:
        if len(x) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 0.0 * x

    model = model_of(network, DiscreteVP.linear(), batch=128)
    x0_variance.fit(model)
    assert model.nfe == evaluations(DiscreteVP.linear())


def test_predictions_that_are_no_numbers_are_no_fit() -> None:
    with pytest.raises(ValueError, match="predictions are NaN or Inf"):
        fitted(lambda x, at: math.nan * x, DiscreteVP.linear())


def test_a_sampler_that_asks_without_declaring_it_is_told() -> None:
    schedule = DiscreteVP.linear()
    with pytest.raises(ValueError, match="takes_fit = True"):
        _ = Denoiser(laws.point(), "sample", schedule).fitted
    one = Denoiser(laws.point(), "sample", schedule, fitted=lambda at: 0.5)
    assert one.rows(slice(0, 1)).fitted(schedule.level(0.5)) == 0.5


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The fits that are made, in order, of few images."""
    made, actual = list[Any](), DDPM.fit

    def spy(sampler: DDPM, model: Any) -> dict[str, Tensor]:
        made.append(model)
        return actual(sampler, model)

    monkeypatch.setattr(DDPM, "fit", spy)
    monkeypatch.setattr(x0_variance, "IMAGES", 32)
    return made


def session_of(*samplers: str, **more: Any) -> Session:
    return Session.load(parse_study(study_toml(samplers, (2, 3), **more), "test", Overrides()))


def cell_of(session: Session) -> Resolved:
    return resolve(plan(session.study)[-1], session)


def ran(folder: Path, *samplers: str, **more: Any) -> pd.DataFrame:
    session = session_of(*samplers, **more)
    outcome = run_study(session.study, session, RunFolder(folder), False, Quiet())
    frame = RunFolder(folder).load()
    assert (outcome.failed, outcome.untimed) == (0, 0), frame["error"].tolist()
    return frame


def test_cells_share_a_fit_and_their_records_have_its_cost(tmp_path: Path, fits: list[Any]) -> None:
    timing = {"repeats": 2, "seconds": 0.01}
    frame = ran(tmp_path, "ddpm", ANALYTIC, seeds=[0, 1], timing=timing)
    assert len(fits) == 1
    mine, others = (frame[(frame["sampler"] == ANALYTIC) == each] for each in (True, False))
    assert len(mine) == 4
    assert {*mine["fit_nfe"]} == {evaluations(DiscreteVP.linear())}
    assert {*mine["fit_images"]} == {x0_variance.IMAGES}
    assert mine["fit_s"].nunique() == 1
    assert (mine["nfe"] == mine["steps"]).all()
    assert others["fit_nfe"].isna().all()
    assert (mine["timing_rounds"].dropna() == 2).all()
    assert len(list((tmp_path / "fits").iterdir())) == 1


def test_a_resumed_run_reads_a_fit(tmp_path: Path, fits: list[Any]) -> None:
    first = ran(tmp_path / "run", ANALYTIC, baseline=ANALYTIC)
    (tmp_path / "run" / "cells" / f"{first['id'][0]}.json").unlink()
    again = ran(tmp_path / "run", ANALYTIC, baseline=ANALYTIC)
    assert len(fits) == 1
    assert again["preview_sha256"].tolist() == first["preview_sha256"].tolist()
    assert again["fit_s"].tolist() == first["fit_s"].tolist()


def test_modes_share_a_fit(tmp_path: Path, fits: list[Any]) -> None:
    more = {"metrics": ["solver_error"], "timing": {"repeats": 1, "seconds": 0.0}}
    frame = ran(tmp_path, ANALYTIC, baseline=ANALYTIC, model="digits", modes=["bf16", "fp32"], batch=128, **more)
    assert len(fits) == 1
    assert set(frame["mode"]) == {"fp32", "bf16"}
    assert frame["fit_s"].nunique() == 1


@pytest.mark.parametrize(
    ("guidance", "evaluated"), [("none", 1), ("cfg[scale=3]", 2), ("auto[scale=2,model=digits-mixture]", 2)]
)
def test_a_fit_is_of_the_guided_network_whose_evaluations_all_count(
    tmp_path: Path, fits: list[Any], guidance: str, evaluated: int
) -> None:
    """A mixture with its classes, and one whose weaker model is itself: it is evaluated all the same."""
    more = {"metrics": ["solver_error"], "timing": {"repeats": 0}}
    if not guidance.startswith("auto"):
        more["checkpoint"] = {"classes": 10, "null_label": "none"}
    frame = ran(tmp_path, ANALYTIC, baseline=ANALYTIC, guidance=["none", guidance], **more)
    asked = frame[frame["guidance"] == guidance]
    assert set(asked["fit_nfe"]) == {evaluated * evaluations(DiscreteVP.linear())}
    assert len(fits) == (1 if guidance == "none" else 2)


@pytest.mark.parametrize("damage", ["cut", "none"])
def test_a_fit_that_was_cut_short_is_made_again(tmp_path: Path, fits: list[Any], damage: str) -> None:
    session = session_of(ANALYTIC)
    given = cell_of(session)
    first = Fits(tmp_path, session).of(given)["sampler"]
    (path,) = tmp_path.iterdir()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    (tmp_path / f"{path.stem}.123.tmp").write_bytes(b"left by a kill")
    second = Fits(tmp_path, session).of(given)["sampler"]
    assert len(fits) == (2 if damage == "cut" else 1)
    assert {name: each.tolist() for name, each in second.found.items()} == {
        name: each.tolist() for name, each in first.found.items()
    }
    Fits(tmp_path, session).of(replace(given, identity=given.identity | {"model_sha256": "another"}))
    assert len(fits) == (3 if damage == "cut" else 2)


def test_a_fit_that_is_killed_costs_an_attempt_and_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(sampler: DDPM, model: Any) -> dict[str, Tensor]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DDPM, "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            ran(tmp_path, ANALYTIC)
    assert ran(tmp_path, ANALYTIC)["status"].eq("ok").all()


def test_the_estimate_has_a_fit_once(tmp_path: Path) -> None:
    plain, with_fit = (estimate(session_of(*each)) for each in (("ddpm",), ("ddpm", ANALYTIC)))
    cells = sum(nfe or 0 for _, nfe in with_fit.cells) - sum(nfe or 0 for _, nfe in plain.cells)
    more = with_fit.evaluations - plain.evaluations
    timed = session_of(ANALYTIC).study.timing.repeats * 16 * cells
    assert more - 16 * cells - timed == evaluations(DiscreteVP.linear())


def left(law: laws.Law, at: Level) -> float:
    """E tr Cov[x_0 | x_t] / D at a level: the mean squared error of E[x_0 | x_t] over exact samples."""
    noise = ImageNoise(0, torch.arange(64))
    x0 = law.network.draw(torch.linspace(0.0, 1.0, 66)[1:-1], noise(torch.empty(64, 64, dtype=torch.float64)))
    return float((law.network(at.alpha * x0 + at.sigma * noise(x0), at) - x0).square().mean())


def test_a_step_from_the_law_keeps_its_variance_which_is_between_those_that_are_fixed() -> None:
    """Of a mixture: from exact states at one level to the next, the total variance is that of exact states there."""
    schedule, law, count = DiscreteVP.linear(), laws.mixture_law(), 4096
    draws = torch.Generator().manual_seed(7)
    chance, normal = torch.rand(count, generator=draws, dtype=torch.float64), torch.randn(3, count, 64, generator=draws)
    x0, eps, fresh = law.network.draw(chance, normal[0]), *normal.double()[1:].view(2, count, *SHAPE)
    model = Denoiser(law.network, "sample", schedule, fitted=partial(left, law))
    for at, to in pairwise(schedule.level(t) for t in (0.5, 0.4, 0.3, 0.2, 0.1)):
        exact = to.alpha**2 * float(law.network.covariance.trace()) / 64 + to.sigma**2
        small, best, large = (
            SAMPLERS.make(f"ddpm[variance={each}]")
            .sample(model, at.alpha * x0 + at.sigma * eps, [at, to], lambda like: fresh)
            .flatten(1).var(0).mean().item()
            for each in ("fixed_small", "analytic", "fixed_large")
        )  # fmt: skip
        assert best == pytest.approx(exact, rel=0.01)
        assert small < 0.98 * exact
        assert large > 1.05 * exact
