"""Embeddings of prompts by a pipeline's own text encoders: worked out once, and kept on disk.

The pipeline's own `encode_prompt` makes them, of a pipeline that has its encoders and tokenizers alone, in batches of
`CHUNK` prompts; each batch is a file that is named by the hash of all that it depends on. The encoders are in memory
only while something is missing there.
"""

import gc
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import psutil
import torch
from torch import Tensor

from models.cards.prompts_card import PromptsChoice
from models.common.errors import Notice, NotWritten, UsageError
from models.common.kept import Found, Kept, data_root
from models.common.words import counted
from models.networks.execution import arithmetic
from models.text.encoders import Encoders, load_encoders, quiet
from models.text.pipelines import Encoder
from models.text.prompts import Prompts

CHUNK = 16
"""Prompts that are encoded at a time, and kept in one file: 4 MB of SD 1.5's, 128 MB of FLUX's."""

_ENCODING = 1
"""Number of the way in which embeddings are made here; another one makes those of before count as none."""

_TOKENS = {"sd3": 256, "flux": 512}
"""Of T5, where nothing else is said: the defaults of max_sequence_length in the pipelines."""

_SHOWN = 60  # characters of a prompt in a message


def embeddings(
    encoders: Encoders,
    prompts: Prompts,
    choice: PromptsChoice,
    needed: int,
    device: torch.device,
    check: Callable[[int], None] = lambda numbers: None,
) -> dict[str, Tensor]:
    """Tables of embeddings on the CPU, by name: of the first prompts, and of the negative one, which is the last row.

    Args:
        encoders: that make them.
        prompts: all there are.
        choice: what the study says of them.
        needed: how many of the first are looked up; 0: none, so that those of any device will do for one.
        device: that they are worked out on, where they are not kept yet.
        check: told how many numbers the tables will have, before more than the first are made; it may raise.

    Raises:
        UsageError: no transformers, or encoders that cannot be loaded, or give what is no number.
    """
    tokens = choice.tokens or _TOKENS.get(encoders.pipeline.family)
    maker, needed = _Maker(encoders, tokens, device, anyones=needed == 0), max(needed, 1)
    texts = prompts.texts[: -(-needed // CHUNK) * CHUNK]
    tables, cut = dict[str, Tensor](), 0
    try:
        for first in range(0, needed, CHUNK):
            found = maker.of(texts[first : first + CHUNK], negative=False)
            cut += int(found.said["cut"])
            if not tables:
                check((needed + 1) * sum(part[0].numel() for part in found.tensors.values()))
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
    """Embeddings of texts: those that are kept, also of another device if they may be `anyones`, or new ones."""

    def __init__(self, encoders: Encoders, tokens: int | None, device: torch.device, *, anyones: bool) -> None:
        self._encoders, self._tokens, self._device = encoders, tokens, device
        self._devices = ["cpu", "cuda"] if anyones else []
        self._kept = Kept(data_root() / "embeddings")
        self._pipe: Any = None

    def of(self, texts: Sequence[str], *, negative: bool) -> Found:
        content = self._content(texts, negative=negative)
        for device in (self._device.type, *self._devices):
            if (kept := self._kept.get(content | {"device": device})) is not None:
                return kept
        try:
            made: Found | None = self._encoded(texts, negative=negative)
        except torch.OutOfMemoryError:
            if self._device.type == "cpu":
                raise
            made = None
        if made is None:  # out here, where nothing holds what filled the memory any more
            where = f"the text encoders of {self._encoders.folder} do not fit into the memory of {self._device}"
            warnings.warn(f"{where}; the CPU encodes the prompts, which takes longer", Notice, stacklevel=2)
            self.release()
            self._device = torch.device("cpu")
            return self.of(texts, negative=negative)
        try:
            self._kept.put(content, made)
        except NotWritten as error:
            warnings.warn(f"embeddings of prompts are not kept, and worked out again: {error}", Notice, stacklevel=2)
        return made

    def _encoded(self, texts: Sequence[str], *, negative: bool) -> Found:
        """Embeddings that are made now, by encoders that are loaded once."""
        if self._pipe is None:
            self._pipe = load_encoders(self._encoders, self._device, torch.float32)
        return self._made(list(texts), negative=negative)

    def _content(self, texts: Sequence[str], *, negative: bool) -> dict[str, Any]:
        """All that embeddings of texts depend on."""
        encoders = self._encoders
        return {
            "what": "embeddings",
            "way": _ENCODING,
            "pipeline": encoders.pipeline.name,
            "encoders": dict(encoders.files),
            "texts": list(texts),
            "negative": negative,
            "empty": encoders.empty,
            "wide": encoders.wide,
            "tokens": self._tokens,
            "dtype": str(torch.float32),
            "device": self._device.type,
            **{name: _version(name) for name in ("torch", "diffusers", "transformers")},
        }

    def _made(self, texts: list[str], *, negative: bool) -> Found:
        family = self._encoders.pipeline.family
        with quiet(), torch.no_grad(), arithmetic("fp32"):
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


def refuse_too_large(prompts: int, device: torch.device, bytes_a_number: int, numbers: int) -> None:
    """UsageError for tables of so many numbers that the machine's free memory, or a device's, does not hold."""
    there = [("this machine", 4 * numbers, psutil.virtual_memory().available)]
    if device.type == "cuda":
        there.append((str(device), bytes_a_number * numbers, torch.cuda.mem_get_info(device)[0]))
    for name, size, free in there:
        if size > free:
            raise UsageError(
                f"the embeddings of {counted(prompts, 'prompt')} take {size / 2**30:.1f} GiB, and {name} has "
                f"{free / 2**30:.1f} GiB free: make fewer images, or give fewer prompts, which images share"
            )
