"""A model folder is used only when everything in it is what its card says."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.quality.extractors import load_extractor
from bench.quality.reference import load_reference
from models.cards.changes import Changes
from models.cards.schedule_cards import CosineBetas
from models.common.errors import UsageError
from models.common.files import sha256_of
from models.loading.layout import CONFIG, WEIGHTS
from models.loading.sources import CARD, ZOO, describe_model, load_card, verify_files, zoo_names
from models.loading.zoo import load_model, needed_files

_CPU = torch.device("cpu")
_MIB = 2**20


def _load_all(folder: Path) -> None:
    model = load_model(str(folder), _CPU)
    load_reference(None, load_extractor(None, model, _CPU))


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


def test_weights_that_were_changed_on_purpose_are_told_their_hash(folder: Path) -> None:
    _flip_a_bit(folder)
    with pytest.raises(UsageError, match=f"put the new hash on the card: {sha256_of(folder / WEIGHTS)}$"):
        verify_files(folder, load_card(folder))


def test_a_copy_of_the_folder_loads_by_its_path(folder: Path) -> None:
    _load_all(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_flip_a_bit, "the file is damaged or was changed"),
        (_truncate, "the file is damaged or was changed"),
        (_remove(WEIGHTS), "is missing; the card of 'digits' lists it"),
        (_remove("reference.safetensors"), "is missing"),
        (_remove(CARD), "or write a card.toml"),
        (_edit(CONFIG, '"in_channels": 1', '"in_channels": 3'), "the file is damaged or was changed"),
        (_edit(CARD, 'parametrisation = "epsilon"', 'parametrisation = "eps"'), "parametrisation: Input should be"),
        (_edit(CARD, "train_steps = 1000", "train_steps = 0"), "schedule.train_steps: Input should be greater"),
        (_edit(CARD, 'name = "digits"', 'nome = "digits"'), "nome: unknown key 'nome'. Did you mean 'name'?"),
        (_edit(CARD, "schema_version = 1", "schema_version = "), "is not valid TOML"),
        (_drop_from_card(WEIGHTS), "files does not list 'diffusion_pytorch_model.safetensors'"),
        (_drop_from_card("reference.safetensors"), "lists no reference.safetensors"),
        (_drop_from_card("extractor/model.safetensors"), "its files lack 'extractor/model.safetensors'"),
        (_edit_config('"in_channels": 1', '"in_channels": 3'), "has in/out channels (3, 1), but the card's shape is"),
        (
            _edit_config('"sample_size": 8', '"sample_size": 16'),
            "the network is of images of 16 x 16",
        ),
        (_edit(CARD, "clip = [", "noise_shape = [2, 1, 1]\nclip = ["), "the noise of network 'unet' is shaped like"),
        (_edit(CARD, "clip = [", 'network = "gan"\nclip = ['), "network: Input should be 'unet', 'edm'"),
        (_edit(CARD, "clip = [", 'network = "decoder"\nclip = ['), "network 'decoder' gives x_0"),
    ],
)
def test_a_folder_that_was_tampered_with_is_refused(folder: Path, change: Callable[[Path], None], said: str) -> None:
    change(folder)
    with pytest.raises(UsageError, match=re.escape(said)):
        _load_all(folder)


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
        (_edit(CARD, 'parametrisation = "sample"', 'parametrisation = "epsilon"'), "network 'decoder' gives x_0"),
        (_edit(CARD, 'network = "decoder"', 'network = "unet"'), "the noise of network 'unet' is shaped like"),
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
    with pytest.raises(UsageError, match=re.escape(said)):
        load_model(str(folder), _CPU)


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
    assert sum((ZOO / name / file).stat().st_size for file in needed_files(ZOO / name, card)) <= 4 * _MIB


def test_the_digits_are_good_by_their_own_card() -> None:
    card = load_card(ZOO / "digits")
    assert card.extractor is not None
    assert card.extractor.test_accuracy > 0.95
    assert card.quality["ddpm_steps"] == 1000
    assert float(card.quality["fd_digits"]) <= 2 * float(card.quality["fd_digits_floor"])


def test_a_card_s_hash_and_source_do_not_depend_on_what_a_study_leaves_as_it_is() -> None:
    embedded, said = load_model("digits", _CPU), load_model("digits", _CPU, Changes(value_range=(-1.0, 1.0)))
    assert (said.sha256, said.source) == (embedded.sha256, "digits")
    assert load_model("digits", _CPU, Changes(clip=False)).sha256 != embedded.sha256


@pytest.mark.parametrize(
    ("said", "field", "expected"),
    [
        ({"clip": False}, "clip", None),
        ({"clip": [-0.5, 0.5]}, "clip", (-0.5, 0.5)),
        ({"parametrisation": "v_prediction"}, "parametrisation", "v_prediction"),
        ({"value_range": [0.0, 1.0]}, "value_range", (0.0, 1.0)),
        ({"schedule": {"kind": "cosine", "train_steps": 9}}, "schedule", CosineBetas(kind="cosine", train_steps=9)),
    ],
)
def test_what_a_study_says_of_a_model_replaces_what_its_card_says(
    said: dict[str, Any], field: str, expected: object
) -> None:
    changed = describe_model("digits", Changes.model_validate(said))
    assert getattr(changed, field) == expected
    assert changed.model_copy(update={field: getattr(describe_model("digits"), field)}) == describe_model("digits")


def test_a_study_may_not_make_a_card_contradict_itself() -> None:
    for said, message in (
        ({"clip": [1.0, -1.0]}, "clip: expected [low, high] with low < high"),
        ({"schedule": {"kind": "ve"}}, "network 'unet' is conditioned on a schedule of kind"),
    ):
        with pytest.raises(UsageError) as error:
            describe_model("digits", Changes.model_validate(said))
        assert "with what the study says about it" in str(error.value)
        assert message in str(error.value)
    with pytest.raises(UsageError, match="the network has no classes"):
        load_model("digits", _CPU, Changes(classes=10))


def test_what_is_no_model_says_what_there_is_and_how_a_repository_is_written(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"")
    (tmp_path / "network.pkl").write_bytes(b"")
    for spec, said in (
        ("google/ddpm-cifar10-32", "For a repository on the hub write hf:google/ddpm-cifar10-32."),
        (str(tmp_path), "has no card.toml; a model folder needs one, or a model_index.json or config.json"),
        (str(tmp_path / "weights.pt"), "is a file; a model is a folder"),
        (str(tmp_path / "network.pkl"), "reading one runs whatever code is in it"),
    ):
        with pytest.raises(UsageError, match=re.escape(said)):
            describe_model(spec)


@pytest.mark.parametrize("spec", ["/nonexistent", "./none", "../none", "~/none", "a/b/c", "none/", "a b/c"])
def test_a_path_is_not_taken_for_a_repository_of_the_hub(spec: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"there is no model folder {spec!r}")) as error:
        describe_model(spec)
    start = f"relative paths start at the current folder, {Path.cwd()}"
    assert (start in str(error.value)) != Path(spec).expanduser().is_absolute()
    assert "hub" not in str(error.value)


def test_weights_in_shards_are_each_on_the_card(folder: Path) -> None:
    expected = load_model(str(folder), _CPU)
    state = load_file(folder / WEIGHTS)
    names = sorted(state)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for name, keys in parts.items():
        save_file({key: state[key] for key in keys}, folder / name)
    index = folder / f"{WEIGHTS}.index.json"
    index.write_text(json.dumps({"weight_map": {key: name for name, keys in parts.items() for key in keys}}))
    line = next(line for line in (folder / CARD).read_text().splitlines() if line.startswith(f'"{WEIGHTS}"'))
    listed = [f'"{path.name}" = "{sha256_of(path)}"' for path in (index, folder / "a.safetensors")]
    _edit(CARD, line, "\n".join(listed))(folder)
    with pytest.raises(UsageError, match=r"files does not list 'b.safetensors' with its sha256 \(it is [0-9a-f]{64}\)"):
        load_model(str(folder), _CPU)
    _edit(CARD, listed[0], f'{listed[0]}\n"b.safetensors" = "{sha256_of(folder / "b.safetensors")}"')(folder)
    model = load_model(str(folder), _CPU)
    x, at = torch.ones(2, 1, 8, 8), model.schedule.level(0.5)
    torch.testing.assert_close(model.network(x, at), expected.network(x, at), rtol=0.0, atol=0.0)
