"""Embeddings of prompts are those of the pipeline's own encoders, worked out once."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from text_pipelines import MAKERS, TEXTS, loaded, of_prompts, transformers

from models.common.errors import Notice, UsageError
from models.common.kept import ROOT_VARIABLE, data_root
from models.loading.sources import describe_model
from models.loading.zoo import load_model
from models.text import encoding
from models.text.encoders import Encoders, find_encoders, load_encoders
from models.text.encoding import embeddings, refuse_too_large
from models.text.pipelines import PIPELINES
from models.text.prompts import Prompts, read_prompts

Tiny = Callable[[str], tuple[Path, Any]]
Copied = Callable[[str], Path]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _own_cache(cache: None) -> None:
    pass


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose encoders were loaded."""
    found, load = list[Path](), load_encoders

    def counted(encoders: Encoders, device: torch.device, dtype: torch.dtype) -> Any:
        found.append(encoders.folder)
        return load(encoders, device, dtype)

    monkeypatch.setattr(encoding, "load_encoders", counted)
    return found


def tables(
    folder: Path,
    name: str,
    own: Path,
    texts: tuple[str, ...] = TEXTS,
    needed: int | None = None,
    negative: str = "bad",
    device: torch.device = CPU,
) -> dict[str, torch.Tensor]:
    changes = of_prompts(own, texts, negative=negative, tokens=16 if "flux" in name or "sd3" in name else None)
    assert changes.prompts is not None
    pipeline = next(each for each in PIPELINES.values() if each.family == name.split("-")[0])
    encoders, prompts = find_encoders(folder, pipeline), read_prompts(changes.prompts)
    return embeddings(encoders, prompts, changes.prompts, len(texts) if needed is None else needed, device)


def test_the_second_time_nothing_is_encoded_and_nothing_else_is_found(
    tiny: Tiny, tmp_path: Path, loads: list[Path]
) -> None:
    folder = tiny("sdxl")[0]
    first = tables(folder, "sdxl", tmp_path)
    again = tables(folder, "sdxl", tmp_path)
    assert len(loads) == 1
    assert all(torch.equal(first[name], again[name]) for name in ("hidden", "pooled"))
    tables(folder, "sdxl", tmp_path, negative="worse")
    tables(folder, "sdxl", tmp_path, (*TEXTS[:2], "another"))
    tables(tiny("sdxl-no-zeros")[0], "sdxl", tmp_path, negative="")
    assert len(loads) == 4


def test_what_is_damaged_on_disk_is_worked_out_anew(tiny: Tiny, tmp_path: Path, loads: list[Path]) -> None:
    folder = tiny("sd")[0]
    first = tables(folder, "sd", tmp_path)
    kept = sorted((data_root() / "embeddings").iterdir())
    assert [path.suffix for path in kept] == [".safetensors"] * 2
    for path in kept:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert torch.equal(first["hidden"], tables(folder, "sd", tmp_path)["hidden"])
    assert len(loads) == 2
    tables(folder, "sd", tmp_path)
    assert len(loads) == 2


def test_other_weights_of_an_encoder_are_other_embeddings(copied: Copied, tmp_path: Path, loads: list[Path]) -> None:
    folder = copied("sd")
    first, digest = tables(folder, "sd", tmp_path), loaded(folder, tmp_path).sha256
    path = folder / "text_encoder"
    encoder = transformers.CLIPTextModel.from_pretrained(path)
    with torch.no_grad():
        next(encoder.parameters()).mul_(2.0)
    encoder.save_pretrained(path)
    assert not torch.equal(first["hidden"], tables(folder, "sd", tmp_path)["hidden"])
    assert loaded(folder, tmp_path).sha256 != digest


def test_more_images_encode_only_what_is_not_there_yet(tiny: Tiny, tmp_path: Path, loads: list[Path]) -> None:
    folder, texts = tiny("sd")[0], tuple(f"cat {n}" for n in range(2 * encoding.CHUNK + 3))
    few = tables(folder, "sd", tmp_path, texts, needed=5)
    assert (len(few["hidden"]), len(list((data_root() / "embeddings").iterdir()))) == (6, 2)
    many = tables(folder, "sd", tmp_path, texts)
    assert (len(many["hidden"]), len(list((data_root() / "embeddings").iterdir()))) == (len(texts) + 1, 4)
    assert torch.equal(few["hidden"][:5], many["hidden"][:5])
    assert torch.equal(few["hidden"][-1], many["hidden"][-1])
    assert len({row.abs().sum().item() for row in many["hidden"]}) == len(texts) + 1


@pytest.mark.parametrize("name", MAKERS)
def test_embeddings_are_float32_and_no_encoder_stays(
    tiny: Tiny, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = list[bool]()
    release = encoding._Maker.release
    monkeypatch.setattr(encoding._Maker, "release", lambda self: released.append(release(self) is None))
    found = tables(tiny(name)[0], name, tmp_path)
    assert {table.dtype for table in found.values()} == {torch.float32}
    assert not any(table.requires_grad or table.is_inference() for table in found.values())
    assert released == [True]


def test_prompts_that_are_too_long_are_told_each_time(tiny: Tiny, tmp_path: Path) -> None:
    folder, texts = tiny("sdxl")[0], ("a cat", "the dog and the cat " * 5, "x" * 17)
    for _ in range(2):  # the second time they are kept
        with pytest.warns(Notice, match="2 of the first 3 prompts and the negative prompt had to be cut off"):
            tables(folder, "sdxl", tmp_path, texts, negative="the dog and the cat " * 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tables(folder, "sdxl", tmp_path)


def test_t5_takes_as_many_tokens_as_are_chosen(tiny: Tiny, tmp_path: Path) -> None:
    assert tables(tiny("flux-dev")[0], "flux", tmp_path)["hidden"].shape[1] == 16
    model = load_model(str(tiny("flux-dev")[0]), CPU, of_prompts(tmp_path))
    assert model.network.module.get_buffer("hidden").shape[1] == 512  # type: ignore[attr-defined]


def test_without_transformers_it_is_said_what_to_install(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny("sd")[0]
    describe_model(str(folder), of_prompts(tmp_path))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"encoded by transformers, which comes with the extra 'text': "):
        tables(folder, "sd", tmp_path)


def _pickled(folder: Path) -> None:
    path = folder / "text_encoder"
    torch.save(transformers.CLIPTextModel.from_pretrained(path).state_dict(), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()


def _cut_short(folder: Path) -> None:
    path = folder / "text_encoder/model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def _another(folder: Path) -> None:
    path = folder / "text_encoder/config.json"
    path.write_text(path.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))


def _not_a_number(folder: Path) -> None:
    path = folder / "text_encoder"
    encoder = transformers.CLIPTextModel.from_pretrained(path)
    with torch.no_grad():
        next(encoder.parameters()).fill_(float("nan"))
    encoder.save_pretrained(path)


def _no_vocabulary(folder: Path) -> None:
    for path in (folder / "tokenizer").iterdir():
        path.unlink()


def _lists_a_shard(folder: Path) -> None:
    path = folder / "text_encoder"
    (path / "model.safetensors").unlink()
    (path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_pickled, "as nothing is ever unpickled; there is: config.json, pytorch_model.bin"),
        (_cut_short, "cannot load the text encoder .*text_encoder, a CLIPTextModel .damaged, cut short"),
        (_another, "the weights do not fit a CLIPTextModel of its config.json: [0-9]+ tensors missing"),
        (_not_a_number, "give what is no number .hidden. for 'a cat'"),
        (_no_vocabulary, "tokenizer has no tokenizer; download the whole repository"),
        (_lists_a_shard, "lists model-00001-of-00002.safetensors, which is missing"),
    ],
)
def test_an_encoder_that_cannot_be_used_is_refused(
    copied: Copied, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    folder = copied("sd")
    spoil(folder)
    with pytest.raises(UsageError, match=said):
        loaded(folder, tmp_path)
    assert not list((data_root() / "embeddings").glob("*.tmp"))


def test_the_prompts_of_a_model_are_those_that_its_labels_number(tiny: Tiny, tmp_path: Path) -> None:
    model = loaded(tiny("sd")[0], tmp_path, negative="bad")
    assert model.prompts == Prompts(TEXTS, "bad")
    assert (model.card.prompts_sha256, model.card.takes_classes) == (Prompts(TEXTS, "bad").sha256, False)


def test_where_nothing_can_be_kept_it_is_told_and_embeddings_are_made_all_the_same(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny("sd")[0]
    first = tables(folder, "sd", tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "file"))
    with pytest.warns(Notice, match=r"are not kept, and worked out again: .*Not a directory"):
        again = tables(folder, "sd", tmp_path)
    assert torch.equal(first["hidden"], again["hidden"])


def test_encoders_that_do_not_fit_into_a_device_encode_on_the_cpu(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = load_encoders

    def full(encoders: Encoders, device: torch.device, dtype: torch.dtype) -> Any:
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return load(encoders, device, dtype)

    monkeypatch.setattr(encoding, "load_encoders", full)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    expected = tables(tiny("sd")[0], "sd", tmp_path)
    with pytest.warns(Notice, match="do not fit into the memory of cuda:0; the CPU encodes the prompts"):
        found = tables(tiny("sd")[0], "sd", tmp_path, device=torch.device("cuda:0"))
    assert torch.equal(found["hidden"], expected["hidden"])


def test_where_no_image_is_made_the_embeddings_of_any_device_will_do(
    tiny: Tiny, tmp_path: Path, loads: list[Path]
) -> None:
    expected = tables(tiny("sd")[0], "sd", tmp_path)
    found = tables(tiny("sd")[0], "sd", tmp_path, needed=0, device=torch.device("cuda:0"))
    assert len(loads) == 1
    assert torch.equal(found["hidden"], expected["hidden"][[0, -1]])


def test_tables_that_a_device_does_not_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**20, 2**30))
    device = torch.device("cuda:0")
    refuse_too_large(4, device, 2, 2**19)
    with pytest.raises(UsageError, match=r"the embeddings of 4 prompts take 0.0 GiB, and cuda:0 has 0.0 GiB free"):
        refuse_too_large(4, device, 2, 2**19 + 1)
    refuse_too_large(4, CPU, 2, 2**19 + 1)
    with pytest.raises(UsageError, match=r"take 4096.0 GiB, and this machine has \d+.\d GiB free: make fewer images"):
        refuse_too_large(4, CPU, 2, 2**40)
