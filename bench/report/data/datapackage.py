"""What stands beside the CSV files for programs: a Data Package (https://datapackage.org), which says of every column
what it means, its type and its unit.

The standard has no word for a unit; `unit` is a property of a field besides those that it has.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from pandas.api import types

from bench.column_kinds import type_of, unit_of
from bench.column_meanings import CELLS, MODES, PUBLISHED, TABLE, Column, meaning_of
from bench.escape import csv_text, plain_line
from bench.report.data.summary import Summary

NAME = "datapackage.json"

_TITLES = {
    TABLE: "A row for every setting, seeds averaged.",
    CELLS: "A row for every record, with raw times; lists and tables are JSON.",
    MODES: "What other modes than the first cost and save, a row for each setting and mode.",
    PUBLISHED: "Published values, and what was measured.",
}
_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)")


def resource(name: str, frame: pd.DataFrame, content: bytes) -> dict[str, Any]:
    """A file of the package.

    Args:
        name: of it, without its ending.
        frame: what it holds.
        content: its bytes.
    """
    schema: dict[str, Any] = {"fields": [_field(str(column), name, frame[column]) for column in frame.columns]}
    schema["missingValues"] = [""]
    if name == CELLS:
        schema["primaryKey"] = ["run", "id"]
    described = {"name": name, "path": f"{name}.csv", "title": _TITLES[name], "profile": "tabular-data-resource"}
    described |= {"format": "csv", "mediatype": "text/csv", "encoding": "utf-8"}
    size = {"bytes": len(content), "hash": f"sha256:{hashlib.sha256(content).hexdigest()}"}
    return described | size | {"schema": schema}


def package(summary: Summary, resources: Sequence[dict[str, Any]]) -> bytes:
    """The file that describes the others: the same records give the same bytes."""
    runs = "-".join(run.name for run in summary.runs)
    content = {
        "profile": "tabular-data-package",
        "name": re.sub(r"[^a-z0-9._-]+", "-", runs.lower()).strip("-")[:100] or "run",
        "title": plain_line(summary.title),
        "description": "\n".join(plain_line(answer.sentence) for answer in summary.answers),
        "keywords": ["diffusion models", "samplers", "benchmark"],
        "resources": list(resources),
    }
    return f"{json.dumps(content, indent=1)}\n".encode()


def _field(name: str, file: str, column: "pd.Series[Any]") -> dict[str, Any]:
    meaning = meaning_of(name, file)
    field: dict[str, Any] = {"name": csv_text(name), "type": _type(name, meaning, column)}
    unit = unit_of(name) or (meaning.unit if meaning else None)
    return field | ({"unit": unit} if unit else {}) | ({"description": meaning.meaning} if meaning else {})


def _type(name: str, meaning: Column | None, column: "pd.Series[Any]") -> str:
    """What is said of a column of this name, as far as its values in this file are that; else what they are."""
    said = type_of(name) if meaning is None or "<" not in meaning.name else meaning.type
    if said == "integer" and types.is_float_dtype(column):
        said = "number"  # some rows have no value, so that others are written as 10.0
    return said if meaning is not None and _holds(said, column) else _found(column)


_VALUES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
}


def _holds(said: str, column: "pd.Series[Any]") -> bool:
    return said == "any" or all(_is(each, said) for each in column.dropna().tolist())


def _is(value: object, said: str) -> bool:
    if said == "datetime":
        return isinstance(value, str) and bool(_DATETIME.fullmatch(value))
    return isinstance(value, _VALUES[said]) and (said == "boolean" or not isinstance(value, bool))


def _found(column: "pd.Series[Any]") -> str:
    """What all values of a column are that nothing is said of, or that are something else."""
    values = column.dropna().tolist()
    kinds = (kind for kind in ("boolean", "integer", "number", "array", "object", "string") if values)
    return next((kind for kind in kinds if all(_is(each, kind) for each in values)), "any")
