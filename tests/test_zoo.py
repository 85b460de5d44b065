"""A model folder is used only when everything in it is what its card says."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.features import load_extractor
from bench.reference import load_reference
from models.errors import UsageError
from models.zoo import CARD, CONFIG, WEIGHTS, ZOO, load_card, load_model, zoo_names

_CPU = torch.device("cpu")
_MIB = 2**20


def _load_all(folder: Path) -> None:
    model = load_model(str(folder), _CPU)
    load_reference(model, load_extractor(model, _CPU))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ZOO / "digits", tmp_path / "copy"))


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def _flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def _truncate(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _drop_from_card(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = (folder / CARD).read_text().splitlines()
        (folder / CARD).write_text("\n".join(line for line in lines if not line.startswith(f'"{name}"')))

    return change


def test_a_copy_of_the_folder_loads_by_its_path(folder: Path) -> None:
    _load_all(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_flip_a_bit, "the file is damaged or was changed"),
        (_truncate, "the file is damaged or was changed"),
        (_remove(WEIGHTS), "is missing; the card of 'digits' lists it"),
        (_remove("reference.safetensors"), "is missing"),
        (_remove(CARD), "has no card.toml"),
        (_edit(CONFIG, '"in_channels": 1', '"in_channels": 3'), "the file is damaged or was changed"),
        (_edit(CARD, 'parametrisation = "epsilon"', 'parametrisation = "eps"'), "parametrisation: Input should be"),
        (_edit(CARD, "train_steps = 1000", "train_steps = 0"), "schedule.train_steps: Input should be greater"),
        (_edit(CARD, 'name = "digits"', 'nome = "digits"'), "nome: Extra inputs are not permitted"),
        (_edit(CARD, "schema_version = 1", "schema_version = "), "is not valid TOML"),
        (_drop_from_card(WEIGHTS), "files does not list 'diffusion_pytorch_model.safetensors'"),
        (_drop_from_card("reference.safetensors"), "lists no reference.safetensors"),
        (_drop_from_card("extractor/model.safetensors"), "its files lack 'extractor/model.safetensors'"),
    ],
)
def test_a_folder_that_was_tampered_with_is_refused(folder: Path, change: Callable[[Path], None], said: str) -> None:
    change(folder)
    with pytest.raises(UsageError) as error:
        _load_all(folder)
    assert said in str(error.value)


def test_unknown_models_say_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"unknown model 'digit'\. Did you mean 'digits'"):
        load_model("digit", _CPU)


@pytest.mark.parametrize("name", zoo_names())
def test_embedded_models_are_described_small_and_whole(name: str) -> None:
    card = load_card(ZOO / name)
    assert card.name == name
    assert card.data_licence
    files = {str(path.relative_to(ZOO / name)) for path in (ZOO / name).rglob("*") if path.is_file()}
    assert files == {*card.files, CARD}
    assert (ZOO / name / WEIGHTS).stat().st_size <= 4 * _MIB


def test_the_digits_are_good_by_their_own_card() -> None:
    card = load_card(ZOO / "digits")
    assert card.extractor is not None
    assert card.extractor.test_accuracy > 0.95
    assert card.quality["ddpm_steps"] == 1000
    assert float(card.quality["fd_digits"]) <= 2 * float(card.quality["fd_digits_floor"])
