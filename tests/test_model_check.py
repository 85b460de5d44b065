"""check-model: every fault of a card that gives plausible numbers is named, and a right card passes."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import CPU, folder_of
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from bench.cli.check_model import check_model as command
from bench.datasets import open_data
from bench.model_check import BRIEF, FULL, Check, check_model
from bench.model_fit import MEANINGS
from models.analytic import FiniteData
from models.card import Card, Changes
from models.denoiser import PARAMETRISATIONS
from models.errors import UsageError
from models.networks import ConsistencyPreconditioned, EDMPreconditioned, Network
from models.schedule import ContinuousVP, Level
from models.zoo import Model, load_model

_FEW = replace(FULL, logsnrs=FULL.logsnrs[::2], images=12, steps=4)
_COSINE = {"kind": "cosine", "train_steps": 1000}
_SCALED = {"kind": "scaled_linear", "train_steps": 1000, "beta_start": 8.5e-4, "beta_end": 0.012}


def _digits(**changes: Any) -> Model:
    return load_model("digits", CPU, Changes.model_validate(changes) if changes else None)


def _images(count: int = 12) -> Tensor:
    images = open_data("digits").images
    return images[:: len(images) // count][:count]


def _checked(model: Model, **options: Any) -> Check:
    return check_model(model, CPU, "digits", _images(), depth=_FEW, **options)


def test_a_right_card_passes_and_its_network_beats_the_best_linear_guess_at_every_level() -> None:
    found = _checked(_digits())
    assert found.bad == []
    curve = found.curves["epsilon"]
    assert len(curve.levels) == 5
    assert all(error < guess for error, guess in zip(curve.errors, curve.guesses, strict=True))
    assert all(curve.score < 0.75 * other.score for name, other in found.curves.items() if name != "epsilon")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parametrisation": "v_prediction"}, ["this network predicts eps, the card says v"]),
        ({"parametrisation": "flow"}, ["this network predicts eps, the card says a flow's velocity eps - x_0"]),
        ({"value_range": [0.0, 1.0]}, ["its images lie in [-1, 1], the card's value_range is [0, 1]", "clipped"]),
        ({"value_range": [0.0, 1.0], "clip": [0.0, 1.0]}, ["its images lie in [-1, 1]"]),
        ({"schedule": _COSINE}, ["trained on linear betas, 0.0001 to 0.02; the card's schedule is of kind 'cosine'"]),
        ({"schedule": _SCALED}, ["trained on linear betas, 0.0001 to 0.02"]),
        (
            {"parametrisation": "v_prediction", "schedule": _COSINE},
            ["this network predicts eps, the card says v", "trained on linear betas"],
        ),
        (
            {"parametrisation": "v_prediction", "value_range": [0.0, 1.0]},
            ["this network predicts eps, the card says v", "its images lie in [-1, 1]"],
        ),
    ],
)
def test_what_a_card_says_wrongly_is_named_with_what_is_right(changes: dict[str, Any], said: list[str]) -> None:
    bad = " | ".join(_checked(_digits(**changes)).bad)
    for words in said:
        assert words in bad
    if "parametrisation" not in changes:
        assert "the card says" not in bad


@pytest.mark.parametrize(
    "changes",
    [
        {"parametrisation": "v_prediction"},
        {"parametrisation": "score"},
        {"value_range": [0.0, 1.0]},
        {"schedule": _COSINE},
        {"schedule": _COSINE, "clip": False},
    ],
)
def test_a_brief_look_at_its_own_samples_finds_that_something_is_wrong(changes: dict[str, Any]) -> None:
    assert check_model(_digits(**changes), CPU, depth=BRIEF).bad


def test_a_brief_look_at_a_right_card_finds_nothing_for_three_hundred_evaluations() -> None:
    right = check_model(_digits(), CPU, depth=BRIEF)
    assert (right.bad, right.evaluations, right.data) == ([], 288, "its own samples")


def test_samples_far_out_of_range_ask_for_a_clip_and_with_one_they_do_not() -> None:
    """A small error of eps is divided by alpha, 5e-5 where cosine betas begin; and networks saturate."""
    law = FiniteData(_images().double() / 127.5 - 1.0)

    def eps(x: Tensor, at: Level) -> Tensor:
        return (1.01 * (x - at.alpha * law(x, at)) / at.sigma).clamp(-4.0, 4.0)

    model = replace(_digits(schedule=_COSINE, clip=False), network=eps)
    found = _checked(model)
    assert any("no clip on the card?" in text and "its samples reach" in text for text in found.bad)
    assert found.samples is not None
    assert max(map(abs, found.samples)) > 50
    clipped = replace(model, card=model.card.model_copy(update={"clip": (-1.0, 1.0)}))
    assert _checked(clipped).bad == []


@pytest.mark.parametrize(
    ("size", "needed", "wrong"), [(1.73, "[-1.8, 1.8]", False), (3.33, "[-3.4, 3.4]", True), (0.4, None, False)]
)
def test_samples_that_leave_the_range_are_never_right_and_the_range_that_they_need_is_said(
    size: float, needed: str | None, wrong: bool
) -> None:
    found = check_model(_of_corners(size), CPU, depth=BRIEF)
    reached = [each for each in found.verdicts if "its samples reach" in each.text]
    assert [(each.good, each.doubt) for each in reached] == ([] if needed is None else [(not wrong, not wrong)])
    assert all("the range of its images is [-1, 1]: no clip on the card?" in each.text for each in reached)
    assert all(each.text.endswith(f"need value_range = {needed}") for each in reached)


def test_its_own_samples_are_not_clipped_to_the_range_before_their_error_is_measured() -> None:
    found = check_model(_of_corners(1.73), CPU, depth=BRIEF)
    assert not any("its error" in text for text in found.bad)
    assert any("of the best linear guess's" in each.text for each in found.verdicts)


def _of_corners(size: float) -> Model:
    """The exact v of the corners of a square, two values a point, on a card that has the template's range."""
    signs = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    law, plain = FiniteData(size * signs[:, :, None, None]), _digits()

    def v(x: Tensor, at: Level) -> Tensor:
        found: Tensor = (at.alpha * x - law(x, at)) / at.sigma  # as alpha^2 + sigma^2 = 1
        return found

    changes = {"shape": [2, 1, 1], "parametrisation": "v_prediction", "clip": None}
    return replace(plain, card=Card.model_validate(plain.card.model_dump() | changes), network=v)


def _barely_trained(**changes: Any) -> Model:
    """An exact eps that is too large by half, and nearly twice as large at much noise."""
    law = FiniteData(_images().double() / 127.5 - 1.0)

    def eps(x: Tensor, at: Level) -> Tensor:
        found: Tensor = (x - at.alpha * law(x, at)) / at.sigma * (1.5 if at.ratio < 1.5 else 1.9)
        return found

    return replace(_digits(**changes), network=eps)


def test_a_network_that_beats_the_guess_but_at_much_noise_is_in_doubt_and_not_wrong() -> None:
    found = _checked(_barely_trained())
    assert found.curves["epsilon"].score > 1.0
    assert found.bad == []
    assert any(each.good and each.text == "this network predicts eps, as the card says" for each in found.verdicts)
    doubt = next(each.text for each in found.verdicts if each.doubt)
    assert "at alpha/sigma 0.22 ... 0.05: trained too briefly" in doubt
    wrong = _checked(_barely_trained(parametrisation="v_prediction")).bad
    assert "this network predicts eps, the card says v" in wrong
    assert not any("linear guess" in text for text in wrong)


def test_where_nothing_beats_the_guess_the_nearest_of_all_in_the_table_is_named() -> None:
    model = replace(_digits(), network=lambda x, at: torch.full_like(x, 3.0))
    found = check_model(model, CPU, "digits", _images(), depth=replace(_FEW, others=False))
    nearest = min(found.curves, key=lambda each: found.curves[each].score)
    said = f"the nearest as {MEANINGS[nearest]}, {found.curves[nearest].score:.2f} times"
    assert any(said in text for text in found.bad)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda x, at: torch.ones_like(x), ["ignores the state", "ignores the noise level", "is above the best"]),
        (lambda x, at: x * 0.5, ["ignores the noise level"]),
        (lambda x, at: x * torch.nan, ["hold NaN or Inf"]),
    ],
)
def test_an_output_that_ignores_its_input_or_is_no_number_is_told(network: Network, said: list[str]) -> None:
    model = replace(_digits(clip=False), network=network)
    for found in (_checked(model), check_model(model, CPU, depth=BRIEF)):
        bad = " | ".join(found.bad)
        assert all(words in bad for words in said), bad


@pytest.mark.parametrize("sees_class", [True, False])
def test_a_network_that_ignores_its_class_is_told(sees_class: bool) -> None:
    plain = _digits()
    unconditional = plain.network

    def network(x: Tensor, at: Level, labels: Tensor) -> Tensor:
        output = unconditional(x, at)
        return output * (1.0 + 0.01 * labels[:, None, None, None]) if sees_class else output

    card = plain.card.model_copy(update={"classes": 10})
    conditional: Any = network
    found = _checked(replace(plain, card=card, network=conditional))
    assert found.bad == ([] if sees_class else ["its output ignores the class"])


def _flow(network: Network) -> Model:
    plain = _digits()
    said = {"network": "flow", "parametrisation": "flow", "schedule": {"kind": "flow"}, "clip": None}
    card = Card.model_validate(plain.card.model_dump() | said)
    return replace(plain, card=card, schedule=card.schedule.build(), network=network)


@pytest.mark.parametrize(
    ("given", "sign", "said"),
    [
        (lambda t: t, 1.0, None),
        (lambda t: t, -1.0, "predicts x_0 - eps, a flow's velocity the other way round"),
        (lambda t: 1.0 - t, 1.0, "a time that runs from noise at 0 to data at 1"),
        (lambda t: t * 1000.0, 1.0, "t itself, not 1000 t"),
    ],
)
def test_a_flow_that_runs_the_other_way_or_on_another_time_is_told(given: Any, sign: float, said: str | None) -> None:
    """The exact velocity of the digits, for the time that the network takes its input to be."""
    law = FiniteData(_images().double() / 127.5 - 1.0)

    def velocity(x: Tensor, at: Level) -> Tensor:
        t = min(max(given(at.t), 1e-3), 1.0 - 1e-3)
        x0 = law(x, Level(t, 1.0 - t, t, 0.0, 0.0))
        found: Tensor = sign * ((x - (1.0 - t) * x0) / t - x0)
        return found

    bad = _checked(_flow(velocity)).bad
    assert any(said in text for text in bad) if said else bad == []


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "linear", "train_steps": 4, "beta_start": 0.1, "beta_end": 0.9},
        {"kind": "ve", "sigma_min": 0.002, "sigma_max": 80.0},
        {"kind": "ve", "sigma_min": 0.001, "sigma_max": 0.01},
        {"kind": "vp"},
        {"kind": "flow", "t_max": 1.0},
    ],
)
def test_an_exact_network_passes_on_every_schedule_however_few_its_levels(schedule: dict[str, Any]) -> None:
    law = FiniteData(_images().double() / 127.5 - 1.0)
    plain = _digits()
    said = {"network": "sigma", "parametrisation": "sample", "schedule": schedule, "clip": None}
    card = Card.model_validate(plain.card.model_dump() | said)
    model = replace(plain, card=card, schedule=card.schedule.build(), network=law)
    bad = _checked(model).bad
    # from a hundredth of the data's scale there is nothing to sample
    assert bad == [] or (schedule.get("sigma_max") == 0.01 and all("standard deviation" in text for text in bad))


def test_every_parametrisation_of_an_exact_network_is_recognised() -> None:
    law = FiniteData(_images().double() / 127.5 - 1.0)
    plain = _digits()
    for name, affine in PARAMETRISATIONS.items():

        def output(x: Tensor, at: Level, make: Any = affine) -> Tensor:
            found: Tensor = (law(x, at) - make(at).x0_x * x) / make(at).x0_out
            return found

        card = plain.card.model_copy(update={"parametrisation": name})
        assert _checked(replace(plain, card=card, network=output)).bad == []


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMPLER_BENCH_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """A model folder of the digits that says v."""
    from test_several_models import _edited

    return _edited(tmp_path / "wrong", 'parametrisation = "epsilon"', 'parametrisation = "v_prediction"')


def test_the_command_prints_errors_by_level_and_verdicts_and_ends_with_1_if_one_is_bad(
    cache: Path, wrong: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("digits", images=5) == 0
    out = capsys.readouterr().out
    assert "the card says eps" in out
    assert "WRONG" not in out
    assert "5 images of digits" in out  # what its reference is of, without being told
    assert command(str(wrong), images=5) == 1
    out = capsys.readouterr().out
    assert "WRONG" in out
    assert "this network predicts eps, the card says v" in out
    assert len(list((cache / "checks").iterdir())) == 2


def test_the_command_s_json_holds_all_that_was_found(
    cache: Path, wrong: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(str(wrong), images=5, as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["said"] == "v_prediction"
    wrong_one = {"good": False, "text": "this network predicts eps, the card says v", "doubt": False}
    assert wrong_one in found["verdicts"]
    errors = found["curves"]["epsilon"]["errors"]
    assert len(errors) == len(found["curves"]["epsilon"]["levels"]) == 9
    assert all(0 < error < 1 for error in errors)


def test_images_of_a_folder_are_taken_and_must_have_the_card_s_shape(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(_images(8)):
        Image.fromarray(image[0].numpy()).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("none")
    assert command("digits", data=str(folder)) == 0
    said = capsys.readouterr()
    assert f"8 images of {folder}" in said.out
    assert f"{folder}: 8 images of 1 x 8 x 8" in said.err
    assert "notes.txt" in said.err  # which was left out
    for number in range(8):
        Image.fromarray(np.zeros((16, 16), dtype=np.uint8)).save(folder / f"{number}.png")
    with pytest.raises(UsageError, match=r"have shape \(1, 16, 16\), those of model 'digits' \(1, 8, 8\).*--resize 8"):
        command("digits", data=str(folder))
    with pytest.raises(UsageError, match="--resize 8 goes with --data"):
        command("digits", resize=8)
    with pytest.raises(UsageError, match="--images 1: expected at least 2"):
        command("digits", images=1)


def test_without_any_data_the_command_takes_the_network_s_own_samples_says_so_and_records_nothing(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("digits-vae", images=8) == 0
    assert "8 images of its own samples" in capsys.readouterr().out
    assert not (cache / "checks").exists()


def test_exact_models_are_checked_on_their_own_law(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = {"points": torch.randint(0, 256, (4, 5, 2, 2), dtype=torch.uint8)}
    save_file(points, tmp_path / "points.safetensors")
    files = {"points.safetensors": tmp_path / "points.safetensors"}
    folder = folder_of(tmp_path, files, shape=[5, 2, 2], network="finite-data", parametrisation="sample")
    assert command(str(folder), images=5) == 0
    shown = capsys.readouterr().out
    assert "5 images of its own law" in shown
    assert "error / guess" in shown


def test_a_flow_that_runs_the_other_way_with_the_other_sign_is_told_both() -> None:
    law = FiniteData(_images().double() / 127.5 - 1.0)

    def velocity(x: Tensor, at: Level) -> Tensor:
        t = min(max(1.0 - at.t, 1e-3), 1.0 - 1e-3)
        x0 = law(x, Level(t, 1.0 - t, t, 0.0, 0.0))
        found: Tensor = x0 - (x - (1.0 - t) * x0) / t
        return found

    for scale in (None, 1.0):  # with more times to choose from, too
        model = _flow(velocity)
        model = replace(model, card=model.card.model_copy(update={"time_scale": scale}))
        bad = " | ".join(_checked(model).bad)
        assert "x_0 - eps, a flow's velocity the other way round" in bad
        assert "a time that runs from noise at 0 to data at 1" in bad


def test_a_flow_whose_card_leaves_out_the_factor_of_its_time_is_told() -> None:
    law = FiniteData(_images().double() / 127.5 - 1.0)

    def velocity(x: Tensor, at: Level) -> Tensor:
        t = min(max(at.t / 1000.0, 1e-3), 1.0 - 1e-3)  # trained on 1000 t
        x0 = law(x, Level(t, 1.0 - t, t, 0.0, 0.0))
        found: Tensor = (x - (1.0 - t) * x0) / t - x0
        return found

    model = _flow(velocity)
    model = replace(model, card=model.card.model_copy(update={"time_scale": 1.0}))
    assert "it is to be given 1000 t, not 1 t" in _checked(model).bad


def _edm(images: Tensor, said: float = 0.5, sign: float = 1.0, true: float = 0.5) -> Model:
    """The exact x_0 of images as what stands in EDM's preconditioning of a true sigma_data would give it."""
    law, plain = FiniteData(images.double() / 127.5 - 1.0), _digits()

    def raw(x: Tensor, condition: Tensor) -> Tensor:
        sigma = math.exp(4.0 * float(condition[0]))
        std = math.hypot(sigma, true)
        skip, out = true**2 / std**2, sigma * true / std
        found: Tensor = sign * (law(x * std, Level(0.5, 1.0, sigma, 0.0, 0.0)) - skip * x * std) / out
        return found

    changes = {"network": "edm", "parametrisation": "sample", "schedule": {"kind": "ve"}, "clip": None}
    card = Card.model_validate(plain.card.model_dump() | changes | {"sigma_data": said})
    return replace(plain, card=card, schedule=card.schedule.build(), network=EDMPreconditioned(raw, said))


def test_a_network_of_edm_s_is_not_accused_of_the_blur_of_a_grid_that_is_even_in_sigma() -> None:
    """Its last step is from so much noise that every sample is the mean of all images."""
    images = torch.randint(0, 256, (12, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert check_model(_edm(images), CPU, "noise", images, depth=_FEW).bad == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"said": 1.0}, "its predictions fit sigma_data = 0.5, the card says 1"),
        ({"true": 0.75}, "its predictions fit sigma_data = 0.75, the card says 0.5"),
        ({"sign": -1.0}, "it is to be read with the other raw_prediction"),
    ],
)
def test_a_wrong_preconditioning_is_told(changes: dict[str, float], said: str) -> None:
    assert any(text.startswith(said) for text in _checked(_edm(_images(), **changes)).bad)


def test_a_range_that_fits_as_well_as_another_sigma_data_is_named_beside_it() -> None:
    """A network that knows but the mean and spread of each pixel: half the range is much like twice the sigma_data."""
    x0 = _images().float() / 127.5 - 1.0
    mean, variance = x0.mean(0), x0.var(0)

    def raw(x: Tensor, condition: Tensor) -> Tensor:
        sigma = math.exp(4.0 * float(condition[0]))
        std = math.hypot(sigma, 1.0)
        denoised = mean + variance / (variance + sigma**2) * (x * std - mean)
        return (denoised - x / std) * std / sigma

    model = replace(_edm(_images()), network=EDMPreconditioned(raw, 0.5))
    bad = " | ".join(_checked(model).bad)
    assert "its predictions fit sigma_data = 1, the card says 0.5" in bad
    assert "; or, which fits as well, " in bad
    assert "its images lie in [-0.5, 0.5], the card's value_range is [-1, 1]" in bad


@pytest.mark.parametrize("true", [0.5, 0.75])
def test_the_sigma_data_of_a_consistency_model_is_fitted_too(true: float) -> None:
    """With the mean of x_0, as its samples at low noise nearly are."""
    law, plain = FiniteData(_images().double() / 127.5 - 1.0), _digits()

    def raw(x: Tensor, condition: Tensor) -> Tensor:
        sigma = math.exp(float(condition[0]) / 250.0)
        std, above = math.hypot(sigma, true), sigma - 0.002
        skip, out = true**2 / (above**2 + true**2), above * true / std
        found: Tensor = (law(x * std, Level(0.5, 1.0, sigma, 0.0, 0.0)) - skip * x * std) / out
        return found

    changes = {"network": "consistency", "parametrisation": "sample", "schedule": {"kind": "ve"}, "clip": None}
    card = Card.model_validate(plain.card.model_dump() | changes)
    model = replace(plain, card=card, schedule=card.schedule.build(), network=ConsistencyPreconditioned(raw))
    said = "its predictions fit sigma_data = 0.75, the card says 0.5"
    assert _checked(model).bad == ([] if true == 0.5 else [said])


def test_score_sde_s_betas_are_tried_on_a_network_in_continuous_time() -> None:
    law, plain = FiniteData(_images().double() / 127.5 - 1.0), _digits()
    changes: dict[str, Any] = {"network": "vp-continuous", "parametrisation": "sample", "clip": None}
    card = Card.model_validate(plain.card.model_dump() | changes | {"schedule": {"kind": "vp", "beta_max": 5.0}})
    trained = ContinuousVP()
    network: Network = lambda x, at: law(x, trained.level(at.t))  # noqa: E731
    bad = _checked(replace(plain, card=card, schedule=card.schedule.build(), network=network)).bad
    assert any("it was trained on betas 0.1 to 20, as Score SDE" in text for text in bad)


def test_images_whose_classes_are_not_known_accuse_no_network_that_takes_classes() -> None:
    data = open_data("digits")
    assert data.labels is not None
    pixels, labels = data.images[:40], data.labels[:40]
    laws = [FiniteData(pixels[labels == each].double() / 127.5 - 1.0) for each in range(10)]

    def network(x: Tensor, at: Level, classes: Tensor) -> Tensor:
        found = [laws[int(each)](x[n : n + 1], at) for n, each in enumerate(classes)]
        return torch.cat(found)

    conditional: Any = network
    plain = _digits()
    card = plain.card.model_copy(update={"classes": 10, "parametrisation": "sample", "clip": None})
    model = replace(plain, card=card, network=conditional)
    known = check_model(model, CPU, "digits", pixels, labels, _FEW)
    assert (known.bad, known.data) == ([], "digits")
    unknown = check_model(model, CPU, "digits", pixels, None, _FEW)
    assert (unknown.bad, unknown.data) == ([], "its own samples")
    assert any("the classes of the images are not known" in each.text for each in unknown.verdicts)
