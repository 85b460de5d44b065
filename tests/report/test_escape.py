# ruff: noqa: RUF001
"""Text that is not ours is printed and drawn as it is: no output language reads a command in it."""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from matplotlib.text import Text
from renderings import Page, inline_texts, unseen

from bench.escape import (
    csv_text,
    figure_text,
    html_text,
    latex_text,
    markdown_text,
    needs_other_engine,
    plain_line,
    terminal_text,
)

_SIGNS = [
    *"aB1 _$\\`*|<>&;#+-=@.,!?~^[](){}%'\"/:\n\r\t\0\x1b\x7f\x85",
    *"\u202e\u200b\u2028\ufeff\u00ad中αé≤–＝",
    "\ud800",
]
_FEW = settings(max_examples=40)


def _texts() -> st.SearchStrategy[str]:
    """Any text, and texts of the signs that mean something somewhere."""
    # not st.text, which first takes seconds to read its table of categories
    any_of_them = st.integers(0, sys.maxunicode).map(chr)
    return st.lists(st.one_of(st.sampled_from(_SIGNS), any_of_them), max_size=30).map("".join)


@_FEW
@given(_texts())
@example("\x1b]0;title\x07 \u202egnp.exe \u200b\u2066\ufeff \ud800 \x9b31m")
def test_no_language_lets_a_control_character_through(text: str) -> None:
    for one_line in (plain_line, markdown_text, html_text, csv_text, latex_text):
        assert not unseen(one_line(text))
        assert "\n" not in one_line(text)
    for lines in (terminal_text, figure_text):
        assert not unseen(lines(text))
        assert lines(text).count("\n") == text.count("\n")


def test_what_can_be_seen_stays_and_the_rest_becomes_what_python_writes_it_as() -> None:
    assert plain_line("ddim[eta=0.5] – größer 中文 שלום") == "ddim[eta=0.5] – größer 中文 שלום"
    assert terminal_text("a\tb\r\n\x1b[31mred\u202e") == "a b \n\\x1b[31mred\\u202e"
    assert plain_line("one\r\ntwo\u2028three") == "one two three"
    assert plain_line("\ud800\U000e0041\ufe0f") == "\\ud800\\U000e0041\\ufe0f"


@_FEW
@given(_texts(), _texts())
@example("a|b\nc", "---")
@example("- - -", "1. &amp; &#65;")
@example("# a #", "5) \\")
def test_markdown_has_the_same_cells_paragraphs_and_items(one: str, other: str) -> None:
    shown = [plain_line(each).strip() for each in (one, other)]
    first, second = (markdown_text(each) for each in (one, other))
    assert inline_texts(f"| a | b |\n| :- | -: |\n| {first} | {second} |", "td") == shown
    for text, wanted in zip((first, second), shown, strict=True):
        if wanted:
            assert inline_texts(text, "paragraph") == [wanted]
            assert inline_texts(f"## {text}", "heading") == [wanted]
            assert inline_texts(f"- {text}\n- **{text}**", "paragraph") == [wanted, wanted]


@_FEW
@given(_texts())
@example("</td><script>alert(1)</script>&lt;\" ' \0")
def test_html_has_the_text_intact_and_no_element_of_it(text: str) -> None:
    page = Page(f'<td title="{html_text(text)}">{html_text(text)}</td>')
    assert (page.tags, page.attributes, page.text) == (["td"], [("title", plain_line(text))], plain_line(text))
    assert html_text(html_text(text)) == html_text(text)


@_FEW
@given(st.lists(_texts(), min_size=1, max_size=5))
@example(["=1+1", "\t=1", "\r=1", " +A1", "@SUM(A1)", "-cmd|' /C calc'!A0", "a\rb\nc", 'a","=1'])
def test_csv_is_read_as_it_was_written_and_holds_no_formula(texts: list[str]) -> None:
    written = pd.DataFrame({"text": [csv_text(each) for each in texts], "number": -3.2}).to_csv(index=False)
    read = pd.read_csv(io.StringIO(written), dtype={"text": str}, keep_default_na=False)
    escaped = re.compile(r"'['\s]*[=+\-@＝＋－＠]")
    back = [each.removeprefix("'") if escaped.match(each) else each for each in read["text"]]
    assert back == list(map(plain_line, texts))
    assert read["number"].tolist() == [-3.2] * len(texts)
    computed = [each for each in read["text"] if re.match(r"\s*[=+\-@＝＋－＠]", each)]
    assert all(re.fullmatch(r"[+-][\d.eE+-]+", each) for each in computed)


def test_numbers_in_csv_stay_numbers() -> None:
    for number in ("-3.2", "+1", "-1e-05", "-.5", "12"):
        assert csv_text(number) == number
    assert csv_text("-3.2+A1") == "'-3.2+A1"


def _bare(tex: str) -> list[str]:
    """What TeX would read as a command of its own in escaped text, and braces that do not match."""
    tex = re.sub(r"\\ifdefined\\Umathcode [^\\]+\\else\([U+0-9A-F ]+\)\\fi\{\}", "", tex)
    tex = re.sub(r"\$[^$]*\$", "", re.sub(r"\\[a-zA-Z]+|\\[^a-zA-Z]", "", tex))
    depth, wrong = 0, re.findall(r'[\\$#%&_^"]|[^\0-\x7f]', tex)
    for brace in re.findall(r"[{}]", tex):
        depth += 1 if brace == "{" else -1
        wrong += ["}"] * (depth < 0)
    return wrong + ["{"] * max(depth, 0)


@_FEW
@given(_texts())
@example("\\input{/etc/passwd} $x_{$ 100 % ~^ #1 & 中文 é ő ǘ 'a''b' --- \"a")
def test_latex_has_no_bare_special_and_balanced_braces(text: str) -> None:
    assert not _bare(latex_text(text))


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("η=0.5 ≤ σ_min → ∞", r"$\eta$=0.5 $\leq$ $\sigma$\_min $\rightarrow$ $\infty$"),
        ("ΑΔΩ – a — b", r"A$\Delta$$\Omega$ -- a \textemdash{} b"),
        ("10⁻³ 5 µm 90° −1", r"10$^{-}$$^{3}$ 5 $\mu$m 90$^{\circ}$ $-$1"),
        ("Süß naïve Erdős Łódź", r"S\"{u}\ss{} na\"{\i}ve Erd\H{o}s \L{}\'{o}d\'{z}"),
        ("e\u0301\u2003x", r"\'{e} x"),
        ("a--b ''c'' ?`", r"a-{}-b '{}'c'{}' ?{}`"),
        ('"a', r"\symbol{34}a"),
        ("中文 x", r"\ifdefined\Umathcode 中文\else(U+4E2D U+6587)\fi{} x"),
    ],
)
def test_latex_has_commands_for_greek_relations_dashes_and_accents(text: str, tex: str) -> None:
    assert latex_text(text) == tex
    assert needs_other_engine(tex) == ("中" in text)


_ENGINES = [engine for engine in ("pdflatex", "xelatex", "lualatex") if shutil.which(engine)]


@pytest.mark.skipif(not _ENGINES, reason="no LaTeX is installed")
@pytest.mark.parametrize("engine", _ENGINES)
def test_latex_compiles(tmp_path: Path, engine: str) -> None:
    every = "".join(map(chr, (*range(0x20, 0x250), *range(0x370, 0x400), *range(0x2010, 0x22FF), 0x4E2D)))
    rows = [latex_text(every[at : at + 20]) for at in range(0, len(every), 20)]
    body = " \\\\\n".join([*rows, *(f"\\textbf{{{row}}}" for row in rows)])
    caption = latex_text("[a] $x$ 中文 é η ≤")
    table = f"\\begin{{table}}\\caption{{{caption}}}\n\\begin{{tabular}}{{l}}\n{body}\n\\end{{tabular}}\\end{{table}}"
    source = f"\\documentclass{{article}}\n\\begin{{document}}\\listoftables\n{table}\n\\end{{document}}\n"
    (tmp_path / "table.tex").write_text(source, encoding="utf-8")
    command = [engine, "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.filterwarnings("ignore:Glyph")  # that the font lacks
@settings(max_examples=8)
@given(_texts(), _texts())
@example("$\\frac{1}$ $x_{$", "_hidden")
@example("\\$x$\0", "$")
def test_matplotlib_draws_any_text_and_names_it_in_the_legend(title: str, name: str) -> None:
    figure = Figure(figsize=(1, 1), dpi=20)
    axes = figure.subplots()
    axes.set_title(figure_text(title))
    axes.plot([0, 1], label=figure_text(f"_{name}"))
    drawn = axes.legend()
    figure.savefig(io.BytesIO(), format="png")
    assert [each.get_text().replace(r"\$", "$") for each in drawn.get_texts()] == [f" {terminal_text(f'_{name}')}"]
    assert not any(is_math_text(each.get_text()) for each in figure.findobj(Text) if isinstance(each, Text))
