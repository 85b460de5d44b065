"""Whether pictures fit a network better when they are turned, mirrored, inverted or have their channels reversed."""

import math
from collections.abc import Mapping, Sequence
from itertools import product

import torch
from torch import Tensor

from bench.conformance.model_chance import CLEAR, FEWEST, LIKELY, is_above_chance
from bench.conformance.model_errors import Change, ImageErrors
from bench.conformance.model_verdicts import Verdict, is_picture

_PART = 0.005
"""Of the error, what another view must save at least."""

_AS_IT_IS: dict[str, Change] = {"": lambda x: x}
_CHANNELS: dict[str, Change] = {"with their channels the other way round (BGR for RGB)": lambda x: x.flip(1)}
_SIDES: dict[str, Change] = {
    "upside down": lambda x: x.flip(2),
    "mirrored": lambda x: x.flip(3),
    "turned by 180 degrees": lambda x: x.flip(2, 3),
}
_SQUARE: dict[str, Change] = {
    "with rows and columns exchanged": lambda x: x.transpose(2, 3),
    "turned by 90 degrees clockwise": lambda x: torch.rot90(x, -1, (2, 3)),
    "turned by 90 degrees counterclockwise": lambda x: torch.rot90(x, 1, (2, 3)),
    "with rows and columns exchanged and turned by 180 degrees": lambda x: x.transpose(2, 3).flip(2, 3),
}
_SHADES: dict[str, Change] = {"with black and white exchanged": lambda x: -x}

_View = tuple[str, ...]
"""One change of each kind, by name; what they make together does not depend on their order."""


def view_verdicts(errors: ImageErrors, labels: Tensor | None, shape: Sequence[int]) -> list[Verdict]:
    """Whether pictures fit better when they are changed; nothing of what is no picture.

    One change is made at a time, and all of them together only if one is clearly better.

    Args:
        errors: of the images.
        labels: (N,) int64, their classes, which are not to be chosen to fit them as they are; None: none are given.
        shape: (C, H, W) of an image.
    """
    if not is_picture(shape):
        return []
    channels, height, width = shape
    own = errors(labels)
    if len(own) < FEWEST:
        text = f"fewer than {FEWEST} images do not tell whether it knows them as they are: give more --images"
        return [Verdict(True, text, doubt=True)]
    found = _Found(errors, labels, _kinds(channels, square=height == width), own)
    if (clear := found.better(CLEAR)) is not None:
        best = found.best()
        return [Verdict(False, found.said_of(best if any(best) else clear))]  # beside all others none may be clear
    if (likely := found.better(LIKELY)) is not None:
        text = f"{found.said_of(likely)}, or it is chance, which more images tell"
        return [Verdict(True, text, doubt=True)]
    text = "it knows the images as they are: in no other order of channels or sides are they any better"
    return [Verdict(True, text)]


def _kinds(channels: int, *, square: bool) -> Sequence[Mapping[str, Change]]:
    """The changes of each kind that images of a shape may have, that which is none first."""
    shown = _CHANNELS if channels == 3 else {}
    return (_AS_IT_IS | shown, _AS_IT_IS | _SIDES | (_SQUARE if square else {}), _AS_IT_IS | _SHADES)


class _Found:
    """The errors in all views that were tried so far, each once."""

    def __init__(
        self, errors: ImageErrors, labels: Tensor | None, kinds: Sequence[Mapping[str, Change]], own: Tensor
    ) -> None:
        self._errors, self._labels, self._kinds = errors, labels, kinds
        self._plain = ("",) * len(kinds)
        self._of = {self._plain: own}

    def better(self, least: float) -> _View | None:
        """Of the views with a single change that save something beyond chance, that which saves most."""
        views = [view for view in product(*self._kinds) if sum(map(bool, view)) == 1]
        clear = [view for view in views if self._saves(view, self._plain, least, len(views))]
        return max(clear, key=self._saved, default=None)

    def best(self) -> _View:
        """The view that saves most of all, or one with fewer changes that is not clearly worse."""
        views = list(product(*self._kinds))
        best = max(views, key=self._saved)
        as_good = [view for view in views if not self._saves(best, view, CLEAR, len(views))]
        return min(as_good, key=lambda view: (sum(map(bool, view)), -self._saved(view)))

    def _saves(self, view: _View, before: _View, least: float, beside: int) -> bool:
        """Whether a view has less error than another, beyond chance and by more than a little."""
        saved = self._error(before) - self._error(view)
        enough = _PART * float(self._error(before).mean())
        return float(saved.mean()) >= enough and is_above_chance(saved, least, beside)

    def _saved(self, view: _View) -> float:
        saved = float((self._error(self._plain) - self._error(view)).mean())
        return saved if math.isfinite(saved) else -math.inf

    def said_of(self, view: _View) -> str:
        """How much less error images have that are changed so."""
        part = self._saved(view) / float(self._error(self._plain).mean())
        *first, last = filter(None, view)
        name = f"{', '.join(first)} and {last}" if first else last
        return f"its error is {100 * part:.2g} % smaller with the images {name}: as if it had been trained on such"

    def _error(self, view: _View) -> Tensor:
        if view not in self._of:
            changes = [names[name] for names, name in zip(self._kinds, view, strict=True)]

            def change(x: Tensor) -> Tensor:
                for each in changes:
                    x = each(x)
                return x

            self._of[view] = self._errors(self._labels, change)
        return self._of[view]
