"""Data sets in one .npz file: what is written is read again, and what is none is refused with what was found."""

from pathlib import Path

import numpy as np
import pytest
import torch
from photographs import write_photographs

from bench.datasets import open_data, write_archive
from bench.training.job import open_splits
from models.errors import UsageError

_GREY = np.zeros((3, 4, 4, 1), np.uint8)


def test_a_folder_written_as_an_archive_is_the_same_data_and_is_trained_on_alike(tmp_path: Path) -> None:
    folder, packed = write_photographs(tmp_path / "folder", 8, train=5, test=2), tmp_path / "packed"
    packed.mkdir()
    for name in ("train", "test"):
        write_archive(packed / f"{name}.npz", open_data(str(folder / name)))
    read = open_data(str(packed / "train.npz"))
    assert read.classes == ("bright", "dark")
    for found, expected in zip(open_splits(str(packed)), open_splits(str(folder)), strict=True):
        assert found is not None
        assert expected is not None
        assert (found.sha256(), found.classes) == (expected.sha256(), expected.classes)


def test_samples_as_guided_diffusion_writes_them_are_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    np.savez(tmp_path / "plain.npz", pixels)
    np.savez(tmp_path / "labelled.npz", pixels, np.array([2, 0, 2, 1, 0, 0]))
    plain, labelled = (open_data(str(tmp_path / f"{name}.npz")) for name in ("plain", "labelled"))
    assert torch.equal(plain.images, torch.from_numpy(pixels).movedim(3, 1))
    assert (plain.labels, plain.classes) == (None, None)
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [2, 0, 2, 1, 0, 0]
    assert labelled.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, "holds nothing"),
        ({"images": np.zeros((3, 4, 4, 3), np.float32)}, r"images float32 \(3, 4, 4, 3\); expected images"),
        ({"images": np.zeros((3, 3, 4, 4), np.uint8)}, "1 or 3 channels"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, "expected images"),
        ({"mu": np.zeros(3), "sigma": np.zeros((3, 3))}, r"mu float64 \(3,\)"),
        (
            {"images": np.zeros((3, 4, 4, 1), np.uint8), "labels": np.zeros(2, np.int64)},
            r"int64 \(2,\); expected \(3,\)",
        ),
        ({"images": np.zeros((2, 4, 4, 1), np.uint8), "labels": np.array([0.5, 1.0])}, "labels are float64"),
        ({"images": np.zeros((2, 4, 4, 1), np.uint8), "labels": np.array([-1, 0])}, "0 and above"),
        (
            {"images": np.zeros((1, 4, 4, 1), np.uint8), "labels": np.array([2]), "classes": np.array(["a"])},
            "1 classes",
        ),
        ({"images": np.array([{}])}, "cannot read"),
    ],
)
def test_an_archive_without_pixels_is_refused_with_what_it_holds(
    tmp_path: Path, arrays: dict[str, np.ndarray], said: str
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=said):
        open_data(str(tmp_path / "data.npz"))


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", np.zeros((9, 4, 4, 3), np.uint8))
    content = (tmp_path / "data.npz").read_bytes()
    (tmp_path / "data.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match="cannot read"):
        open_data(str(tmp_path / "data.npz"))
