"""Quality is what torch-fidelity says of the same images, and never a plausible number made of unusable ones."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from bench.quality import metrics
from bench.quality.datasets import open_data
from bench.quality.extractor import Extractor
from bench.quality.features import FeatureStream, Rows, extract
from bench.quality.images import BadSamples, SampleCheck, check_samples, to_uint8
from bench.quality.metrics import QualityStream, Values
from bench.quality.reference import Reference, load_reference
from bench.study.metrics import FEATURE_METRICS

_CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def reference(extractor: Extractor) -> Reference:
    return load_reference(None, extractor)


@pytest.fixture(scope="module")
def real() -> Tensor:
    return open_data("digits").images


@pytest.fixture(scope="module")
def fake(real: Tensor) -> Tensor:
    noise = torch.randint(-60, 61, real[:1100].shape, generator=torch.Generator().manual_seed(0))
    return (real[:1100].int() + noise).clamp(0, 255).to(torch.uint8)


def _quality(extractor: Extractor, reference: Reference, images: Tensor, *names: str, batches: int = 256) -> Values:
    stream = QualityStream(extractor, reference, names)
    for part in images.split(batches):
        stream.add(part)
    return stream.values()


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
    values = _quality(extractor, reference, real, "fd", "precision_recall")
    assert abs(float(values["fd_digits"] or 0.0)) < 1e-4 * float(reference.covariance.trace())
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
    assert found.logits is not None
    assert expected.logits is not None
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.logits, expected.logits)


def test_scores_do_not_depend_on_the_batches_nor_on_the_company_of_other_metrics(
    extractor: Extractor, reference: Reference, fake: Tensor
) -> None:
    few = fake[:300]
    announced = QualityStream(extractor, reference, FEATURE_METRICS, len(few))
    for part in few.split(37):
        announced.add(part)
    together, alone = announced.values(), Values()
    for name in FEATURE_METRICS:
        alone |= _quality(extractor, reference, few, name, batches=300)
    assert together == alone
    assert announced.remarks == []


def test_a_stream_says_nothing_about_metrics_that_need_no_features(extractor: Extractor, reference: Reference) -> None:
    assert QualityStream(extractor, reference, ("law", "solver_error")).values() == {}


def test_the_inception_score_by_parts_is_torch_fidelitys_of_the_whole(extractor: Extractor, fake: Tensor) -> None:
    logits = extract(extractor, fake).logits
    assert logits is not None
    expected = isc_features_to_metric(logits.float())
    without = [isc_features_to_metric(logits[torch.arange(len(logits)) % 10 != block].float()) for block in range(10)]
    assert metrics._inception_score(logits.float()) == {
        "inception_score": expected["inception_score_mean"],
        "inception_score_std": expected["inception_score_std"],
        "inception_score_left_out": [each["inception_score_mean"] for each in without],
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_and_recall_in_small_blocks_are_those_of_torch_fidelitys_large_ones(
    extractor: Extractor,
    reference: Reference,
    fake: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
) -> None:
    assert reference.features is not None
    ours, real = extract(extractor, fake).features.to(dtype), reference.features.to(dtype)
    expected = prc_features_to_metric(ours, real, verbose=False)
    monkeypatch.setattr(metrics, "PRC_DISTANCES", 1797 * 64)
    found = metrics._precision_recall(ours, dataclasses.replace(reference, features=real), _CPU)
    assert found == {name: expected[name] for name in ("precision", "recall")}
    assert 0.1 < expected["recall"] < 1.0


def test_real_digits_are_taken_for_what_they_are_unless_other_classes_were_asked_for(
    extractor: Extractor, reference: Reference
) -> None:
    data = open_data("digits")
    assert data.labels is not None
    logits = extract(extractor, data.images).logits
    assert logits is not None
    taken = [max(range(10), key=row.__getitem__) for row in logits.tolist()]
    for labels in (data.labels, data.labels.roll(1)):
        stream = QualityStream(extractor, reference, ["class_accuracy"], len(labels))
        for part in data.images.split(300):
            stream.add(part)
        values = stream.values(labels)
        right = sum(n == asked for n, asked in zip(taken, labels.tolist(), strict=True))
        assert values["class_accuracy"] == right / 1797
        assert values["class_accuracy_real"] == extractor.test_accuracy == 0.9972144846796658
        assert (right > 1790) == (labels is data.labels)


def test_too_few_images_for_an_extrapolation_give_no_number_but_a_remark(
    extractor: Extractor, reference: Reference, fake: Tensor
) -> None:
    stream = QualityStream(extractor, reference, ["fd", "fd_infinity"])
    stream.add(fake[:255])
    values = stream.values()
    assert values["fd_digits_inf"] is None
    assert values["fd_digits_inf_std"] is None
    assert isinstance(values["fd_digits"], float)
    assert isinstance(values["fd_digits_std"], float)
    assert stream.remarks == ["fd_digits_inf needs 256 images, 4 a feature, and there are 255"]


def test_distances_to_unseen_digits_extrapolated_from_few_and_many_images_agree_within_their_errors(
    extractor: Extractor, reference: Reference, real: Tensor
) -> None:
    generator = torch.Generator().manual_seed(1)
    drawn = real[torch.randint(len(real), (6000,), generator=generator)].int()
    noisy = (drawn + torch.randint(-60, 61, drawn.shape, generator=generator)).clamp(0, 255).to(torch.uint8)
    few = _quality(extractor, reference, noisy[:1000], "fd", "fd_infinity")
    many = _quality(extractor, reference, noisy[1000:], "fd", "fd_infinity")
    gap = abs(float(few["fd_digits_inf"] or 0.0) - float(many["fd_digits_inf"] or 0.0))
    assert gap < 2 * float(np.hypot(float(few["fd_digits_inf_std"] or 0.0), float(many["fd_digits_inf_std"] or 0.0)))
    assert float(many["fd_digits_inf_std"] or 0.0) < 0.7 * float(few["fd_digits_inf_std"] or 0.0)


def test_features_that_are_not_finite_are_refused_whatever_the_metric(
    extractor: Extractor, reference: Reference, fake: Tensor
) -> None:
    class Broken(type(extractor.module)):  # type: ignore[misc]
        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            features, logits = super().forward(images)
            features[3, 5] = torch.nan
            return features, logits

    broken = dataclasses.replace(extractor, module=Broken("digits", ["features", "logits"]))
    with pytest.raises(ArithmeticError, match="features of extractor 'digits' came out as NaN or Inf"):
        _quality(broken, reference, fake[:250], "precision_recall")


def test_more_rows_than_were_announced_are_an_error() -> None:
    rows = Rows(3)
    rows.add(torch.ones(2, 4))
    with pytest.raises(IndexError, match="4 rows came, where 3 were announced"):
        rows.add(torch.ones(2, 4))
    assert rows.all().shape == (2, 4)


def test_the_extractor_refuses_images_of_another_kind(extractor: Extractor) -> None:
    with pytest.raises(ValueError, match="expected uint8 images of shape"):
        extractor(torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match="expected uint8 images of shape"):
        extractor(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


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


def test_a_gpu_is_asked_only_in_the_end_whether_a_batch_was_no_image() -> None:
    check, shape = SampleCheck(torch.device("cuda")), (4, 1, 8, 8)
    bad = torch.zeros(shape)
    bad[1:] = torch.nan
    for samples in (torch.zeros(shape), bad, torch.zeros(shape)):
        check.add(samples, shape, torch.float32)
    with pytest.raises(BadSamples, match=r"expected torch\.float32 of shape"):
        check.add(bad.double(), shape, torch.float32)
    with pytest.raises(BadSamples, match="3 of 4 images of a batch hold NaN or Inf"):
        check.finish()
    at_once = SampleCheck(_CPU)
    at_once.add(torch.zeros(shape), shape, torch.float32)
    with pytest.raises(BadSamples, match="3 of 4 images of a batch hold NaN or Inf"):
        at_once.add(bad, shape, torch.float32)
