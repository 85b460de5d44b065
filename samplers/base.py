"""What a sampler is.

A sampler is a frozen dataclass: its fields are its parameters, and it has no other state. It is pure: no clock, no
progress bar, no device moves, no global random numbers, and it never changes its input. It may call the model as often
as it likes; the calls are counted where the network is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, final

from models.denoiser import Denoiser
from models.schedule import Level

if TYPE_CHECKING:
    from torch import Tensor

Family = Literal["ODE, one step", "ODE, multistep", "SDE", "Langevin", "generator", "library", "other"]


class Noise(Protocol):
    """A source of standard normal noise, fresh at every call: each image's own stream, whatever the batch around it."""

    def __call__(self, like: Tensor) -> Tensor:
        """The next draw, of the shape, dtype and device of `like`."""


class Sampler(ABC):
    """A way from noise to data in a given sequence of noise levels.

    Attributes:
        paper: where the method comes from, such as "arXiv:2010.02502".
        bibtex: entries for the bibliography of whoever shows its rows, as BibTeX has them: a plugin's, as those in the
            tree have theirs in references.toml.
        family: what kind of method it is; figures have one colour a family.
        needs: what the model's x_0 has to be: the posterior mean E[x_0 | x_t] of a "denoiser", or itself a sample, as
            that of a "generator" (a distilled or consistency network, the decoder of an autoencoder).
        places_steps: whether it places its steps itself and takes from the grid only how many there are; its rows then
            have the grid "native".
        starts_at_noise: whether it can start where alpha is 0 and log(alpha / sigma) -inf, as at a flow's t = 1;
            if not, grids that start there are refused.
        takes_betas: whether it only runs on discrete variance-preserving schedules, which have betas.
        takes_flow: whether it only runs on flow models.
        takes_variance: whether it needs a network that says the variance of a step, as "learned_range" ones do.
        strong_order: order of the error on the same Brownian path as steps double, of solvers of the reverse SDE that
            take their noise from `samplers.brownian`; None of all others.
        caveat: what whoever reads its rows must know, such as a known defect of a library; None if nothing.
    """

    paper: ClassVar[str] = ""
    bibtex: ClassVar[str] = ""
    family: ClassVar[Family] = "other"
    needs: ClassVar[Literal["denoiser", "generator"]] = "denoiser"
    places_steps: ClassVar[bool] = False
    takes_betas: ClassVar[bool] = False
    takes_flow: ClassVar[bool] = False
    starts_at_noise: bool = False
    takes_variance: bool = False
    strong_order: float | None = None
    caveat: str | None = None

    @property
    @abstractmethod
    def order(self) -> int | None:
        """Order of the global error on the probability-flow ODE as steps double; None if it does not solve that ODE."""

    @property
    @abstractmethod
    def stochastic(self) -> bool:
        """Whether it draws noise after the initial state."""

    @abstractmethod
    def nfe(self, levels: Sequence[Level]) -> int | None:
        """Network evaluations an image that `sample` makes on these levels; the harness compares it with its count.

        None if nobody can know before, as with adaptive steps: then only the count says.
        """

    @abstractmethod
    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        """Carry x from the first level to the last.

        Args:
            model: the denoiser; `model(x, level)` evaluates the network once.
            x: (N, C, H, W), the state at `levels[0]`; not to be changed.
            levels: descending in noise, at least two; the last is usually the clean one, where the model is undefined.
            noise: `noise(x)` draws standard normal noise like x.

        Returns:
            The state at `levels[-1]`, of the dtype and device of x, and of its shape unless the model is a generator
            whose images have another shape than its noise.
        """


class StepSampler(Sampler):
    """A one-step method: all it needs on the way from one level to the next is the state."""

    @final
    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        for t, s in pairwise(levels):
            x = self.step(model, x, t, s, noise)
        return x

    @abstractmethod
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        """Carry x from level t to the next lower level s, which may be clean."""


class AdaptiveSampler(Sampler):
    """A method that chooses its steps by their error, for each image alone: one error norm for a batch, as solvers of
    whole tensors have, would let an image depend on its neighbours. So an evaluation is one of a batch of 1.

    The grid's first and last noisy level are the ends; those between are the method's to choose. A grid that ends at
    the clean level adds one evaluation there, the posterior mean of x_0.
    """

    family = "ODE, one step"
    order = None  # the error follows the tolerances, not the number of steps
    stochastic = False

    @final
    def nfe(self, levels: Sequence[Level]) -> None:
        return None

    @final
    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        import torch  # here there are tensors already; to list and plan samplers nothing needs it

        last = levels[-2] if levels[-1].is_clean else levels[-1]
        if last != levels[0]:
            rows = [slice(n, n + 1) for n in range(len(x))]
            x = torch.cat([self.solve(model.rows(each), x[each], levels[0], last) for each in rows])
        return model(x, last).x0 if levels[-1].is_clean else x

    @abstractmethod
    def solve(self, model: Denoiser, x: Tensor, t: Level, s: Level) -> Tensor:
        """Carry x, one image, from level t to the lower noisy level s.

        Raises:
            RuntimeError: the error cannot be kept.
        """
