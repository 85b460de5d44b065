"""A site of several runs, for any host of files: an index, a page with downloads for each, one of runs that are alike.

It is made whole beside its place and then moved there, file by file where there is a site already. `site.json` lists
what was written: nothing else is ever replaced or removed.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from bench.packed import PACKED
from bench.packing import pack
from bench.report.data.columns import PROTOCOL
from bench.report.data.summary import Summary, read, run_name, summarise
from bench.report.page import style
from bench.report.tables.markup import templates
from bench.report.write import FORMATS, write_report
from models.common.errors import UsageError
from models.common.writing import write_bytes

MANIFEST = "site.json"
"""The list of what was written."""
_SCHEMA = 1
_FORMATS = tuple(each for each in FORMATS if each != "png")
_INDEX, _TOGETHER = "index.html", "together"
_SENTENCES = 3
"""Answers of a run in the index; its page has all."""
_NAMES = {PACKED: "records (run.zip)", "table.md": "Markdown", "table.tex": "LaTeX"}


@dataclass(frozen=True)
class Entry:
    """A page of the site.

    Attributes:
        folder: that it is in.
        runs: whose it is.
        summary: what it says.
        files: what lies beside it.
    """

    folder: str
    runs: list[Path]
    summary: Summary
    files: tuple[str, ...] = ()

    @property
    def line(self) -> dict[str, Any]:
        """What the index tells of it."""
        cells, sentences = self.summary.cells, [each.sentence for each in self.summary.answers]
        more = len(sentences) - _SENTENCES
        days = [str(each)[:10] for each in cells.get("finished", []) if isinstance(each, str)]
        return {
            "folder": self.folder,
            "title": self.summary.title,
            "runs": [run.name for run in self.summary.runs],
            "answers": sentences[:_SENTENCES] + ([f"... and {more} more"] if more > 0 else []),
            "models": _values(cells, "model"),
            "devices": _values(cells, "device_name"),
            "rows": sum(len(section.rows) for section in self.summary.sections),
            "date": max(days, default=""),
            "files": [(f"{self.folder}/{name}", _NAMES.get(name, name)) for name in self.files],
        }


def _values(cells: pd.DataFrame, name: str) -> list[str]:
    return list(dict.fromkeys(str(each) for each in cells[name] if isinstance(each, str)))


def publish(runs: Sequence[Path], site: Path) -> list[Path]:
    """Write a site of some runs.

    Args:
        runs: run folders or packed runs.
        site: its folder. What is there and is not of an earlier `publish` stays, and is never replaced.

    Returns:
        Its pages, the index first.

    Raises:
        UsageError: a run is none, or is given twice; something else lies where a file is to be; it cannot be written.
    """
    if not site.resolve().name:
        raise UsageError(f"{str(site)!r} is no place for a site; name a folder with --out, such as site")
    # so that what is wrong with them is told before anything is made
    for run, _ in read(runs):
        if run.nothing is not None:
            raise UsageError(f"{run.nothing}, or leave it out")
    folders = _folders([run_name(Path(run)) for run in runs], {_TOGETHER, _INDEX, MANIFEST})
    pairs = [(name, Path(run)) for name, run in zip(folders, runs, strict=True)]
    alone = [Entry(name, [run], summarise([run], names=[name])) for name, run in pairs]
    together = _together(alone)
    old = _written(site)
    try:
        with _beside(site) as made:
            entries = [_page(each, made) for each in [*together, *alone]]
            write_bytes(made / _INDEX, _index(entries).encode())
            (made / ".nojekyll").touch()  # which GitHub Pages would look for
            _move(made, site, old)
    except OSError as error:
        raise UsageError(f"cannot write the site to {str(site)!r}: {error}; choose another with --out") from None
    return [site / _INDEX, *(site / each.folder / _INDEX for each in entries)]


def _folders(names: Sequence[str], taken: set[str]) -> list[str]:
    """The same as folders, which every host and file system can have: no two are alike but for capitals, or taken."""
    found = list[str]()
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80] or "run"
        choices = (plain if n == 1 else f"{plain}-{n}" for n in count(1))
        free = next(each for each in choices if each.lower() not in taken)
        taken.add(free.lower())
        found.append(free)
    return found


def _together(alone: Sequence[Entry]) -> list[Entry]:
    """A page for all runs that can be ranked with one another: that share a protocol, be it through a third run."""
    groups = list[tuple[set[tuple[str, ...]], list[Entry]]]()
    for entry in alone:
        protocols = {tuple(str(row[name]) for name in PROTOCOL) for s in entry.summary.sections for row in s.records}
        alike = [each for each in groups if each[0] & protocols]
        groups = [each for each in groups if each not in alike]
        groups.append((protocols.union(*(each[0] for each in alike)), [*(e for g in alike for e in g[1]), entry]))
    several = [[run for run in alone if run in members] for _, members in groups if len(members) > 1]
    names = _folders([_TOGETHER] * len(several), {each.folder.lower() for each in alone})
    paths = [[path for each in members for path in each.runs] for members in several]
    called = [[each.folder for each in members] for members in several]
    found = zip(names, paths, called, strict=True)
    return [Entry(name, each, summarise(each, names=runs)) for name, each, runs in found]


def _page(entry: Entry, made: Path) -> Entry:
    """Write a page with what lies beside it."""
    folder = made / entry.folder
    written = [
        each.name for each in write_report(entry.runs, [f for f in _FORMATS if f != "html"], folder, entry.summary)
    ]
    if len(entry.runs) == 1:
        pack(entry.runs[0], folder / PACKED)
        written.append(PACKED)
    files = tuple(sorted(written))
    links = [("../index.html", "All runs"), *((name, _NAMES.get(name, name)) for name in files)]
    write_report(entry.runs, ["html"], folder, entry.summary, links=links)
    return replace(entry, files=files)


def _index(entries: Sequence[Entry]) -> str:
    lines = [each.line for each in entries]
    return (
        templates(Path(__file__).parent)
        .get_template("site.html.j2")
        .render(
            runs=[line for line, each in zip(lines, entries, strict=True) if len(each.runs) == 1],
            together=[line for line, each in zip(lines, entries, strict=True) if len(each.runs) > 1],
            style=style(),
        )
    )


@contextmanager
def _beside(site: Path) -> Iterator[Path]:
    """A folder beside the site's place, of which nothing is left at the end."""
    place = site.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    made = place.with_name(f"{place.name}.{os.getpid()}.tmp")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _written(site: Path) -> set[str]:
    """What an earlier `publish` wrote there; nothing if there was none."""
    path = site / MANIFEST
    if site.exists() and not site.is_dir():
        raise UsageError(
            f"{str(site)!r} is a file; expected a folder for the site, such as {str(site.with_suffix(''))!r}"
        )
    if not path.is_file():
        return set()
    said = f"{str(path)!r} is no list of a site's files"
    try:
        content = json.loads(path.read_bytes())
        schema, files = int(content["schema"]), {str(each) for each in content["files"]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise UsageError(f"{said}; remove what is left of that site, or choose another folder with --out") from None
    if schema > _SCHEMA:
        raise UsageError(
            f"{str(path)!r} is of schema {schema}, but this version reads {_SCHEMA}: upgrade sampler-bench"
        )
    wrong = sorted(each for each in files if not _within(each))
    if wrong:
        raise UsageError(f"{said}: {wrong[0]!r} is not in the site; nothing was written")
    return files


def _within(name: str) -> bool:
    """Whether a name is a file of a site: in its folder, or in one of that."""
    path = PurePosixPath(name)
    return "\\" not in name and not path.is_absolute() and ".." not in path.parts and 1 <= len(path.parts) <= 2


def _move(made: Path, site: Path, old: set[str]) -> None:
    """Put all files in their place, and take away what an earlier site had besides."""
    new = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    for name in sorted({*new, MANIFEST}):
        target = site / name
        if target.parent != site and (target.parent.is_symlink() or target.parent.is_file()):
            raise UsageError(f"{str(target.parent)!r} is no folder of the site; choose another with --out")
        if name not in (*old, MANIFEST) and (target.exists() or target.is_symlink()):
            raise UsageError(
                f"{str(target)!r} is there, and publish did not write it; choose another folder with --out, or move it"
            )
    site.mkdir(parents=True, exist_ok=True)
    _list(site, old | new)  # so that what is left where this ends early is known
    for name in sorted(new, key=lambda each: (each == _INDEX, each)):
        (site / name).parent.mkdir(exist_ok=True)
        os.replace(made / name, site / name)
    for name in old - new:
        if not (site / name).parent.is_symlink():
            (site / name).unlink(missing_ok=True)
            with suppress(OSError):  # what else is in it stays
                if (site / name).parent != site:
                    (site / name).parent.rmdir()
    _list(site, new)


def _list(site: Path, files: set[str]) -> None:
    content = {"schema": _SCHEMA, "files": sorted(files)}
    write_bytes(site / MANIFEST, (json.dumps(content, indent=1) + "\n").encode())
