"""Records are whole or absent, and what is damaged or makes no sense never counts."""

import json
import os
from pathlib import Path

import pytest
from any_json import JSON, NESTED
from hypothesis import given, settings
from hypothesis import strategies as some
from report_records import BASELINE, QUICK, record, terminal, without_digests, write_run

from bench.record import SCHEMA, Record, RunFolder, cell_id, fault_of
from bench.report import compare, summarise
from bench.report.tables.markup import markdown
from bench.report.tables.remarks import remarks
from bench.sealed_json import NewerRun


def _record(name: str, **columns: object) -> Record:
    return record("ddim") | {"id": name, **columns}


def _ends(columns: Record) -> Record:
    """As a file has it, which holds no number of NumPy's."""
    found: Record = json.loads(json.dumps(columns))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.create()
    return run


def test_the_name_of_a_cell_depends_on_every_part_of_its_identity_and_not_on_their_order() -> None:
    base = {"sampler": "ddim", "steps": 10, "seed": 0}
    assert cell_id(base) == cell_id(dict(reversed(base.items())))
    names = {cell_id(base | change) for change in ({}, {"steps": 11}, {"seed": 1}, {"sampler": "heun"}, {"more": 1})}
    assert len(names) == 5


def test_what_is_written_is_read_back(folder: RunFolder) -> None:
    written = _ends(_record("a", fd_digits=1.25, latency_s=[0.1, 0.2], error=None))
    folder.write(written)
    assert folder.read("a") == written
    assert folder.read("b") is None


def test_a_record_never_holds_nan(folder: RunFolder) -> None:
    with pytest.raises(ValueError, match="not the record of a cell: fd_digits: Input should be a finite number"):
        folder.write(_record("a", fd_digits=float("nan")))
    assert folder.read("a") is None


def test_a_write_that_is_cut_short_leaves_the_old_record(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write(_record("a", fd_digits=1.0))

    def killed(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.write(_record("a", fd_digits=2.0))
    monkeypatch.undo()
    assert folder.read("a") == _ends(_record("a", fd_digits=1.0))
    assert not list(folder.cells.glob("*.tmp"))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '{"id": "b"}', '{"id": "a", "schema": 0, "status": "ok"}', NESTED, "\\ud800", "\xff"],
)
def test_a_broken_record_is_set_aside_and_never_counted(folder: RunFolder, text: str) -> None:
    path = folder.cells / "a.json"
    path.write_bytes(text.encode("latin-1"))
    assert folder.read("a") is None
    assert folder.broken["a"]
    assert path.is_file()  # a reader changes nothing
    folder.set_aside()
    assert (folder.cells / "a.broken").read_bytes() == text.encode("latin-1")
    assert not path.exists()


_ODD = {
    "FD as text": {"fd_digits": "7.5"},
    "no latency": {"latency_s": [0.0, 0.1]},
    "negative FD": {"fd_digits": -0.5},
    "negative FID": {"fid": -0.5},
    "negative error of FD": {"fd_digits_std": -1.0},
    "FD as a flag": {"fd_digits": True},
    "infinite FD": {"fd_digits": float("inf")},
    "half a step": {"steps": 2.5},
    "no step": {"steps": 0},
    "huge number of images": {"images": 10**400},
    "no evaluations": {"nfe": None},
    "precision above one": {"precision": 1.5},
    "a list for a name": {"sampler": ["ddim"]},
    "no name": {"sampler": ""},
    "half a character": {"sampler": "\ud800"},
    "another status": {"status": "fine"},
    "another kind": {"stochastic": "no"},
    "tables in tables": {"anything": {"a": {"b": {"c": {"d": 1}}}}},
    "NaN in what nobody knows": {"anything": [float("nan")]},
    "calls of other rounds": {"timing_calls": [1, 2]},
    "rounds without times": {"timing_rounds": 3, "latency_s": None},
    "sweep without times": {"sweep_batches": [1], "sweep_latency_s": None},
}


@pytest.mark.parametrize("change", _ODD.values(), ids=_ODD)
def test_a_record_that_makes_no_sense_is_broken_named_and_never_the_answer(tmp_path: Path, change: Record) -> None:
    best = record("ddim", steps=5, fd_digits=0.01)
    run = without_digests(write_run(tmp_path / "run", [*QUICK, best]))
    path = run / "cells" / f"{best['id']}.json"
    path.write_text(json.dumps(best | change))
    summary = summarise([run])
    assert best["id"] not in set(summary.cells["id"])
    assert len(summary.cells) == len(QUICK)
    (line,) = summary.broken()
    assert str(path) in line
    assert line in remarks(summary)
    assert not any("Not measured yet" in remark for remark in remarks(summary))
    assert "at 5 steps" not in summary.answers[0].sentence
    assert compare(run, run).attrs["broken"] == [line, line]


def test_no_report_ends_in_a_traceback_whatever_column_is_missing(tmp_path: Path) -> None:
    """All at once: every record lacks another column, and those that cannot be used without it are named."""
    whole = [record("ddim", steps=steps) for steps in range(1, len(record()) + 1)]
    run = without_digests(write_run(tmp_path / "run", [record(*BASELINE), *whole]))
    for each, name in zip(whole, list(record()), strict=True):
        (run / "cells" / f"{each['id']}.json").write_text(json.dumps({k: v for k, v in each.items() if k != name}))
    summary = summarise([run])
    needed = {"schema", "id", "status", "sampler", "grid", "steps", "seed", "model", "model_sha256", "images", "batch"}
    needed |= {"dtype", "device_name", "nfe", "subject_sha256", "family", "mode"}
    assert len(summary.broken()) == len(needed)
    assert len(summary.cells) == 1 + len(whole) - len(needed)
    assert markdown(summary)


_MORE = (
    *("fid", "fd_", "fd_x_inf", "law_fd", "run", "baseline", "timing_watches", "captured", "anything"),
    *("labels", "clip", "preview_kind", "extractor_official", "model_source", "cpus", "version_x"),
)


@settings(max_examples=20)
@given(some.sampled_from([*record(*BASELINE), *_MORE]), JSON)
def test_no_value_of_any_column_ends_a_report_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: object
) -> None:
    if fault_of(record(*BASELINE) | {name: value}, record(*BASELINE)["id"]) is not None and name != "schema":
        return  # broken, as the tests above show
    run = without_digests(write_run(tmp_path_factory.mktemp("odd") / "run", [record(*BASELINE), record("heun")]))
    (run / "cells" / f"{record(*BASELINE)['id']}.json").write_text(json.dumps(record(*BASELINE) | {name: value}))
    try:
        assert terminal([run])
    except NewerRun:
        assert name == "schema"


def test_a_record_with_a_digit_changed_is_broken(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record(*BASELINE, fd_digits=7.5)])
    path = run / "cells" / f"{record(*BASELINE)['id']}.json"
    path.write_text(path.read_text().replace("7.5,", "7.6,"))
    folder = RunFolder(run)
    assert folder.read(path.stem) is None
    assert folder.broken == {path.stem: "it is not what was written: its digest is another"}


def test_a_record_without_a_digest_is_one_of_an_older_version(tmp_path: Path) -> None:
    """Of this version, whose study has one, it was changed by hand."""
    run = write_run(tmp_path / "run", [record(*BASELINE), record("heun")])
    path = run / "cells" / f"{record('heun')['id']}.json"
    path.write_text(json.dumps(record("heun")))
    folder = RunFolder(run)
    assert list(folder.load()["sampler"]) == [record(*BASELINE)["sampler"]]
    assert folder.broken == {path.stem: "it is not what was written: its digest is missing"}
    assert len(RunFolder(without_digests(run)).load()) == 2


def test_a_run_goes_on_from_records_with_a_digest_only(folder: RunFolder) -> None:
    (folder.cells / "a.json").write_text(json.dumps(_record("a")))
    assert folder.read("a") == _ends(_record("a"))
    assert folder.read("a", {}) is None


def test_a_record_has_to_be_of_the_cell_that_it_is_read_for(folder: RunFolder) -> None:
    folder.write(_record("a", steps=10))
    assert folder.read("a", {"steps": 10}) is not None
    assert folder.read("a", {"steps": 11}) is None
    assert folder.broken == {"a": "its steps is 10; expected 11"}


def test_what_a_newer_version_wrote_is_refused_and_stays(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", QUICK)
    for path in (run / "cells" / f"{QUICK[2]['id']}.json", run / "study.json"):
        before = path.read_text()
        path.write_text(json.dumps(json.loads(before) | {"schema": SCHEMA + 1}))
        with pytest.raises(NewerRun, match=f"has schema {SCHEMA + 1}, but this version reads {SCHEMA}: .* Upgrade"):
            summarise([run])
        assert path.is_file()
        path.write_text(before)
    path.write_text(json.dumps({"schema": SCHEMA + 1}))
    with pytest.raises(NewerRun):
        RunFolder(run).refuse_newer()
    with pytest.raises(NewerRun):
        RunFolder(run).batch(16, "cpu")
