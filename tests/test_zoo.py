"""A model folder is used only when everything in it is what its card says."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.features import load_extractor
from bench.reference import load_reference
from models.errors import UsageError
from models.zoo import CARD, CONFIG, WEIGHTS, ZOO, load_card, load_model, sha256_of, zoo_names

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


def _edit_config(old: str, new: str) -> Callable[[Path], None]:
    """Change the config and its hash on the card, as an author would who makes a mistake."""

    def change(folder: Path) -> None:
        before = sha256_of(folder / CONFIG)
        _edit(CONFIG, old, new)(folder)
        _edit(CARD, before, sha256_of(folder / CONFIG))(folder)

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
        (_edit_config('"in_channels": 1', '"in_channels": 3'), "has in/out channels (3, 1), but the card's shape is"),
        (_edit(CARD, "clip = [", "noise_shape = [2, 1, 1]\nclip = ["), "a unet's noise is shaped like its images"),
        (_edit(CARD, "clip = [", 'network = "gan"\nclip = ['), "network: Input should be 'unet' or 'decoder'"),
        (_edit(CARD, "clip = [", 'network = "decoder"\nclip = ['), "a decoder's parametrisation is 'sample'"),
    ],
)
def test_a_folder_that_was_tampered_with_is_refused(folder: Path, change: Callable[[Path], None], said: str) -> None:
    change(folder)
    with pytest.raises(UsageError) as error:
        _load_all(folder)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_flip_a_bit, "the file is damaged or was changed"),
        (_truncate, "the file is damaged or was changed"),
        (_drop_from_card(WEIGHTS), "files does not list 'diffusion_pytorch_model.safetensors'"),
        (
            _edit(CARD, "    128,", "    64,"),
            "shapes ((128, 1, 1), (1, 8, 8)), but the card's are ((64, 1, 1), (1, 8, 8))",
        ),
        (_edit(CARD, 'parametrisation = "sample"', 'parametrisation = "epsilon"'), "a decoder's parametrisation is"),
        (_edit(CARD, 'network = "decoder"', 'network = "unet"'), "a unet's noise is shaped like its images"),
        (_edit_config('"size": 8', '"size": 16'), "the card's are ((128, 1, 1), (1, 8, 8))"),
        (_edit_config('"size": 8', '"size": 9'), "does not describe a decoder: size 9: expected a multiple of 8"),
        (_edit_config('"size": 8', '"sise": 8'), "does not describe a decoder"),
        (_edit_config('"width": 32', '"width": 16'), "do not fit the network of its config"),
    ],
)
def test_a_decoder_s_folder_that_was_tampered_with_is_refused(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    folder = Path(shutil.copytree(ZOO / "digits-vae", tmp_path / "copy"))
    load_model(str(folder), _CPU)
    change(folder)
    with pytest.raises(UsageError) as error:
        load_model(str(folder), _CPU)
    assert said in str(error.value)


def test_a_decoder_makes_images_of_its_noise_whatever_the_level() -> None:
    model = load_model("digits-vae", _CPU)
    assert model.card.is_generator
    z = torch.randn(3, *model.card.state_shape, generator=torch.Generator().manual_seed(0))
    first, second = (model.network(z, model.schedule.level(t)) for t in (1.0, 0.1))
    assert first.shape == (3, *model.card.shape)
    assert first.abs().max() <= 1.0
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_card_without_the_fields_of_decoders_hashes_as_it_did_before_there_were_any() -> None:
    assert load_model("digits", _CPU).sha256 == "7c94a595df231d9267b49b53450db66621a5ad8b1f9f3425b7d8be4ceb0d6a14"


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
