"""What a report shows of runs whose images grow: which looks, with which times, and what is missing of several."""

from pathlib import Path

import numpy as np
import pytest
from report_records import BASELINE, record, study

from bench.record import Record, RunFolder
from bench.report import Summary, summarise
from bench.report.figures.image_table import tables


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


def looked(path: Path) -> Summary:
    """Three looks: "bad" is left out at the first, and "good" shown to be good enough at the last.

    An evaluation of "good" took twice as long as one of the others, as a restless machine has it.
    """
    step, cells = np.array([-1.0, 1.0] * 5), list[Record]()
    for images in (100, 200, 400):
        # of left-out values c and -c the jackknife's standard error is 3 c
        own = 0.2 if images < 400 else 0.01
        settings = [(*BASELINE[::2], 2.0, 0.0, 0.01), ("other", 100, 2.4, 0.2, 0.01), ("good", 50, 2.0, own, 0.02)]
        settings += [("bad", 5, 9.0, 0.01, 0.01)] if images == 100 else []
        for sampler, steps, fd, error, seconds in settings:
            inside = [seconds * steps] * 4
            values: Record = {"fd_digits": fd, "fd_digits_std": error, "nfe": float(steps), "nfe_declared": steps}
            values |= {"fd_digits_left_out": (fd + error / 3 * step).tolist(), "latency_s": inside, "network_s": inside}
            if images > 100:
                values |= {"latency_s": None, "network_s": None, "timed_batch": None}
            cells.append(record(sampler, steps=steps, images=images, **values))
    folder = RunFolder(path)
    folder.create()
    named = [each | {"id": f"{each['images']:08d}{n:08d}"} for n, each in enumerate(cells)]
    wanted = {"images": {"from": 100, "to": 400}, "until": "decided", "timing": {"repeats": 4}}
    ids = [each["id"] for each in named]
    ids += [f"none{n:012d}" for n in range(12 - len(ids))]
    folder.write_manifest(study(path.name, **wanted), ids, looks=[100, 200, 400])
    for each in named:
        folder.write(each)
    return summarise([path])


def test_the_answer_goes_by_the_times_of_a_steady_machine_and_figures_show_those_that_were_measured(
    tmp_path: Path,
) -> None:
    summary = looked(tmp_path / "run")
    (answer,) = summary.answers
    assert answer.winner is not None
    assert answer.winner["sampler"] == "good"
    assert answer.speedup == pytest.approx(4.0)
    assert "4.0 times faster (5.00 against 20.0 ms an image as on a steady machine)" in answer.sentence
    # of "good" 50 evaluations of 20 ms each, in batches of 100
    assert answer.winner["s_per_image_median"] == pytest.approx(0.01)


def test_the_pictures_are_of_the_looks_that_the_tables_show(tmp_path: Path) -> None:
    summary = looked(tmp_path / "run")
    assert [section.images for section in summary.sections] == [100, 400]
    assert len(tables(summary)) == 2
