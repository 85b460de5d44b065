"""What a run shows of samples that are no pictures: channels as maps, numbers as points; and no cell fails for it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import folder_of
from PIL import Image
from quiet import Quiet
from report_records import plain_text
from safetensors.torch import save_file

from bench.quality.images import preview_kind, preview_size, save_preview
from bench.record import RunFolder
from bench.report import summarise
from bench.report.figures.image_table import scatter, tables
from bench.report.figures.plot_images import images
from bench.running.runner import run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides

_STUDY = """
name = "shapes"
title = "Shapes"
model = "{model}"
images = 64
batch = 24
metrics = ["solver_error"]
solver_images = 16
timing = {{ repeats = 0 }}
device = "cpu"
baseline = {{ sampler = "ddim", grid = "trailing", steps = 8 }}
[[block]]
samplers = ["heun", "dpm++2m"]
grids = ["trailing"]
steps = [4, 8]
"""


def run_of_shape(folder: Path, shape: tuple[int, int, int]) -> Path:
    """A run folder of a small study on four exact points of this shape, each channel of each brighter than the last."""
    model = folder / "model"
    model.mkdir()
    generator = torch.Generator().manual_seed(4)
    points = torch.randint(0, 256, (4, *shape), generator=generator, dtype=torch.uint8)
    save_file({"points": points}, model / "points.safetensors")
    files = {"points.safetensors": model / "points.safetensors"}
    folder_of(model, files, shape=list(shape), network="finite-data", parametrisation="sample")
    study = parse_study(_STUDY.format(model=model), "test", Overrides())
    run = RunFolder(folder / "run")
    assert run_study(study, Session.load(study), run, False, Quiet()).failed == 0
    return run.path


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        *(((channels, 6, 6), "maps") for channels in (2, 4, 33)),
        *((shape, "points") for shape in ((2, 1, 1), (1, 1, 1), (7, 1, 1))),
        *((shape, "pictures") for shape in ((3, 6, 6),)),
    ],
)
def test_a_study_of_samples_of_any_shape_ends_with_its_picture(
    tmp_path: Path, shape: tuple[int, int, int], kind: str
) -> None:
    run = run_of_shape(tmp_path, shape)
    frame = RunFolder(run).load()
    assert set(frame["preview_kind"]) == {kind}
    assert set(frame["preview_count"]) == {64 if kind == "points" else 10}
    summary = summarise([run])
    (table,) = tables(summary)
    assert len(table.tiles) == 5
    said = plain_text(images(summary))
    assert ("Channels side by side" in said) == (kind == "maps")
    assert ("Each point is a sample" in said) == (kind == "points")


@pytest.mark.parametrize("channels", [2, 4, 5, 9])
def test_maps_are_the_channels_in_reading_order_whatever_alpha_a_png_may_have(tmp_path: Path, channels: int) -> None:
    samples = torch.arange(10 * channels, dtype=torch.uint8).reshape(10, channels, 1, 1).expand(-1, -1, 5, 4)
    save_preview(samples, tmp_path / "preview.png")
    with Image.open(tmp_path / "preview.png") as file:
        assert file.mode == "L"
        strip = np.asarray(file)
    across = int(np.ceil(np.sqrt(channels)))
    tiles = np.split(strip, 10, axis=1)
    for number, tile in enumerate(tiles):
        assert tile.shape[1] == 5 * across - 1  # four pixels a map, and a line between
        for channel in range(channels):
            top, left = channel // across * 6, channel % across * 5
            assert (tile[top : top + 5, left : left + 4] == number * channels + channel).all()


def test_colours_and_greys_are_kept_as_they_are(tmp_path: Path) -> None:
    for channels, mode in ((1, "L"), (3, "RGB")):
        samples = torch.randint(0, 256, (10, channels, 4, 4), dtype=torch.uint8)
        save_preview(samples, tmp_path / "preview.png")
        with Image.open(tmp_path / "preview.png") as file:
            assert file.mode == mode
            found = np.asarray(file).reshape(4, 10, 4, channels).transpose(1, 3, 0, 2)
        assert (found == samples.numpy()).all()


def test_points_lie_where_their_coordinates_say_and_darker_where_there_are_more(tmp_path: Path) -> None:
    assert (preview_kind((2, 1, 1)), preview_size((2, 1, 1)), preview_size((3, 8, 8))) == ("points", 2000, 10)
    samples = torch.tensor([[0, 0], [255, 0], [255, 0], [255, 255]], dtype=torch.uint8).reshape(4, 2, 1, 1)
    save_preview(samples, tmp_path / "preview.png")
    with Image.open(tmp_path / "preview.png") as file:
        strip = np.asarray(file)
    assert strip.tolist() == [[0, 255, 255, 255], [0, 0, 0, 255]]
    plane = scatter(strip)[1:-1, 1:-1]
    once, twice = plane[-3, 2], plane[-3, -3]
    assert 255 > once > twice
    assert plane[2, -3] == once  # upwards is more
    assert (plane == 255).sum() == plane.size - 3 * 4


def test_a_picture_that_is_not_what_was_written_is_named_and_not_shown(tmp_path: Path) -> None:
    path = run_of_shape(tmp_path, (3, 6, 6))
    first, *others = sorted((path / "cells").glob("*.png"))
    assert summarise([path]).broken() == []
    Image.new("RGB", Image.open(first).size).save(first)
    others[1].unlink()  # is no fault
    summary = summarise([path])
    (said,) = summary.broken()
    assert said.startswith(f"Broken: {first} is not the picture that was written, and not shown;")
    (table,) = tables(summary)
    assert first.stem not in table.tiles
    assert others[2].stem in table.tiles
