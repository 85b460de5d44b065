"""Rows of one study that ran on several models stand in one table, and say which model they ran on."""

from pathlib import Path
from typing import Any

import pytest
from report_records import BASELINE, SUBJECT, failed, record, timed, write_run

from bench.record import Record
from bench.report import compare, summarise
from bench.report.data.series import all_series
from bench.report.figures.plots import FIGURES
from bench.report.tables.markup import markdown, markdown_table
from bench.report.tables.remarks import remarks
from bench.report.tables.table import columns

VAE: dict[str, Any] = {"model": "vae", "model_sha256": "e5" * 32, "subject_sha256": SUBJECT}
PUBLISHED = Path(__file__).parents[2] / "results" / "published"


def one_step(fd: float, seconds: float, **changes: Any) -> Record:
    return timed("one-step", 1, fd, seconds) | VAE | {"id": "e" * 16, "grid": "native"} | changes


def test_rows_on_other_models_are_ranked_with_the_subjects_and_named(tmp_path: Path) -> None:
    cells = [timed(*BASELINE[::2], 1.2, 1.0), timed("ddim", 10, 1.25, 0.1), one_step(1.3, 0.01)]
    summary = summarise([write_run(tmp_path / "run", cells)])
    (section,) = summary.sections
    assert section.label.startswith(f"model digits ({SUBJECT[:8]}), ")
    shown = {column.heading: column.cells for column in columns(section)}
    assert shown["Model"] == ["digits", "digits", "vae"]
    assert summary.answers[0].sentence.startswith("one-step on native at 1 step with vae (")
    assert [each.label for each in all_series(section.rows, section, summary)] == [
        "ddpm, trailing",
        "ddim, trailing",
        "one-step, native, vae",
    ]


def test_rows_on_one_model_do_not_name_it(tmp_path: Path) -> None:
    summary = summarise([write_run(tmp_path / "run", [timed(*BASELINE[::2], 1.2, 1.0), timed("ddim", 10, 1.25, 0.1)])])
    assert "Model" not in [column.heading for column in columns(summary.sections[0])]
    assert "with digits" not in markdown(summary)


def test_the_baseline_is_that_of_the_subject_only(tmp_path: Path) -> None:
    cells = [record(*BASELINE), record(*BASELINE, **VAE), failed(*BASELINE, seed=1, **VAE)]
    summary = summarise([write_run(tmp_path / "run", cells)])
    assert summary.table["baseline"].tolist() == [True, False]
    assert "vae: ddpm on trailing, 200 steps, seed 1" in remarks(summary)[0]
    assert "was not measured" in summarise([write_run(tmp_path / "other", cells[1:])]).answers[0].sentence


def test_models_of_one_name_are_told_apart_by_their_weights(tmp_path: Path) -> None:
    cells = [record(*BASELINE), *(record(steps=n, **VAE | {"model_sha256": f"e{n}" * 32}) for n in (1, 2))]
    (section,) = summarise([write_run(tmp_path / "run", cells)]).sections
    assert section.rows["model"].tolist() == ["digits", "vae (e1e1e1e1)", "vae (e2e2e2e2)"]


def test_the_pace_of_a_network_is_compared_with_its_own_only(tmp_path: Path) -> None:
    slow = {"latency_s": [9.0], "network_s": [9.0]}
    cells = [record(*BASELINE), record(), one_step(1.3, 0.01, **slow)]
    assert not [line for line in remarks(summarise([write_run(tmp_path / "run", cells)])) if "Timing" in line]


def test_studies_of_different_subjects_are_never_ranked_with_one_another(tmp_path: Path) -> None:
    cells = [record(), one_step(1.3, 0.01, subject_sha256="f6" * 32)]
    runs = [write_run(tmp_path / name, [cell]) for name, cell in zip("ab", cells, strict=True)]
    assert [section.label.split(",")[0] for section in summarise(runs).sections] == [
        f"model digits ({SUBJECT[:8]})",
        "model f6f6f6f6",
    ]


def test_compare_refuses_another_models_weights_even_of_one_subject(tmp_path: Path) -> None:
    cells = [one_step(1.3, 0.01), one_step(1.4, 0.01, model_sha256="f7" * 32)]
    a, b = (write_run(tmp_path / name, [cell]) for name, cell in zip("ab", cells, strict=True))
    (row,) = compare(a, b).to_dict("records")
    assert (row["quality_comparable"], row["reason"]) == (False, "quality not comparable: different model_sha256")


def test_the_pictures_of_a_model_stand_in_a_line_of_their_own(tmp_path: Path) -> None:
    cells = [record(*BASELINE), record(steps=5), record(steps=5, **VAE)]
    figure = FIGURES["images"](summarise([write_run(tmp_path / "run", cells)]))
    assert [text.get_text() for text in figure.texts].count("ddim") == 2
    assert "with vae" in [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("run", ["digits", "oracle"])
def test_the_published_records_give_the_published_tables(run: str) -> None:
    folder = PUBLISHED / run
    sections = summarise([folder]).sections
    assert sections
    for section in sections:
        assert markdown_table(columns(section)) in (folder / "table.md").read_text()
