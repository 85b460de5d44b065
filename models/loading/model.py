"""A model that is loaded: a network with its schedule, and what its results depend on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from models.cards.card import Card
from models.denoiser import Clip, Denoiser
from models.guidance import Guidance
from models.guidance.guided import Guided
from models.networks.autoencoder import Autoencoder
from models.networks.modes import Mode
from models.networks.network import Network
from models.schedule import Schedule
from models.text.prompts import Prompts


@dataclass(frozen=True)
class Model:
    """A network ready to be sampled, with all that its results depend on.

    Attributes:
        card: its description.
        folder: where its files are.
        network: maps a state in the scale of the card's value range (a decoder: standard normal noise) and its level,
            with a third argument of labels if the card has classes, to the output that its parametrisation names; with
            a learned variance in as many channels more.
        schedule: the noise schedule.
        sha256: hash of the card's content that matters and of all weights; changes when any result could.
        weights_sha256: hash of the weights alone, as a study may pin it (`Changes.weights_sha256`); None: not known.
        source: the name of an embedded model, the folder as it was given, or hf:owner/name@commit.
        mode: how the network is executed.
        decoder: of the latents that its network works on; None: it works on images.
        prompts: that its labels are the numbers of; None: it takes none.
    """

    card: Card
    folder: Path
    network: Network
    schedule: Schedule
    sha256: str
    source: str
    weights_sha256: str | None = None
    mode: Mode = field(default_factory=Mode)
    decoder: Autoencoder | None = None
    prompts: Prompts | None = None

    def guided(
        self,
        guidance: Guidance,
        weaker: Callable[..., Tensor] | None = None,
        network: Callable[..., Tensor] | None = None,
        *,
        together: bool = True,
    ) -> Guided:
        """Its network under guidance; see `Guided`. `network` is asked instead of its own, which it wraps."""
        card = self.card
        return Guided(
            network or self.network,
            guidance,
            card.parametrisation,
            card.null_label,
            weaker,
            learns_variance=card.learns_variance,
            together=together,
            channels=card.guided_channels,
        )

    def decoded(self, samples: Tensor) -> Tensor:
        """Images (N, C, H, W) of what a sampler gave: itself, or decoded where it is latents."""
        return samples if self.decoder is None else self.decoder.decode(samples)

    def denoiser(
        self,
        clip: Clip | None = None,
        labels: Tensor | None = None,
        guided: Guided | None = None,
        network: Callable[..., Tensor] | None = None,
        fitted: Any = None,
    ) -> Denoiser:
        """As samplers see it; see `Denoiser`.

        Args:
            clip, labels, fitted: as `Denoiser` has them.
            guided: its network under guidance; None: without.
            network: asked instead of these, which it wraps.
        """
        evaluate = network or guided or self.network
        parametrisation = self.card.parametrisation if guided is None else guided.parametrisation
        return Denoiser(
            evaluate,
            parametrisation,
            self.schedule,
            clip,
            labels,
            learns_variance=self.card.learns_variance,
            fitted=fitted,
        )
