"""A network with a guidance, as the denoiser sees it: every call evaluates the branches, and joins what they give."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.denoiser import PARAMETRISATIONS, Parametrisation, Prediction
from models.guidance.base import BOTH, Branch, Guidance
from models.schedule import Level

_NO_ROW = -1
"""The label that a network of one-hot rows is given as zeros."""


def label_of_none(null_label: int | str) -> int | None:
    """The label that stands for no class; None: a network is called without labels."""
    if isinstance(null_label, int):
        return null_label
    return _NO_ROW if null_label == "zeros" else None


def has_halves(guidance: Guidance, null_label: int | str | None) -> bool:
    """Whether a guidance evaluates a network twice in ways that can be one batch: with labels of both kinds."""
    return guidance.evaluated == BOTH and null_label != "none"


class Guided:
    """A network under guidance.

    Args:
        network: called with the state, the level and, if there are any, the labels.
        guidance: says what is evaluated, and joins it.
        parametrisation: what the networks' outputs mean.
        null_label: what stands for no class; see `models.cards.card.Card`. None: nothing does.
        weaker: the network of the "weaker" branch.
        learns_variance: whether outputs have 2 C channels; the second half of the first branch is kept as it is.
        together: whether the conditional and the unconditional half go through the network as one batch.
        channels: the first channels, which are joined; the rest are the first branch's. None: all.

    Attributes:
        parametrisation: what its own output means.
    """

    def __init__(
        self,
        network: Callable[..., Tensor],
        guidance: Guidance,
        parametrisation: Parametrisation,
        null_label: int | str | None = None,
        weaker: Callable[..., Tensor] | None = None,
        *,
        learns_variance: bool = False,
        together: bool = True,
        channels: int | None = None,
    ) -> None:
        self._network, self._weaker, self._guidance, self._channels = network, weaker, guidance, channels
        self._given = parametrisation
        self._null = None if null_label is None else label_of_none(null_label)
        self._learns_variance = learns_variance
        self._together = together and has_halves(guidance, null_label)
        self.parametrisation: Parametrisation = guidance.form or parametrisation

    def __call__(self, x: Tensor, at: Level, *labels: Tensor) -> Tensor:
        branches = self._guidance.branches(at)
        outputs = self._outputs(branches, x, at, labels)
        if not self._learns_variance:
            return self._joined(outputs, x, at)
        halves = [output.chunk(2, dim=1) for output in outputs]
        return torch.cat([self._joined([mean for mean, _ in halves], x, at), halves[0][1]], dim=1)

    def _joined(self, outputs: list[Tensor], x: Tensor, at: Level) -> Tensor:
        form = self._guidance.form
        if form is not None and form != self._given:
            outputs = [_converted(output, x, at, self._given, form) for output in outputs]
        if len(outputs) == 1:
            return outputs[0]
        rest = outputs[0][:, self._channels :] if self._channels is not None else None
        outputs = [output[:, : self._channels] for output in outputs]
        joined = self._guidance.join(*outputs)
        if joined.shape != outputs[0].shape:
            shapes = tuple(joined.shape), tuple(outputs[0].shape)
            raise ValueError(f"{type(self._guidance).__name__}.join gave shape {shapes[0]}; expected {shapes[1]}")
        return joined if rest is None else torch.cat([joined, rest], dim=1)

    def _outputs(self, branches: tuple[Branch, ...], x: Tensor, at: Level, labels: tuple[Tensor, ...]) -> list[Tensor]:
        if self._together and branches == BOTH:
            both = torch.cat([labels[0], self._no_class(labels[0])])
            return list(self._network(torch.cat([x, x]), at, both).chunk(2))
        return [self._output(branch, x, at, labels) for branch in branches]

    def _output(self, branch: Branch, x: Tensor, at: Level, labels: tuple[Tensor, ...]) -> Tensor:
        if branch == "weaker":
            assert self._weaker is not None, "a guidance that has a weaker branch names its model"
            return self._weaker(x, at, *labels)
        if branch == "conditional":
            return self._network(x, at, *labels)
        return self._network(x, at) if self._null is None else self._network(x, at, self._no_class(labels[0]))

    def _no_class(self, labels: Tensor) -> Tensor:
        assert self._null is not None, "see has_halves"
        return torch.full_like(labels, self._null)


def _converted(output: Tensor, x: Tensor, at: Level, given: Parametrisation, form: Parametrisation) -> Tensor:
    """An output in another parametrisation."""
    prediction = Prediction(x, at, output, PARAMETRISATIONS[given](at), None)
    if form == "sample":
        return prediction.x0
    if form == "epsilon":
        return prediction.eps
    if form == "v_prediction":
        return prediction.v
    return prediction.score if form == "score" else prediction.eps - prediction.x0
