"""Two runs that are compared, as Markdown and as a page: what became better or worse on top, then every setting."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from bench.escape import markdown_text
from bench.report.data.changes import Aspect, aspects
from bench.report.data.columns import rows_of
from bench.report.data.compare import Verdict
from bench.report.data.text import NOTHING, Column, flat, known_text, named, numbers, words
from bench.report.tables.markup import html_table, markdown_table, templates
from models.common.words import counted

_MOST = 12
"""Settings of one quality that are named on top; the table has all."""

HEADINGS: dict[Verdict, str] = {
    "better": "Better",
    "worse": "Worse",
    "not told": "Cannot be told",
    "same": "The same",
    "not tested": "Not tested",
}
"""What verdicts are called."""
_NOTES = (
    "All numbers: a → b. The change is b less a with its 95 % interval or, of times, b over a: below 1 is faster.",
    "Better, worse: a quality's p is at most 0.05 by Holm's procedure for all settings that differ at all, in pairs "
    "of the same images where both ran on these, else by Welch's t-test; a time's 95 % interval does not hold 1. Times "
    "are not corrected for their number: of 20 that did not change, at least one would seem to.",
    "Cannot be told: as large a change comes about by chance. That it is not there is not shown.",
    "Not tested: there is no interval, as of one seed's KID, precision and recall, of less than five rounds of timing, "
    "or of times that do not hold up. The same: to the last digit.",
    "Two runs were timed in two sittings: what the machine was like in each is not in the interval of the ratio.",
)


@dataclass(frozen=True)
class _Part:
    """A heading, with what stands under it."""

    heading: str
    lines: Sequence[str]
    kind: str = ""


@dataclass(frozen=True)
class Compared:
    """All that is said of a comparison.

    Attributes:
        title: what is compared.
        answers: sentences.
        counts: how many settings have which verdict, a row for each quality; None if nothing can be compared.
        parts: which those are, and what else there is to say.
        table: every setting.
    """

    title: str
    answers: list[str]
    counts: list[Column] | None
    parts: list[_Part]
    table: list[Column]


def comparison_markdown(frame: pd.DataFrame) -> str:
    """All of it, as Markdown."""
    return _markdown(compared(frame))


def comparison_html(frame: pd.DataFrame) -> str:
    """All of it, as a page that needs no other file and no network."""
    template = templates(Path(__file__).parent).get_template("comparison.html.j2")
    # each cell has been escaped
    return template.render(said=compared(frame), notes=_NOTES, table=lambda *of: Markup(html_table(*of)))


def _markdown(said: Compared) -> str:
    parts = [f"## {markdown_text(said.title)}", *(f"**{markdown_text(line)}**" for line in said.answers)]
    parts += [] if said.counts is None else [markdown_table(said.counts)]
    for part in said.parts:
        parts += [f"### {markdown_text(part.heading)}", "\n".join(f"- {markdown_text(line)}" for line in part.lines)]
    if said.table[0].cells:
        parts += ["### All settings", markdown_table(said.table), "\n".join(f"- {line}" for line in _NOTES)]
    return "\n\n".join(parts) + "\n"


def compared(frame: pd.DataFrame) -> Compared:
    """What `compare` gives, in words and columns."""
    a, b = (flat(name) for name in frame.attrs["runs"])
    found, rows = aspects(frame), rows_of(frame)
    several = frame["reason"].map(lambda value: value if known_text(value) else None)
    lone = [
        _Part(f"Only in {run}", _names(frame[several == f"no result in {end}"])) for run, end in ((a, "b"), (b, "a"))
    ]
    apart = several.dropna()[~several.dropna().str.startswith("no result")]
    reasons = [_told(reason, frame[several == reason]) for reason in dict.fromkeys(apart)]
    untimed = frame["latency_note"]
    doubts = [_told(flat(note), frame[untimed == note]) for note in dict.fromkeys(untimed.dropna())]
    parts = [
        *(_Part(heading, _verdicts(found, verdict), verdict) for verdict, heading in list(HEADINGS.items())[:3]),
        _Part("Not compared", reasons),
        _Part("Times that are not tested", doubts),
        *lone,
        _Part("What they share nothing of", [] if found else frame.attrs["apart"]),
        _Part("What measured them differs", frame.attrs["differ"]),
        _Part("Broken files, which count for nothing", list(dict.fromkeys(frame.attrs["broken"]))),
    ]
    return Compared(
        f"{b} beside {a}",
        [f"a: {a}. b: {b}.", *(_answer(each) for each in found[:2])] if found else [_nothing(len(rows))],
        _counts(found) if found else None,
        [part for part in parts if part.lines],
        _table(frame, found),
    )


def _nothing(settings: int) -> str:
    return "No cell of one run can be compared with one of the other." if settings else "Neither run has a result."


_SAID: dict[Verdict, str] = {
    "better": "better in b",
    "worse": "worse in b",
    "not told": "cannot be told from chance",
    "same": "the same",
    "not tested": "not tested",
}


def _answer(aspect: Aspect) -> str:
    """How many settings became what."""
    counts = {verdict: len(aspect.having(verdict)) for verdict in _SAID}
    told = [f"{counts[each]} {said}" for each, said in _SAID.items() if counts[each] or each in ("better", "worse")]
    name = aspect.name.rstrip(" ↓↑")
    return f"{name}, of {counted(sum(counts.values()), 'setting')} that both have: {', '.join(told)}."


def _counts(found: Sequence[Aspect]) -> list[Column]:
    counts = [
        numbers(heading, [f"{len(each.having(verdict)):,}" for each in found]) for verdict, heading in HEADINGS.items()
    ]
    return [words("", [each.name for each in found]), *counts]


def _verdicts(found: Sequence[Aspect], verdict: Verdict) -> list[str]:
    """The settings of a verdict, by quality; of those that cannot be told no more than their names."""
    lines = list[str]()
    for each in found:
        rows = each.having(verdict)
        if verdict == "not told":
            lines += [f"{each.name}: {named([row['setting'] for row in rows], _MOST)}"] if rows else []
            continue
        lines += [f"{each.name}: {each.sentence(row)}" for row in rows[:_MOST]]
        lines += [f"{each.name}: {len(rows) - _MOST:,} more, in the table"] if len(rows) > _MOST else []
    return lines


def _names(frame: pd.DataFrame) -> list[str]:
    return [named([flat(name) for name in frame["setting"]], _MOST)] if len(frame) else []


def _told(reason: str, frame: pd.DataFrame) -> str:
    return f"{reason}: {named([flat(name) for name in frame['setting']], _MOST)}"


def _table(frame: pd.DataFrame, found: Sequence[Aspect]) -> list[Column]:
    """Every setting, with both values, the change and the verdict of each aspect."""
    rows = rows_of(frame)
    shown = [words("Setting", [row["setting"] for row in rows])]
    for each in found:
        verdicts = [each.verdict(row) for row in rows]
        told = [NOTHING if verdict is None else HEADINGS[verdict].lower() for verdict in verdicts]
        name = each.name.rstrip(" ↓↑")
        shown.append(numbers(each.name, [each.values(row) for row in rows]))
        shown.append(numbers(f"Change of {name}", [each.change(row) for row in rows]))
        verdict = words(f"{name} is", told)
        shown.append(Column(verdict.heading, told, told, [one == "better" for one in verdicts], number=False))
    reasons = [row["reason"] if known_text(row["reason"]) else "" for row in rows]
    return [*shown, *([words("Why not compared", reasons)] if any(reasons) else [])]
