"""A choice of rows: what tables and figures show of some runs, and what they say of the rest."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.report.data.columns import SETTING
from bench.report.data.text import known, known_text, named
from models.common.errors import UsageError
from models.plugins.registry import unknown
from models.plugins.specs import split_outside_brackets

_CONDITION = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|!=|=|<|>)\s*(.+?)\s*")
_ORDERS = {
    "<": lambda value, limit: value < limit,
    "<=": lambda value, limit: value <= limit,
    ">": lambda value, limit: value > limit,
    ">=": lambda value, limit: value >= limit,
}
_NAMED = 12
"""Values that an error lists."""


@dataclass(frozen=True)
class Selection:
    """Which records are shown, beside the baseline's, which all others are measured against.

    Attributes:
        samplers: names, of whatever parameters, or names with parameters; none: all.
        only: conditions such as "grid=trailing", "nfe<=20" or "family!=SDE". Those on one column that ask for
            equality are alternatives; of all others, and of several columns, each has to hold.
    """

    samplers: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.samplers or self.only)

    @property
    def words(self) -> str:
        samplers = [f"samplers {', '.join(self.samplers)}"] if self.samplers else []
        return "; ".join([*samplers, *self.only])


def of_texts(samplers: str | None, only: Sequence[str]) -> Selection:
    """A selection as a command gives it: samplers with commas between them, and conditions."""
    names = () if samplers is None else tuple(filter(None, split_outside_brackets(samplers)))
    if samplers is not None and not names:
        raise UsageError("no sampler was named; expected names with commas between them, such as ddim,unipc")
    return Selection(names, tuple(only))


def selected(cells: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """The records that are shown; of the baseline all, but of other seeds than are asked for.

    Raises:
        UsageError: a sampler or a value that no record has, a column that there is not, or a selection of nothing.
    """
    shown = _of_samplers(cells, selection.samplers) & _that_hold(cells, selection.only)
    if not shown.any():
        raise UsageError(f"no record is in the selection ({selection.words}); leave a condition out")
    seeds = _that_hold(cells, [each for each in selection.only if _read(each)[0] == "seed"])
    return cells[shown | (cells["baseline"].astype(bool) & seeds)]


def left_out(cells: pd.DataFrame, shown: pd.DataFrame, selection: Selection) -> str:
    """What is said wherever a selection is shown, so that nobody takes it for the whole."""
    total, kept = (each[list(SETTING)].astype(str) for each in (cells, shown))
    settings = f"{len(kept.drop_duplicates()):,} of {len(total.drop_duplicates()):,} settings"
    fewer = len(shown) < total.apply(tuple, axis=1).isin(set(kept.apply(tuple, axis=1))).sum()
    records = f", {len(shown):,} of {len(cells):,} records," if fewer else ""
    return (
        f"A selection: {settings}{records} are shown ({selection.words}; and the baseline). What is best, marks, "
        "fronts and the answer are among these alone."
    )


def _of_samplers(cells: pd.DataFrame, samplers: Sequence[str]) -> "pd.Series[bool]":
    if not samplers:
        return pd.Series(data=True, index=cells.index)
    specs = cells["sampler"].astype(str)
    names = specs.str.partition("[")[0]
    there = dict.fromkeys([*names, *specs])
    for each in samplers:
        if each not in there:
            raise _not_measured(each, there)
    return specs.isin(samplers) | names.isin(samplers)


def _not_measured(sampler: str, there: Iterable[str]) -> UsageError:
    """That of a sampler that no record is of, be it one that there is elsewhere or none."""
    names = sorted(there)
    close = difflib.get_close_matches(sampler, names, n=1, cutoff=0.5)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    return UsageError(f"no record has the sampler {sampler!r}.{meant} There is: {', '.join(names)}")


def _that_hold(cells: pd.DataFrame, only: Sequence[str]) -> "pd.Series[bool]":
    conditions = [_read(each) for each in only]
    shown = pd.Series(data=True, index=cells.index)
    for name in dict.fromkeys(name for name, sign, _ in conditions if sign == "="):
        wanted = [value for other, sign, value in conditions if (other, sign) == (name, "=")]
        shown &= _any_of(cells, name, wanted)
    for name, sign, value in conditions:
        if sign == "!=":
            shown &= ~_any_of(cells, name, [value])
        elif sign != "=":
            limit = _number(value, f"{name}{sign}{value}")
            numbers = [float(each) if _is_number(each) else None for each in _values(cells, name)]
            if not any(each is not None for each in numbers):
                raise UsageError(f"{name} has no numbers, so that none is {sign} {value}; take = or !=")
            holds = [each is not None and bool(_ORDERS[sign](each, limit)) for each in numbers]
            shown &= pd.Series(holds, index=cells.index)
    return shown


def _read(condition: str) -> tuple[str, str, str]:
    found = _CONDITION.fullmatch(condition)
    if found is None:
        raise UsageError(
            f"cannot read the condition {condition!r}; expected COLUMN=VALUE, or !=, <, <=, >, >= in place of =, such "
            "as grid=trailing or nfe<=20"
        )
    return found[1], found[2], found[3]


def _values(cells: pd.DataFrame, name: str) -> list[Any]:
    """A column of the records; what failed has as many evaluations as were declared."""
    plain = [
        str(each) for each in cells.columns if not cells[each].map(lambda value: isinstance(value, list | dict)).any()
    ]
    if name not in plain:
        raise unknown("column", name, plain)
    if name == "nfe" and "nfe_declared" in cells:
        return cells["nfe"].where(cells["nfe"].notna(), cells["nfe_declared"]).tolist()
    found: list[Any] = cells[name].tolist()
    return found


def _any_of(cells: pd.DataFrame, name: str, wanted: Sequence[str]) -> "pd.Series[bool]":
    values = _values(cells, name)
    for each in wanted:
        if not any(_is(value, each) for value in values):
            there = named(list(dict.fromkeys(map(_text, values))), _NAMED)
            raise UsageError(f"no record has {name} = {each}; there is: {there}")
    return pd.Series([any(_is(value, each) for each in wanted) for value in values], index=cells.index)


def _text(value: Any) -> str:
    """A value as a condition writes it: 10 for 10.0, and none for what is not there."""
    if not known_text(value):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if _is_number(value) else str(value)


def _is(value: Any, text: str) -> bool:
    """Whether a value is what a condition asks for."""
    if _is_number(value):
        try:
            return float(text) == float(value)
        except ValueError:
            return False
    return _text(value) == (text.lower() if isinstance(value, bool) else text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and known(value)


def _number(text: str, condition: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{text!r} in {condition} is no number; of words take = or !=") from None
