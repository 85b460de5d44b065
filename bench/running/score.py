"""What a cell's images are worth: they are taken as they are generated, and only what a metric needs is kept."""

from typing import cast

import torch
from torch import Tensor

from bench.quality.clip_score import ClipStream, clip_columns
from bench.quality.features import Rows
from bench.quality.law import law_columns
from bench.quality.metrics import Quality, QualityStream, Values
from bench.quality.prefetch import SideStream
from bench.quality.statistics import Tensors
from bench.running.resolve import Resolved
from bench.running.session import Session
from bench.study.placement import prompts_of
from models.analytic import Law


class Score:
    """Takes batches of a cell's images and keeps what they are scored by.

    On a GPU a batch is looked at while the next one is sampled: nothing waits for it before `finish`.

    Args:
        session: what they are scored with.
        resolved: the cell.
        images: their numbers.

    Attributes:
        pixels: uint8 (N, H, W, C) of all, on the CPU, where they are to be saved; else None.
    """

    def __init__(self, session: Session, resolved: Resolved, images: range) -> None:
        metrics = session.study.metrics
        self._side, self._stream = SideStream(session.device), None
        if session.extractor is not None and session.reference is not None:
            self._stream = QualityStream(session.extractor, session.reference, metrics, len(images))
        self._clip = clip_stream(session, resolved, images)
        self._samples = Rows(len(images)) if "law" in metrics else None
        self._pixels = None if session.save_images is None else Rows(len(images))
        self._first, self._wanted = list[Tensor](), (resolved.identity["solver_images"] or 0) - images.start

    def add(self, samples: Tensor, pixels: Tensor) -> None:
        """Take the next batch (N, C, H, W): as the sampler returned it, and as uint8."""
        if self._stream is not None:
            with self._side.behind(pixels):
                self._stream.add(pixels)
        if self._clip is not None:
            with self._side.behind(pixels):
                self._clip.add(pixels)
        if self._samples is not None:
            self._samples.add(samples)
        if self._pixels is not None:
            self._pixels.add(pixels.movedim(1, 3).cpu())
        if self._wanted > 0:
            self._first.append(samples[: self._wanted].clone())  # a view would keep all of the batch
            self._wanted -= len(self._first[-1])

    @property
    def pixels(self) -> Tensor | None:
        return None if self._pixels is None else self._pixels.all()

    def finish(self) -> tuple[Tensors, list[str]]:
        """All that is kept, and what whoever reads the quality must know; `first` are those of the solver error."""
        kept, remarks = Tensors(), list[str]()
        if self._stream is not None:
            with self._side.behind():
                kept, remarks = self._stream.finish()
            self._side.hand_over(*kept.values())
        if self._clip is not None:
            with self._side.behind():
                cosines, told = self._clip.finish()
            self._side.hand_over(*cosines.values())
            kept, remarks = kept | cosines, remarks + told
        if self._samples is not None:
            kept["samples"] = self._samples.all()
        return kept | ({"first": torch.cat(self._first)} if self._first else {}), remarks


def quality_columns(session: Session, resolved: Resolved, kept: Tensors) -> tuple[Values, list[str]]:
    """The quality columns of all images of a cell, and what whoever reads them must know.

    Args:
        session: what they are scored with.
        resolved: the cell.
        kept: what scores have kept of them, on the session's device; taken out of it as it is used, for the memory.

    Raises:
        ArithmeticError: a metric that is not a finite number.
    """
    values, remarks, samples = Values(), list[str](), kept.pop("samples", None)
    fits_prompts = clip_columns(kept)
    if session.extractor is not None and session.reference is not None:
        with SideStream(session.device).behind(*kept.values()):
            numbers = torch.arange(resolved.images, device=session.device)
            labels = session.labels(resolved.model, resolved.seed, numbers)
            quality = Quality(session.extractor, session.reference, session.study.metrics)
            values, remarks = quality(kept, labels)
    if samples is not None:
        law = cast(Law, resolved.model.network)  # the session has refused every other
        values |= law_columns(law, samples, resolved.seed)
    if fits_prompts and (prompts := prompts_of(resolved.model)) is not None:
        fits_prompts["prompts_sha256"] = prompts.sha256
    return values | fits_prompts, remarks


def clip_stream(session: Session, resolved: Resolved, images: range) -> ClipStream | None:
    """What takes images of a model that is given prompts; None without a CLIP, or of any other model."""
    prompts = prompts_of(resolved.model)
    if session.clip is None or prompts is None:
        return None
    return ClipStream(session.clip, prompts, images, session.study.most_images)
