"""A reference is used only if it belongs to the extractor, is a Gaussian's, and has what the metrics need."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from bench.cli.app import app
from bench.datasets import ROOT_VARIABLE, open_data
from bench.quality.extractor import Extractor
from bench.quality.extractors import load_extractor
from bench.quality.features import extract
from bench.quality.metrics import QualityStream
from bench.quality.reference import LEAST_FEATURES, load_reference
from bench.quality.reference_cache import cached_path
from bench.quality.reference_file import ReferenceOptions, make_reference, write_statistics
from models.errors import UsageError
from models.sealed import load_sealed, save_sealed
from models.sources import ZOO
from models.zoo import load_model

_CPU = torch.device("cpu")


def _quiet(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return load_extractor(None, load_model("digits", _CPU), _CPU)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return open_data("digits").images[:400]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "cache"))


def _statistics(extractor: Extractor, images: Tensor) -> dict[str, np.ndarray[Any, Any]]:
    features = extract(extractor, images).features.numpy()
    return {"mu": features.mean(0), "sigma": np.cov(features.T)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_npz_of_mu_and_sigma_gives_the_distance_of_the_file_with_features(
    extractor: Extractor, images: Tensor, tmp_path: Path, dtype: type
) -> None:
    arrays: dict[str, Any] = {name: array.astype(dtype) for name, array in _statistics(extractor, images[:300]).items()}
    # ADM's files hold more, unpicklable objects too in the worst case: what is not asked for is not read
    np.savez(tmp_path / "stats.npz", mu_s=np.zeros(3), junk=np.array([object()]), **arrays)
    write_statistics(tmp_path / "stats.safetensors", extractor, images[:300], about={"data": "part"})
    found = []
    for name in ("stats.npz", "stats.safetensors"):
        reference = load_reference(str(tmp_path / name), extractor, ["fd"])
        stream = QualityStream(extractor, reference, ["fd"])
        stream.add(images[300:])
        found.append(stream.values()["fd_digits"])
    assert found[0] == pytest.approx(found[1], rel=1e-9 if dtype is np.float64 else 1e-3)
    said = load_reference(str(tmp_path / "stats.npz"), extractor)
    assert (said.name, said.count, said.features) == ("stats", None, None)
    assert "does not say by which extractor" in (said.note or "")
    assert load_reference(str(tmp_path / "stats.safetensors"), extractor).name == "part"


def _asymmetric(arrays: dict[str, Any]) -> None:
    arrays["sigma"][0, 1] += 1.0


def _indefinite(arrays: dict[str, Any]) -> None:
    arrays["sigma"] -= np.eye(64) * arrays["sigma"].trace()


def _nan(arrays: dict[str, Any]) -> None:
    arrays["mu"][3] = np.nan


def _of_another_size(arrays: dict[str, Any]) -> None:
    arrays["mu"], arrays["sigma"] = arrays["mu"][:60], arrays["sigma"][:60, :60]


def _not_square(arrays: dict[str, Any]) -> None:
    arrays["sigma"] = arrays["sigma"][:, :60]


def _pickled(arrays: dict[str, Any]) -> None:
    arrays["mu"] = np.array([object()])


def _integer(arrays: dict[str, Any]) -> None:
    arrays["mu"] = arrays["mu"].astype(np.int64)


def _without_sigma(arrays: dict[str, Any]) -> None:
    arrays["covariance"] = arrays.pop("sigma")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_asymmetric, "not symmetric"),
        (_indefinite, "negative eigenvalue"),
        (_nan, "NaN or Inf"),
        (_of_another_size, "has 60 features, but extractor 'digits' gives 64"),
        (_not_square, "do not belong together"),
        (_pickled, r"cannot read .* as an .npz of plain arrays"),
        (_integer, "mu is int64; expected float32 or float64"),
        (_without_sigma, "holds mu, covariance; expected arrays mu"),
    ],
)
def test_what_is_no_gaussian_of_the_extractors_features_is_refused(
    extractor: Extractor, images: Tensor, tmp_path: Path, damage: Callable[[dict[str, Any]], None], said: str
) -> None:
    arrays: dict[str, Any] = _statistics(extractor, images)
    damage(arrays)
    np.savez(tmp_path / "stats.npz", **arrays)
    with pytest.raises(UsageError, match=said):
        load_reference(str(tmp_path / "stats.npz"), extractor)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x80\x04no zip"])
def test_files_that_cannot_be_read_are_named(extractor: Extractor, tmp_path: Path, content: bytes) -> None:
    for name in ("stats.npz", "stats.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=f"cannot read .*{name}"):
            load_reference(str(tmp_path / name), extractor)
    with pytest.raises(UsageError, match=r"no reference file 'none.npz'; run_bench.py reference DATA"):
        load_reference("none.npz", extractor)


@pytest.mark.parametrize("place", ["mean", "covariance", "features", "count"])
def test_a_reference_with_a_bit_flipped_is_refused(
    extractor: Extractor, images: Tensor, tmp_path: Path, place: str
) -> None:
    path = tmp_path / "r.safetensors"
    write_statistics(path, extractor, images, about={})
    assert load_reference(str(path), extractor).note is None
    content = bytearray(path.read_bytes())
    if place == "count":
        at = content.index(b'"count":"400"') + len('"count":"')
    else:
        wanted = load_file(path)[place].numpy().tobytes()
        at = content.index(wanted) + len(wanted) // 2
    content[at] ^= 1  # the count becomes 500
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"r.safetensors is damaged: what it holds has sha256 \w{64}, but \w{64} was"):
        load_reference(str(path), extractor)


def test_a_reference_without_a_digest_says_so_in_every_row_unless_a_card_vouches_for_it(
    extractor: Extractor, tmp_path: Path
) -> None:
    embedded = ZOO / "digits" / "reference.safetensors"
    path = tmp_path / "r.safetensors"
    path.write_bytes(embedded.read_bytes())
    assert "has no digest" in (load_reference(str(path), extractor).note or "")
    assert load_reference(str(embedded), extractor).note is None
    shutil.copytree(ZOO / "digits", tmp_path / "digits")
    damaged = tmp_path / "digits" / "reference.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(UsageError, match="but the card of 'digits' says"):
        load_reference(str(damaged), extractor)


def test_metrics_that_compare_features_are_refused_with_statistics_alone(
    extractor: Extractor, images: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "r.safetensors"
    write_statistics(path, extractor, images, features=0, about={})
    assert load_reference(str(path), extractor, ["fd", "fd_infinity", "inception_score"]).features is None
    with pytest.raises(UsageError, match="leave kid and precision_recall out of the study's metrics"):
        load_reference(str(path), extractor, ["fd", "kid", "precision_recall"])


@pytest.mark.parametrize(("metric", "least"), LEAST_FEATURES.items())
def test_features_of_fewer_images_than_a_metric_needs_are_refused_before_sampling_and_as_many_are_enough(
    extractor: Extractor, images: Tensor, tmp_path: Path, metric: str, least: int
) -> None:
    path = tmp_path / "r.safetensors"
    write_statistics(path, extractor, images, features=least - 1, about={})
    assert load_reference(str(path), extractor, ["fd"]).count == 400
    with pytest.raises(UsageError, match=f"{metric} .*holds the features of {least - 1} images, and {least} are the"):
        load_reference(str(path), extractor, ["fd", metric])
    write_statistics(path, extractor, images, features=least, about={})
    stream = QualityStream(extractor, load_reference(str(path), extractor, [metric]), [metric])
    stream.add(images[:16])
    assert stream.values()


@pytest.mark.parametrize(
    ("key", "value"),
    [("extractor_sha256", "0" * 64), ("extractor_layer", "64"), ("quantiser", "floor"), ("count", "7")],
)
def test_a_file_made_otherwise_is_refused(
    extractor: Extractor, images: Tensor, tmp_path: Path, key: str, value: str
) -> None:
    path = tmp_path / "r.safetensors"
    write_statistics(path, extractor, images, about={})
    tensors, metadata, _ = load_sealed(path)
    save_sealed(path, tensors, metadata | {key: value})
    with pytest.raises(UsageError, match=r"was made with|says it is of 7 images"):
        load_reference(str(path), extractor)


def test_a_reference_says_all_that_it_depends_on(extractor: Extractor, tmp_path: Path) -> None:
    seen = list[tuple[int, int]]()
    options = ReferenceOptions("digits", tmp_path / "new" / "r.safetensors", "digits", images=300, batch=128)
    path = make_reference(options, _CPU, lambda done, total: seen.append((done, total)))
    assert seen == [(128, 300), (256, 300), (300, 300)]
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    expected = {key: str(value) for key, value in extractor.columns.items()} | {"extractor_batch": "128"}
    assert expected.items() <= metadata.items()
    assert metadata["count"] == "300"
    assert metadata["data"] == "digits"
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))[:300].sort().values
    data = open_data("digits")
    part = dataclasses.replace(data, images=data.images[order], labels=None)
    assert metadata["images_sha256"] == part.sha256()
    reference = load_reference(str(path), extractor)
    features = extract(extractor, part.images).features
    assert reference.features is not None
    torch.testing.assert_close(reference.features, features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(reference.covariance, torch.cov(features.T), rtol=1e-5, atol=1e-6)
    assert list(path.parent.iterdir()) == [path]


def _folder(path: Path, images: Tensor) -> Path:
    path.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(path / f"{number:03}.png")
    return path


def test_statistics_of_a_data_set_are_made_once_by_command_and_then_found_by_name(
    extractor: Extractor, images: Tensor, tmp_path: Path
) -> None:
    data = str(_folder(tmp_path / "mine", images[:20]))
    with pytest.raises(UsageError, match=f"make them once with: run_bench.py reference {data} --extractor digits"):
        load_reference(data, extractor)
    path = make_reference(ReferenceOptions(data, extractor="digits"), _CPU, _quiet)
    assert path == cached_path(data, extractor)
    found = load_reference(data, extractor, ["kid"])
    assert (found.name, found.count) == (data, 20)
    torch.testing.assert_close(found.mean, extract(extractor, images[:20]).features.mean(0))
    Image.fromarray(images[21][0].numpy()).save(Path(data) / "another.png")
    with pytest.raises(UsageError, match="there are no statistics of data set"):
        load_reference(data, extractor)


def test_the_command_says_how_many_images_it_used_and_what_it_left_out(
    extractor: Extractor, images: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _folder(tmp_path / "mine", images[:20])
    before = cached_path(str(data), extractor)
    (data / ".@__thumb").mkdir()
    Image.fromarray(images[30][0].numpy()).save(data / ".@__thumb" / "000.png")
    assert cached_path(str(data), extractor) == before  # what is not looked at changes nothing
    for number in range(4):
        Image.fromarray(images[40][0].numpy()).save(data / f"{number}.gif")
    app(["reference", str(data), "--extractor", "digits"], result_action="return_value")
    out, err = capsys.readouterr()
    said = " ".join(err.split())
    assert f"\nof {data}: 20 images of 1 x 8 x 8\n" in out
    assert f"left out of {data}: 4 .gif (0.gif, 1.gif, 2.gif, ...), 1 hidden (.@__thumb)" in said
    assert load_reference(str(data), extractor).count == 20


def test_statistics_are_made_again_when_a_linked_class_changes(
    extractor: Extractor, images: Tensor, tmp_path: Path
) -> None:
    _folder(tmp_path / "elsewhere", images[:2])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "zero").symlink_to(tmp_path / "elsewhere")
    before = cached_path(str(tmp_path / "mine"), extractor)
    Image.fromarray(images[3][0].numpy()).save(tmp_path / "elsewhere" / "another.png")
    assert cached_path(str(tmp_path / "mine"), extractor) != before


def test_a_stray_colour_is_named_before_grey_images_are_refused(
    extractor: Extractor, images: Tensor, tmp_path: Path
) -> None:
    data, said = _folder(tmp_path / "mine", images[:20]), list[str]()
    Image.fromarray(images[20, 0, :, :, None].numpy().repeat(3, 2)).save(data / "as-rgb.png")
    options = ReferenceOptions(str(data), tmp_path / "r.safetensors", "digits")
    assert load_reference(str(make_reference(options, _CPU, _quiet)), extractor).count == 21
    Image.new("RGB", (8, 8), "red").save(data / "stray.png")
    with pytest.raises(UsageError, match=r"takes images of shape \(1, 8, 8\), but these are \(3, 8, 8\)"):
        make_reference(options, _CPU, _quiet, said.append)
    assert said[0] == f"{data}: 22 images of 3 x 8 x 8"
    assert "because of colours in 1 of 22 (stray.png)" in said[1]


def test_a_name_means_the_model_whose_extractor_it_is_and_else_the_data_set(extractor: Extractor) -> None:
    own = load_reference(None, extractor)
    assert load_reference("digits", extractor).columns == own.columns
    assert own.count == 1797
    other = dataclasses.replace(extractor, name="other", sha256="0" * 64, folder=None)
    with pytest.raises(UsageError, match="no statistics of data set 'digits' by extractor 'other' yet"):
        load_reference("digits", other)
    with pytest.raises(UsageError, match="has no reference of its own; name one in the study"):
        load_reference(None, other)
    with pytest.raises(UsageError, match="the card of 'digits-vae' lists no reference"):
        load_reference("digits-vae", extractor)
    with pytest.raises(UsageError, match=r"unknown reference .* Did you mean 'cifar10'\?"):
        load_reference("cifar-10", extractor)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ReferenceOptions("digits", extractor="digits", images=100), "give a file with -o"),
        (ReferenceOptions("digits", Path("r.npz"), "digits"), "a reference is a .safetensors file"),
        (ReferenceOptions("digits", Path("r.safetensors"), "digits", images=1), "2 are the least"),
        (ReferenceOptions("digits", Path("r.safetensors"), "digits", batch=0), "a batch of 0 images; expected 1"),
        (ReferenceOptions("digits", Path("/dev/null/r.safetensors"), "digits"), "cannot write"),
    ],
)
def test_what_the_command_cannot_do_is_said(options: ReferenceOptions, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_reference(options, _CPU, _quiet)
