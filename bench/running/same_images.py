"""That other calls make the images that were scored: what is fast must be what is good, whatever ran before.

A sampler may do something else when it is timed, by the number of the call, by the clock, or by the batch; and it, or a
network, may keep something from call to call: a generator, a counter, a cache. The first images of a timed call are
therefore held to those of the record's preview, which an earlier process may have made; and of those that a cell has
just scored some are made again, twice: the first, and of the first batch those in its middle and at its end. An image
is the same in every batch but for round-off, and half of each few have to be: round-off may take a single one to
another mode of the data.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench.quality.decoding import Decoding
from bench.quality.images import SampleCheck, preview_size, read_preview, shown, to_uint8
from bench.running.generation import Generation
from bench.running.resolve import Resolved
from bench.timing.cost import Columns
from models.common.files import sha256_of

_ALIKE = 0.01
"""Median over images of the root mean square distance, in units of the value range, up to which they are the same:
rounding to 8 bits takes 0.004 at most, and images of other noise are 0.2 or more apart."""
_ROUNDED = 0.1
"""The same where the network's products are rounded to 8 or 11 bits, which at each batch size may be other ones."""
FEWEST = 4
"""Images that tell anything of such a network, of which any one may come out another; and that are made again."""


_AGAIN = 1e-3
"""As `_ALIKE`, of two calls in batches of one size: hardly any round-off is between them."""


class OtherImages(RuntimeError):
    """A call made other images than those that were scored."""


class Scored:
    """Some consecutive images of a cell, the first unless another number is given, as they were scored.

    Args:
        resolved: the cell.
        first: (N, C, H, W) uint8, as `shown` gives them.
        number: of the first of them.

    Attributes:
        number: as given.
        few: how many of them are made again.
    """

    def __init__(self, resolved: Resolved, first: Tensor, number: int = 0) -> None:
        card = resolved.model.card
        self._first, self._sampler = first, resolved.cell.sampler
        self.number, self.few = number, min(FEWEST, len(first))
        self._range, self._shape = card.value_range, card.sample_shape
        self._exact = resolved.mode.precision == "fp32"
        self._decoding = Decoding(resolved.model)
        self._check, self._heads = SampleCheck(first.device), list[Tensor]()

    @classmethod
    def of_preview(cls, resolved: Resolved, columns: Columns, preview: Path, device: torch.device) -> "Scored":
        """Those of a record's columns and its preview.

        Raises:
            OSError: there is no preview, or it is damaged.
            ValueError: it shows something else.
        """
        if (digest := columns.get("preview_sha256")) not in (None, sha256_of(preview)):
            raise ValueError(f"{preview.name} is not the picture that was written: its digest is not {digest[:16]}")
        shape = resolved.model.card.shape
        count = columns.get("preview_count") or min(columns["images"], preview_size(shape))
        return cls(resolved, read_preview(preview, count, shape).to(device))

    def add(self, samples: Tensor, batch: int) -> None:
        """Take the images of a call, 0 ... batch - 1, as the sampler returned them. Nothing waits for a GPU, and
        nothing is decoded: calls may be timed meanwhile.
        """
        self._check.add(samples, (batch, *self._shape), torch.float32)
        few = min(batch, len(self._first))
        if self._exact or few >= FEWEST:
            self._heads.append(samples[:few].clone())  # a view would keep all of the batch

    def finish(self, call: str, why: str = "") -> None:
        """OtherImages if those of a call, in words, were others, with why that may be; BadSamples for NaN or Inf."""
        self._check.finish()
        apart, self._heads = [self._distance(head) for head in self._heads], []
        found = max(torch.stack(apart).tolist()) if apart else 0.0
        self._require(found, _ALIKE if self._exact else _ROUNDED, f"{call} than those that were scored", why)

    def _distance(self, head: Tensor) -> Tensor:
        """How far some first images of a call are from those that were scored."""
        pixels = shown(to_uint8(self._decoding(head), self._range))
        return _apart(pixels.float() / 255.0, self._first[: len(head)].float() / 255.0)

    def require_twice(self, again: Tensor, back: Tensor) -> None:
        """OtherImages if two further calls, of batches of one size, made others than those that were scored.

        What is kept by the shape of a batch, as a last output is, has no effect on the first call of a shape: so the
        two are held to one another, too.
        """
        why = (
            "; they depend on what ran before, or on the batch: the sampler or the network keeps something from call "
            "to call, as a generator, a counter or a cache"
        )
        self.add(again, len(again))
        self.finish("when it was called again", why)
        if self._exact or len(again) >= FEWEST:
            low, high = self._range
            most = _AGAIN if self._exact else _ROUNDED
            self._require(float(_apart(back, again)) / (high - low), most, "from one call to the next", why)

    def _require(self, found: float, most: float, what: str, why: str) -> None:
        if found > most:
            raise OtherImages(
                f"{self._sampler} made other images {what}: half of those from number {self.number} on lie "
                f"{found:.2g} of the value range or more away from them{why}"
            )


def places(batch: int) -> list[int]:
    """Where in a batch images are made again: `FEWEST` at its beginning, in its middle and at its end, as it has them.

    What a sampler does by parts of its batch it may do wrongly in all but the first.
    """
    middle, end = (batch - FEWEST) // 2, batch - FEWEST
    return [0, *([middle] if FEWEST <= middle <= end - FEWEST else []), *([end] if end >= FEWEST else [])]


def require_again(scored: Sequence[Scored], generation: Generation) -> None:
    """Make images that were scored twice more, the second time in the reverse order; OtherImages if any are others."""
    numbers = torch.cat([torch.arange(each.number, each.number + each.few) for each in scored])
    again, back = generation.again(numbers), generation.again(numbers, back=True)
    done = 0
    for each in scored:
        part = slice(done, done + each.few)
        each.require_twice(again[part], back[part])
        done += each.few


def _apart(images: Tensor, others: Tensor) -> Tensor:
    """How far the median image is from what it is to be, root mean square."""
    return (images - others).flatten(1).square().mean(1).sqrt().median()
