"""What `run_bench.py train cifar10` and `train extractor` are told; each class is the command's options and their help.

Imports no torch, so that `--help` answers at once.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from cyclopts import Parameter

from bench.outputs import RESULTS
from models.common.errors import UsageError

if TYPE_CHECKING:
    import torch

FEWEST_FEATURES = 16
"""Of whose images metrics mean anything."""


@dataclass(frozen=True)
class TrainingOptions:
    """What both trainings are told.

    Attributes:
        out: Folder for checkpoints and for what comes out, in model.
        data: cifar10 (downloaded where it is missing), a folder of small images, a subfolder a class, or an .npz of
            uint8 pixels; of a folder with train and test in it both are used.
        minutes: Stop after so many, with a checkpoint; the same command goes on.
        device: auto, cpu, cuda, cuda:1, ...
        precision: Of the network in training (default: bf16 on CUDA, else fp32).
        shard_mib: The most that a file of a checkpoint or of a model's weights may have.
        seed: Of everything random.
        name: Of the result; an extractor's distances are called fd_NAME (default: after the data).
        flips: Mirror half of the images left to right in training. The default is that of photographs, which show the
            same either way; digits, letters and whatever else is another thing in a mirror need --no-flips.
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
    flips: Annotated[bool, Parameter(negative="--no-flips")] = True

    def _check(self, at_least_one: Iterable[str], positive: Iterable[str]) -> None:
        if self.name is not None:
            from models.plugins.names import check_name

            check_name(self.name, self.kind)
        for name in at_least_one:
            if (count := getattr(self, name)) is not None and count < 1:
                raise UsageError(f"{name} is {count}; expected at least 1")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed is {self.seed}; expected 0 ... 2^32 - 1")
        for name in ("shard_mib", "minutes", *positive):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < math.inf:
                raise UsageError(f"{name} is {value}; expected a positive number")

    @property
    def called(self) -> str:
        """The name of the result."""
        from bench.quality.datasets import name_of
        from models.plugins.names import as_name

        return as_name(name_of(self.data), self.kind) if self.name is None else self.name

    def torch_device(self) -> "torch.device":
        """The device of that name."""
        from bench.environment import pick_device

        return pick_device(self.device)

    def use_bf16(self, device: "torch.device") -> bool:
        """Whether networks are trained in bfloat16."""
        return device.type == "cuda" if self.precision is None else self.precision == "bf16"

    def deadline(self, began: float) -> float:
        """When training has to stop, on the clock of `time.monotonic`."""
        return math.inf if self.minutes is None else began + 60.0 * self.minutes


@Parameter(name="*")
@dataclass(frozen=True)
class ExtractorOptions(TrainingOptions):
    """The training of a feature extractor.

    Attributes:
        epochs: Passes over the data.
        width: Channels of the first layer; there are four times as many features.
        features: Keep the features of so many images, which KID, precision and recall need (default: all; 0: none).
    """

    kind = "extractor"

    out: Path = RESULTS / "train-extractor"
    epochs: int = 30
    width: int = 64
    features: int | None = None

    def __post_init__(self) -> None:
        self._check(("epochs", "width"), ())
        if self.features is not None and self.features != 0 and self.features < FEWEST_FEATURES:
            raise UsageError(
                f"features is {self.features}; expected how many images' are kept: 0, or {FEWEST_FEATURES} and more"
            )


@Parameter(name="*")
@dataclass(frozen=True)
class CifarOptions(TrainingOptions):
    """The training of a denoiser.

    Attributes:
        steps: Of the denoiser.
        batch: Images a step.
        width: Channels of the first level: 128 is DDPM's U-Net of 35.7 million parameters, 80 has 14, 24 has 1.3.
        compile: Try torch.compile (default: on CUDA).
        grid_every: Steps between grids of samples with their Frechet distance; 0: none.
        learning_rate: Of the denoiser, at its peak.
        warmup: Steps of its linear warm-up (default: 5,000, or a tenth of --steps if that is less; with --from 500).
            To go on to more --steps later, give it the same number.
        checkpoint_every: Steps between checkpoints.
        checkpoint_minutes: The longest time between them.
        start: Model folder whose weights are trained further, with a fresh optimiser.
        storage: Of the model's weights; fp16 takes half of the space and rounds them to 11 bits.
        extractor: Embedded one or folder that distances are measured with (default: that of the model that is trained
            further, or the embedded one of the data).
        quality_images: Samples that Frechet distances are taken of.
        sampling_steps: Of DDIM, which these samples are drawn with.
    """

    kind = "model"

    out: Path = RESULTS / "train-cifar10"
    steps: int = 200_000
    batch: int = 128
    width: int = 80
    compile: Annotated[bool | None, Parameter(negative="--no-compile")] = None
    grid_every: int = 5_000
    learning_rate: float = 2e-4
    warmup: int | None = None
    checkpoint_every: int = 5_000
    checkpoint_minutes: float = 5.0
    start: Annotated[Path | None, Parameter(name="--from")] = None
    storage: Literal["fp32", "fp16"] = "fp32"
    extractor: str | None = None
    quality_images: int = 2_000
    sampling_steps: int = 50

    def __post_init__(self) -> None:
        counts = ("steps", "batch", "checkpoint_every", "sampling_steps", "warmup")
        self._check(counts, ("learning_rate", "checkpoint_minutes"))
        if self.width < 8 or self.width % 8:
            raise UsageError(f"width is {self.width}; expected a multiple of 8, such as 24, 80 or 128")
        if self.grid_every < 0 or self.quality_images < 2:
            raise UsageError(
                f"grid_every is {self.grid_every} and quality_images {self.quality_images}; expected at least 0 and 2"
            )
