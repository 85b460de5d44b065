"""Networks as samplers' models see them: a function of the state and its noise level, and of a label if it takes one.

The blocks are diffusers', or a plugin's (`models/architectures.py`); what stands here is only the conversion from a
`Level` to what a network is conditioned on, and the preconditioning that some need around them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch._C import _functorch
from torch.autograd import forward_ad

from models.schedule import DiscreteVP, Level

Conditioned = Callable[..., Tensor]
"""A module called with the state (N, C, H, W), its condition (N,) float and, if it takes them, labels (N,) int64."""


class Network(Protocol):
    """Anything that maps a state x (N, C, H, W) at a level to an output, of the same shape unless it is a decoder."""

    def __call__(self, x: Tensor, at: Level) -> Tensor: ...


class ConditionalNetwork(Protocol):
    """A network that takes the class of each image too, labels (N,) int64, or None if it has no classes."""

    def __call__(self, x: Tensor, at: Level, labels: Tensor | None = None) -> Tensor: ...


def call_diffusers(module: nn.Module) -> Conditioned:
    """diffusers' `UNet2DModel` or `DiTTransformer2DModel`, called as all modules are here."""

    def call(x: Tensor, condition: Tensor, labels: Tensor | None = None) -> Tensor:
        output: Tensor = module(x, condition, class_labels=labels, return_dict=False)[0]
        return output

    return call


def one_hot(module: Conditioned, classes: int) -> Conditioned:
    """A module that takes classes as rows (N, classes), given labels (N,): all zero for those that are none."""

    def call(x: Tensor, condition: Tensor, labels: Tensor) -> Tensor:
        rows = labels[:, None] == torch.arange(classes, device=labels.device)
        return module(x, condition, rows.to(x.dtype))

    return call


def _run(module: Conditioned, x: Tensor, condition: float, labels: Tensor | None) -> Tensor:
    # a fill on the device: no copy to wait for, and diffusers would cut a Python float to an integer index
    dtype = torch.float32 if x.dtype.itemsize < 4 else x.dtype
    dtype = torch.int64 if isinstance(condition, int) else dtype
    at = torch.full((x.shape[0],), condition, dtype=dtype, device=x.device)
    return module(x, at) if labels is None else module(x, at, labels)


def index_of(schedule: DiscreteVP, *, rounded: bool) -> Callable[[Level], float]:
    """What a network trained on discrete levels is given: the index, between indices a fraction, or the nearest one.

    Rounded it is an int, for a table of the trained times. The probability flow is then that of a staircase: solvers
    lose their order on steps as short as the indices lie apart.
    """
    if rounded:
        return lambda at: schedule.nearest_index(at.t)
    return lambda at: schedule.index(at.t)


class IndexedUNet:
    """A diffusers `UNet2DModel` trained on discrete levels, given the (fractional) index of the level.

    In an execution mode `call` is how it is called; `rounded` gives it the nearest index instead, as an integer.
    """

    def __init__(
        self, unet: nn.Module, schedule: DiscreteVP, call: Conditioned | None = None, *, rounded: bool = False
    ) -> None:
        self.unet, self.schedule = unet, schedule
        self._call = ConditionedNetwork(call or call_diffusers(unet), index_of(schedule, rounded=rounded))

    def __call__(self, x: Tensor, at: Level, labels: Tensor | None = None) -> Tensor:
        return self._call(x, at, labels)


class ConditionedNetwork:
    """A module that is given one number for the level, (N,); an int reaches it as int64."""

    def __init__(self, module: Conditioned, condition: Callable[[Level], float]) -> None:
        self.module, self.condition = module, condition

    def __call__(self, x: Tensor, at: Level, labels: Tensor | None = None) -> Tensor:
        return _run(self.module, x, self.condition(at), labels)


@dataclass
class Evaluations:
    """What a network has evaluated.

    Attributes:
        images: how many.
        differentiated: how many of these with derivatives, each of which takes passes that are no evaluations.
    """

    images: int = 0
    differentiated: int = 0

    def __call__(self) -> int:
        """The images."""
        return self.images


def counted(
    network: Callable[..., Tensor], shape: Sequence[int] | None = None
) -> tuple[Callable[..., Tensor], Evaluations]:
    """The network, and what says how many images it has evaluated since.

    Whoever samples is given the first alone, which has no attribute that holds the count or the network.

    Args:
        network: whose evaluations are counted.
        shape: (C, H, W) that an image has to have, or it raises a ValueError: smaller images cost less, and several put
            together into one would count as one. None: any. A subclass of Tensor, whose shape may lie, is a TypeError.
    """
    made, expected = Evaluations(), None if shape is None else tuple(shape)

    def evaluate(x: Tensor, at: Level, *labels: Tensor) -> Tensor:
        if type(x) is not Tensor:
            raise TypeError(f"the network was asked about a {type(x).__name__}; expected a torch.Tensor")
        if expected is not None and x.shape[1:] != expected:
            raise ValueError(
                f"the network was asked about states of shape {tuple(x.shape[1:])}; expected {expected}: evaluations "
                "are counted by the image, and those of others would be cheaper or dearer"
            )
        images = _images(x)
        made.images += images
        if _has_derivatives(x):
            made.differentiated += images
        return network(x, at, *labels)

    return evaluate, made


def _images(x: Tensor) -> int:
    """How many images are evaluated: of what `torch.func` makes of a tensor, all that `vmap` evaluates at once."""
    if not _functorch.is_functorch_wrapped_tensor(x):
        return x.shape[0]
    inner = x
    while _functorch.is_functorch_wrapped_tensor(inner):
        inner = _functorch.get_unwrapped(inner)
    return inner.numel() // math.prod(x.shape[1:])


def _has_derivatives(x: Tensor) -> bool:
    """Whether what is made of a tensor can be, or is, differentiated by it, backward or forward."""
    if x.is_inference():  # a tensor that can have none, as those of a run are
        return False
    return (x.requires_grad and torch.is_grad_enabled()) or forward_ad.unpack_dual(x).tangent is not None


def mean_alone(network: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Of a network of 2 C channels, a mean and a variance (arXiv 2102.09672), the mean."""
    return lambda x, at, *labels: network(x, at, *labels).chunk(2, dim=1)[0]


class LevelBlind:
    """A network that is given the state alone, such as a decoder, whose state is its latent at any level."""

    def __init__(self, network: Callable[[Tensor], Tensor]) -> None:
        self.network = network

    def __call__(self, x: Tensor, at: Level) -> Tensor:
        return self.network(x)


class EDMPreconditioned:
    """A network in EDM's preconditioning (arXiv 2206.00364, table 1), which makes of its output the expected x_0.

    D = c_skip y + c_out F(c_in y, c_noise) for the scaled state y = x / alpha and its noise level sigma / alpha, so it
    runs on every schedule; written so that nothing is divided by alpha.

    Args:
        network: F, called with the scaled state (N, C, H, W), c_noise = log(sigma / alpha) / 4, (N,), and the labels.
        sigma_data: standard deviation of the data, for which alone the network's input and target have variance 1.
        sign: -1 for a network whose output is -F, which diffusers' EDM schedulers call v_prediction.
    """

    def __init__(self, network: Conditioned, sigma_data: float = 0.5, sign: float = 1.0) -> None:
        self.network, self.sigma_data, self.sign = network, sigma_data, sign

    def __call__(self, x: Tensor, at: Level, labels: Tensor | None = None) -> Tensor:
        std = math.hypot(at.sigma, at.alpha * self.sigma_data)
        output = _run(self.network, x / std, -0.25 * at.logsnr, labels)
        skip, out = at.alpha * self.sigma_data**2 / std**2, at.sigma * self.sigma_data / std
        return skip * x + self.sign * out * output


class ConsistencyPreconditioned:
    """A consistency model (arXiv 2303.01469, appendix C): EDM's preconditioning, but exactly x at the lowest level.

    f = c_skip y + c_out F(c_in y, 250 log sigma) with c_skip = sigma_data^2 / ((sigma - sigma_min)^2 + sigma_data^2),
    c_out = (sigma - sigma_min) sigma_data / sqrt(sigma^2 + sigma_data^2) and c_in the inverse of that root, for the
    scaled state y = x / alpha and sigma its noise level sigma / alpha.

    Args:
        network: F, called with the scaled state (N, C, H, W), the condition (N,) and the labels.
        sigma_data: standard deviation of the data.
        sigma_min: the level at which f is the identity, the lowest.
    """

    def __init__(self, network: Conditioned, sigma_data: float = 0.5, sigma_min: float = 0.002) -> None:
        self.network, self.sigma_data, self.sigma_min = network, sigma_data, sigma_min

    def __call__(self, x: Tensor, at: Level, labels: Tensor | None = None) -> Tensor:
        y, above = x / at.alpha, at.ratio - self.sigma_min
        std = math.hypot(at.ratio, self.sigma_data)
        output = _run(self.network, y / std, 250.0 * math.log(at.ratio), labels)
        skip, out = self.sigma_data**2 / (above**2 + self.sigma_data**2), above * self.sigma_data / std
        return skip * y + out * output


def make_unet(config: dict[str, Any]) -> nn.Module:
    """A diffusers `UNet2DModel` from its `config.json`."""
    return _make("UNet2DModel", config)


def make_dit(config: dict[str, Any]) -> nn.Module:
    """A diffusers `DiTTransformer2DModel` from its `config.json`."""
    return _make("DiTTransformer2DModel", config)


def _make(name: str, config: dict[str, Any]) -> nn.Module:
    import diffusers  # several seconds of import: only where a network is made

    # keys that start with an underscore are diffusers' notes
    network: nn.Module = getattr(diffusers, name)(**{key: each for key, each in config.items() if key[:1] != "_"})
    return network
