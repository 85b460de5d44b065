"""Tiny text-to-image pipelines of the layouts that people have, with diffusers' and transformers' own classes: random
weights, two layers, latents of 8 x 8, images of 16 x 16, and tokenizers of a handful of pieces.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers as untyped_diffusers
import pytest
import torch

from models.cards.changes import Changes
from models.cards.prompts_card import PromptsChoice
from models.loading.model import Model
from models.loading.zoo import load_model
from models.networks.modes import parse_mode

diffusers: Any = untyped_diffusers  # no types
transformers: Any = pytest.importorskip("transformers")

LENGTH = 16  # tokens of a prompt
CHANNELS, SIDE = 4, 8  # of a latent
WIDE = 32  # of an embedding of CLIP
DDIM = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
}
"""Of a scheduler whose steps are those of ddim on the grid "trailing"."""


def clip_tokenizer(folder: Path) -> Any:
    """CLIP's, of the letters and a few pieces of English, from files as older repositories have them."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in (*range(ord("a"), ord("z") + 1), *range(ord("0"), ord("9") + 1))]
    merges = ["c a", "ca t</w>", "d o", "do g</w>", "t h", "th e</w>"]
    pieces = [*letters, *(f"{each}</w>" for each in letters), *(each.replace(" ", "") for each in merges)]
    pieces += [",", ",</w>", ".", ".</w>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: at for at, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    said = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "pad_token": "<|endoftext|>"}
    said |= {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return transformers.CLIPTokenizer.from_pretrained(folder)


def clip_encoder(*, projected: bool = False, seed: int = 0, vocabulary: int = 84) -> Any:
    """CLIP's text encoder, of two layers."""
    torch.manual_seed(seed)
    config = transformers.CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDE,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        projection_dim=WIDE,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
        hidden_act="gelu" if projected else "quick_gelu",
    )
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return _louder(kind(config).eval())


def t5_tokenizer() -> Any:
    """T5's, of the letters and a few words."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz0123456789,.", "▁a", "▁the", "▁cat", "▁dog"]
    scored = [(piece, 0.0 if at < 3 else -2.0 - 0.01 * at) for at, piece in enumerate(pieces)]
    return transformers.T5TokenizerFast(vocab=scored, extra_ids=0, model_max_length=512)


def t5_encoder(width: int, *, seed: int = 0) -> Any:
    """T5's encoder, of two layers."""
    torch.manual_seed(seed)
    config = transformers.T5Config(
        vocab_size=64, d_model=width, d_kv=16, d_ff=37, num_layers=2, num_heads=2, dropout_rate=0.0
    )
    return transformers.T5EncoderModel(config).eval()


def autoencoder(*, seed: int = 0, **more: Any) -> Any:
    """A VAE that halves the sides of an image."""
    torch.manual_seed(seed)
    config: dict[str, Any] = {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": CHANNELS,
        "norm_num_groups": 4,
        "sample_size": 2 * SIDE,
    }
    return diffusers.AutoencoderKL(**config | more).eval()


def unet(**more: Any) -> Any:
    """A U-Net of two levels that is given the embeddings of a prompt."""
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "sample_size": SIDE,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "layers_per_block": 1,
        "block_out_channels": (32, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "norm_num_groups": 8,
        "cross_attention_dim": WIDE,
        "attention_head_dim": 8,
    }
    return _louder(diffusers.UNet2DConditionModel(**config | more).eval())


def _louder(network: Any) -> Any:
    """Larger weights of what takes the prompt in, so that another prompt is another image by far."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() > 1 and any(part in name for part in ("attn2", "add_embedding", "token_embedding", "add_")):
                weight.mul_(4.0)
    return network


def stable_diffusion(folder: Path, *, prediction: str = "epsilon", **of_unet: Any) -> Any:
    """StableDiffusionPipeline, as SD 1.5 (epsilon) and 2.1 (v_prediction) have it."""
    return diffusers.StableDiffusionPipeline(
        vae=autoencoder(scaling_factor=0.18215),
        text_encoder=clip_encoder(),
        tokenizer=clip_tokenizer(folder / "tokenizer"),
        unet=unet(**of_unet),
        scheduler=diffusers.DDIMScheduler(**DDIM | {"prediction_type": prediction}),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(folder: Path, *, zeros: bool = True) -> Any:
    """StableDiffusionXLPipeline."""
    return diffusers.StableDiffusionXLPipeline(
        vae=autoencoder(scaling_factor=0.13025),
        text_encoder=clip_encoder(seed=1),
        text_encoder_2=clip_encoder(seed=2, projected=True),
        tokenizer=clip_tokenizer(folder / "tokenizer"),
        tokenizer_2=clip_tokenizer(folder / "tokenizer_2"),
        unet=unet(
            cross_attention_dim=2 * WIDE,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDE,
        ),
        scheduler=diffusers.DDIMScheduler(**DDIM),
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    )


def stable_diffusion_3(folder: Path, *, third: bool = True, shift: float = 3.0) -> Any:
    """StableDiffusion3Pipeline, with T5 or without it."""
    torch.manual_seed(0)
    wide = 80  # more than both of CLIP's, which are padded to it
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=SIDE,
        patch_size=2,
        in_channels=CHANNELS,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=wide,
        caption_projection_dim=32,
        pooled_projection_dim=2 * WIDE,
        out_channels=CHANNELS,
        pos_embed_max_size=SIDE,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=_scaled(transformer),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=shift),
        vae=autoencoder(scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip_encoder(seed=1, projected=True),
        text_encoder_2=clip_encoder(seed=2, projected=True),
        text_encoder_3=t5_encoder(wide) if third else None,
        tokenizer=clip_tokenizer(folder / "tokenizer"),
        tokenizer_2=clip_tokenizer(folder / "tokenizer_2"),
        tokenizer_3=t5_tokenizer() if third else None,
    )


def flux(folder: Path, *, distilled: bool = True, dynamic: bool | None = None) -> Any:
    """FluxPipeline, as dev (distilled guidance, dynamic shift) and schnell have it."""
    torch.manual_seed(0)
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=4 * CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDE,
        pooled_projection_dim=WIDE,
        guidance_embeds=distilled,
        axes_dims_rope=(4, 6, 6),
    )
    moves = distilled if dynamic is None else dynamic
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=moves),
        vae=autoencoder(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip_encoder(seed=3),
        tokenizer=clip_tokenizer(folder / "tokenizer"),
        text_encoder_2=t5_encoder(WIDE),
        tokenizer_2=t5_tokenizer(),
        transformer=_scaled(transformer),
    )


def _scaled(transformer: Any) -> Any:
    """Weights of a standard deviation that lets a transformer of two layers say something."""
    with torch.no_grad():
        for weight in transformer.parameters():
            if weight.dim() > 1:
                weight.mul_(2.0)
    return transformer.eval()


MAKERS: dict[str, Callable[[Path], Any]] = {
    "sd": stable_diffusion,
    "sd-v": lambda folder: stable_diffusion(folder, prediction="v_prediction"),
    "sdxl": stable_diffusion_xl,
    "sdxl-no-zeros": lambda folder: stable_diffusion_xl(folder, zeros=False),
    "sd3": stable_diffusion_3,
    "sd3-no-t5": lambda folder: stable_diffusion_3(folder, third=False),
    "flux-dev": flux,
    "flux-schnell": lambda folder: flux(folder, distilled=False),
}
"""Pipelines, given a folder for their vocabularies."""


def save(name: str, folder: Path) -> Any:
    """The pipeline of a name, saved to a folder as `save_pretrained` does."""
    made = MAKERS[name](folder.with_name(f"{folder.name}-vocabularies"))
    made.set_progress_bar_config(disable=True)
    made.save_pretrained(folder)
    return made


_saved: dict[str, tuple[Path, Any]] = {}


def saved(name: str, folders: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of a pipeline, which is not to be changed, and the pipeline; made once a process."""
    if name not in _saved:
        folder = folders.mktemp("pipelines") / name
        _saved[name] = (folder, save(name, folder))
    return _saved[name]


TEXTS = ("a cat", "the dog, 3", "x y z")


def of_prompts(folder: Path, texts: tuple[str, ...] = TEXTS, **choice: Any) -> Changes:
    """What a study says that has prompts, in a file in a folder, and images of 16 x 16."""
    path = folder / "prompts.txt"
    path.write_text("\n".join(texts) + "\n")
    return Changes(prompts=PromptsChoice(file=str(path), **choice), resolution=(2 * SIDE, 2 * SIDE))


def loaded(pipeline: Path, folder: Path, images: int | None = None, mode: str = "fp32", **choice: Any) -> Model:
    """The model of a pipeline's folder, with `TEXTS`; of T5 as few tokens as of CLIP."""
    tokens = LENGTH if (pipeline / "transformer").is_dir() else None
    changes = of_prompts(folder, tokens=tokens, **choice)
    return load_model(str(pipeline), torch.device("cpu"), changes, parse_mode(mode), images)
