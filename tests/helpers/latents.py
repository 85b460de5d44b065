"""Tiny latent models in the exact layout of those that people have, with random weights."""

import importlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor

from models.common.files import sha256_of

LATENT = (4, 8, 8)
DIT_SCHEDULER = {"beta_start": 1e-4, "beta_end": 0.02, "clip_sample": False, "timestep_spacing": "trailing"}


def library() -> Any:
    """diffusers, whose functions have no types."""
    return importlib.import_module("diffusers")


def lively(make: Callable[[], Any]) -> Any:
    """A module, the same each time, whose output depends on all that it is given: DiT's own first weights are zeros."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make()
        for parameter in module.parameters():
            scale = 0.6 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else 0.05
            kept = 0.0 if parameter.dim() > 1 else parameter.detach()
            parameter.data = kept + scale * torch.randn(parameter.shape)
    return module.eval().requires_grad_(False)


def make_vae(**changed: Any) -> Any:
    """An AutoencoderKL of 16 x 16 images of 8 x 8 latents."""
    diffusers = library()
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    usual = {"block_out_channels": (8, 8), "norm_num_groups": 4, "latent_channels": LATENT[0], "sample_size": 16}
    return lively(lambda: diffusers.AutoencoderKL(**(blocks | usual | {"layers_per_block": 1} | changed)))


def make_dit(**changed: Any) -> Any:
    """A DiTTransformer2DModel of two layers that predicts its variance too."""
    diffusers = library()
    usual = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "sample_size": 8, "patch_size": 2}
    return lively(lambda: diffusers.DiTTransformer2DModel(**(usual | {"in_channels": 4, "out_channels": 8} | changed)))


@cache
def dit() -> Path:
    """A folder of a DiTPipeline."""
    diffusers = library()
    return _saved(diffusers.DiTPipeline(make_dit(), make_vae(), diffusers.DDIMScheduler(**DIT_SCHEDULER)), "dit")


@cache
def ldm() -> Path:
    """A folder of an LDMPipeline, whose autoencoder is a VQ one."""
    diffusers = library()
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    sizes = {"block_out_channels": (8, 8), "norm_num_groups": 4, "sample_size": 16, "layers_per_block": 1}
    latents = {"latent_channels": 3, "num_vq_embeddings": 64, "vq_embed_dim": 3, "scaling_factor": 0.5}
    vq = lively(lambda: diffusers.VQModel(**blocks, **sizes, **latents))
    unet = lively(
        lambda: diffusers.UNet2DModel(
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
            layers_per_block=1,
        )
    )
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195}
    scheduler = diffusers.DDIMScheduler(**betas, clip_sample=False, timestep_spacing="trailing")
    return _saved(diffusers.LDMPipeline(vq, unet, scheduler), "ldm")


def _saved(pipeline: Any, name: str) -> Path:
    folder = Path(mkdtemp()) / name
    pipeline.save_pretrained(folder)
    return folder


def write_card(folder: Path, architecture: str, decoder: str, more: str = "") -> None:
    """The card of a flow on such latents, with the hashes of all files that are there."""
    listed = [path for path in folder.rglob("*") if path.is_file()]
    files = "\n".join(f'"{path.relative_to(folder)}" = "{sha256_of(path)}"' for path in listed)
    (folder / "card.toml").write_text(
        'schema_version = 1\nname = "flow"\nshape = [3, 16, 16]\nnetwork = "flow"\nparametrisation = "flow"\n'
        f'architecture = "{architecture}"\nweights = "flow.pt"\nschedule = {{ kind = "flow" }}\n{more}\n'
        f"[decoder]\nlatent_shape = [4, 8, 8]\n{decoder}\n[files]\n{files}\n"
    )


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def noise(count: int, shape: tuple[int, ...], seed: int = 1) -> Tensor:
    """Standard normal states (count, *shape)."""
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed))
