"""Entries of a bibliography as BibTeX has them, read as text that nobody vouches for.

What is kept runs nothing: entries of plain fields, whose only commands are those of letters, accents and fonts. What a
plugin says of itself goes through here, and what a record says of it again.
"""

import re
import unicodedata
from dataclasses import dataclass

from models.common.errors import PluginError
from models.plugins.foreign import defined_at

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:.+/-]*")
_START = re.compile(r"\s*@\s*([A-Za-z]+)\s*\{\s*([^\s,{}]+)\s*,")
_FIELD = re.compile(r"\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*")
_BARE = re.compile(r"\d+|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec")
_NO_ENTRIES = {"string", "preamble", "comment", "set", "xdata"}
_LETTERS = {"ss", "ae", "AE", "oe", "OE", "o", "O", "l", "L", "i", "j", "aa", "AA"}
_FONTS = {"emph", "textit", "textbf", "texttt", "textsc", "textsuperscript", "textsubscript"}
_COMMAND = re.compile(r"\\([A-Za-z]+|.|$)", re.DOTALL)
_ACCENTS = set("`'^~=.\"uvHtcdbrk&%$#_{}- ")
_ADDRESSES = ("url", "doi", "eprint", "biburl")
_LONGEST = 20_000
"""Characters of what a plugin brings."""

EXPECTED = 'BibTeX entries such as "@misc{key, author = {A. Name}, title = {A Title}, year = {2024}, eprint = {...}}"'


@dataclass(frozen=True)
class Entry:
    """An entry: what it is of (such as "article"), its key, and its fields in order, as TeX reads them."""

    kind: str
    key: str
    fields: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [f"  {name} = {{{value}}}" for name, value in self.fields]
        return f"@{self.kind}{{{self.key},\n" + ",\n".join(lines) + "\n}\n"


class NoEntries(ValueError):
    """A text is no list of entries, or one that could run something; the message says what is wrong."""


def entries(text: str) -> list[Entry]:
    """The entries of a text, one or more; NoEntries if it holds anything else."""
    if len(text) > _LONGEST:
        raise NoEntries(f"it has {len(text):,} characters, at most {_LONGEST:,} are read")
    if any(unicodedata.category(each) in ("Cc", "Cf", "Cs") for each in text if each not in "\t\r\n"):
        raise NoEntries("it has control characters")
    found, rest = list[Entry](), text
    while rest.strip():
        entry, rest = _entry(rest)
        if entry.key.lower() in {each.key.lower() for each in found}:  # as BibTeX compares them
            raise NoEntries(f"it has the key {entry.key!r} twice")
        found.append(entry)
    if not found:
        raise NoEntries("it has no entry")
    return found


def _entry(text: str) -> tuple[Entry, str]:
    start = _START.match(text)
    if start is None or start[1].lower() in _NO_ENTRIES:
        raise NoEntries(f"no entry begins with {text.strip()[:40]!r}")
    kind, key = start[1].lower(), start[2]
    if not _KEY.fullmatch(key):
        raise NoEntries(f"{key!r} is no key: letters, digits and any of _ : . + / - after the first")
    fields, rest = dict[str, str](), text[start.end() :]
    while not rest.lstrip().startswith("}"):
        name, value, rest = _field(rest, key)
        if name in fields:
            raise NoEntries(f"{key} has the field {name} twice")
        fields[name] = value
    if "title" not in fields:
        raise NoEntries(f"{key} has no title")
    return Entry(kind, key, tuple(fields.items())), rest.lstrip()[1:]


def _field(text: str, key: str) -> tuple[str, str, str]:
    """The first field: its name, its value, and what follows it."""
    start = _FIELD.match(text)
    if start is None:
        raise NoEntries(f"in {key} no field begins with {text.strip()[:40]!r}")
    name, rest = start[1].lower(), text[start.end() :]
    if rest[:1] in ("{", '"'):
        end = _end(rest, key)
        value, rest = rest[1:end], rest[end + 1 :]
    elif bare := _BARE.match(rest):
        value, rest = bare[0], rest[bare.end() :]
    else:
        raise NoEntries(f"the value of {name} in {key} is neither in braces nor in quotation marks, nor a number")
    value = " ".join(value.split())
    _check(value, f"{name} in {key}")
    rest = rest.lstrip()
    if rest[:1] not in (",", "}"):
        raise NoEntries(f"after {name} in {key} a comma or a brace is missing")
    return name, value, rest.removeprefix(",")


def _end(text: str, key: str) -> int:
    """Where a value in braces or quotation marks ends."""
    depth = 0
    for n, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if n and ((text[0] == "{" and depth == 0) or (text[0] == '"' and character == '"' and depth == 0)):
            return n
        if depth < 0:
            break
    raise NoEntries(f"a brace or a quotation mark of {key} is not closed")


def _check(value: str, place: str) -> None:
    """NoEntries for commands of TeX other than those of letters, accents and fonts, and for bare special characters."""
    depth = 0
    for character in _COMMAND.sub("", value):
        depth += (character == "{") - (character == "}")
        if depth < 0:
            break
    if depth:
        raise NoEntries(f"the braces of {place} do not match")
    for name in _COMMAND.findall(value):
        if name not in _LETTERS | _FONTS | _ACCENTS:
            raise NoEntries(f"{place} has the command \\{name}; letters, accents and fonts are allowed")
    special = "^$" if place.partition(" ")[0] in _ADDRESSES else "%#&^$_"
    if bare := next((each for each in _COMMAND.sub("", value) if each in special), None):
        raise NoEntries(f"{place} has a bare {bare!r}, which TeX reads as a command; write \\{bare}")


def check_entries(called: str, cls: type, text: object) -> None:
    """PluginError if what a class says of its `bibtex` is no list of entries."""
    try:
        check(text if isinstance(text, str) else repr(text))
    except ValueError as error:
        raise PluginError(f"{called}: bibtex: {error} ({defined_at(cls)})") from None


def check(text: str) -> str:
    """The text, if it is empty or a list of entries; ValueError says what is wrong and what is expected."""
    if text:
        try:
            entries(text)
        except NoEntries as error:
            raise ValueError(f"{error}; expected {EXPECTED}") from None
    return text
