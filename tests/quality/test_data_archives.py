"""Data sets in one .npz file: what is written is read again, and what is none is refused with what was found."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from photographs import write_photographs

from bench.quality.datasets import ROOT_VARIABLE, name_of, open_data, write_archive
from bench.quality.extractors import Chosen, load_extractor
from bench.quality.reference import load_reference
from bench.quality.reference_maker import ReferenceOptions, make_reference
from bench.training.data import open_splits
from models.common.errors import UsageError

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


def test_capitals_in_the_suffix_of_an_archive_change_nothing(tmp_path: Path) -> None:
    folder = write_photographs(tmp_path / "folder", 8, train=5, test=2)
    for name in ("train", "test"):
        write_archive(tmp_path / f"{name}.npz", open_data(str(folder / name)))
        (tmp_path / f"{name}.npz").rename(tmp_path / f"{name}.NPZ")
    assert open_data(str(tmp_path / "train.NPZ")).sha256() == open_data(str(folder / "train")).sha256()
    whole, test = open_splits(str(tmp_path))
    assert test is not None
    assert (len(whole.images), len(test.images)) == (10, 4)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("letters", "letters"),
        ("letters/train", "letters"),
        ("letters/images/Test", "images"),
        ("letters/test/train", "letters"),
        ("letters/train.npz", "letters"),
        ("letters.NPZ", "letters"),
        ("letters.v2", "letters.v2"),
    ],
)
def test_data_are_called_after_their_folder_or_file_and_not_after_a_part(tmp_path: Path, path: str, name: str) -> None:
    if path.lower().endswith(".npz"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    assert name_of(str(tmp_path / path)) == name


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
        ({"images": _GREY, "labels": np.array([0, 1, 2**62])}, "a label 4611686018427387904 .* below 100,000"),
        ({"images": _GREY, "labels": np.array([0, 1, 2**64 - 1], np.uint64)}, "a label 18446744073709551615 .* below"),
        ({"images": _GREY, "arr_1": np.array([0, 1, 10**9])}, "a label 1000000000 and no names of classes"),
        ({"images": _GREY, "arr_0": _GREY + 1}, "holds images twice, as 'images' and as 'arr_0'; leave one out"),
        ({"images": _GREY, "arr_1": np.zeros(3, int), "labels": np.zeros(3, int)}, "as 'labels' and as 'arr_1'"),
        (
            {"images": _GREY, "labels": np.array([0, 1, 2]), "classes": np.array(["a", "b", "a"])},
            "1 classes a name that another has, such as 'a'",
        ),
        ({"images": _GREY, "labels": np.array([0, 0, 0]), "classes": np.array("a")}, "its classes are <U1"),
    ],
)
def test_an_archive_without_pixels_is_refused_with_what_it_holds(
    tmp_path: Path, arrays: dict[str, np.ndarray], said: str
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=said):
        open_data(str(tmp_path / "data.npz"))


def test_few_images_of_many_classes_are_read(tmp_path: Path) -> None:
    """As some of those that a model of 1,000 classes, or of 20,000, has made."""
    np.savez(tmp_path / "data.npz", _GREY, np.array([5, 21840, 999]))
    data = open_data(str(tmp_path / "data.npz"))
    assert data.labels is not None
    assert data.labels.tolist() == [5, 21840, 999]
    assert data.classes == tuple(map(str, range(21841)))


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", np.zeros((9, 4, 4, 3), np.uint8))
    content = (tmp_path / "data.npz").read_bytes()
    (tmp_path / "data.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match="cannot read"):
        open_data(str(tmp_path / "data.npz"))


def test_pixels_are_those_that_a_folder_would_give_and_other_arrays_are_named(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=grey.repeat(3, axis=3), label=np.zeros(6, np.int64))
    data = open_data(str(tmp_path / "data.npz"))
    assert torch.equal(data.images, torch.from_numpy(grey).movedim(3, 1))
    assert data.remarks == (f"left out of {tmp_path / 'data.npz'}: label int64 (6,)",)


def test_of_two_sets_to_train_on_one_is_said_to_be_left_out(tmp_path: Path) -> None:
    folder = write_photographs(tmp_path, 8, train=5)
    write_archive(folder / "train.npz", open_data(str(folder / "train")))
    whole, _ = open_splits(str(folder))
    assert whole.remarks == (f"left out of {folder}: train.npz",)


def test_statistics_of_an_archive_are_made_once_and_found_by_its_path_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "cache"))
    cpu, path = torch.device("cpu"), tmp_path / "data.npz"
    digits = open_data("digits")
    write_archive(path, replace(digits, images=digits.images[:20], labels=None))
    extractor = load_extractor(Chosen("digits"), None, cpu)
    make_reference(ReferenceOptions(str(path), extractor="digits"), cpu, lambda done, total: None)
    assert load_reference(str(path), extractor).count == 20
    write_archive(path, replace(digits, images=digits.images[:30], labels=None))
    with pytest.raises(UsageError, match="there are no statistics of data set"):
        load_reference(str(path), extractor)


def test_pictures_to_train_on_that_are_among_those_to_test_on_are_counted(tmp_path: Path) -> None:
    folder = write_photographs(tmp_path / "folder", 8, train=5, test=2)
    _, test = open_splits(str(folder))
    assert test is not None
    assert test.remarks == ()
    for number, file in enumerate(sorted((folder / "train").glob("*/*"))[:2]):
        shutil.copy(file, folder / "test" / file.parent.name / f"again-{number}{file.suffix}")
    _, test = open_splits(str(folder))
    assert test is not None
    assert "2 of 6 are among the images to train on, with the same pixels" in "\n".join(test.words)
