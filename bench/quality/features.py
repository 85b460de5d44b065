"""The stream that turns generated batches into features, in extractor batches of a fixed size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from bench.quality.extractor import Extractor
from bench.timing.memory import Halving

Outputs = Mapping[str, Tensor]
"""What an extractor says about N images: a tensor (N, ...) by layer."""


class Sees(Protocol):
    """What features are of: an `Extractor`, or what is used like one. It sees `batch` images at a time."""

    @property
    def name(self) -> str: ...
    @property
    def batch(self) -> int: ...
    def __call__(self, images: Tensor) -> Outputs: ...


class Extraction:
    """Collects images into extractor batches, whatever batches they come in, and passes on what it says about them.

    The host never waits for the device before `finish`. Where an extractor batch does not fit into the memory it is
    halved, which moves the last digits of features.

    Attributes:
        fitting: images that the extractor sees at a time, and how often they were halved.
    """

    def __init__(self, extractor: Sees, take: Callable[[Outputs], None]) -> None:
        self._extractor, self._take = extractor, take
        self.fitting = Halving(extractor.batch)
        self._waiting: list[Tensor] = []
        self._finite: Tensor | None = None  # whether all outputs so far are, on the device

    def add(self, images: Tensor) -> None:
        """Take uint8 images (N, C, H, W)."""
        self._waiting.append(images)
        if sum(map(len, self._waiting)) >= self._extractor.batch:
            waiting = torch.cat(self._waiting)
            whole = len(waiting) - len(waiting) % self._extractor.batch
            for batch in waiting[:whole].split(self._extractor.batch):
                self._pass_on(batch)
            self._waiting = [waiting[whole:]]

    def finish(self) -> None:
        """Extract what still waits; ArithmeticError if any output since the beginning is NaN or Inf."""
        rest = [images for images in self._waiting if len(images)]
        self._waiting = []
        if rest:
            self._pass_on(torch.cat(rest))
        if self._finite is not None and not bool(self._finite):
            raise ArithmeticError(f"features of extractor {self._extractor.name!r} came out as NaN or Inf")

    def _pass_on(self, batch: Tensor) -> None:
        outputs = self.fitting(partial(self._outputs, batch))
        for output in outputs.values():
            finite = output.isfinite().all()
            self._finite = finite if self._finite is None else self._finite & finite
        self._take(outputs)

    def _outputs(self, images: Tensor, size: int) -> Outputs:
        parts = [self._extractor(part) for part in images.split(size)]
        return parts[0] if len(parts) == 1 else {name: torch.cat([each[name] for each in parts]) for name in parts[0]}


class Rows:
    """Rows (N, ...) of a stream, put together once, on their device: into place where their number is known before.

    Args:
        count: their number, if that is known.
    """

    def __init__(self, count: int | None = None) -> None:
        self._count, self._parts, self._filled = count, list[Tensor](), 0
        self._whole: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        """Take the next rows; IndexError for more than were announced."""
        if self._count is None:
            self._parts.append(rows)
            return
        if self._whole is None:
            self._whole = rows.new_empty((self._count, *rows.shape[1:]))
        if self._filled + len(rows) > self._count:
            raise IndexError(f"{self._filled + len(rows)} rows came, where {self._count} were announced")
        self._whole[self._filled : self._filled + len(rows)] = rows
        self._filled += len(rows)

    def all(self) -> Tensor:
        """What was added."""
        return torch.cat(self._parts) if self._whole is None else self._whole[: self._filled]


@dataclass(frozen=True)
class Features:
    """What an extractor says about N images, on the CPU: features (N, F), and logits (N, K) if it has classes."""

    features: Tensor
    logits: Tensor | None


class FeatureStream:
    """Keeps the features and logits of all images."""

    def __init__(self, extractor: Extractor) -> None:
        self._layers = (extractor.layer, extractor.logits)
        self._outputs: list[Outputs] = []
        self._extraction = Extraction(extractor, self._outputs.append)

    def add(self, images: Tensor) -> None:
        """Take uint8 images (N, C, H, W)."""
        self._extraction.add(images)

    def finish(self) -> Features:
        """The features of all images, in order."""
        self._extraction.finish()
        layer, logits = self._layers
        features = torch.cat([outputs[layer] for outputs in self._outputs]).cpu()
        return Features(features, torch.cat([outputs[logits] for outputs in self._outputs]).cpu() if logits else None)


def extract(extractor: Extractor, images: Tensor) -> Features:
    """The features of uint8 images (N, C, H, W)."""
    stream = FeatureStream(extractor)
    stream.add(images)
    return stream.finish()
