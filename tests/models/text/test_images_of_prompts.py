"""From the same noise and prompts a text-to-image pipeline makes the same images here as in diffusers."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from text_pipelines import CHANNELS, MAKERS, SIDE, TEXTS, loaded
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from models.grids import GRIDS
from models.guidance import GUIDANCES
from models.loading.model import Model
from samplers import SAMPLERS

Tiny = Callable[[str], tuple[Path, Any]]

_STEPS, _SIZE = 10, {"height": 2 * SIDE, "width": 2 * SIDE}
_LOWEST = 3.0 * (3e-3 / 1.002) / (1.0 + 2.0 * (3e-3 / 1.002))
"""SD3's scheduler shifts its lowest level, 1/1000, twice."""
_GRIDS = {
    "sd": "trailing",
    "sd3": f"shift[shift=3,t_start=1,t_end={_LOWEST!r}]",
    "flux-dev": f"shift[tokens={SIDE * SIDE // 4},t_start=1]",
    "flux-schnell": "shift[shift=1,t_start=1]",
}


@pytest.fixture(autouse=True)
def _own_cache(cache: None) -> None:
    pass


def noise(count: int = len(TEXTS)) -> Tensor:
    return torch.randn(count, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def grid_of(name: str) -> str:
    return next(grid for start, grid in reversed(_GRIDS.items()) if name.startswith(start))


def ours(model: Model, name: str, scale: float, labels: Tensor | None = None, *, together: bool = True) -> Tensor:
    """Images of all prompts, or of labels, in [0, 1]."""
    labels = torch.arange(len(TEXTS)) if labels is None else labels
    guided = model.guided(GUIDANCES.make(f"cfg[scale={scale}]"), together=together)
    denoiser = model.denoiser(model.card.clip, labels, guided)
    levels = list(GRIDS.make(grid_of(name))(model.schedule, _STEPS))
    with torch.inference_mode():
        found = SAMPLERS.make("ddim").sample(denoiser, noise()[: len(labels)], levels, None)  # type: ignore[arg-type]
        return (model.decoded(found) / 2.0 + 0.5).clamp(0.0, 1.0)


def theirs(pipeline: Any, name: str, scale: float, negative: str | None, texts: tuple[str, ...] = TEXTS) -> Tensor:
    """The same by the pipeline itself."""
    x, against = noise()[: len(texts)], None if negative is None else [negative] * len(texts)
    said: dict[str, Any] = {"prompt": list(texts), "num_inference_steps": _STEPS, "output_type": "pt", **_SIZE}
    if name.startswith("flux"):
        packed = pipeline._pack_latents(x, len(x), CHANNELS, SIDE, SIDE)
        said |= {"latents": packed, "true_cfg_scale": scale, "negative_prompt": against or [""] * len(x)}
    else:
        said |= {"latents": x, "guidance_scale": scale, "negative_prompt": against}
    if not name.startswith("sd") or name.startswith("sd3"):
        said["max_sequence_length"] = 16
    images: Tensor = pipeline(**said).images
    return images


_SCALES, _NEGATIVES = (("bad", 1.0), ("bad", 4.0)), (("bad", 4.0), ("", 4.0))
_ASKED = {"sd-v": _SCALES, "sd3-no-t5": _SCALES, "flux-schnell": _SCALES, "sdxl-no-zeros": _NEGATIVES}
"""Of those that differ from another in one thing."""


@pytest.mark.parametrize("name", MAKERS)
def test_images_are_the_pipelines_own(tiny: Tiny, tmp_path: Path, name: str) -> None:
    folder, pipeline = tiny(name)
    found = list[Tensor]()
    for negative, scale in _ASKED.get(name, (("bad", 1.0), ("bad", 4.0), ("", 4.0))):
        found.append(theirs(pipeline, name, scale, negative or None))
        model = loaded(folder, tmp_path, negative=negative)
        torch.testing.assert_close(ours(model, name, scale), found[-1], rtol=0.0, atol=1e-4)
    for one, other in pairwise(found):  # a scale and a negative prompt tell
        assert float((one - other).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("name", "table"),
    [("sd", "hidden"), ("sdxl", "hidden"), ("sdxl", "pooled"), ("sd3", "pooled"), ("flux-dev", "pooled")],
)
def test_embeddings_of_other_prompts_make_other_images(tiny: Tiny, tmp_path: Path, name: str, table: str) -> None:
    folder, pipeline = tiny(name)
    model = loaded(folder, tmp_path)
    rows = prompted_of(model).get_buffer(table)
    rows[: len(TEXTS)] = rows[: len(TEXTS)].roll(1, dims=0)
    assert float((ours(model, name, 4.0) - theirs(pipeline, name, 4.0, None)).abs().max()) > 1e-3


def evaluated(model: Model, x: Tensor, labels: Tensor) -> Tensor:
    """The network half way, on states and the numbers of their prompts."""
    return model.network(x, model.schedule.level(0.5), labels)  # type: ignore[call-arg]


def prompted_of(model: Model) -> torch.nn.Module:
    module = model.network.module  # type: ignore[attr-defined]
    assert isinstance(module, torch.nn.Module)
    return module


def test_distilled_guidance_is_the_cards_and_takes_one_evaluation(tiny: Tiny, tmp_path: Path) -> None:
    folder, pipeline = tiny("flux-dev")
    model = loaded(folder, tmp_path)
    assert model.card.guidance_embedding == 3.5
    packed = pipeline._pack_latents(noise(), 3, CHANNELS, SIDE, SIDE)
    said = {"prompt": list(TEXTS), "latents": packed, "num_inference_steps": _STEPS, "output_type": "pt", **_SIZE}
    for scale, same in ((3.5, True), (8.0, False)):
        images = pipeline(**said, guidance_scale=scale, max_sequence_length=16).images
        assert torch.allclose(ours(model, "flux-dev", 1.0), images, rtol=0.0, atol=1e-4) == same


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux-dev"])
def test_an_image_does_not_depend_on_those_beside_it(tiny: Tiny, tmp_path: Path, name: str) -> None:
    model = loaded(tiny(name)[0], tmp_path, negative="bad")
    x, labels = noise(), torch.tensor([2, 0, 3])
    with torch.inference_mode():
        whole = evaluated(model, x, labels)
        for at in range(3):
            alone = evaluated(model, x[at : at + 1], labels[at : at + 1])
            torch.testing.assert_close(alone, whole[at : at + 1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours(model, name, 4.0, together=False), ours(model, name, 4.0), rtol=0.0, atol=1e-5)


def test_fewer_images_than_prompts_have_the_same_prompts(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("sdxl")[0]
    whole, part = loaded(folder, tmp_path, negative="bad"), loaded(folder, tmp_path, images=2, negative="bad")
    assert (part.sha256, part.card.classes, part.card.null_label) == (whole.sha256, 3, 3)
    assert prompted_of(part).get_buffer("hidden").shape[0] == 3
    first = torch.arange(2)
    torch.testing.assert_close(ours(part, "sdxl", 4.0, first), ours(whole, "sdxl", 4.0, first), rtol=0.0, atol=1e-6)


# not dev, whose own network rounds 1000 times the guidance scale to 8 bits
@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux-schnell"])
def test_tables_take_the_precision_of_the_mode(tiny: Tiny, tmp_path: Path, name: str) -> None:
    folder = tiny(name)[0]
    plain = loaded(folder, tmp_path)
    network = evaluated(plain, noise(), torch.arange(3))
    narrow = loaded(folder, tmp_path, mode="bf16")
    found = evaluated(narrow, noise(), torch.arange(3))
    assert found.dtype == torch.float32
    assert 0.0 < float((found - network).abs().max()) < 0.1 * float(network.abs().max())


class _OnDevice(TorchDispatchMode):
    """Notes what is made on the host, from where it would have to be copied, in a call on another device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.on_host = list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and found.device.type == "cpu":
            self.on_host.append(str(func))
        return found


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux-dev"])
def test_a_call_neither_waits_for_the_device_nor_copies_to_it(tiny: Tiny, tmp_path: Path, name: str) -> None:
    module = prompted_of(loaded(tiny(name)[0], tmp_path)).to("meta")  # where no value can be asked for
    x, t, labels = noise().to("meta"), torch.full((3,), 0.5, device="meta"), torch.arange(3, device="meta")
    with _OnDevice() as seen, torch.inference_mode():
        assert module(x, t, labels).shape == x.shape
    assert seen.on_host == []
