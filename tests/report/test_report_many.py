"""Figures of many samplers stay legible: what matters is in colour, the rest is named, and nothing overlaps."""

import re
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from report_records import BASELINE, FAMILIES, in_mode, many, plain_text, record, texts, write_run, write_zoo

from bench.record import Record
from bench.report import summarise
from bench.report.data.columns import line, rows_of
from bench.report.data.series import ALIKE, FEW, MOST, all_looks, all_series, outstanding
from bench.report.data.series import FAMILIES as COLOURS
from bench.report.data.summary import Summary
from bench.report.figures.plots import FIGURES

QUALITY = ("quality_vs_nfe", "quality_vs_seconds")


@pytest.fixture
def zoo(tmp_path: Path) -> Summary:
    return summarise([write_zoo(tmp_path / "zoo", many())])


def test_each_familys_best_the_fronts_and_the_winner_stand_out_and_not_many_more(zoo: Summary) -> None:
    (section,) = zoo.sections
    shown = outstanding(section)
    assert len(shown) <= MOST
    rows = rows_of(section.rows)
    for family in FAMILIES:
        best = min(
            (row for row in rows if row["family"] == family and row["steps"] == 20), key=lambda row: row["fd_digits"]
        )
        assert line(best) in shown
        assert len({line(row) for row in rows if row["family"] == family} & shown) <= ALIKE
    winner = section.answers[0].winner
    assert winner is not None
    assert line(winner) in shown
    assert all(line(row) in shown for row in rows if row["pareto_nfe"])


def test_a_family_has_one_colour_and_its_lines_differ_in_marker(zoo: Summary) -> None:
    (section,) = zoo.sections
    found = [each for each in all_series(section.rows, section, zoo) if not each.beaten]
    assert all(each.family is not None and each.look.colour == COLOURS[each.family] for each in found)
    assert len({(each.look.colour, each.look.marker) for each in found}) == len(found)


def test_a_method_looks_the_same_in_all_figures(zoo: Summary) -> None:
    looks = []
    for name in QUALITY:
        found = [each for each in FIGURES[name](zoo).axes[0].containers if isinstance(each, ErrorbarContainer)]
        lines = {each.get_label(): each.lines[0] for each in found if each.get_label()}
        looks.append({label: (to_hex(line.get_color()), line.get_marker()) for label, line in lines.items()})
    assert looks[0] == looks[1]
    assert len(looks[0]) >= len(FAMILIES)


@pytest.mark.parametrize("name", QUALITY)
@pytest.mark.parametrize("samplers", [20, 40])
def test_every_line_is_named_once_in_the_legend_or_as_grey_or_counted(tmp_path: Path, name: str, samplers: int) -> None:
    found = summarise([write_zoo(tmp_path / "run", many(samplers))])
    axes = FIGURES[name](found).axes[0]
    legend = axes.get_legend()
    assert legend is not None
    named = [text.get_text() for text in legend.get_texts()]
    (footnote,) = [text.get_text() for text in axes.texts if "Grey:" in text.get_text()]
    said = " ".join(footnote.split()).partition(" in the table: ")[2].partition(".")[0]
    labels = [each.label for each in all_series(found.table, found.sections[0], found) if each.label != "ddpm"]
    coloured = [each for each in named if each in labels]
    if samplers == 40:  # names would fill a page
        assert said == f"{len(labels) - len(coloured)} lines"
    else:
        assert sorted([*coloured, *said.split("; ")]) == sorted(labels)
    assert any(each.startswith("baseline:\nddpm ") for each in named)  # its only row is the baseline
    assert [each for each in named if each in COLOURS] == list(FAMILIES)


def in_modes(count: int) -> list[Record]:
    """Cells of the zoo in several modes, each faster than the one before and hardly different."""
    slow = many()
    return slow + [
        cell
        | in_mode(mode)
        | {"id": f"{'xyz'[n]}{cell['id'][1:]}", "latency_s": [t / (n + 2) for t in cell["latency_s"]]}
        for n, mode in enumerate(MODES[1:count])
        for cell in slow
        if cell["steps"] < 1000
    ]


MODES = ("fp32", "tf32", "bf16", "bf16+channels_last+compile+graph")


@pytest.mark.parametrize("name", ["quality_vs_nfe", "quality_vs_seconds"])
def test_a_figure_of_samplers_is_in_one_mode_whatever_others_were_run(tmp_path: Path, name: str) -> None:
    baseline = {"sampler": "ddpm", "grid": "trailing", "steps": 1000}
    run = write_run(tmp_path / "run", in_modes(4), baseline=baseline, modes=list(MODES))
    summary = summarise([run])
    axes = FIGURES[name](summary).axes[0]
    alone = FIGURES[name](summarise([write_zoo(tmp_path / "zoo", many())])).axes[0]
    assert len(axes.containers) == len(alone.containers)
    note = " ".join(plain_text(axes.figure).split())  # type: ignore[arg-type]
    assert {"quality_vs_nfe": "Mode: fp32.", "quality_vs_seconds": f"Mode: {MODES[-1]} unless named."}[name] in note
    winner = summary.answers[0].winner
    assert winner is not None
    assert winner["mode"] == MODES[-1]


def test_a_sampler_looks_the_same_in_every_mode_and_with_every_model(tmp_path: Path) -> None:
    guests = [cell | {"model_sha256": "e5" * 32, "model": "guest", "id": f"z{cell['id'][1:]}"} for cell in many()[1:]]
    summary = summarise([write_zoo(tmp_path / "run", [*many(), *guests])])
    looks = all_looks(summary)
    assert all(
        looks[name, grid, "e5" * 32, clip, guidance] == look
        for (name, grid, _, clip, guidance), look in looks.items()
        if name != "ddpm"
    )


def shown_in(figure: Figure) -> dict[str, Bbox]:
    """All words of a figure of one panel that are drawn, and where."""
    axes, legend = figure.axes[0], figure.axes[0].get_legend()
    assert legend is not None
    low, high = axes.get_xlim()
    ticks = [text for text in axes.get_xticklabels() if low <= text.get_position()[0] <= high]
    found: list[Text] = [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label, *ticks, *axes.get_yticklabels()]
    found += [*legend.get_texts(), figure._suptitle]  # type: ignore[attr-defined]
    return {f"{n}: {text.get_text()}": text.get_window_extent() for n, text in enumerate(found) if text.get_text()}


@pytest.mark.parametrize("name", [*QUALITY, "time_split", "images"])
def test_a_figure_of_many_samplers_fits_a_page_and_nothing_in_it_overlaps(zoo: Summary, name: str) -> None:
    figure = FIGURES[name](zoo)
    width, height = figure.get_size_inches()
    assert (width <= 9, height <= 13) == (True, True)
    if name == "images":  # its words have a test of their own
        return
    figure.draw_without_rendering()
    axes, boxes = figure.axes[0], shown_in(figure)
    overlaps = [(a, b) for a, b in combinations(boxes, 2) if boxes[a].padded(-1).overlaps(boxes[b].padded(-1))]
    assert overlaps == []
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes.values())
    if name in QUALITY:
        legend = axes.get_legend()
        assert legend is not None
        (note,) = [text for text in axes.texts if isinstance(text, Annotation) and "Grey:" in text.get_text()]
        parts = [each.get_window_extent() for each in (axes, legend, note)]
        assert not any(one.overlaps(other) for one, other in combinations(parts, 2))
        assert all(figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1 for box in parts)
        assert all(figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1 for box in parts)


@pytest.mark.parametrize(
    ("distances", "said"), [((4321.0, 9.0), "awful (4,300)"), ((4000.0, 4000.0), "all of awful (4,000)")]
)
def test_what_is_far_worse_than_the_front_is_marked_beyond_the_axis_and_named(
    tmp_path: Path, distances: tuple[float, float], said: str
) -> None:
    cells = [record("awful", steps=n, family="SDE", fd_digits=fd) for n, fd in zip((5, 10), distances, strict=True)]
    figure = FIGURES["quality_vs_nfe"](summarise([write_zoo(tmp_path / "run", [*many(), *cells])]))
    axes = figure.axes[0]
    assert axes.get_ylim()[1] < 100
    number = said.partition("(")[2].rstrip(")")
    assert any(number in text.get_text() for text in axes.texts if not isinstance(text, Annotation))
    assert said in plain_text(figure).replace("\xa0", " ")


def test_a_bar_far_longer_than_the_others_is_cut_off_with_its_length(tmp_path: Path) -> None:
    slow = record("adaptive", steps=2, nfe=2.0, latency_s=[90.0], network_s=[60.0])
    figure = FIGURES["time_split"](summarise([write_zoo(tmp_path / "run", [*many(), slow])]))
    assert figure.axes[0].get_xlim()[1] < 1.0
    assert "→ 180; 33 %, 360 ms" in texts(figure)


def test_a_bar_that_ends_on_the_axis_is_not_cut_off(tmp_path: Path) -> None:
    """The axis goes on beyond the longest bar, for the words at its end."""
    times = {f"sampler{n}": 0.1 for n in range(5)} | {"slow": 0.37, "slower": 0.45, "slowest": 9.0}
    cells = [record(name, steps=1, nfe=1.0, latency_s=[s], network_s=[s / 2]) for name, s in times.items()]
    axes = FIGURES["time_split"](summarise([write_zoo(tmp_path / "run", cells)])).axes[0]
    assert [text.get_text() for text in axes.texts if "→" in text.get_text()] == ["→ 36.0; 50 %, 36.0 ms"]
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert {1.48, 1.8} <= {round(end, 6) for end in ends}
    assert max(ends) < axes.get_xlim()[1] < 1.5 * max(ends)


def test_few_methods_are_all_in_colours_of_their_own(tmp_path: Path) -> None:
    names = [f"sampler{n}" for n in range(FEW - 1)]
    cells = [each for each in many() if each["sampler"] in ("ddpm", *names)]
    summary = summarise([write_zoo(tmp_path / "run", cells)])
    (section,) = summary.sections
    found = all_series(section.rows, section, summary)
    assert not any(each.beaten for each in found)
    assert len({each.look.colour for each in found}) == FEW
    assert "Grey" not in texts(FIGURES["quality_vs_nfe"](summary))


def test_many_methods_of_one_family_keep_colours_of_their_own(tmp_path: Path) -> None:
    cells = [each | {"family": "other"} for each in many()]
    summary = summarise([write_zoo(tmp_path / "run", cells)])
    (section,) = summary.sections
    found = [each for each in all_series(section.rows, section, summary) if not each.beaten]
    assert {each.family for each in found} == {None}
    assert len({(each.look.colour, each.look.marker) for each in found}) == len(found)


def test_distances_of_one_size_are_all_on_the_axis(tmp_path: Path) -> None:
    cells = [
        record(*BASELINE[:2], steps=1000, fd_digits=1.0),
        record(steps=5, fd_digits=20.0),
        record(steps=10, fd_digits=2.0),
    ]
    figure = FIGURES["quality_vs_nfe"](summarise([write_zoo(tmp_path / "run", cells)]))
    assert figure.axes[0].get_ylim()[1] > 20
    assert "↑" not in texts(figure)


def test_a_baseline_far_beyond_all_costs_stands_at_the_edge_with_its_cost(zoo: Summary) -> None:
    figure = FIGURES["quality_vs_nfe"](zoo)
    assert figure.axes[0].get_xlim()[1] < 300
    assert "at 1,000 →" in texts(figure)


def test_the_time_of_many_samplers_is_one_bar_each_under_their_families(zoo: Summary) -> None:
    figure = FIGURES["time_split"](zoo)
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(shown) == len(set(shown)) == 41
    assert {text.partition(", ")[2] for text in shown} == {"20 steps", "1,000 steps"}
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text() in COLOURS] == list(FAMILIES)
    assert "the setting nearest 20 evaluations" in plain_text(figure)


def test_the_picture_of_many_samplers_shows_those_that_stand_out_and_counts_the_others(zoo: Summary) -> None:
    figure = FIGURES["images"](zoo)
    words = [text.get_text() for text in figure.texts]
    named = [word for word in words if re.fullmatch(r"sampler\d+", word)]
    shown = {name for name, *_ in outstanding(zoo.sections[0])}
    assert sorted(named) == sorted(shown - {"ddpm"})
    assert f"{41 - len(shown)} others left out" in texts(figure)


def test_where_step_counts_are_many_pictures_stand_in_columns_of_evaluations(tmp_path: Path) -> None:
    cells = [record(steps=n) for n in (2, 5, 8, 10, 15, 50, 150)] + [record("heun", steps=n) for n in (3, 5)]
    figure = FIGURES["images"](summarise([write_zoo(tmp_path / "run", cells)]))
    words = [text.get_text() for text in figure.texts]
    headings = [word for word in words if re.fullmatch(r"[≤>] \d+ NFE", word)]
    assert headings == ["≤ 5 NFE", "≤ 10 NFE", "≤ 20 NFE", "≤ 50 NFE", "> 100 NFE"]
    assert [word.split(",")[0] for word in words if word.startswith("NFE")] == [
        *("NFE 5", "NFE 10", "NFE 15", "NFE 50", "NFE 150"),
        *("NFE 5", "NFE 9"),
    ]


def test_all_words_of_a_picture_of_few_columns_are_inside_of_it(tmp_path: Path) -> None:
    cells = [record("ddpm", steps=1000), record(steps=2), record(steps=5, fd_digits=0.1)]
    figure = FIGURES["images"](summarise([write_zoo(tmp_path / "run", cells)]))
    figure.draw_without_rendering()
    assert "Framed: " in texts(figure)
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in figure.texts)
