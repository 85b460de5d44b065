"""Statistics of data as `reference` makes them: once, found by name, and with word of what they are of."""

import dataclasses
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.cli.app import app
from bench.quality.extractor import Extractor
from bench.quality.features import extract
from bench.quality.reference import load_reference
from bench.quality.reference_cache import cached_path
from bench.quality.reference_maker import ReferenceOptions, make_reference
from models.common.errors import UsageError

_CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("cache")


def _quiet(done: int, total: int) -> None:
    pass


def _folder(path: Path, images: Tensor) -> Path:
    path.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(path / f"{number:03}.png")
    return path


def test_statistics_of_a_data_set_are_made_once_by_command_and_then_found_by_name(
    extractor: Extractor, images: Tensor, tmp_path: Path
) -> None:
    data = str(_folder(tmp_path / "mine", images[:20]))
    with pytest.raises(UsageError, match=f"make them once with: run_bench.py reference {data} --extractor digits"):
        load_reference(data, extractor)
    path = make_reference(ReferenceOptions(data, extractor="digits"), _CPU, _quiet)
    assert path == cached_path(data, extractor)
    found = load_reference(data, extractor, ["kid"])
    assert (found.name, found.count) == (data, 20)
    torch.testing.assert_close(found.mean, extract(extractor, images[:20]).features.mean(0))
    Image.fromarray(images[21][0].numpy()).save(Path(data) / "another.png")
    with pytest.raises(UsageError, match="there are no statistics of data set"):
        load_reference(data, extractor)


def test_the_command_says_how_many_images_it_used_and_what_it_left_out(
    extractor: Extractor, images: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _folder(tmp_path / "mine", images[:20])
    before = cached_path(str(data), extractor)
    (data / ".@__thumb").mkdir()
    Image.fromarray(images[30][0].numpy()).save(data / ".@__thumb" / "000.png")
    assert cached_path(str(data), extractor) == before  # what is not looked at changes nothing
    for number in range(4):
        Image.fromarray(images[40][0].numpy()).save(data / f"{number}.gif")
    app(["reference", str(data), "--extractor", "digits"], result_action="return_value")
    out, err = capsys.readouterr()
    said = " ".join(err.split())
    assert f"\nof {data}: 20 images of 1 x 8 x 8\n" in out
    assert f"left out of {data}: 4 .gif (0.gif, 1.gif, 2.gif, ...), 1 hidden (.@__thumb)" in said
    assert load_reference(str(data), extractor).count == 20


def test_statistics_are_made_again_when_a_linked_class_changes(
    extractor: Extractor, images: Tensor, tmp_path: Path
) -> None:
    _folder(tmp_path / "elsewhere", images[:2])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "zero").symlink_to(tmp_path / "elsewhere")
    before = cached_path(str(tmp_path / "mine"), extractor)
    Image.fromarray(images[3][0].numpy()).save(tmp_path / "elsewhere" / "another.png")
    assert cached_path(str(tmp_path / "mine"), extractor) != before


def test_a_stray_colour_is_named_before_grey_images_are_refused(
    extractor: Extractor, images: Tensor, tmp_path: Path
) -> None:
    data, said = _folder(tmp_path / "mine", images[:20]), list[str]()
    Image.fromarray(images[20, 0, :, :, None].numpy().repeat(3, 2)).save(data / "as-rgb.png")
    options = ReferenceOptions(str(data), tmp_path / "r.safetensors", "digits")
    assert load_reference(str(make_reference(options, _CPU, _quiet)), extractor).count == 21
    Image.new("RGB", (8, 8), "red").save(data / "stray.png")
    with pytest.raises(UsageError, match=r"takes images of shape \(1, 8, 8\), but these are \(3, 8, 8\)"):
        make_reference(options, _CPU, _quiet, said.append)
    assert said[0] == f"{data}: 22 images of 3 x 8 x 8"
    assert "because of colours in 1 of 22 (stray.png)" in said[1]


def test_a_name_means_the_model_whose_extractor_it_is_and_else_the_data_set(extractor: Extractor) -> None:
    own = load_reference(None, extractor)
    assert load_reference("digits", extractor).columns == own.columns
    assert own.count == 1797
    other = dataclasses.replace(extractor, name="other", sha256="0" * 64, folder=None)
    with pytest.raises(UsageError, match="no statistics of data set 'digits' by extractor 'other' yet"):
        load_reference("digits", other)
    with pytest.raises(UsageError, match="has no reference of its own; name one in the study"):
        load_reference(None, other)
    with pytest.raises(UsageError, match="the card of 'digits-vae' lists no reference"):
        load_reference("digits-vae", extractor)
    with pytest.raises(UsageError, match=r"unknown reference .* Did you mean 'cifar10'\?"):
        load_reference("cifar-10", extractor)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ReferenceOptions("digits", extractor="digits", images=100), "give a file with -o"),
        (ReferenceOptions("digits", Path("r.npz"), "digits"), "a reference is a .safetensors file"),
        (ReferenceOptions("digits", Path("r.safetensors"), "digits", images=1), "2 are the least"),
        (ReferenceOptions("digits", Path("r.safetensors"), "digits", batch=0), "a batch of 0 images; expected 1"),
        (ReferenceOptions("digits", Path("/dev/null/r.safetensors"), "digits"), "cannot write"),
    ],
)
def test_what_the_command_cannot_do_is_said(options: ReferenceOptions, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_reference(options, _CPU, _quiet)
