"""Quality of generated images, on features that stream by: Frechet distances, and torch-fidelity's other metrics.

Only what the chosen metrics need is kept: moments in float64 for the Frechet distances, every image's features for KID,
precision and recall, its logits for the Inception score, both in the extractor's own dtype; of its logits the largest
for class accuracy.

The Frechet distance is Heusel et al.'s (arXiv 1706.08500), its value at infinitely many images Chong and Forsyth's
(arXiv 1911.07023), KID Binkowski et al.'s (arXiv 1801.01401), the Inception score Salimans et al.'s (arXiv 1606.03498),
precision and recall are Kynkaanniemi et al.'s (arXiv 1904.06991).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from bench.quality import frechet
from bench.quality.exact_arithmetic import exact_arithmetic
from bench.quality.extractor import Extractor
from bench.quality.features import Extraction, Outputs, Rows
from bench.quality.reference import Reference
from bench.quality.statistics import (
    BLOCKS,
    BlockMoments,
    Moments,
    Tensors,
    as_tensors,
    blocks_of,
    from_tensors,
    merged,
)

Values = dict[str, Any]

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
ISC_SPLITS = 10
RNG_SEED = 2020
PRC_NEIGHBOURHOOD = 3
"""All torch-fidelity's defaults, stated here because rows are only comparable with the same ones."""

PRC_DISTANCES = 2**24
"""Distances (64 MiB in float32) that precision and recall hold at a time; the blocks do not change what comes out."""

PARAMETERS: dict[str, int] = {
    "kid_subsets": KID_SUBSETS,
    "isc_splits": ISC_SPLITS,
    "prc_neighbourhood": PRC_NEIGHBOURHOOD,
    "jackknife_blocks": BLOCKS,
    "extrapolation_smallest_window": frechet.SMALLEST_WINDOW,
    "metrics_rng_seed": RNG_SEED,
}
"""What the numbers depend on besides images, extractor and reference; goes into a record."""


class QualityStream:
    """Takes images that come in batches, and keeps of them what the metrics need.

    Features are kept where a metric needs them; else moments of them or, where these take more memory, the rows that
    they are taken of.

    Args:
        extractor: gives the features.
        reference: of the real images, by the same extractor.
        metrics: which to compute; others than those on features are left to others.
        images: how many there will be, where that is known: their features are then put into place.

    Attributes:
        remarks: what whoever reads the values must know, complete once they are there.
    """

    def __init__(
        self, extractor: Extractor, reference: Reference, metrics: Sequence[str], images: int | None = None
    ) -> None:
        self._extractor, self._quality = extractor, Quality(extractor, reference, metrics)
        self.remarks = [] if reference.note is None else [reference.note]
        few = images is not None and images <= most_rows(extractor.features, extractor.dtype)
        self._kept_as = "features" if {"kid", "precision_recall"} & set(metrics) else "rows"
        moments = {"fd", "fd_infinity"} & set(metrics)
        wanted = self._kept_as == "features" or (moments and few)
        self._features = Rows(images) if wanted else None
        self._blocks = BlockMoments() if moments and not wanted else None
        self._logits = Rows(images) if "inception_score" in metrics else None
        self._taken = Rows(images) if "class_accuracy" in metrics else None
        self._extraction = Extraction(extractor, self._take)

    def add(self, images: Tensor) -> None:
        """Take uint8 images (N, C, H, W), in the order of their numbers; the host does not wait for the device."""
        self._extraction.add(images)

    def finish(self) -> tuple[Tensors, list[str]]:
        """All that is kept, and what whoever reads the values must know; ArithmeticError for NaN or Inf in features."""
        self._extraction.finish()
        rows = {self._kept_as: self._features, "logits": self._logits, "taken": self._taken}
        kept = {name: each.all() for name, each in rows.items() if each is not None}
        blocks = {} if self._blocks is None else as_tensors(self._blocks.finish())
        return kept | blocks, self._extraction.fitting.remarks("the extractor saw images")

    def values(self, labels: Tensor | None = None) -> Values:
        """The quality columns of all that was added; `Quality` says of what labels, and what it raises."""
        kept, remarks = self.finish()
        values, others = self._quality(kept, labels)
        self.remarks = list(dict.fromkeys([*self.remarks, *remarks, *others]))
        return values

    def _take(self, outputs: Outputs) -> None:
        features = outputs[self._extractor.layer]
        if self._blocks is not None:
            self._blocks.add(features)
        if self._features is not None:
            self._features.add(features)
        logits = None if self._extractor.logits is None else outputs[self._extractor.logits]
        if self._logits is not None and logits is not None:
            self._logits.add(logits)
        if self._taken is not None and logits is not None:
            self._taken.add(logits.argmax(dim=1))


def most_rows(features: int, dtype: torch.dtype) -> int:
    """Images so many features of which take no more memory than the moments of their blocks."""
    return BLOCKS * features * torch.float64.itemsize // dtype.itemsize


def joined(parts: Sequence[Tensors]) -> Tensors:
    """What is kept of images in several parts, each but the last of whole tens, in the order of their numbers.

    Rows of which only moments are taken become these where they are more numbers.
    """
    if len(parts) == 1:
        return parts[0]
    names = {name for part in parts for name in part} - _OF_MOMENTS
    found = {name: torch.cat([part[name] for part in parts if name in part]) for name in names}
    rows = [part["rows"] for part in parts if "rows" in part]
    if len(rows) == len(parts) and sum(map(len, rows)) <= most_rows(rows[0].shape[1], rows[0].dtype):
        return found | {"rows": torch.cat(rows)}
    if rows or any("counts" in part for part in parts):
        each = [from_tensors(part) if "counts" in part else BlockMoments.of(part["rows"]) for part in parts]
        found |= as_tensors([merged(same) for same in zip(*each, strict=True)])
    return found


_OF_MOMENTS = {"rows", "counts", "means", "scatters"}


@dataclass(frozen=True)
class Quality:
    """Gives the values of metrics.

    Args:
        extractor: what the features are of.
        reference: of the real images, by the same extractor.
        metrics: which; others than those on features are left to others.
    """

    extractor: Extractor
    reference: Reference
    metrics: Sequence[str]

    def __call__(self, kept: Tensors, labels: Tensor | None = None) -> tuple[Values, list[str]]:
        """The quality columns of images, and what whoever reads them must know.

        Args:
            kept: what a stream has kept of all of them; taken out of it as it is used, for the memory.
            labels: (N,) int64, the classes that the images were asked for; None: there are none, so no class accuracy.

        Raises:
            ArithmeticError: a metric that is not a finite number.
        """
        values, remarks = Values(), [] if self.reference.note is None else [self.reference.note]
        if "inception_score" in self.metrics:
            values |= _inception_score(kept.pop("logits").cpu())
        if "class_accuracy" in self.metrics and labels is not None:
            values |= _class_accuracy(kept.pop("taken"), labels)
            values["class_accuracy_real"] = self.extractor.test_accuracy
        features = kept.pop("features", None)
        if features is not None and "kid" in self.metrics:
            values |= _kid(features, self.reference)
        if features is not None and "precision_recall" in self.metrics:
            values |= _precision_recall(features, self.reference, self.extractor.device)
        if {"fd", "fd_infinity"} & set(self.metrics):
            rows = kept.pop("rows", features)
            blocks = from_tensors(kept) if rows is None else BlockMoments.of(rows)
            del features, rows
            distances, told = self._distances(blocks)
            values, remarks = values | distances, remarks + told
        unusable = [name for name, value in values.items() if not _finite(value)]
        if unusable:
            raise ArithmeticError(f"{', '.join(unusable)} came out as NaN or Inf")
        return values, remarks

    def _distances(self, blocks: Sequence[Moments]) -> tuple[Values, list[str]]:
        images, target = sum(block.count for block in blocks), self.reference.target.on(blocks[0].mean.device)
        column = self.extractor.column(images)
        values: Values = {}
        without = frechet.left_out(blocks, target)
        if "fd" in self.metrics:
            values[column] = target.distance(merged(blocks))
            values |= {f"{column}_std": frechet.jackknife(without), f"{column}_left_out": without}
        if "fd_infinity" not in self.metrics:
            return values, []
        if not frechet.can_extrapolate(images, self.extractor.features):
            needed = frechet.IMAGES_PER_FEATURE * self.extractor.features
            values |= {f"{column}_inf": None, f"{column}_inf_std": None}
            rule = f"{needed:,} images, {frechet.IMAGES_PER_FEATURE} a feature"
            return values, [f"{column}_inf needs {rule}, and there are {images:,}"]
        extrapolated = frechet.extrapolate(blocks, target, without)
        return values | {f"{column}_inf": extrapolated.value, f"{column}_inf_std": extrapolated.std}, []


def _finite(value: float | list[float] | None) -> bool:
    return value is None or all(math.isfinite(each) for each in (value if isinstance(value, list) else [value]))


def _kid(features: Tensor, reference: Reference) -> Values:
    assert reference.features is not None, "load_reference refuses this"
    size = min(KID_SUBSET_SIZE, len(features), len(reference.features))
    value = kid_features_to_metric(
        features,
        reference.features,
        kid_subsets=KID_SUBSETS,
        kid_subset_size=size,
        rng_seed=RNG_SEED,
        verbose=False,
    )
    return {
        "kid_mean": value[KEY_METRIC_KID_MEAN],
        # a subset of all images is none: its spread would be that of the reference alone
        "kid_std": value[KEY_METRIC_KID_STD] if size < len(features) else None,
        "kid_subset_size": size,
    }


def _inception_score(logits: Tensor) -> Values:
    """Of all images and, where they are enough for every split, of those without a block each."""
    scores, block = _split_scores(logits), blocks_of(len(logits))
    parts = [logits[block != number] for number in range(BLOCKS)]
    enough = all(len(part) >= ISC_SPLITS for part in parts)
    return {
        "inception_score": float(np.mean(scores)),
        "inception_score_std": float(np.std(scores)),
        "inception_score_left_out": [float(np.mean(_split_scores(part))) for part in parts] if enough else None,
    }


def _split_scores(logits: Tensor) -> list[float]:
    """torch-fidelity's, a split at a time: its function makes four float64 copies of all that it is given."""
    count = len(logits)
    order = np.random.RandomState(RNG_SEED).permutation(count)
    bounds = [number * count // ISC_SPLITS for number in range(ISC_SPLITS + 1)]
    return [
        isc_features_to_metric(logits[order[start:end]], splits=1, shuffle=False)[KEY_METRIC_ISC_MEAN]
        for start, end in pairwise(bounds)
    ]


def _class_accuracy(taken: Tensor, labels: Tensor) -> Values:
    """Of images taken for some classes (N,), the share of those that the labels (N,) say, and without a block each."""
    right, block = (taken == labels.to(taken.device)).cpu().double(), blocks_of(len(taken))
    without = [float(right[block != number].mean()) for number in range(BLOCKS)]
    return {
        "class_accuracy": float(right.mean()),
        "class_accuracy_std": frechet.jackknife(without),
        "class_accuracy_left_out": without,
    }


def _precision_recall(features: Tensor, reference: Reference, device: torch.device) -> Values:
    """Blockwise, since the full variant builds N x N matrices; on the extractor's device."""
    assert reference.features is not None, "load_reference refuses this"
    longest = max(len(features), len(reference.features))
    with exact_arithmetic(device):
        value = prc_features_to_metric(
            features.to(device),
            reference.features.to(device),
            prc_neighborhood=PRC_NEIGHBOURHOOD,
            prc_batch_size=max(1, min(10_000, PRC_DISTANCES // longest)),
            save_cpu_ram=True,
            verbose=False,
        )
    return {"precision": value[KEY_METRIC_PRECISION], "recall": value[KEY_METRIC_RECALL]}
