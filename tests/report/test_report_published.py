"""Published values are compared with what was measured by their protocol, and with nothing else."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_records import BASELINE, failed, record, terminal, without_digests, write_run

from bench.record import Record, RunFolder
from bench.report import summarise, write_report
from bench.report.data.published import Comparison, published_notes
from bench.report.page import page

SOURCE = "arXiv:2010.02502, table 1"


def paper(steps: int = 10, seed: int = 0, fid: float | None = 13.36, **changes: Any) -> Record:
    """A cell by the protocol of the literature."""
    return record(steps=steps, seed=seed, **({"fd_digits": None, "fid": fid, "images": 50_000} | changes))


def entry(cell: Record, value: float = 13.36, **changes: Any) -> dict[str, Any]:
    values = {"column": "fid", "value": value, "tolerance": 0.04, "images": 50_000, "source": SOURCE}
    return {"cell": cell["id"]} | values | changes


def compared(folder: Path, cells: list[Record], entries: list[dict[str, Any]]) -> list[Comparison]:
    return summarise([write_run(folder / "run", cells, published=entries)]).published


@pytest.mark.parametrize(
    ("value", "measured", "verdict"),
    [
        (10.0, 10.4, "within"),
        (10.0, 9.6, "within"),
        (10.0, 10.4001, "outside"),
        (10.0, 9.5999, "outside"),
        (13.36, 13.36 * 1.04, "within"),
        (13.36, 13.36 * 0.96, "within"),
    ],
)
def test_a_value_at_the_edge_of_the_tolerance_is_within(
    tmp_path: Path, value: float, measured: float, verdict: str
) -> None:
    cell = paper(fid=measured)
    (found,) = compared(tmp_path, [cell], [entry(cell, value)])
    assert (found.verdict, found.reason) == (verdict, None)
    assert found.words == f"{verdict} 4 %"
    assert found.difference == pytest.approx(measured / value - 1)


INCOMPARABLE: list[tuple[dict[str, Any], str]] = [
    ({"images": 1000}, "1,000 images instead of 50,000"),
    ({"fid": None, "fd_inception": 13.36}, "fd_inception instead of fid"),
    ({"fid": None, "fd_digits": 13.36, "images": 1000}, "1,000 images instead of 50,000, fd_digits instead of fid"),
    ({"fid": None}, "fid was not measured"),
]


@pytest.mark.parametrize(("change", "reason"), INCOMPARABLE, ids=lambda each: str(each))
def test_what_was_measured_otherwise_gets_no_verdict_however_near_it_is(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    cell = paper(**change)
    (found,) = compared(tmp_path, [cell], [entry(cell)])
    assert (found.verdict, found.words) == ("not comparable", f"not comparable: {reason}")
    assert (found.measured, found.ci, found.difference) == (None, None, None)


def test_cells_that_failed_or_are_still_to_come_are_named(tmp_path: Path) -> None:
    broken, coming, silent = failed("ddim", steps=5), paper(20), paper(50)
    where: dict[str, Any] = {"sampler": "ddim", "grid": "trailing", "steps": 20}
    entries = [entry(broken), entry(coming, **where), entry(silent)]
    run = write_run(tmp_path / "run", [broken, coming, silent], published=entries)
    for each in (coming, silent):
        (RunFolder(run).cells / f"{each['id']}.json").unlink()
    found = summarise([run]).published
    assert [each.words for each in found] == [
        "failed: BadSamples: 3 of 250 images of a batch hold NaN or Inf",
        *["not measured yet"] * 2,
    ]
    assert [(each.sampler, each.steps) for each in found] == [("ddim", 5), ("ddim", 20), (None, None)]
    assert published_notes(found)[0] == "Published values: 0 of 3 within tolerance, 1 failed, 2 not measured yet."
    assert "not measured yet" in terminal([run])


def test_the_seeds_of_a_setting_are_one_value_and_one_row(tmp_path: Path) -> None:
    cells = [paper(seed=n, fid=13.0 + n / 10) for n in range(3)] + [failed("ddim", steps=10, seed=3, images=50_000)]
    for order in (cells, cells[::-1]):
        (found,) = compared(tmp_path / order[0]["id"], order, [entry(each) for each in order])
        assert (found.verdict, found.seeds) == ("within", 3)
        assert (found.measured, found.ci) == pytest.approx((13.1, 4.302653 * 0.1 / 3**0.5))


def test_a_seed_that_is_still_to_come_does_not_hide_the_others_nor_counts(tmp_path: Path) -> None:
    where: dict[str, Any] = {"sampler": "ddim", "grid": "trailing", "steps": 10}
    for waiting in (0, 2):
        cells = [paper(seed=n) for n in range(3)]
        run = write_run(tmp_path / str(waiting), cells, published=[entry(each, **where) for each in cells])
        (RunFolder(run).cells / f"{cells[waiting]['id']}.json").unlink()
        (found,) = summarise([run]).published
        assert (found.verdict, found.seeds) == ("within", 2)


@pytest.mark.parametrize("change", [{"clip": [-1.0, 1.0]}, {"model": "other", "model_sha256": "ff" * 32}])
def test_the_same_value_of_another_model_or_of_clamped_data_is_not_hidden(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    cells = [paper(), paper(fid=99.0, **change) | {"id": "0123456789abcdef"}]
    found = compared(tmp_path, cells, [entry(each) for each in cells])
    assert [(each.measured, each.verdict) for each in found] == [(13.36, "within"), (99.0, "outside")]
    assert (found[0].model, found[0].clip) != (found[1].model, found[1].clip)


def test_a_setting_may_be_published_twice_with_different_values(tmp_path: Path) -> None:
    cell = paper()
    found = compared(tmp_path, [cell], [entry(cell), entry(cell, 18.96, source="a rerun")])
    assert [(each.source, each.verdict) for each in found] == [(SOURCE, "within"), ("a rerun", "outside")]


@pytest.fixture
def paper_table(tmp_path: Path) -> Path:
    """A run of a paper's table: one entry within, one outside, one not comparable."""
    cells = [paper(steps, fid=fid, fid_std=0.05) for steps, fid in ((10, 13.50), (20, 7.80))]
    cells += [record(*BASELINE, images=50_000)]
    return write_run(tmp_path / "run", cells, published=[entry(cells[0]), entry(cells[1], 6.84), entry(cells[2], 4.04)])


def test_every_output_shows_the_table_and_counts(paper_table: Path) -> None:
    write_report([paper_table], ["md", "latex", "csv"])
    said = "Published values: 1 of 3 within tolerance, 1 outside, 1 not comparable."
    shown = [(paper_table / name).read_text() for name in ("table.md", "table.tex")]
    shown += [page(summarise([paper_table]), {}, {}), " ".join(terminal([paper_table]).split())]
    for text in shown:
        assert said in text
        assert all(word in text for word in ("13.36", "13.50", "+1.0", "7.80", "+14.0", "outside 4"))
    assert "| 13.50 ± 0.11 |" in " ".join(shown[0].split())
    assert "**within 4 %**" in shown[0]
    assert f"Source: {SOURCE}." in shown[3]
    table = pd.read_csv(paper_table / "published.csv")
    assert table["verdict"].tolist() == ["within", "outside", "not comparable"]
    assert table["difference"].tolist()[:2] == pytest.approx([13.50 / 13.36 - 1, 7.80 / 6.84 - 1])
    assert table["reason"].tolist()[2] == "fd_digits instead of fid"


ALL = "The checkpoint's average may be another."
ONE = "Its x_0 is clamped at 99.5 % of |x_0|; ours is not."


def test_every_output_names_what_is_open_about_a_protocol_once_and_where(tmp_path: Path) -> None:
    """A point of the study is about all of its values, a block's about its source, which is named with it."""
    cells = [paper(steps) for steps in (10, 20, 50)]
    entries = [entry(each, source="A") for each in cells[:2]] + [entry(cells[2], source="B", open_points=[ONE])]
    run = write_run(tmp_path / "run", cells, entries, open_points=[ALL])
    found = summarise([run]).published
    assert [each.open_points for each in found] == [(ALL,), (ALL,), (ALL, ONE)]
    assert published_notes(found)[2:] == [f"Open: {ALL}", f"Open (B): {ONE}"]
    write_report([run], ["md", "latex", "csv"])
    shown = [(run / name).read_text() for name in ("table.md", "table.tex")]
    shown += [html.unescape(page(summarise([run]), {}, {})), " ".join(terminal([run]).split())]
    for text in shown:
        written = text.partition("<h2>Study:")[0]  # a page has the study itself below
        # as LaTeX and Markdown escape it, or not
        plain = re.sub(r"\\text\w+\{\}|[\\${}]", "", written)
        assert plain.count("average may be another") == 1
        assert plain.count("clamped at 99.5 % of") == 1
        assert "Open (B):" in plain
    assert pd.read_csv(run / "published.csv")["open_points"].tolist() == [ALL, ALL, f"{ALL}; {ONE}"]


def test_a_point_about_another_runs_values_names_its_sources(tmp_path: Path) -> None:
    one, other = paper(10), paper(20)
    runs = [
        write_run(tmp_path / "a", [one], [entry(one, source="A")], open_points=[ALL]),
        write_run(tmp_path / "b", [other], [entry(other, source="B")]),
    ]
    assert published_notes(summarise(runs).published)[2:] == [f"Open (A): {ALL}"]


def test_the_table_of_a_paper_fits_80_columns(paper_table: Path) -> None:
    lines = terminal([paper_table], width=80)
    assert all(word in lines for word in ("13.36", "13.50", "+1.0 %", "6.84", "7.80", "+14.0 %"))


def test_runs_without_published_values_show_nothing_of_it(quick: Path) -> None:
    write_report([quick], ["md", "latex", "csv"])
    texts = [(quick / name).read_text() for name in ("table.md", "table.tex")] + [page(summarise([quick]), {}, {})]
    assert not any("ublished" in text.partition("<style>")[0] + text.partition("</style>")[2] for text in texts)
    assert not (quick / "published.csv").exists()


def test_a_manifest_from_before_there_were_published_values_is_read(tmp_path: Path) -> None:
    run = without_digests(write_run(tmp_path / "run", [record()]))
    manifest = run / "study.json"
    content = {key: value for key, value in RunFolder(run).manifest().items() if key != "published"}
    manifest.write_text(json.dumps(content))
    assert summarise([run]).published == []
