"""What a guidance is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, final

from models.denoiser import Parametrisation
from models.schedule import Level

if TYPE_CHECKING:
    from torch import Tensor

Branch = Literal["conditional", "unconditional", "weaker"]
"""An evaluation: of the network with the image's class, of the same with none, of a weaker network with the class."""

CONDITIONAL: tuple[Branch, ...] = ("conditional",)
BOTH: tuple[Branch, ...] = ("conditional", "unconditional")
EVERYWHERE = (0.0, math.inf)
_ROUNDED = 1.0 + 1e-9
"""A level at an end of an interval is that end, whatever round-off a schedule leaves."""


class Guidance(ABC):
    """How the outputs of several evaluations at one state are joined into one.

    A frozen dataclass: its fields are its parameters. Where a single evaluation is wanted its output is taken as it is.

    Attributes:
        paper: where the method comes from, such as "arXiv:2207.12598".
        bibtex: entries for the bibliography of whoever shows its rows, as BibTeX has them: a plugin's.
        form: the parametrisation that outputs are joined in; None: the network's own, for weights that sum to one,
            which mean the same in all, as each is affine in the others with the same coefficients.
        weaker: the model of the "weaker" branch, as a study names models; None: there is none.
        interval: (low, high); it guides where sigma / alpha is in (low, high], and elsewhere the network's output with
            the class is taken, which is one evaluation.
    """

    paper: ClassVar[str] = ""
    bibtex: ClassVar[str] = ""
    form: ClassVar[Parametrisation | None] = None
    weaker: str | None = None
    interval: tuple[float, float] = EVERYWHERE

    @property
    @abstractmethod
    def evaluated(self) -> tuple[Branch, ...]:
        """What is evaluated where it guides, each branch once, at least one."""

    @abstractmethod
    def join(self, *outputs: Tensor) -> Tensor:
        """The guided output.

        Args:
            outputs: (N, C, H, W), of two or more branches, in the order of `evaluated` and in the `form`; not to be
                changed.
        """

    @final
    @property
    def varies(self) -> bool:
        """Whether what is evaluated depends on the level."""
        return self.interval != EVERYWHERE

    @final
    def branches(self, at: Level) -> tuple[Branch, ...]:
        """What is evaluated at a level."""
        low, high = self.interval
        return self.evaluated if low * _ROUNDED < at.ratio <= high * _ROUNDED else CONDITIONAL
