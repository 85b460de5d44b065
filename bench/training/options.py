"""What `run_bench.py train cifar10` and `train extractor` can be told, and what follows: networks and recipes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from bench.environment import pick_device
from bench.quality.datasets import name_of
from bench.training.loop import Start
from bench.training.recipe import Recipe, warmup_of
from models.common.errors import UsageError
from models.plugins.names import as_name, check_name

_HALVINGS = 8  # the sides of images are halved three times
_DEVICE_READS, _CPU_READS = 20, 1
_FEWEST = 16  # features that metrics mean anything with


@dataclass(frozen=True)
class TrainingOptions:
    """What both trainings are told; the defaults are those of the command line.

    Attributes:
        out: folder of checkpoints and of what comes out, in `model`.
        data: a name or folder as `bench.quality.datasets.open_data` takes them; of a folder with `train` and `test` in
            it both are used.
        minutes: after which training stops, with a checkpoint; None: only after all steps.
        device: "auto", "cpu", "cuda" ...
        precision: of the networks while they are trained; None: bf16 on CUDA, else fp32.
        shard_mib: the most that a file of a checkpoint or of a model's weights may have.
        seed: of everything random.
        name: of the result; None: after the data (`bench.quality.datasets.name_of`).
        flips: whether half of the images that are trained on are mirrored left to right.
    """

    kind: ClassVar[str]
    """What comes out, for messages."""

    out: Path
    data: str = "cifar10"
    minutes: float | None = None
    device: str = "auto"
    precision: Literal["bf16", "fp32"] | None = None
    shard_mib: float = 15.0
    seed: int = 0
    name: str | None = None
    flips: bool = True

    def _check(self, at_least_one: Iterable[str], positive: Iterable[str]) -> None:
        if self.name is not None:
            check_name(self.name, self.kind)
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; expected at least 1")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed is {self.seed}; expected 0 ... 2^32 - 1")
        for name in ("shard_mib", "minutes", *positive):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < math.inf:
                raise UsageError(f"{name} is {value}; expected a positive number")

    @property
    def called(self) -> str:
        """The name of the result."""
        return as_name(name_of(self.data), self.kind) if self.name is None else self.name

    def torch_device(self) -> torch.device:
        """The device of that name."""
        return pick_device(self.device)

    def use_bf16(self, device: torch.device) -> bool:
        """Whether networks are trained in bfloat16."""
        return device.type == "cuda" if self.precision is None else self.precision == "bf16"

    def read_every(self, device: torch.device) -> int:
        """Steps between readings of the loss; a CPU has nothing to wait for."""
        return _DEVICE_READS if device.type == "cuda" else _CPU_READS


@dataclass(frozen=True)
class ExtractorOptions(TrainingOptions):
    """Everything about the training of a feature extractor.

    Attributes:
        epochs: passes over the data.
        width: channels of the first layer; there are four times as many features.
        features: images whose features the reference keeps, which KID, precision and recall need; None: all.
        name: distances are called fd_<name>.
    """

    kind = "extractor"

    epochs: int = 30
    width: int = 64
    features: int | None = None

    def __post_init__(self) -> None:
        self._check(("epochs", "width"), ())
        if self.features is not None and self.features != 0 and self.features < _FEWEST:
            raise UsageError(
                f"features is {self.features}; expected how many images' are kept: 0, or {_FEWEST} and more"
            )

    def recipe(self, images: int) -> Recipe:
        """D. Page's (2018): one cycle of SGD with momentum, peak 0.4 at a batch of 512."""
        batch = min(512, images)
        steps = max(1, self.epochs * images // batch)
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
            flips=self.flips,
        )


@dataclass(frozen=True)
class CifarOptions(TrainingOptions):
    """Everything about the training of a denoiser.

    Attributes:
        steps: of training.
        batch: images a step.
        width: channels of the U-Net's first level: 128 is DDPM's (35.7 million parameters), 80 has 14, 24 has 1.3.
        compile: whether torch.compile is tried; None: on CUDA only.
        grid_every: steps between grids of samples, with their Frechet distance where there is an extractor; 0: none.
        learning_rate: its peak.
        warmup: steps of its linear warm-up; None: 5,000, or a tenth of a shorter training. A training that goes on to
            more steps than it was first given must keep it.
        checkpoint_every: steps between checkpoints.
        checkpoint_minutes: the longest time between them.
        start: model folder whose weights are trained further, with a fresh optimiser (`--from`).
        storage: of the model's weights; fp16 takes half of the space and rounds them to 11 bits.
        extractor: an embedded one, or a folder with one, that distances are measured with; None: that of the model that
            is trained further, else the embedded one of the same name as the data, else none.
        sampling_steps: of DDIM, which grids and Frechet distances are drawn with.
        quality_images: samples of which distances are taken.
    """

    kind = "model"

    steps: int = 200_000
    batch: int = 128
    width: int = 80
    compile: bool | None = None
    grid_every: int = 5_000
    learning_rate: float = 2e-4
    warmup: int | None = None
    checkpoint_every: int = 5_000
    checkpoint_minutes: float = 5.0
    start: Path | None = None
    storage: Literal["fp32", "fp16"] = "fp32"
    extractor: str | None = None
    sampling_steps: int = 50
    quality_images: int = 2_000

    def __post_init__(self) -> None:
        self._check(("steps", "batch", "checkpoint_every", "sampling_steps"), ("learning_rate", "checkpoint_minutes"))
        if self.warmup is not None and self.warmup < 1:
            raise UsageError(f"warmup is {self.warmup}; expected at least 1")
        if self.width < 8 or self.width % 8:
            raise UsageError(f"width is {self.width}; expected a multiple of 8, such as 24, 80 or 128")
        if self.grid_every < 0 or self.quality_images < 2:
            raise UsageError(
                f"grid_every is {self.grid_every} and quality_images {self.quality_images}; expected at least 0 and 2"
            )

    def use_compile(self, device: torch.device) -> bool:
        """Whether torch.compile is tried."""
        return device.type == "cuda" if self.compile is None else self.compile

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
            flips=self.flips,
        )


def side_of(shape: tuple[int, ...], what: str, multiple_of: int = 1) -> int:
    """The side of square images.

    Args:
        shape: (C, H, W) of the images to train on.
        what: the network that takes no others, for the message.
        multiple_of: what the side has to be divisible by.

    Raises:
        UsageError: they are no such squares.
    """
    _, height, width = shape
    if height != width or height % multiple_of:
        sides = f" whose side is a multiple of {multiple_of}" if multiple_of > 1 else ""
        raise UsageError(
            f"images of {width} x {height} pixels; {what} takes squares{sides}. Give a folder of such images"
        )
    return height


def unet_config(width: int, shape: tuple[int, int, int]) -> dict[str, Any]:
    """DDPM's U-Net of a width for images (C, H, W), as diffusers' google/ddpm-cifar10-32 has it at 128."""
    side = side_of(shape, "the U-Net", _HALVINGS)
    return {
        "sample_size": side,
        "in_channels": shape[0],
        "out_channels": shape[0],
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
