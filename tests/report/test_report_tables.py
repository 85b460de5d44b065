"""Tables say the same in every rendering; a long one begins with who leads at each budget of evaluations."""

import math
import re
from pathlib import Path

import pytest
from renderings import tex_rows, ungrouped
from report_records import (
    BASELINE,
    column,
    failed,
    many,
    record,
    rows_in,
    section_of,
    summary_of,
    terminal,
    texts,
    timed,
    write_run,
    write_zoo,
)

from bench.report import summarise, write_report
from bench.report.data.columns import BUDGETS
from bench.report.data.text import NOTHING
from bench.report.figures.plots import FIGURES, worth_drawing
from bench.report.page import page
from bench.report.tables.leaderboard import LONG, is_long, leaderboard, leaders
from bench.report.tables.markup import html_table, markdown, markdown_table
from bench.report.tables.remarks import remarks
from bench.report.tables.table import columns
from bench.report.tables.tabular import latex_table
from bench.report.tables.tex import latex
from bench.report.write import FORMATS


def test_the_best_values_are_bold_on_their_rows_in_every_rendering(tmp_path: Path) -> None:
    cells = [
        record(
            *BASELINE, fd_digits=2.0, fd_digits_std=0.1, kid_mean=0.002, inception_score=9.0, precision=0.9, recall=0.8
        ),
        record(
            "heun", fd_digits=1.5, fd_digits_std=0.1, kid_mean=0.003, inception_score=8.0, precision=0.7, recall=0.85
        ),
    ]
    run = write_run(tmp_path / "run", cells)
    (section,) = summarise([run]).sections
    best = {"ddpm (baseline)": ["2.00", "9.00", "0.900"], "heun": ["1.50 ± 0.23", "0.850"]}
    for line in markdown_table(columns(section)).splitlines()[2:]:
        assert re.findall(r"\*\*(.+?)\*\*", line) == best[line.split("|")[1].strip()]
    for line in latex_table(columns(section)).splitlines():
        if line.startswith(("ddpm", "heun")):
            bold_cells = [each for each in line.removesuffix(r" \\").split(" & ") if each.startswith(r"\bfseries ")]
            assert [*tex_rows(rf"{' & '.join(bold_cells)} \\")[0]] == best[line.split(" & ")[0]]
    bold = re.findall(r'<td class="best">([^<]+)</td>', html_table(columns(section)))
    assert bold == [value for row in best.values() for value in row]
    assert ".best { font-weight: 700; }" in page(summarise([run]), {}, {})
    shown = re.findall(r"\x1b\[1(?:;36)?m *(\d[\d.]+)\x1b", rows_in(terminal([run])))
    assert shown == ["2.00", "9.00", "0.900", "1.50", "0.850"]


def test_values_that_read_alike_are_bold_together(tmp_path: Path) -> None:
    cells = [record(*BASELINE, fd_digits=1.234), record("heun", fd_digits=1.2341), record("ddim", fd_digits=1.3)]
    section = section_of(tmp_path, cells)
    shown = column(section, "FD")
    assert (shown.cells, shown.best) == (["1.23", "1.23", "1.30"], [True, True, False])


def test_all_renderings_say_the_same(quick: Path) -> None:
    (section,) = summarise([quick]).sections
    rows = list(zip(*(column.cells for column in columns(section)), strict=True))
    md = [
        [cell.strip(" *") for cell in line.split("|")[1:-1]]
        for line in markdown_table(columns(section)).splitlines()[2:]
    ]
    html = re.findall(r"<tr>(.*?)</tr>", html_table(columns(section)), re.DOTALL)[1:]
    body = tex_rows(latex_table(columns(section)))[1:]
    for n, row in enumerate(rows):
        assert tuple(md[n]) == row
        assert tuple(re.findall(r">([^<]+)</td>", html[n])) == row
        assert body[n] == ungrouped(row)
    numbers = re.sub(r"\x1b\[[\d;]*m", "", rows_in(terminal([quick]))).splitlines()[2:]
    for line, brief in zip(
        numbers, zip(*(c.brief for c in columns(section) if c.heading != "Grid"), strict=True), strict=False
    ):
        assert re.sub(r"\s+", " ", line).strip() == " ".join(brief)


ODD = "a_b|<i>&%#{}^~$\\*`[x](y)"


def test_special_characters_survive_in_every_rendering(tmp_path: Path) -> None:
    cells = [record(*BASELINE), record(ODD), failed(ODD, steps=3, error="ValueError: 100 % <script>\n& more_")]
    run = write_run(tmp_path / "run", cells, title="T & <T>_%")
    summary = summarise([run])
    (section,) = summary.sections
    assert r"a\_b\|\<i\>&%#{}^\~\$\\\*\`\[x\](y)" in markdown_table(columns(section))
    assert all(re.sub(r"\\.", "", line).count("|") == 12 for line in markdown_table(columns(section)).splitlines())
    special = r"a\_b\textbar{}\textless{}i\textgreater{}\&\%\#\{\}\textasciicircum{}\textasciitilde{}\$"
    assert special + r"\textbackslash{}{*}`{[}x](y)" in latex_table(columns(section))
    write_report([run], ["html"])
    page = (run / "index.html").read_text()
    assert "a_b|&lt;i&gt;&amp;%#{}^~$\\*`[x](y)" in page
    assert "<script>" not in page
    assert "<i>" not in page
    assert "<title>T &amp; &lt;T&gt;_%</title>" in page
    assert ODD in terminal([run])
    assert "100 \\% \\textless{}script\\textgreater{} \\& more\\_" in latex(summary)
    assert ODD in texts(FIGURES["time_split"](summary))


def test_latex_has_no_bare_special_character(quick: Path) -> None:
    body = [line for line in latex(summarise([quick])).splitlines() if not line.startswith("%")]
    assert body[-1] == "\\end{table*}"
    assert all("\\" + name in "".join(body) for name in ("toprule", "midrule", "bottomrule", "caption{"))
    opened = 0
    for line in body:
        if line.startswith("\\resizebox"):  # ours, whatever the cells; a line of its own closes it
            opened += 1
            continue
        if line == "}":
            opened -= 1
            continue
        bare = re.sub(
            r"\\(?:[&%$#_{}\\]|[a-zA-Z]+)|\$10\^\{3\}|\$ ?10\^\{3\}\$",
            "",
            line.replace(r"$\times 10^{3}$", "").replace(r"~\cite", ""),
        )
        assert not re.search(r"[%#_^~<>|±×↑↓–]", bare), line  # noqa: RUF001
        assert bare.count("{") == bare.count("}")
    assert opened == 0


def test_a_terminal_of_80_columns_shows_every_number_whole(quick: Path) -> None:
    shown = terminal([quick], width=80)
    (section,) = summarise([quick]).sections
    assert all(cell in shown for column in columns(section) if column.number for cell in column.brief)


def test_what_80_columns_have_no_room_for_is_said_to_stand_in_the_files(tmp_path: Path) -> None:
    more = {"fd_digits_inf": 1.0, "solver_rmse": 0.01}
    run = write_run(tmp_path / "run", [record(*BASELINE) | more, record("euler-maruyama") | more])
    shown = re.sub(r"\x1b\[[\d;]*m", "", terminal([run], width=80))
    assert "euler-maruyama" in shown
    assert "Overhead, Precision, Recall: in table.md." in " ".join(shown.split())
    (section,) = summarise([run]).sections
    kept = [column for column in columns(section) if column.heading.startswith(("FD", "KID", "IS", "Solver"))]
    assert all(cell in shown for column in kept for cell in column.brief)


@pytest.mark.parametrize(("images", "warned"), [(1000, True), (9_999, True), (10_000, False)])
def test_few_images_are_pointed_out_in_every_output(tmp_path: Path, images: int, warned: bool) -> None:
    cells = [record(*BASELINE, images=images), record(images=images)]
    run = write_run(tmp_path / "run", cells)
    write_report([run], ["md", "latex", "html"])
    summary = summarise([run])
    outputs = [(run / name).read_text() for name in ("table.md", "table.tex", "index.html")]
    outputs += [terminal([run]), *(texts(FIGURES[name](summary)) for name in worth_drawing(summary))]
    assert [f"Small N: {images:,} images a row" in text for text in outputs] == [warned] * 8


def test_what_was_not_measured_is_a_dash_and_never_best(tmp_path: Path) -> None:
    cells = [record(*BASELINE, kid_mean=None, kid_std=None), record(kid_mean=0.004, precision=None)]
    section = section_of(tmp_path, cells)
    shown = {column.heading: column for column in columns(section)}
    assert shown["KID ×10³ ↓"].cells == [NOTHING, "4.00"]
    assert shown["KID ×10³ ↓"].best == [False, True]
    assert shown["Precision ↑"].best == [True, False]


def test_a_metric_that_no_cell_has_has_no_column(tmp_path: Path) -> None:
    cells = [record(*BASELINE, recall=None), record(recall=None)]
    section = section_of(tmp_path, cells)
    assert "Recall ↑" not in [column.heading for column in columns(section)]


def test_an_interval_too_small_for_the_decimals_is_not_shown_as_zero(tmp_path: Path) -> None:
    cells = [record(seed=n, precision=0.5 + n * 0.0001, images=50_000) for n in range(3)]
    section = section_of(tmp_path, cells)
    assert "0.500 ± 0.0002" in markdown_table(columns(section))


def test_a_note_that_all_cells_of_a_method_have_is_given_once(tmp_path: Path) -> None:
    cells = [record(*BASELINE), *(record("heun", steps=n, note="known defect") for n in (5, 10))]
    cells += [record(steps=5, note="other"), record(steps=10)]
    said = remarks(summary_of(tmp_path, cells))
    assert [line for line in said if line.startswith("Note")] == [
        "Note: heun on trailing, 2 cells: known defect",
        "Note: ddim on trailing, 5 steps, seed 0: other",
    ]


def test_the_leader_of_a_budget_is_the_best_for_as_many_evaluations_or_fewer(tmp_path: Path) -> None:
    cells = [timed(*BASELINE[::2], 1.2, 1.0), timed("ddim", 5, 3.0, 0.1), timed("ddim", 10, 2.0, 0.1)]
    cells += [timed("dpm++2m", 5, 2.5, 0.1), timed("dpm++2m", 40, 2.6, 0.1)]
    section = section_of(tmp_path, cells)
    found = [(each.budget, each.row["sampler"], each.row["steps"]) for each in leaders(section)]
    assert found == [(5, "dpm++2m", 5), (10, "ddim", 10), (50, "ddim", 10), (math.inf, "ddpm", 200)]


def test_ties_are_the_best_rows_of_other_samplers_that_do_not_differ(tmp_path: Path) -> None:
    distances = {("a", 5): 1.00, ("b", 5): 1.01, ("b", 10): 1.02, ("c", 5): 3.0, ("a", 10): 1.03}
    cells = [
        timed(sampler, steps, fd + shift, 0.1, seed)
        for (sampler, steps), fd in distances.items()
        for seed, shift in enumerate((-0.05, 0.0, 0.05))
    ]
    section = section_of(tmp_path, cells)
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
    parts = [part for part in re.split(r"\\begin\{table\*?\}", tex) if ": all 201 rows, part" in part]
    rows = [re.findall(r"(?m)^(?:ddpm|sampler)[^&]*&.*$", part) for part in parts]
    assert max(map(len, rows)) <= 45
    assert [row.split(" & ")[0] for part in rows for row in part] == columns(section)[0].cells
    html = page(summary, {}, {})
    short, whole = (html_table(found) for found in (leaderboard(section), columns(section)))
    assert html.index(short) < html.index("<summary>All 201 rows</summary>") < html.index(whole)


def test_the_terminal_shows_the_leaderboard_of_a_long_table_only_and_where_the_rest_is(tmp_path: Path) -> None:
    shown = re.sub(r"\x1b\[[\d;]*m", "", rows_in(terminal([write_zoo(tmp_path / "run", many())], width=120)))
    assert len(shown.splitlines()) <= 20
    assert "All 201 rows: table.md, table.csv and index.html" in shown
    assert {"md", "csv", "html"} <= set(FORMATS)
    assert all(f"≤ {budget} " in shown for budget in BUDGETS)


@pytest.mark.parametrize(("rows", "expected"), [(LONG - 1, False), (LONG, True)])
def test_a_short_table_has_no_leaderboard(tmp_path: Path, rows: int, expected: bool) -> None:
    cells = [record(*BASELINE), *(record(steps=n) for n in range(1, rows))]
    summary = summary_of(tmp_path, cells)
    (section,) = summary.sections
    assert is_long(section) == ("Leaderboard" in markdown(summary)) == expected
    assert ("<summary>All " in page(summary, {}, {})) == expected


def test_without_distances_there_is_no_leaderboard(tmp_path: Path) -> None:
    section = section_of(tmp_path, [each | {"fd_digits": None} for each in many()])
    assert not is_long(section)
