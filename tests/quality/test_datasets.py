"""Data sets come in whole, in an order that never changes, or not at all and with a reason."""

import hashlib
import pickle
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.transforms.functional import pil_to_tensor

from bench.quality.datasets import ROOT_VARIABLE, open_data
from models.common.errors import UsageError


def _pixels(number: int, height: int = 6, width: int = 6, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def _write(path: Path, number: int, height: int = 6, width: int = 6, channels: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_pixels(number, height, width, channels)).save(path)


def test_classes_and_pixels_are_those_of_torchvision_s_image_folder(tmp_path: Path) -> None:
    names = ["zebra/b.png", "zebra/a.webp", "ant/2.bmp", "ant/10.jpg", "bee/deep/er.jpeg", "ant/1.png"]
    for number, name in enumerate(names):
        _write(tmp_path / name, number)
    (tmp_path / "ant" / "notes.txt").write_text("no image")
    data, expected = open_data(str(tmp_path)), ImageFolder(tmp_path)
    assert data.labels is not None
    assert (data.classes, data.labels.tolist()) == (tuple(expected.classes), expected.targets)
    assert torch.equal(data.images, torch.stack([pil_to_tensor(image) for image, _ in expected]))


def test_a_flat_folder_is_in_the_order_of_its_names_and_has_no_classes(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        _write(tmp_path / f"{number}.png", number)
    data = open_data(str(tmp_path))
    assert (data.labels, data.classes) == (None, None)
    expected = torch.stack([torch.from_numpy(_pixels(number)).movedim(2, 0) for number in range(3)])
    assert torch.equal(data.images, expected)


def test_images_have_one_channel_only_where_all_are_grey(tmp_path: Path) -> None:
    _write(tmp_path / "a.png", 0, channels=1)
    grey = torch.from_numpy(_pixels(0, channels=1))
    assert torch.equal(open_data(str(tmp_path)).images, grey[None, None])
    _write(tmp_path / "b.png", 1)
    assert torch.equal(open_data(str(tmp_path)).images[0], grey.expand(3, 6, 6))


def test_resizing_is_pillow_s_scaling_and_then_the_centre_square(tmp_path: Path) -> None:
    _write(tmp_path / "a.png", 0, 12, 12)
    _write(tmp_path / "b.png", 1, 8, 16)
    data = open_data(str(tmp_path), resize=4)
    square = Image.fromarray(_pixels(0, 12, 12)).resize((4, 4), Image.Resampling.BICUBIC)
    wide = Image.fromarray(_pixels(1, 8, 16)).resize((8, 4), Image.Resampling.BICUBIC).crop((2, 0, 6, 4))
    assert torch.equal(data.images, torch.stack([pil_to_tensor(square), pil_to_tensor(wide)]))
    assert data.resize == 4


def test_every_file_that_cannot_be_used_is_counted_and_the_first_are_named(tmp_path: Path) -> None:
    for number in range(3):
        _write(tmp_path / f"{number}.png", number)
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    _write(tmp_path / "wide.png", 4, 6, 7)
    Image.fromarray(np.full((6, 6), 40_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UsageError, match="3 of 6 images") as caught:
        open_data(str(tmp_path))
    for said in ("cut.png", "wide.png is 7 x 6, others are 6 x 6", "deep.png", "8 bits", "resize"):
        assert said in str(caught.value)


def test_a_folder_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"none of the 1 image files like .*a\.png can be read"):
        open_data(str(tmp_path))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "holds no images"),
        (["a.png", "cat/b.png"], "images and also subfolders of images \\('cat'\\)"),
        (["train/cat/a.png", "test/cat/b.png"], "name one, such as .*test"),
        (["cat/a.png", "dog/readme.txt"], "dog holds no images"),
    ],
)
def test_folders_that_are_no_one_data_set_are_refused(tmp_path: Path, files: list[str], said: str) -> None:
    for number, name in enumerate(files):
        if name.endswith("png"):
            _write(tmp_path / name, number)
        else:
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).write_text("")
    with pytest.raises(UsageError, match=said):
        open_data(str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "resize", "said"),
    [
        ("cifar", None, "Did you mean 'cifar10'"),
        ("no/such/folder", None, "is no folder of images"),
        ("digits", 16, "has one size"),
    ],
)
def test_what_is_no_data_set_is_refused_with_what_there_is(spec: str, resize: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_data(spec, resize=resize)


def test_a_resize_to_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1 pixel"):
        open_data(str(tmp_path), resize=0)


def test_the_digits_are_scikit_learn_s_rounded_to_bytes() -> None:
    from sklearn.datasets import load_digits

    data, theirs = open_data("digits"), load_digits()
    assert np.array_equal(data.images[:, 0].numpy(), np.round(theirs.images * 255 / 16))
    assert data.labels is not None
    assert np.array_equal(data.labels.numpy(), theirs.target)


def test_the_hash_tells_pixels_and_labels_apart(tmp_path: Path) -> None:
    for number, name in enumerate(["a/1.png", "b/2.png"]):
        _write(tmp_path / "one" / name, number)
        _write(tmp_path / "moved" / name, number)
        _write(tmp_path / "flat" / name.replace("/", ""), number)
    one, moved, flat = (open_data(str(tmp_path / name)).sha256() for name in ("one", "moved", "flat"))
    assert one == moved
    assert one != flat


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address at which the files of tmp_path / "source" can be downloaded."""
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "source")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        Thread(target=serving.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


@pytest.fixture
def archive(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive like that of CIFAR-10, of ten images a batch, where torchvision downloads from; the data's root."""
    folder, source, root = tmp_path / CIFAR10.base_folder, tmp_path / "source", tmp_path / "root"
    folder.mkdir()
    source.mkdir()
    names = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"]
    hashes = {}
    for number, name in enumerate(names):
        labels = [(number + at) % 10 for at in range(10)]
        batch = {
            "data": _pixels(number, 10, 3072, 1),
            "labels": labels,
            "label_names": [f"class {n}" for n in range(10)],
        }
        content = pickle.dumps(batch)
        (folder / name).write_bytes(content)
        hashes[name] = hashlib.md5(content).hexdigest()
    with tarfile.open(source / CIFAR10.filename, "w:gz") as tar:
        tar.add(folder, CIFAR10.base_folder)
    md5 = hashlib.md5((source / CIFAR10.filename).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "url", f"{server}/{CIFAR10.filename}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5)
    monkeypatch.setattr(CIFAR10, "train_list", [[name, hashes[name]] for name in names[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [[names[5], hashes[names[5]]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": hashes[names[6]]})
    monkeypatch.setenv(ROOT_VARIABLE, str(root))
    return root


def test_cifar10_is_downloaded_checked_and_read_in_order(archive: Path) -> None:
    data, test = open_data("cifar10"), open_data("cifar10-test", download=False)  # what is there takes no download
    expected = np.concatenate([_pixels(number, 10, 3072, 1) for number in range(5)]).reshape(50, 3, 32, 32)
    assert np.array_equal(data.images.numpy(), expected)
    assert data.labels is not None
    assert data.labels.tolist() == [(number + at) % 10 for number in range(5) for at in range(10)]
    assert data.classes == tuple(f"class {n}" for n in range(10))
    assert np.array_equal(test.images.numpy(), _pixels(5, 10, 3072, 1).reshape(10, 3, 32, 32))


def test_an_archive_that_was_put_in_place_needs_no_download(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.mkdir()
    (archive.parent / "source" / CIFAR10.filename).rename(archive / CIFAR10.filename)
    assert len(open_data("cifar10", download=False).images) == 50


def test_cifar10_that_cannot_be_had_says_which_file_to_put_where(archive: Path) -> None:
    with pytest.raises(UsageError, match="downloads are off") as off:
        open_data("cifar10", download=False)
    (archive.parent / "source" / CIFAR10.filename).unlink()
    with pytest.raises(UsageError, match="cannot be downloaded") as unreachable:
        open_data("cifar10")
    for caught in (off, unreachable):
        for said in (CIFAR10.filename, CIFAR10.tgz_md5, str(archive), ROOT_VARIABLE):
            assert said in str(caught.value)


def test_a_changed_cifar10_is_never_unpickled(archive: Path) -> None:
    open_data("cifar10")
    batch = archive / CIFAR10.base_folder / "data_batch_3"
    batch.write_bytes(batch.read_bytes() + b" ")
    (archive / CIFAR10.filename).unlink()
    with pytest.raises(UsageError, match="not found or corrupted"):
        open_data("cifar10", download=False)
