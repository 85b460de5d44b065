"""From latents to images and back: the autoencoder of a latent model, which no sampler knows of.

Latents are those that the network works on, scaled as the decoder's card says. Encoding takes the mode of what an
encoder says, not a sample, so that nothing is drawn.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.cards.decoder_card import AUTOENCODERS, DecoderCard
from models.common.errors import UsageError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Autoencoder:
    """A decoder on its device, with the encoder beside it if there is one.

    Args:
        module: with its weights; one of diffusers', or a plugin's, which decodes when it is called.
        card: what it is.
    """

    def __init__(self, module: nn.Module, card: DecoderCard) -> None:
        self.module, self.card = nn.Module.to(module, dtype=_DTYPES[card.dtype]), card
        own = cast(Any, module)
        self._is_diffusers = card.kind in AUTOENCODERS
        self._decode: Callable[[Tensor], Any] = own.decode if self._is_diffusers else module

    def decode(self, latents: Tensor) -> Tensor:
        """Images (N, C, H, W) of latents (N, c, h, w), both float32, in the value range that the model's card says."""
        z = latents / self.card.scaling_factor + self.card.shift_factor
        found = self._decode(z.to(_DTYPES[self.card.dtype]))
        images: Tensor = found.sample if self._is_diffusers else found
        return images.float()

    def encode(self, images: Tensor) -> Tensor:
        """Latents (N, c, h, w) of images (N, C, H, W); UsageError for a plugin's decoder, which has no encoder."""
        if not self._is_diffusers:
            raise UsageError(f"decoder {self.card.kind!r} has no encoder, so that real images have no latents here")
        found = cast(Any, self.module).encode(images.to(_DTYPES[self.card.dtype]))
        z: Tensor = found.latent_dist.mode() if self.card.kind == "autoencoder-kl" else found.latents
        return (z.float() - self.card.shift_factor) * self.card.scaling_factor
