"""Execution modes: one more choice beside the sampler's, whose cost and gain are told seed by seed."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report_records import (
    BASELINE,
    column,
    failed,
    record,
    summary_of,
    terminal,
    untimed,
    write_run,
)
from scipy import stats

from bench.record import Record
from bench.report import compare, summarise, write_report
from bench.report.data.modes import TITLE, mode_columns, mode_notes
from bench.report.data.section import Section
from bench.report.data.series import all_series
from bench.report.data.text import DOUBTFUL
from bench.report.figures.plots import FIGURES, worth_drawing
from bench.report.page import page
from bench.report.tables.blocks import MANY_MODES as MANY
from bench.report.tables.leaderboard import leaders
from bench.report.tables.markup import markdown
from bench.report.tables.tex import latex
from bench.timing.bootstrap import ratio_of_medians

FAST = "bf16+compile"
MODES = ["fp32", FAST]
SPREAD = (-0.3, 0.0, 0.3)


def in_two_modes(
    sampler: str = "ddim", steps: int = 10, shifts: tuple[float, ...] = (0.015, 0.02, 0.025), **changes: Any
) -> list[Record]:
    """Three seeds far apart, in fp32 and, 1.6 times as fast and each a little worse, in another mode."""
    found = []
    for mode, speed, worse in (("fp32", 1.0, (0.0,) * 3), (FAST, 1 / 1.6, shifts)):
        for seed, (spread, shift) in enumerate(zip(SPREAD, worse, strict=False)):
            times = [speed * seconds for seconds in (1.0, 1.1, 0.9, 1.05, 1.2)]
            cell = record(sampler, steps=steps, seed=seed, mode=mode, latency_s=times, network_s=times, **changes)
            cell |= {"fd_digits": 2.0 + spread + shift, "kid_mean": 0.002 + (spread + shift) / 1000}
            found.append(cell if seed == 0 else untimed(cell))
    return found


def section_of(folder: Path, cells: list[Record], **changes: Any) -> Section:
    (section,) = summary_of(folder, cells, **{"modes": MODES} | changes).sections
    return section


def test_rows_of_all_modes_stand_on_one_front_and_answer_one_question(tmp_path: Path) -> None:
    slow = [record(*BASELINE, fd_digits=1.0), record(fd_digits=1.05)]
    fast = [record(*BASELINE, mode=FAST, fd_digits=1.0), record(mode=FAST, fd_digits=1.06)]
    times = {"latency_s": [1e-3], "network_s": [1e-3]}
    section = section_of(tmp_path, [*slow, *(each | times for each in fast)])
    assert [label for label, _ in section.clocks()] == ["Example CPU @ 2.00GHz, 2 threads, batch 250"]
    assert section.rows["baseline"].tolist() == [True, False, False, False]
    assert section.rows["pareto_seconds"].tolist() == [False, False, True, False]
    (answer,) = section.answers
    assert answer.sentence.startswith(f"ddpm on trailing at 200 steps in {FAST} (200 evaluations) is the fastest")
    assert "(1.00, ddpm on trailing at 200 steps): " in answer.sentence
    assert column(section, "Mode").cells == ["fp32"] * 2 + [FAST] * 2


def test_a_baseline_that_failed_in_the_first_mode_is_named_with_it(tmp_path: Path) -> None:
    cells = [failed(*BASELINE, mode=FAST), record(*BASELINE), record(mode=FAST)]
    section = section_of(tmp_path, cells, modes=[FAST, "fp32"])
    assert f"the baseline (ddpm on trailing at 200 steps in {FAST}) failed" in section.answers[0].sentence


def test_a_line_of_a_figure_is_of_one_mode_and_named_by_it_where_there_are_several(tmp_path: Path) -> None:
    cells = [record(steps=n, mode=mode) for mode in MODES for n in (5, 10)]
    summary = summary_of(tmp_path, [record(*BASELINE), *cells], modes=MODES)
    (section,) = summary.sections
    found = all_series(section.rows, section, summary)
    assert [each.label for each in found] == ["ddpm", "ddim", f"ddim, {FAST}"]
    assert [{row["mode"] for row in each.rows} for each in found] == [{"fp32"}, {"fp32"}, {FAST}]
    looks = [each.look for each in found[1:]]
    assert looks[0] != looks[1]
    assert looks[0].colour == looks[1].colour
    words = [text.get_text() for text in FIGURES["images"](summary).texts]
    assert words.count("ddim") == 1
    assert any("In fp32 unless named" in word for word in words)


def test_speed_up_and_differences_are_those_of_independent_tests(tmp_path: Path) -> None:
    section = section_of(tmp_path, [record(*BASELINE), *in_two_modes(shifts=(0.01, 0.02, 0.06))])
    (found,) = section.modes
    times = [[speed * seconds for seconds in (1.0, 1.1, 0.9, 1.05, 1.2)] for speed in (1.0, 1 / 1.6)]
    assert (found.speedup, found.low, found.high) == pytest.approx(ratio_of_medians(*times))
    assert found.speedup == pytest.approx(1.6)
    distance, kid = found.differences
    expected = stats.ttest_rel([2.0 - 0.3 + 0.01, 2.02, 2.36], [1.7, 2.0, 2.3])
    interval = expected.confidence_interval()
    assert (distance.mean - distance.ci, distance.mean + distance.ci) == pytest.approx((interval.low, interval.high))
    assert distance.p == pytest.approx(expected.pvalue)
    assert distance.mean == pytest.approx(0.03)
    assert (distance.seeds, distance.alike) == (3, True)
    assert kid.quality.key == "kid_mean"
    assert kid.mean == pytest.approx(0.03 / 1000)


def test_what_seeds_differ_by_does_not_hide_what_a_mode_costs(tmp_path: Path) -> None:
    section = section_of(tmp_path, [record(*BASELINE), *in_two_modes()])
    assert not section.modes[0].differences[0].alike  # pairs have a standard deviation of 0.005, seeds of 0.3
    shown = {column.heading: column.cells for column in mode_columns(section.modes)}
    assert shown["Mode"] == [FAST]
    assert shown["Speed-up"][0].startswith("1.60× (1.")
    assert shown["Δ FD (digits)"] == [f"+0.020 ± {4.302653 * 0.005 / 3**0.5:.3f}"]
    assert shown["Δ KID ×10³"] == ["+0.02 ± 0.01"]


def test_equal_images_differ_by_nothing_and_cannot_be_told_apart(tmp_path: Path) -> None:
    (found,) = section_of(tmp_path, [record(*BASELINE), *in_two_modes(shifts=(0.0, 0.0, 0.0))]).modes
    assert [(each.mean, each.p) for each in found.differences] == [(0.0, 1.0)] * 2
    assert all(math.isnan(each.ci) for each in found.differences)


def test_only_seeds_that_both_modes_have_are_compared_and_one_has_no_interval(tmp_path: Path) -> None:
    cells = [cell for cell in in_two_modes() if cell["mode"] == "fp32" or cell["seed"] == 2]
    (found,) = section_of(tmp_path, [record(*BASELINE), *cells]).modes
    distance = found.differences[0]
    assert distance.mean == pytest.approx(0.025)
    assert (distance.seeds, distance.p) == (1, None)
    assert np.isnan(distance.ci)
    assert np.isnan(found.speedup)  # the other mode's first seed is not there
    assert "Of one seed, a difference has no interval and is not tested." in mode_notes([found])
    assert mode_columns([found])[-2].cells == ["+0.025"]


def test_one_seed_is_compared_in_pairs_of_its_images_where_records_have_what_that_takes(tmp_path: Path) -> None:
    luck = np.random.default_rng(0).normal(size=(2, 10))
    left_out = {"fp32": 1.7 + 0.3 * luck[0], FAST: 1.71 + 0.3 * luck[0] + 0.01 * luck[1]}
    cells = [
        cell | {"fd_digits_left_out": left_out[cell["mode"]].tolist()} for cell in in_two_modes() if cell["seed"] == 0
    ]
    (found,) = section_of(tmp_path, [record(*BASELINE), *cells]).modes
    distance, kid = found.differences
    error = math.sqrt(0.9 * np.square(0.01 * (luck[1] - luck[1].mean())).sum())
    assert distance.ci == pytest.approx(stats.t.ppf(0.975, 9) * error)
    assert distance.p == pytest.approx(2 * stats.t.sf(distance.mean / error, 9))
    assert (kid.p, math.isnan(kid.ci)) == (None, True)


def test_the_first_mode_is_tested_against_all_others_by_holms_procedure(tmp_path: Path) -> None:
    """One whose p is 0.03 is told from the first mode if it is the only other, and not beside two more."""
    shifts = {"bf16": (0.010, 0.012, 0.0132), "fp16": (0.01, -0.01, 0.002), FAST: (0.005, 0.0062, 0.009)}
    cells = [record(*BASELINE)]
    for mode, each in {"fp32": (0.0, 0.0, 0.0), **shifts}.items():
        distances = [1.5 + 0.3 * seed + shift for seed, shift in enumerate(each)]
        nothing: dict[str, Any] = {"kid_mean": None, "kid_std": None}
        cells += [record(mode=mode, seed=seed, fd_digits=fd, **nothing) for seed, fd in enumerate(distances)]
    section = section_of(tmp_path, cells, modes=["fp32", *shifts])
    found = {each.row["mode"]: each.differences[0] for each in section.modes}
    alone = {mode: float(stats.ttest_1samp(each, 0.0).pvalue) for mode, each in shifts.items()}
    assert {mode: each.p for mode, each in found.items()} == pytest.approx(alone)
    assert alone["bf16"] < alone[FAST] < 0.05 < alone["fp16"]
    corrected = {"bf16": 3 * alone["bf16"], FAST: 2 * alone[FAST], "fp16": alone["fp16"]}
    assert {mode: each.p_holm for mode, each in found.items()} == pytest.approx(corrected)
    assert {mode for mode, each in found.items() if each.alike} == {FAST, "fp16"}
    assert any("by Holm's procedure for the modes of a setting" in line for line in mode_notes(section.modes))


def test_a_mode_is_not_compared_with_what_failed_nor_with_another_setting(tmp_path: Path) -> None:
    cells = [record(*BASELINE), failed("heun"), record("heun", steps=5, mode=FAST), record("ddim", mode=FAST)]
    assert section_of(tmp_path, [*cells, record("ddim", steps=11)]).modes == []


def test_the_first_mode_is_that_of_the_study(tmp_path: Path) -> None:
    cells = [record(*BASELINE, mode=FAST), *in_two_modes()]
    (found,) = section_of(tmp_path, cells, modes=[FAST, "fp32"]).modes
    assert (found.first["mode"], found.row["mode"]) == (FAST, "fp32")
    assert found.speedup == pytest.approx(1 / 1.6)


def test_calls_that_were_timed_in_other_batches_are_compared_by_image_and_that_is_said(tmp_path: Path) -> None:
    cells = [cell | {"timed_batch": cell["timed_batch"] and 500} for cell in in_two_modes() if cell["mode"] == FAST]
    cells += [cell for cell in in_two_modes() if cell["mode"] == "fp32"]
    (found,) = section_of(tmp_path, [record(*BASELINE), *cells]).modes
    assert found.speedup == pytest.approx(3.2)
    assert any("timed in other batches" in line for line in mode_notes([found]))


def test_a_speed_up_over_times_that_do_not_hold_up_is_marked(tmp_path: Path) -> None:
    cells = in_two_modes()
    cells[0] |= {"timing_valid": False, "timing_note": "another process used the device"}  # of the first mode
    (found,) = section_of(tmp_path, [record(*BASELINE), *cells]).modes
    shown = {column.heading: column for column in mode_columns([found])}["Speed-up"]
    assert all(text.endswith(DOUBTFUL) for text in (shown.cells[0], shown.brief[0]))
    assert f"{DOUBTFUL}: of times that do not hold up." in mode_notes([found])


def test_every_output_shows_what_modes_cost(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record(*BASELINE), *in_two_modes()], modes=MODES)
    write_report([run], ["md", "latex", "csv"])
    summary = summarise([run])
    outputs = [(run / name).read_text() for name in ("table.md", "table.tex")]
    outputs += [page(summary, {}, {}), " ".join(terminal([run]).split())]
    for text in outputs:
        assert all(word in text for word in ("1.60", "+0.020", "Speed-up", "bootstrap interval"))
    assert f"### {TITLE}" in outputs[0]
    assert "$\\Delta$ FD (digits)" in outputs[1]
    (line,) = pd.read_csv(run / "modes.csv").to_dict("records")
    assert (line["mode"], line["first_mode"], line["speedup"]) == (FAST, "fp32", pytest.approx(1.6))
    assert line["fd_digits_difference"] == pytest.approx(0.02)
    assert line["fd_digits_difference_seeds"] == 3
    lines = terminal([run], width=80)
    assert all(word in lines for word in ("1.60×", "+0.020", "+0.02"))


def test_studies_of_one_mode_show_nothing_of_it(quick: Path) -> None:
    summary = summarise([quick])
    assert not any(TITLE in text for text in (markdown(summary), latex(summary), page(summary, {}, {})))
    assert "modes" not in worth_drawing(summary)
    write_report([quick], ["csv"])
    assert not (quick / "modes.csv").exists()


def test_of_many_settings_the_terminal_shows_a_line_for_each_mode(tmp_path: Path) -> None:
    cells = [cell for n in range(2, MANY + 4) for cell in in_two_modes(steps=n) if cell["seed"] == 0]
    run = write_run(tmp_path / "run", [record(*BASELINE), *cells], modes=MODES)
    shown = terminal([run], width=120)
    assert shown.count(FAST) <= 8  # the leaders at each budget, and one line of modes
    assert f"All {MANY + 2} lines: table.md and modes.csv" in " ".join(shown.split())
    assert f"\n{FAST}" in shown
    assert latex(summarise([run])).count(FAST) >= 2 * (MANY + 2)


def test_the_figure_of_modes_has_a_point_for_each_pair(tmp_path: Path) -> None:
    cells = [record(*BASELINE), *in_two_modes(), *in_two_modes("heun", shifts=(0.1, -0.1, 0.3))]
    summary = summary_of(tmp_path, cells, modes=MODES)
    assert "modes" in worth_drawing(summary)
    axes = FIGURES["modes"](summary).axes[0]
    points = {
        str(line.get_markerfacecolor()): (line.get_xdata(), line.get_ydata())
        for line in axes.lines
        if line.get_marker() == "o" and len(np.asarray(line.get_xdata()))
    }
    hollow = points.pop("white")
    ((x, y),) = points.values()
    assert (np.asarray(x).tolist(), np.asarray(y).tolist()) == (pytest.approx([1.6]), pytest.approx([1.0]))
    assert np.asarray(hollow[1]).tolist() == pytest.approx([5.0])  # 0.1 of 2.0 on average, and much less sure


def test_the_same_sampler_in_another_mode_is_no_tie_of_the_leader(tmp_path: Path) -> None:
    cells = [record(*BASELINE), *in_two_modes(), *in_two_modes("heun")]
    last = leaders(section_of(tmp_path, cells))[-1]
    assert (last.row["sampler"], last.row["mode"]) == ("ddim", "fp32")
    assert [row["sampler"] for row in last.alike or []] == ["heun"]


def test_two_runs_are_compared_mode_by_mode(tmp_path: Path) -> None:
    a, b = (write_run(tmp_path / name, [record(mode=mode) for mode in MODES]) for name in "ab")
    assert compare(a, b)[["mode", "latency_ratio"]].to_numpy().tolist() == [["fp32", 1.0], [FAST, 1.0]]
    other = write_run(tmp_path / "other", [record(mode="fp16")])
    assert compare(a, other)["reason"].tolist() == ["no result in b"] * 2 + ["no result in a"]


def test_a_published_value_has_a_line_for_each_mode(tmp_path: Path) -> None:
    cells = [record(mode=mode, fd_digits=fd) for mode, fd in zip(MODES, (1.0, 2.0), strict=True)]
    entries = [
        {"cell": cell["id"], "column": "fd_digits", "value": 1.0, "tolerance": 0.04, "images": 1000, "source": "s"}
        for cell in cells
    ]
    run = write_run(tmp_path / "run", cells, published=entries, modes=MODES)
    assert [(each.mode, each.verdict) for each in summarise([run]).published] == [("fp32", "within"), (FAST, "outside")]
    assert f"| {FAST} " in markdown(summarise([run])).partition("Published against measured")[2]


def test_a_mode_is_part_of_what_a_row_is(tmp_path: Path) -> None:
    (first, second) = summary_of(tmp_path, [record(), record(seed=1), record(steps=20, mode=FAST)]).sections[0].records
    assert (second["mode"], second["dtype"], second["compile"]) == (FAST, "bf16", True)
    assert (first["seeds"], second["seeds"]) == (2, 1)


def test_a_terminal_of_80_columns_has_room_for_the_names_of_modes(tmp_path: Path) -> None:
    cells = [record(*BASELINE), *(record("euler-maruyama", mode=mode) for mode in MODES)]
    lines = terminal([write_run(tmp_path / "run", cells, modes=MODES)], width=80)
    assert f"\neuler-maruyama  {FAST} " in lines
    assert "Overhead, Precision, Recall: in table.md." in " ".join(lines.split())
