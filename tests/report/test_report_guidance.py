"""Guidance tells rows apart everywhere, evaluations are counted under it, and older records stay as they are."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from report_records import (
    QUICK,
    block,
    column,
    failed,
    guided,
    in_mode,
    plain_text,
    record,
    section_of,
    summary_of,
    write_run,
)

from bench.record import Record
from bench.report import compare, pairs, summarise, write_report
from bench.report.data.columns import UNGUIDED, key_of, setting, with_columns
from bench.report.data.decided import left_out_columns
from bench.report.data.looks import follow
from bench.report.data.rows import aggregate
from bench.report.data.runs import NEEDED, load
from bench.report.data.series import all_series
from bench.report.data.sweeps import sweeps
from bench.report.figures.plots import FIGURES, worth_drawing
from bench.report.tables.blocks import blocks
from bench.report.tables.leaderboard import leaderboard
from bench.report.tables.markup import markdown
from bench.report.tables.paper import paper
from bench.report.tables.remarks import remarks
from bench.report.tables.table import columns

CFG, INTERVAL, AUTO = "cfg[scale=2]", "cfg[scale=3,low=0.2,high=5]", "auto[scale=2,model=digits-weak]"
BASELINE = {"sampler": "ddpm", "grid": "trailing", "steps": 200, "guidance": CFG}
SCALES = (1, 1.5, 2, 3, 5, 8)


def plain(sampler: str = "ddim", steps: int = 10, **changes: Any) -> Record:
    """A record of a time with guidance that has none."""
    found = record(sampler, steps=steps, **changes)
    return found | {"guidance": UNGUIDED, "calls": found["nfe"]}


def swept(budgets: tuple[int, ...] = (20,), scales: tuple[float, ...] = SCALES, **changes: Any) -> list[Record]:
    """Two samplers at several scales, without guidance, with a weaker network and in an interval."""
    cells = []
    for n, sampler in enumerate(("ddim", "dpm++2m")):
        for nfe in budgets:
            for scale in scales:
                values = {"fd_digits": 2.0 + (scale - 2) ** 2 + n, "precision": 0.7 + scale / 40 - n / 50}
                values |= {"recall": 0.9 - scale / 15 - n / 50} | changes
                cells.append(guided(f"cfg[scale={scale:g}]", sampler, nfe // 2, **values))
            cells += [guided(AUTO, sampler, nfe // 2, **changes), plain(sampler, nfe, **changes)]
            cells.append(guided(INTERVAL, sampler, int(nfe / 1.4), 1.4, **changes))
    return cells


def test_settings_that_differ_in_guidance_alone_are_rows_and_said_in_words(tmp_path: Path) -> None:
    cells = [guided(CFG), guided("cfg[scale=3]"), plain(), guided(CFG, seed=1)]
    rows = summary_of(tmp_path, cells).sections[0].records
    assert [(row["guidance"], row["seeds"], row["nfe"], row["calls"]) for row in rows] == [
        (CFG, 2, 20.0, 10.0), ("cfg[scale=3]", 1, 20.0, 10.0), (UNGUIDED, 1, 10.0, 10.0),
    ]  # fmt: skip
    assert [setting(row) for row in rows[::2]] == [
        "ddim on trailing at 10 steps with cfg[scale=2]",
        "ddim on trailing at 10 steps",
    ]
    guest = rows[0] | {"model": "other", "model_sha256": "e5" * 32}
    assert setting(guest) == "ddim on trailing at 10 steps with other and cfg[scale=2]"


@pytest.mark.parametrize("said", [CFG, UNGUIDED, None])
def test_the_baseline_is_the_row_of_its_guidance(tmp_path: Path, said: str | None) -> None:
    cells = [guided(CFG, "ddpm", 200), plain("ddpm", 200)]
    cells = cells if said == CFG else cells[::-1]
    there = {key: value for key, value in BASELINE.items() if key != "guidance"} | ({"guidance": said} if said else {})
    (section,) = summary_of(tmp_path, [*cells, guided(CFG)], baseline=there).sections
    assert [row["guidance"] for row in section.records if row["baseline"]] == [said or UNGUIDED]
    missing = summary_of(tmp_path / "missing", [guided("cfg[scale=9]")], baseline=there).answers[0].sentence
    assert f"ddpm on trailing at 200 steps{' with cfg[scale=2]' * (said == CFG)}) was not measured" in missing


def test_older_records_have_no_column_more_and_those_without_guidance_no_heading(tmp_path: Path) -> None:
    runs = {"old": QUICK, "none": [plain(), plain("heun")], "new": [plain(), guided(CFG)]}
    headings, written = {}, {}
    for name, cells in runs.items():
        run = write_run(tmp_path / name, cells)
        write_report([run], ["csv"])
        written[name] = [set(pd.read_csv(run / f"{file}.csv", nrows=0)) for file in ("table", "cells")]
        headings[name] = {each.heading for each in columns(summarise([run]).sections[0])}
    assert not any({"guidance", "guidance_model_sha256", "calls"} & found for found in written["old"])
    assert all({"guidance", "calls"} <= found for name in ("none", "new") for found in written[name])
    assert not {"Guidance", "Calls"} & (headings["old"] | headings["none"])
    assert {"Guidance", "Calls"} <= headings["new"]


def test_calls_stand_beside_evaluations_that_an_interval_makes_differ(tmp_path: Path) -> None:
    section = section_of(tmp_path, [plain(), guided(CFG), guided(INTERVAL, evaluations=1.4)])
    assert column(section, "Guidance").cells == [UNGUIDED, CFG, INTERVAL]
    assert column(section, "NFE").cells == ["10", "20", "14"]
    assert column(section, "Calls").cells == ["10"] * 3


def test_notes_say_how_evaluations_are_counted_and_what_the_weaker_network_costs(tmp_path: Path) -> None:
    cells = [plain(), guided(AUTO), guided(CFG) | {"guidance_batches": 2}]
    for shown in blocks(summary_of(tmp_path / "run", cells)):
        notes = " ".join(shown.notes)
        assert "a guided call takes two, or one outside its interval" in notes
        assert "weaker network digits-weak counts as one of the main network, at 25 % of its operations" in notes
        assert f"two calls of the network, one after the other, for want of memory: {CFG}." in notes
    silent = guided(AUTO) | {"guidance_gflop_per_evaluation": None}
    assert "counts as one of the main network.\n" in markdown(summary_of(tmp_path / "silent", [silent]))
    assert "guided call" not in markdown(summary_of(tmp_path / "old", QUICK))


def test_the_table_of_papers_has_a_line_a_guidance_by_evaluations(tmp_path: Path) -> None:
    cells = [guided(CFG, "ddpm", 200), *swept((20, 40), scales=(1, 2, 3))]
    summary = summary_of(tmp_path, cells, baseline=BASELINE, block=block(evaluations=[20, 40]))
    found = paper(summary.sections[0], summary)
    assert found is not None
    lines = dict(zip(found.table[0].brief, zip(*(each.brief for each in found.table[1:]), strict=True), strict=True))
    assert [each.heading for each in found.table[1:]] == ["NFE 20", "NFE 40", "NFE 400"]
    assert {"ddpm, cfg[scale=2] (baseline: 400 NFE)", "ddim", "ddim, cfg[scale=1]", f"ddim, {AUTO}"} <= set(lines)
    assert lines["ddim, cfg[scale=2]"] == ("2.00", "2.00", "–")  # noqa: RUF001
    assert [each.partition(" ")[0] for each in lines[f"ddim, {INTERVAL}"][:2]] == ["(19.6)", "(39.2)"]
    alike = summary_of(tmp_path / "alike", [guided(CFG), guided(CFG, "heun")])
    again = paper(alike.sections[0], alike)
    assert again is not None
    assert again.table[0].brief == ["ddim", "heun"]
    assert any(f"Guidance: {CFG}." in note for note in again.notes)


def test_the_leaderboard_names_the_guidance_of_the_best_and_of_its_ties(tmp_path: Path) -> None:
    cells = [guided(f"cfg[scale={n}]", fd_digits=2.0 + n / 1000, fd_digits_std=0.5) for n in range(1, 40)]
    found = {each.heading: each.cells for each in leaderboard(section_of(tmp_path, cells))}
    assert found["Guidance"][0] == "cfg[scale=1]"
    assert found["Ties"][0].startswith("ddim with cfg[scale=2], ddim with cfg[scale=3]")


def test_runs_are_compared_guidance_by_guidance_and_not_across_weaker_networks(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [plain(), guided(CFG), guided(AUTO)])
    b = write_run(tmp_path / "b", [guided(CFG), guided(AUTO) | {"guidance_model_sha256": "ff" * 32}])
    frame = compare(a, b).set_index("guidance")
    assert frame["comparable"].to_dict() == {UNGUIDED: False, CFG: True, AUTO: False}
    assert "guidance_model_sha256" in str(frame.loc[AUTO, "reason"])
    named = {*pairs(a)["a"], *pairs(a)["b"]}
    assert named == {f"ddim on trailing at 10 steps{end}" for end in ("", f" with {CFG}", f" with {AUTO}")}


def test_modes_are_compared_within_a_guidance(tmp_path: Path) -> None:
    both = [plain(), guided(CFG)]
    fast = [each | in_mode("bf16") | {"id": f"f{each['id'][1:]}"} for each in both]
    (section,) = summary_of(tmp_path, [*both, *fast], modes=["fp32", "bf16"]).sections
    assert [(each.row["guidance"], each.first["guidance"]) for each in section.modes] == [(UNGUIDED,) * 2, (CFG,) * 2]


def test_a_published_value_of_another_guidance_is_a_value_of_its_own(tmp_path: Path) -> None:
    cells = [guided(CFG, fd_digits=2.0), plain(fd_digits=9.0)]
    entry = {"column": "fd_digits", "value": 2.0, "tolerance": 0.1, "images": 1000, "source": "a paper"}
    run = write_run(tmp_path / "run", cells, published=[{"cell": each["id"], **entry} for each in cells])
    found = summarise([run]).published
    assert [(each.guidance, each.verdict) for each in found] == [(CFG, "within"), (UNGUIDED, "outside")]
    assert "Guidance" in {each.heading for each in blocks(summarise([run]))[-1].table}


def test_an_evaluation_of_another_kind_of_guidance_may_take_longer_without_a_warning(tmp_path: Path) -> None:
    """Halves in one batch take less than two evaluations, and so does a weaker network."""
    cells = [plain("ddim", n) for n in (10, 20, 40)]
    cells += [each | {"network_s": [0.7 * s for s in each["network_s"]]} for each in map(guided, (CFG, AUTO))]
    assert not any("Timing" in line for line in remarks(summary_of(tmp_path / "a", cells)))
    slow = guided("cfg[scale=7]") | {"latency_s": [9.5] * 4, "network_s": [9.0] * 4}
    summary = summary_of(tmp_path / "b", [*cells, guided(CFG, steps=20), slow])
    assert any("with cfg[scale=7]: an evaluation took" in line for line in remarks(summary))


def test_failed_cells_say_their_guidance(tmp_path: Path) -> None:
    lines = remarks(summary_of(tmp_path, [failed() | {"guidance": CFG}]))
    assert any("heun on trailing with cfg[scale=2], 5 steps" in each for each in lines)


def test_settings_left_out_as_images_grow_are_told_apart_by_guidance(tmp_path: Path) -> None:
    cells = [guided(CFG, "ddpm", 200, fd_digits_std=0.01), plain(fd_digits=1.0, fd_digits_std=0.01)]
    cells += [guided("cfg[scale=9]", fd_digits=50.0, fd_digits_std=0.01)]
    run, recorded = load(write_run(tmp_path / "run", cells, baseline=BASELINE), "run")
    found = with_columns(recorded, NEEDED)
    decisions = follow(found, aggregate(found), [1000, 2000], run.tolerance)
    assert len({key_of(each) for each in cells}) == 3
    out = list(decisions.out.values())
    assert [each.row["guidance"] for each in out] == ["cfg[scale=9]"]
    assert {each.heading: each.cells for each in left_out_columns(out)}["Guidance"] == ["cfg[scale=9]"]


def test_a_line_is_of_one_guidance_and_named_with_it(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, swept((20, 40), scales=(1, 2)))
    (section,) = summary.sections
    found = all_series(section.rows, section, summary)
    assert all(np.all(np.diff([row["nfe"] for row in each.rows]) > 0) for each in found)
    assert {each.label for each in found} >= {"ddim", "ddim, cfg[scale=1]", "ddim, cfg[scale=2]", f"ddim, {INTERVAL}"}
    assert len({each.label for each in found}) == len(found) == 10


def test_what_guidance_does_is_drawn_from_three_scales_on(tmp_path: Path) -> None:
    drawn = {"guidance", "precision_recall"}
    few = summary_of(tmp_path / "few", swept(scales=(1, 2)))
    assert not drawn & set(worth_drawing(few))
    with pytest.raises(ValueError, match="nothing to draw"):
        FIGURES["guidance"](few)
    assert drawn <= set(worth_drawing(summary_of(tmp_path / "many", swept(scales=(1, 2, 3)))))
    lone = summary_of(tmp_path / "lone", [each | {"recall": None} for each in swept(scales=(1, 2, 3))])
    assert drawn & set(worth_drawing(lone)) == {"guidance"}
    apart = [guided(f"cfg[scale={n}]", steps=5 * 4**n) for n in range(3)]  # of as many evaluations there is one
    assert not drawn & set(worth_drawing(summary_of(tmp_path / "apart", apart)))


@pytest.mark.parametrize(("scales", "axis"), [(SCALES, "log"), ((1, 2, 4), "linear"), ((0, 1, 8), "linear")])
def test_quality_is_drawn_against_the_scale_with_a_row_a_budget(
    tmp_path: Path, scales: tuple[float, ...], axis: str
) -> None:
    summary = summary_of(tmp_path, swept((20, 40), scales), block=block(evaluations=[20, 40]))
    assert [each.evaluations for each in sweeps(summary)] == [20, 40]
    figure = FIGURES["guidance"](summary)
    assert len(figure.axes) == 2 * 3
    assert {each.get_xscale() for each in figure.axes} == {axis}
    first, precision = figure.axes[0], figure.axes[1]
    rows = {(row["sampler"], row["guidance"]): row for row in summary.sections[0].records if row["nfe"] <= 20}
    lines = {tuple(np.asarray(each.get_ydata())): tuple(np.asarray(each.get_xdata())) for each in first.lines}
    assert lines[tuple(2.0 + (scale - 2) ** 2 for scale in scales)] == scales
    heights = [np.asarray(each.get_ydata()) for each in precision.lines]
    levels = {float(each[0]) for each in heights if np.ptp(each) == 0}
    assert {rows["ddim", UNGUIDED]["precision"], rows["dpm++2m", AUTO]["precision"]} <= levels


def test_class_accuracy_stands_beside_that_of_real_images(tmp_path: Path) -> None:
    figure = FIGURES["guidance"](summary_of(tmp_path, swept(class_accuracy=0.9, class_accuracy_real=0.98)))
    assert [each.get_ylabel() for each in figure.axes][3:] == ["Class accuracy ↑"]
    assert 0.98 in {float(np.asarray(each.get_ydata())[0]) for each in figure.axes[3].lines}
    assert "real images" in plain_text(figure)


def test_without_a_row_without_guidance_scale_1_is_what_others_are_seen_beside(tmp_path: Path) -> None:
    cells = [each for each in swept() if each["guidance"] not in (UNGUIDED, INTERVAL, AUTO)]
    summary = summary_of(tmp_path, cells)
    assert [each.plain and each.plain["guidance"] for each in sweeps(summary)[0].sweeps] == ["cfg[scale=1]"] * 2
    said = plain_text(FIGURES["guidance"](summary))
    assert "scale 1, as without guidance" in said
    assert "scale of cfg" in said


def words_of(figure: Figure) -> list[tuple[str, Bbox]]:
    """All words of a figure that are drawn, and where."""
    figure.draw_without_rendering()
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
    ticks = {id(tick) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for tick in _outside(axis)}
    return [(each.get_text(), each.get_window_extent()) for each in found if id(each) not in ticks]


def _outside(axis: Any) -> list[Text]:
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    hidden = [each.label1 for each in ticks if not low <= each.get_loc() <= high or not each.label1.get_visible()]
    return [*hidden, *(each.label2 for each in ticks), axis.offsetText]


@pytest.mark.parametrize("name", ["guidance", "precision_recall"])
def test_nothing_in_figures_of_guidance_overlaps(tmp_path: Path, name: str) -> None:
    summary = summary_of(tmp_path, swept((20, 40)), block=block(evaluations=[20, 40]))
    figure = FIGURES[name](summary)
    found = words_of(figure)
    clashes = [(a, b) for (a, one), (b, other) in combinations(found, 2) if one.padded(-1).overlaps(other.padded(-1))]
    assert clashes == []
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for _, box in found)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for _, box in found)
    if name == "precision_recall":
        numbers = [text for text, _ in found]
        assert all(numbers.count(f"{scale:g}") >= 4 for scale in SCALES)  # of two samplers in two panels


def test_precision_is_drawn_against_recall_along_the_scale(tmp_path: Path) -> None:
    figure = FIGURES["precision_recall"](summary_of(tmp_path, swept()))
    (axes,) = figure.axes
    line = axes.lines[0]
    assert list(np.asarray(line.get_xdata())) == pytest.approx([0.9 - scale / 15 for scale in SCALES])
    assert list(np.asarray(line.get_ydata())) == pytest.approx([0.7 + scale / 40 for scale in SCALES])
    assert "without guidance, as many NFE" in plain_text(figure)
