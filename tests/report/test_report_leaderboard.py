"""A long table begins with who leads at each budget of evaluations, and nothing of the whole is lost."""

import math
import re
from pathlib import Path

import pytest
from report_records import BASELINE, many, record, terminal, timed, write_run, write_zoo

from bench.report import summarise
from bench.report.data.columns import BUDGETS
from bench.report.page import page
from bench.report.tables.leaderboard import LONG, is_long, leaderboard, leaders
from bench.report.tables.markup import latex, markdown, markdown_table
from bench.report.tables.table import columns
from bench.report.write import FORMATS


def test_the_leader_of_a_budget_is_the_best_for_as_many_evaluations_or_fewer(tmp_path: Path) -> None:
    cells = [timed(*BASELINE[::2], 1.2, 1.0), timed("ddim", 5, 3.0, 0.1), timed("ddim", 10, 2.0, 0.1)]
    cells += [timed("dpm++2m", 5, 2.5, 0.1), timed("dpm++2m", 40, 2.6, 0.1)]
    (section,) = summarise([write_run(tmp_path / "run", cells)]).sections
    found = [(each.budget, each.row["sampler"], each.row["steps"]) for each in leaders(section)]
    assert found == [(5, "dpm++2m", 5), (10, "ddim", 10), (50, "ddim", 10), (math.inf, "ddpm", 200)]


def test_ties_are_the_best_rows_of_other_samplers_that_do_not_differ(tmp_path: Path) -> None:
    distances = {("a", 5): 1.00, ("b", 5): 1.01, ("b", 10): 1.02, ("c", 5): 3.0, ("a", 10): 1.03}
    cells = [
        timed(sampler, steps, fd + shift, 0.1, seed)
        for (sampler, steps), fd in distances.items()
        for seed, shift in enumerate((-0.05, 0.0, 0.05))
    ]
    (section,) = summarise([write_run(tmp_path / "run", cells)]).sections
    last = leaders(section)[-1]
    assert last.alike is not None
    assert (last.row["sampler"], [(row["sampler"], row["steps"]) for row in last.alike]) == ("a", [("b", 5)])


def test_what_has_no_standard_deviation_is_said_not_to_be_tested(tmp_path: Path) -> None:
    (section,) = summarise([write_zoo(tmp_path / "run", many())]).sections
    shown = {column.heading: column.cells for column in leaderboard(section)}
    assert shown["Ties"] == ["not tested"] * (len(BUDGETS) + 1) + ["–"]  # noqa: RUF001
    assert shown["Sampler"][-1] == "ddpm (baseline)"


def test_a_long_table_follows_its_leaderboard_whole(tmp_path: Path) -> None:
    summary = summarise([write_zoo(tmp_path / "run", many())])
    (section,) = summary.sections
    text = markdown(summary)
    assert (
        text.index("| ≤ 5 ")
        < text.index("<summary>All 201 rows</summary>")
        < text.index(markdown_table(columns(section)))
    )
    tex = latex(summary)
    parts = tex.split(r"\begin{table}")[2:]
    rows = [re.findall(r"(?m)^(?:ddpm|sampler)[^&]*&.*$", part) for part in parts]
    assert max(map(len, rows)) <= 45
    assert [row.split(" & ")[0] for part in rows for row in part] == columns(section)[0].cells
    html = page(summary, {}, {})
    assert html.index('id="T_leaders0"') < html.index("<summary>All 201 rows</summary>") < html.index('id="T_table0"')


def test_the_terminal_shows_the_leaderboard_of_a_long_table_only_and_where_the_rest_is(tmp_path: Path) -> None:
    shown = re.sub(r"\x1b\[[\d;]*m", "", terminal([write_zoo(tmp_path / "run", many())], width=120))
    assert len(shown.splitlines()) <= 20
    assert "All 201 rows: table.md, table.csv and index.html" in shown
    assert {"md", "csv", "html"} <= set(FORMATS)
    assert all(f"≤ {budget} " in shown for budget in BUDGETS)


@pytest.mark.parametrize(("rows", "expected"), [(LONG - 1, False), (LONG, True)])
def test_a_short_table_has_no_leaderboard(tmp_path: Path, rows: int, expected: bool) -> None:
    cells = [record(*BASELINE), *(record(steps=n) for n in range(1, rows))]
    summary = summarise([write_run(tmp_path / "run", cells)])
    (section,) = summary.sections
    assert is_long(section) == ("Leaderboard" in markdown(summary)) == expected
    assert ("T_leaders0" in page(summary, {}, {})) == expected


def test_without_distances_there_is_no_leaderboard(tmp_path: Path) -> None:
    (section,) = summarise([write_run(tmp_path / "run", [each | {"fd_digits": None} for each in many()])]).sections
    assert not is_long(section)
