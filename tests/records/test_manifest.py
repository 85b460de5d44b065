"""The manifest of a run: what makes no sense is refused as damaged, and a folder that cannot be used says so."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from any_json import JSON, NESTED
from hypothesis import given, settings
from hypothesis import strategies as some
from report_records import BASELINE, QUICK, record, study, without_digests, write_run

from bench.record import RunFolder
from bench.report import summarise
from bench.report.page import page
from bench.report.tables.markup import markdown
from models.common.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.create()
    return run


_PUBLISHED = {"cell": "a", "column": "fid", "value": 3.0, "tolerance": 0.04, "images": 50_000, "source": "a"}
_STUDIES = {
    "a list": [],
    "a study that is a list": {"study": []},
    "a study that is text": {"study": "quick"},
    "no baseline": {"study": study() | {"baseline": None}},
    "steps as text": {"study": study() | {"baseline": {"sampler": "ddim", "grid": "trailing", "steps": "10"}}},
    "tolerance as text": {"study": study() | {"tolerance": "0.1"}},
    "a negative tolerance": {"study": study() | {"tolerance": -1.0}},
    "infinite tolerance": {"study": study() | {"tolerance": float("inf")}},
    "no mode": {"study": study() | {"modes": []}},
    "no title": {"study": {key: value for key, value in study().items() if key != "title"}},
    "cells as a table": {"cells": {"a": 1}},
    "cells that are numbers": {"cells": [1, 2]},
    "a cell twice": {"cells": ["a", "a"]},
    "a path as a cell": {"cells": ["../../../etc/passwd"]},
    "odd published values": {"published": [{"cell": "a"}]},
    "a published value as text": {"published": [_PUBLISHED | {"value": "3"}]},
    "open points as a number": {"study": study() | {"open_points": 5}},
    "open points that are none": {"study": study() | {"open_points": None}},
    "blocks that are none": {"study": study() | {"block": None}},
    "blocks as a table": {"study": study() | {"block": {"a": 1}}},
    "a block as text": {"study": study() | {"block": ["ddim"]}},
    "a study nested too deeply": {"study": study() | {"anything": json.loads("[" * 90 + "]" * 90)}},
    "published open points as a number": {"published": [_PUBLISHED | {"open_points": 5}]},
    "an open point that is a table": {"published": [_PUBLISHED | {"open_points": [{}]}]},
    "a published mode as a list": {"published": [_PUBLISHED | {"mode": ["fp32"]}]},
    "a published clip as a table": {"published": [_PUBLISHED | {"clip": {}}]},
    "no batch": {"batch": 0},
    "half a character": {"study": study() | {"title": "\ud800"}},
}


@pytest.mark.parametrize("odd", _STUDIES.values(), ids=_STUDIES)
def test_an_odd_study_is_refused_as_damaged(tmp_path: Path, odd: object) -> None:
    run = without_digests(write_run(tmp_path / "run", QUICK))
    path = run / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | odd if isinstance(odd, dict) else odd))
    with pytest.raises(UsageError, match=r"study\.json is damaged: .*; run the study again"):
        summarise([run])


_ENTRY = {"cell": record(*BASELINE)["id"], "column": "fd_digits", "value": 3.0, "tolerance": 0.04, "images": 1000}
_ENTRY |= {"source": "a paper", "clip": None, "mode": "fp32", "open_points": ["a point"]}


@settings(max_examples=30)
@given(
    some.sampled_from([("study", key) for key in (*study(), "open_points", "precision", "anything")])
    | some.sampled_from([("published", key) for key in (*_ENTRY, "sampler", "grid", "steps", "model")]),
    JSON | some.sampled_from([*record(*BASELINE)]),
)
def test_no_value_of_any_key_of_a_study_ends_a_report_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str, str], value: object
) -> None:
    run = without_digests(write_run(tmp_path_factory.mktemp("odd") / "run", [record(*BASELINE), record("heun")]))
    content = json.loads((run / "study.json").read_text()) | {"published": [dict(_ENTRY)]}
    part = content["study"] if place[0] == "study" else content["published"][0]
    part[place[1]] = value
    (run / "study.json").write_text(json.dumps(content))
    with suppress(UsageError):
        summary = summarise([run])
        assert page(summary, {}, {})
        assert markdown(summary)


@pytest.mark.parametrize("column", ["sampler", "nfe", "seeds", "baseline", "timing_note", "none"])
def test_a_published_value_of_any_column_has_a_row(tmp_path: Path, column: str) -> None:
    run = write_run(tmp_path / "run", [record(*BASELINE)], [_ENTRY | {"column": column}])
    (found,) = summarise([run]).published
    assert (found.measured is None) == (column not in ("nfe", "seeds"))


def test_a_study_with_a_digit_changed_is_damaged(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", QUICK)
    path = run / "study.json"
    path.write_text(path.read_text().replace('"tolerance": 0.1', '"tolerance": 0.9'))
    with pytest.raises(UsageError, match="its digest is another"):
        summarise([run])


def test_a_study_whose_digest_was_removed_is_damaged_unless_its_records_have_none_either(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", QUICK)
    path = run / "study.json"
    content = json.loads(path.read_text())
    del content["sha256_of_the_rest"]
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"study\.json is damaged: .* digest is missing, but its records have theirs"):
        summarise([run])
    assert len(summarise([without_digests(run)]).cells) == len(QUICK)


def test_only_the_cells_of_the_manifest_are_loaded_in_its_order(folder: RunFolder) -> None:
    for name in ("a", "b", "c"):
        folder.write(record("ddim") | {"id": name})
    folder.write_manifest(study(), ["c", "missing", "a"])
    assert list(folder.load()["id"]) == ["c", "a"]


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run folder"):
        RunFolder(tmp_path).manifest()
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        RunFolder(tmp_path).manifest()
    (tmp_path / "study.json").write_text(NESTED)
    with pytest.raises(UsageError, match="is damaged: it is nested too deeply"):
        RunFolder(tmp_path).manifest()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write to the run folder"):
        RunFolder(tmp_path / "file" / "run").create()
