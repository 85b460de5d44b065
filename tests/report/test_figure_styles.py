"""Figures for papers have a column's width, letters of 8 points and nothing around them; slides are 16 by 9."""

import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from report_records import QUICK, many, record, texts, write_run, write_zoo

from bench.column_kinds import _NAMES
from bench.column_meanings import TABLE, columns
from bench.report import View, of_texts, summarise, write_report
from bench.report.data.columns import line
from bench.report.data.distances import of_key, quality_columns
from bench.report.data.summary import Summary, numeric_columns
from bench.report.data.view import Style
from bench.report.figures.captions import NARROW, axis_name, captions
from bench.report.figures.image_table import tables
from bench.report.figures.plots import FIGURES, draw, worth_drawing
from bench.report.figures.style import ACROSS, COLUMN, Shown, render

_PUBLISHED = Path(__file__).parents[2] / "results" / "published"


Summaries = Callable[[Style], list[Summary]]


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> Summaries:
    """Of a few settings, of many, and of published runs, for a style, once for all tests."""
    folder = tmp_path_factory.mktemp("styles")
    runs = [write_run(folder / "few", QUICK), write_zoo(folder / "many", many(20))]
    runs += [_PUBLISHED / name / "run.zip" for name in ("guidance", "modes", "oracle")]

    @cache
    def of(style: Style) -> list[Summary]:
        return [summarise([run], View(style=style)) for run in runs]

    return of


def _seen(figure: Figure) -> list[Text]:
    return [each for each in figure.findobj(Text) if isinstance(each, Text) and each.get_text() and each.get_visible()]


def test_a_papers_figures_are_as_wide_as_a_column_or_both_with_letters_of_8_points(summaries: Summaries) -> None:
    drawn = set()
    for summary in summaries("paper"):
        for name in worth_drawing(summary):
            figure = draw(summary, name)
            content = render(figure, "pdf")
            box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", content)
            assert box is not None
            inches = float(box[1]) / 72
            assert inches == pytest.approx(COLUMN if name in NARROW else ACROSS, abs=0.005)
            assert float(box[2]) / 72 < 11.0, name
            sizes = {float(each.get_fontsize()) for each in _seen(figure)}
            assert max(sizes) <= 8.0
            assert min(sizes) >= 5.5
            assert figure.get_suptitle() == ""
            titles = {axes.get_title(loc) for axes in figure.axes for loc in ("left", "center", "right")}
            assert all(re.fullmatch(r"(\([a-z]\)|\s)?", each) for each in titles), titles
            assert not [each.get_text() for each in _seen(figure) if "quantiser" in each.get_text()]
            assert isinstance(figure, Shown)
            for letter in filter(None, titles):
                assert letter.isspace() or any(each.startswith(f"{letter} ") for each in figure.said)
            assert "Small N" not in texts(figure)
            assert content.count(b"/FontFile2") == content.count(b"/FontDescriptor") // 2 > 0
            assert b"/Type3" not in content
            drawn.add(name)
    assert drawn == set(FIGURES) - {"chosen"}


def test_nothing_of_a_papers_figure_is_cut_off(summaries: Summaries) -> None:
    for summary in summaries("paper"):
        for name in set(worth_drawing(summary)) & set(NARROW):
            figure = draw(summary, name)
            render(figure, "png")
            for legend in [each for axes in figure.axes if (each := axes.get_legend()) is not None]:
                box, page = legend.get_window_extent(), figure.bbox
                assert box.x1 <= page.x1 + 1
                assert box.y0 >= -1
                headings = [each.get_text() for each in legend.get_texts() if each.get_fontweight() == "bold"]
                first = [each.get_text() for each in legend.get_texts()][: -(-len(legend.get_texts()) // 2)]
                assert first[-1] not in headings


def test_what_stands_around_a_figure_on_a_page_is_in_its_caption_and_in_the_file(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", QUICK)
    summary = summarise([run], View(style="paper"))
    figure = draw(summary, "quality_vs_nfe")
    assert isinstance(figure, Shown)
    said = " ".join(figure.said)
    assert "Small N: 1,000 images" in said
    assert "Protocol: model digits" in said
    png = Image.open(BytesIO(render(figure, "png")))
    assert png.info["Description"] == said
    assert round(float(png.info["dpi"][0])) == 300
    pdf = render(figure, "pdf")
    assert b"/Subject" in pdf
    write_report([run], ["latex", "pdf"], None, summary)
    tex = (run / "paper" / "figures.tex").read_text()
    assert "Small N: 1,000 images" in tex
    assert tex.count(r"\begin{figure}") == len(set(worth_drawing(summary)) & set(NARROW))
    assert {path.stem for path in (run / "paper").glob("*.pdf")} == set(worth_drawing(summary))
    assert not list(run.glob("*.pdf"))


def test_a_slide_is_16_by_9_without_a_footnote_and_says_whose_it_is(summaries: Summaries) -> None:
    drawn = Counter[str]()
    for summary in summaries("slide"):
        for name in worth_drawing(summary):
            drawn[name] += 1
            if drawn[name] > 2:  # of few settings and of many
                continue
            figure = draw(summary, name)
            width, height = Image.open(BytesIO(render(figure, "png"))).size
            assert width == pytest.approx(1920, abs=1)
            assert width / height == pytest.approx(16 / 9, abs=0.01)
            assert "Small N" not in texts(figure)
            assert summary.title.split()[0] in texts(figure)


def test_a_page_is_drawn_as_ever(summaries: Summaries) -> None:
    (summary, *_) = summaries("page")
    figure = draw(summary, "quality_vs_nfe")
    assert "Small N" in texts(figure)
    assert "Description" not in Image.open(BytesIO(render(figure, "png"))).info
    assert b"/Subject" not in render(figure, "pdf")


def test_axes_of_any_two_columns_are_drawn(tmp_path: Path) -> None:
    cells = [*QUICK, record("dpm++2m", steps=7, recall=None)]
    run = write_run(tmp_path / "run", cells)
    summary = summarise([run], View(x="s_per_image_median", y="recall"))
    figure = draw(summary, "chosen")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time an image (s/image)", "Recall (share), higher is better")
    told = " ".join(texts(figure).split())
    assert "Time an image (s/image): Seconds an image at the median call." in told
    assert "s_per_image_median" not in told
    assert "Column(" not in told
    assert "not drawn: one is not known" in told
    points = sorted((float(x), float(y)) for line in axes.lines for x, y in np.asarray(line.get_xydata()))
    table = summary.table.dropna(subset=["recall", "s_per_image_median"])
    expected = sorted(zip(table["s_per_image_median"], table["recall"], strict=True))
    assert points == [pytest.approx(each) for each in expected]
    assert "chosen" not in worth_drawing(summarise([run]))
    only_y = draw(summarise([run], View(y="precision")), "chosen")
    assert only_y.axes[0].get_xlabel() == "network evaluations an image (NFE)"


def test_the_caption_of_a_chosen_figure_names_its_columns(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", QUICK)
    for view, said in (
        (View(x="latency_s_median", y="precision"), "Precision (share) against time of a call (s)."),
        (View(x="kid_mean"), "FD (digits) against KID."),
        (View(y="kid_std"), "Standard deviation of KID against network evaluations an image (NFE)."),
        (View(x="steps", y="throughput_img_per_s"), "Throughput (images/s) against steps."),
    ):
        assert captions(summarise([run], view))["chosen"] == said
    write_report([run], ["latex", "pdf"], None, summarise([run], View(x="steps", y="recall", style="paper")))
    tex = (run / "paper" / "figures.tex").read_text()
    assert r"\caption[Recall (share) against steps.]{Recall (share) against steps. " in tex
    assert "chosen" not in captions(summarise([run]))


def test_every_column_of_numbers_has_a_name_in_words(tmp_path: Path, summaries: Summaries) -> None:
    """Those of qualities are the tables' own."""
    summary = summarise([write_run(tmp_path / "run", QUICK)])
    names = [each.name for each in columns() if TABLE in each.files and each.type in ("number", "integer")]
    plain = [each for each in names if "<" not in each]
    assert len(plain) > 40
    for name in plain:
        words = axis_name(name, summary)
        assert "_" not in words, name
        assert name in _NAMES or of_key(name).key in {each.key for each in quality_columns(plain)}, name
    for summary in summaries("page"):
        for section in summary.sections:
            assert not [each for each in numeric_columns(section.rows) if "_" in axis_name(each, summary)]


def test_a_papers_caption_says_how_many_lines_are_grey_and_a_page_which(tmp_path: Path) -> None:
    run = write_zoo(tmp_path / "run", many(20))
    page = " ".join(texts(draw(summarise([run]), "quality_vs_nfe")).split())
    figure = draw(summarise([run], View(style="paper")), "quality_vs_nfe")
    assert isinstance(figure, Shown)
    said = " ".join(figure.said)
    (count,) = re.findall(r"Grey: (\d+) others, not the best of a family and not near the Pareto front\.", said)
    names = page.partition("in the table: ")[2].partition(". ")[0].split("; ")
    assert int(count) == len(names) > 3
    assert not re.search(r"sampler\d", said)
    assert len(said) < 800


def test_hostile_text_is_escaped_once_in_captions_and_on_figures(tmp_path: Path) -> None:
    cells = [*QUICK, record("a$b_c", steps=10)]
    run = write_run(tmp_path / "run", cells)
    selection = of_texts("a$b_c,ddim", ())
    write_report([run], ["latex", "pdf"], None, summarise([run], View(selection=selection, style="paper")))
    tex = (run / "selection" / "paper" / "figures.tex").read_text()
    assert r"samplers a\$b\_c, ddim" in tex
    assert "textbackslash" not in tex
    for name in ("quality_vs_nfe", "images"):
        assert "samplers a$b_c, ddim" in " ".join(
            texts(draw(summarise([run], View(selection=selection)), name)).split()
        )


def test_a_slide_of_images_shows_the_answer_and_few_lines(summaries: Summaries) -> None:
    (zoo,) = (each for each in summaries("slide") if each.runs[0].name == "many")
    (table,) = tables(zoo)
    assert 2 <= len(table.lines) <= 6
    winner = zoo.answers[0].winner
    assert winner is not None
    assert line(winner) in table.lines
