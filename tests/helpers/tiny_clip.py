"""A tiny CLIP of random weights, in a folder as transformers saves one, with a tokenizer of signs and one word."""

import importlib
import json
from pathlib import Path
from typing import Any

import torch

SIDE, TOKENS = 16, 20
PREPROCESSOR: dict[str, Any] = {
    **{"do_resize": True, "size": SIDE, "resample": 3, "do_center_crop": True, "crop_size": SIDE},
    **{"do_normalize": True, "image_mean": [0.48145466, 0.4578275, 0.40821073]},
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
"""The keys of openai/clip-vit-large-patch14's preprocessor_config.json, of smaller images."""


def make(folder: Path, **changes: Any) -> Path:
    """The folder, whose model's configuration says this otherwise."""
    library = importlib.import_module("transformers")
    signs = [chr(n) for n in range(33, 127)]
    words = [*signs, *(f"{sign}</w>" for sign in signs), "re", "red</w>", "<|startoftext|>", "<|endoftext|>"]
    vocab = {word: n for n, word in enumerate(words)}
    start, end = vocab["<|startoftext|>"], vocab["<|endoftext|>"]
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(vocab), "max_position_embeddings": TOKENS, "bos_token_id": start, "eos_token_id": end}
    text, image = text | {"pad_token_id": end} | tower, {"image_size": SIDE, "patch_size": 4} | tower
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = library.CLIPModel(
            library.CLIPConfig(text_config=text, vision_config=image, projection_dim=24, **changes)
        )
        for each in model.parameters():  # as they are initialised all images have nearly the same embedding
            each.data += 0.3 * torch.randn_like(each) * (each.ndim > 1)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": TOKENS}))
    return folder
