"""A network that cannot be evaluated is refused where it is loaded, in a line that says why, whatever loads it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import CIFAR10, CPU, folder_of, make, network, write
from commands import Cli
from safetensors.torch import save_file
from torch import nn

from models.common.errors import UsageError
from models.loading.layout import CONFIG, WEIGHTS
from models.loading.zoo import load_model
from models.networks.modes import Mode

_FOUR = {
    "block_out_channels": [8, 8, 8, 8],
    "down_block_types": ["DownBlock2D"] * 4,
    "up_block_types": ["UpBlock2D"] * 4,
}
_NINE = "UNet2DModel of 2 levels cannot be evaluated on images of 9 x 9: it divides their sides by 2, and 9 is no"
_TWENTY_EIGHT = (
    "by 8, and 28 is no multiple of that. Give the size that it was trained on, such as 32 x 32, in config.json"
)


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models") / "nine", sample_size=9)


@pytest.mark.parametrize(
    ("unet", "said"),
    [
        ({"sample_size": 9}, _NINE),
        (_FOUR | {"sample_size": 28}, _TWENTY_EIGHT),
        ({"sample_size": [8, 7]}, "and 7 is no"),
    ],
)
def test_sides_that_cannot_be_halved_as_often_as_a_unet_does_are_said(
    tmp_path: Path, unet: dict[str, Any], said: str
) -> None:
    folder = make(tmp_path / "model", **unet)
    with pytest.raises(UsageError) as error:
        load_model(str(folder), CPU)
    assert str(error.value).startswith(f"{folder}: a UNet2DModel of ")
    assert said in str(error.value)


def test_so_it_is_of_a_folder_with_a_card_and_before_anything_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_(*_: object, **__: object) -> nn.Module:
        raise AssertionError("compiled")

    monkeypatch.setattr(torch, "compile", compile_)
    write(tmp_path / CONFIG, {**CIFAR10, "sample_size": [9, 8]})
    save_file(network().state_dict(), tmp_path / WEIGHTS)
    folder = folder_of(tmp_path, {name: tmp_path / name for name in (CONFIG, WEIGHTS)}, shape=[3, 9, 8])
    with pytest.raises(UsageError, match=r"on images of 9 x 8: .* 9 is no multiple of that\. Give .* such as 10 x 8"):
        load_model(str(folder), CPU, mode=Mode(compile=True))


def test_another_reason_is_told_in_the_network_s_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: object, **__: object) -> None:
        raise RuntimeError("Half is not implemented")

    folder = make(tmp_path / "model")
    monkeypatch.setattr("diffusers.UNet2DModel.forward", forward)
    with pytest.raises(
        UsageError, match=r"in mode fp16: architecture 'UNet2DModel' failed .*RuntimeError: Half is not"
    ):
        load_model(str(folder), CPU, mode=Mode("fp16"))


@pytest.mark.parametrize(
    "command",
    [
        ("run", "solvers", "--model"),
        ("run", "solvers", "--dry-run", "--model"),
        ("versus", "--samplers", "ddim", "--model"),
        ("check-model",),
    ],
    ids=" ".join,
)
def test_every_command_that_evaluates_a_network_ends_with_that_line(
    cli: Cli, nine: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(nine.parent)
    (line,) = [each for each in cli(*command, nine, status=2).err.splitlines() if "error" in each]
    assert line.startswith(f"error: {nine}: a {_NINE}")
