"""Mean and covariance of features from a stream, in float64, whatever the number of images.

Sums of deviations are merged by T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample
variance" (The American Statistician 37, 1983): nothing is lost to cancellation, and shards can be merged in any order.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

BLOCKS = 10
"""Image i belongs to block i mod 10: what jackknife and extrapolation leave out or put together."""

Tensors = dict[str, Tensor]
"""By name."""

_ROWS = BLOCKS * 256
"""Rows that an update takes: it passes over F x F numbers, however few they are. Always as many, so that the moments do
not depend on the batches that rows come in."""


def blocks_of(images: int) -> Tensor:
    """(N,) int64: the block of each image."""
    return torch.arange(images) % BLOCKS


class Moments:
    """Count, mean and scatter matrix of rows of F numbers, on one device.

    Attributes:
        count: of rows.
        mean: (F,) float64.
        scatter: (F, F) float64, the sum of (x - mean)(x - mean)^T.
    """

    def __init__(self, size: int, device: torch.device | None = None) -> None:
        self.count = 0
        self.mean = torch.zeros(size, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(size, size, dtype=torch.float64, device=device)

    @classmethod
    def of(cls, rows: Tensor) -> "Moments":
        """Of rows (N, F), on their device."""
        moments = cls(rows.shape[1], rows.device)
        moments.add(rows)
        return moments

    @property
    def covariance(self) -> Tensor:
        """(F, F), of the sample (ddof 1); NaN for fewer than two rows."""
        return self.scatter / (self.count - 1) if self.count > 1 else torch.full_like(self.scatter, torch.nan)

    def add(self, rows: Tensor) -> None:
        """Take rows (N, F) of any floating dtype; nothing waits for the device."""
        if len(rows):
            values = rows.to(self.mean)
            mean = values.mean(0)
            centred = values - mean
            self._shift(len(values), mean)
            self.scatter.addmm_(centred.T, centred)

    @classmethod
    def from_state(cls, count: int, mean: Tensor, scatter: Tensor) -> "Moments":
        """Those that had these attributes, which are copied."""
        moments = cls(0)
        moments.count, moments.mean, moments.scatter = count, mean.clone(), scatter.clone()
        return moments

    def merge(self, other: "Moments") -> None:
        """Take all that another has seen, which stays as it is."""
        if other.count:
            self._shift(other.count, other.mean)
            self.scatter += other.scatter

    def _shift(self, count: int, mean: Tensor) -> None:
        """Chan et al., equations 2.1: the new mean, and what the distance between the two adds to the scatter."""
        total, distance = self.count + count, mean - self.mean
        self.mean = self.mean + distance * (count / total)
        self.scatter.addr_(distance, distance, alpha=self.count * count / total)
        self.count = total


class BlockMoments:
    """Moments of `BLOCKS` interleaved blocks of a stream of rows, on their device."""

    def __init__(self) -> None:
        self._blocks: list[Moments] = []
        self._waiting: list[Tensor] = []
        self._waits = 0

    @classmethod
    def of(cls, rows: Tensor) -> list[Moments]:
        """The blocks of rows (N, F), to the last bit as in a stream of them."""
        stream = cls()
        stream.add(rows)
        return stream.finish()

    def add(self, rows: Tensor) -> None:
        """Take the next rows (N, F) of the stream."""
        self._waiting.append(rows)
        self._waits += len(rows)
        if self._waits >= _ROWS:
            self._update(self._waits - self._waits % _ROWS)

    def finish(self) -> list[Moments]:
        """The blocks, with all that was added; their counts differ by one at most."""
        if self._waits:
            self._update(self._waits)
        return self._blocks

    def _update(self, count: int) -> None:
        """Spread the first rows that wait; all but the last time as many as keep row i in block i mod `BLOCKS`."""
        rows = torch.cat(self._waiting)
        self._blocks = self._blocks or [Moments(rows.shape[1], rows.device) for _ in range(BLOCKS)]
        for part in rows[:count].split(_ROWS):
            for number, block in enumerate(self._blocks):
                block.add(part[number::BLOCKS])
        self._waiting, self._waits = [rows[count:]], len(rows) - count


def as_tensors(blocks: Sequence[Moments]) -> Tensors:
    """Blocks as tensors, from which `from_tensors` makes them again."""
    return {
        "counts": torch.tensor([block.count for block in blocks]),
        "means": torch.stack([block.mean for block in blocks]),
        "scatters": torch.stack([block.scatter for block in blocks]),
    }


def from_tensors(tensors: Tensors) -> list[Moments]:
    """Blocks that `as_tensors` has given, copied."""
    parts = zip(tensors["counts"].tolist(), tensors["means"], tensors["scatters"], strict=True)
    return [Moments.from_state(*part) for part in parts]


def merged(parts: Iterable[Moments]) -> Moments:
    """Moments of several parts together, at least one, all on one device."""
    first, *others = parts
    total = Moments(len(first.mean), first.mean.device)
    for part in (first, *others):
        total.merge(part)
    return total
