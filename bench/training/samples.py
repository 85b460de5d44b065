"""Samples of a network in training and of one that is trained: how they are drawn, shown and measured."""

import json
from collections.abc import Callable
from dataclasses import dataclass
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
from samplers import SAMPLERS, Sampler

_GRID = 64
_BATCH = 250


@torch.inference_mode()
def draw(
    model: Denoiser,
    sampler: Sampler,
    shape: tuple[int, ...],
    steps: int,
    count: int,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    report: Callable[[int, float], None] = lambda batches, loss: None,
) -> Tensor:
    """Samples on the trailing grid: (count, C, H, W) uint8, on the CPU.

    Args:
        model: what is sampled; if it has labels, of all images that are drawn.
        sampler: with what.
        shape: (C, H, W) of a state.
        steps: of the grid.
        count: how many, in batches of 250.
        seed: of the noise, which depends on it alone.
        device: of the network.
        report: told the number of batches that are done.
    """
    levels, drawn = GRIDS.make("trailing")(model.schedule, steps), list[Tensor]()
    for first in range(0, count, _BATCH):
        numbers = torch.arange(first, min(first + _BATCH, count), device=device)
        source, part = ImageNoise(seed, numbers), model.rows(slice(first, first + len(numbers)))
        x = source(torch.empty(len(numbers), *shape, device=device)) * model.schedule.prior_std(levels[0])
        drawn.append(to_uint8(sampler.sample(part, x, levels, source)).cpu())
        report(len(drawn), 0.0)
    return torch.cat(drawn)


def save_grid(images: Tensor, path: Path) -> None:
    """Write uint8 images (N, C, H, W) in rows of eight as one PNG, atomically."""
    pixels = make_grid(images, nrow=8).movedim(0, 2).numpy()
    with replacing(path) as file:
        Image.fromarray(pixels).save(file, format="PNG")


@dataclass(frozen=True)
class Samples:
    """Samples of a U-Net that predicts eps, by DDIM from noise that is always the same.

    Attributes:
        schedule: that the network is trained on.
        shape: (C, H, W).
        steps: that samples are drawn in.
        images: samples of which the distance is taken.
        measure: the extractor and the reference that it is taken to; None: no distance.
        folder: where `samples-<step>.png` is written, and a row of `quality.jsonl` where there is an extractor.
        every: steps between these; 0: never.
    """

    schedule: DiscreteVP
    shape: tuple[int, int, int]
    steps: int
    images: int = _GRID
    measure: tuple[Extractor, Reference] | None = None
    folder: Path = Path()
    every: int = 0

    def __call__(self, step: int, unet: nn.Module) -> None:
        """Show what the averaged network draws if it is time."""
        if not self.every or step % self.every:
            return
        drawn = self.of(unet, max(_GRID, self.images) if self.measure else _GRID)
        save_grid(drawn[:_GRID], self.folder / f"samples-{step:08d}.png")
        if self.measure:
            rows = self.folder / "quality.jsonl"
            drop_rows_after(rows, step - 1)  # of a run that was killed after it
            append_line(rows, json.dumps({"step": step} | self.quality(drawn)))

    def of(self, unet: nn.Module, count: int) -> Tensor:
        """So many samples, as `draw` gives them."""
        model = Denoiser(IndexedUNet(unet, self.schedule), "epsilon", self.schedule, (-1.0, 1.0))
        device = next(unet.parameters()).device
        return draw(model, SAMPLERS.make("ddim"), self.shape, self.steps, count, device=device)

    def quality(self, drawn: Tensor) -> dict[str, float | int]:
        """The Frechet distance of the first uint8 images (N, C, H, W) to the reference; empty without an extractor."""
        if self.measure is None:
            return {}
        extractor, reference = self.measure
        drawn = drawn[: self.images]
        distance = reference.target.distance(Moments.of(extract(extractor, drawn).features))
        return {"images": len(drawn), extractor.column(len(drawn)): distance}
