"""The answer of a run whose images grow, and the table of the settings that it left out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from bench.model_record import Floors
from bench.report.data.answer import Answer, Comparison, near_noise, rounded_up
from bench.report.data.columns import Row, guidance_column, setting
from bench.report.data.distances import of_key
from bench.report.data.gaps import good_enough
from bench.report.data.looks import LESS, Decisions, LeftOut
from bench.report.data.significance import row_error, t_quantile
from bench.report.data.text import NOTHING, Column, decimals_for, known, named, numbers, percent, scientific, words
from models.common.words import counted

TITLE = "Left out before the end"

_SURE = f"95 %, over all looks and settings; costs to {percent(1 - LESS)}"
_STEADY = (
    "Times that decide are those of a steady machine: evaluations at the network's median time, and what the sampler "
    "takes beside them."
)
_OPEN = 3
"""Settings that are named of those that are still in question."""


def can_be_decided(decisions: Decisions) -> bool:
    """Whether the run has a baseline with all that others are compared with, and something beside it."""
    row, rank = decisions.baseline, decisions.rank
    return row is not None and rank is not None and known(row.get(rank)) and known(row[decisions.cost])


def decided_answer(decisions: Decisions, rows: Sequence[Row], floors: Floors | None = None) -> Answer:
    """The answer as far as it is decided.

    Args:
        decisions: that `can_be_decided`.
        rows: of the same look, with the times that were measured, which figures show.
        floors: see `bench.report.data.answer.answer`.
    """
    baseline, rank = decisions.baseline, decisions.rank
    assert baseline is not None, "see can_be_decided"
    assert rank is not None, "see can_be_decided"
    beside = Comparison(baseline, rank, decisions.tolerance, decisions.cost, " as on a steady machine")
    winner = None if decisions.winner is None else decisions.rows[decisions.winner]
    so_far = f"{decisions.images:,} of {decisions.looks[-1]:,} images"
    near = f"{_not_compared(decisions)}{near_noise(baseline, rank, floors)}"
    if not decisions.decided:
        sentence = f"Not decided with {so_far}: {_open(decisions, beside, winner)}."
    elif winner is None:
        sentence = (
            f"No setting whose {rank} is within {percent(decisions.tolerance)} of the baseline's "
            f"{beside.baseline_words} {beside.cheaper} it: decided with {so_far} ({_SURE})."
        )
    else:
        sentence = f"{_found(beside, winner)}. Decided with {so_far} ({_SURE})."
    found = Answer(sentence + near, decisions.tolerance, _as_measured(baseline, rows), cost=decisions.cost)
    if winner is None:
        return found
    speedup = float(baseline[decisions.cost]) / float(winner[decisions.cost])
    return replace(found, winner=_as_measured(winner, rows), speedup=speedup)


def _as_measured(row: Row, rows: Sequence[Row]) -> Row:
    return next(each for each in rows if each["cells"] == row["cells"])


def _not_compared(decisions: Decisions) -> str:
    """A warning of settings that the answer says nothing of."""
    reasons = Counter(each.reason for each in decisions.out.values() if not each.compared)
    told = ", ".join(f"{count:,}: {reason}" for reason, count in reasons.items())
    return f" Not compared: {counted(reasons.total(), 'setting')} ({told})." if told else ""


def _found(beside: Comparison, winner: Row) -> str:
    return (
        f"{setting(winner)} ({counted(winner['nfe'], 'evaluation')}) is the {beside.best} whose {beside.fd} "
        f"({scientific(winner[beside.fd])}) is shown to be within {percent(beside.tolerance)} of the baseline's "
        f"{beside.baseline_words}: {beside.gain(winner)}"
    )


def _open(decisions: Decisions, beside: Comparison, winner: Row | None) -> str:
    """Who is still in question, and how many images would probably decide it."""
    baseline, least = beside.baseline, winner or beside.baseline
    rows = [row for row in decisions.rows.values() if row[decisions.cost] < LESS * least[decisions.cost]]
    rows = [row for row in rows if row is not winner and not row["baseline"]]
    words = named([setting(row) for row in rows], _OPEN)
    quality = of_key(beside.fd)
    claims = [good_enough(row, baseline, quality, decisions.tolerance) for row in rows]
    images = [claim.images for claim in claims if claim is not None and claim.images is not None]
    wanted = f"; some {rounded_up(max(images)):,} images would probably tell" if images else ""
    within = f"within {percent(decisions.tolerance)} of the baseline's {beside.fd} {beside.baseline_words}"
    best = "" if winner is None else f"{_found(beside, winner)}, but "
    return f"{best}it is not shown whether {words} {'is' if len(rows) == 1 else 'are'} {within}{wanted}"


def left_out_columns(found: Sequence[LeftOut]) -> list[Column]:
    """The table of settings that are compared no more, each beside the baseline of as many images."""
    rows = [each.row for each in found]
    return [
        words("Sampler", [each.row["sampler"] for each in found]),
        words("Grid", [each.row["grid"] for each in found]),
        *guidance_column(rows),
        numbers("Steps", [f"{each.row['steps']:,}" for each in found]),
        numbers("NFE", [f"{each.row['nfe']:,.6g}" if known(each.row.get("nfe")) else NOTHING for each in found]),
        numbers("Images", [f"{each.row['images']:,}" for each in found]),
        numbers("Distance", [_value(each.row, each.rank) for each in found]),
        numbers("Baseline's", [_value(each.baseline, each.rank) for each in found]),
        words("Why", [_why(each) for each in found]),
    ]


def _why(out: LeftOut) -> str:
    return out.reason if out.other is None else f"no better than {setting(out.other)}"


def left_out_summary(found: Sequence[LeftOut]) -> list[Column]:
    """The short form: how many settings were left out at each look, and why."""
    counts = Counter((int(each.row["images"]), each.reason) for each in found)
    return [
        numbers("Images", [f"{images:,}" for images, _ in counts]),
        numbers("Left out", [f"{count:,}" for count in counts.values()]),
        words("Why", [reason for _, reason in counts]),
    ]


def _value(row: Row | None, rank: str | None) -> str:
    """A distance with half its 95 % interval, where it has one."""
    if row is None or rank is None or not known(row.get(rank)):
        return NOTHING
    error, value = row_error(row, of_key(rank)), float(row[rank])
    half = "" if error is None else f" ± {t_quantile(error.freedom) * error.value:.{decimals_for(value)}f}"
    return f"{scientific(value)}{half}"


def left_out_notes(decisions: Decisions) -> list[str]:
    """The sentences under it."""
    looks = ", ".join(f"{images:,}" for images in decisions.looks[: decisions.done])
    return [
        f"Looks were taken at {looks} images a setting. Each row has as many images as its setting had when it was "
        "left out, and stands beside the baseline of as many; rows of other numbers of images are not to be compared. "
        f"No better: not shown to be better (95 %, as all here), nor less than {percent(LESS)} of the cost."
        f"{' ' + _STEADY if decisions.cost != 'nfe' else ''}"
    ]
