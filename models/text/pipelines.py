"""Text-to-image pipelines as diffusers saves them: which are known, of what parts, and why others are refused.

Known is what steps a scheduler, with a network that is given the state, its level and the embeddings of a prompt. The
loop, the levels and the noise are ours; of a pipeline only its encoders, its network and its decoder are taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.common.errors import UsageError
from models.common.files import read_json

_CLIP = ("CLIPTokenizer", "CLIPTokenizerFast")
_T5 = ("T5Tokenizer", "T5TokenizerFast")
_PASSED_OVER = ("safety_checker", "feature_extractor")
"""Parts that look at finished images."""


@dataclass(frozen=True)
class Encoder:
    """A text encoder of transformers, with its tokenizer.

    Attributes:
        folder, tokenizer: where they are in a pipeline's folder.
        architecture: the encoder's class.
        tokenizers: classes that the tokenizer may be of; the first is taken.
        optional: whether the pipeline also works without it.
    """

    folder: str
    architecture: str
    tokenizer: str
    tokenizers: tuple[str, ...] = _CLIP
    optional: bool = False


@dataclass(frozen=True)
class TextPipeline:
    """A pipeline of diffusers that is known.

    Attributes:
        name: its class.
        family: what its network is given beside the state; see `models.text.prompted`.
        network: the folder of its network.
        architecture: the network's class.
        encoders: its text encoders.
        patch: sides of a latent are multiples of it.
    """

    name: str
    family: Literal["sd", "sdxl", "sd3", "flux"]
    network: str
    architecture: str
    encoders: tuple[Encoder, ...]
    patch: int = 1

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """What has to be in its folder, with the classes that it may be of; of schedulers any."""
        found: dict[str, tuple[str, ...]] = {
            self.network: (self.architecture,),
            "vae": ("AutoencoderKL",),
            "scheduler": (),
        }
        for each in self.encoders:
            found |= {each.folder: (each.architecture,), each.tokenizer: each.tokenizers}
        return found

    def encoders_in(self, index: Mapping[str, Any]) -> tuple[Encoder, ...]:
        """Those that a model_index.json has: optional ones may be left out."""
        return tuple(each for each in self.encoders if not each.optional or each.folder in parts_of(index))


_PLAIN = Encoder("text_encoder", "CLIPTextModel", "tokenizer")
_PROJECTED = Encoder("text_encoder", "CLIPTextModelWithProjection", "tokenizer")
_SECOND = Encoder("text_encoder_2", "CLIPTextModelWithProjection", "tokenizer_2")
PIPELINES = {
    each.name: each
    for each in (
        TextPipeline("StableDiffusionPipeline", "sd", "unet", "UNet2DConditionModel", (_PLAIN,)),
        TextPipeline("StableDiffusionXLPipeline", "sdxl", "unet", "UNet2DConditionModel", (_PLAIN, _SECOND)),
        TextPipeline(
            "StableDiffusion3Pipeline",
            "sd3",
            "transformer",
            "SD3Transformer2DModel",
            (_PROJECTED, _SECOND, Encoder("text_encoder_3", "T5EncoderModel", "tokenizer_3", _T5, optional=True)),
            patch=2,
        ),
        TextPipeline(
            "FluxPipeline",
            "flux",
            "transformer",
            "FluxTransformer2DModel",
            (_PLAIN, Encoder("text_encoder_2", "T5EncoderModel", "tokenizer_2", _T5)),
            patch=2,
        ),
    )
}
"""By their classes. SD 1.x and 2.x, SDXL, SD 3 and 3.5, FLUX.1 dev and schnell."""

_MORE = {
    "LatentConsistency": "an LCM is given the guidance scale in a way of its own, and walks a path of its own",
    "Img2Img": "it starts from an image, not from noise",
    "Inpaint": "it fills in a part of an image",
    "Fill": "it fills in a part of an image",
    "Upscale": "it starts from an image",
    "InstructPix2Pix": "it edits an image",
    "Kontext": "it edits an image",
    "Depth2Img": "it is given the depth of an image",
    "Control": "it is given another image for control",
    "Adapter": "it is given another image",
    "Redux": "it is given another image",
    "PAG": "its guidance changes the network's attention",
    "SAG": "its guidance changes the network's attention",
    "LEdits": "it edits an image",
}
"""What pipelines do beyond stepping a scheduler, by what their names hold."""


def parts_of(index: Mapping[str, Any]) -> dict[str, str]:
    """The parts of a pipeline that it has, with their classes."""
    return {
        name: str(value[1])
        for name, value in index.items()
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and value[1] is not None
    }


def known_pipeline(path: Path) -> TextPipeline | None:
    """The text-to-image pipeline of a model_index.json; None if it takes no text.

    UsageError for one that is not known, or not of its parts; says why.
    """
    index = read_json(path)
    name, parts = str(index.get("_class_name")), parts_of(index)
    if name not in PIPELINES:
        if any(part.startswith(("text_encoder", "tokenizer")) for part in parts):
            raise _refused(path, name)
        return None
    pipeline = PIPELINES[name]
    _check_parts(path, pipeline, index)
    return pipeline


def _refused(path: Path, name: str) -> UsageError:
    why = next((why for part, why in _MORE.items() if part in name), None)
    said = "is not known" if why is None else f"does more than step a scheduler ({why})"
    return UsageError(
        f"{path} is a {name}: a pipeline with text that {said}, and is not supported. Expected one of "
        f"{', '.join(PIPELINES)}"
    )


def _check_parts(path: Path, pipeline: TextPipeline, index: Mapping[str, Any]) -> None:
    """UsageError for parts that are missing, of other classes, or would do more."""
    parts, wanted = parts_of(index), pipeline.parts
    if pipeline.family == "sdxl" and (index.get("requires_aesthetics_score") or "text_encoder" not in parts):
        raise UsageError(
            f"{path} is SDXL's refiner, which goes on from what another model has begun; it is not supported. Give the "
            "base model"
        )
    optional = {name for each in pipeline.encoders if each.optional for name in (each.folder, each.tokenizer)}
    missing = [name for name in wanted if name not in parts and name not in optional]
    if missing:
        raise UsageError(
            f"{path}: a {pipeline.name} needs {', '.join(wanted)}, but it has no {', '.join(missing)}; get the whole "
            "of it"
        )
    wrong = [name for name, classes in wanted.items() if classes and name in parts and parts[name] not in classes]
    if wrong:
        raise UsageError(
            f"{path}: {wrong[0]} is a {parts[wrong[0]]}; expected {' or '.join(wanted[wrong[0]])} in a {pipeline.name}"
        )
    more = sorted(set(parts) - set(wanted) - set(_PASSED_OVER))
    if more:
        raise UsageError(
            f"{path} has {more[0]} ({parts[more[0]]}), which a {pipeline.name} does not need for its images from text: "
            "what it does to them is not known here. Take it out of the file if it is to be left out"
        )


def missing_file(folder: Path, pipeline: TextPipeline) -> str | None:
    """A file or folder of an encoder or tokenizer that a folder does not have; None: all are there."""
    for each in pipeline.encoders_in(read_json(folder / "model_index.json")):
        for name in (f"{each.folder}/config.json", each.tokenizer):
            if not (folder / name).exists():
                return name
    return None


_ALSO_GIVEN = {1: "the depth of an image", 3: "the image that it enlarges", 4: "the image that it edits"}


def latent_channels(pipeline: TextPipeline, config: Mapping[str, Any], path: Path, expected: int) -> int:
    """The channels of the latents that a network works on; UsageError unless it is given these alone.

    Args:
        pipeline: it belongs to.
        config: of the network.
        path: where that stands.
        expected: channels of the decoder's latents.
    """
    packed = pipeline.patch**2 if pipeline.family == "flux" else 1
    given = config.get("in_channels", {"sd": 4, "sdxl": 4, "sd3": 16, "flux": 64}[pipeline.family])
    made = config.get("out_channels") or given
    if given == made == expected * packed:
        return expected
    raise UsageError(f"{path}: {_about(given, made, expected, packed)}")


def _about(given: int, made: int, expected: int, packed: int) -> str:
    """Why a network of so many channels in and out is not supported."""
    latents = f"the decoder's latents have {expected}" + (f", {expected * packed} as they are packed" * (packed > 1))
    said = f"its network is given {given} channels and makes {made}, but {latents}"
    more = given - expected
    if made == expected and packed == 1 and more == expected + 1:
        return f"{said}: it is for inpainting, given a mask and an image too, and is not supported"
    if made == expected and packed == 1 and more in _ALSO_GIVEN:
        return f"{said}: it is given {_ALSO_GIVEN[more]}, too, and is not supported"
    return f"{said}: they do not belong together, or it is given an image beside its latents, which is not supported"


_USUAL: dict[str, tuple[object, ...]] = {
    "time_cond_proj_dim": (None,),
    "class_embed_type": (None,),
    "encoder_hid_dim_type": (None,),
    "num_class_embeds": (None,),
}
_REASONS = {
    "time_cond_proj_dim": "an LCM, which is given the guidance scale in a way of its own",
    "encoder_hid_dim_type": "given embeddings of images",
}


def check_unet(pipeline: TextPipeline, config: Mapping[str, Any], path: Path) -> None:
    """UsageError for a U-Net that is given more than a pipeline gives it."""
    added = "text_time" if pipeline.family == "sdxl" else None
    for key, usual in {**_USUAL, "addition_embed_type": (added,)}.items():
        if (found := config.get(key)) not in usual:
            why = _REASONS.get(key, "given something else than the embeddings of a prompt")
            raise UsageError(
                f"{path}: {key} {found!r}; expected {usual[0]!r} of a {pipeline.name}: the network is {why}, which is "
                "not supported"
            )


def default_side(pipeline: TextPipeline, config: Mapping[str, Any], path: Path) -> tuple[int, int]:
    """The height and width of the latents that a pipeline makes where it is told none."""
    usual = {"sd": None, "sdxl": None, "sd3": 128, "flux": 128}[pipeline.family]
    size = usual if pipeline.family == "flux" else config.get("sample_size", usual)
    pair = [size, size] if isinstance(size, int) else size
    if not isinstance(pair, list) or len(pair) != 2 or not all(type(side) is int and side > 0 for side in pair):
        raise UsageError(f"{path}: sample_size {size!r}; expected the height and width of a latent, one number or two")
    return pair[0], pair[1]
