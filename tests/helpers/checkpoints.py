"""Stand-ins for published checkpoints: tiny networks in exactly the files that diffusers and the hub use."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.common.files import sha256_of
from models.denoiser import Denoiser
from models.loading.layout import CONFIG, WEIGHTS
from models.loading.model import Model
from models.loading.sources import CARD
from models.networks.network import make_unet

CPU = torch.device("cpu")
COMMIT = "0123456789abcdef0123456789abcdef01234567"

CIFAR10 = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.0.4",
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [8, 16],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 1,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 4,
    "out_channels": 3,
    "sample_size": 8,
    "time_embedding_type": "positional",
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}
"""The keys of google/ddpm-cifar10-32's config.json, with fewer and narrower blocks on smaller images."""

DDPM = {
    "_class_name": "DDPMScheduler",
    "_diffusers_version": "0.1.1",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": True,
    "num_train_timesteps": 1000,
    "trained_betas": None,
    "variance_type": "fixed_large",
}
"""Its scheduler_config.json."""

CARDED: dict[str, Any] = {
    "schema_version": 1,
    "name": "mine",
    "shape": [3, 8, 8],
    "parametrisation": "epsilon",
    "schedule": {"kind": "linear", "train_steps": 1000},
}
"""A card of such a network, without its files."""


def make(folder: Path, scheduler: dict[str, Any] | None = None, *, flat: bool = False, **unet: Any) -> Path:
    """A checkpoint of diffusers with random weights.

    Args:
        folder: made.
        scheduler: its configuration; None: google/ddpm-cifar10-32's.
        flat: everything at the root, as there; otherwise as `save_pretrained` of a pipeline does it today.
        unet: what its config has otherwise.
    """
    scheduler = scheduler or DDPM
    at = folder if flat else folder / "unet"
    network(**unet).save_pretrained(at)
    write(at / CONFIG, CIFAR10 | unet)  # as the old file has it, not as today's diffusers writes it
    write(folder / ("" if flat else "scheduler") / "scheduler_config.json", scheduler)
    index = {"_class_name": "DDPMPipeline", "_diffusers_version": "0.1.1"}
    parts = {"scheduler": ["diffusers", scheduler["_class_name"]], "unet": ["diffusers", "UNet2DModel"]}
    write(folder / "model_index.json", index | parts)
    return folder


def network(**unet: Any) -> Any:
    """A UNet2DModel of diffusers, evaluating, with weights that do not depend on anything random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make_unet(CIFAR10 | unet).eval().requires_grad_(False)


def write(path: Path, content: dict[str, Any]) -> None:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2))


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes a key out."""
    content = json.loads(path.read_text()) | changes
    write(path, {key: value for key, value in content.items() if value is not None})


def images(seed: int = 1, count: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal states (count, 3, 8, 8)."""
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def into_cache(cache: Path, folder: Path, repository: str, commit: str = COMMIT, revision: str = "main") -> Path:
    """Lay a folder out as huggingface_hub's cache holds a repository of these files; the snapshot.

    Large files are blobs named by their sha256, as those in LFS are, and others by git's hash.
    """
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / revision).write_text(commit)
    snapshot = root / "snapshots" / commit
    for path in (each for each in folder.rglob("*") if each.is_file()):
        large = path.name == WEIGHTS
        blob = root / "blobs" / (sha256_of(path) if large else git_hash(path))
        blob.parent.mkdir(exist_ok=True)
        shutil.copy(path, blob)
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return snapshot


def git_hash(path: Path) -> str:
    """What git calls the content of a file."""
    content = path.read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def folder_of(folder: Path, files: dict[str, Path], **said: Any) -> Path:
    """A folder with a card of these files and what else it says."""
    lines = [f"{key} = {_toml(value)}" for key, value in (CARDED | said).items()]
    lines += ["[files]", *(f'"{name}" = "{sha256_of(path)}"' for name, path in files.items())]
    (folder / CARD).write_text("\n".join(lines))
    return folder


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).replace("(", "[").replace(")", "]")


def x0_of(model: Model, x: Tensor, t: float) -> Tensor:
    """The x_0 that a model predicts of the state x at time t, not clipped."""
    return Denoiser(model.network, model.card.parametrisation, model.schedule)(x, model.schedule.level(t)).x0
