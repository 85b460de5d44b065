"""The text encoders of a pipeline's folder: which files they are, and the pipeline that has them alone.

Their classes are transformers' own that `models.text.pipelines` names: nothing that a folder names is imported.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch

from models.common.errors import UsageError
from models.common.files import INDEX, read_json, refuse_programs, sha256_of, with_shards
from models.common.program import bring
from models.common.words import counted
from models.text.pipelines import Encoder, TextPipeline

_MODEL = "model.safetensors"


@dataclass(frozen=True)
class Encoders:
    """The text encoders of a folder.

    Attributes:
        folder: of the model.
        pipeline: what it is.
        found: the encoders that it has.
        files: the sha256 of their files, and of the tokenizers', by their names in the folder.
        empty: whether a negative prompt of nothing is embeddings of zeros (force_zeros_for_empty_prompt).
        wide: numbers of an embedding, where one of the encoders is missing; see `_Stripped`.
    """

    folder: Path
    pipeline: TextPipeline
    found: tuple[Encoder, ...]
    files: Mapping[str, str]
    empty: bool
    wide: int | None


def encoder_patterns(pipeline: TextPipeline) -> list[str]:
    """The files of encoders and tokenizers, to be fetched from the hub."""
    found = list[str]()
    for each in pipeline.encoders:
        found += [f"{each.folder}/{name}" for name in ("config.json", _MODEL, "model-*-of-*.safetensors")]
        found += [f"{each.folder}/{_MODEL}{INDEX}"]
        found += [f"{each.tokenizer}/*{kind}" for kind in (".json", ".txt", ".model")]
    return found


def find_encoders(folder: Path, pipeline: TextPipeline) -> Encoders:
    """The encoders of a folder, with the hashes of their files.

    UsageError for one that is missing or has no weights that can be read without running code.
    """
    index = read_json(folder / "model_index.json")
    found, files = pipeline.encoders_in(index), list[str]()
    for each in found:
        files += [f"{each.folder}/config.json", *_weights(folder, each.folder), *_vocabulary(folder, each.tokenizer)]
    hashes = {name: sha256_of(folder / name) for name in files}
    wide = read_json(folder / pipeline.network / "config.json").get("joint_attention_dim")
    empty = index.get("force_zeros_for_empty_prompt", pipeline.family == "sdxl")
    return Encoders(folder, pipeline, found, hashes, bool(empty), wide if len(found) < len(pipeline.encoders) else None)


def _weights(folder: Path, part: str) -> list[str]:
    """The files of an encoder's weights, an index before its shards."""
    if found := with_shards(folder / part, (_MODEL, f"{_MODEL}{INDEX}")):
        for each in found:
            refuse_programs(folder / part / each)
        return [f"{part}/{each}" for each in found]
    there = sorted(path.name for path in (folder / part).glob("*") if path.is_file())
    raise UsageError(
        f"{folder / part} has no weights that are read here: expected {_MODEL} or {_MODEL}{INDEX}, as nothing is ever "
        f"unpickled; there is: {', '.join(there) or 'nothing'}. Where transformers loads it and you trust the file, "
        "save_pretrained writes safetensors"
    )


def _vocabulary(folder: Path, part: str) -> list[str]:
    """The files of a tokenizer."""
    kinds = (".json", ".txt", ".model")
    found = sorted(path.name for path in (folder / part).glob("*") if path.is_file() and path.suffix in kinds)
    if not found:
        raise UsageError(f"{folder / part} has no tokenizer; download the whole repository")
    return [f"{part}/{name}" for name in found]


def load_encoders(encoders: Encoders, device: torch.device, dtype: torch.dtype) -> Any:
    """The pipeline with its encoders and tokenizers alone; nothing that its folder names is imported."""
    try:
        import transformers
    except ImportError:
        raise UsageError(
            f"the prompts of {encoders.folder} are encoded by transformers, which comes with the extra 'text': "
            f"{bring('text')}"
        ) from None
    import diffusers  # seconds of import: only where prompts are encoded

    of_hub: Any = transformers
    parts: dict[str, Any] = {}
    with quiet():
        for each in encoders.found:
            parts[each.folder] = _encoder(of_hub, encoders.folder, each, dtype).to(device)
            parts[each.tokenizer] = _tokenizer(of_hub, encoders.folder, each)
        return _STRIPPED[encoders.pipeline.family](diffusers, parts, encoders)


def _encoder(transformers: Any, folder: Path, which: Encoder, dtype: torch.dtype) -> Any:
    try:
        module, info = getattr(transformers, which.architecture).from_pretrained(
            folder / which.folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
        )
    except Exception as error:  # of transformers, torch and safetensors, for configurations and weights alike
        raise UsageError(
            f"cannot load the text encoder {folder / which.folder}, a {which.architecture} (damaged, cut short, or "
            f"weights of another?): {str(error)[:600]}"
        ) from None
    lacking = sorted([*info["missing_keys"], *map(str, info["mismatched_keys"])])
    if lacking:
        raise UsageError(
            f"{folder / which.folder}: the weights do not fit a {which.architecture} of its config.json: "
            f"{counted(len(lacking), 'tensor')} missing or of another shape ({', '.join(lacking)[:250]})"
        )
    return module.eval().requires_grad_(False)


def _tokenizer(transformers: Any, folder: Path, which: Encoder) -> Any:
    try:
        return getattr(transformers, which.tokenizers[0]).from_pretrained(
            folder / which.tokenizer, local_files_only=True
        )
    except Exception as error:  # of transformers and tokenizers; sentencepiece may be missing, too
        raise UsageError(
            f"cannot load the tokenizer {folder / which.tokenizer}, a {which.tokenizers[0]} (damaged?): "
            f"{str(error)[:600]}"
        ) from None


def _stripped_sd(diffusers: Any, parts: dict[str, Any], encoders: Encoders) -> Any:
    none = dict.fromkeys(("vae", "unet", "scheduler", "safety_checker", "feature_extractor"))
    return diffusers.StableDiffusionPipeline(**parts, **none, requires_safety_checker=False)


def _stripped_sdxl(diffusers: Any, parts: dict[str, Any], encoders: Encoders) -> Any:
    none, zeros = dict.fromkeys(("vae", "unet", "scheduler")), encoders.empty
    return diffusers.StableDiffusionXLPipeline(
        **parts, **none, force_zeros_for_empty_prompt=zeros, add_watermarker=False
    )


def _stripped_sd3(diffusers: Any, parts: dict[str, Any], encoders: Encoders) -> Any:
    none = dict.fromkeys(("vae", "transformer", "scheduler"))
    third = {} if "text_encoder_3" in parts else dict.fromkeys(("text_encoder_3", "tokenizer_3"))
    pipe = diffusers.StableDiffusion3Pipeline(**parts, **third, **none)
    if third:  # zeros stand for T5, as wide as the transformer's config says
        pipe.transformer = SimpleNamespace(config=SimpleNamespace(joint_attention_dim=encoders.wide))
    return pipe


def _stripped_flux(diffusers: Any, parts: dict[str, Any], encoders: Encoders) -> Any:
    return diffusers.FluxPipeline(**parts, **dict.fromkeys(("vae", "transformer", "scheduler")))


_STRIPPED: dict[str, Callable[[Any, dict[str, Any], Encoders], Any]] = {
    "sd": _stripped_sd,
    "sdxl": _stripped_sdxl,
    "sd3": _stripped_sd3,
    "flux": _stripped_flux,
}
"""Pipelines with their encoders alone, by family."""


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' bars and warnings: what is cut off is told here, once for all prompts."""
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [each.level for each in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in loggers:
            each.setLevel(logging.CRITICAL)
        from_bars = _hide_bars()
        try:
            yield
        finally:
            from_bars()
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)


def _hide_bars() -> Callable[[], None]:
    """Switch transformers' bars off; what is returned puts them back."""
    try:
        from transformers.utils import logging as typed
    except ImportError:
        return lambda: None
    of_hub: Any = typed
    if not of_hub.is_progress_bar_enabled():
        return lambda: None
    of_hub.disable_progress_bar()
    return cast(Callable[[], None], of_hub.enable_progress_bar)
