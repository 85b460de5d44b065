"""A part of a cell: what consecutive images of it have come to, which is all that it is scored and recorded by.

Parts are what passes between processes and between runs: tensors of numbers, and plain words. Joined in any number they
give what one process would have made of all images: images do not depend on one another, and moments merge exactly.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor

from bench.quality.metrics import joined as joined_scores
from bench.quality.statistics import Tensors

_NUMBERS = ("first", "images", "calls", "evaluations", "drawn", "columns", "remarks")


@dataclass(frozen=True)
class Part:
    """Consecutive images of a cell.

    Attributes:
        first: number of the first.
        images: how many.
        calls: about images, that samplers made of the model.
        evaluations: of images, that these took.
        drawn: images that were drawn for that, those that only filled a batch up too.
        columns: of the record, of how they were made.
        remarks: for its note, on how they were made.
        score: as `bench.running.score` gives it.
        preview: uint8 (N, C, H, W), those of them that a preview shows; None: no one of them.
        pixels: uint8 (N, H, W, C) of all, on the CPU, where they are to be saved; else None.
    """

    first: int
    images: int
    calls: int = 0
    evaluations: int = 0
    drawn: int = 0
    columns: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    score: Tensors = field(default_factory=dict)
    preview: Tensor | None = None
    pixels: Tensor | None = None

    @property
    def end(self) -> int:
        """The number after that of the last image."""
        return self.first + self.images

    @property
    def said(self) -> str:
        """All but its tensors, as JSON."""
        return json.dumps({name: getattr(self, name) for name in _NUMBERS})

    @property
    def tensors(self) -> Tensors:
        """All its tensors."""
        others = {"preview": self.preview, "pixels": self.pixels}
        return self.score | {name: each for name, each in others.items() if each is not None}

    @classmethod
    def of(cls, said: str, tensors: Tensors) -> "Part":
        """The part that has said this; ValueError, TypeError or KeyError if none has."""
        score = dict(tensors)
        preview, pixels = score.pop("preview", None), score.pop("pixels", None)
        return cls(**json.loads(said), score=score, preview=preview, pixels=pixels)

    def on(self, device: torch.device) -> "Part":
        """The same with its tensors on a device, but for the pixels of all."""
        moved = {name: each.to(device) for name, each in self.tensors.items() if name != "pixels"}
        if all(each is self.tensors[name] for name, each in moved.items()):
            return self
        return replace(Part.of(self.said, moved), pixels=self.pixels)


class Packed(NamedTuple):
    """A part as bytes."""

    said: str
    tensors: bytes


def packed(part: Part) -> Packed:
    """A part as it passes between processes."""
    return Packed(part.said, save({name: each.detach().cpu().contiguous() for name, each in part.tensors.items()}))


def unpacked(part: Packed) -> Part:
    """The part that was packed, on the CPU."""
    return Part.of(part.said, load(part.tensors))


def joined(parts: Sequence[Part]) -> Part:
    """Parts of one cell as one, whatever their order.

    Raises:
        ValueError: images between them are missing, or in two of them.
    """
    first, *others = in_order = sorted(parts, key=lambda part: part.first)
    if any(one.end != next_.first for one, next_ in zip(in_order, others, strict=False)):
        raise ValueError(f"parts {[(part.first, part.end) for part in in_order]} are not consecutive")
    previews = [part.preview for part in in_order if part.preview is not None]
    pixels = [part.pixels for part in in_order if part.pixels is not None]
    return replace(
        first,
        images=sum(part.images for part in in_order),
        calls=sum(part.calls for part in in_order),
        evaluations=sum(part.evaluations for part in in_order),
        drawn=sum(part.drawn for part in in_order),
        columns={name: _one(name, in_order) for name in first.columns},
        remarks=list(dict.fromkeys(remark for part in in_order for remark in part.remarks)),
        score=joined_scores([part.score for part in in_order]),
        preview=torch.cat(previews) if previews else None,
        pixels=_pixels(pixels) if len(pixels) == len(in_order) else None,
    )


def _pixels(parts: Sequence[Tensor]) -> Tensor:
    """Those of all, without a copy of those of one part."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


_JOINED = {"captured": min, "batch_halvings": max, "guidance_batches": max, "decode_batch": min}
"""What is said of all where parts were made differently: as where one device had less memory left."""


def _one(name: str, parts: Sequence[Part]) -> Any:
    """A column of all, of those of its parts: that of the first images, unless another rule is given."""
    values = [part.columns[name] for part in parts]
    known = [value for value in values if value is not None]
    if name == "made_on":
        return dict(sum(map(Counter, values), Counter()))
    if name == "generation_batch":  # of the first images of those that grow, only fewer were there
        halved = [part.columns[name] for part in parts if part.columns["batch_halvings"]]
        return min(halved) if halved else max(values)
    return _JOINED[name](known) if name in _JOINED and known else values[0]
