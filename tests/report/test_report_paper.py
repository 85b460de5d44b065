"""The table of samplers by budget as it is shown: first in every rendering, and readable where room is short."""

import re
from pathlib import Path

from renderings import tex_rows, ungrouped
from report_records import BASE, BUDGETS, FAMILIES, block, cell, many, summary_of, terminal, write_run, write_zoo

from bench.report import summarise, write_report
from bench.report.page import page
from bench.report.tables.markup import html_table, markdown, markdown_table
from bench.report.tables.paper import MOST_COLUMNS, paper
from bench.report.tables.tex import latex


def test_it_stands_first_in_every_rendering_which_say_the_same(tmp_path: Path) -> None:
    cells = [BASE, *(cell(f"s{n}", 5, 1.0 + n, family=FAMILIES[n]) for n in range(3))]
    run = write_run(tmp_path / "run", cells, block=block(**BUDGETS))
    write_report([run], ["md", "latex", "html"])
    summary = summarise([run])
    found = paper(summary.sections[0], summary)
    assert found is not None
    rows = list(zip(*(column.cells for column in found.table), strict=True))
    md, tex, html = ((run / name).read_text() for name in ("table.md", "table.tex", "index.html"))
    assert md.index(markdown_table(found.table)) < md.index("ms/image |")
    body = tex_rows(tex.partition(r"\end{tabular}")[0])[1:]
    assert body == [ungrouped(row) if row[1] else row[:1] for row in rows]
    assert tex.partition(r"\end{tabular}")[0].count(r"\midrule") == 1 + len(found.groups) == 4
    assert html.index('<div class="wide paper">') < html.index('<div class="wide rows">')
    drawn = re.findall(r"<tr[^>]*>(.*?)</tr>", html_table(found.table, found.groups), re.DOTALL)[1:]
    assert [tuple(re.findall(r">([^<]*)</td>", line)) for line in drawn] == rows
    assert '<div class="wide paper">' in html
    text = re.sub(r"\x1b\[[\d;]*m", "", terminal([run]))
    assert text.index("NFE") < text.index("ms/img")


def test_a_terminal_of_80_columns_has_the_columns_that_there_is_room_for_and_names_the_others(tmp_path: Path) -> None:
    budgets = [5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50]
    cells = [BASE, *(cell(f"diffusers:SomeMultistepScheduler{n}", b, 1.0 + b) for n in range(3) for b in budgets)]
    run = write_run(tmp_path / "run", cells, block=block(steps=None, evaluations=budgets))
    shown_text = re.sub(r"\x1b\[[\d;]*m", "", terminal([run], width=80))
    header = next(line for line in shown_text.splitlines() if line.startswith("Sampler"))
    kept = [int(each) for each in header.split()[1:]]
    assert max(map(len, shown_text.splitlines())) <= 80
    assert 200 in kept  # the baseline's
    assert 5 in kept
    assert 4 < len(kept) <= MOST_COLUMNS
    gone = " ".join(shown_text.split()).rpartition(": in table.md and index.html")[0]
    assert all(f"NFE {each}" in gone for each in budgets if each not in kept)
    assert markdown(summarise([run])).count("NFE ") >= len(budgets) + 1


def test_a_page_of_latex_holds_eight_budgets_and_no_group_begins_at_its_end(tmp_path: Path) -> None:
    summary = summarise([write_zoo(tmp_path / "run", many(80))])
    tables = [part for part in re.split(r"\\begin\{table\*?\}", latex(summary)) if "{NFE 5}" in part]
    bodies = [part.partition("\\midrule\n")[2].partition("\\bottomrule")[0].splitlines() for part in tables]
    rows = [[line for line in body if line != r"\midrule"] for body in bodies]
    assert sum(len(body) for body in rows) == 1 + 80 + len(FAMILIES)
    assert max(map(len, rows)) <= 45
    assert not any(body[-1].startswith(r"\multicolumn") for body in rows)
    steps = [BASE, *(cell("ddim", n, 1.0 + n) for n in range(1, 20))]
    summary = summary_of(tmp_path / "wide", steps)
    headers = [line for line in latex(summary).splitlines() if line.startswith("Sampler & {NFE")]
    assert [line.count("NFE ") for line in headers] == [MOST_COLUMNS, MOST_COLUMNS, 20 - 2 * MOST_COLUMNS]


def test_of_many_samplers_the_terminal_shows_those_that_stand_out(tmp_path: Path) -> None:
    run = write_zoo(tmp_path / "run", many())
    text = re.sub(r"\x1b\[[\d;]*m", "", terminal([run], width=120))
    first = text[: text.rindex("Sampler")]
    assert len(re.findall(r"(?m)^sampler\d+ ", first)) <= 12
    assert "ddpm (baseline: 1,000 NFE)" in first
    assert "all 41: table.md and index.html" in " ".join(first.split())
    summary = summarise([run])
    assert all(markdown(summary).count(f"| sampler{n} ") >= 2 for n in range(40))
    assert '<div class="wide paper">' in page(summary, {}, {})
