"""Figures show what the rows say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import BASELINE, SAMPLERS, failed, plain_text, record, texts, write_preview, write_run

from bench.record import RunFolder
from bench.report import summarise
from bench.report.display import NOTHING
from bench.report.picture import block, tables
from bench.report.plots import FIGURES
from bench.report.style import log_ticks, plain


def test_a_distance_that_is_not_positive_is_left_out_of_the_log_axis_and_counted(tmp_path: Path) -> None:
    cells = [record(*BASELINE), record(fd_digits=-1e-9), record("heun", fd_digits=0.0)]
    summary = summarise([write_run(tmp_path / "run", cells)])
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
    figure = FIGURES["time_split"](summarise([write_run(tmp_path / "run", [cell])]))
    widths = [patch.get_width() for patch in figure.axes[0].patches]  # type: ignore[attr-defined]
    assert widths == pytest.approx([0.16, 0.04])  # ms an image and evaluation
    assert "20 %, 2.00 ms" in texts(figure)


def test_where_bars_are_too_many_the_ends_of_each_sampler_are_shown_and_that_is_said(tmp_path: Path) -> None:
    cells = [record(*BASELINE), *(record(name, steps=n) for name in SAMPLERS for n in range(5, 14))]
    figure = FIGURES["time_split"](summarise([write_run(tmp_path / "run", cells)]))
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
    shown = [axes.get_images()[0].get_array() for axes in figure.axes if axes.get_images()]
    assert len(shown) == 3
    assert all(np.array_equal(np.asarray(image), block(strip(10, shape))) for image in shown)
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert sorted(words) == sorted([NOTHING, "failed"])
    assert "5 steps 10 steps" in texts(figure)
    assert "NFE 19, FD" in texts(figure)


def test_the_picture_is_of_the_first_seed_only(tmp_path: Path) -> None:
    cells = [record(steps=5, seed=seed) for seed in (3, 1, 7)]
    run = write_run(tmp_path / "run", cells)
    for n, each in enumerate(cells):
        write_preview(run, each, [np.full((8, 8), n, dtype=np.uint8)] * 10)
    figure = FIGURES["images"](summarise([run]))
    (shown,) = [axes.get_images()[0].get_array() for axes in figure.axes if axes.get_images()]
    assert np.asarray(shown)[0, 0] == 0


def test_a_picture_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    each = record(steps=5)
    run = write_run(tmp_path / "run", [each])
    write_preview(run, each, strip(10, (8, 8)))
    path, summary = RunFolder(run).preview(each["id"]), summarise([run])
    content = path.read_bytes()
    assert tables(summary)[0].pictures
    flipped = [content[:at] + bytes([content[at] ^ 0x15]) + content[at + 1 :] for at in range(len(content) - 16)]
    for damaged in (b"", content[: len(content) // 2], content[8:]):
        path.write_bytes(damaged)
        assert not tables(summary)[0].pictures
    for damaged in flipped:  # of a pixel, Pillow may not find it
        path.write_bytes(damaged)
        assert set(tables(summary)[0].pictures) <= {each["id"]}


def test_a_block_keeps_pixels_sharp_and_in_order() -> None:
    tiles = [np.arange(64, dtype=np.uint8).reshape(8, 8) + 10 * n for n in range(10)]
    picture = block([tile.astype(np.uint8) for tile in tiles])
    assert picture.shape == (2 * 40 + 2, 4 * 40 + 6)
    for n in range(8):
        top, left = n // 4 * 42, n % 4 * 42
        assert np.array_equal(picture[top : top + 40 : 5, left : left + 40 : 5], tiles[n])
