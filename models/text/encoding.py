"""Embeddings of prompts by a pipeline's own text encoders: worked out once, and kept on disk.

The pipeline's own `encode_prompt` makes them, of a pipeline that has its encoders and tokenizers alone, in batches of
`CHUNK` prompts; each batch is a file that is named by the hash of all that it depends on. The encoders are in memory
only while something is missing there.
"""

import gc
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from models.cards.prompts_card import PromptsChoice
from models.common.errors import Notice, NotWritten, UsageError
from models.common.files import INDEX, read_json, refuse_programs, sha256_of, shards_of
from models.common.kept import Found, Kept, data_root
from models.common.program import bring
from models.common.words import counted
from models.networks.execution import arithmetic
from models.text.pipelines import Encoder, TextPipeline
from models.text.prompts import Prompts

CHUNK = 16
"""Prompts that are encoded at a time, and kept in one file: 4 MB of SD 1.5's, 128 MB of FLUX's."""

_MODEL = "model.safetensors"
_ENCODING = 1
"""Number of the way in which embeddings are made here; another one makes those of before count as none."""

_TOKENS = {"sd3": 256, "flux": 512}
"""Of T5, where nothing else is said: the defaults of max_sequence_length in the pipelines."""

_SHOWN = 60  # characters of a prompt in a message


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
    for name in (_MODEL, f"{_MODEL}{INDEX}"):
        path = folder / part / name
        if not path.is_file():
            continue
        names = [name, *shards_of(path)] if name.endswith(INDEX) else [name]
        missing = [each for each in names if not (path.parent / each).is_file()]
        if missing:
            raise UsageError(f"{path} lists {missing[0]}, which is missing")
        for each in names:
            refuse_programs(path.parent / each)
        return [f"{part}/{each}" for each in names]
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


def embeddings(
    encoders: Encoders,
    prompts: Prompts,
    choice: PromptsChoice,
    needed: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Tables of embeddings on the CPU, (needed + 1, ...) by name: of the first prompts, and of the negative one.

    Args:
        encoders: that make them.
        prompts: all there are.
        choice: what the study says of them.
        needed: how many of the first are looked up.
        device: that they are worked out on, where they are not kept yet.
        dtype: that the encoders compute in.

    Raises:
        UsageError: no transformers, or encoders that cannot be loaded, or give what is no number.
    """
    tokens = choice.tokens or _TOKENS.get(encoders.pipeline.family)
    maker = _Maker(encoders, tokens, device, dtype)
    texts = prompts.texts[: -(-needed // CHUNK) * CHUNK]
    tables, cut = dict[str, Tensor](), 0
    try:
        for first in range(0, needed, CHUNK):
            found = maker.of(texts[first : first + CHUNK], negative=False)
            cut += int(found.said["cut"])
            for name, part in found.tensors.items():
                if name not in tables:
                    tables[name] = part.new_empty((needed + 1, *part.shape[1:]))
                tables[name][first : min(first + CHUNK, needed)] = part[: needed - first]
        of_none = maker.of((prompts.negative,), negative=True)
        shortened = of_none.said["cut"] != "0"
        for name, part in of_none.tensors.items():
            tables[name][needed] = part[0]
    finally:
        maker.release()
    _tell_cut(cut, len(texts), shortened, str(encoders.folder))
    return tables


def _tell_cut(cut: int, of: int, negative: bool, folder: str) -> None:
    """A Notice of prompts of whose ends the encoders know nothing."""
    said = [f"{cut:,} of the first {of:,} prompts"] if cut else []
    said += ["the negative prompt"] if negative else []
    if said:
        warnings.warn(
            f"the text encoders of {folder} take so many tokens that {' and '.join(said)} had to be cut off at the "
            "end, as by its pipeline",
            Notice,
            stacklevel=3,
        )


class _Maker:
    """Embeddings of texts: those that are kept, or new ones."""

    def __init__(self, encoders: Encoders, tokens: int | None, device: torch.device, dtype: torch.dtype) -> None:
        self._encoders, self._tokens, self._device, self._dtype = encoders, tokens, device, dtype
        self._kept = Kept(data_root() / "embeddings")
        self._pipe: Any = None

    def of(self, texts: Sequence[str], *, negative: bool) -> Found:
        encoders = self._encoders
        content = {
            "what": "embeddings",
            "way": _ENCODING,
            "pipeline": encoders.pipeline.name,
            "encoders": dict(encoders.files),
            "texts": list(texts),
            "negative": negative,
            "empty": encoders.empty,
            "wide": encoders.wide,
            "tokens": self._tokens,
            "dtype": str(self._dtype),
            "device": self._device.type,
            **{name: _version(name) for name in ("torch", "diffusers", "transformers")},
        }
        if (kept := self._kept.get(content)) is not None:
            return kept
        if self._pipe is None:
            self._pipe = _load(encoders, self._device, self._dtype)
        made = self._made(list(texts), negative=negative)
        try:
            self._kept.put(content, made)
        except NotWritten as error:
            warnings.warn(f"embeddings of prompts are not kept, and worked out again: {error}", Notice, stacklevel=2)
        return made

    def _made(self, texts: list[str], *, negative: bool) -> Found:
        family = self._encoders.pipeline.family
        with _quiet(), torch.no_grad(), arithmetic("fp32"):
            found = _FAMILIES[family](self._pipe, texts, negative, self._tokens, self._device)
            cut = sum(_is_cut(self._pipe, self._encoders.found, text, self._tokens) for text in texts)
        tensors = {name: tensor.float().cpu().contiguous() for name, tensor in found.items()}
        for name, tensor in tensors.items():
            if not bool(tensor.isfinite().all()):
                raise UsageError(
                    f"the text encoders of {self._encoders.folder} give what is no number ({name}) for "
                    f"{texts[0][:_SHOWN]!r} and what follows it: their weights are damaged"
                )
        return Found(tensors, {"cut": str(cut)})

    def release(self) -> None:
        """Give back the memory of the encoders."""
        if self._pipe is None:
            return
        self._pipe = None
        gc.collect()  # modules refer to themselves in circles
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _version(name: str) -> str:
    try:
        return version(name)
    except ImportError:
        return "none"


def _is_cut(pipe: Any, encoders: Sequence[Encoder], text: str, tokens: int | None) -> bool:
    """Whether some tokenizer takes the beginning of a text alone."""
    for each in encoders:
        tokenizer = getattr(pipe, each.tokenizer)
        most = tokens if each.architecture.startswith("T5") else tokenizer.model_max_length
        if most is not None and len(tokenizer(text).input_ids) > most:
            return True
    return False


def _load(encoders: Encoders, device: torch.device, dtype: torch.dtype) -> Any:
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
    with _quiet():
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


def _encode_sd(
    pipe: Any, texts: list[str], negative: bool, tokens: int | None, device: torch.device
) -> dict[str, Tensor]:
    if not negative:
        return {"hidden": pipe.encode_prompt(texts, device, 1, False)[0]}
    return {"hidden": pipe.encode_prompt([""], device, 1, True, negative_prompt=texts)[1]}


def _encode_sdxl(
    pipe: Any, texts: list[str], negative: bool, tokens: int | None, device: torch.device
) -> dict[str, Tensor]:
    if not negative:
        found = pipe.encode_prompt(texts, device=device, do_classifier_free_guidance=False)
        return {"hidden": found[0], "pooled": found[2]}
    found = pipe.encode_prompt([""], device=device, negative_prompt=texts if texts[0] else None)
    return {"hidden": found[1], "pooled": found[3]}


def _encode_sd3(
    pipe: Any, texts: list[str], negative: bool, tokens: int | None, device: torch.device
) -> dict[str, Tensor]:
    said = {"prompt_2": None, "prompt_3": None, "device": device, "max_sequence_length": tokens}
    if not negative:
        found = pipe.encode_prompt(texts, do_classifier_free_guidance=False, **said)
        return {"hidden": found[0], "pooled": found[2]}
    found = pipe.encode_prompt([""], negative_prompt=texts, **said)
    return {"hidden": found[1], "pooled": found[3]}


def _encode_flux(
    pipe: Any, texts: list[str], negative: bool, tokens: int | None, device: torch.device
) -> dict[str, Tensor]:
    found = pipe.encode_prompt(texts, device=device, max_sequence_length=tokens)
    return {"hidden": found[0], "pooled": found[1]}


_FAMILIES: dict[str, Callable[[Any, list[str], bool, int | None, torch.device], dict[str, Tensor]]] = {
    "sd": _encode_sd,
    "sdxl": _encode_sdxl,
    "sd3": _encode_sd3,
    "flux": _encode_flux,
}
"""What encodes texts, or a negative prompt, by family."""


@contextmanager
def _quiet() -> Iterator[None]:
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


def refuse_too_large(tables: Mapping[str, Tensor], device: torch.device, bytes_a_number: int) -> None:
    """UsageError for tables that a device's free memory does not hold."""
    if device.type != "cuda":
        return
    size, free = sum(table.numel() for table in tables.values()) * bytes_a_number, torch.cuda.mem_get_info(device)[0]
    if size > free:
        rows = next(iter(tables.values())).shape[0] - 1
        raise UsageError(
            f"the embeddings of {counted(rows, 'prompt')} take {size / 2**30:.1f} GiB, and {device} has "
            f"{free / 2**30:.1f} GiB free: make fewer images, or give fewer prompts, which images share"
        )
