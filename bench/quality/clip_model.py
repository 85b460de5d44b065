"""A CLIP of images and texts, as transformers saves it: found, checked, loaded from safetensors, and asked."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.quality.clip_pixels import Preprocessor
from bench.quality.exact_arithmetic import exact_arithmetic
from bench.quality.features import Outputs
from models.common.errors import UsageError
from models.common.files import expanded, read_json, sha256_of, shards_of
from models.loading.hub import PREFIX, fetch_configs, fetch_weights, verify_cached

METRIC = "clip_score"
BATCH = 64
"""Images and prompts that the CLIP sees at a time, fixed: embeddings vary in their last digits with it."""

_USUAL = "hf:openai/clip-vit-large-patch14"
_CONFIG, _PREPROCESSOR, _PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_CONFIGS = [_CONFIG, _PREPROCESSOR, _PROCESSOR, *_BESIDE, *(name for names in _TOKENIZERS for name in names)]
_EXPECTED = "expected a folder as transformers saves a CLIPModel with its tokenizer and preprocessor"


class Prompts(Protocol):
    """The prompts of a model (`models.text.prompts.Prompts`): image i is of the text i mod n."""

    @property
    def texts(self) -> tuple[str, ...]: ...
    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class ClipModel:
    """A CLIP ready to be used.

    Attributes:
        name: what a record calls it: the folder as it was given, or hf:owner/name@commit.
        sha256: of all its files that are used: configuration, preprocessor, tokenizer and weights.
        model: transformers' CLIPModel in float32, on its device.
        tokenizer: transformers' CLIPTokenizer.
        preprocessor: for images.
        batch: images that it sees at a time.
    """

    name: str
    sha256: str
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    preprocessor: Preprocessor
    batch: int = BATCH
    _texts: dict[tuple[str, int], tuple[Tensor, int]] = field(default_factory=dict, repr=False)

    @property
    def columns(self) -> dict[str, str]:
        """What a record says of it."""
        return {"clip_model": self.name, "clip_sha256": self.sha256}

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        device: torch.device = self.model.device
        return device

    @property
    def longest(self) -> int:
        """Tokens of a prompt that it sees, those at its ends included."""
        return int(self.model.config.text_config.max_position_embeddings)

    def check(self, shape: Sequence[int]) -> None:
        """UsageError for images (C, H, W) that it cannot take."""
        if shape[0] not in (1, 3):
            raise UsageError(f"metric {METRIC!r} is of images of 1 or 3 channels, but these have {shape[0]}")
        side = self.model.config.vision_config.image_size
        made = tuple(self.preprocessor(torch.zeros(1, *shape, dtype=torch.uint8)).shape[1:])
        if made != (3, side, side):
            raise UsageError(
                f"the CLIP in {self.name!r} takes images of {side} x {side}, but its preprocessor makes {made[1]} x "
                f"{made[2]} of these of {shape[1]} x {shape[2]}; look at its {_PREPROCESSOR}, or name another one"
            )

    def __call__(self, images: Tensor) -> Outputs:
        """Embeddings (N, F) of length 1, on its device, of uint8 images (N, C, H, W)."""
        pixels = self.preprocessor(images).to(self.device)
        with torch.inference_mode(), exact_arithmetic(self.device):
            seen = self.model.vision_model(pixel_values=pixels).pooler_output
            return {"image": _unit(self.model.visual_projection(seen))}

    def texts(self, prompts: Prompts, images: int) -> tuple[Tensor, int]:
        """Embeddings (n, F) of length 1 of the prompts of so many images, on its device, worked out once; and how many
        of these prompts were longer than `longest` and are cut.
        """
        used = min(images, len(prompts.texts))
        if (prompts.sha256, used) not in self._texts:
            self._texts[prompts.sha256, used] = self._embedded(prompts.texts[:used])
        return self._texts[prompts.sha256, used]

    def _embedded(self, texts: Sequence[str]) -> tuple[Tensor, int]:
        found, cut = list[Tensor](), 0
        with torch.inference_mode(), exact_arithmetic(self.device), _quiet():
            for first in range(0, len(texts), BATCH):
                few = list(texts[first : first + BATCH])
                cut += sum(len(each) > self.longest for each in self.tokenizer(few)["input_ids"])
                given = self.tokenizer(
                    few, padding="max_length", truncation=True, max_length=self.longest, return_tensors="pt"
                )
                tokens, mask = given["input_ids"].to(self.device), given["attention_mask"].to(self.device)
                pooled = self.model.text_model(input_ids=tokens, attention_mask=mask).pooler_output
                found.append(_unit(self.model.text_projection(pooled)))
        return torch.cat(found), cut


def _unit(embeddings: Tensor) -> Tensor:
    length: Tensor = embeddings.norm(dim=-1, keepdim=True)
    return embeddings / length


def refuse_clip(spec: str | None) -> None:
    """UsageError for a CLIP that there cannot be, told without its weights."""
    _found(spec)


def load_clip(spec: str | None, device: torch.device) -> ClipModel:
    """The CLIP that a study names.

    Raises:
        UsageError: it names none; it is missing, gated, damaged or no CLIP; or transformers is not installed.
    """
    folder, name = _found(spec)
    if name.startswith(PREFIX):
        hub = fetch_configs(name, _CONFIGS)
        fetch_weights(hub, [_WEIGHTS], ["model-*.safetensors", _INDEX])
    used = _used(folder)
    if name.startswith(PREFIX):
        verify_cached(folder, used)
    digest = hashlib.sha256("".join(f"{each} {sha256_of(folder / each)}\n" for each in used).encode()).hexdigest()
    transformers = _transformers()
    try:
        with _quiet():
            model, said = transformers.CLIPModel.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            tokenizer = transformers.CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # whatever transformers, tokenizers and safetensors raise of damaged files
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"the CLIP in {str(folder)!r} cannot be loaded: {lines[0]}; {_EXPECTED}") from None
    lacking = sorted({*said["missing_keys"], *(each[0] for each in said.get("mismatched_keys", ()))})
    if lacking:
        raise UsageError(
            f"the weights in {str(folder)!r} lack {len(lacking)} tensors of the CLIP that its {_CONFIG} describes, or "
            f"have them in another shape, such as {lacking[0]!r}; {_EXPECTED}"
        )
    return ClipModel(
        name, digest, model.float().eval().requires_grad_(False).to(device), tokenizer, _preprocessor(folder)
    )


def _found(spec: str | None) -> tuple[Path, str]:
    """Where a CLIP is, and what records call it, with all that is known before its weights are there."""
    if spec is None:
        raise UsageError(
            f'metric {METRIC!r} needs a CLIP of images and texts: say clip_model = "hf:openai/clip-vit-large-patch14" '
            "in the study, or a folder as transformers saves a CLIPModel with its tokenizer and preprocessor"
        )
    if find_spec("transformers") is None:
        raise UsageError(
            f"metric {METRIC!r} needs transformers, which is not installed: uv sync --extra text, or leave {METRIC!r} "
            "out of the study's metrics"
        )
    if spec.startswith(PREFIX):
        hub = fetch_configs(spec, _CONFIGS)
        folder, name = hub.folder, hub.source
    else:
        folder, name = expanded(spec), spec
    if not folder.is_dir():
        raise UsageError(f"there is no folder {spec!r}; {_EXPECTED}, or hf:owner/name of a repository of the hub")
    if not (folder / _CONFIG).is_file():
        raise UsageError(f"{spec!r} has no {_CONFIG}; {_EXPECTED}")
    if (kind := read_json(folder / _CONFIG).get("model_type")) != "clip":
        raise UsageError(f"{spec!r} holds a model of type {kind!r}, not 'clip'; {_EXPECTED}")
    if not any(all((folder / each).is_file() for each in names) for names in _TOKENIZERS):
        raise UsageError(
            f"{spec!r} has no tokenizer: neither tokenizer.json nor vocab.json and merges.txt; {_EXPECTED}"
        )
    _preprocessor(folder)
    return folder, name


def _used(folder: Path) -> list[str]:
    """The names of the files that decide what a CLIP gives; UsageError if it has no weights that are read here."""
    if (folder / _WEIGHTS).is_file():
        weights = [_WEIGHTS]
    elif (folder / _INDEX).is_file():
        weights = [_INDEX, *shards_of(folder / _INDEX)]
    else:
        raise UsageError(
            f"{str(folder)!r} has no {_WEIGHTS}: only safetensors are read, never pickled weights; save it again with "
            "transformers' save_pretrained, or take a revision that has them"
        )
    absent = [name for name in weights if not (folder / name).is_file()]
    if absent:
        raise UsageError(f"{str(folder)!r} has no {absent[0]}, which its {_INDEX} names")
    return [*(name for name in _CONFIGS if (folder / name).is_file()), *weights]


def _preprocessor(folder: Path) -> Preprocessor:
    """As either file says it that transformers writes; UsageError if none does."""
    path = folder / _PREPROCESSOR
    if path.is_file():
        content = read_json(path)
    elif (path := folder / _PROCESSOR).is_file():
        content = read_json(path).get("image_processor", {})
    else:
        raise UsageError(f"{str(folder)!r} has no {_PREPROCESSOR}, which says how images are resized; {_EXPECTED}")
    try:
        return Preprocessor.of(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{path}: {said}; {_EXPECTED}") from None


def _transformers() -> Any:
    """The package, which takes seconds to import: only where this is measured."""
    return import_module("transformers")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own warnings and bars, which are put back."""
    logging = _transformers().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
