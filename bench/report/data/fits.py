"""What fitting brings: settings whose sampler or grid was fitted to the model, each beside the best that was not.

The best is chosen by the very values that are shown, among those of the same sampler with as many evaluations; of all
samplers, with as many evaluations or fewer, where the sampler itself is what is fitted. The choice favours it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from bench.report.data.columns import Row, guest, setting
from bench.report.data.distances import Quality, of_key
from bench.report.data.gaps import Gap, gap, holm
from bench.report.data.significance import LEVEL, half_width
from bench.report.data.text import ALIKE, Column, known, marked, named, numbers, scientific, significant, words

TITLE = "What fitting brings"

_MEDIAN = "solver_rmse_median"
"""What is compared besides the distance that rows are ranked by: few images do not rule it."""
_ALIKE = ("model_sha256", "guidance", "clip", "mode", "device_name")
"""What settings have to be alike in to be compared."""
_NAMED = 5
"""Settings that a note names."""


class FitGain(NamedTuple):
    """A fitted row beside the best that is not.

    Attributes:
        row: the fitted one.
        best: the other.
        quality: in which they are compared, and by which the other is the best.
        gap: the first less the second.
        p_holm: of whether it is 0, by Holm's procedure for all rows in this quality; None if it cannot be tested.
    """

    row: Row
    best: Row
    quality: Quality
    gap: Gap
    p_holm: float | None = None

    @property
    def alike(self) -> bool:
        """Whether it was tested and cannot be told from 0."""
        return self.p_holm is not None and self.p_holm > LEVEL


def is_fitted(row: Row) -> bool:
    """Whether something of a row was fitted to the model first."""
    return known(cost := row.get("fit_nfe")) and cost > 0


def fit_words(row: Row) -> str:
    """What a fit took, as words that follow others; nothing where nothing was fitted."""
    return f", after a fit of {row['fit_nfe']:,.0f} evaluations" if is_fitted(row) else ""


def fit_gains(rows: Sequence[Row], rank: str | None) -> list[FitGain]:
    """All fitted rows that there is another to beside, by quality, in the order of the rows.

    Args:
        rows: of one section.
        rank: the column that they are ranked by, if any.
    """
    fitted, others = ([row for row in rows if is_fitted(row) is wanted] for wanted in (True, False))
    if not fitted:
        return []
    found = list[FitGain]()
    for quality in map(of_key, dict.fromkeys([*([rank] if rank else []), _MEDIAN])):
        pairs = [(row, best) for row in fitted if (best := _beside(row, others, quality)) is not None]
        gaps = [gap(row, best, quality) for row, best in pairs]
        tests = zip(pairs, gaps, holm([each.p for each in gaps]), strict=True)
        found += [FitGain(*pair, quality, each, p) for pair, each, p in tests]
    return found


def _beside(row: Row, others: Sequence[Row], quality: Quality) -> Row | None:
    """The best that is not fitted; None if there is none, or one of them has no value."""
    if not known(row.get(quality.key)) or not known(row["nfe"]):
        return None
    names = (*_ALIKE, *quality.within)
    kinds = [each for each in others if all(str(each.get(name)) == str(row.get(name)) for name in names)]
    alike = [each for each in kinds if known(each.get(quality.key))]
    own = [each for each in alike if each["sampler"] == row["sampler"] and each["nfe"] == row["nfe"]]
    rivals = own or [
        each for each in alike if known(each["nfe"]) and each["nfe"] <= row["nfe"] and not each["baseline"]
    ]
    return min(rivals, key=quality.order, default=None)


def fit_columns(found: Sequence[FitGain]) -> list[Column]:
    """The table: a line for each fitted row and quality."""
    rows = [each.row for each in found]
    several = len({each.quality for each in found}) > 1
    models = [words("Model", [row["model"] for row in rows])] if any(map(guest, rows)) else []
    gaps = [each.quality.signed(each.gap.value, half_width(each.gap.error)) for each in found]
    halves = [each.quality.half(half_width(each.gap.error)) for each in found]
    return [
        *([words("Metric", [each.quality.name for each in found])] if several else []),
        *models,
        words("Fitted", [setting(row) for row in rows]),
        numbers("NFE", [significant(row["nfe"]) if row["nfe"] % 1 else f"{row['nfe']:,.0f}" for row in rows]),
        words("Best that is not", [_other(each) for each in found]),
        numbers("Value", [scientific(each.row[each.quality.key]) for each in found]),
        numbers("Its value", [scientific(each.best[each.quality.key]) for each in found]),
        marked("Δ", gaps, halves, [ALIKE if each.alike else "" for each in found]),
        numbers("Fit NFE", [f"{row['fit_nfe']:,.0f}" for row in rows]),
        numbers("In images", [f"{row['fit_nfe'] / row['nfe']:,.0f}" for row in rows]),
    ]


def _other(found: FitGain) -> str:
    """What the other row is, as far as it differs."""
    row, best = found.row, found.best
    return str(best["grid"]) if (best["sampler"], best["steps"]) == (row["sampler"], row["steps"]) else setting(best)


def fit_notes(found: Sequence[FitGain]) -> list[str]:
    """The sentences under the table."""
    names = " or ".join(dict.fromkeys(each.quality.name for each in found))
    lines = [
        f"{names}, of what was fitted to the model and of the best that was not: of the same sampler with as many "
        "evaluations, or of all with as many or fewer where the sampler is what was fitted. The best is chosen by "
        "these very values, which favours it."
    ]
    if any(known(half_width(each.gap.error)) for each in found):
        lines.append(
            "Δ: the first less the second; ±: half the 95 % interval, of the same images in pairs where they are."
        )
    if any(each.alike for each in found):
        lines.append(f"{ALIKE}: cannot be told from 0 (p > 0.05, by Holm's procedure for all rows of a metric).")
    if any(each.p_holm is None for each in found):
        lines.append("What has no interval is not tested.")
    lines.append(
        "Fit NFE: network evaluations of the whole fit, once for all images and seeds, which NFE and times leave out; "
        "in images: of how many images they would be the evaluations."
    )
    return lines


def fitted_note(rows: Sequence[Row]) -> str | None:
    """What was fitted first, and what that took; None where nothing was."""
    fitted = [row for row in rows if is_fitted(row)]
    if not fitted:
        return None
    names = list(dict.fromkeys(f"{row['sampler']} on {row['grid']}" for row in fitted))
    costs = [f"{cost:,.0f}" for cost in sorted(row["fit_nfe"] for row in fitted)]
    took = " to ".join(dict.fromkeys((costs[0], costs[-1])))
    return f"Fitted to the model first, with {took} evaluations that NFE and times leave out: {named(names, _NAMED)}."
