"""What each guidance makes of two outputs: the closed form, the same in every parametrisation, and as others do."""

import itertools
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import normalized_guidance
from diffusers.guiders.guider_utils import rescale_noise_cfg
from guided import LABELS, mixture
from torch import Tensor

from models.common.errors import UsageError
from models.denoiser import PARAMETRISATIONS, Denoiser, Parametrisation, Prediction
from models.guidance import GUIDANCES, Guidance
from models.guidance.guided import Guided
from models.schedule import VE, DiscreteVP, Flow, Level, Schedule

SCHEDULES: list[Schedule] = [DiscreteVP.linear(), VE(0.01, 80.0), Flow(1e-3)]
GUIDED = ["cfg[scale=3]", "cfg[scale=-1]", "cfg-rescale[scale=4,rescale=0.6]", "apg[scale=5,eta=0.2,norm=2]"]


def states(at: Level) -> Tensor:
    draws = torch.Generator().manual_seed(2)
    return (at.alpha + at.sigma) * torch.randn(5, 1, 4, 4, generator=draws, dtype=torch.float64)


def model(guidance: str, schedule: Schedule, law: Callable[..., Tensor] | None = None, **more: Any) -> Denoiser:
    guided = Guided(law or mixture(), GUIDANCES.make(guidance), "sample", "none", **more)
    return Denoiser(guided, guided.parametrisation, schedule, labels=LABELS)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["vp", "ve", "flow"])
@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_the_guided_score_is_the_sum_of_both_in_closed_form(schedule: Schedule, t: float) -> None:
    at, law = schedule.level(t), mixture()
    x = states(at)
    conditional, whole = (Denoiser(law, "sample", schedule, labels=each)(x, at).score for each in (LABELS, None))
    found = model("cfg[scale=3]", schedule)(x, at).score
    torch.testing.assert_close(found, (1.0 - 3.0) * whole + 3.0 * conditional, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["cfg", "cfg-rescale", "apg"])
def test_a_scale_of_one_is_the_conditional_model_and_of_zero_cfg_the_unconditional_one_bit_for_bit(name: str) -> None:
    schedule, law = DiscreteVP.linear(), mixture()
    at = schedule.level(0.4)
    x = states(at)
    for scale, labels in ((1, LABELS), *([(0, None)] if name == "cfg" else [])):
        expected = Denoiser(law, "sample", schedule, labels=labels)(x, at)
        found = model(f"{name}[scale={scale}]", schedule)(x, at)
        form = GUIDANCES.make(f"{name}[scale={scale}]").form
        if form in (None, "sample"):
            assert torch.equal(found.x0, expected.x0)
            assert torch.equal(found.eps, expected.eps)
        torch.testing.assert_close(found.x0, expected.x0, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("guidance", GUIDED)
def test_scales_near_zero_and_one_are_near_those(guidance: str) -> None:
    name, at = guidance.partition("[")[0], DiscreteVP.linear().level(0.4)
    for scale in (0, 1):
        near, there = (
            model(f"{name}[scale={each}]", DiscreteVP.linear())(states(at), at).x0 for each in (scale + 1e-9, scale)
        )
        torch.testing.assert_close(near, there, rtol=1e-6, atol=1e-6)


def in_form(law: Callable[..., Tensor], form: Parametrisation) -> Callable[..., Tensor]:
    """A network that gives x_0 as one that gives something else."""

    def network(x: Tensor, at: Level, labels: Tensor | None = None) -> Tensor:
        affine = PARAMETRISATIONS[form](at)
        return (law(x, at, labels) - affine.x0_x * x) / affine.x0_out

    return network


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["vp", "ve", "flow"])
@pytest.mark.parametrize("guidance", GUIDED)
def test_a_guidance_means_the_same_in_every_parametrisation(guidance: str, schedule: Schedule) -> None:
    at = schedule.level(0.6)
    x, made = states(at), GUIDANCES.make(guidance)
    expected = model(guidance, schedule)(x, at).x0
    for form in get_args(Parametrisation):
        guided = Guided(in_form(mixture(), form), made, form, "none")
        found = Denoiser(guided, guided.parametrisation, schedule, labels=LABELS)(x, at).x0
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_autoguidance_goes_away_from_the_weaker_network_whose_classes_are_the_image_s() -> None:
    schedule, law, asked = DiscreteVP.linear(), mixture(), list[Tensor]()
    at = schedule.level(0.5)
    x = states(at)

    def weaker(x: Tensor, at: Level, labels: Tensor) -> Tensor:
        asked.append(labels)
        return 0.5 * law(x, at, labels)

    strong = law(x, at, LABELS)
    for form in get_args(Parametrisation):
        guided = Guided(
            in_form(law, form), GUIDANCES.make("auto[scale=2.5,model=w]"), form, None, in_form(weaker, form)
        )
        found = Denoiser(guided, guided.parametrisation, schedule, labels=LABELS)(x, at).x0
        torch.testing.assert_close(found, 0.5 * strong + 2.5 * (strong - 0.5 * strong), rtol=1e-10, atol=1e-10)
    assert all(torch.equal(each, LABELS) for each in asked)


def test_projected_guidance_is_that_of_diffusers() -> None:
    draws = torch.Generator().manual_seed(3)
    conditional, unconditional = torch.randn(2, 6, 3, 8, 8, generator=draws, dtype=torch.float64)
    for eta, norm in ((0.0, 5.0), (1.0, 5.0), (0.3, 12.0), (0.0, "inf")):
        ours = GUIDANCES.make(f"apg[scale=7,eta={eta},norm={norm}]").join(conditional, unconditional)
        most = 0.0 if isinstance(norm, str) else norm
        theirs = normalized_guidance(conditional, unconditional, 7.0 - 1.0, None, eta, most, True)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    plain = GUIDANCES.make("cfg[scale=7]").join(conditional, unconditional)
    torch.testing.assert_close(GUIDANCES.make("apg[scale=7,eta=1]").join(conditional, unconditional), plain)


def test_rescaled_guidance_is_that_of_diffusers_on_a_network_that_gives_v() -> None:
    schedule = DiscreteVP.linear()
    at, law = schedule.level(0.7), in_form(mixture(), "v_prediction")
    x = states(at)
    conditional, unconditional = law(x, at, LABELS), law(x, at)
    plain = unconditional + 4.0 * (conditional - unconditional)
    theirs = rescale_noise_cfg(plain, conditional, 0.7)  # type: ignore[no-untyped-call]
    expected = Prediction(x, at, theirs, PARAMETRISATIONS["v_prediction"](at), None).x0
    torch.testing.assert_close(model("cfg-rescale[scale=4]", schedule)(x, at).x0, expected, rtol=1e-10, atol=1e-10)


def test_outside_of_its_interval_a_guidance_takes_the_class_alone() -> None:
    schedule = VE(0.01, 80.0)
    for sigma, evaluations in ((0.2, 1), (0.21, 2), (3.0, 2), (3.01, 1), (80.0, 1)):
        at, made = schedule.at_ratio(sigma), GUIDANCES.make("cfg[scale=3,low=0.2,high=3]")
        assert len(made.branches(at)) == evaluations, sigma
        x = states(at)
        unlike = "none" if evaluations == 1 else "cfg[scale=3]"
        assert torch.equal(model("cfg[scale=3,low=0.2,high=3]", schedule)(x, at).x0, model(unlike, schedule)(x, at).x0)


def test_predictions_are_guided_first_and_clipped_then() -> None:
    schedule = DiscreteVP.linear()
    at = schedule.level(0.3)
    x = states(at)
    guided = Guided(mixture(), GUIDANCES.make("cfg[scale=6]"), "sample", "none")
    clipped = Denoiser(guided, "sample", schedule, (-1.0, 1.0), LABELS)(x, at)
    expected = model("cfg[scale=6]", schedule)(x, at).x0.clamp(-1.0, 1.0)
    assert float(expected.abs().max()) == 1.0
    assert torch.equal(clipped.x0, expected)
    torch.testing.assert_close(at.alpha * clipped.x0 + at.sigma * clipped.eps, x)


@pytest.mark.parametrize("null", [3, "zeros"])
def test_both_halves_go_through_the_network_as_one_batch_or_one_after_the_other(null: int | str) -> None:
    seen = list[list[int]]()

    def network(x: Tensor, at: Level, labels: Tensor) -> Tensor:
        seen.append(labels.tolist())
        return x * (labels.view(-1, 1, 1, 1) + 2.0)

    x, at = states(DiscreteVP.linear().level(0.5)), DiscreteVP.linear().level(0.5)
    no_class = [-1 if null == "zeros" else null] * 5
    found = []
    for together, expected in ((True, [[*LABELS.tolist(), *no_class]]), (False, [LABELS.tolist(), no_class])):
        guided = Guided(network, GUIDANCES.make("cfg[scale=2]"), "sample", null, together=together)
        found.append(Denoiser(guided, "sample", DiscreteVP.linear(), labels=LABELS)(x, at).x0)
        assert seen == expected
        seen.clear()
    assert torch.equal(*found)


def test_what_a_network_says_of_the_variance_is_the_first_branch_s_and_unguided() -> None:
    def network(x: Tensor, at: Level, labels: Tensor) -> Tensor:
        return torch.cat([x * labels.view(-1, 1, 1, 1), x + labels.view(-1, 1, 1, 1)], dim=1)

    schedule, labels = DiscreteVP.linear(), torch.tensor([0, 1, 2, 3, 1])
    at = schedule.level(0.5)
    x = states(at)
    guided = Guided(network, GUIDANCES.make("cfg[scale=3]"), "epsilon", 9, learns_variance=True)
    found = Denoiser(guided, "epsilon", schedule, labels=labels, learns_variance=True)(x, at)
    torch.testing.assert_close(found.eps, x * (9.0 + 3.0 * (labels.view(-1, 1, 1, 1) - 9.0)))
    assert torch.equal(found.variance, x + labels.view(-1, 1, 1, 1))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("cfg", "guidance 'cfg': scale: is missing. It takes: scale, low=0.0, high='inf'."),
        ("cfg[scale=inf]", "scale: Input should be a valid number, got 'inf'"),
        ("cfg[scale=NaN]", "NaN is no value for a parameter; expected a finite number"),
        ("cfg[scale=1e400]", "Out of range float values"),
        ("cfg[scale=3,low=2,high=1]", "expected low < high, got {'scale': 3, 'low': 2, 'high': 1}"),
        ("cfg[scale=3,low=2,high=2]", "expected low < high"),
        ("cfg[scale=3,low=-1]", "low: Input should be greater than or equal to 0, got -1"),
        ("auto[scale=2]", "model: is missing"),
        ("cfg-rescale[scale=2,rescale=2]", "rescale: Input should be less than or equal to 1, got 2"),
        ("apg[scale=2,norm=0]", "norm.constrained-float: Input should be greater than 0, got 0"),
        ("cgf[scale=2]", "unknown guidance 'cgf'. Did you mean 'cfg'? There is: apg, auto, cfg, cfg-rescale, none"),
    ],
)
def test_a_wrong_guidance_says_what_is_wrong(spec: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        GUIDANCES.make(spec)
    assert said in str(error.value)


def test_every_guidance_of_the_tree_is_tried_here() -> None:
    tried = {spec.partition("[")[0] for spec in [*GUIDED, "auto", "none"]}
    ours = {name for name in GUIDANCES.names() if GUIDANCES.get(name).__module__.startswith("models.")}
    assert tried == ours
    assert all(issubclass(GUIDANCES.get(name), Guidance) for name in ours)
    assert len({*itertools.chain(*(GUIDANCES.make(each).evaluated for each in GUIDED))}) == 2
