"""Our numbers are torch-fidelity's own, on the same uint8 images with the same registered extractor."""

import numpy as np
import pytest
import torch
import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset

from bench.features import Extractor, FeatureStream, extract, load_extractor
from bench.images import BadSamples, check_samples, to_uint8
from bench.metrics import quality
from bench.reference import Reference, load_reference
from bench.study import METRICS
from models.zoo import Model, load_model

_CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("digits", _CPU)


@pytest.fixture(scope="module")
def extractor(model: Model) -> Extractor:
    return load_extractor(model, _CPU)


@pytest.fixture(scope="module")
def reference(model: Model, extractor: Extractor) -> Reference:
    return load_reference(model, extractor)


@pytest.fixture(scope="module")
def real() -> Tensor:
    from bench.training import load_digits

    return to_uint8(load_digits()[0])


@pytest.fixture(scope="module")
def fake(real: Tensor) -> Tensor:
    noise = torch.randint(-60, 61, real[:1100].shape, generator=torch.Generator().manual_seed(0))
    return (real[:1100].int() + noise).clamp(0, 255).to(torch.uint8)


class _Images(Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        return self._images[index]


def test_all_metrics_equal_those_of_calculate_metrics(
    extractor: Extractor, reference: Reference, real: Tensor, fake: Tensor
) -> None:
    ours = quality(extract(extractor, fake), reference, extractor.name, METRICS)
    theirs = torch_fidelity.calculate_metrics(
        input1=_Images(fake),
        input2=_Images(real),
        feature_extractor=extractor.name,
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        kid_subset_size=1000,
        batch_size=250,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    names = {
        "fd_digits": "frechet_inception_distance",
        "kid_mean": "kernel_inception_distance_mean",
        "kid_std": "kernel_inception_distance_std",
        "inception_score": "inception_score_mean",
        "inception_score_std": "inception_score_std",
        "precision": "precision",
        "recall": "recall",
    }
    assert set(names) | {"kid_subset_size", "fd_digits_std"} == set(ours)
    for name, their_name in names.items():
        assert ours[name] == pytest.approx(theirs[their_name], rel=1e-6), name


def test_the_shipped_reference_is_that_of_the_real_images(
    extractor: Extractor, reference: Reference, real: Tensor
) -> None:
    features = extract(extractor, real).features
    assert reference.count == len(real) == 1797
    torch.testing.assert_close(reference.mean, features.mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(reference.covariance, torch.from_numpy(np.cov(features.numpy().T)), rtol=1e-4, atol=1e-6)


def test_real_images_are_at_distance_zero_from_themselves(
    extractor: Extractor, reference: Reference, real: Tensor
) -> None:
    values = quality(extract(extractor, real), reference, "digits", METRICS)
    trace = float(reference.covariance.trace())
    assert abs(float(values["fd_digits"] or 0.0)) < 1e-4 * trace
    assert values["precision"] == values["recall"] == 1.0


@pytest.mark.parametrize("batches", [[1100], [64] * 17 + [12], [1, 999, 100]])
def test_features_do_not_depend_on_the_batches_that_images_come_in(
    extractor: Extractor, fake: Tensor, batches: list[int]
) -> None:
    stream = FeatureStream(extractor)
    for part in fake.split(batches):
        stream.add(part)
    found = stream.finish()
    expected = extract(extractor, fake)
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.logits, expected.logits)


def test_the_extractor_refuses_images_of_another_kind(extractor: Extractor) -> None:
    with pytest.raises(ValueError, match="expected uint8 images of shape"):
        extractor.module(torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match="expected uint8 images of shape"):
        extractor.module(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


def test_values_are_rounded_to_the_nearest_of_256_levels_and_clamped() -> None:
    values = torch.tensor([-2.0, -1.0, -1.0 + 1.4 / 127.5, -1.0 + 1.6 / 127.5, 1.0, 3.0])
    assert to_uint8(values).tolist() == [0, 0, 1, 2, 255, 255]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_samples_that_are_no_images_are_refused_before_the_cast(bad: float) -> None:
    samples = torch.zeros(4, 1, 8, 8)
    samples[2, 0, 3, 3] = bad
    with pytest.raises(BadSamples, match="1 of 4 images of a batch hold NaN or Inf"):
        check_samples(samples, (4, 1, 8, 8), torch.float32)
    with pytest.raises(BadSamples, match=r"expected torch\.float32 of shape"):
        check_samples(torch.zeros(4, 1, 8), (4, 1, 8, 8), torch.float32)
