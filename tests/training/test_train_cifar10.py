"""Training on photographs makes a model folder that loads, stops and goes on anywhere, and trains models further."""

import json
import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import make
from photographs import Killed, killing, silent, write_photographs
from PIL import Image

from bench.quality.extractors import load_extractor
from bench.quality.reference import load_reference
from bench.training.checkpoint import load_state, under_prefix
from bench.training.cifar10 import train_cifar10
from bench.training.data import open_splits
from bench.training.extractor import train_extractor
from bench.training.options import CifarOptions, ExtractorOptions
from models.common.errors import UsageError
from models.loading.layout import WEIGHTS
from models.loading.model import Model
from models.loading.sources import CARD
from models.loading.zoo import load_model
from models.networks.network import IndexedUNet

_CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noisy images of 8 x 8: dark and bright."""
    return write_photographs(tmp_path_factory.mktemp("photographs"), 8, train=24, test=8)


def _options(out: Path, data: Path, **changed: Any) -> CifarOptions:
    usual: dict[str, Any] = {
        "steps": 6,
        "batch": 4,
        "device": "cpu",
        "width": 8,
        "grid_every": 0,
        "checkpoint_every": 3,
        "sampling_steps": 3,
        "quality_images": 12,
        "shard_mib": 0.1,
    }
    return CifarOptions(out, str(data), **(usual | changed))


def _train(out: Path, data: Path, **changed: Any) -> list[str]:
    """Train, and give what was said."""
    said: list[str] = []
    train_cifar10(_options(out, data, **changed), silent, said.append)
    return said


@pytest.fixture(scope="module")
def extractor(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an extractor of the photographs."""
    options = ExtractorOptions(
        tmp_path_factory.mktemp("extractor"), str(photographs), device="cpu", epochs=60, width=8, name="levels"
    )
    folder = train_extractor(options, silent, lambda line: None)
    assert folder is not None
    return folder


@pytest.fixture(scope="module")
def trained(photographs: Path, extractor: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a whole training, and what it said."""
    out = tmp_path_factory.mktemp("trained")
    return out, _train(out, photographs, grid_every=6, extractor=str(extractor))


def _load(out: Path) -> tuple[Model, dict[str, torch.Tensor]]:
    model = load_model(str(out / "model"), _CPU)
    assert isinstance(model.network, IndexedUNet)
    return model, model.network.unet.state_dict()


def test_the_model_loads_with_the_averaged_weights_and_a_card_that_tells_of_them(
    trained: tuple[Path, list[str]], photographs: Path
) -> None:
    model, state = _load(trained[0])
    saved, note = load_state(trained[0] / "denoiser") or ({}, {})
    average = under_prefix("ema", saved)
    assert all(torch.equal(state[name], average[name]) for name in average)
    card = model.card
    assert (card.training["steps"], card.training["images_seen"]) == (6, 24)
    assert card.training["loss"] == note["loss"]
    assert (card.name, card.shape) == (Path(photographs).name, (3, 8, 8))
    assert card.extractor is not None
    assert 0 < float(card.quality["fd_levels_unseen"]) < float(card.quality["fd_levels"])
    assert set(card.files) == {
        path.relative_to(model.folder).as_posix() for path in model.folder.rglob("*") if path.is_file()
    } - {CARD}


def test_weights_are_in_shards_of_at_most_the_stated_size_with_diffusers_index(trained: tuple[Path, list[str]]) -> None:
    folder, largest = trained[0] / "model", int(0.1 * 2**20)
    index = json.loads((folder / f"{WEIGHTS}.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 1
    assert shards == [
        f"diffusion_pytorch_model-{n:05d}-of-{len(shards):05d}.safetensors" for n in range(1, len(shards) + 1)
    ]
    assert all((folder / shard).stat().st_size <= largest for shard in shards)


def test_on_the_way_there_is_a_grid_of_samples_their_distance_the_loss_and_what_is_left(
    trained: tuple[Path, list[str]],
) -> None:
    out, said = trained
    assert Image.open(out / "samples-00000006.png").size == (8 * 10 + 2, 8 * 10 + 2)
    quality = json.loads((out / "quality.jsonl").read_text())
    card = tomllib.loads((out / "model" / CARD).read_text())
    assert quality == {"step": 6, "images": 12, "fd_levels": pytest.approx(card["quality"]["fd_levels"], rel=1e-3)}
    rows = [json.loads(line) for line in (out / "loss.jsonl").read_text().splitlines()]
    assert [(row["step"], row["images"]) for row in rows] == [(step, 4 * step) for step in range(1, 7)]
    assert any("images/s" in line and "left" in line for line in said)


def test_killed_out_of_time_and_resumed_it_makes_the_same_model(
    trained: tuple[Path, list[str]], photographs: Path, extractor: Path, tmp_path: Path
) -> None:
    options = _options(tmp_path, photographs, extractor=str(extractor))
    assert train_cifar10(replace(options, minutes=1e-9), silent, lambda line: None) is None
    with pytest.raises(Killed):
        train_cifar10(options, killing(4, "denoiser"), lambda line: None)
    train_cifar10(options, silent, lambda line: None)
    (_, state), (_, expected) = _load(tmp_path), _load(trained[0])
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_a_model_is_trained_further_from_its_folder_alone(
    trained: tuple[Path, list[str]], photographs: Path, tmp_path: Path
) -> None:
    before = trained[0] / "model"
    _train(tmp_path, photographs, start=before, steps=8, batch=2, storage="fp16", width=128)
    model, state = _load(tmp_path)
    assert (model.card.training["steps"], model.card.training["continued_from_step"]) == (8, 6)
    assert model.card.training["images_seen"] == 24 + 2 * 2
    name = "extractor/model.safetensors"
    assert (tmp_path / "model" / name).read_bytes() == (before / name).read_bytes()
    _, first = _load(trained[0])
    assert all(torch.allclose(state[name], first[name], atol=2e-3) for name in first)
    assert any(not torch.equal(state[name], first[name]) for name in first)


def test_weights_that_have_all_their_steps_already_are_not_trained_further(
    trained: tuple[Path, list[str]], photographs: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"was trained for 6 steps already.*Give more"):
        _train(tmp_path, photographs, start=trained[0] / "model")


@pytest.mark.parametrize(("name", "value"), [("steps", "2.5"), ("images_seen", "'many'"), ("loss", "'low'")])
def test_numbers_of_a_card_are_not_rounded_when_its_model_is_trained_further(
    trained: tuple[Path, list[str]], photographs: Path, tmp_path: Path, name: str, value: str
) -> None:
    shutil.copytree(trained[0] / "model", tmp_path / "before")
    card = tmp_path / "before" / "card.toml"
    card.write_text(re.sub(rf"^{name} = .*$", f"{name} = {value}", card.read_text(), flags=re.MULTILINE))
    with pytest.raises(UsageError, match=f"card's training.{name} is {value}; expected a"):
        _train(tmp_path / "out", photographs, start=tmp_path / "before", steps=8)


def test_without_what_writes_the_card_a_training_does_not_begin(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.training.folder.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="--extra train"):
        _train(tmp_path, photographs)
    assert not list(tmp_path.iterdir())


def test_images_that_are_trained_on_are_not_called_unseen(photographs: Path, extractor: Path, tmp_path: Path) -> None:
    _train(tmp_path, photographs / "train", steps=1, extractor=str(extractor))
    assert set(load_model(str(tmp_path / "model"), _CPU).card.quality) >= {"fd_levels", "images"}
    assert not [name for name in load_model(str(tmp_path / "model"), _CPU).card.quality if "unseen" in name]


def test_a_test_set_of_other_images_is_refused_before_anything_is_trained(photographs: Path, tmp_path: Path) -> None:
    shutil.copytree(photographs, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "test").rglob("*.png"):
        Image.open(path).resize((16, 16)).save(path)
    with pytest.raises(UsageError, match=r"test have shape \(16, 3, 16, 16\).*\(48, 3, 8, 8\)"):
        open_splits(str(tmp_path))


def test_one_class_alone_trains_no_extractor(photographs: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(photographs / "train" / "dark", data / "dark")
    whole, test = open_splits(str(data))
    assert (len(whole.images), test) == (24, None)
    with pytest.raises(UsageError, match="no classes, which an extractor learns to tell apart"):
        train_extractor(ExtractorOptions(tmp_path / "out", str(data), device="cpu"), silent, lambda line: None)


def test_without_an_extractor_it_says_so_and_the_model_has_no_quality(photographs: Path, tmp_path: Path) -> None:
    said = _train(tmp_path, photographs, steps=1)
    card = load_model(str(tmp_path / "model"), _CPU).card
    assert (card.extractor, card.measured_by, card.quality) == (None, None, {})
    assert any("no feature extractor, so no distances" in line for line in said)


def test_without_torch_compile_it_says_why_and_trains_all_the_same(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(network: torch.nn.Module) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", refuse)
    said = _train(tmp_path, photographs / "train" / "dark", steps=1, compile=True)
    assert (tmp_path / "model").is_dir()
    assert any("RuntimeError: no compiler here" in line for line in said)


def test_the_extractor_of_another_folder_goes_with_the_model(trained: tuple[Path, list[str]], extractor: Path) -> None:
    for name in ("extractor/config.json", "extractor/model.safetensors", "reference.safetensors"):
        assert (trained[0] / "model" / name).read_bytes() == (extractor / name).read_bytes()
    loaded = load_extractor(None, _load(trained[0])[0], _CPU)
    assert load_reference(None, loaded).sha256 == load_reference(str(extractor), loaded).sha256


def test_a_folder_called_like_an_embedded_extractor_is_the_folder(
    photographs: Path, extractor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(extractor, tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    _train(tmp_path / "out", photographs, steps=1, extractor="./digits")
    assert set(_load(tmp_path / "out")[0].card.quality) >= {"fd_levels"}


def test_a_checkpoint_of_diffusers_without_a_card_is_trained_further(
    photographs: Path, extractor: Path, tmp_path: Path
) -> None:
    start = make(tmp_path / "ddpm", flat=True)
    _train(tmp_path / "out", photographs, steps=1, start=start, extractor=str(extractor))
    model, _ = _load(tmp_path / "out")
    assert (model.card.training["images_seen"], model.card.training["continued_from_step"]) == (4, 0)


def test_a_training_does_not_write_over_an_extractor(photographs: Path, extractor: Path, tmp_path: Path) -> None:
    shutil.copytree(extractor, tmp_path / "model")
    with pytest.raises(UsageError, match="holds something else; write elsewhere with --out"):
        _train(tmp_path, photographs)


def test_an_embedded_extractor_is_only_named_by_the_model(
    photographs: Path, extractor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(extractor, tmp_path / "extractors" / "photos")
    for module in ("models.loading.sources", "bench.training.cifar10"):
        monkeypatch.setattr(f"{module}.EXTRACTORS", tmp_path / "extractors")
    _train(tmp_path / "one", photographs, steps=1, extractor="photos")
    model, _ = _load(tmp_path / "one")
    assert (model.card.measured_by, model.card.extractor) == ("photos", None)
    assert not list(model.folder.rglob("reference*"))
    assert load_extractor(None, model, _CPU).folder == tmp_path / "extractors" / "photos"
    _train(tmp_path / "two", photographs, steps=2, start=model.folder)
    assert _load(tmp_path / "two")[0].card.measured_by == "photos"


def test_every_tenth_image_tests_the_extractor_where_there_is_no_test_set(photographs: Path) -> None:
    whole, test = open_splits(str(photographs / "train"))
    assert test is not None
    assert torch.equal(test.images, whole.images[9::10])
