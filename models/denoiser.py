"""The network as samplers see it: the one place where parametrisations are converted.

Networks are trained to predict eps, x_0, the velocity v, the score or a flow's velocity. All are affine in one another
given x_t = alpha x_0 + sigma eps, so a sampler asks for whichever its paper uses and never knows which one the network
gives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from models.schedule import Level, Schedule

if TYPE_CHECKING:
    from torch import Tensor

Parametrisation = Literal["epsilon", "sample", "v_prediction", "score", "flow"]
ClipRange = tuple[float, float]
Clip = ClipRange | tuple[float, float, float]
"""What predictions of x_0 are clamped to: (low, high), or (low, high, quantile) for dynamic thresholding."""


class _Affine(NamedTuple):
    """x_0 = x0_x * x + x0_out * output and eps = eps_x * x + eps_out * output."""

    x0_x: float
    x0_out: float
    eps_x: float
    eps_out: float


def _epsilon(at: Level) -> _Affine:
    return _Affine(1.0 / at.alpha, -at.sigma / at.alpha, 0.0, 1.0)


def _sample(at: Level) -> _Affine:
    return _Affine(0.0, 1.0, 1.0 / at.sigma, -at.alpha / at.sigma)


def _velocity(at: Level) -> _Affine:
    # v = alpha eps - sigma x_0 (arXiv 2202.00512, appendix D), solved together with x = alpha x_0 + sigma eps
    norm2 = at.alpha**2 + at.sigma**2
    return _Affine(at.alpha / norm2, -at.sigma / norm2, at.sigma / norm2, at.alpha / norm2)


def _score(at: Level) -> _Affine:
    return _Affine(1.0 / at.alpha, at.sigma**2 / at.alpha, 0.0, -at.sigma)


def _flow(at: Level) -> _Affine:
    # u = eps - x_0 (arXiv 2209.03003)
    total = at.alpha + at.sigma
    return _Affine(1.0 / total, -at.sigma / total, 1.0 / total, at.alpha / total)


PARAMETRISATIONS: dict[Parametrisation, Callable[[Level], _Affine]] = {
    "epsilon": _epsilon,
    "sample": _sample,
    "v_prediction": _velocity,
    "score": _score,
    "flow": _flow,
}


def _combine(x: Tensor, output: Tensor, x_factor: float, output_factor: float) -> Tensor:
    if x_factor == 0.0:
        return output if output_factor == 1.0 else output * output_factor
    return (x * x_factor).add_(output, alpha=output_factor)


def _clamped(x0: Tensor, clip: Clip) -> Tensor:
    """x_0 within a range; with a quantile by dynamic thresholding (Imagen, arXiv 2205.11487, section 2.3).

    Then each image is clamped to that quantile of its own distances from the middle of the range, if that is beyond the
    range, and scaled back into it.
    """
    low, high, *share = clip
    if not share:
        return x0.clamp(low, high)
    middle, half = (high + low) / 2, (high - low) / 2
    centred = (x0 - middle) / half
    beyond = centred.abs().flatten(1).quantile(share[0], dim=1).clamp(min=1.0).view(-1, *[1] * (x0.dim() - 1))
    return (centred / beyond).clamp(-1.0, 1.0) * half + middle


class Prediction:
    """What one network evaluation says about a state x at a level, in every parametrisation, computed when asked for.

    With a clip range, x_0 is clamped to it and everything else follows from the clamped x_0, so that the forms stay
    consistent (diffusers calls this `use_clipped_model_output`).
    """

    def __init__(
        self, x: Tensor, at: Level, output: Tensor, affine: _Affine, clip: Clip | None, variance: Tensor | None = None
    ) -> None:
        self._x, self._at, self._output, self._affine, self._clip = x, at, output, affine, clip
        self._variance = variance
        # kept by hand: before Python 3.12 a cached_property takes a lock, which is half the time of a small kernel
        self._x0: Tensor | None = None
        self._eps: Tensor | None = None

    @property
    def x0(self) -> Tensor:
        """The expected clean data, (N, C, H, W)."""
        if self._x0 is None:
            x0 = _combine(self._x, self._output, self._affine.x0_x, self._affine.x0_out)
            self._x0 = x0 if self._clip is None else _clamped(x0, self._clip)
        return self._x0

    @property
    def eps(self) -> Tensor:
        """The expected noise."""
        if self._eps is None:
            source, affine = self._source()
            self._eps = _combine(self._x, source, affine.eps_x, affine.eps_out)
        return self._eps

    def combine(self, *, x: float = 0.0, x0: float = 0.0, eps: float = 0.0) -> Tensor:
        """The sum x * state + x0 * x_0 + eps * noise in a new tensor, with none in between unless x_0 is clipped.

        Most steps are such a sum; worked out on the network's output itself it takes two passes over the images.
        """
        source, (x0_x, x0_out, eps_x, eps_out) = self._source()
        x_factor, factor = x + x0 * x0_x + eps * eps_x, x0 * x0_out + eps * eps_out
        return source * factor if x_factor == 0.0 else (self._x * x_factor).add_(source, alpha=factor)

    @property
    def variance(self) -> Tensor:
        """What a network that learned it says of the variance of a reverse step, (N, C, H, W).

        As "learned_range" has it (arXiv 2102.09672, eq. 15): from -1 for the smaller bound to 1 for the larger one.
        ValueError for a network that says nothing of it.
        """
        if self._variance is None:
            raise ValueError("the network says nothing of the variance of a step; its card has no learned variance")
        return self._variance

    def _source(self) -> tuple[Tensor, _Affine]:
        """What all forms are worked out from: the network's output, or x_0 as it is clipped."""
        return (self._output, self._affine) if self._clip is None else (self.x0, _sample(self._at))

    @cached_property
    def score(self) -> Tensor:
        """The gradient of log p_t at x: -eps / sigma (arXiv 2011.13456)."""
        return self.eps / -self._at.sigma

    @cached_property
    def v(self) -> Tensor:
        """alpha eps - sigma x_0 (arXiv 2202.00512)."""
        return _combine(self.eps, self.x0, self._at.alpha, -self._at.sigma)


def _check_labels(labels: Tensor) -> None:
    import torch  # only here by name: cards and samplers, which only describe, import this module without it

    if labels.dtype != torch.int64 or labels.dim() != 1:
        raise ValueError(f"expected labels (N,) of int64, got {labels.dtype} of shape {tuple(labels.shape)}")


class Denoiser:
    """Wraps a network. Its evaluations are counted where the network is: see `models.networks.network.counted`.

    Args:
        network: called with the state and the level, and with the labels if there are any.
        parametrisation: what its output means.
        schedule: the noise schedule that its levels lie on.
        clip: what predictions of x_0 are clamped to, or None.
        labels: (N,) int64, the class of each image of the batch, for a class-conditional network; it may only be asked
            about as many images then, in that order. See `rows`.
        learns_variance: whether outputs have 2 C channels, of which the second C say the variance of a step.
        fitted: what was fitted to the network before, as the sampler reads it; None: nothing. See `models.fitted`.

    Attributes:
        schedule: as given, for samplers that evaluate the network between the levels of their grid.
    """

    def __init__(
        self,
        network: Callable[..., Tensor],  # a Network, or with labels a ConditionalNetwork
        parametrisation: Parametrisation,
        schedule: Schedule,
        clip: Clip | None = None,
        labels: Tensor | None = None,
        *,
        learns_variance: bool = False,
        fitted: Any = None,
    ) -> None:
        if labels is not None:
            _check_labels(labels)
        self._network = network
        self.schedule = schedule
        self._parametrisation: Parametrisation = parametrisation
        self._affine = PARAMETRISATIONS[parametrisation]
        self._clip = clip
        self._labels = labels
        self._learns_variance, self._fitted = learns_variance, fitted

    def rows(self, images: slice) -> Denoiser:
        """A denoiser of those images of the batch, with their labels.

        For samplers that split their batch: `model.rows(slice(2, 3))(x[2:3], at)`.
        """
        labels = None if self._labels is None else self._labels[images]
        return Denoiser(
            self._network,
            self._parametrisation,
            self.schedule,
            self._clip,
            labels,
            learns_variance=self._learns_variance,
            fitted=self._fitted,
        )

    @property
    def fitted(self) -> Any:
        """What was fitted to the network before any sampler was called, as the sampler's `read` gives it.

        Raises:
            ValueError: nothing was.
        """
        if self._fitted is None:
            raise ValueError(
                "nothing was fitted to the model; a sampler that asks for it derives from models.fitted.Fitted, with "
                "takes_fit = True"
            )
        return self._fitted

    def __call__(self, x: Tensor, at: Level) -> Prediction:
        """Evaluate the network once on x (N, C, H, W) at a noisy level.

        Raises:
            ValueError: at the clean level, or with labels of another number of images.
        """
        if at.is_clean:
            raise ValueError(
                "the network was asked about the clean level (sigma = 0), where there is no noise to predict"
            )
        output = self._evaluated(x, at)
        if not self._learns_variance:
            return Prediction(x, at, output, self._affine(at), self._clip)
        mean, variance = output.chunk(2, dim=1)
        return Prediction(x, at, mean, self._affine(at), self._clip, variance)

    def _evaluated(self, x: Tensor, at: Level) -> Tensor:
        if self._labels is not None and len(self._labels) != x.shape[0]:
            raise ValueError(
                f"the denoiser has labels of {len(self._labels)} images, but was asked about {x.shape[0]}; a sampler "
                "that splits its batch asks model.rows(slice) for a denoiser of those images"
            )
        return self._network(x, at) if self._labels is None else self._network(x, at, self._labels)
