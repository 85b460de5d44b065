"""The `[decoder]` of a card: what makes images of the latents that a network works on."""

from typing import Annotated, Literal

from pydantic import Field

from models.cards.schedule_cards import Strict

AUTOENCODERS = {"autoencoder-kl": "AutoencoderKL", "vq": "VQModel", "autoencoder-tiny": "AutoencoderTiny"}
"""Kinds that diffusers builds, with its classes. Any other is a name that a plugin registers."""

_Side = Annotated[int, Field(ge=1, le=65_536)]


class DecoderCard(Strict):
    """How latents become images: those of the network are scaling_factor (z - shift_factor) for the decoder's own z.

    Attributes:
        kind: of `AUTOENCODERS`, or the name of an architecture of a plugin (`models.architectures`), which is called
            with z (N, C, h, w) and gives images.
        latent_shape: (C, h, w) of a latent, which is the state that samplers walk.
        scaling_factor, shift_factor: as diffusers' autoencoders have them in their configuration.
        folder: where config.json and weights are, inside the model's folder.
        dtype: what it computes in, whatever the mode of the network.
    """

    kind: Annotated[str, Field(pattern=r"^\S+$")]
    latent_shape: tuple[_Side, _Side, _Side] = Field(strict=False)
    scaling_factor: float = Field(default=1.0, gt=0)
    shift_factor: float = 0.0
    folder: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "vae"
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
