"""A table as a tabular of LaTeX: numbers aligned, best values bold, rules."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.escape import latex_text
from bench.report.data.text import NOTHING, Column
from bench.report.data.view import Numbers
from bench.report.tables.paper import FAILED

NAME, LIST = 46, 26
"""Characters of a line of names, which longer ones take several of, and of a list of names that stands last."""
_SMALL = 0.7
"""How wide the characters of intervals are, beside others."""
_RULES = {
    "siunitx": (r"\toprule", r"\midrule", r"\bottomrule"),
    "plain": (r"\hline", r"\hline", r"\hline"),
}


NAMED, LISTED = r"p{20em}", r"p{0.3\linewidth}"


def layout_of(column: Column, last: bool) -> str:
    """The letter of a column of words; long names, and a list of names that stands last, take several lines."""
    if column.number:
        return "r"
    return LISTED if last else NAMED if max(map(len, column.cells), default=0) > NAME else "l"


def breakable(text: str, least: int = 30) -> str:
    """Text of LaTeX whose words of so many characters may break beside their signs, and where capitals begin."""
    return re.sub(rf"\S{{{least},}}", lambda word: _BREAKS.sub(r"\g<0>\\allowbreak{}", word[0]), text)


_BREAKS = re.compile(r"(?<=\w)[/:.,=+](?=\w)|\\_|(?<=[a-z])(?=[A-Z])|[A-Za-z]{20}(?=[A-Za-z])")

_CELL = re.compile(r"(\([\d.,]+\) )?([+-]?[\d,]*\.?\d+)(e-?\d+)?( ± [\d.,]+(?:e-?\d+)?)?((?: [†‡§]+)?)")
"""A number as columns have it: what stands before it, its digits, its exponent, half its interval, its marks."""
_WORDS = ("", NOTHING, FAILED)


@dataclass(frozen=True)
class _Number:
    """A cell taken apart; all is empty but the word of one that is no number."""

    before: str = ""
    digits: str = ""
    exponent: str = ""
    half: str = ""
    marks: str = ""
    word: str = ""

    @property
    def after(self) -> str:
        """What stands behind the digits, the interval smaller."""
        half = self.half and f"\\,{{\\scriptsize{latex_text(self.half.strip())}}}"
        return f"{half}{self.marks and f'{chr(92)},{latex_text(self.marks.strip())}'}"


def _numbers(column: Column) -> list[_Number] | None:
    """The cells as numbers; None of a column that holds anything else."""
    found = list[_Number]()
    for cell in column.cells:
        match = _CELL.fullmatch(cell)
        if match is None and cell not in _WORDS:
            return None
        found.append(_Number(word=cell) if match is None else _Number(*(each or "" for each in match.groups())))
    return found if column.number and any(each.digits for each in found) else None


def width_of(column: Column, last: bool = False) -> float:
    """Characters that a column takes, about."""
    parts = _numbers(column)
    if parts is None:
        most = LIST if layout_of(column, last) == LISTED else NAME
        return 1.5 + max(min(most, len(each)) for each in (column.heading, *column.cells))
    widths = [len(f"{n.before}{n.digits}{n.exponent}{n.marks}{n.word}") + _SMALL * len(n.half) for n in parts]
    return 1.5 + max(len(column.heading), *widths)


def latex_table(
    shown: Sequence[Column], numbers: Numbers = "siunitx", groups: Sequence[int] = (), cited: Sequence[str] = ()
) -> str:
    """A tabular, best values bold.

    Args:
        shown: its columns.
        numbers: how numbers are aligned.
        groups: the rows that are headings of those below, which have a rule above them.
        cited: by row, what follows its name.
    """
    top, between, bottom = _RULES[numbers]
    columns = [_column(each, numbers, each is shown[-1], cited if n == 0 else ()) for n, each in enumerate(shown)]
    width = sum(each.width for each in columns)
    heading, *rows = (" & ".join(line) + r" \\" for line in zip(*(each.cells for each in columns), strict=True))
    for n in groups:
        name = latex_text(shown[0].cells[n])
        rows[n] = f"\\multicolumn{{{width}}}{{l}}{{\\textbf{{{name}}}}} \\\\"
    ruled = [line for n, row in enumerate(rows) for line in ([between, row] if n in groups and n else [row])]
    body = "\n".join([top, heading, between, *ruled, bottom])
    return f"\\begin{{tabular}}{{{''.join(each.layout for each in columns)}}}\n{body}\n\\end{{tabular}}\n"


@dataclass(frozen=True)
class _Written:
    """A column as LaTeX: its letters, how many columns of a tabular it is, and its cells, the heading first."""

    layout: str
    width: int
    cells: list[str]


def _column(column: Column, numbers: Numbers, last: bool, cited: Sequence[str]) -> _Written:
    parts = _numbers(column)
    if parts is None:
        return _of_words(column, last, cited)
    # siunitx makes no number bold that something stands before
    if numbers == "plain" or any(best and n.before for best, n in zip(column.best, parts, strict=True)):
        return _of_two(column, parts)
    return _aligned(column, parts)


def _of_words(column: Column, last: bool, cited: Sequence[str]) -> _Written:
    """Text: numbers with units to the right; a list of names that stands last, and long names, on several lines."""
    layout = layout_of(column, last)
    texts = [breakable(text, 12) if layout.startswith("p") else text for text in map(latex_text, column.cells)]
    texts = [f"{text}{also}" for text, also in zip(texts, cited or [""] * len(texts), strict=True)]
    cells = [f"\\textbf{{{text}}}" if best else text for text, best in zip(texts, column.best, strict=True)]
    if layout.startswith("p"):
        # in the last column, a row ends where a ragged line would
        ends = r"\let\\\tabularnewline" if last else ""
        cells = [f"\\raggedright{ends} {each}" for each in cells]
    return _Written(layout, 1, [latex_text(column.heading), *cells])


def _of_two(column: Column, parts: Sequence[_Number]) -> _Written:
    """Numbers to the right, and what follows them to the left: their decimals, as many in each, stand aligned."""
    bold = [r"\textbf{%s}" if best else "%s" for best in column.best]
    front = [
        n.before + form % f"{n.digits}{n.exponent}".replace("-", "$-$") if n.digits else latex_text(n.word)
        for form, n in zip(bold, parts, strict=True)
    ]
    if not any(n.after for n in parts):
        return _Written("r", 1, [latex_text(column.heading), *front])
    cells = [f"{text} & {n.after}" for text, n in zip(front, parts, strict=True)]
    return _Written("r@{}l", 2, [f"\\multicolumn{{2}}{{c}}{{{latex_text(column.heading)}}}", *cells])


def _aligned(column: Column, parts: Sequence[_Number]) -> _Written:
    """A column of siunitx, with room for what stands before and behind its numbers."""
    plain = [n.digits.replace(",", "") for n in parts if n.digits]
    whole = max(len(each.lstrip("+-").partition(".")[0]) or 1 for each in plain)
    decimals = max(len(each.partition(".")[2]) for each in plain)
    sign = next((sign for sign in "+-" if any(each.startswith(sign) for each in plain)), "")
    exponent = _exponent([n.exponent for n in parts if n.exponent])
    before, after = max((n.before for n in parts), key=len), max((n.after for n in parts), key=_length)
    options = [f"table-format={sign}{whole}.{decimals}{exponent}"]
    options += ["retain-explicit-plus"] if sign == "+" else []
    options += ["group-separator={,},group-minimum-digits=4"] if whole > 3 else []
    options += [f"table-space-text-pre={{{before.strip()}\\,}}"] if before else []
    options += [f"table-space-text-post={{{after}}}"] if after else []
    options += [r"output-exponent-marker=\ensuremath{\mathrm{e}}"] if exponent else []
    cells = [f"{{{latex_text(column.heading)}}}"]
    for n, best in zip(parts, column.best, strict=True):
        if not n.digits:
            cells.append(f"{{{latex_text(n.word)}}}" if n.word else "")
            continue
        # siunitx keeps room for digits that are not bold, which are narrower
        weight, thin = (r"\bfseries ", r"\mdseries ") if best else ("", "")
        front = f"{{{thin}{n.before.strip()}\\,}} " if n.before else ""
        behind = f" {{{thin}{n.after}}}" if n.after else ""
        cells.append(f"{weight}{front}{n.digits.replace(',', '')}{n.exponent}{behind}")
    return _Written(f"S[{','.join(options)}]", 1, cells)


def _exponent(found: Sequence[str]) -> str:
    """The part of a table's format that holds some exponents, such as "e-1"."""
    digits = [each.removeprefix("e").removeprefix("-") for each in found]
    return f"e{'-' * any('-' in each for each in found)}{max(map(len, digits))}" if found else ""


def _length(after: str) -> int:
    """About how long what follows a number is, with its commands."""
    return len(re.sub(r"\\[a-z]+", "x", after))
