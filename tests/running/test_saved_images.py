"""All images of cells beside their records: what was scored, in files as evaluators elsewhere read them."""

import csv
import errno
import os
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_fidelity
from commands import Cli
from labelled import labelled
from PIL import Image
from quiet import Quiet
from studies import study_toml
from torch import Tensor
from torch.utils.data import Dataset

import bench
from bench.quality.images import preview_size, read_preview
from bench.quality.metrics import QualityStream
from bench.quality.saved_images import save_images
from bench.record import ImageFiles, Record, RunFolder
from bench.running.executors.choice import Workers
from bench.running.merge import merge
from bench.running.runner import Outcome, run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.plan import StudyPart
from models.common.errors import NotWritten, UsageError

_EACH_RUN = ("finished", "command", "load_average_1min")
_GREY = study_toml(("ddim", "ddpm"), (2,), baseline_steps=3, timing={"repeats": 0})


def run(toml: str, path: Path, kind: ImageFiles | None, *, force: bool = False, **more: Any) -> Outcome:
    given, part = parse_study(toml, "test"), more.pop("part", None)
    session = replace(Session.load(given), save_images=kind, part=part)
    return run_study(given, session, RunFolder(path), force, Quiet(), **more)


def saved(path: Path) -> dict[str, list[np.ndarray[Any, Any]]]:
    """The arrays of all archives of a run, by cells."""
    found = {}
    for file in sorted((path / "cells").glob("*.npz")):
        with np.load(file) as archive:
            found[file.stem] = [archive[name] for name in archive.files]
    return found


def measured(path: Path) -> dict[str, Record]:
    """The records of a run, without what differs from one run to the next."""
    return {
        each["id"]: {name: value for name, value in each.items() if name not in _EACH_RUN}
        for each in RunFolder(path).records()
    }


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return labelled(tmp_path_factory.mktemp("labelled"))


def coloured(said: dict[str, str], **more: Any) -> str:
    top: dict[str, Any] = {"metrics": ["fd"], "images": 40, "seeds": [3], "timing": {"repeats": 0}} | said | more
    return study_toml(("ddim",), (2,), baseline_steps=3, **top)


def test_an_archive_holds_what_was_scored_and_shown_and_the_classes_asked_for(
    said: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored, add = list[Tensor](), QualityStream.add

    def seen(self: QualityStream, images: Tensor) -> None:
        scored.append(images.clone())
        add(self, images)

    monkeypatch.setattr(QualityStream, "add", seen)
    toml = coloured(said)
    assert run(toml, tmp_path, "npz") == Outcome(measured=2)
    folder, session = RunFolder(tmp_path), Session.load(parse_study(toml, "test"))
    expected = torch.cat(scored).split(40)
    for record, pixels in zip(folder.records(), expected, strict=True):
        file = np.load(folder.images(record["id"], "npz"))  # as guided-diffusion's evaluator does
        assert file.files == ["arr_0", "arr_1"]
        with zipfile.ZipFile(folder.images(record["id"], "npz")).open("arr_0.npy") as stream:
            assert np.lib.format.read_magic(stream) == (1, 0)  # of others and in Fortran's order it reads all at once
            assert np.lib.format.read_array_header_1_0(stream) == ((40, 8, 8, 3), False, np.dtype(np.uint8))
        images, labels = file["arr_0"], file["arr_1"]
        assert (images.shape, images.dtype, labels.shape, labels.dtype) == ((40, 8, 8, 3), np.uint8, (40,), np.int64)
        assert np.array_equal(images, pixels.permute(0, 2, 3, 1).numpy())
        count = preview_size((3, 8, 8))
        preview = read_preview(folder.preview(record["id"]), count, (3, 8, 8))
        assert np.array_equal(images[:count], preview.permute(0, 2, 3, 1).numpy())
        asked = session.labels(session.subject, 3, torch.arange(40))
        assert asked is not None
        assert np.array_equal(labels, asked.numpy())
        assert len(set(labels)) > 1


def test_pictures_are_the_archive_and_their_table_its_classes(said: dict[str, str], tmp_path: Path) -> None:
    for kind in ("npz", "png"):
        run(coloured(said), tmp_path, kind)
    for cell, (images, labels) in saved(tmp_path).items():
        folder = RunFolder(tmp_path).images(cell, "png")
        names = [f"{number:06d}.png" for number in range(40)]
        assert sorted(path.name for path in folder.iterdir()) == [*names, "labels.csv"]
        assert np.array_equal(np.stack([np.array(Image.open(folder / name)) for name in names]), images)
        rows = list(csv.reader((folder / "labels.csv").read_text().splitlines()))
        assert rows == [["image", "label"], *([name, str(label)] for name, label in zip(names, labels, strict=True))]


def test_images_of_a_model_without_classes_have_one_array_and_no_table(tmp_path: Path) -> None:
    for kind in ("npz", "png"):
        run(_GREY, tmp_path, kind)
    for cell, arrays in saved(tmp_path).items():
        (images,) = arrays
        assert images.shape == (16, 8, 8, 1)
        folder = RunFolder(tmp_path).images(cell, "png")
        assert len(list(folder.iterdir())) == 16
        assert np.array_equal(np.array(Image.open(folder / "000015.png")), images[15, :, :, 0])


class _Images(Dataset[Tensor]):
    """Those that the reference of `labelled` is of."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self._images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=generator)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        return self._images[index]


def test_torch_fidelity_finds_the_distance_of_the_record_in_the_pictures(said: dict[str, str], tmp_path: Path) -> None:
    run(coloured(said), tmp_path, "png")
    for record in RunFolder(tmp_path).records():
        folder = RunFolder(tmp_path).images(record["id"], "png")
        found = torch_fidelity.calculate_metrics(
            input1=str(folder),
            input2=_Images(),
            feature_extractor="brightness",
            fid=True,
            cuda=False,
            cache=False,
            save_cpu_ram=True,
            verbose=False,
        )
        assert record["fd_brightness"] == pytest.approx(found["frechet_inception_distance"], rel=1e-6)
        assert record["fd_brightness"] > 0.0


def test_nothing_of_a_record_depends_on_whether_its_images_are_saved(tmp_path: Path) -> None:
    run(_GREY, tmp_path / "with", "npz")
    run(_GREY, tmp_path / "without", None)
    assert measured(tmp_path / "with") == measured(tmp_path / "without")
    assert not saved(tmp_path / "without")


def test_workers_give_the_same_files_from_parts_of_cells(tmp_path: Path) -> None:
    toml = study_toml(("ddpm",), (2,), "ddpm", 3, images=160, batch=10, device="cpu", threads=1, timing={"repeats": 0})
    study = tomllib.loads(toml)
    for name, workers in (("here", Workers()), ("there", Workers(devices="cpu,cpu"))):
        done = bench.run(study, out=tmp_path / name, save_images="npz", workers=workers, quiet=True)
        assert done.outcome == Outcome(measured=2)
    here, there = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "cells").glob("*.npz")}
        for name in ("here", "there")
    )
    assert here == there
    assert len(here) == 2
    assert all(sum(each["made_on"].values()) == 160 for each in RunFolder(tmp_path / "there").records())
    assert {len(each) for (each,) in saved(tmp_path / "there").values()} == {160}


@pytest.mark.parametrize("kind", ["npz", "png"])
def test_a_cell_whose_images_are_not_there_is_measured_again_and_keeps_its_times(
    tmp_path: Path, kind: ImageFiles
) -> None:
    toml = _GREY.replace("repeats = 0", "repeats = 2, seconds = 0.0")
    assert run(toml, tmp_path, "npz" if kind == "png" else None) == Outcome(measured=3)
    before = measured(tmp_path)
    assert all(each["timing_rounds"] == 2 for each in before.values())
    assert run(toml, tmp_path, kind) == Outcome(measured=3)
    assert measured(tmp_path) == before
    assert run(toml, tmp_path, kind) == Outcome(kept=3)
    assert run(toml, tmp_path, None) == Outcome(kept=3)
    gone = RunFolder(tmp_path).images(next(iter(before)), kind)
    os.rename(gone, tmp_path / "gone")
    assert run(toml, tmp_path, kind) == Outcome(measured=1, kept=2)
    assert gone.exists()
    assert measured(tmp_path) == before


def test_a_cell_that_fails_when_its_images_are_asked_for_keeps_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(_GREY, tmp_path, None)
    before = measured(tmp_path)

    def fails(*arguments: object) -> None:
        raise RuntimeError("no images today")

    monkeypatch.setattr("bench.running.cell.Cells.generate", fails)
    assert run(_GREY, tmp_path, "npz") == Outcome(failed=3)
    assert measured(tmp_path) == before
    assert not saved(tmp_path)


def test_with_force_times_are_taken_anew(tmp_path: Path) -> None:
    toml = _GREY.replace("repeats = 0", "repeats = 1, seconds = 0.0")
    run(toml, tmp_path, None)
    before = measured(tmp_path)
    assert run(toml, tmp_path, "npz", force=True) == Outcome(measured=3)
    assert all(each["latency_s"] != before[cell]["latency_s"] for cell, each in measured(tmp_path).items())


def growing(**more: Any) -> str:
    top = {"images": {"from": 20, "to": 80}, "until": "decided", "batch": 20, "timing": {"repeats": 0}} | more
    return study_toml(("ddpm",), (2,), "ddpm", 3, **top)


def numbers(path: Path) -> dict[str, int]:
    """How many images the archives of a run hold, by cells."""
    return {cell: len(images) for cell, (images,) in saved(path).items()}


def test_of_images_that_grow_those_of_the_last_look_stay_and_are_those_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.running.runner._Run._left", lambda run, number: run._stages[number])
    toml = growing()
    assert run(toml, tmp_path / "grown", "npz") == Outcome(measured=6)
    assert sorted(numbers(tmp_path / "grown").values()) == [80, 80]
    assert run(toml, tmp_path / "grown", "npz") == Outcome(kept=6)
    run(growing(images=80).replace('until = "decided"', ""), tmp_path / "once", "npz")
    grown, once = saved(tmp_path / "grown"), saved(tmp_path / "once")
    assert all(np.array_equal(grown[cell][0], once[cell][0]) for cell in once)
    assert len(once) == 2


def test_what_has_grown_without_its_images_is_made_anew_when_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.running.runner._Run._left", lambda run, number: run._stages[number])
    assert run(growing(), tmp_path, None) == Outcome(measured=6)
    before = measured(tmp_path)
    assert run(growing(), tmp_path, "npz") == Outcome(measured=6)
    assert measured(tmp_path) == before
    assert sorted(numbers(tmp_path).values()) == [80, 80]


def test_images_that_grow_after_those_saved_before_are_all_there(tmp_path: Path) -> None:
    """A run that has ended after a look, one without the option, and one with it again."""
    for kind, ends in (("npz", 1), (None, 2), ("npz", 3)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bench.running.runner.first_look", lambda session, folder, warn: None)
            patch.setattr(
                "bench.running.runner._Run._left",
                lambda run, number, ends=ends: run._stages[number] if number < ends else {},
            )
            run(growing(), tmp_path, kind)  # type: ignore[arg-type]
    assert sorted(numbers(tmp_path).values()) == [80, 80]


def test_images_go_with_the_parts_of_a_study_into_the_joined_run(tmp_path: Path) -> None:
    for n in (1, 2):
        for kind in ("npz", "png"):
            run(_GREY, tmp_path / str(n), kind, part=StudyPart(n, 2))
    run(_GREY, tmp_path / "whole", "npz")
    assert merge([tmp_path / "1", tmp_path / "2"], tmp_path / "joined") == (3, 0, 0)
    joined, whole = saved(tmp_path / "joined"), saved(tmp_path / "whole")
    assert {*joined} == {*whole}
    assert all(np.array_equal(joined[cell][0], whole[cell][0]) for cell in whole)
    assert all(len(list(RunFolder(tmp_path / "joined").images(cell, "png").iterdir())) == 16 for cell in whole)


def test_a_joined_run_has_the_images_that_one_of_several_results_of_a_cell_has(tmp_path: Path) -> None:
    run(_GREY, tmp_path / "timed", None)
    run(_GREY, tmp_path / "saved", "npz")
    merge([tmp_path / "timed", tmp_path / "saved"], tmp_path / "joined")
    assert {*saved(tmp_path / "joined")} == {*measured(tmp_path / "joined")}


def test_images_of_other_channels_than_a_picture_has_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.running.solution.STEPS", 2)
    given = labelled(tmp_path / "given", in_channels=4, out_channels=4)
    toml = study_toml(metrics=["solver_error"], model=given["model"], solver_images=4, timing={"repeats": 0})
    said = "--save-images png: the images of model .* have 4 channels, and a PNG takes 1 or 3; npz takes any number"
    with pytest.raises(UsageError, match=said):
        run(toml, tmp_path / "run", "png")
    assert not (tmp_path / "run").exists()
    run(toml, tmp_path / "run", "npz")
    assert [images.shape for images, _ in saved(tmp_path / "run").values()] == [(16, 8, 8, 4)]


def test_what_is_no_way_to_save_images_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(_GREY)
    assert 'Choose from: "npz", "png"' in cli("run", tmp_path / "study.toml", "--save-images", "jpg", status=2).err
    with pytest.raises(UsageError, match=r"--save-images 'jpg'; expected npz or png"):
        bench.run(tomllib.loads(_GREY), out=tmp_path / "run", save_images="jpg")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_the_command_saves_them(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(_GREY)
    cli("run", tmp_path / "study.toml", "--out", tmp_path / "run", "--save-images", "npz")
    assert numbers(tmp_path / "run") == dict.fromkeys(measured(tmp_path / "run"), 16)


@pytest.mark.parametrize("kind", ["npz", "png"])
def test_a_full_disk_names_the_file_and_leaves_the_images_before_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: ImageFiles
) -> None:
    images, labels, path = torch.zeros(4, 8, 8, 3, dtype=torch.uint8), torch.arange(4), tmp_path / "cell"
    save_images(images, labels, path, kind)
    before = sorted(str(each) for each in tmp_path.rglob("*"))

    def full(*arguments: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("numpy.savez", full)
    monkeypatch.setattr("PIL.Image.Image.save", full)
    with pytest.raises(NotWritten, match="No space left on device") as error:
        save_images(images + 1, labels, path, kind)
    assert error.value.filename == str(path)
    assert sorted(str(each) for each in tmp_path.rglob("*")) == before


def test_a_run_that_is_killed_leaves_no_half_of_the_images(tmp_path: Path) -> None:
    run(_GREY, tmp_path, "png")
    cell = next(iter(measured(tmp_path)))
    left = tmp_path / "cells" / f"{cell}.999999999.tmp"
    left.mkdir()
    (left / "000000.png").touch()
    assert run(_GREY, tmp_path, "png") == Outcome(kept=3)
    assert not left.exists()
