"""CLIP score: transformers' own computation on a tiny CLIP, whatever the batches; and what is refused."""

import importlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import tiny_clip
import torch
from checkpoints import COMMIT, into_cache
from huggingface_hub import constants, errors
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.quality.clip_model import ClipModel, load_clip, refuse_clip
from bench.quality.clip_pixels import Preprocessor
from bench.quality.clip_score import ClipStream, clip_columns
from bench.quality.metrics import joined
from models.common.errors import UsageError

pytest.importorskip("transformers")

CPU = torch.device("cpu")
IMAGES = 47


@dataclass(frozen=True)
class Given:
    """The prompts of a model."""

    texts: tuple[str, ...] = ("a Red dog", "Blue  cats!", "", "x y z " * 10, "two trees, 3 birds")
    sha256: str = "a1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.make(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def clip(folder: Path) -> ClipModel:
    return replace(load_clip(str(folder), CPU), batch=10)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Of 24 x 21 pixels, so that they are resized and cut."""
    generator = torch.Generator().manual_seed(1)
    coarse = 255 * torch.rand(IMAGES, 3, 6, 7, generator=generator)
    return torch.nn.functional.interpolate(coarse, (24, 21)).to(torch.uint8)


def scored(clip: ClipModel, images: Tensor, cuts: Sequence[int] = (), at_a_time: int = 7) -> dict[str, Any]:
    """The columns of images in parts that begin at these numbers, which come so many at a time."""
    bounds, parts = [0, *cuts, len(images)], []
    for start, end in pairwise(bounds):
        stream = ClipStream(clip, Given(), range(start, end), len(images))
        for few in images[start:end].split(at_a_time):
            stream.add(few)
        parts.append(stream.finish()[0])
    return clip_columns(joined(parts))


@pytest.fixture(scope="module")
def theirs(folder: Path, images: Tensor) -> Tensor:
    """(N, n), the cosines of all images and all prompts, by transformers' processor and model on all at once."""
    library = importlib.import_module("transformers")
    pillow = importlib.import_module("transformers.models.clip.image_processing_pil_clip").CLIPImageProcessorPil
    made = library.CLIPProcessor(pillow.from_pretrained(folder), library.CLIPTokenizer.from_pretrained(folder))
    pixels = [each.movedim(0, 2).numpy() for each in images]
    texts: dict[str, Any] = {"padding": True, "truncation": True, "max_length": tiny_clip.TOKENS}
    given = made(text=list(Given().texts), images=pixels, return_tensors="pt", **texts)
    model = library.CLIPModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits: Tensor = model(**given).logits_per_image / model.logit_scale.exp()
    return logits


def test_it_is_what_transformers_computes_of_each_image_and_its_prompt(
    clip: ClipModel, images: Tensor, theirs: Tensor
) -> None:
    cosines = theirs[torch.arange(IMAGES), torch.arange(IMAGES) % 5].double()
    assert (cosines < 0).any()  # both sides of the clamp
    assert (cosines > 0.1).any()
    expected = 100 * cosines.clamp(min=0)
    found = scored(clip, images)
    assert found["clip_score"] == pytest.approx(float(expected.mean()), abs=1e-5)
    without = [float(expected[torch.arange(IMAGES) % 10 != block].mean()) for block in range(10)]
    assert found["clip_score_left_out"] == pytest.approx(without, abs=1e-5)
    mean = sum(without) / 10
    error = math.sqrt(0.9 * sum((each - mean) ** 2 for each in without))
    assert found["clip_score_std"] == pytest.approx(error, abs=1e-5)


def test_single_cosines_are_theirs_to_1e_5(clip: ClipModel, images: Tensor, theirs: Tensor) -> None:
    texts, cut = clip.texts(Given(), IMAGES)
    torch.testing.assert_close(clip(images)["image"] @ texts.T, theirs, rtol=0.0, atol=1e-5)
    assert cut == 1


def test_neither_batches_nor_parts_change_it(clip: ClipModel, images: Tensor) -> None:
    whole = scored(clip, images)
    assert scored(clip, images, at_a_time=1) == whole
    parts = scored(clip, images, cuts=(10, 30), at_a_time=4)
    assert parts["clip_score"] == pytest.approx(whole["clip_score"], rel=1e-12)
    assert parts["clip_score_left_out"] == pytest.approx(whole["clip_score_left_out"], rel=1e-12)
    other = scored(replace(clip, batch=64), images)
    assert other["clip_score"] == pytest.approx(whole["clip_score"], abs=1e-5)


def test_prompts_are_embedded_once_and_only_those_of_images(clip: ClipModel, images: Tensor) -> None:
    seen = list[int]()

    def tokenizer(texts: list[str], **said: Any) -> Any:
        seen.append(len(texts))
        return clip.tokenizer(texts, **said)

    counting = replace(clip, tokenizer=tokenizer, _texts={})
    scored(counting, images, cuts=(20,))
    assert seen == [5, 5]  # to count the tokens, and to embed
    assert len(counting.texts(Given(), 3)[0]) == 3


def test_a_prompt_that_is_cut_is_told(clip: ClipModel, images: Tensor) -> None:
    stream = ClipStream(clip, Given(), range(16), 16)
    stream.add(images[:16])
    assert stream.finish()[1] == ["1 prompt is longer than the 20 tokens of the CLIP and is cut"]


def test_grey_images_are_three_equal_channels(clip: ClipModel, images: Tensor) -> None:
    grey = images[:16, :1]
    assert scored(clip, grey) == scored(clip, grey.expand(-1, 3, -1, -1).contiguous())


@pytest.mark.parametrize(
    "said",
    [
        {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 12}},
        {"size": {"height": 16, "width": 12}, "do_center_crop": False, "resample": 2},
        {"do_resize": False, "crop_size": {"height": 30, "width": 13}, "rescale_factor": 0.01},
        {"do_normalize": False},
    ],
    ids=["shorter side", "both sides", "beyond the image", "as it is"],
)
def test_images_become_what_transformers_makes_of_them(images: Tensor, said: dict[str, Any]) -> None:
    pillow = importlib.import_module("transformers.models.clip.image_processing_pil_clip").CLIPImageProcessorPil
    content = tiny_clip.PREPROCESSOR | said
    few = images[:3]
    expected = pillow(**content)([each.movedim(0, 2).numpy() for each in few], return_tensors="pt")
    torch.testing.assert_close(Preprocessor.of(content)(few), expected["pixel_values"], rtol=0.0, atol=1e-6)


def test_every_file_that_decides_is_in_its_hash(folder: Path, clip: ClipModel, tmp_path: Path) -> None:
    assert load_clip(str(folder), CPU).sha256 == clip.sha256
    for name in ("merges.txt", "preprocessor_config.json", "config.json", "model.safetensors"):
        other = shutil.copytree(folder, tmp_path / name)
        if name == "model.safetensors":
            tensors = load_file(other / name)
            save_file({key: each + 1e-3 for key, each in tensors.items()}, other / name, {"format": "pt"})
        else:
            (other / name).write_text((other / name).read_text().replace("re d</w>\n", "").replace("{", "{ "))
        assert load_clip(str(other), CPU).sha256 != clip.sha256, name


def _without(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def _saying(name: str, **changes: Any) -> Any:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps(content))

    return change


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _lacking(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (_without("config.json"), "has no config.json; expected a folder as transformers saves a CLIPModel"),
        (_saying("config.json", model_type="siglip"), "of type 'siglip', not 'clip'"),
        (_without("preprocessor_config.json"), "has no preprocessor_config.json, which says how images are resized"),
        (_saying("preprocessor_config.json", size="large"), "number of pixels, or height and width, got 'large'"),
        (_saying("preprocessor_config.json", image_std=[1, 0, 1]), "three numbers each, those of image_std not 0"),
        (_without("merges.txt"), "has no tokenizer: neither tokenizer.json nor vocab.json and merges.txt"),
        (_pickled, "has no model.safetensors: only safetensors are read, never pickled weights"),
        (_lacking, "lack 1 tensors of the CLIP .* such as 'visual_projection.weight'"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"12"), "cannot be loaded: "),
    ],
)
def test_what_is_no_clip_is_refused_with_what_there_is(folder: Path, tmp_path: Path, damage: Any, why: str) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    damage(other)
    with pytest.raises(UsageError, match=why):
        load_clip(str(other), CPU)


def test_what_is_missing_is_told_before_weights_are_looked_at(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="needs a CLIP of images and texts: say clip_model = "):
        refuse_clip(None)
    with pytest.raises(UsageError, match=r"there is no folder '.*nowhere'; expected a folder .* or hf:owner/name"):
        refuse_clip(str(tmp_path / "nowhere"))
    refuse_clip(str(folder))
    monkeypatch.setattr("bench.quality.clip_model.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="needs transformers, which is not installed: uv sync --extra text"):
        refuse_clip(str(folder))


def test_a_repository_of_the_hub_is_the_clip_in_its_files(
    folder: Path, clip: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    into_cache(tmp_path / "cache", folder, "someone/clip")
    found = load_clip("hf:someone/clip", CPU)
    assert (found.name, found.sha256) == (f"hf:someone/clip@{COMMIT}", clip.sha256)
    (tmp_path / "cache" / "models--someone--clip" / "snapshots" / COMMIT / "model.safetensors").unlink()
    refuse_clip("hf:someone/clip")
    with pytest.raises(UsageError, match=r"has none of model\.safetensors, model-\*\.safetensors, .* in its cache"):
        load_clip("hf:someone/clip", CPU)


def test_a_gated_repository_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def gated(*_: Any, **__: Any) -> str:
        raise errors.GatedRepoError.__new__(errors.GatedRepoError)  # of which only the class matters here

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gated)
    with pytest.raises(UsageError, match=r"cannot get hf:someone/clip from the hub: .* Accept its conditions"):
        refuse_clip("hf:someone/clip")


def test_images_that_it_cannot_take_are_refused(clip: ClipModel) -> None:
    clip.check((3, 24, 21))
    clip.check((1, 8, 8))
    with pytest.raises(UsageError, match="images of 1 or 3 channels, but these have 4"):
        clip.check((4, 24, 21))
    wide = replace(clip, preprocessor=replace(clip.preprocessor, crop=None))
    with pytest.raises(UsageError, match="takes images of 16 x 16, but its preprocessor makes 18 x 16 of these"):
        wide.check((3, 24, 21))
