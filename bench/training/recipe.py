"""What decides the path of a training: steps, rates, averages, and the seed of everything random."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn

_MOMENTUM = 0.9
_DROPOUT = 0x5DEECE66D0000000  # far from every seed of a step


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one training, with linear warm-up and gradients clipped by their norm.

    Attributes:
        steps: optimiser steps.
        batch: images a step, drawn with replacement.
        learning_rate: its peak.
        warmup: steps of linear warm-up.
        ema_decay: decay of the exponential moving average of the weights, once it has warmed up.
        seed: of initialisation, batches, times and noise.
        checkpoint_every: steps between checkpoints.
        decay: of the learning rate after its warm-up, "cosine" to zero at the last step, or "constant": none.
        optimiser: "adam", or "sgd" with Nesterov momentum 0.9.
        weight_decay: L2, added to the gradients.
        clip_norm: at which gradients are clipped; 0: not at all.
        flips: whether half of the images are mirrored left to right.
    """

    steps: int
    batch: int = 256
    learning_rate: float = 1e-3
    warmup: int = 500
    ema_decay: float = 0.999
    seed: int = 0
    checkpoint_every: int = 500
    decay: Literal["cosine", "constant"] = "cosine"
    optimiser: Literal["adam", "sgd"] = "adam"
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    flips: bool = False

    def rate_at(self, step: int, since: int = 0) -> float:
        """The learning rate at a step, as a fraction of its peak.

        Args:
            step: 0 ... steps - 1.
            since: the step where this training began, from other weights; the optimiser warms up from there.
        """
        warm = min(1.0, (step - since + 1) / self.warmup)
        if self.decay == "constant":
            return warm
        return warm * 0.5 * (1.0 + float(torch.cos(torch.tensor(torch.pi * step / self.steps))))

    def ema_at(self, step: int) -> float:
        """The average's decay at a step: it grows to its value, so that early weights are soon forgotten."""
        return min(self.ema_decay, (1 + step) / (10 + step))

    def path(self) -> dict[str, Any]:
        """All that the path up to any step depends on: what a checkpoint must have in common to be gone on from."""
        path = asdict(self)
        del path["checkpoint_every"]
        if self.decay == "constant":
            del path["steps"]
        return path

    def make_optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of a network's parameters; on CUDA one fused kernel a step."""
        fused = next(network.parameters()).is_cuda
        given: dict[str, Any] = {"lr": self.learning_rate, "weight_decay": self.weight_decay, "fused": fused}
        if self.optimiser == "sgd":
            return torch.optim.SGD(network.parameters(), momentum=_MOMENTUM, nesterov=True, **given)
        return torch.optim.Adam(network.parameters(), **given)


def warmup_of(steps: int, usual: int) -> int:
    """A usual length of the warm-up, shortened to a tenth of a short training."""
    return max(1, min(usual, math.ceil(steps / 10)))


def step_seed(seed: int, step: int) -> int:
    """What the random numbers of one step are seeded with."""
    return seed * 1_000_000_007 + step


def dropout_seed(seed: int, step: int) -> int:
    """What the global generators are seeded with: not as `step_generator`, whose noise dropout would share."""
    return step_seed(seed, step) ^ _DROPOUT


def step_generator(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The source of everything random in one step, on the device that trains."""
    return torch.Generator(device).manual_seed(step_seed(seed, step))
