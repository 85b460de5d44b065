"""A network with a guidance, as the denoiser sees it: every call evaluates the branches, and joins what they give."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.denoiser import PARAMETRISATIONS, Parametrisation, Prediction
from models.guidance.base import Branch, Guidance
from models.schedule import Level

NO_CLASS = -1
"""The label that a network of one-hot rows turns into zeros."""


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
    ) -> None:
        self._network, self._weaker, self._guidance = network, weaker, guidance
        self._given, self._null = parametrisation, null_label
        self._learns_variance, self._together = learns_variance, together and null_label != "none"
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
        return outputs[0] if len(outputs) == 1 else self._guidance.join(*outputs)

    def _outputs(self, branches: tuple[Branch, ...], x: Tensor, at: Level, labels: tuple[Tensor, ...]) -> list[Tensor]:
        if self._together and branches == ("conditional", "unconditional"):
            both = torch.cat([labels[0], self._no_class(labels[0])])
            return list(self._network(torch.cat([x, x]), at, both).chunk(2))
        return [self._output(branch, x, at, labels) for branch in branches]

    def _output(self, branch: Branch, x: Tensor, at: Level, labels: tuple[Tensor, ...]) -> Tensor:
        if branch == "weaker":
            assert self._weaker is not None, "a guidance that has a weaker branch names its model"
            return self._weaker(x, at, *labels)
        if branch == "unconditional" and self._null != "none":
            return self._network(x, at, self._no_class(labels[0]))
        return self._network(x, at, *(labels if branch == "conditional" else ()))

    def _no_class(self, labels: Tensor) -> Tensor:
        return torch.full_like(labels, self._null if isinstance(self._null, int) else NO_CLASS)


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
