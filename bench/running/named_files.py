"""The files that a text in Python names: its strings as patterns of file names, and what in some folders fits them."""

import ast
import glob
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

_OF_THE_SYSTEM = tuple(map(Path, ("/proc", "/sys", "/dev")))
_LONGEST = 255  # characters of a file's name: what is longer is prose
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_HOLE = re.compile(r"%(?:\(\w+\))?[-+ #0]*\d*(?:\.\d+)?[a-zA-Z]|\$\w+|\$?\{[^{}]*\}")
"""What "%", `format`, `string.Template` and `os.path.expandvars` put something else for."""
_WILD = re.compile(r"[*?]")
_UPWARDS = {"parent", "dirname"}
_FAR_UP = {"parents", "pardir"}

_Parts = list[str | None]
"""A text piece by piece, None for one that is only known when it runs."""


def patterns_of(nodes: Collection[ast.AST], stem: str) -> Iterator[str]:
    """Every string as a pattern of file names, `*` for what is only known when it runs; nothing for prose.

    Args:
        nodes: of the text.
        stem: of its file's name, which the file beside it may share whose suffix is named alone.
    """
    sums = [node for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)]
    inside = {id(part) for each in sums for part in (each.left, each.right) if isinstance(part, ast.BinOp)}
    for node in nodes:
        parts = [] if id(node) in inside else _parts(node)
        text = "".join(part or "" for part in parts)
        if len(text) > _LONGEST or not text.isprintable() or not any(map(str.isalnum, text)):
            continue
        pattern = "".join("*" if part is None else glob.escape(part) for part in parts)
        yield pattern
        if pattern.startswith(("/", "*/")):  # the folder before it may be the one that is looked into
            yield pattern.removeprefix("*").lstrip("/")
        if text.startswith("~"):
            yield os.path.expanduser(pattern)
        if _WILD.search(text):  # itself a pattern
            yield text
        if re.fullmatch(r"\.\w+", text):
            yield glob.escape(stem + text)


def patterns_of_value(text: str) -> Iterator[str]:
    """A text that is known whole and may be a path, as a pattern; nothing for what cannot be one."""
    if text.isprintable() and any(map(str.isalnum, text)):
        yield glob.escape(os.path.expanduser(text))


def text_of_pattern(pattern: str) -> str:
    """The text that a pattern is of."""
    return re.sub(r"\[([*?[])\]", r"\1", pattern)


def texts_in(value: object) -> Iterator[str]:
    """All texts in what JSON holds, but for the names of entries."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts_in(each)


def _parts(node: ast.AST) -> _Parts:
    """Of a string, of an f-string, or of a sum of strings and others."""
    if (text := _text(node)) is not None:
        pieces = _HOLE.split(text)
        return [each for piece in pieces for each in (None, piece)][1:]
    if isinstance(node, ast.JoinedStr):
        return [part for each in node.values for part in (_parts(each) or [None])]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_summand(node.left), *_summand(node.right)]
    return []


def _summand(node: ast.AST) -> _Parts:
    return _parts(node) or [None]


def _text(node: ast.AST) -> str | None:
    """What a string says, or bytes, by which files may be named, too."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
        return os.fsdecode(node.value)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def texts_with_variables(nodes: Collection[ast.AST]) -> Iterator[str]:
    """The strings that hold environment variables, as `os.path.expandvars` takes them."""
    for text in filter(None, map(_text, nodes)):
        if len(text) <= _LONGEST and _VARIABLE.search(text):
            yield text


def variables_in(texts: Collection[str]) -> Iterator[str]:
    """The names of the environment variables in such strings."""
    for text in texts:
        yield from (plain or braced for plain, braced in _VARIABLE.findall(text))


def names_used(nodes: Collection[ast.AST]) -> Iterator[str]:
    """The names and attributes that a text uses, those that it imports from others as they are called there."""
    imported = [each for node in nodes if isinstance(node, ast.ImportFrom) for each in node.names]
    called = {each.asname: each.name for each in imported if each.asname is not None}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield called.get(node.id, node.id)


def climbs(nodes: Collection[ast.AST]) -> bool:
    """Whether a text goes to folders above that of its file: by one of them twice, or by a name for those."""
    used, said = [*names_used(nodes)], any(_text(node) == os.pardir for node in nodes)
    return said or not _FAR_UP.isdisjoint(used) or sum(name in _UPWARDS for name in used) > 1


def files_named(folder: Path, patterns: Collection[str], *, whole: bool = False, deep: bool = False) -> Iterator[Path]:
    """The files that patterns name in a folder and those below it that are named in full.

    Args:
        folder: that is looked into first.
        patterns: of files and folders.
        whole: whether all files of the folders that are named count.
        deep: whether those of the folders below these do, too.
    """
    folders, seen = [folder.resolve()], set[Path]()
    while folders:
        start = folders.pop()
        everything = ("*",) if whole and seen else ()
        seen.add(start)
        for pattern in (*patterns, *everything):
            for found in map(Path, glob.glob(os.path.join(glob.escape(str(start)), pattern))):
                real = found.resolve()
                if any(real.is_relative_to(system) for system in _OF_THE_SYSTEM):
                    continue
                if real.is_file():
                    yield found
                elif real.is_dir() and real not in seen:
                    below = deep and pattern in everything and real.name != "__pycache__"  # which comes by itself
                    folders += [real] if below or "*" not in pattern else []
