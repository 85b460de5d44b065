"""Networks of text-to-image pipelines, called as every network here: `module(x, condition, labels)`.

A label is the number of a prompt, whose embeddings are looked up in tables beside the network, on its device; nothing
waits for the device, so that calls can be captured. One class a family of pipelines says what its network is given.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from models.text.pipelines import TextPipeline


class Prompted(nn.Module, ABC):
    """A network beside the embeddings of prompts.

    Args:
        network: of diffusers.
        tables: embeddings (rows, ...) by name; the last row is the negative prompt's, the others are those of as many
            of the first prompts as are needed.
        null_label: the label that has the negative prompt: the number of all prompts.
        shape: (C, H, W) of an image.
        scale: of guidance, which a network with distilled guidance is given.
    """

    def __init__(
        self,
        network: nn.Module,
        tables: Mapping[str, Tensor],
        null_label: int,
        shape: tuple[int, int, int],
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.network, self.null_label, self.scale = network, null_label, scale
        for name, table in {**tables, **self.constants(shape, tables)}.items():
            self.register_buffer(name, table, persistent=False)
        self.kept = next(iter(tables.values())).shape[0] - 1

    @staticmethod
    def constants(shape: tuple[int, int, int], tables: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the network is given with every prompt, by name."""
        return {}

    @abstractmethod
    def given(self, x: Tensor, condition: Tensor, rows: Tensor) -> Tensor:
        """The network's output on a state (N, C, h, w), its level (N,) and the rows (N,) of its prompts."""

    def forward(self, x: Tensor, condition: Tensor, labels: Tensor) -> Tensor:
        """The output (N, C, h, w) on a state, its level (N,) and the numbers (N,) of prompts."""
        return self.given(x, condition, torch.where(labels == self.null_label, self.kept, labels % self.kept))

    @final
    def of(self, name: str, rows: Tensor) -> Tensor:
        """Rows of a table."""
        table: Tensor = getattr(self, name)
        return table.index_select(0, rows)


class StableDiffusion(Prompted):
    """SD 1.x and 2.x: cross-attention to CLIP's last hidden states."""

    def given(self, x: Tensor, condition: Tensor, rows: Tensor) -> Tensor:
        output: Tensor = self.network(x, condition, encoder_hidden_states=self.of("hidden", rows), return_dict=False)[0]
        return output


class StableDiffusionXL(Prompted):
    """SDXL: a pooled embedding and the sizes of the image beside both encoders' hidden states.

    The sizes (arXiv 2307.01952, section 2.2) are those of its pipeline where it is told none: the original and the
    target size are the image's, and nothing is cropped.
    """

    @staticmethod
    def constants(shape: tuple[int, int, int], tables: Mapping[str, Tensor]) -> dict[str, Tensor]:
        _, height, width = shape
        return {"time_ids": torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)}

    def given(self, x: Tensor, condition: Tensor, rows: Tensor) -> Tensor:
        sizes: Tensor = self.get_buffer("time_ids")
        added = {"text_embeds": self.of("pooled", rows), "time_ids": sizes.expand(x.shape[0], -1)}
        output: Tensor = self.network(
            x,
            condition,
            encoder_hidden_states=self.of("hidden", rows),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return output


class StableDiffusion3(Prompted):
    """SD 3 and 3.5: a transformer of joint attention, given 1000 t."""

    def given(self, x: Tensor, condition: Tensor, rows: Tensor) -> Tensor:
        output: Tensor = self.network(
            hidden_states=x,
            timestep=condition,
            encoder_hidden_states=self.of("hidden", rows),
            pooled_projections=self.of("pooled", rows),
            return_dict=False,
        )[0]
        return output


class Flux(Prompted):
    """FLUX.1: a transformer of joint attention over 2 x 2 patches of the state, given t; dev a guidance scale, too."""

    @staticmethod
    def constants(shape: tuple[int, int, int], tables: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"text_ids": torch.zeros(tables["hidden"].shape[1], 3)}

    def given(self, x: Tensor, condition: Tensor, rows: Tensor) -> Tensor:
        height, width = x.shape[2:]
        output: Tensor = self.network(
            hidden_states=packed(x),
            timestep=condition,
            guidance=None if self.scale is None else torch.full_like(condition, self.scale),
            pooled_projections=self.of("pooled", rows),
            encoder_hidden_states=self.of("hidden", rows),
            txt_ids=self.get_buffer("text_ids"),
            img_ids=_places(height // 2, width // 2, x),
            return_dict=False,
        )[0]
        return unpacked(output, height, width)


def packed(x: Tensor) -> Tensor:
    """Patches (N, h w / 4, 4 C) of a state (N, C, h, w), 2 x 2 each, row by row."""
    count, channels, height, width = x.shape
    patches = x.reshape(count, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(count, height * width // 4, 4 * channels)


def unpacked(patches: Tensor, height: int, width: int) -> Tensor:
    """The state (N, C, h, w) of patches (N, h w / 4, 4 C)."""
    count, _, channels = patches.shape
    x = patches.reshape(count, height // 2, width // 2, channels // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(count, channels // 4, height, width)


def _places(rows: int, columns: int, x: Tensor) -> Tensor:
    """(0, row, column) of every patch, (rows columns, 3), made on the device."""
    row = torch.arange(rows, device=x.device, dtype=x.dtype)[:, None].expand(rows, columns)
    column = torch.arange(columns, device=x.device, dtype=x.dtype)[None].expand(rows, columns)
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).reshape(rows * columns, 3)


_FAMILIES: dict[str, type[Prompted]] = {
    "sd": StableDiffusion,
    "sdxl": StableDiffusionXL,
    "sd3": StableDiffusion3,
    "flux": Flux,
}


def prompted(
    pipeline: TextPipeline,
    network: Any,
    tables: Mapping[str, Tensor],
    null_label: int,
    shape: tuple[int, int, int],
    scale: float | None,
) -> Prompted:
    """The network of a pipeline beside tables of embeddings; see `Prompted`."""
    return _FAMILIES[pipeline.family](network, tables, null_label, shape, scale).eval().requires_grad_(False)
