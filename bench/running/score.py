"""What a cell's images are worth: they are taken as they are generated, and only what a metric needs is kept."""

from typing import cast

import torch
from torch import Tensor

from bench.quality.features import Rows
from bench.quality.law import law_columns
from bench.quality.metrics import QualityStream, Values
from bench.quality.prefetch import SideStream
from bench.quality.statistics import Tensors
from bench.running.resolve import Resolved
from bench.running.session import Session
from models.analytic import Law


class Score:
    """Takes a cell's batches and gives its quality columns.

    On a GPU a batch is looked at while the next one is sampled: nothing waits for it before `columns`.

    Args:
        session: what they are scored with.
        resolved: the cell.
        state: of the score of its first images, which this one goes on from.

    Attributes:
        first: the first `solver_images` images as the sampler returned them, if the solver error is measured.
    """

    def __init__(self, session: Session, resolved: Resolved, state: Tensors | None = None) -> None:
        metrics, images = session.study.metrics, resolved.images
        before = dict(state or {})
        first, samples = before.pop("first", None), before.pop("samples", None)
        self._session, self._resolved, self._side = session, resolved, SideStream(session.device)
        self._stream = None
        if session.extractor is not None and session.reference is not None:
            self._stream = QualityStream(session.extractor, session.reference, metrics, images, before)
        kept = None if samples is None else samples.to(session.device)
        self._samples = Rows(images, kept) if "law" in metrics else None
        self.first = [] if first is None else [first.to(session.device)]
        self._wanted = (resolved.identity["solver_images"] or 0) - sum(map(len, self.first))

    def add(self, samples: Tensor, pixels: Tensor) -> None:
        """Take the next batch (N, C, H, W): as the sampler returned it, and as uint8."""
        if self._stream is not None:
            with self._side.behind(pixels):
                self._stream.add(pixels)
        if self._samples is not None:
            self._samples.add(samples)
        if self._wanted > 0:
            self.first.append(samples[: self._wanted].clone())  # a view would keep all of the batch
            self._wanted -= len(self.first[-1])

    def state(self) -> Tensors:
        """All that was taken, for a score that goes on from it; to be asked for before `columns`."""
        with self._side.behind():
            kept: Tensors = {} if self._stream is None else self._stream.state()
        if self._samples is not None:
            kept["samples"] = self._samples.all()
        return kept | ({"first": torch.cat(self.first)} if self.first else {})

    def columns(self, seed: int) -> tuple[Values, list[str]]:
        """The quality columns, and what whoever reads them must know.

        Raises:
            ArithmeticError: a metric that is not a finite number.
        """
        values, remarks = Values(), list[str]()
        if self._stream is not None:
            with self._side.behind():
                numbers = torch.arange(self._resolved.images, device=self._session.device)
                values |= self._stream.values(self._session.labels(self._resolved.model, seed, numbers))
            remarks += self._stream.remarks
        if self._samples is not None:
            law = cast(Law, self._resolved.model.network)  # the session has refused every other
            values |= law_columns(law, self._samples.all(), seed)
        return values, remarks
