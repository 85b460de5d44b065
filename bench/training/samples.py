"""What a training shows of itself on the way: a grid of samples from fixed noise, and their Frechet distance."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.utils import make_grid

from bench.noise.stream import ImageNoise
from bench.quality.extractor import Extractor
from bench.quality.features import extract
from bench.quality.images import to_uint8
from bench.quality.reference import Reference
from bench.quality.statistics import Moments
from bench.training.loss_curve import drop_rows_after
from models.common.writing import append_line, replacing
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.networks.network import IndexedUNet
from models.schedule import DiscreteVP
from samplers import SAMPLERS

_GRID = 64
_BATCH = 250
_SEED = 0


@torch.inference_mode()
def draw(unet: nn.Module, schedule: DiscreteVP, shape: tuple[int, int, int], steps: int, count: int) -> Tensor:
    """Samples of DDIM on the trailing grid, from noise that is always the same: (count, C, H, W) uint8."""
    device = next(unet.parameters()).device
    levels = GRIDS.make("trailing")(schedule, steps)
    sampler, drawn = SAMPLERS.make("ddim"), []
    for numbers in torch.arange(count, device=device).split(_BATCH):
        denoiser = Denoiser(IndexedUNet(unet, schedule), "epsilon", schedule, (-1.0, 1.0))
        source = ImageNoise(_SEED, numbers)
        x = source(torch.empty(len(numbers), *shape, device=device)) * schedule.prior_std(levels[0])
        drawn.append(to_uint8(sampler.sample(denoiser, x, levels, source)).cpu())
    return torch.cat(drawn)


def distance(extractor: Extractor, reference: Reference, images: Tensor) -> float:
    """Frechet distance of uint8 images (N, C, H, W) to a reference."""
    return reference.target.distance(Moments.of(extract(extractor, images).features))


def save_grid(images: Tensor, path: Path) -> None:
    """Write uint8 images (N, C, H, W) in rows of eight as one PNG, atomically."""
    pixels = make_grid(images, nrow=8).movedim(0, 2).numpy()
    with replacing(path) as file:
        Image.fromarray(pixels).save(file, format="PNG")


@dataclass(frozen=True)
class Views:
    """Written every so many steps: `samples-<step>.png`, and a row of `quality.jsonl` where there is an extractor.

    Attributes:
        folder: where.
        every: steps; 0: never.
        schedule: that the network is trained on.
        shape: (C, H, W).
        steps: that samples are drawn in.
        images: samples of which the distance is taken.
        measure: the extractor and the reference that it is taken to; None: no distance.
    """

    folder: Path
    every: int
    schedule: DiscreteVP
    shape: tuple[int, int, int]
    steps: int
    images: int
    measure: tuple[Extractor, Reference] | None = None
    _rows: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rows", self.folder / "quality.jsonl")

    def __call__(self, step: int, unet: nn.Module) -> None:
        """Draw from the averaged network if it is time."""
        if not self.every or step % self.every:
            return
        drawn = draw(unet, self.schedule, self.shape, self.steps, max(_GRID, self.images) if self.measure else _GRID)
        save_grid(drawn[:_GRID], self.folder / f"samples-{step:08d}.png")
        if self.measure:
            drop_rows_after(self._rows, step - 1)  # of a run that was killed after it
            append_line(self._rows, json.dumps({"step": step} | self.quality(drawn)))

    def quality(self, drawn: Tensor) -> dict[str, float | int]:
        """The distance of samples (N, C, H, W), uint8; empty without an extractor."""
        if self.measure is None:
            return {}
        drawn = drawn[: self.images]
        return {"images": len(drawn), self.measure[0].column(len(drawn)): distance(*self.measure, drawn)}
