"""Text-to-image pipelines in folders as diffusers saves them, without a card of ours: the card that follows.

No weights are read and torch is not imported.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.cards.card import Card
from models.cards.changes import Changes, make_card
from models.common.errors import UsageError
from models.common.files import read_json
from models.loading.diffusers_folder import latent_fields, scheduler_fields
from models.loading.hub import PREFIX
from models.loading.layout import CONFIG, PIPELINE, Layout
from models.text.pipelines import TextPipeline, check_unet, default_side, latent_channels, missing_file
from models.text.prompts import read_prompts

DISTILLED_SCALE = 3.5
"""Of guidance in FLUX.1 dev, where nothing else is said: the default of its pipeline."""


def describe_text(folder: Path, layout: Layout, name: str, origin: str, changes: Changes | None) -> Card:
    """The card that follows from the configurations of a text-to-image pipeline and a study's prompts; no weights are
    read, and `files` stays empty.

    UsageError if it cannot be used here, or the study says no prompts.
    """
    pipeline, changes = layout.text, changes or Changes()
    assert pipeline is not None, "see Layout"
    path = folder / layout.path(CONFIG)
    config, vae = read_json(path), read_json(folder / "vae" / CONFIG)
    _check(pipeline, config, vae, folder)
    if not origin.startswith(PREFIX) and (missing := missing_file(folder, pipeline)) is not None:
        raise UsageError(
            f"{folder} has no {missing}, which {PIPELINE} names: prompts cannot be encoded. Download the whole "
            "repository"
        )
    if changes.prompts is None:
        raise UsageError(
            f'{origin} is a {pipeline.name}, which makes images of prompts: say which, as prompts = "FILE" in the '
            "study or --prompts FILE, one prompt a line or a column of a .csv file"
        )
    if changes.classes is not None or changes.null_label is not None:
        raise UsageError(
            f"{origin}: its labels are the numbers of prompts; leave classes and null_label out of the study's "
            "[checkpoint] table"
        )
    if changes.prompts.tokens is not None and pipeline.family in ("sd", "sdxl"):
        raise UsageError(f"{origin} is a {pipeline.name}, which has no T5: leave tokens out of the study's prompts")
    prompts = read_prompts(changes.prompts)
    content: dict[str, Any] = {
        "schema_version": 1,
        "name": name,
        "description": f"diffusers {pipeline.name} from {origin}",
        "architecture": pipeline.architecture,
        "classes": len(prompts.texts),
        "null_label": len(prompts.texts),
        "prompts": changes.prompts,
        "prompts_sha256": prompts.sha256,
        "files": {},
    }
    content |= scheduler_fields(folder, layout, changes)
    channels = latent_channels(pipeline, config, path, vae.get("latent_channels", 4))
    height, width = _sides(pipeline, config, vae, changes, path)
    content |= latent_fields(folder / "vae" / CONFIG, "vae", (channels, height, width))
    card = make_card(content | _of_family(pipeline, config), changes, str(folder))
    if card.guidance_embedding is not None and not config.get("guidance_embeds"):
        raise UsageError(
            f"{path}: guidance_embedding = {card.guidance_embedding:g}, but the network is given no guidance scale "
            "(guidance_embeds); leave it out, and take a guidance such as cfg[scale=4]"
        )
    return card


def _check(pipeline: TextPipeline, config: Mapping[str, Any], vae: Mapping[str, Any], folder: Path) -> None:
    if pipeline.network == "unet":
        check_unet(pipeline, config, folder / "unet" / CONFIG)
    own = [key for key in ("latents_mean", "latents_std") if vae.get(key) is not None]
    if own:
        raise UsageError(
            f"{folder / 'vae' / CONFIG}: latents that are scaled by channel ({' and '.join(own)}) are not supported"
        )


def _sides(
    pipeline: TextPipeline, config: Mapping[str, Any], vae: Mapping[str, Any], changes: Changes, path: Path
) -> tuple[int, int]:
    """The height and width of a latent: of the resolution that the study says, else the pipeline's own."""
    if changes.resolution is None:
        return default_side(pipeline, config, path)
    multiple = 2 ** (len(vae.get("block_out_channels", (0,))) - 1)
    height, width = changes.resolution
    if height % (multiple * pipeline.patch) or width % (multiple * pipeline.patch):
        raise UsageError(
            f"resolution {height} x {width} with {path.parent.parent}: expected multiples of "
            f"{multiple * pipeline.patch}, by which its decoder enlarges latents and its network takes them"
        )
    return height // multiple, width // multiple


def _of_family(pipeline: TextPipeline, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a pipeline does otherwise than its scheduler's configuration says."""
    if pipeline.family == "sd":
        return {"clip": None}  # StableDiffusionPipeline switches clip_sample off, whatever its scheduler's file says
    if pipeline.family == "flux":
        scale = DISTILLED_SCALE if config.get("guidance_embeds") else None
        return {"time_scale": 1.0, "guidance_embedding": scale}  # it is given t itself
    return {}
