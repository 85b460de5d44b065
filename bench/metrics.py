"""Quality of generated images, computed by torch-fidelity's own metric functions on features in float64."""

import math
import statistics
from collections.abc import Callable, Sequence

import torch
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from bench.features import Features
from bench.reference import Reference
from bench.study import Metric

Values = dict[str, float | int | None]

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
ISC_SPLITS = 10
JACKKNIFE_BLOCKS = 10
RNG_SEED = 2020
"""All but the jackknife torch-fidelity's defaults, stated here because rows are only comparable with the same ones."""


def frechet(mean: torch.Tensor, covariance: torch.Tensor, reference: Reference) -> float:
    """Frechet distance between two Gaussians: |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)), all float64."""
    ours = {"mu": mean.numpy(), "sigma": covariance.numpy()}
    theirs = {"mu": reference.mean.numpy(), "sigma": reference.covariance.numpy()}
    return float(fid_statistics_to_metric(ours, theirs, verbose=False)["frechet_inception_distance"])


def _fd(features: Features, reference: Reference, column: str) -> Values:
    values = features.features
    return {
        column: frechet(values.mean(0), torch.cov(values.T), reference),
        f"{column}_std": _jackknife(values, reference),
    }


def _jackknife(values: torch.Tensor, reference: Reference) -> float:
    """Standard error of the Frechet distance from the images at hand: delete-a-tenth jackknife (Efron, 1982)."""
    block = torch.arange(len(values)) % JACKKNIFE_BLOCKS
    parts = [values[block != n] for n in range(JACKKNIFE_BLOCKS)]
    found = [frechet(part.mean(0), torch.cov(part.T), reference) for part in parts]
    mean = statistics.fmean(found)
    return math.sqrt((JACKKNIFE_BLOCKS - 1) / JACKKNIFE_BLOCKS * sum((value - mean) ** 2 for value in found))


def _kid(features: Features, reference: Reference, column: str) -> Values:
    size = min(KID_SUBSET_SIZE, len(features.features), reference.count)
    value = kid_features_to_metric(
        features.features,
        reference.features,
        kid_subsets=KID_SUBSETS,
        kid_subset_size=size,
        rng_seed=RNG_SEED,
        verbose=False,
    )
    return {
        "kid_mean": value["kernel_inception_distance_mean"],
        # a subset of all images is none: its spread would be that of the reference alone
        "kid_std": value["kernel_inception_distance_std"] if size < len(features.features) else None,
        "kid_subset_size": size,
    }


def _inception_score(features: Features, reference: Reference, column: str) -> Values:
    value = isc_features_to_metric(features.logits, splits=ISC_SPLITS, shuffle=True, rng_seed=RNG_SEED)
    return {
        "inception_score": value["inception_score_mean"],
        "inception_score_std": value["inception_score_std"],
    }


def _precision_recall(features: Features, reference: Reference, column: str) -> Values:
    # blockwise: the full variant builds N x N matrices
    value = prc_features_to_metric(features.features, reference.features, save_cpu_ram=True, verbose=False)
    return {"precision": value["precision"], "recall": value["recall"]}


_FUNCTIONS: dict[Metric, Callable[[Features, Reference, str], Values]] = {
    "fd": _fd,
    "kid": _kid,
    "inception_score": _inception_score,
    "precision_recall": _precision_recall,
}


def quality(features: Features, reference: Reference, extractor_name: str, metrics: Sequence[Metric]) -> Values:
    """The quality columns of a row.

    Args:
        features: of the generated images.
        reference: of the real ones, by the same extractor.
        extractor_name: the Frechet distance is called fd_<name>; only Inception's would be an FID.
        metrics: which to compute.

    Raises:
        ArithmeticError: a metric that is not a finite number.
    """
    values: Values = {}
    for metric in metrics:
        values |= _FUNCTIONS[metric](features, reference, f"fd_{extractor_name}")
    unusable = [name for name, value in values.items() if value is not None and not math.isfinite(value)]
    if unusable:
        raise ArithmeticError(f"{', '.join(unusable)} came out as NaN or Inf")
    return values
