"""What is measured of images, and the columns that it gives."""

import re
from typing import Literal

from bench.record_schema import DERIVED
from models.plugins.registry import unknown

Metric = Literal[
    "fd",
    "fd_infinity",
    "kid",
    "inception_score",
    "precision_recall",
    "class_accuracy",
    "clip_score",
    "solver_error",
    "psnr",
    "law",
]
FEATURE_METRICS: tuple[Metric, ...] = (
    *("fd", "fd_infinity", "kid", "inception_score", "precision_recall"),
    "class_accuracy",
)
"""Those that need a feature extractor and a reference."""

FLOW_METRICS: tuple[Metric, ...] = ("solver_error", "psnr")
"""Those of deterministic samplers, beside the exact solution of the probability flow."""

METRICS: tuple[Metric, ...] = (*FEATURE_METRICS, "clip_score", *FLOW_METRICS, "law")

DEFAULT_METRICS: tuple[Metric, ...] = ("fd", "kid", "inception_score", "precision_recall")

COLUMNS: dict[str, Metric] = {
    "fid": "fd",
    "fid_inf": "fd_infinity",
    "kid_mean": "kid",
    "inception_score": "inception_score",
    "precision": "precision_recall",
    "recall": "precision_recall",
    "class_accuracy": "class_accuracy",
    "clip_score": "clip_score",
    "solver_rmse": "solver_error",
    "solver_rmse_median": "solver_error",
    "psnr": "psnr",
    "law_fd": "law",
    "law_nearest_rmse": "law",
    "law_occupancy": "law",
}
"""The columns of quality, with the metric that each comes from; beside them fd_<extractor> and fd_<extractor>_inf."""

_DISTANCE = re.compile(r"fd_[a-z0-9][a-z0-9+_-]*")


def metric_of(column: str) -> Metric:
    """The metric that a column of quality comes from; UsageError if there is no such column."""
    if column in COLUMNS:
        return COLUMNS[column]
    if _DISTANCE.fullmatch(column) and not column.removesuffix("_inf").endswith(DERIVED):
        return "fd_infinity" if column.endswith("_inf") else "fd"
    raise unknown("column", column, [*COLUMNS, "fd_<extractor>", "fd_<extractor>_inf"])
