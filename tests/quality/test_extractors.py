"""Extractors are used only with the weights that they should have, and no file of weights ever runs code."""

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from inception_stand_in import write_inception
from torch import Tensor, nn
from torch_fidelity import feature_extractor_clip, feature_extractor_inceptionv3
from torch_fidelity.feature_extractor_clip import VisionTransformer

from bench.quality.compact import EXTRACTOR_WEIGHTS, CompactExtractor, make_compact
from bench.quality.extractor import Extractor
from bench.quality.extractor_weights import official_file, plain_tensors_only
from bench.quality.extractors import load_extractor
from bench.quality.reference import REFERENCE, load_reference
from bench.record_schema import DERIVED
from bench.study.study import ExtractorChoice
from models.common.errors import UsageError
from models.common.files import sha256_of
from models.loading.sources import ZOO
from models.loading.zoo import load_model

_CPU = torch.device("cpu")
_INCEPTION = "inception-v3-compat"


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub folder without a network."""

    def offline(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "urlopen", offline)
    return tmp_path / "torch" / "hub"


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    yield path, write_inception(path)
    path.unlink()


def _load(name: str, weights: Path | None = None, sha256: str | None = None) -> Extractor:
    choice = ExtractorChoice(name=name, weights=None if weights is None else str(weights), sha256=sha256)
    return load_extractor(choice, None, _CPU)


class _Code:
    """Runs when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._trace),)


def test_a_file_that_would_run_code_is_refused_before_it_does(tmp_path: Path) -> None:
    path, trace = tmp_path / "weights.pth", tmp_path / "it ran"
    torch.save({"fc.weight": _Code(trace)}, path)
    with pytest.raises(UsageError, match=r"plain weights of extractor 'inception-v3-compat'.* runs code.*state_dict"):
        _load(_INCEPTION, path, sha256_of(path))
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # the file does what it is said to


def test_torch_load_goes_back_to_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with plain_tensors_only():
        assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"
        assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": torch.zeros(3)}, path)
    with pytest.raises(UsageError, match="does not hold plain weights"):
        _load(_INCEPTION, path, sha256_of(path))


@pytest.mark.parametrize("name", [_INCEPTION, "vgg16", "clip-vit-b-32"])
def test_missing_weights_are_named_with_their_address_and_place(name: str, hub: Path) -> None:
    official = official_file(name)
    with pytest.raises(UsageError) as raised:
        _load(name)
    assert official.url in str(raised.value)
    assert str(hub / "checkpoints") in str(raised.value)
    assert "no network" in str(raised.value)
    assert official.sha256 in official.url
    assert len(official.sha256) == (64 if "clip" in name else 8)


def test_other_weights_than_the_official_are_refused_unless_the_study_pins_them(stand_in: tuple[Path, str]) -> None:
    path, digest = stand_in
    with pytest.raises(UsageError, match=r"of the official weights of 'inception-v3-compat' begins with 6726825d"):
        _load(_INCEPTION, path)
    with pytest.raises(UsageError, match=f"has sha256 {digest}, but the study says {'0' * 64}"):
        _load(_INCEPTION, path, "0" * 64)
    with pytest.raises(UsageError, match="no weights of extractor"):
        _load(_INCEPTION, path.with_name("none.pth"), digest)


def test_pinned_weights_are_used_but_their_distance_is_no_fid(stand_in: tuple[Path, str]) -> None:
    path, digest = stand_in
    extractor = _load(_INCEPTION, path, digest)
    assert (extractor.layer, extractor.logits, extractor.features) == ("2048", "logits_unbiased", 2048)
    assert extractor.column(50_000) == "fd_inception"
    assert extractor.columns["extractor_weights_sha256"] == digest
    assert extractor.columns["extractor_official"] is False
    with pytest.raises(
        UsageError, match=r"the 10 classes of model 'mine', but .*inception.* has 1,008 classes; name one"
    ):
        extractor.check_classes("mine", 10)
    generator = torch.Generator().manual_seed(0)
    grey = torch.randint(0, 256, (2, 1, 16, 16), generator=generator, dtype=torch.uint8)
    outputs = extractor(grey)
    expected = extractor.module(grey.repeat(1, 3, 1, 1))
    assert torch.equal(outputs["2048"], expected[0])
    assert torch.equal(outputs["logits_unbiased"], expected[1])
    assert outputs["2048"].dtype == torch.float32


def test_official_weights_are_downloaded_once_and_make_an_fid_of_50_000_images(
    stand_in: tuple[Path, str], hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, digest = stand_in
    monkeypatch.setattr(feature_extractor_inceptionv3, "URL_INCEPTION_V3", f"https://there/inception-{digest[:8]}.pth")
    asked = list[tuple[str, str]]()

    def download(url: str, target: str, prefix: str, progress: bool) -> None:
        asked.append((url, prefix))
        Path(target).hardlink_to(path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    extractor = _load(_INCEPTION)
    assert asked == [(f"https://there/inception-{digest[:8]}.pth", digest[:8])]
    assert (hub / "checkpoints" / f"inception-{digest[:8]}.pth").is_file()
    assert extractor.official
    assert extractor.column(50_000) == "fid"
    assert extractor.column(49_999) == "fd_inception"


class _Clip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = VisionTransformer(32, 16, 64, 1, 1, 8)
        self.text_projection = nn.Parameter(torch.zeros(4, 8))

    def forward(self, images: Tensor) -> Tensor:
        return self.visual(images)  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore")  # tracing and TorchScript are deprecated, and CLIP comes so
def test_clip_is_used_from_its_official_archive_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    path, clip = tmp_path / "clip.pt", _Clip()
    torch.jit.save(torch.jit.trace(clip, torch.zeros(1, 3, 32, 32)), path)
    with pytest.raises(UsageError, match="is not the official file of 'clip-vit-b-32'"):
        _load("clip-vit-b-32", path, sha256_of(path))
    monkeypatch.setitem(feature_extractor_clip.MODEL_METADATA["clip-vit-b-32"], "hash", sha256_of(path))
    extractor = _load("clip-vit-b-32", path)
    assert (extractor.features, extractor.logits, extractor.column(60_000)) == (8, None, "fd_clip")
    with pytest.raises(UsageError, match="no inception_score; it gives fd, fd_infinity, kid and precision_recall"):
        extractor.check(["fd", "inception_score"], (3, 32, 32))
    extractor.check(["fd", "fd_infinity", "kid", "precision_recall"], (1, 32, 32))


_HUBCONF = """
import torch

def dinov2_vits14():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.AvgPool2d(56), torch.nn.Flatten(), torch.nn.Linear(48, 5))
"""


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dinov2_comes_from_its_repository_in_torchs_hub(hub: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be had from torch's hub .*dinov2_vits14_pretrain.pth"):
        _load("dinov2-vit-s-14")
    repository = hub / "facebookresearch_dinov2_main"
    repository.mkdir(parents=True)
    (repository / "hubconf.py").write_text(_HUBCONF)
    extractor = _load("dinov2-vit-s-14")
    assert (extractor.features, extractor.logits, extractor.column(50_000)) == (5, None, "fd_dinov2")
    assert _load("dinov2-vit-s-14", sha256=extractor.sha256).sha256 == extractor.sha256
    with pytest.raises(UsageError, match=f"have sha256 {extractor.sha256}, but the study says"):
        _load("dinov2-vit-s-14", sha256="0" * 64)
    with pytest.raises(UsageError, match="takes no weights of 'dinov2-vit-s-14' by path"):
        _load("dinov2-vit-s-14", hub / "w.pth")


def test_a_models_name_means_its_compact_extractor() -> None:
    own = load_extractor(None, load_model("digits", _CPU), _CPU)
    assert dataclasses.replace(_load("digits"), module=own.module) == own
    with pytest.raises(UsageError, match=r"takes images of shape \(1, 8, 8\), but these are \(3, 32, 32\)"):
        own.check(["fd"], (3, 32, 32))
    with pytest.raises(UsageError, match="has its own weights; leave them out"):
        _load("digits", Path("weights.pth"))
    with pytest.raises(UsageError, match="but the study says 000"):
        _load("digits", sha256="0" * 64)


def test_grey_images_are_three_equal_channels_to_a_compact_extractor_of_colours() -> None:
    extractor, grey = _load("cifar10"), torch.arange(2 * 32 * 32).reshape(2, 1, 32, 32).remainder(251).byte()
    extractor.check(["fd"], grey.shape[1:])
    for layer, found in extractor(grey).items():
        assert torch.equal(found, extractor(grey.expand(-1, 3, -1, -1))[layer])
    for shape in ((2, 32, 32), (1, 16, 16)):
        with pytest.raises(UsageError, match=r"takes images of shape \(3, 32, 32\), but these are"):
            extractor.check(["fd"], shape)


def test_an_extractor_that_gives_nan_is_refused_before_anything_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = CompactExtractor.forward
    monkeypatch.setattr(
        CompactExtractor, "forward", lambda self, images: tuple(each * torch.nan for each in plain(self, images))
    )
    with pytest.raises(UsageError, match="'digits' gives NaN or Inf on a black image"):
        _load("digits")


def test_what_is_no_extractor_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'inception-v3-compat'\? There is: .*digits.*dinov2-vit-l-14"):
        _load("inception-v3")
    with pytest.raises(UsageError, match=r"model 'digits-vae' has no feature extractor of its own.*name one"):
        load_extractor(None, load_model("digits-vae", _CPU), _CPU)


def test_a_model_is_measured_with_the_extractor_and_reference_of_the_embedded_model_that_its_card_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, own = load_model("digits-conditional", _CPU), _load("digits")
    extractor = load_extractor(None, model, _CPU)
    assert dataclasses.replace(extractor, module=own.module) == own
    assert load_reference(None, extractor).columns == load_reference("digits", own).columns
    for named in ("digits-vae", "digits-conditional", "digit", str(ZOO / "digits")):
        other = dataclasses.replace(model, card=model.card.model_copy(update={"measured_by": named}))
        with pytest.raises(UsageError, match=rf"measured with the embedded extractor '{named}', and there is none"):
            load_extractor(None, other, _CPU)
    monkeypatch.setattr("models.loading.sources.ZOO", Path(shutil.copytree(ZOO, tmp_path / "zoo")))
    for name, load in (
        (EXTRACTOR_WEIGHTS, lambda: load_extractor(None, model, _CPU)),
        (REFERENCE, lambda: load_reference(None, load_extractor(None, model, _CPU))),
    ):
        path = tmp_path / "zoo" / "digits" / name
        kept = path.read_bytes()
        path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(UsageError, match="but the card of 'digits' says"):
            load()
        path.write_bytes(kept)
        load()


@pytest.mark.parametrize("name", [_INCEPTION, "inception", "vgg16", *(f"cats{end}" for end in DERIVED)])
def test_a_folder_cannot_call_its_extractor_what_would_be_taken_for_another(name: str) -> None:
    with pytest.raises(UsageError, match="means something else in a table"):
        make_compact(name, ZOO / "digits", {_INCEPTION, "inception", "vgg16"})


def test_extraction_is_in_full_float32_and_leaves_the_settings_as_they_were() -> None:
    extractor, seen = _load("digits"), list[tuple[bool, ...]]()

    class Spy(type(extractor.module)):  # type: ignore[misc]
        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            seen.append((matmul, cudnn, torch.is_autocast_enabled("cpu")))
            result: tuple[Tensor, ...] = super().forward(images)
            return result

    spied = dataclasses.replace(extractor, module=Spy("digits", ["features", "logits"]))
    before = torch.backends.cudnn.allow_tf32
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(spied(images)["features"], extractor(images)["features"])
        assert torch.is_autocast_enabled("cpu")
    assert seen == [(False, False, False)]
    assert torch.backends.cudnn.allow_tf32 == before
