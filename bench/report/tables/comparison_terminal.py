"""Two runs that are compared, on the terminal: what became better or worse on top, then the settings that both have."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from bench.escape import terminal_text
from bench.report.data.changes import Aspect, aspects
from bench.report.data.text import Column, numbers, words
from bench.report.tables.comparison import HEADINGS, Compared, compared
from bench.report.tables.terminal import drawn

_ROWS = 20
"""Settings of a table; files have all."""
_TIED = "\N{NO-BREAK SPACE}"
_TABLES = 2
"""Aspects that have a table: what rows are ranked by, and the time."""


def terminal_comparison(frame: pd.DataFrame) -> Group:
    """All of it but the settings beyond a page, and the numbers of what rows are not ranked by."""
    said, found = compared(frame), aspects(frame)
    parts: list[RenderableType] = [Text(terminal_text(said.title), style="bold"), *map(_line, said.answers)]
    if said.counts is not None:
        parts.append(drawn([replace(each, heading=_stacked(each.heading)) for each in said.counts], [], ()))
    parts += map(_table, found[:_TABLES])
    lists = [*_others(found[_TABLES:]), *((part.heading, part.lines) for part in said.parts if not part.kind)]
    for heading, lines in lists:
        parts.append(Group(Text(terminal_text(heading), style="bold"), *(_line(f"- {each}") for each in lines)))
    if found:
        parts.append(_line(_files(said)))
    spaced = [each for part in parts for each in (part, Text(""))]
    return Group(*spaced[:-1])


def _line(text: str) -> Text:
    return Text(terminal_text(text))


def _files(said: Compared) -> str:
    return (
        f"All {len(said.table[0].cells):,} settings, all qualities, and what the words mean: --format md,csv,html. "
        "Better, worse: 95 % sure, of a quality by Holm's procedure over all settings."
    )


def _stacked(heading: str) -> str:
    """A heading of several words on two lines."""
    first, _, others = heading.rstrip(" ↓↑").partition(" ")
    return f"{first}\n{others}".strip().replace(" ", _TIED)


def _table(aspect: Aspect) -> RenderableType:
    """The settings of an aspect, better ones first; of one verdict those that changed most."""
    rows = [(verdict, row) for verdict in HEADINGS for row in aspect.having(verdict)]
    shown = rows[:_ROWS]
    verdicts = [HEADINGS[verdict].lower() for verdict, _ in shown]
    told = words(f"b{_TIED}is", verdicts)
    columns = [
        words("Setting", [str(row["setting"]) for _, row in shown]),
        numbers(f"{aspect.name}\na → b".replace(" ", _TIED), [aspect.values(row) for _, row in shown]),
        numbers("Change", [aspect.change(row) for _, row in shown]),
        Column(told.heading, told.cells, told.brief, [each in ("better", "worse") for each in verdicts], number=False),
    ]
    lines = [f"The first {_ROWS} of {len(rows):,} settings that both have."] if len(rows) > _ROWS else []
    return drawn(columns, lines, ())


def _others(found: Sequence[Aspect]) -> list[tuple[str, list[str]]]:
    """What became better or worse in what has no table."""
    parts = []
    for verdict in ("better", "worse"):
        lines = [f"{each.name}: {each.sentence(row)}" for each in found for row in each.having(verdict)]
        more = [f"{len(lines) - _ROWS:,} more"] if len(lines) > _ROWS else []
        parts += [(f"{verdict.capitalize()}, too", [*lines[:_ROWS], *more])] if lines else []
    return parts
