"""`run_bench.py train`: makes an embedded model again from scratch, down to its card with every hash."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.quality.compact import EXTRACTOR, EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS
from bench.quality.datasets import load_digits
from bench.quality.extractors import load_extractor
from bench.quality.images import to_uint8
from bench.quality.reference import REFERENCE
from bench.quality.reference_maker import write_statistics
from bench.training.card_quality import card_quality
from bench.training.losses import Recipe, Reporter, Trained, train_classifier, train_denoiser, train_vae
from models.cards.card import Card
from models.common.errors import UsageError
from models.common.files import sha256_of
from models.common.program import called
from models.common.sealed import save_tensors
from models.common.writing import write_text
from models.loading.diffusers_folder import CONFIG, WEIGHTS
from models.loading.sources import CARD
from models.loading.zoo import load_model
from models.networks.classifier import Classifier
from models.networks.network import make_unet
from models.networks.vae import SIGMA, Vae
from models.schedule import DiscreteVP
from samplers import SAMPLERS


@dataclass(frozen=True)
class Budget:
    """How much to train: the defaults make the shipped models, tests take a tiny one."""

    denoiser_steps: int = 16_000
    classifier_steps: int = 1_500
    quality_steps: int = 1_000
    vae_steps: int = 12_000


UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [16, 32, 64],
    "layers_per_block": 2,
    "down_block_types": ["DownBlock2D"] * 3,
    "up_block_types": ["UpBlock2D"] * 3,
    "add_attention": False,
    "norm_num_groups": 8,
}
CLASSIFIER = {"size": 8, "channels": 1, "width": 32, "features": 64, "classes": 10}
VAE = {"size": 8, "channels": 1, "width": 32, "latent": 128}
SCHEDULE = {"kind": "linear", "train_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02}
_DATA: dict[str, Any] = {
    "data": "scikit-learn load_digits: the 1,797 test images of UCI's Optical Recognition of Handwritten Digits "
    "data set (E. Alpaydin, C. Kaynak, 1998)",
    "data_licence": "CC BY 4.0",
    "shape": [1, 8, 8],
}


def train_digits(folder: Path, budget: Budget, seed: int, reporter: Reporter) -> Path:
    """Train the denoiser and the feature extractor, compute the reference, measure the quality, write the card.

    Args:
        folder: where checkpoints are kept, from which a killed training goes on, and the model is written.
        budget: steps of each stage.
        seed: of everything random.
        reporter: shows progress.

    Returns:
        The model folder, `folder/model`.
    """
    images, labels = load_digits()
    out, work = _make(folder / "model"), folder
    _make(out / EXTRACTOR)
    recipe = Recipe(steps=budget.denoiser_steps, seed=seed)
    trained = _fit_denoiser(out, work, images, recipe, reporter)
    short = replace(recipe, steps=budget.classifier_steps, batch=64, warmup=100)
    accuracy = _fit_classifier(out, work, to_uint8(images), labels, short, reporter)
    card = _card(recipe, trained, accuracy)
    _write_card(out, card)
    extractor = load_extractor(None, load_model(str(out), torch.device("cpu")), torch.device("cpu"))
    write_statistics(out / REFERENCE, extractor, to_uint8(images), about={"data": "digits"})
    _write_card(out, card)
    model, ddpm = load_model(str(out), torch.device("cpu")), SAMPLERS.make("ddpm")
    found = card_quality(model, ddpm, budget.quality_steps, seed, extractor, to_uint8(images), reporter)
    card["quality"] = {"ddpm_steps": budget.quality_steps} | found
    _write_card(out, card)
    return out


def train_digits_vae(folder: Path, budget: Budget, seed: int, reporter: Reporter) -> Path:
    """Train the autoencoder, keep its decoder, measure that with the extractor of `digits`, write the card.

    Arguments and result are those of `train_digits`.
    """
    images, _ = load_digits()
    out, cpu = _make(folder / "model"), torch.device("cpu")
    recipe = Recipe(steps=budget.vae_steps, seed=seed)
    torch.manual_seed(recipe.seed)  # the initial weights
    vae = Vae(VAE)
    with reporter("autoencoder", recipe.steps) as report:
        trained = train_vae(vae, images, recipe, folder / "vae", report)
    vae.load_state_dict(trained.state)
    save_tensors(out / WEIGHTS, vae.decoder.state_dict())
    write_text(out / CONFIG, json.dumps(VAE, indent=1) + "\n")
    card = _vae_card(recipe, trained)
    _write_card(out, card)
    extractor = load_extractor(None, load_model("digits", cpu), cpu)
    model, one_step = load_model(str(out), cpu), SAMPLERS.make("one-step")
    found = card_quality(model, one_step, 1, seed, extractor, to_uint8(images), reporter)
    card["quality"] = {"sampler": "one-step", "extractor_sha256": extractor.sha256} | found
    _write_card(out, card)
    return out


TRAININGS: dict[str, Callable[[Path, Budget, int, Reporter], Path]] = {
    "digits": train_digits,
    "digits-vae": train_digits_vae,
}


def _make(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {str(folder)!r}: {error}; choose another folder with --out") from None
    return folder


def _fit_denoiser(out: Path, work: Path, images: Tensor, recipe: Recipe, reporter: Reporter) -> Trained:
    torch.manual_seed(recipe.seed)  # the initial weights
    unet = make_unet(UNET)
    with reporter("denoiser", recipe.steps) as report:
        trained = train_denoiser(unet, images, DiscreteVP.linear(), recipe, work / "denoiser", report)
    save_tensors(out / WEIGHTS, trained.state)
    write_text(out / CONFIG, json.dumps({"_class_name": "UNet2DModel"} | UNET, indent=1) + "\n")
    return trained


def _fit_classifier(out: Path, work: Path, images: Tensor, labels: Tensor, recipe: Recipe, reporter: Reporter) -> float:
    """Train on four fifths of the data; the accuracy on the rest."""
    torch.manual_seed(recipe.seed)
    network = Classifier(**CLASSIFIER)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(recipe.seed))
    held_out, kept = order[: len(order) // 5], order[len(order) // 5 :]
    with reporter("feature extractor", recipe.steps) as report:
        trained = train_classifier(network, images[kept], labels[kept], recipe, work / "classifier", report)
    network.load_state_dict(trained.state)
    network.eval()
    with torch.inference_mode():
        correct = network(images[held_out])[1].argmax(1) == labels[held_out]
    save_tensors(out / EXTRACTOR_WEIGHTS, trained.state)
    write_text(out / EXTRACTOR_CONFIG, json.dumps(CLASSIFIER, indent=1) + "\n")
    return float(correct.double().mean())


def _card(recipe: Recipe, trained: Trained, accuracy: float) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": "digits",
        "description": "DDPM U-Net (diffusers UNet2DModel, 0.9 million parameters) of 8 x 8 handwritten digits.",
        **_DATA,
        "training_command": f"{called('train')} train digits",
        "parametrisation": "epsilon",
        "clip": [-1.0, 1.0],
        "schedule": SCHEDULE,
        "training": _training(recipe, trained),
        "extractor": {
            "name": "digits",
            "description": "Convolutional classifier of the same digits; 64 penultimate features, 10 logits.",
            "test_accuracy": accuracy,
        },
    }


def _vae_card(recipe: Recipe, trained: Trained) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": "digits-vae",
        "description": "Decoder of a convolutional variational autoencoder (0.2 million parameters) of 8 x 8 "
        "handwritten digits, for the sampler one-step; measured with the extractor and reference of digits.",
        **_DATA,
        "training_command": f"{called('train')} train digits-vae",
        "network": "decoder",
        "noise_shape": [VAE["latent"], 1, 1],
        "parametrisation": "sample",
        "schedule": SCHEDULE,  # of the model that it is compared with: a decoder knows no levels
        "training": {**_training(recipe, trained), "likelihood_sigma": SIGMA},
    }


def _training(recipe: Recipe, trained: Trained) -> dict[str, Any]:
    return {
        **{name: value for name, value in asdict(recipe).items() if not isinstance(value, bool)},
        "images_seen": trained.steps * recipe.batch,
        "weights": "EMA",
        "seconds": round(trained.seconds),
        "threads": torch.get_num_threads(),
        "loss": trained.loss,
    }


def _write_card(out: Path, card: dict[str, Any]) -> None:
    import tomli_w  # only training writes TOML

    present = (CONFIG, WEIGHTS, EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS, REFERENCE)
    files = {name: sha256_of(out / name) for name in present if (out / name).exists()}
    content = card | {"files": files}
    Card.model_validate(content)
    write_text(out / CARD, tomli_w.dumps(content))
