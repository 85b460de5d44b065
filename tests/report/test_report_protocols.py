"""Only what is comparable is compared, whatever model it ran on; and what is unusual is said."""

from pathlib import Path
from typing import Any

import pytest
from report_records import (
    BASELINE,
    PROTOCOLS,
    SUBJECT,
    failed,
    record,
    section_of,
    summary_of,
    terminal,
    timed,
    write_run,
)

from bench.record import Record
from bench.report import compare, summarise
from bench.report.data.series import all_series
from bench.report.figures.plots import FIGURES
from bench.report.tables.markup import markdown, markdown_table
from bench.report.tables.notes import notes
from bench.report.tables.paper import paper
from bench.report.tables.remarks import remarks
from bench.report.tables.table import columns


@pytest.mark.parametrize("change", PROTOCOLS, ids=lambda change: next(iter(change)))
def test_rows_are_never_ranked_across_protocols(tmp_path: Path, change: dict[str, Any]) -> None:
    good = [record(*BASELINE, fd_digits=1.0), record(steps=10, fd_digits=1.05, nfe=10.0)]
    bad = [record(*BASELINE, fd_digits=9.0, **change), record("heun", steps=20, fd_digits=8.0, nfe=39.0, **change)]
    a, b = write_run(tmp_path / "a", good), write_run(tmp_path / "b", bad)
    summary = summarise([a, b])
    assert len(summary.sections) == len(summary.answers) == 2
    first, second = summary.sections
    assert first.label != second.label
    assert "**1.00**" in markdown_table(columns(first))
    assert "**8.00**" in markdown_table(columns(second))
    assert second.rows["pareto_nfe"].tolist() == [False, True]
    winners = [answer.winner["sampler"] if answer.winner else None for answer in summary.answers]
    assert winners == ["ddim", "heun"]
    assert all(
        label in answer.sentence for label, answer in zip((first.label, second.label), summary.answers, strict=True)
    )


def test_times_of_different_devices_are_never_compared(tmp_path: Path) -> None:
    slow = [record(*BASELINE, fd_digits=1.0), record(fd_digits=1.05)]
    times: dict[str, Any] = {"latency_s": [1e-6], "network_s": [1e-6], "device_name": "GPU"}
    fast = [record(*BASELINE, fd_digits=1.0, **times), record("heun", fd_digits=1.05, **times)]
    summary = summarise([write_run(tmp_path / "a", slow), write_run(tmp_path / "b", fast)])
    (section,) = summary.sections
    assert [answer.baseline["device_name"] for answer in section.answers if answer.baseline] == [
        "Example CPU @ 2.00GHz, 2 threads",
        "GPU",
    ]
    assert section.answers[0].winner is not None
    assert section.answers[0].winner["sampler"] == "ddim"
    assert section.rows["pareto_seconds"].tolist() == [True, True, True, False]
    assert "GPU" in markdown_table(columns(section))
    assert len(FIGURES["quality_vs_seconds"](summary).axes) == 2
    assert len(FIGURES["quality_vs_nfe"](summary).axes) == 1


def test_the_terminal_shows_the_samplers_and_the_rows_of_every_protocol(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [record(*BASELINE)])
    b = write_run(tmp_path / "b", [record(*BASELINE, images=2000)])
    shown = terminal([a, b])
    assert "1,000 images a row" in shown
    assert "2,000 images a row" in shown
    assert shown.count("Sampler") == 4


NEW: Record = {
    "value_range": [-1.0, 1.0],
    "labels": None,
    "extractor_layer": "features",
    "extractor_batch": 250,
    "extractor_official": False,
    "model_source": "digits",
}


def seeds(folder: Path, *changes: Record) -> list[int]:
    """The seeds of the rows of records that differ in seed and these changes."""
    cells = [record(seed=n, **each) for n, each in enumerate(changes)]
    return [int(count) for count in summarise([write_run(folder / "run", cells)]).table["seeds"]]


def test_where_the_same_checkpoint_was_read_from_does_not_split_a_row(tmp_path: Path) -> None:
    assert seeds(tmp_path, {"model_source": "hf:a/b@1"}, {"model_source": "some/folder"}) == [2]


@pytest.mark.parametrize("change", [{"labels": [0, 1]}, {"value_range": [0, 1]}, {"extractor_batch": 64}], ids=str)
def test_what_changes_images_or_features_splits_a_row(tmp_path: Path, change: Record) -> None:
    assert seeds(tmp_path, NEW, NEW | change) == [1, 1]


def said(folder: Path, **changes: Any) -> str:
    (section,) = summarise([write_run(folder / "run", [record(**NEW | changes)])]).sections
    return " ".join(notes(section))


def test_the_usual_is_not_said(tmp_path: Path) -> None:
    words = ("Checkpoint", "Value range", "layer", "batches", "Extractor", "labels", "does not say", "use the features")
    assert not [word for word in words if word in said(tmp_path)]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model_source": "hf:owner/name@abc"}, "Checkpoint: digits from hf:owner/name@abc."),
        ({"value_range": [0, 1]}, "Value range of the network's images: [0.0, 1.0]."),
        ({"labels": "uniform"}, ", quantiser round, labels uniform."),
        (
            {"extractor": "inception", "extractor_layer": "2048", "extractor_batch": 64},
            "Extractor inception: weights b2b2b2b2, which are not the official ones.",
        ),
        ({"extractor_layer": "2048", "extractor_batch": 64}, "layer 2048, features in batches of 64, 1,000 images"),
        (
            {"reference_features": 1000},
            "Reference digits: KID, precision and recall use the features of 1,000 of its 1,797 images.",
        ),
        ({"reference_count": None}, "Reference digits: it does not say how many images it is made from, nor how."),
    ],
)
def test_the_unusual_is_said(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    assert text in said(tmp_path, **changes)


VAE: dict[str, Any] = {"model": "vae", "model_sha256": "e5" * 32, "subject_sha256": SUBJECT}
PUBLISHED = Path(__file__).parents[2] / "results" / "published"


def one_step(fd: float, seconds: float, **changes: Any) -> Record:
    return timed("one-step", 1, fd, seconds) | VAE | {"id": "e" * 16, "grid": "native"} | changes


def test_rows_on_other_models_are_ranked_with_the_subjects_and_named(tmp_path: Path) -> None:
    cells = [timed(*BASELINE[::2], 1.2, 1.0), timed("ddim", 10, 1.25, 0.1), one_step(1.3, 0.01)]
    summary = summary_of(tmp_path, cells)
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
    summary = summary_of(tmp_path, [timed(*BASELINE[::2], 1.2, 1.0), timed("ddim", 10, 1.25, 0.1)])
    assert "Model" not in [column.heading for column in columns(summary.sections[0])]
    assert "with digits" not in markdown(summary)


def test_the_baseline_is_that_of_the_subject_only(tmp_path: Path) -> None:
    cells = [record(*BASELINE), record(*BASELINE, **VAE), failed(*BASELINE, seed=1, **VAE)]
    summary = summary_of(tmp_path, cells)
    assert summary.table["baseline"].tolist() == [True, False]
    assert "vae: ddpm on trailing, 200 steps, seed 1" in remarks(summary)[0]
    assert "was not measured" in summarise([write_run(tmp_path / "other", cells[1:])]).answers[0].sentence


def test_models_of_one_name_are_told_apart_by_their_weights(tmp_path: Path) -> None:
    cells = [record(*BASELINE), *(record(steps=n, **VAE | {"model_sha256": f"e{n}" * 32}) for n in (1, 2))]
    section = section_of(tmp_path, cells)
    assert section.rows["model"].tolist() == ["digits", "vae (e1e1e1e1)", "vae (e2e2e2e2)"]


def test_the_pace_of_a_network_is_compared_with_its_own_only(tmp_path: Path) -> None:
    slow = {"latency_s": [9.0], "network_s": [9.0]}
    cells = [record(*BASELINE), record(), one_step(1.3, 0.01, **slow)]
    assert not [line for line in remarks(summary_of(tmp_path, cells)) if "Timing" in line]


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
    figure = FIGURES["images"](summary_of(tmp_path, cells))
    assert [text.get_text() for text in figure.texts].count("ddim") == 2
    assert "with vae" in [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("run", ["digits", "oracle", "modes"])
def test_the_published_records_give_the_published_tables(run: str) -> None:
    folder = PUBLISHED / run
    summary = summarise([folder])
    assert summary.sections
    for section in summary.sections:
        samplers = paper(section, summary)
        assert samplers is not None
        for table in (samplers.table, columns(section)):
            assert markdown_table(table) in (folder / "table.md").read_text()
