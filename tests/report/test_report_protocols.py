"""Only what is comparable is compared."""

from pathlib import Path
from typing import Any

import pytest
from report_records import BASELINE, PROTOCOLS, record, terminal, write_run

from bench.report import summarise
from bench.report.figures.plots import FIGURES
from bench.report.tables.markup import markdown_table
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


def test_the_terminal_shows_a_table_for_every_protocol(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [record(*BASELINE)])
    b = write_run(tmp_path / "b", [record(*BASELINE, images=2000)])
    shown = terminal([a, b])
    assert "1,000 images a row" in shown
    assert "2,000 images a row" in shown
    assert shown.count("Sampler") == 2
