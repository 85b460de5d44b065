"""The parts that training on photographs is made of: networks, options, augmentation, and what only a GPU shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.training.folder import to_storage
from bench.training.losses import crop, denoising_loss
from bench.training.options import CifarOptions, ExtractorOptions, TrainingOptions
from bench.training.recipe import Recipe
from bench.training.samples import Samples
from bench.training.unet import begin_at_zero, unet_config
from models.common.errors import UsageError
from models.networks.classifier import Classifier, ResNet9, make_classifier
from models.networks.network import make_unet
from models.schedule import DiscreteVP


def test_samples_are_drawn_on_the_device_of_the_network() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):  # knows of devices that are not there, and computes nothing
        with torch.device("cuda:0"):
            unet = make_unet(unet_config(8, (3, 8, 8)))
        assert Samples(DiscreteVP.linear(), (3, 8, 8), 2).of(unet.eval(), 3).shape == (3, 3, 8, 8)


def test_the_width_of_ddpm_has_its_parameters_and_the_default_between_ten_and_sixteen_million() -> None:
    def count(width: int) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in make_unet(unet_config(width, (3, 32, 32))).parameters())

    assert count(128) == 35_746_307  # as published
    assert 10e6 < count(CifarOptions(Path()).width) < 16e6


def test_bfloat16_changes_the_loss_by_its_rounding_only_and_uint8_stands_for_the_range() -> None:
    torch.manual_seed(0)
    unet, recipe = make_unet(unet_config(8, (3, 8, 8))).eval(), Recipe(steps=1, batch=8, flips=True)
    images = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8)
    schedule = DiscreteVP.linear()
    unet.requires_grad_(False)
    plain = denoising_loss(unet, images, schedule, recipe)(0)
    assert denoising_loss(unet, images / 127.5 - 1, schedule, recipe)(0) == plain
    rounded = denoising_loss(unet, images, schedule, recipe, bf16=True)(0)
    assert rounded != plain
    assert rounded.item() == pytest.approx(plain.item(), rel=1e-2)


def test_a_crop_is_that_of_the_mirrored_continuation() -> None:
    images = torch.randint(0, 256, (3, 2, 5, 6), dtype=torch.uint8)
    moves, mirrored = torch.tensor([[-2, 0, 3], [1, -3, 0]]), torch.tensor([False, True, True])
    found = crop(images, moves, mirrored)
    for n in range(3):
        padded = np.pad(images[n].numpy(), ((0, 0), (3, 3), (3, 3)), mode="reflect")
        down, right = (int(move) + 3 for move in moves[:, n])
        cut = padded[:, down : down + 5, right : right + 6]
        assert np.array_equal(found[n].numpy(), cut[:, :, ::-1] if mirrored[n] else cut)


def test_half_precision_is_for_matrices_and_kernels_only() -> None:
    state = to_storage(
        make_classifier({"_class_name": "ResNet9", "size": 8, "channels": 3, "width": 8, "classes": 2}).state_dict(),
        torch.float16,
    )
    assert {value.dtype for value in state.values() if value.ndim > 1} == {torch.float16}
    assert {value.dtype for value in state.values() if value.ndim == 1} == {torch.float32}


def test_an_extractor_s_config_says_which_classifier_it_is() -> None:
    small = {"size": 8, "channels": 1, "width": 4, "classes": 3}
    assert isinstance(make_classifier(small | {"features": 5}), Classifier)
    residual = make_classifier(small | {"_class_name": "ResNet9"}).eval()
    assert isinstance(residual, ResNet9)
    features, logits = residual(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    assert (features.shape, logits.shape) == ((2, 16), (2, 3))
    with pytest.raises(UsageError, match="Did you mean 'ResNet9'"):
        make_classifier(small | {"_class_name": "ResNet8"})
    with pytest.raises(UsageError, match="does not describe a Classifier"):
        make_classifier(small)


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        (CifarOptions, {"steps": 0}, "steps is 0; expected at least 1"),
        (CifarOptions, {"width": 20}, "multiple of 8"),
        (CifarOptions, {"minutes": -1.0}, "expected a positive number"),
        (CifarOptions, {"seed": -1}, "seed is -1; expected 0"),
        (CifarOptions, {"quality_images": 1}, "expected at least 0 and 2"),
        (ExtractorOptions, {"epochs": 0}, "epochs is 0; expected at least 1"),
        (ExtractorOptions, {"features": 3}, "features is 3; expected how many images"),
    ],
)
def test_options_that_make_no_sense_are_refused(kind: type[TrainingOptions], wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        kind(Path(), **wrong)


def test_images_that_the_network_cannot_halve_are_refused() -> None:
    with pytest.raises(UsageError, match="squares whose side is a multiple of 8"):
        unet_config(8, (3, 28, 28))


class _Compiled:
    """Like what torch.compile makes of a network: its length, and so its truth value, is not to be asked for."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.network, self.calls = network, 0

    def __len__(self) -> int:
        raise TypeError("UNet2DModel does not support len()")

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.calls += 1
        return self.network(*arguments, **named)


def test_a_compiled_network_is_called_in_its_place() -> None:
    unet = make_unet(unet_config(8, (3, 8, 8))).eval()
    compiled, images = _Compiled(unet), torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    found, expected = (
        denoising_loss(unet, images, DiscreteVP.linear(), Recipe(steps=1, batch=2), predict=predict)(0)
        for predict in (compiled, None)
    )
    assert torch.equal(found, expected)
    assert compiled.calls == 1


def test_the_network_begins_by_predicting_no_noise() -> None:
    unet = begin_at_zero(make_unet(unet_config(8, (3, 8, 8))))
    assert not unet(torch.randn(2, 3, 8, 8), 5, return_dict=False)[0].any()
