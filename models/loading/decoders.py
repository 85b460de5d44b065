"""What makes images of latents: the decoder of a latent model, and one that is a model itself."""

from pathlib import Path

import torch
from torch import nn

from models.architectures import make_network
from models.cards.card import Card
from models.cards.decoder_card import AUTOENCODERS, DecoderCard
from models.common.errors import UsageError
from models.common.files import read_json
from models.loading.layout import CONFIG, weight_files, within
from models.loading.sources import CARD
from models.loading.weights import load_diffusers, load_weights
from models.networks.autoencoder import Autoencoder
from models.networks.vae import Decoder
from models.plugins.foreign import foreign


def decoder_files(folder: Path, card: Card) -> list[str]:
    """The files that a card must list of its decoder."""
    if card.decoder is None:
        return []
    part, config = card.decoder.folder, within(card.decoder.folder, CONFIG)
    if not (folder / part).is_dir():
        raise UsageError(f"{folder} has no folder {part!r}, where the card's decoder is: latents cannot be decoded")
    has_config = card.decoder.kind in AUTOENCODERS or (folder / config).is_file()
    return [*([config] if has_config else []), *weight_files(folder, part)]


def autoencoder(folder: Path, card: Card, device: torch.device) -> Autoencoder | None:
    """The decoder of a card's latents on a device, tried on one; None for a model of images."""
    if card.decoder is None:
        return None
    decoder = Autoencoder(_decoder_module(folder, card.decoder).to(device), card.decoder)
    origin = f"{folder / card.decoder.folder}: decoder {card.decoder.kind!r}"
    latent, expected = torch.zeros((1, *card.decoder.latent_shape), device=device), (1, *card.shape)
    with foreign(f"{origin} failed on a latent of shape {card.decoder.latent_shape}"), torch.inference_mode():
        found = decoder.decode(latent)
    if found.shape != expected:
        raise UsageError(f"{origin} gave images of shape {tuple(found.shape)}; expected {expected}, as the card says")
    return decoder


def _decoder_module(folder: Path, card: DecoderCard) -> nn.Module:
    weights = weight_files(folder, card.folder)
    if card.kind in AUTOENCODERS:
        return load_diffusers(AUTOENCODERS[card.kind], folder, card.folder, weights)
    path = folder / card.folder / CONFIG
    config = read_json(path) if path.is_file() else {}
    module = make_network(card.kind, config, str(path) if config else f"{folder / CARD}: [decoder]")
    return load_weights(module, folder / weights[0])


def generator(folder: Path, card: Card, weights: str) -> nn.Module:
    try:
        decoder = Decoder.from_config(read_json(folder / CONFIG))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{folder / CONFIG} does not describe a decoder: {error}") from None
    shapes = (decoder.latent_shape, decoder.image_shape)
    if shapes != (card.state_shape, card.shape):
        raise UsageError(
            f"{folder}: {CONFIG} has noise and images of shapes {shapes}, but the card's are "
            f"{(card.state_shape, card.shape)}"
        )
    return load_weights(decoder, folder / weights, card.state_key, card.ignore)
