"""Prompts, read from a file of lines or from a column of a table."""

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from models.cards.prompts_card import MOST_PROMPTS, PromptsChoice
from models.common.errors import UsageError
from models.common.files import expanded, read_text
from models.common.words import counted
from models.plugins.registry import unknown

_TABLES = {".csv": ",", ".tsv": "\t"}
_USUAL = ("prompt", "caption")
"""What columns of prompts are called, where a study names none."""


@dataclass(frozen=True)
class Prompts:
    """What images are made of: image i of prompt i mod n, whose label that is.

    Attributes:
        texts: the n prompts, as they stand in their file.
        negative: what guidance leads away from, whose label is n; "": none.
    """

    texts: tuple[str, ...]
    negative: str = ""

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal sha256 of all texts in their order, and of the negative prompt."""
        return hashlib.sha256(json.dumps([self.texts, self.negative]).encode()).hexdigest()


def read_prompts(choice: PromptsChoice) -> Prompts:
    """The prompts that a study chooses.

    Blank lines at the end of a file of lines count nowhere; a blank line between prompts, or an empty cell of a table,
    is an error, as image i is to have prompt i.

    Raises:
        UsageError: they cannot be read, are none, have gaps, or are of another number than is stated; names the file.
    """
    path = expanded(choice.file)
    content, separator = read_text(path, "prompts"), _TABLES.get(path.suffix.lower())
    if separator is None and choice.column is not None:
        raise UsageError(
            f"{path} is a file of one prompt a line, which has no column {choice.column!r}; leave column out, or give "
            "a .csv or .tsv file"
        )
    texts = _lines(content, path) if separator is None else _column(content, separator, choice.column, path)
    if not texts:
        raise UsageError(f"{path} has no prompts; expected one at least")
    if choice.count is not None and len(texts) != choice.count:
        raise UsageError(
            f"{path} has {counted(len(texts), 'prompt')}, but count = {choice.count}: another file, or cut short? "
            "Correct one of the two"
        )
    if len(texts) > MOST_PROMPTS:
        raise UsageError(f"{path} has {len(texts):,} prompts; expected at most {MOST_PROMPTS:,}")
    return Prompts(tuple(texts), choice.negative)


def _lines(content: str, path: Path) -> list[str]:
    """The lines, without the blank ones at the end."""
    lines = content.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    for at, line in enumerate(lines, 1):
        if not line.strip():
            raise UsageError(
                f"{path}: line {at} is blank, and image {at - 1} would have no prompt; take it out, or write the prompt"
            )
    return lines


def _column(content: str, separator: str, wanted: str | None, path: Path) -> list[str]:
    """The cells of the column that is meant."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UsageError(f"{path} cannot be read as a table: {error}, in line {reader.line_num}") from None
    while rows and not "".join(rows[-1][1]).strip():
        rows.pop()
    if not rows:
        return []
    names = [name.strip() for name in rows[0][1]]
    at, found = names.index(_named(names, wanted, path)), list[str]()
    for line, row in rows[1:]:
        if len(row) != len(names) and row:
            raise UsageError(
                f"{path}: line {line} has {counted(len(row), 'cell')}, but the table {counted(len(names), 'column')}; "
                'a prompt with a separator or a line break in it is written in quotes, "a cat, asleep"'
            )
        if not row or not row[at].strip():
            raise UsageError(
                f"{path}: line {line} has no {names[at]!r}, and image {len(found)} would have no prompt; take the line "
                "out, or write the prompt"
            )
        found.append(row[at])
    return found


def _named(names: list[str], wanted: str | None, path: Path) -> str:
    """The name of the column that is meant, which the first line has once."""
    if wanted is not None:
        if wanted not in names:
            raise UsageError(f"{path}: {unknown('column', wanted, names)}")
        chosen = wanted
    else:
        usual = names if len(names) == 1 else [name for name in names if name.lower() in _USUAL]
        if len(usual) != 1:
            said = ", ".join(map(repr, names))
            raise UsageError(f'{path} has the columns {said}: say which has the prompts, column = "..."')
        chosen = usual[0]
    if names.count(chosen) > 1:
        raise UsageError(f"{path} has {names.count(chosen)} columns called {chosen!r}; rename them")
    return chosen
