"""What a report says of runs whose images grow: what is missing of each of several."""

from pathlib import Path

from report_records import BASELINE, record, study

from bench.record import RunFolder
from bench.report import summarise


def growing(path: Path, looks: list[int], there: int) -> Path:
    """A run of a baseline and another setting at two looks, of whose records so many are there."""
    cells = [record(*BASELINE, images=n) for n in looks] + [record("ddim", images=n) for n in looks]
    cells = [cells[0], cells[2], cells[1], cells[3]]
    folder = RunFolder(path)
    folder.create()
    folder.write_manifest(study(path.name), [each["id"] for each in cells], looks=looks)
    for each in cells[:there]:
        folder.write(each)
    return path


def test_records_of_later_looks_hide_nothing_that_is_missing_of_another_run(tmp_path: Path) -> None:
    whole, cut = growing(tmp_path / "whole", [500, 1000], 4), growing(tmp_path / "cut", [250, 2000], 1)
    assert summarise([whole]).missing == 0
    assert summarise([cut]).missing == 1
    assert summarise([whole, cut]).missing == 1


def test_a_broken_record_of_a_later_look_takes_none_from_the_first(tmp_path: Path) -> None:
    run = growing(tmp_path / "run", [500, 1000], 3)
    last = sorted((run / "cells").glob("*.json"), key=lambda path: '"images": 1000' in path.read_text())[-1]
    last.write_text("{}")
    summary = summarise([run])
    assert (summary.missing, summary.runs[0].planned) == (0, 2)
    assert len(summary.broken()) == 1
