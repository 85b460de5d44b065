"""Training an extractor makes a folder that studies measure with: network, reference, and what real images get."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from photographs import Killed, killing, picture, silent, write_photographs
from PIL import Image

from bench.cli.app import app
from bench.quality.datasets import open_data
from bench.quality.extractors import Chosen, load_extractor
from bench.quality.features import extract
from bench.quality.reference import load_reference
from bench.training.checkpoint import load_state, under_prefix
from bench.training.losses import epoch_batch
from bench.training.options import CifarOptions, ExtractorOptions
from bench.training.recipe import Recipe
from bench.training.train_extractor import doubt_of, train_extractor
from models.common.errors import UsageError
from models.loading.sources import load_card, load_measuring_card

_COUNTS = {"train": 60, "test": 20}
_CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noisy images of 8 x 8: dark and bright; each image is another."""
    return write_photographs(tmp_path_factory.mktemp("photographs"), 8, train=30, test=10)


def _options(out: Path, data: Path, **changed: Any) -> ExtractorOptions:
    usual: dict[str, Any] = {"device": "cpu", "epochs": 150, "width": 4, "name": "levels", "features": 25}
    return ExtractorOptions(out, str(data), **(usual | changed))


@pytest.fixture(scope="module")
def folder(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = train_extractor(_options(tmp_path_factory.mktemp("made"), photographs), silent, lambda line: None)
    assert made is not None
    return made


def test_the_card_tells_the_accuracy_and_what_real_images_get(folder: Path) -> None:
    card = load_measuring_card(folder)
    assert card.extractor is not None
    assert card.extractor.name == "levels"
    assert card.extractor.test_accuracy > 0.9  # dark and bright are easy to tell apart
    assert (card.quality["halves_images"], card.quality["unseen_images"]) == (30, 20)
    assert float(card.quality["halves_fd_levels"]) > 0
    assert float(card.quality["unseen_fd_levels"]) > 0
    assert 0 < float(card.quality["unseen_recall"]) <= 1


def test_its_reference_is_of_all_images_and_keeps_the_features_of_some(folder: Path, photographs: Path) -> None:
    extractor = load_extractor(Chosen(str(folder)), None, _CPU)
    reference = load_reference(None, extractor, ["kid", "precision_recall"])
    features = extract(extractor, open_data(str(photographs / "train")).images).features
    torch.testing.assert_close(reference.mean, features.mean(0))
    torch.testing.assert_close(reference.covariance, torch.cov(features.T))
    assert (reference.count, reference.columns["reference_features"]) == (60, 25)
    assert reference.features is not None
    at = [int((features - row).abs().sum(1).argmin()) for row in reference.features]
    torch.testing.assert_close(reference.features, features[at])
    assert at == sorted(set(at))  # in order, each once
    assert at != list(range(25))  # drawn, not the first, which are of one class


def test_it_is_no_model(folder: Path) -> None:
    with pytest.raises(UsageError, match="holds a feature extractor and no model"):
        load_card(folder)


def test_killed_and_resumed_it_is_the_same(folder: Path, photographs: Path, tmp_path: Path) -> None:
    options = _options(tmp_path, photographs)
    with pytest.raises(Killed):
        train_extractor(options, killing(120, "feature extractor"), lambda line: None)
    again = train_extractor(options, silent, lambda line: None)
    assert again is not None
    name = "extractor/model.safetensors"
    assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_out_of_time_it_says_so_and_writes_no_folder(photographs: Path, tmp_path: Path) -> None:
    said: list[str] = []
    assert train_extractor(_options(tmp_path, photographs, minutes=1e-9), silent, said.append) is None
    assert not (tmp_path / "model").exists()
    assert any("time ran out" in line for line in said)


def test_images_that_are_tested_on_are_not_trained_on(photographs: Path, tmp_path: Path) -> None:
    train_extractor(_options(tmp_path, photographs / "train", epochs=1, features=0), silent, lambda line: None)
    card = load_measuring_card(tmp_path / "model")
    assert card.extractor is not None
    assert not [name for name in card.quality if "unseen" in name]  # they are in the reference
    saved, note = load_state(tmp_path / "extractor") or ({}, {})
    assert under_prefix("ema", saved)
    assert note["of"]["recipe"]["batch"] == 54  # of 60 every tenth is kept for the test


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"epochs": 0}, "epochs is 0; expected at least 1"), ({"features": 3}, "features is 3; expected how many images")],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ExtractorOptions(Path(), **wrong)


@pytest.mark.parametrize("name", ["clip", "x_std"])
def test_names_that_mean_something_else_are_refused_before_anything_is_trained(
    photographs: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match="means something else in a table"):
        train_extractor(_options(tmp_path, photographs, name=name), silent, lambda line: None)
    assert not (tmp_path / "extractor").exists()


def test_more_features_than_images_are_refused(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="features of 61 images are to be kept, and there are 60"):
        train_extractor(_options(tmp_path, photographs, epochs=1, features=61), silent, lambda line: None)
    assert not (tmp_path / "extractor").exists()  # said before anything is trained


def test_fewer_images_than_metrics_need_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    data = write_photographs(tmp_path / "data", 8, train=1, test=10)
    with pytest.raises(UsageError, match="holds 2 images; 4 are the least that metrics need"):
        train_extractor(_options(tmp_path / "out", data, features=None), silent, lambda line: None)
    assert not (tmp_path / "out" / "extractor").exists()


def test_oblong_pictures_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    for number, name in enumerate("ab" * 5):
        path = tmp_path / "data" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture().resize((12, 8)).save(path)
    with pytest.raises(UsageError, match="images of 12 x 8 pixels; the extractor takes squares"):
        train_extractor(_options(tmp_path / "out", tmp_path / "data", features=0), silent, lambda line: None)
    assert not (tmp_path / "out" / "extractor").exists()


def test_an_extractor_that_tells_nothing_apart_is_called_so(photographs: Path, tmp_path: Path) -> None:
    data, said = tmp_path / "data", list[str]()
    for split, count in (("train", 10), ("test", 10)):  # the classes are two halves of one
        for name in ("a", "b"):
            (data / split / name).mkdir(parents=True)
        for number in range(count):
            shutil.copy(photographs / "train" / "dark" / f"{number:03d}.png", data / split / "ab"[number % 2])
    train_extractor(_options(tmp_path / "out", data, epochs=1, features=0), silent, said.append)
    assert any(line.startswith("warning: to name the most frequent class every time gives 0.5000") for line in said)


def test_what_an_extractor_is_worth_is_told_by_what_guessing_gives(tmp_path: Path) -> None:
    options = ExtractorOptions(tmp_path)
    even, uneven = torch.arange(1000) % 10, (torch.arange(1000) >= 900).long()
    assert doubt_of(0.4, even, options) is None
    assert "gives 0.1000" in (doubt_of(0.3, even, options) or "")
    assert "gives 0.9000" in (doubt_of(0.91, uneven, options) or "")  # although nine of ten are right
    assert doubt_of(0.95, uneven, options) is None
    assert "gives 0.5000" in (doubt_of(0.75, torch.tensor([0, 1, 0, 1]), options) or "")  # three of four, by chance
    assert "--no-flips" in (doubt_of(0.3, even, options) or "")
    assert "--no-flips" not in (doubt_of(0.3, even, ExtractorOptions(tmp_path, flips=False)) or "")


def test_without_flips_no_image_is_mirrored_and_the_card_says_so(photographs: Path, tmp_path: Path) -> None:
    assert ExtractorOptions(tmp_path).recipe(60).flips
    assert CifarOptions(tmp_path).denoiser_recipe(None).flips
    assert not CifarOptions(tmp_path, flips=False).denoiser_recipe(None).flips
    made = train_extractor(
        _options(tmp_path, photographs, epochs=1, features=0, flips=False), silent, lambda line: None
    )
    assert made is not None
    card = load_measuring_card(made)
    assert card.training["flips"] == 0
    assert card.training_command.endswith("--no-flips")


@pytest.mark.parametrize(("command", "trainer"), [("extractor", "train_on_classes"), ("cifar10", "train_on_images")])
def test_the_command_line_takes_no_flips_and_flips_unless_told_so(
    command: str, trainer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = list[dict[str, Any]]()
    monkeypatch.setattr(f"bench.cli.train.{trainer}", given.append)
    for more in ((), ("--no-flips",), ("--flips",)):
        app(["train", command, *more], result_action="return_value")
    assert [each["flips"] for each in given] == [True, False, True]


def test_an_extractor_is_called_after_its_data_and_not_after_a_part_of_it(photographs: Path, tmp_path: Path) -> None:
    shutil.copytree(photographs / "test", tmp_path / "letters" / "test")
    options = _options(tmp_path / "out", tmp_path / "letters" / "test", name=None, epochs=1, features=0)
    made = train_extractor(options, silent, lambda line: None)
    assert made is not None
    card = load_measuring_card(made)
    assert card.extractor is not None
    assert (card.name, card.extractor.name) == ("letters", "letters")
    (tmp_path / "letters").rename(tmp_path / "clip")
    data = str(tmp_path / "clip")  # what that of torch-fidelity is called
    with pytest.raises(UsageError, match=r"--name is not given, and .* calls its extractor 'clip'"):
        train_extractor(ExtractorOptions(tmp_path, data, device="cpu"), silent, lambda line: None)


def test_the_file_that_makes_grey_images_three_channels_is_named(photographs: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(photographs, data)
    for path in data.rglob("*.png"):
        Image.open(path).convert("L").convert("RGB").save(path)
    said: list[str] = []
    options = {"minutes": 1e-9, "features": None}
    train_extractor(_options(tmp_path / "grey", data, **options), silent, said.append)
    assert said[:2] == [f"{data / split}: {count} images of 1 x 8 x 8" for split, count in _COUNTS.items()]
    shutil.copy(photographs / "train" / "dark" / "000.png", data / "train" / "dark" / "stray.png")
    train_extractor(_options(tmp_path / "colour", data, **options), silent, said.append)
    assert f"{data / 'train'}: 61 images of 3 x 8 x 8" in said
    assert any("because of colours in 1 of 61 (dark/stray.png)" in line for line in said)


def test_every_image_comes_once_an_epoch_in_another_order() -> None:
    recipe = Recipe(steps=30, batch=8)
    numbers = torch.cat([epoch_batch(20, recipe, step) for step in range(10)])
    epochs = numbers.split(20)
    assert all(torch.equal(epoch.sort().values, torch.arange(20)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])
