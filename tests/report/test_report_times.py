"""Times are divided by what was timed, have their uncertainty, and say where they do not hold up."""

from pathlib import Path

import pytest
from report_records import BASELINE, column, record, row_of, section_of, summary_of, terminal, untimed, write_run

from bench.record import Record
from bench.report import compare, summarise, write_report
from bench.report.data.columns import reasons
from bench.report.data.section import Section
from bench.report.data.text import DOUBTFUL, NOTHING
from bench.report.figures.plots import FIGURES, worth_drawing
from bench.report.page import page
from bench.report.tables.markup import markdown
from bench.report.tables.notes import notes
from bench.report.tables.remarks import drifting, remarks, timing_warnings
from bench.report.tables.table import columns
from bench.report.tables.tex import latex
from bench.timing.bootstrap import median_interval

INVALID: Record = {"timing_valid": False, "timing_note": "another process used the device"}


def cells_of(section: Section, heading: str) -> list[str]:
    return column(section, heading).cells


def test_of_pooled_cells_only_those_timed_with_as_many_images_count(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [record(timed_batch=64, latency_s=[3.2], network_s=[1.6])])
    b = write_run(tmp_path / "b", [record(seed=1, timed_batch=32, latency_s=[9.9], network_s=[9.9])])
    (row,) = summarise([a, b]).table.to_dict("records")
    assert (row["timed_batch"], row["timed_calls"], row["s_per_image_median"]) == (64, 1, 0.05)


def test_the_times_of_a_setting_are_those_of_its_first_seed(tmp_path: Path) -> None:
    cells = [record(latency_s=[1.0, 2.0, 3.0], network_s=None), *(untimed(record(seed=n)) for n in (1, 2))]
    row = row_of(write_run(tmp_path / "run", cells), "ddim", 10)
    assert (row["seeds"], row["timed_calls"], row["latency_s_median"], row["timed_batch"]) == (3, 3, 2.0, 250)


def test_a_call_without_a_time_inside_the_network_has_no_overhead(tmp_path: Path) -> None:
    cells = [record(*BASELINE), record(mode="fp32+graph", latency_s=[0.5], network_s=None, captured=True)]
    section = section_of(tmp_path, cells)
    assert cells_of(section, "ms/image")[1] == "2.00"
    assert cells_of(section, "Overhead")[1] == NOTHING
    assert not timing_warnings(section)


def test_evaluations_that_overlap_have_no_share_of_a_call_and_no_overhead_below_zero(tmp_path: Path) -> None:
    row = row_of(write_run(tmp_path / "run", [record(latency_s=[0.1, 0.2], network_s=[0.16, 0.1])]), "ddim", 10)
    assert row["latency_s_median"] == pytest.approx(0.15)
    assert all(row[name] != row[name] for name in ("network_s_median", "overhead_s_median", "overhead_fraction"))


def test_a_panel_of_times_stands_only_where_something_was_timed(tmp_path: Path) -> None:
    cells = [record(*BASELINE), record(), *(untimed(each) for each in (record("ddpm", images=99), record(images=99)))]
    summary = summary_of(tmp_path, cells)
    assert [len(FIGURES[name](summary).axes) for name in ("quality_vs_nfe", "quality_vs_seconds")] == [2, 1]
    assert [axes.get_xlabel() != "" for axes in FIGURES["time_split"](summary).axes] == [True]


@pytest.mark.parametrize("timed", [0, 1, 3])
def test_settings_without_times_show_none_and_nothing_else_is_lost(tmp_path: Path, timed: int) -> None:
    cells = [record(*BASELINE, batch="auto", timed_batch=250), *(record(steps=n, batch="auto") for n in (5, 10))]
    cells = [each | {"timed_batch": 250} if n < timed else untimed(each) for n, each in enumerate(cells)]
    run = write_run(tmp_path / "run", cells, batch="auto")
    write_report([run], ["md", "latex", "csv", "parquet"], tmp_path)
    summary = summarise([run])
    assert page(summary, {}, {})
    drawn = worth_drawing(summary)
    assert ("quality_vs_seconds" in drawn, "time_split" in drawn) == (timed > 0, timed > 0)
    for name in drawn:
        FIGURES[name](summary).draw_without_rendering()
    (section,) = summary.sections
    assert [row["timed_calls"] > 0 for row in section.records] == [n < timed for n in range(3)]
    (label,) = [label for label, _ in section.clocks()]
    assert label.endswith("batch 250" if timed else "not timed")
    shown = [column.heading for column in columns(section)]
    assert ("ms/image" in shown) == (timed > 0)
    assert cells_of(section, "FD (digits) ↓").count(NOTHING) == 0
    said = " ".join(notes(section))
    assert ("Not timed: 2 of 3 rows" in said) == (timed == 1)
    assert ("Nothing was timed; run on Example CPU @ 2.00GHz, 2 threads, fp32." in said) == (timed == 0)
    assert ("Time: median of whole calls" in said, "not timed" in said) == (timed > 0, False)
    expected = {0: "nothing was timed", 1: "no other setting has both a time and a fd_digits", 3: "fd_digits"}[timed]
    assert expected in summary.answers[0].sentence


def test_the_interval_of_a_time_is_the_bootstraps_and_stands_in_the_files_only(tmp_path: Path) -> None:
    times = [1.0, 1.1, 1.2, 1.3, 1.5, 1.9]
    run = write_run(tmp_path / "run", [record(*BASELINE), record(latency_s=times, network_s=times)])
    (section,) = summarise([run]).sections
    row = section.records[1]
    assert (row["latency_s_ci_low"], row["latency_s_ci_high"]) == median_interval(times)
    half = 500 * (row["latency_s_ci_high"] - row["latency_s_ci_low"]) / 250
    shown = column(section, "ms/image")
    assert (shown.cells[1], shown.brief[1]) == (f"5.00 ± {half:.2f}", "5.00")
    assert "±" not in shown.cells[0]  # four calls
    assert "±: half its 95 % bootstrap interval, in rows of 5 rounds or more." in " ".join(notes(section))
    assert "±" not in terminal([run]).split("Small N")[0]


def test_intervals_are_of_rounds_however_many_calls_each_has(tmp_path: Path) -> None:
    rounds = [1.0, 1.1, 1.2, 1.3, 1.9]
    times = [seconds for seconds in rounds for _ in range(50)]
    many: Record = {"latency_s": times, "network_s": times, "timing_calls": [50] * 5}
    few: Record = {"latency_s": times[:150], "network_s": times[:150], "timing_calls": [50] * 3}
    section = section_of(tmp_path, [record(*BASELINE), record(**many), record("heun", **few)])
    row = section.records[1]
    assert (row["timed_calls"], row["timed_rounds"]) == (250, 5)
    assert (row["latency_s_ci_low"], row["latency_s_ci_high"]) == median_interval(rounds)
    assert ["±" in cell for cell in cells_of(section, "ms/image")] == [False, True, False]


def test_times_that_do_not_hold_up_are_marked_named_and_explained_in_every_output(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record(*BASELINE), record(**INVALID), record("heun", timing_valid=True)])
    summary = summarise([run])
    (section,) = summary.sections
    assert [cell.endswith(f" {DOUBTFUL}") for cell in cells_of(section, "ms/image")] == [False, True, False]
    assert r"$\ddagger$" in latex(summary)
    reason = "times that do not hold up (another process used the device)."
    remark = "Timing: ddim on trailing at 10 steps: its times do not hold up (another process used the device)."
    for text in (markdown(summary), latex(summary), page(summary, {}, {})):
        assert reason in text
        assert remark in text
    assert f"{DOUBTFUL}: {reason}" in " ".join(terminal([run]).split())


def test_an_answer_by_times_that_do_not_hold_up_says_so(tmp_path: Path) -> None:
    pairs: list[tuple[Record, Record]] = [({}, INVALID), (INVALID, {}), ({}, {})]
    for n, (baseline, other) in enumerate(pairs):
        rows = [record(*BASELINE, fd_digits=1.0, **baseline), record(fd_digits=1.0, **other)]
        (answer,) = summarise([write_run(tmp_path / str(n), rows)]).answers
        assert ("times that do not hold up" in answer.sentence) == (n < 2)


def test_a_drift_of_the_machine_and_times_that_do_not_hold_up_are_one_remark(tmp_path: Path) -> None:
    slow: Record = {"latency_s": [9.0], "network_s": [8.0]}
    usual = [record(*BASELINE), *(record("heun", steps=n) for n in (5, 10))]
    cells = [*usual, record(**slow), record("dpm++2m", **slow, **INVALID)]
    lines = [line for line in remarks(summary_of(tmp_path, cells)) if "Timing" in line]
    assert len(lines) == 2
    assert "which the machine did and not the sampler" in lines[0]
    assert lines[1].startswith("Timing: dpm++2m on trailing at 10 steps: its times do not hold up (another process")
    assert "; an evaluation took" in lines[1]


def test_many_doubtful_rows_are_counted_by_reason(tmp_path: Path) -> None:
    cells = [record(steps=n, **INVALID | {"timing_note": f"reason {n % 2}"}) for n in range(2, 32)]
    (line,) = [line for line in remarks(summary_of(tmp_path, cells)) if "Timing" in line]
    assert "the times of 30 of 30 rows do not hold up (reason 0; reason 1)" in line


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        (["times spread by 12 %"], "times spread by 12 %"),
        (["a 1; b 2", "b 4", None, "b 4"], "a 1; b 2; b 4; no reason was recorded"),
        ([f"times spread by {n} %" for n in (12, 9.5, 30, 11)], "times spread by 9.5 to 30 %"),
        (["a 1; b 2", "b 4", "b 3", None], "b 2 to 4; a 1; no reason was recorded"),
        ([*"abcde", "e"], "e; a; b; and 2 other reasons"),
    ],
)
def test_many_reasons_are_told_in_few_words(notes: list[str | None], expected: str) -> None:
    assert reasons([{"timing_note": each} for each in notes]) == expected


def test_latex_marks_the_rows_that_others_find_in_the_csv(tmp_path: Path) -> None:
    usual = [record(steps=n, latency_s=[0.01 * n], network_s=[0.01 * n]) for n in range(5, 20)]
    slow = [record("heun", steps=n, latency_s=[0.05 * n], network_s=[0.05 * n]) for n in range(3, 10)]
    base = record(*BASELINE, latency_s=[2.0], network_s=[2.0])
    summary = summary_of(tmp_path, [base, *usual, *slow])
    (section,) = summary.sections
    assert drifting(section) == [row["sampler"] == "heun" for row in section.records]
    tex = latex(summary)
    assert tex.count(r"{\,\S{}} &") == len(slow)
    assert r"(marked \S{})" in tex
    assert "table.csv" not in tex
    assert "in table.csv" in markdown(summary)


def test_networks_in_different_modes_have_paces_of_their_own(tmp_path: Path) -> None:
    fast: Record = {"latency_s": [0.05], "network_s": [0.04], "mode": "bf16+compile"}
    cells = [record(*BASELINE), record(), record("heun"), record(**fast), record("dpm++2m", **fast)]
    assert not [line for line in remarks(summary_of(tmp_path, cells)) if "Timing" in line]


def test_columns_of_a_sweep_and_of_energy_stand_where_they_were_measured(tmp_path: Path) -> None:
    swept: Record = {"latency_1_s_median": 0.0123, "best_batch": 512, "best_throughput_img_per_s": 4321.0}
    section = section_of(tmp_path, [record(*BASELINE), record(**swept, energy_j_per_image=0.25)])
    assert cells_of(section, "Latency at 1") == [NOTHING, "12.3 ms"]
    assert cells_of(section, "img/s at best batch") == [NOTHING, "4,321 at 512"]
    assert cells_of(section, "J/image") == [NOTHING, "0.250"]
    assert section.records[1]["best_batch"] == 512
    plain = columns(section_of(tmp_path / "plain", [record(*BASELINE), record()]))
    needless = {"Latency at 1", "img/s at best batch", "J/image", "Batch", "Timed batch", "Mode"}
    assert not needless & {column.heading for column in plain}


def test_calls_that_could_not_be_captured_are_named(tmp_path: Path) -> None:
    graph: Record = {"mode": "fp32+graph"}
    cells = [record(*BASELINE), record(**graph, captured=True), record("heun", **graph, captured=False)]
    section = section_of(tmp_path, cells)
    (note,) = [note for note in notes(section) if note.startswith("Graph")]
    assert note.endswith("could not be captured: heun on trailing in fp32+graph.")
    assert [row["captured"] for row in section.records] == [None, True, False]


def test_different_timed_batches_are_shown_and_never_compared(tmp_path: Path) -> None:
    cells = [record(*BASELINE, batch="auto", timed_batch=250), record(batch="auto", timed_batch=500)]
    section = section_of(tmp_path, cells)
    assert [int(size) for size in cells_of(section, "Timed batch")] == [250, 500]
    assert len(section.clocks()) == 2
    assert "was measured on Example CPU @ 2.00GHz, 2 threads, fp32, batch 250" in section.answers[1].sentence
    a, b = (write_run(tmp_path / f"{n}", [record(batch="auto", timed_batch=n)]) for n in (250, 500))
    (row,) = compare(a, b).to_dict("records")
    assert (row["quality_comparable"], row["reason"]) == (True, "time not comparable: different timed_batch")
