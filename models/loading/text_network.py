"""Networks of text-to-image pipelines beside the embeddings of the prompts that their labels number."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from models.cards.card import Card
from models.common.errors import UsageError
from models.text.encoders import Encoders, find_encoders
from models.text.encoding import embeddings, refuse_too_large
from models.text.pipelines import TextPipeline
from models.text.prompted import prompted
from models.text.prompts import Prompts, read_prompts


def prompts_of(card: Card) -> Prompts | None:
    """The prompts of a model of text; None of any other. UsageError if they are no longer those of its card."""
    if card.prompts is None:
        return None
    prompts = read_prompts(card.prompts)
    if prompts.sha256 != card.prompts_sha256:
        raise UsageError(f"{card.prompts.file} was changed while it was used; start again")
    return prompts


def encode(
    folder: Path, pipeline: TextPipeline, card: Card, needed: int | None, device: torch.device, bytes_a_number: int
) -> tuple[Encoders, dict[str, Tensor]]:
    """The encoders of a folder, and tables of what they make of the first prompts; see `embeddings`.

    Args:
        folder: of the model.
        pipeline: that it is.
        card: which names the prompts.
        needed: images that are made, 0: none; None: it is not known.
        device: that the tables are to go to, where the encoders work.
        bytes_a_number: of the tables there.
    """
    prompts = prompts_of(card)
    assert prompts is not None, "of text"
    assert card.prompts is not None, "of text"
    encoders, count = find_encoders(folder, pipeline), len(prompts.texts)
    wanted = count if needed is None else min(count, needed)
    check = partial(refuse_too_large, wanted, device, bytes_a_number)
    return encoders, embeddings(encoders, prompts, card.prompts, wanted, device, check)


def with_prompts(pipeline: TextPipeline, network: nn.Module, card: Card, tables: Mapping[str, Tensor]) -> nn.Module:
    """A pipeline's network beside its tables, called as all networks are here."""
    assert isinstance(card.null_label, int), "see describe_text"
    return prompted(pipeline, network, tables, card.null_label, card.shape, card.guidance_embedding)
