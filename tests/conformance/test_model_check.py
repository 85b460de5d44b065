"""check-model: every fault of a card that gives plausible numbers is named, and a right card passes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checked_models import COSINE, FEW, LINEAR, SCALED, checked, digits, digits_that_say_v, images_of_digits
from checkpoints import CPU, folder_of
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from bench.cli.app import check_model as command
from bench.conformance.model_check import BRIEF, check_model
from bench.conformance.model_fit import MEANINGS
from models.analytic import FiniteData
from models.cards.card import Card
from models.common.errors import UsageError
from models.loading.model import Model
from models.networks.network import Network
from models.schedule import Level


def test_a_right_card_passes_and_its_network_beats_the_best_linear_guess_at_every_level() -> None:
    found = checked(digits())
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
        ({"schedule": COSINE}, ["trained on linear betas, 0.0001 to 0.02; the card's schedule is of kind 'cosine'"]),
        ({"schedule": SCALED}, ["trained on linear betas, 0.0001 to 0.02"]),
        (
            {"schedule": LINEAR | {"train_steps": 500}},
            ["trained on train_steps = 1000; the card's schedule is of kind 'linear' with train_steps = 500"],
        ),
        ({"schedule": LINEAR | {"train_steps": 4000}}, ["trained on train_steps = 1000; the card's"]),
        (
            {"schedule": COSINE | {"train_steps": 500}},
            ["trained on linear betas, 0.0001 to 0.02 and train_steps = 1000; the card's schedule is of kind 'cosine'"],
        ),
        (
            {"parametrisation": "v_prediction", "schedule": COSINE},
            ["this network predicts eps, the card says v", "trained on linear betas"],
        ),
        (
            {"parametrisation": "v_prediction", "value_range": [0.0, 1.0]},
            ["this network predicts eps, the card says v", "its images lie in [-1, 1]"],
        ),
    ],
)
def test_what_a_card_says_wrongly_is_named_with_what_is_right(changes: dict[str, Any], said: list[str]) -> None:
    found = checked(digits(**changes))
    bad = " | ".join(found.bad)
    places = ["its samples" in each.text for each in found.verdicts]
    assert places == sorted(places)  # what becomes of a wrong card is told after what is wrong with it
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
        {"schedule": COSINE},
        {"schedule": COSINE, "clip": False},
    ],
)
def test_a_brief_look_at_its_own_samples_finds_that_something_is_wrong(changes: dict[str, Any]) -> None:
    assert check_model(digits(**changes), CPU, depth=BRIEF).bad


def test_a_brief_look_at_a_right_card_finds_nothing_for_three_hundred_evaluations() -> None:
    right = check_model(digits(), CPU, depth=BRIEF)
    assert (right.bad, right.evaluations, right.data) == ([], 312, "its own samples")


def test_samples_far_out_of_range_ask_for_a_clip_and_with_one_they_do_not() -> None:
    """A small error of eps is divided by alpha, 5e-5 where cosine betas begin; and networks saturate."""
    law = FiniteData(images_of_digits().double() / 127.5 - 1.0)

    def eps(x: Tensor, at: Level) -> Tensor:
        return (1.01 * (x - at.alpha * law(x, at)) / at.sigma).clamp(-4.0, 4.0)

    model = replace(digits(schedule=COSINE, clip=False), network=eps)
    found = checked(model)
    assert any("no clip on the card?" in text and "its samples reach" in text for text in found.bad)
    assert found.samples is not None
    assert max(map(abs, found.samples)) > 50
    clipped = replace(model, card=model.card.model_copy(update={"clip": (-1.0, 1.0)}))
    assert checked(clipped).bad == []


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
    law, plain = FiniteData(size * signs[:, :, None, None]), digits()

    def v(x: Tensor, at: Level) -> Tensor:
        found: Tensor = (at.alpha * x - law(x, at)) / at.sigma  # as alpha^2 + sigma^2 = 1
        return found

    changes = {"shape": [2, 1, 1], "parametrisation": "v_prediction", "clip": None}
    return replace(plain, card=Card.model_validate(plain.card.model_dump() | changes), network=v)


def _barely_trained(**changes: Any) -> Model:
    """An exact eps that is too large by half, and nearly twice as large at much noise."""
    law = FiniteData(images_of_digits().double() / 127.5 - 1.0)

    def eps(x: Tensor, at: Level) -> Tensor:
        found: Tensor = (x - at.alpha * law(x, at)) / at.sigma * (1.5 if at.ratio < 1.5 else 1.9)
        return found

    return replace(digits(**changes), network=eps)


def test_a_network_that_beats_the_guess_but_at_much_noise_is_in_doubt_and_not_wrong() -> None:
    found = checked(_barely_trained())
    assert found.curves["epsilon"].score > 1.0
    assert found.bad == []
    assert any(each.good and each.text == "this network predicts eps, as the card says" for each in found.verdicts)
    doubt = next(each.text for each in found.verdicts if each.doubt)
    assert "at alpha/sigma 0.22 ... 0.05: trained too briefly" in doubt
    wrong = checked(_barely_trained(parametrisation="v_prediction")).bad
    assert "this network predicts eps, the card says v" in wrong
    assert not any("linear guess" in text for text in wrong)


def test_where_nothing_beats_the_guess_the_nearest_of_all_in_the_table_is_named() -> None:
    model = replace(digits(), network=lambda x, at: torch.full_like(x, 3.0))
    found = check_model(model, CPU, "digits", images_of_digits(), depth=replace(FEW, others=False))
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
    model = replace(digits(clip=False), network=network)
    for found in (checked(model), check_model(model, CPU, depth=BRIEF)):
        bad = " | ".join(found.bad)
        assert all(words in bad for words in said), bad


_FIRST: dict[object, Tensor] = {}


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda x, at: x + _FIRST.setdefault((x.shape, at), x), "is another when it is evaluated again: it draws"),
        (lambda x, at: x * at.sigma + torch.rand_like(x), "is another when it is evaluated again"),
        (lambda x, at: (x - x.mean(0)) * at.sigma, "of an image depends on the others of its batch"),
    ],
)
def test_an_output_that_depends_on_more_than_its_input_is_told(network: Network, said: str) -> None:
    found = check_model(replace(digits(), network=network), CPU, depth=BRIEF)
    assert any(f"its output {said}" in text for text in found.bad)


@pytest.mark.parametrize("sees_class", [True, False])
def test_a_network_that_ignores_its_class_is_told(sees_class: bool) -> None:
    plain = digits()
    unconditional = plain.network

    def network(x: Tensor, at: Level, labels: Tensor) -> Tensor:
        output = unconditional(x, at)
        return output * (1.0 + 0.01 * labels[:, None, None, None]) if sees_class else output

    card = plain.card.model_copy(update={"classes": 10})
    conditional: Any = network
    found = checked(replace(plain, card=card, network=conditional))
    assert found.bad == ([] if sees_class else ["its output ignores the class"])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMPLER_BENCH_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    return digits_that_say_v(tmp_path / "wrong")


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
    for number, image in enumerate(images_of_digits(8)):
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


def test_a_brief_look_at_pictures_of_which_many_values_leave_the_range_finds_it_and_points_may_fill_little() -> None:
    narrow = digits(value_range=[-0.5, 0.5], clip=False)
    assert any("its samples reach" in text for text in check_model(narrow, CPU, depth=BRIEF).bad)
    points = _of_corners(0.3)
    assert not any("fill" in text for text in check_model(points, CPU, depth=BRIEF).bad)
