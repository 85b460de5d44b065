"""check-model: which images of the data it takes, what it keeps, and exact models that it accuses of nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checked_models import FEW, digits, labelled_digits, said, with_card
from checkpoints import CPU
from PIL import Image
from torch import Tensor

from bench.cli import check_model as command
from bench.conformance.model_check import BRIEF, FULL, check_model
from models.analytic import FiniteData, Gaussian
from models.loading.model import Model
from models.loading.zoo import load_model


def _folder(path: Path, images: Tensor, labels: Tensor | None) -> Path:
    for number, image in enumerate(images):
        folder = path if labels is None else path / str(int(labels[number]))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{number:03}.png")
    return path


def test_images_are_taken_from_end_to_end_of_folders_that_are_sorted_by_class(tmp_path: Path) -> None:
    found = command._images(
        load_model("digits-conditional", CPU), str(_folder(tmp_path / "d", *labelled_digits(120))), None, 64
    )
    assert found.labels is not None
    assert found.pixels is not None
    assert (len(found.pixels), found.labels.unique().tolist()) == (64, list(range(10)))


def test_the_command_names_classes_that_are_not_the_data_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAMPLER_BENCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(command, "FULL", FEW)
    images, labels = labelled_digits(40)
    folder = _folder(tmp_path / "nine", images[labels < 9], labels[labels < 9])
    assert command.check("digits-conditional", None, None, str(folder), None, 24, "cpu", False) == 1
    assert "the card has 10 classes, the data 9" in capsys.readouterr().out
    assert len(list((tmp_path / "cache" / "checks").iterdir())) == 1


def test_a_check_that_went_over_to_the_model_s_own_samples_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is none on real images, as those are that runs take over."""
    monkeypatch.setenv("SAMPLER_BENCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr("bench.conformance.model_labels.ALL_TRIED", 4)
    monkeypatch.setattr(command, "FULL", FEW)
    monkeypatch.setattr(
        command, "load_model", lambda *_, **__: with_card(load_model("digits-conditional", CPU), null_label=None)
    )
    flat = _folder(tmp_path / "flat", labelled_digits(12)[0], None)
    assert command.check("any", None, None, str(flat), None, 12, "cpu", False) == 0
    assert not (tmp_path / "cache" / "checks").exists()


def _white(**changes: object) -> Model:
    """The exact x_0 of images of white noise."""
    law = Gaussian(torch.zeros(64, dtype=torch.float64), 0.09 * torch.eye(64, dtype=torch.float64), (1, 8, 8))
    return replace(with_card(digits(), parametrisation="sample", clip=None, **changes), network=law)


@pytest.mark.parametrize("seed", range(4))
def test_an_exact_network_of_white_noise_is_no_better_than_the_guess_and_not_wrong(seed: int) -> None:
    """There is nothing to know of it but mean and variance, which the guess takes of the very images."""
    generator = torch.Generator().manual_seed(seed)
    images = (127.5 + 0.3 * 127.5 * torch.randn(16, 1, 8, 8, generator=generator)).round().clamp(0, 255)
    found = check_model(_white(), CPU, "noise", images.to(torch.uint8), depth=replace(FULL, images=16, steps=10))
    assert found.bad == []
    near = said(found.verdicts, "of the best linear guess's")
    assert near in ([(True, True)], [(True, False)])


def test_a_brief_look_at_an_exact_network_of_white_noise_finds_nothing_wrong() -> None:
    wide = with_card(_white(), value_range=[-0.5, 0.5])
    assert check_model(wide, CPU, depth=BRIEF).bad == []


def test_a_network_of_a_wide_range_is_tried_on_states_as_wide() -> None:
    """Beside differences of tens of thousands unit noise is nothing."""
    low, high = 0.0, 100_000.0
    law = FiniteData(low + (high - low) * labelled_digits(12)[0].double() / 255.0)
    model = replace(with_card(digits(), parametrisation="sample", clip=None, value_range=[low, high]), network=law)
    found = check_model(model, CPU, "digits", labelled_digits(12)[0], depth=FEW)
    assert said(found.verdicts, "ignores the state") == []
