"""All metrics equal `torch_fidelity.calculate_metrics` on the same uint8 images, compact extractor and Inception."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_fidelity
from inception_stand_in import write_inception
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from bench.quality import metrics
from bench.quality.datasets import open_data
from bench.quality.extractor import Extractor
from bench.quality.extractors import load_extractor
from bench.quality.metrics import QualityStream, Values
from bench.quality.reference import load_reference
from bench.quality.reference_maker import write_statistics
from bench.study.study import ExtractorChoice
from models.loading.zoo import load_model

_CPU = torch.device("cpu")
_METRICS = ("fd", "kid", "inception_score", "precision_recall")
_THEIRS = {
    "fd": "frechet_inception_distance",
    "kid_mean": "kernel_inception_distance_mean",
    "kid_std": "kernel_inception_distance_std",
    "inception_score": "inception_score_mean",
    "inception_score_std": "inception_score_std",
    "precision": "precision",
    "recall": "recall",
}


class _Images(Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        return self._images[index]


def _ours(extractor: Extractor, fake: Tensor, real: Tensor, folder: Path) -> Values:
    write_statistics(folder / "real.safetensors", extractor, real, about={})
    stream = QualityStream(extractor, load_reference(str(folder / "real.safetensors"), extractor), _METRICS, len(fake))
    for part in fake.split(7):
        stream.add(part)
    return stream.values()


def _theirs(extractor: str, fake: Tensor, real: Tensor, **more: Any) -> dict[str, float]:
    found: dict[str, float] = torch_fidelity.calculate_metrics(
        input1=_Images(fake),
        input2=_Images(real),
        feature_extractor=extractor,
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        **more,
    )
    return found


def test_metrics_on_the_compact_extractor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "KID_SUBSET_SIZE", 200)
    real = open_data("digits").images
    noise = torch.randint(-60, 61, real[:1100].shape, generator=torch.Generator().manual_seed(0))
    fake = (real[:1100].int() + noise).clamp(0, 255).to(torch.uint8)
    extractor = load_extractor(None, load_model("digits", _CPU), _CPU)
    ours = _ours(extractor, fake, real, tmp_path)
    theirs = _theirs("digits", fake, real, batch_size=250, kid_subset_size=200)
    for name, their_name in _THEIRS.items():
        assert ours["fd_digits" if name == "fd" else name] == pytest.approx(theirs[their_name], rel=1e-6), name
    assert 0.1 < theirs["recall"] < 1.0


def test_metrics_on_inception_with_any_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = write_inception(tmp_path / "weights.pth")
    # a shallow layer: its 192 features take milliseconds where 2,048 take minutes
    layers = {"fid": "192", "kid": "192", "prc": "192", "isc": "logits_unbiased"}
    monkeypatch.setattr(FeatureExtractorInceptionV3, "get_default_feature_layer_for_metric", staticmethod(layers.get))
    choice = ExtractorChoice(name="inception-v3-compat", weights=str(tmp_path / "weights.pth"), sha256=digest)
    extractor = dataclasses.replace(load_extractor(choice, None, _CPU), batch=6)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (14, 3, 32, 32), generator=generator, dtype=torch.uint8)
    fake, real = images[:10], torch.cat([images[10:], images[:2]])
    ours = _ours(extractor, fake, real, tmp_path)
    weights = {"feature_extractor_weights_path": str(tmp_path / "weights.pth")}
    theirs = _theirs("inception-v3-compat", fake, real, batch_size=6, kid_subset_size=6, **weights)
    for name, their_name in _THEIRS.items():
        assert ours["fd_inception" if name == "fd" else name] == pytest.approx(theirs[their_name], rel=1e-6), name
    assert theirs["precision"] > 0.0
