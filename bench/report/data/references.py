"""What is to be cited of what some runs used: the entries of a bibliography, and which name each belongs to.

Those of the tree stand in `samplers/references.toml`, those of plugins in their records.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.escape import plain_line
from bench.report.data.columns import has
from bench.report.data.distances import quality_columns
from bench.report.data.rows import columns_of
from bench.report.data.summary import Summary
from bench.report.data.text import flat, known_text
from models.plugins.bibtex import Entry, NoEntries, entries

FILE = Path(__file__).parents[3] / "samplers" / "references.toml"

_METRICS = (
    *(("kid_mean", "kid"), ("inception_score", "inception_score"), ("class_accuracy", "class_accuracy")),
    *(("clip_score", "clip_score"), ("psnr", "psnr")),
    *(("precision", "precision_recall"), ("recall", "precision_recall")),
    *((f"law_{name}", "law") for name in ("fd", "nearest_rmse", "occupancy")),
    *((f"solver_rmse{name}", "solver_error") for name in ("", "_median")),
)
"""Quality columns, and the metric that each is of; all others are distances to a reference."""


@dataclass(frozen=True)
class References:
    """The bibliography of some runs.

    Attributes:
        used: the entries, each once, in the order of the names.
        samplers: the keys that are cited of samplers, by their names in the records.
        others: what else is cited, in words, with its keys.
        lacking: what is used and has no entry, in words.
    """

    used: tuple[Entry, ...]
    samplers: Mapping[str, tuple[str, ...]]
    others: Sequence[tuple[str, tuple[str, ...]]]
    lacking: Sequence[str]

    @property
    def file(self) -> str:
        """The entries as a file of BibTeX."""
        # outside of entries BibTeX reads what follows an @, and nothing else
        lines = [f"% No entry for {plain_line(each).replace('@', '(at)')}." for each in self.lacking]
        return "\n".join([*lines, *map(str, sorted(self.used or (OURS,), key=lambda each: each.key))])


OURS = Entry("misc", "samplerbench", (("title", "Sampler Bench"), ("key", "Sampler Bench")))
"""What is cited where nothing else is: BibTeX takes no document without a citation."""


@cache
def known_names() -> dict[str, dict[str, list[str]]]:
    """The keys of what is cited of the tree's names, by kind of name."""
    return {kind: names for kind, names in _file().items() if kind != "entries"}


@cache
def known_entries() -> dict[str, Entry]:
    """The tree's entries by key."""
    return {key: _entry(key, dict(fields)) for key, fields in _file()["entries"].items()}


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def _entry(key: str, fields: dict[str, Any]) -> Entry:
    """An entry of the file; what has an arXiv id and no other place is an article there."""
    kind = fields.pop("type")
    if "eprint" in fields:
        fields["archiveprefix"] = "arXiv"
        if kind == "misc":
            kind, fields["journal"] = "article", f"arXiv preprint arXiv:{fields['eprint']}"
    return Entry(kind, key, tuple((name, str(value)) for name, value in fields.items()))


class _Collected:
    """What is found, one name after another."""

    def __init__(self) -> None:
        self.used, self.lacking = dict[str, Entry](), dict[str, None]()

    def of(self, kind: str, spec: str, brought: Iterable[str] = ()) -> tuple[str, ...]:
        """The keys of a name with its parameters; what its records bring goes before what the file has."""
        texts = dict.fromkeys(brought)
        if texts:
            return tuple(key for text in texts for key in self._brought(kind, spec, text))
        name, _, inside = spec.partition("[")
        names = known_names()[kind]
        if name not in names:
            self._lacks(kind, name)
        given = {part for each in inside.removesuffix("]").split(",") for part in (each, each.partition("=")[0])}
        found = [*names.get(name, ()), *(key for each in given for key in names.get(f"{name}[{each}]", ()))]
        self.used |= {key: known_entries()[key] for key in found}
        if (kind, name) == ("samplers", "afs"):  # and of what it is the first step of
            found += self.of(kind, inside.removesuffix("]").removeprefix("sampler=") or "ipndm")
        return tuple(dict.fromkeys(found))

    def _brought(self, kind: str, spec: str, text: str) -> list[str]:
        """The keys of what a plugin brings; another one where another entry has its key."""
        try:
            found = entries(text)
        except NoEntries as error:
            self._lacks(kind, f"{spec}: what it brings cannot be used: {error}")
            return []
        keys = []
        for each in found:
            there = {key.lower(): entry for key, entry in (known_entries() | self.used).items()}  # as BibTeX reads keys
            key, n = each.key, 1
            while there.get(key.lower(), each) not in (each, Entry(each.kind, key, each.fields)):
                n += 1
                key = f"{each.key}-{n}"
            self.used[key] = Entry(each.kind, key, each.fields)
            keys.append(key)
        return keys

    def _lacks(self, kind: str, name: str) -> None:
        self.lacking[f"the {_KINDS[kind]} {flat(name)}"] = None


_KINDS = {
    "samplers": "sampler",
    "grids": "grid",
    "guidances": "guidance",
    "clips": "clipping",
    "metrics": "metric",
    "extractors": "extractor",
    "data": "reference",
    "models": "model",
}


def references(summary: Summary) -> References:
    """What is to be cited of all that some runs used."""
    columns, found = columns_of(summary.cells), _Collected()
    samplers = _named(columns, "sampler", "samplers", found)
    others: list[tuple[str, tuple[str, ...]]] = []
    for name, kind in (("grid", "grids"), ("guidance", "guidances")):
        specs = _named(columns, name, kind, found).items()
        others += [(f"{name} {each.partition('[')[0]}", keys) for each, keys in specs]
    if any(each.count(",") == 2 for each in _distinct(columns, "clip")):  # a range, and a quantile
        others.append(("dynamic thresholding", found.of("clips", "dynamic")))
    metrics = dict.fromkeys(map(_metric, _measured(summary)))
    others += [(_WORDS.get(each, each), found.of("metrics", each)) for each in metrics]
    for each in _distinct(columns, "extractor"):
        family = each.partition("-")[0]
        if family in known_names()["extractors"]:  # compact ones are made for the data, without a paper
            others.append((f"extractor {each}", found.of("extractors", family)))
    others += [(f"reference {each}", found.of("data", each)) for each in _distinct(columns, "reference")]
    others += [(f"model {each}", keys) for each, keys in _models(columns, found)]
    told = dict[str, tuple[str, ...]]()
    for words, keys in others:
        if keys:
            told[words] = tuple(dict.fromkeys([*told.get(words, ()), *keys]))
    return References(tuple(found.used.values()), samplers, list(told.items()), list(found.lacking))


def _distinct(columns: Mapping[str, Sequence[Any]], name: str) -> list[str]:
    return [str(each) for each in dict.fromkeys(filter(known_text, columns.get(name, ())))]


def _named(columns: Mapping[str, Sequence[Any]], name: str, kind: str, found: _Collected) -> dict[str, tuple[str, ...]]:
    """The keys of each sampler, grid or guidance, with those that its records bring."""
    brought: dict[str, dict[str, None]] = {each: {} for each in _distinct(columns, name)}
    for each, record in zip(columns[name], columns.get("bibtex", ()), strict=False):
        if isinstance(record, Mapping) and known_text(record.get(name)):
            brought[str(each)][str(record[name])] = None
    return {each: found.of(kind, each, texts) for each, texts in brought.items()}


def _measured(summary: Summary) -> list[str]:
    """The quality columns that some row has."""
    table = summary.table
    return [each.key for each in quality_columns(table.columns) if has(table, each.key)]


def _metric(key: str) -> str:
    return dict(_METRICS).get(key) or ("fd_infinity" if key.endswith("_inf") else "fd")


_WORDS = {
    "fd": "Frechet distance",
    "fd_infinity": "its value at infinitely many images",
    "kid": "KID",
    "inception_score": "Inception score",
    "precision_recall": "precision and recall",
    "law": "distance to the law",
    "clip_score": "CLIP score",
    "psnr": "PSNR",
}


def _models(columns: Mapping[str, Sequence[Any]], found: _Collected) -> list[tuple[str, tuple[str, ...]]]:
    """The checkpoints: embedded ones have entries, and others that are called like them have not."""
    sources = columns.get("model_source") or [None] * len(columns["model"])
    pairs = [
        (name, source if known_text(source) else name) for name, source in zip(columns["model"], sources, strict=True)
    ]
    weaker = [(each, each) for each in _distinct(columns, "guidance_model")]
    told = []
    for name, source in dict.fromkeys([*pairs, *weaker]):
        keys = found.of("models", str(source) if source == name else f"{name} from {source}")
        told.append((str(name), keys))
    return told
