"""The table of published against measured values, as columns of text for every rendering."""

from collections.abc import Callable, Sequence

from bench.report.data.columns import known
from bench.report.data.published import Comparison, count, open_points
from bench.report.tables.display import NOTHING, Column

TITLE = "Published against measured"

NOTE = (
    "Difference: of the measured from the published value. ±: half the 95 % interval of the measured one. A verdict is "
    "only given where column and number of images are those of the source."
)


def below(found: Sequence[Comparison]) -> list[str]:
    """The sentences under the table: the count first, and what is open about the protocols last."""
    return [count(found), NOTE, *open_points(found)]


def comparison_columns(found: Sequence[Comparison]) -> list[Column]:
    """The table, in the order of the study."""
    decimals = max((_decimals(each.published) for each in found), default=0)
    measured = [NOTHING if each.measured is None else f"{each.measured:,.{decimals}f}" for each in found]
    spread = [f" ± {each.ci:,.{decimals}f}" if known(each.ci) else "" for each in found]
    modes = _texts("Mode", found, lambda each: each.mode or NOTHING)
    right = [each.verdict == "within" for each in found]
    return [
        _texts("Source", found, lambda each: each.source),
        _texts("Sampler", found, lambda each: each.sampler or NOTHING),
        _texts("Grid", found, lambda each: each.grid or NOTHING),
        *([modes] if len(set(modes.cells)) > 1 else []),
        _numbers("Steps", found, lambda each: NOTHING if each.steps is None else f"{each.steps:,}"),
        _numbers("NFE", found, lambda each: NOTHING if each.nfe is None else f"{each.nfe:,.6g}"),
        _texts("Metric", found, lambda each: each.column),
        _numbers("Published", found, lambda each: f"{each.published:,.{decimals}f}"),
        Column("Measured", [m + s for m, s in zip(measured, spread, strict=True)], measured, [False] * len(found)),
        _numbers("Difference", found, _difference),
        Column("Verdict", [each.words for each in found], [each.words for each in found], right, number=False),
    ]


def _difference(each: Comparison) -> str:
    return NOTHING if each.difference is None else f"{100 * each.difference:+.1f} %"


def _decimals(value: float) -> int:
    """Decimals that a published number is written with, at most 4: that many, a source rarely has more."""
    return min(4, len(f"{value:.10f}".rstrip("0").partition(".")[2]))


def _texts(heading: str, found: Sequence[Comparison], text: Callable[[Comparison], str]) -> Column:
    cells = [text(each) for each in found]
    return Column(heading, cells, cells, [False] * len(cells), number=False)


def _numbers(heading: str, found: Sequence[Comparison], text: Callable[[Comparison], str]) -> Column:
    cells = [text(each) for each in found]
    return Column(heading, cells, cells, [False] * len(cells))
