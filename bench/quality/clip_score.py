"""CLIP score: how well images fit the prompts that they were made of, by a CLIP of images and texts.

Hessel et al. (arXiv 2104.08718) take w max(cos, 0) of the embeddings of an image and of its text, w = 2.5; here w is
100, as tables of text-to-image papers have it, and the mean over images is taken. torchmetrics takes the maximum of the
mean, which is the same where no cosine is negative.

torch-fidelity's CLIP extractors cannot give it: of the checkpoints they keep the image tower alone, and they have no
tokenizer. So the CLIP is one as transformers saves it, which a study names (`bench.quality.clip_model`).
"""

from typing import Any

import torch
from torch import Tensor

from bench.quality.clip_model import ClipModel, Prompts
from bench.quality.exact_arithmetic import exact_arithmetic
from bench.quality.features import Extraction, Outputs, Rows
from bench.quality.frechet import jackknife
from bench.quality.statistics import BLOCKS, Tensors, blocks_of
from models.common.words import counted

_KEPT = "clip_cosines"


class ClipStream:
    """Takes images that come in batches, and keeps of each the cosine of its embedding and its prompt's.

    Args:
        clip: gives the embeddings.
        prompts: of the model that makes the images.
        images: their numbers.
        most: images of the cell, whose prompts are embedded.
    """

    def __init__(self, clip: ClipModel, prompts: Prompts, images: range, most: int) -> None:
        self._texts, self._cut = clip.texts(prompts, most)
        self._next, self._prompts, self._clip = images.start, len(prompts.texts), clip
        self._cosines = Rows(len(images))
        self._extraction = Extraction(clip, self._take)

    def add(self, images: Tensor) -> None:
        """Take uint8 images (N, C, H, W), in the order of their numbers."""
        self._extraction.add(images)

    def finish(self) -> tuple[Tensors, list[str]]:
        """What is kept, (N,) float32, and what whoever reads the score must know; ArithmeticError for NaN or Inf."""
        self._extraction.finish()
        remarks = self._extraction.fitting.remarks("the CLIP saw images")
        if self._cut:
            told = f"{counted(self._cut, 'prompt')} {'is' if self._cut == 1 else 'are'} longer than the"
            remarks.append(
                f"{told} {self._clip.longest} tokens of the CLIP and {'is' if self._cut == 1 else 'are'} cut"
            )
        return {_KEPT: self._cosines.all()}, remarks

    def _take(self, outputs: Outputs) -> None:
        images = outputs["image"]
        numbers = torch.arange(self._next, self._next + len(images), device=images.device)
        self._next += len(images)
        with exact_arithmetic(images.device):
            self._cosines.add((images * self._texts[numbers % self._prompts]).sum(dim=1))


def clip_columns(kept: Tensors) -> dict[str, Any]:
    """Record columns of all images of a cell, of what streams have kept, which is taken out; none if they kept none.

    Returns:
        clip_score: 100 max(cos, 0), the mean over images.
        clip_score_std: the standard error of that, by jackknife.
        clip_score_left_out: the mean without a tenth of the images each.
    """
    cosines = kept.pop(_KEPT, None)
    if cosines is None:
        return {}
    scores = 100.0 * cosines.double().clamp(min=0.0).cpu()
    block = blocks_of(len(scores))
    without = [float(scores[block != number].mean()) for number in range(BLOCKS)]
    return {"clip_score": float(scores.mean()), "clip_score_std": jackknife(without), "clip_score_left_out": without}
