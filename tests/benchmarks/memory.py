"""The most memory that metrics take: of 50,000 images with 2,048 features and 1,008 logits, as Inception has them.

    python tests/benchmarks/memory.py METRIC,METRIC,... [--images 50000]

prints the process's high-water mark after each part. The extractor gives random numbers: what is measured is all that
comes after it.
"""

import argparse
import resource
import time

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from bench.quality.extractor import Extractor
from bench.quality.metrics import QualityStream
from bench.quality.reference import Reference
from bench.quality.statistics import Moments

FEATURES, CLASSES, BATCH = 2048, 1008, 500


class RandomFeatures(FeatureExtractorBase):  # type: ignore[misc, unused-ignore] # torch-fidelity has no types
    """Features of falling variance, and logits."""

    def __init__(self) -> None:
        super().__init__("random", ["features", "logits"])
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.generator = torch.Generator().manual_seed(0)
        self.scale = torch.linspace(1.0, 0.05, FEATURES)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features", "logits")

    def features(self, count: int) -> Tensor:
        """(count, F) float32."""
        return torch.rand(count, FEATURES, generator=self.generator) * self.scale

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.features(len(images)), torch.randn(len(images), CLASSES, generator=self.generator)


def reference(module: RandomFeatures, images: int, with_features: bool) -> Reference:
    """Of as many images."""
    moments, kept = Moments(FEATURES), torch.empty(images if with_features else 0, FEATURES)
    for start in range(0, images, BATCH):
        rows = module.features(BATCH)
        moments.add(rows)
        if with_features:
            kept[start : start + BATCH] = rows
    found = Reference("random", moments.mean, moments.covariance, images, kept if with_features else None, "")
    assert found.target
    return found


def main() -> None:
    """Run the metrics and print the marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("metrics")
    parser.add_argument("--images", type=int, default=50_000)
    options = parser.parse_args()
    metrics, module = options.metrics.split(","), RandomFeatures()
    extractor = Extractor(
        "random", module, "", "random", False, "features", "logits", None, FEATURES, torch.float32, 64
    )
    began = time.monotonic()
    real = reference(module, options.images, bool({"kid", "precision_recall"} & set(metrics)))
    _mark("reference", began)
    stream = QualityStream(extractor, real, metrics, options.images)
    for _ in range(options.images // BATCH):
        stream.add(torch.zeros(BATCH, 3, 8, 8, dtype=torch.uint8))
    _mark("stream", began)
    print(stream.values())
    _mark("values", began)


def _mark(part: str, began: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{part}: at most {peak:,.0f} MiB so far, after {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
