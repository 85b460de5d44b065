"""Figures show what the rows say."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from report_records import (
    BASELINE,
    SAMPLERS,
    failed,
    own_truth,
    plain_text,
    record,
    summary_of,
    texts,
    write_preview,
    write_run,
)

from bench.record import RunFolder
from bench.report import summarise
from bench.report.data.text import NOTHING
from bench.report.figures.image_table import block, resized, tables
from bench.report.figures.plots import FIGURES
from bench.report.figures.style import log_ticks, plain


def test_a_distance_that_is_not_positive_is_left_out_of_the_log_axis_and_counted(tmp_path: Path) -> None:
    cells = [record(*BASELINE), record(fd_digits=-1e-9), record("heun", fd_digits=0.0)]
    summary = summary_of(tmp_path, cells)
    for name in ("quality_vs_nfe", "quality_vs_seconds"):
        figure = FIGURES[name](summary)
        figure.draw_without_rendering()
        assert "2 not drawn" in texts(figure)


@given(st.floats(1e-5, 1e5), st.floats(1.1, 1e5))
def test_log_ticks_are_few_plain_numbers_within_the_axis(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio)
    assert 1 <= len(ticks) <= 12
    assert ticks == sorted(set(ticks))
    assert all(low <= tick <= low * ratio for tick in ticks)
    assert all(float(plain(tick).replace(",", "")) == pytest.approx(tick) for tick in ticks)
    assert max(len(plain(tick)) for tick in ticks) <= 13


def test_bars_are_the_time_an_evaluation_split_as_recorded(tmp_path: Path) -> None:
    cell = record(steps=10, latency_s=[0.5], network_s=[0.4], nfe=10.0)
    figure = FIGURES["time_split"](summary_of(tmp_path, [cell]))
    widths = [patch.get_width() for patch in figure.axes[0].patches]  # type: ignore[attr-defined]
    assert widths == pytest.approx([0.16, 0.04])  # ms an image and evaluation
    assert "20 %, 2.00 ms" in texts(figure)


def test_where_bars_are_too_many_the_ends_of_each_sampler_are_shown_and_that_is_said(tmp_path: Path) -> None:
    cells = [record(*BASELINE), *(record(name, steps=n) for name in SAMPLERS for n in range(5, 14))]
    figure = FIGURES["time_split"](summary_of(tmp_path, cells))
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown == ["5 steps", "200 steps (baseline)"] + ["5 steps", "13 steps"] * 5
    assert "only the fewest and the most steps" in plain_text(figure)


def strip(count: int, shape: tuple[int, ...]) -> list[Any]:
    return [np.full(shape, 20 * n, dtype=np.uint8) for n in range(count)]


@pytest.mark.parametrize("shape", [(8, 8), (32, 32, 3)])
def test_the_picture_shows_each_cells_own_images_and_says_what_is_missing(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    cells = [record(*BASELINE), record(steps=5), record(steps=10), failed("heun", steps=5), record("heun", steps=10)]
    run = write_run(tmp_path / "run", cells)
    for each in (cells[0], cells[1], cells[4]):
        write_preview(run, each, strip(10, shape))
    figure = FIGURES["images"](summarise([run]))
    shown = [image.get_array() for image in figure.axes[0].get_images()]
    assert len(shown) == 3
    tiles = [resized(tile) for tile in strip(10, shape)]
    assert all(np.array_equal(np.asarray(image), block(tiles, np.asarray(image).shape[1])) for image in shown)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(words) == sorted([NOTHING, "failed"])
    assert "5 steps 10 steps" in texts(figure)
    assert "NFE 19, FD" in texts(figure)


def test_the_picture_is_of_the_first_seed_only(tmp_path: Path) -> None:
    cells = [record(steps=5, seed=seed) for seed in (3, 1, 7)]
    run = write_run(tmp_path / "run", cells)
    for n, each in enumerate(cells):
        write_preview(run, each, [np.full((8, 8), n, dtype=np.uint8)] * 10)
    figure = FIGURES["images"](summarise([run]))
    (shown,) = [image.get_array() for image in figure.axes[0].get_images()]
    assert np.asarray(shown)[0, 0] == 0


def test_a_picture_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    each = record(steps=5)
    run = write_run(tmp_path / "run", [each])
    write_preview(run, each, strip(10, (8, 8)))
    path, summary = RunFolder(run).preview(each["id"]), summarise([run])
    content = path.read_bytes()
    assert tables(summary)[0].tiles
    flipped = [content[:at] + bytes([content[at] ^ 0x15]) + content[at + 1 :] for at in range(len(content) - 16)]
    for damaged in (b"", content[: len(content) // 2], content[8:]):
        path.write_bytes(damaged)
        assert not tables(summary)[0].tiles
    for damaged in flipped:  # of a pixel, Pillow may not find it
        path.write_bytes(damaged)
        assert set(tables(summary)[0].tiles) <= {each["id"]}


def test_a_block_keeps_pixels_sharp_and_in_order() -> None:
    tiles = [np.arange(64, dtype=np.uint8).reshape(8, 8) + 10 * n for n in range(10)]
    picture = block([resized(tile.astype(np.uint8)) for tile in tiles])
    assert picture.shape == (2 * 40 + 2, 4 * 40 + 6)
    for n in range(8):
        top, left = n // 4 * 42, n % 4 * 42
        assert np.array_equal(picture[top : top + 40 : 5, left : left + 40 : 5], tiles[n])


@pytest.mark.parametrize(
    ("count", "shape", "room", "expected"),
    [
        (10, (8, 8), 200, (2, 4)),
        (10, (8, 8), 222, (2, 5)),
        (10, (8, 8), 2000, (2, 5)),
        (4, (8, 8), 200, (1, 4)),
        (10, (32, 32, 3), 200, (1, 3)),
        (10, (32, 32, 3), 330, (1, 5)),
        (10, (300, 300, 3), 50, (1, 1)),
    ],
)
def test_a_block_has_as_many_images_as_there_is_room_for(
    count: int, shape: tuple[int, ...], room: int, expected: tuple[int, int]
) -> None:
    tiles = [resized(tile) for tile in strip(count, shape)]
    side = tiles[0].shape[0]
    assert block(tiles, room).shape[:2] == tuple(n * (side + 2) - 2 for n in expected)


def boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """What stands on a figure, but for words inside of blocks: names and extents in pixels."""
    figure.draw_without_rendering()
    found = [(text.get_text(), text.get_window_extent()) for text in figure.texts if text.get_text()]
    blocks = [*figure.axes[0].get_images(), *(each for each in figure.axes[0].patches if each.get_fill())]
    return found + [(f"block {n}", each.get_window_extent()) for n, each in enumerate(blocks)]


@pytest.mark.parametrize("steps", [(5,), (5, 10, 20, 50)])
@pytest.mark.parametrize(("count", "shape"), [(10, (8, 8)), (3, (8, 8)), (10, (16, 16, 3)), (10, (64, 64, 3))])
def test_no_words_of_the_picture_lie_on_others_or_on_images(
    tmp_path: Path, count: int, shape: tuple[int, ...], steps: tuple[int, ...]
) -> None:
    """Solver errors have long captions, below images that may be small; and their names may be longer than they."""
    names = ("dpm++2m[lower_order_below=0]", "heun", "dpm++2m-sde")
    values = dict.fromkeys(("solver_rmse_median",), 1.2e-5)
    cells = [own_truth("ddpm", 200, None, 1.23e-5), own_truth(names[0], 5, None, 1.2e-5, mode="bf16+channels_last")]
    cells += [
        own_truth(name, n, None, 1.25e-5, grid=f"karras[rho={n % 2 + 5}]", **values) for name in names for n in steps
    ]
    run = write_run(tmp_path / "run", [each | {"preview_count": count} for each in cells], metrics=["solver_error"])
    for each in cells:
        write_preview(run, each, strip(count, shape))
    figure = FIGURES["images"](summarise([run]))
    found = boxes(figure)
    clashes = [(one, other) for (one, a), (other, b) in combinations(found, 2) if a.padded(-1).overlaps(b.padded(-1))]
    assert clashes == []
    width, height = figure.get_size_inches() * figure.dpi
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for _, box in found)
    assert sum("Solver RMSE" in name for name, _ in found) >= len(cells)
