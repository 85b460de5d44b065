"""Beside the CSV files stands what their columns are, and a validator of its standard finds nothing wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from report_records import QUICK, guided, in_mode, record, write_run

from bench.column_kinds import _TYPES, _UNITS, unit_of
from bench.column_meanings import columns, meaning_of
from bench.report import write_report

frictionless = pytest.importorskip("frictionless")

_PUBLISHED = Path(__file__).parents[2] / "results" / "published"


def _errors(folder: Path) -> list[list[Any]]:
    found = frictionless.validate(str(folder / "datapackage.json")).flatten(["type", "fieldName", "rowNumber", "note"])
    return [list(each) for each in found]


def _fields(folder: Path, file: str) -> dict[str, dict[str, Any]]:
    content = json.loads((folder / "datapackage.json").read_text())
    (schema,) = (each["schema"] for each in content["resources"] if each["name"] == file)
    return {field["name"]: field for field in schema["fields"]}


@pytest.mark.parametrize("name", ["digits", "modes", "oracle", "guidance"])
def test_a_validator_finds_no_error_in_that_of_a_published_run(name: str, tmp_path: Path) -> None:
    written = write_report([_PUBLISHED / name], ["csv"], tmp_path)
    assert _errors(tmp_path) == []
    described = {each["path"] for each in json.loads((tmp_path / "datapackage.json").read_text())["resources"]}
    assert described == {path.name for path in written} - {"datapackage.json"}
    for path in described:
        for field, said in _fields(tmp_path, path.removesuffix(".csv")).items():
            meaning = meaning_of(field, path.removesuffix(".csv"))
            assert meaning is not None
            assert said["description"] == meaning.meaning


def test_the_validator_sees_a_cell_that_is_not_what_is_said(tmp_path: Path) -> None:
    write_report([write_run(tmp_path / "run", QUICK)], ["csv"], tmp_path)
    table = tmp_path / "table.csv"
    table.write_text(table.read_text().replace(",True,", ",maybe,", 1))
    assert {kind for kind, *_ in _errors(tmp_path)} >= {"type-error", "hash-count"}


def test_columns_say_their_unit_and_their_type(tmp_path: Path) -> None:
    write_report([write_run(tmp_path / "run", QUICK)], ["csv"], tmp_path)
    table, cells = _fields(tmp_path, "table"), _fields(tmp_path, "cells")
    said = {
        name: (table[name]["type"], table[name].get("unit")) for name in ("nfe", "steps", "stochastic", "recall_ci")
    }
    assert said == {
        "nfe": ("number", "evaluations/image"),
        "steps": ("integer", "steps"),
        "stochastic": ("boolean", None),
        "recall_ci": ("number", "share"),
    }
    assert (cells["latency_s"]["type"], cells["latency_s"]["unit"]) == ("array", "s")
    assert cells["sampler_parameters"]["type"] == "object"
    assert "unit" not in cells["fd_digits"]


def test_what_records_hold_otherwise_than_usual_is_still_valid(tmp_path: Path) -> None:
    odd: dict[str, Any] = {
        "=1+1": "=cmd()",
        "of_a_plugin": [1, {"a": None}],
        "mixed": 1,
        "finished": "yesterday",
        "batch": "auto",
    }
    both = guided("auto[scale=2,model=weak]")
    runs = [
        write_run(tmp_path / "odd", [record(**odd), record("heun", mixed="one", finished="2026-01-01T00:00:00+00:00")]),
        write_run(tmp_path / "modes", [both, both | in_mode("bf16") | {"id": "b" * 16}], modes=["fp32", "bf16"]),
        write_run(tmp_path / "nothing", []),
    ]
    write_report(runs, ["csv"], tmp_path)
    assert _errors(tmp_path) == []
    cells = _fields(tmp_path, "cells")
    assert [cells[name]["type"] for name in ("'=1+1", "mixed", "finished", "batch")] == [
        "string",
        "any",
        "string",
        "any",
    ]
    assert json.loads((tmp_path / "datapackage.json").read_text())["name"] == "odd-modes-nothing"


def test_only_columns_that_there_are_have_a_type_and_a_unit() -> None:
    there = {each.name for each in columns()}
    assert {name for table in (_TYPES, _UNITS) for names in table.values() for name in names.split()} - there == set()
    assert unit_of("fd_digits_std") is None
    assert unit_of("class_accuracy_difference_ci") == "share"
