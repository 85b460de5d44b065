"""That timed calls make the images that were scored: what is fast must be what is good.

A sampler may do something else when it is timed, by the number of the call, by the clock, or by the batch. The first
images of a timed call are therefore held to those of the record's preview, which an earlier process may have made. An
image is the same in every batch but for round-off, and half of the first images have to be: round-off may take a single
one to another mode of the data.
"""

from pathlib import Path

import torch
from torch import Tensor

from bench.quality.images import SampleCheck, preview_size, read_preview, shown, to_uint8
from bench.run.resolve import Resolved
from bench.timing.cost import Columns

_ALIKE = 0.01
"""Median over images of the root mean square distance, in units of the value range, up to which they are the same:
rounding to 8 bits takes 0.004 at most, and images of other noise are 0.2 or more apart."""
_ROUNDED = 0.1
"""The same where the network's products are rounded to 8 or 11 bits, which at each batch size may be other ones."""
_FEWEST = 4
"""Images that tell anything of such a network: any one may come out another."""


class OtherImages(RuntimeError):
    """A timed call made other images than those that were scored."""


class Scored:
    """The first images of a cell, as they were scored.

    Args:
        resolved: the cell.
        columns: of its record.
        preview: the file of its first images.

    Raises:
        OSError: there is no preview, or it is damaged.
        ValueError: it shows something else.
    """

    def __init__(self, resolved: Resolved, columns: Columns, preview: Path, device: torch.device) -> None:
        card = resolved.model.card
        count = columns.get("preview_count") or min(columns["images"], preview_size(card.shape))
        self._first = read_preview(preview, count, card.shape).to(device)
        self._sampler, self._range, self._shape = resolved.cell.sampler, card.value_range, card.shape
        self._exact = resolved.mode.precision == "fp32"
        self._check, self._distances = SampleCheck(device), list[Tensor]()

    def add(self, samples: Tensor, batch: int) -> None:
        """Take the images of a call, 0 ... batch - 1, as the sampler returned them. Nothing waits for a GPU."""
        self._check.add(samples, (batch, *self._shape), torch.float32)
        few = min(batch, len(self._first))
        if self._exact or few >= _FEWEST:
            pixels = shown(to_uint8(samples[:few], self._range))
            apart = (pixels.float() - self._first[:few].float()) / 255.0
            self._distances.append(apart.flatten(1).square().mean(1).sqrt().median())

    def finish(self, batch: int) -> None:
        """OtherImages if those of a call were others, BadSamples if they held NaN or Inf."""
        self._check.finish()
        most = _ALIKE if self._exact else _ROUNDED
        found = max(torch.stack(self._distances).tolist(), default=0.0) if self._distances else 0.0
        if found > most:
            raise OtherImages(
                f"{self._sampler} made other images in a timed call of {batch} images than those that were scored: "
                f"half of the first lie {found:.2g} of the value range or more away from them"
            )
