"""Losses of what is trained here: denoising networks, autoencoders, and the classifiers that serve as extractors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.training.recipe import Recipe, step_generator
from models.networks.vae import Vae
from models.schedule import DiscreteVP

Predict = Callable[..., Any]
"""A network, or what torch.compile made of it."""


@dataclass(frozen=True)
class Labels:
    """Classes of the images that a conditional network is trained on, and what it is given in place of some.

    A network that was also trained without classes can be guided without a second one (arXiv 2207.12598, algorithm 1).

    Attributes:
        classes: (N,) int64, that of each image.
        null: stands for no class.
        dropout: the probability that an image is given it instead of its class.
    """

    classes: Tensor
    null: int
    dropout: float

    def given(self, chosen: Tensor, draws: torch.Generator) -> Tensor:
        """The labels (B,) that the network is given with the images of these numbers (B,)."""
        dropped = torch.rand(len(chosen), generator=draws, device=chosen.device) < self.dropout
        return self.classes.to(chosen.device)[chosen].masked_fill(dropped, self.null)


def denoising_loss(
    unet: nn.Module,
    images: Tensor,
    schedule: DiscreteVP,
    recipe: Recipe,
    *,
    labels: Labels | None = None,
    bf16: bool = False,
    predict: Predict | None = None,
) -> Callable[[int], Tensor]:
    """DDPM's simple loss (arXiv 2006.11239, eq. 14) at a step: predict eps from x_t at an index drawn uniformly.

    Args:
        unet: diffusers network.
        images: (N, C, H, W) float32 in the value range that the network works in, or uint8, mapped to [-1, 1]; moved
            to the network's device whole.
        schedule: the discrete schedule that the indices belong to.
        recipe: gives batch, seed and flips.
        labels: of a class-conditional network.
        bf16: whether the network runs in bfloat16 where torch's autocast does that; weights stay float32.
        predict: called instead of the network, whose compiled form it is; None: the network itself.
    """
    device = next(unet.parameters()).device
    images = images.to(device)
    levels = [schedule.level((n + 1) / schedule.train_steps) for n in range(schedule.train_steps or 0)]
    alpha = torch.tensor([level.alpha for level in levels], dtype=torch.float32, device=device)[:, None, None, None]
    sigma = torch.tensor([level.sigma for level in levels], dtype=torch.float32, device=device)[:, None, None, None]
    evaluate = unet if predict is None else predict  # a compiled module has no truth value

    def loss_of(step: int) -> Tensor:
        draws = step_generator(recipe.seed, step, device)
        chosen = torch.randint(len(images), (recipe.batch,), generator=draws, device=device)
        index = torch.randint(len(levels), (recipe.batch,), generator=draws, device=device)
        eps = torch.randn(recipe.batch, *images.shape[1:], generator=draws, device=device)
        x_0 = _to_range(images[chosen])
        if recipe.flips:
            x_0 = _mirror(x_0, torch.rand(recipe.batch, generator=draws, device=device) < 0.5)
        x_t = alpha[index] * x_0 + sigma[index] * eps
        given = {} if labels is None else {"class_labels": labels.given(chosen, draws)}
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            predicted = evaluate(x_t, index, **given, return_dict=False)[0]
        return functional.mse_loss(predicted.float(), eps)

    return loss_of


def vae_loss(vae: Vae, images: Tensor, recipe: Recipe) -> Callable[[int], Tensor]:
    """The negative evidence lower bound at a step, of images (N, C, H, W), float32 in [-1, 1]."""

    def loss_of(step: int) -> Tensor:
        draws = step_generator(recipe.seed, step)
        chosen = torch.randint(len(images), (recipe.batch,), generator=draws)
        eps = torch.randn(recipe.batch, *vae.decoder.latent_shape, generator=draws)
        loss: Tensor = vae(images[chosen], eps)
        return loss

    return loss_of


def shifting_loss(network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> Callable[[int], Tensor]:
    """Cross-entropy at a step on a batch that is shifted by up to one pixel, with label smoothing 0.1.

    Args:
        network: maps uint8 images to (features, logits).
        images: (N, C, H, W) uint8.
        labels: (N,) integer classes.
        recipe: gives batch and seed.
    """
    height, width = images.shape[2:]

    def loss_of(step: int) -> Tensor:
        draws = step_generator(recipe.seed, step)
        chosen = torch.randint(len(images), (recipe.batch,), generator=draws)
        down, right = (int(shift) for shift in torch.randint(0, 3, (2,), generator=draws))
        shifted = functional.pad(images[chosen], (1, 1, 1, 1))[:, :, down : down + height, right : right + width]
        return functional.cross_entropy(network(shifted)[1], labels[chosen], label_smoothing=0.1)

    return loss_of


def cropping_loss(
    network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, pad: int, *, bf16: bool = False
) -> Callable[[int], Tensor]:
    """Cross-entropy at a step on images that are each cropped out of a larger one, with label smoothing 0.1.

    Every image is taken once an epoch, in an order of its own.

    Args:
        network: maps uint8 images to (features, logits).
        images: (N, C, H, W) uint8, moved to the network's device whole.
        labels: (N,) integer classes.
        recipe: gives batch, seed and flips.
        pad: pixels that an image is continued by, mirrored, on each side before the crop.
        bf16: as in `denoising_loss`.
    """
    device = next(network.parameters()).device
    images, labels = images.to(device), labels.to(device)

    def loss_of(step: int) -> Tensor:
        draws = step_generator(recipe.seed, step, device)
        chosen = epoch_batch(len(images), recipe, step).to(device, non_blocking=True)
        moves = torch.randint(-pad, pad + 1, (2, recipe.batch), generator=draws, device=device)
        mirrored = torch.rand(recipe.batch, generator=draws, device=device) < 0.5
        cropped = crop(images[chosen], moves, mirrored if recipe.flips else torch.zeros_like(mirrored))
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = network(cropped)[1]
        return functional.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.1)

    return loss_of


def epoch_batch(count: int, recipe: Recipe, step: int) -> Tensor:
    """The numbers (batch,) of the images of a step, where each of `count` comes once before any comes again."""
    numbers = torch.arange(step * recipe.batch, (step + 1) * recipe.batch)
    epochs = numbers // count
    orders = {
        epoch: torch.randperm(count, generator=step_generator(recipe.seed, -1 - epoch))
        for epoch in epochs.unique().tolist()
    }
    return torch.cat([order[numbers[epochs == epoch] % count] for epoch, order in orders.items()])


def crop(images: Tensor, moves: Tensor, mirrored: Tensor) -> Tensor:
    """Each image (N, C, H, W) moved by its own pixels, continued by its mirror image, and mirrored where told to.

    Args:
        images: of any dtype.
        moves: (2, N) integers, up and to the left, less than H and W in size.
        mirrored: (N,) bool: left to right.
    """
    rows, columns = (
        _reflected(torch.arange(size, device=images.device) + move[:, None], size)
        for size, move in zip(images.shape[2:], moves, strict=True)
    )
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    numbers = torch.arange(len(images), device=images.device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[:, None, None]
    return images[numbers, channels, rows[:, None, :, None], columns[:, None, None, :]]


def _reflected(at: Tensor, size: int) -> Tensor:
    at = at.abs()
    return torch.where(at >= size, 2 * (size - 1) - at, at)


def _to_range(images: Tensor) -> Tensor:
    return images if images.is_floating_point() else images.float() / 127.5 - 1.0


def _mirror(images: Tensor, which: Tensor) -> Tensor:
    return torch.where(which[:, None, None, None], images.flip(3), images)
