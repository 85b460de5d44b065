"""What `run_bench.py train cifar10` can be told, and the networks and recipes that follow from it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from bench.environment import pick_device
from models.errors import UsageError
from models.recipe import Recipe, warmup_of
from models.training_loop import Start

_HALVINGS = 8  # the sides of images are halved three times
_DEVICE_READS, _CPU_READS = 20, 1


@dataclass(frozen=True)
class CifarOptions:
    """Everything about one training; the defaults are those of the command line.

    Attributes:
        out: folder of checkpoints, curves and grids of samples, and of the model, in `model`.
        data: a name or folder as `bench.datasets.open_data` takes them; of a folder with `train` and `test` in it both
            are used.
        steps: of the denoiser.
        minutes: after which training stops, with a checkpoint and a model; None: only after all steps.
        batch: images a step.
        device: "auto", "cpu", "cuda" ...
        width: channels of the U-Net's first level: 128 is DDPM's (35.7 million parameters), 80 has 14, 24 has 1.3.
        compile: whether torch.compile is tried; None: on CUDA only.
        precision: of the networks while they are trained; None: bf16 on CUDA, else fp32.
        shard_mib: the most that a file of a checkpoint or of the model's weights may have.
        seed: of everything random.
        grid_every: steps between grids of samples with their Frechet distance; 0: none.
        learning_rate: of the denoiser.
        warmup: steps of its linear warm-up; None: 5,000, or a tenth of a shorter training. A training that goes on to
            more steps than it was first given must keep it.
        checkpoint_every: steps between checkpoints.
        checkpoint_minutes: the longest time between them.
        start: model folder whose weights are trained further, with a fresh optimiser (`--from`).
        storage: of the model's weights; fp16 takes half of the space and rounds them to 11 bits.
        extractor_epochs: passes over the data of the feature extractor.
        extractor_width: channels of its first layer; it has four times as many features.
        sampling_steps: of DDIM, which grids and Frechet distances are drawn with.
        quality_images: samples of which distances are taken.
        keep_features: whether the reference keeps the features of all images, which KID, recall and the quick
            study need.
        name: of the model, of its extractor and so of the column fd_<name>.
    """

    out: Path
    data: str = "cifar10"
    steps: int = 200_000
    minutes: float | None = None
    batch: int = 128
    device: str = "auto"
    width: int = 80
    compile: bool | None = None
    precision: Literal["bf16", "fp32"] | None = None
    shard_mib: float = 15.0
    seed: int = 0
    grid_every: int = 5_000
    learning_rate: float = 2e-4
    warmup: int | None = None
    checkpoint_every: int = 5_000
    checkpoint_minutes: float = 5.0
    start: Path | None = None
    storage: Literal["fp32", "fp16"] = "fp32"
    extractor_epochs: int = 30
    extractor_width: int = 64
    sampling_steps: int = 50
    quality_images: int = 2_000
    keep_features: bool = True
    name: str = "cifar10"

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "checkpoint_every", "extractor_epochs", "extractor_width", "sampling_steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.warmup is not None and self.warmup < 1:
            raise UsageError(f"warmup is {self.warmup}; expected at least 1")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed is {self.seed}; expected 0 ... 2^32 - 1")
        if self.width < 8 or self.width % 8:
            raise UsageError(f"width is {self.width}; expected a multiple of 8, such as 24, 80 or 128")
        if self.grid_every < 0 or self.quality_images < 2:
            raise UsageError(
                f"grid_every is {self.grid_every} and quality_images {self.quality_images}; expected at least 0 and 2"
            )
        for name in ("shard_mib", "learning_rate", "checkpoint_minutes", "minutes"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < math.inf:
                raise UsageError(f"{name} is {value}; expected a positive number")

    def torch_device(self) -> torch.device:
        """The device of that name."""
        return pick_device(self.device)

    def use_bf16(self, device: torch.device) -> bool:
        """Whether networks are trained in bfloat16."""
        return device.type == "cuda" if self.precision is None else self.precision == "bf16"

    def use_compile(self, device: torch.device) -> bool:
        """Whether torch.compile is tried."""
        return device.type == "cuda" if self.compile is None else self.compile

    def read_every(self, device: torch.device) -> int:
        """Steps between readings of the loss; a CPU has nothing to wait for."""
        return _DEVICE_READS if device.type == "cuda" else _CPU_READS

    def denoiser_recipe(self, start: Start | None) -> Recipe:
        """DDPM's (arXiv 2006.11239, appendix B); weights that are trained further only need the optimiser's warm-up."""
        return Recipe(
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            warmup=self.warmup or warmup_of(self.steps, 500 if start else 5_000),
            ema_decay=0.9999,
            seed=self.seed,
            checkpoint_every=self.checkpoint_every,
            decay="constant",
            flips=True,
        )

    def extractor_recipe(self, images: int) -> Recipe:
        """D. Page's (2018): one cycle of SGD with momentum, peak 0.4 at a batch of 512."""
        batch = min(512, images)
        steps = max(1, self.extractor_epochs * images // batch)
        return Recipe(
            steps=steps,
            batch=batch,
            learning_rate=0.4 * batch / 512,
            warmup=max(1, steps // 5),
            ema_decay=0.995,
            seed=self.seed,
            checkpoint_every=max(100, steps // 5),
            optimiser="sgd",
            weight_decay=5e-4,
            clip_norm=0.0,
            flips=True,
        )


def unet_config(width: int, shape: tuple[int, int, int]) -> dict[str, Any]:
    """DDPM's U-Net of a width for images (C, H, W), as diffusers' google/ddpm-cifar10-32 has it at 128."""
    channels, height, image_width = shape
    if height != image_width or height % _HALVINGS:
        raise UsageError(
            f"images of {image_width} x {height} pixels; the U-Net takes squares whose side is a multiple of "
            f"{_HALVINGS}. Give a folder of such images"
        )
    return {
        "sample_size": height,
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": [width, 2 * width, 2 * width, 2 * width],
        "layers_per_block": 2,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": None,  # one head
        "dropout": 0.1,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
        "norm_num_groups": math.gcd(32, width),
    }
