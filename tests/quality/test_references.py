"""A reference is used only if it belongs to the extractor, is a Gaussian's, and has what the metrics need."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from bench.quality.datasets import open_data
from bench.quality.extractor import Extractor
from bench.quality.features import extract
from bench.quality.metrics import QualityStream
from bench.quality.reference import LEAST_FEATURES, load_reference
from bench.quality.reference_maker import ReferenceOptions, make_reference, write_statistics
from models.common.errors import UsageError
from models.common.sealed import load_sealed, save_sealed
from models.loading.sources import ZOO

_CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("cache")


def _quiet(done: int, total: int) -> None:
    pass


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


def test_capitals_in_a_suffix_change_nothing(extractor: Extractor, images: Tensor, tmp_path: Path) -> None:
    for name in ("STATS.NPZ", "STATS.SAFETENSORS", "PIXELS.NPZ"):
        path = tmp_path / name
        if name == "STATS.NPZ":
            with path.open("wb") as file:
                np.savez(file, **_statistics(extractor, images[:100]))  # type: ignore[arg-type]
        elif name == "STATS.SAFETENSORS":
            write_statistics(path, extractor, images[:100], about={})
        else:
            with path.open("wb") as file:
                np.savez(file, images=images[:100].movedim(1, 3).numpy())
            make_reference(ReferenceOptions(str(path), extractor="digits"), _CPU, _quiet)
        torch.testing.assert_close(
            load_reference(str(path), extractor).mean, extract(extractor, images[:100]).features.mean(0)
        )


def test_a_file_that_is_no_reference_is_called_so_and_not_missing(extractor: Extractor, tmp_path: Path) -> None:
    (tmp_path / "stats.txt").write_text("mu and sigma")
    with pytest.raises(UsageError, match=r"stats.txt' is there, but no reference: expected the .safetensors file"):
        load_reference(str(tmp_path / "stats.txt"), extractor)
    with pytest.raises(UsageError, match=r"unknown reference \(nor is it a file or folder\)"):
        load_reference(str(tmp_path / "none.txt"), extractor)
    (tmp_path / "images.npz").mkdir()
    (tmp_path / "images.npz" / "a.png").touch()
    with pytest.raises(UsageError, match="there are no statistics of data set"):
        load_reference(str(tmp_path / "images.npz"), extractor)


def test_what_is_said_to_make_a_missing_reference_is_a_command_that_may_be_given(
    extractor: Extractor, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"no reference file .*none.npz'; .* -o (\S+) makes one") as error:
        load_reference(str(tmp_path / "none.npz"), extractor)
    out = Path(str(error.value).split(" -o ")[1].split()[0])
    make_reference(ReferenceOptions("digits", out, "digits", images=20), _CPU, _quiet)
    assert load_reference(str(out), extractor).count == 20


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


def test_of_a_file_made_otherwise_only_what_differs_is_told(
    extractor: Extractor, images: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "r.safetensors"
    write_statistics(path, extractor, images, about={})
    tensors, metadata, _ = load_sealed(path)
    save_sealed(path, tensors, metadata | {"extractor": "other", "extractor_sha256": "75a0d639" * 8})
    with pytest.raises(UsageError) as raised:
        load_reference(str(path), extractor)
    here = f"{extractor.name!r} ({extractor.sha256[:8]})"
    assert str(raised.value) == f"{path} was made with extractor 'other' (75a0d639); the study has {here}"
    save_sealed(path, tensors, metadata | {"quantiser": "floor", "extractor_layer": "64"})
    with pytest.raises(UsageError, match=r"made with layer '64', quantiser 'floor'; the study has layer 'features', q"):
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


def test_a_reference_of_images_of_another_size_or_without_colours_is_used_and_every_row_says_so(
    extractor: Extractor, tmp_path: Path
) -> None:
    """An extractor that scales its images takes any."""
    images = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    write_statistics(tmp_path / "reference.safetensors", extractor, images, about={})
    found = load_reference(str(tmp_path / "reference.safetensors"), extractor)
    assert found.beside((1, 8, 8)).note is None
    larger = found.beside((1, 16, 16))
    assert larger.note == "reference 'reference' is of images of 8 x 8; those measured by it are 16 x 16"
    assert QualityStream(extractor, larger, ("fd",), 6).remarks == [larger.note]
    note = "reference 'reference' is of images of 1 channel; those measured by it have 3"
    assert found.beside((3, 8, 8)).note == note
    assert found.beside((3, 16, 16)).note == f"{larger.note}; {note}"
    own = load_reference(None, extractor)  # older files do not say
    assert own.beside((1, 16, 16)).note is None
