"""Training of denoising networks, of autoencoders, and of the classifiers that serve as feature extractors.

Everything random in step n comes from a generator seeded with (seed, n), so a training that is killed and resumed walks
the same path as one that was not, without any random state in its checkpoint.
"""

import os
import pickle
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.errors import UsageError
from models.schedule import DiscreteVP
from models.vae import Vae

_Parts = dict[str, nn.Module | torch.optim.Optimizer | LambdaLR]
Report = Callable[[int, float], None]
"""Called after every step with the number of steps done and the smoothed loss."""


class Reporter(Protocol):
    """Shows progress of one stage at a time."""

    def __call__(self, stage: str, steps: int) -> AbstractContextManager[Report]: ...


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one training: Adam with linear warm-up and cosine decay to zero, gradients clipped at norm 1.

    Attributes:
        steps: optimiser steps.
        batch: images a step, drawn with replacement.
        learning_rate: its peak.
        warmup: steps of linear warm-up.
        ema_decay: decay of the exponential moving average of the weights, once it has warmed up.
        seed: of initialisation, batches, times and noise.
        checkpoint_every: steps between checkpoints.
    """

    steps: int
    batch: int = 256
    learning_rate: float = 1e-3
    warmup: int = 500
    ema_decay: float = 0.999
    seed: int = 0
    checkpoint_every: int = 500

    def rate_at(self, step: int) -> float:
        """The learning rate at a step, as a fraction of its peak."""
        warm = min(1.0, (step + 1) / self.warmup)
        return warm * 0.5 * (1.0 + float(torch.cos(torch.tensor(torch.pi * step / self.steps))))


@dataclass(frozen=True)
class Trained:
    """What a training gives.

    Attributes:
        state: the averaged (EMA) weights.
        loss: at the end, smoothed over about 100 steps.
        seconds: of training, over all runs that it took.
    """

    state: dict[str, Tensor]
    loss: float
    seconds: float


def step_generator(seed: int, step: int) -> torch.Generator:
    """The source of everything random in one step."""
    return torch.Generator().manual_seed(seed * 1_000_000_007 + step)


def train_denoiser(
    unet: nn.Module, images: Tensor, schedule: DiscreteVP, recipe: Recipe, checkpoint: Path, report: Report
) -> Trained:
    """DDPM's simple loss (arXiv 2006.11239, eq. 14): predict eps from x_t at an index drawn uniformly.

    Args:
        unet: diffusers network; trained in place, on the device that it is on.
        images: (N, C, H, W) float32 in the value range that the network works in.
        schedule: the discrete schedule that the indices belong to.
        recipe: hyperparameters.
        checkpoint: file to resume from when it is there, and to save to.
        report: progress callback.
    """
    device = next(unet.parameters()).device
    images = images.to(device)
    levels = [schedule.level((n + 1) / schedule.train_steps) for n in range(schedule.train_steps or 0)]
    alpha = torch.tensor([level.alpha for level in levels], dtype=torch.float32, device=device)[:, None, None, None]
    sigma = torch.tensor([level.sigma for level in levels], dtype=torch.float32, device=device)[:, None, None, None]

    def loss_of(step: int) -> Tensor:
        draws = step_generator(recipe.seed, step)
        chosen = torch.randint(len(images), (recipe.batch,), generator=draws).to(device)
        index = torch.randint(len(levels), (recipe.batch,), generator=draws).to(device)
        eps = torch.randn(recipe.batch, *images.shape[1:], generator=draws).to(device)
        x_t = alpha[index] * images[chosen] + sigma[index] * eps
        return functional.mse_loss(unet(x_t, index, return_dict=False)[0], eps)

    return _train(unet, loss_of, recipe, checkpoint, report)


def train_vae(vae: Vae, images: Tensor, recipe: Recipe, checkpoint: Path, report: Report) -> Trained:
    """Encoder and decoder together, by the negative evidence lower bound.

    Args:
        vae: trained in place.
        images: (N, C, H, W) float32 in [-1, 1].
        recipe, checkpoint, report: as in `train_denoiser`.
    """

    def loss_of(step: int) -> Tensor:
        draws = step_generator(recipe.seed, step)
        chosen = torch.randint(len(images), (recipe.batch,), generator=draws)
        eps = torch.randn(recipe.batch, *vae.decoder.latent_shape, generator=draws)
        loss: Tensor = vae(images[chosen], eps)
        return loss

    return _train(vae, loss_of, recipe, checkpoint, report)


def train_classifier(
    network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, checkpoint: Path, report: Report
) -> Trained:
    """Cross-entropy on images shifted by up to one pixel, with label smoothing 0.1.

    Args:
        network: maps uint8 images to (features, logits); trained in place.
        images: (N, C, H, W) uint8.
        labels: (N,) integer classes.
        recipe, checkpoint, report: as in `train_denoiser`.
    """

    def loss_of(step: int) -> Tensor:
        draws = step_generator(recipe.seed, step)
        chosen = torch.randint(len(images), (recipe.batch,), generator=draws)
        down, right = (int(shift) for shift in torch.randint(-1, 2, (2,), generator=draws))
        shifted = functional.pad(images[chosen], (1, 1, 1, 1))
        height, width = images.shape[2:]
        shifted = shifted[:, :, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
        return functional.cross_entropy(network(shifted)[1], labels[chosen], label_smoothing=0.1)

    return _train(network, loss_of, recipe, checkpoint, report)


def _train(
    network: nn.Module, loss_of: Callable[[int], Tensor], recipe: Recipe, checkpoint: Path, report: Report
) -> Trained:
    network.train()
    ema = AveragedModel(network, multi_avg_fn=_ema(recipe.ema_decay), use_buffers=True)
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    rate = LambdaLR(optimiser, recipe.rate_at)
    parts: _Parts = {"network": network, "ema": ema, "optimiser": optimiser, "rate": rate}
    done, smooth, spent = _resume(checkpoint, recipe, parts)
    began = time.monotonic() - spent
    for step in range(done, recipe.steps):
        loss = loss_of(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        rate.step()
        ema.update_parameters(network)
        smooth = float(loss.detach()) if step == 0 else 0.99 * smooth + 0.01 * float(loss.detach())
        if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
            progress = {"step": step + 1, "loss": smooth, "seconds": time.monotonic() - began}
            _save(checkpoint, progress | {"recipe": asdict(recipe)}, parts)
        report(step + 1, smooth)
    state = {name: value.detach().clone() for name, value in ema.module.state_dict().items()}
    return Trained(state, smooth, time.monotonic() - began)


def _ema(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential moving average whose decay grows to its value, so that early weights are soon forgotten."""

    def update(averaged: Any, current: Any, count: Any) -> None:
        n = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, count)

    return update


def _save(checkpoint: Path, progress: dict[str, Any], parts: _Parts) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    temporary = checkpoint.with_suffix(".tmp")
    torch.save(progress | {name: part.state_dict() for name, part in parts.items()}, temporary)
    os.replace(temporary, checkpoint)


def _resume(checkpoint: Path, recipe: Recipe, parts: _Parts) -> tuple[int, float, float]:
    """Load the checkpoint if there is one: steps done, smoothed loss, seconds spent.

    Raises:
        UsageError: it belongs to another recipe, or cannot be read.
    """
    if not checkpoint.exists():
        return 0, 0.0, 0.0
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UsageError(f"cannot read the checkpoint {checkpoint}: {error}. Remove it to start afresh") from None
    if state["recipe"] != asdict(recipe):
        raise UsageError(
            f"the checkpoint {checkpoint} was made with {state['recipe']}, but this training is {asdict(recipe)}; "
            "remove it to start afresh, or write elsewhere with --out"
        )
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["step"], state["loss"], state["seconds"]
