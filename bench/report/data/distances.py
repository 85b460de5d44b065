"""The quality columns: how each is called, which end is good, what can be ranked, and what errors are."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.record_schema import DERIVED
from bench.report.data.text import decimals_for, known, scientific


@dataclass(frozen=True)
class Quality:
    """A quality column.

    Attributes:
        key: its name in the records.
        heading: in tables.
        better: which end is good.
        scale: the table shows the value times this.
        decimals: in tables; None for as many as the smallest value needs.
        scientific: each value has three digits of its own, as values are many orders of magnitude apart.
        jackknife: whether the deviation in a record is the standard error of its value, from tenths of its images (of
            an extrapolated one, with what may be left of the bias). That of KID is over subsets that share images, that
            of the Inception score over splits: neither says how far another set of images' value may be.
        floor: the column that says below what nothing can be told; None if there is none.
        floors: how many times that column.
        counts: the column that says how many images it is the share of; None if it is no share.
        within: rows are ranked only with those alike in these columns, besides the protocol.
    """

    key: str
    heading: str
    better: Literal["min", "max"] = "min"
    scale: float = 1.0
    decimals: int | None = None
    scientific: bool = False
    jackknife: bool = False
    floor: str | None = None
    floors: float = 1.0
    counts: str | None = None
    within: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The heading without its arrow."""
        return self.heading.rstrip(" ↓↑")

    @property
    def words(self) -> str:
        """What it is called within a sentence: a Frechet distance FD, whatever its extractor."""
        if self.key == "fid" or self.key.startswith("fd_"):
            return "FD"
        return self.name if self.name[:2].isupper() else f"{self.name[:1].lower()}{self.name[1:]}"

    def order(self, row: Mapping[str, Any]) -> float:
        """What rows that have a value are sorted by, the best first."""
        return float(row[self.key]) * (1 if self.better == "min" else -1)

    @property
    def std(self) -> str:
        """The column of its standard deviation: over seeds where there are several, else the record's own."""
        return f"{self.key.removesuffix('_mean')}_std"

    @property
    def ci(self) -> str:
        """The column of half the width of the 95 % confidence interval of its mean."""
        return f"{self.key.removesuffix('_mean')}_ci"

    def _decimals(self, ci: float) -> int:
        """Its own, or more where an interval is too small for them: a difference is read against it."""
        usual = 3 if self.decimals is None else self.decimals
        return max(usual, decimals_for(self.scale * ci, 1)) if known(ci) and ci > 0 else usual

    def half(self, ci: float) -> str:
        """Half the interval of a difference, as tables show it; nothing where there is none."""
        if not known(ci):
            return ""
        return scientific(ci, 2) if self.scientific else f"{self.scale * ci:,.{self._decimals(ci)}f}"

    def signed(self, value: float, ci: float = math.nan) -> str:
        """A difference as tables show it; half its interval says how many decimals there are."""
        if self.scientific:
            return f"{'+' if value >= 0 else ''}{scientific(value)}"
        return f"{self.scale * value:+z,.{self._decimals(ci)}f}"


def _own(key: str, heading: str, floor: str | None, *within: str, floors: float = 1.0) -> Quality:
    """A distance to the truth of a row's own model."""
    return Quality(key, heading, scientific=True, floor=floor, floors=floors, within=("model_sha256", *within))


_OF_A_FLOW = ("solver_images", "flow_ends", "solver_steps")
_OTHERS = (
    Quality("kid_mean", "KID ×10³ ↓", scale=1e3, decimals=2, within=("kid_subset_size",)),
    Quality("inception_score", "IS ↑", "max", decimals=2),
    Quality("precision", "Precision ↑", "max", decimals=3, counts="images"),
    Quality("recall", "Recall ↑", "max", decimals=3, counts="reference_features"),
    Quality("class_accuracy", "Class accuracy ↑", "max", decimals=3, jackknife=True, counts="images"),
    Quality(
        *("clip_score", "CLIP score ↑", "max"), decimals=2, jackknife=True, within=("clip_sha256", "prompts_sha256")
    ),
    _own("law_fd", "Law FD ↓", "law_fd_floor"),
    _own("law_nearest_rmse", "Nearest RMSE ↓", None),
    _own("law_occupancy", "Occupancy ↓", "law_occupancy_floor_std", floors=2.0),  # standard deviations about 0
    _own("solver_rmse", "Solver RMSE ↓", "solver_rmse_reference", *_OF_A_FLOW),
    _own("solver_rmse_median", "Median RMSE ↓", "solver_rmse_reference", *_OF_A_FLOW),
    Quality("psnr", "PSNR ↑", "max", decimals=2, jackknife=True, within=("model_sha256", *_OF_A_FLOW)),
)

OWN_TRUTH = ("law_fd", "solver_rmse")
"""What rows of one model are ranked by where no Frechet distance to a reference was measured, the first there is."""

_LABELS = {"law_fd": "Law FD", "solver_rmse": "Solver RMSE"}


def fd_columns(columns: Iterable[object]) -> list[str]:
    """The Frechet distances to a reference among some columns: `fid`, and fd_<extractor> for any other extractor.

    What was derived from them (errors, intervals, extrapolations to infinitely many images) is none.
    """
    names = [str(column) for column in columns]
    return [n for n in names if n == "fid" or (n.startswith("fd_") and not n.endswith(DERIVED))]


def rank_columns(columns: Iterable[object]) -> list[str]:
    """The columns that rows can be ranked by, the first choice first."""
    names = [str(column) for column in columns]
    return [*fd_columns(names), *(name for name in OWN_TRUTH if name in names)]


def fd_label(key: str) -> str:
    """How a distance that rows are ranked by is called: FID, FD with its extractor, or what it is a distance to."""
    return "FID" if key == "fid" else _LABELS.get(key) or f"FD ({key.removeprefix('fd_')})"


def of_key(key: str) -> Quality:
    """The quality of a column's name; any name that is not a fixed one is a Frechet distance, perhaps extrapolated."""
    fixed = next((quality for quality in _OTHERS if quality.key == key), None)
    if fixed is not None:
        return fixed
    label = fd_label(key.removesuffix("_inf"))
    heading = label.replace("FID", "FID∞").replace("FD ", "FD∞ ") if key.endswith("_inf") else label
    return Quality(key, f"{heading} ↓", jackknife=True)


def quality_columns(columns: Iterable[object]) -> list[Quality]:
    """The quality columns among some columns, in the order of the table."""
    names = [str(column) for column in columns]
    distances = [key for fd in fd_columns(names) for key in (fd, f"{fd}_inf") if key in names]
    return [*map(of_key, distances), *(quality for quality in _OTHERS if quality.key in names)]
