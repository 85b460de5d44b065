"""`run_bench.py train digits` and `train digits-vae`: makes an embedded model again from scratch, down to its card."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.quality.compact import EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS
from bench.quality.datasets import load_digits
from bench.quality.extractor import Extractor
from bench.quality.extractors import load_extractor
from bench.quality.features import Features, extract
from bench.quality.floors import between, halves
from bench.quality.images import to_uint8
from bench.quality.reference import REFERENCE
from bench.quality.reference_maker import write_statistics
from bench.quality.statistics import Moments
from bench.training.cifar10 import SCHEDULE
from bench.training.extractor import accuracy_of
from bench.training.folder import check_writing, training_of, write_card, write_folder, write_json
from bench.training.loop import Keeping, Reporter, Trained, train
from bench.training.losses import Labels, denoising_loss, shifting_loss, vae_loss
from bench.training.recipe import Recipe
from bench.training.samples import draw
from models.cards.card import Card
from models.common.program import called
from models.common.sealed import save_tensors
from models.loading.layout import CONFIG, WEIGHTS
from models.loading.model import Model
from models.loading.zoo import load_model
from models.networks.classifier import Classifier
from models.networks.network import make_unet
from models.networks.vae import SIGMA, Vae
from models.schedule import DiscreteVP
from samplers import SAMPLERS, Sampler


@dataclass(frozen=True)
class Budget:
    """How much to train: the defaults make the shipped models, tests take a tiny one."""

    denoiser_steps: int = 16_000
    classifier_steps: int = 1_500
    quality_steps: int = 1_000
    vae_steps: int = 12_000
    conditional_steps: int = 5_000
    weak_steps: int = 1_500
    conditional_quality_steps: int = 250

    @classmethod
    def of(cls, steps: int) -> "Budget":
        """So many steps of a denoiser or an autoencoder, and as small a part of the others."""
        part = min(1.0, steps / cls.denoiser_steps)
        classifier = max(1, round(cls.classifier_steps * part))
        quality, conditional = (max(2, round(n * part)) for n in (cls.quality_steps, cls.conditional_quality_steps))
        return cls(steps, classifier, quality, steps, steps, steps, conditional)


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
_DATA: dict[str, Any] = {
    "data": "scikit-learn load_digits: the 1,797 test images of UCI's Optical Recognition of Handwritten Digits "
    "data set (E. Alpaydin, C. Kaynak, 1998)",
    "data_licence": "CC BY 4.0",
    "shape": [1, 8, 8],
}
DENOISER: dict[str, Any] = {"parametrisation": "epsilon", "clip": [-1.0, 1.0]}
_CPU = torch.device("cpu")


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
    check_writing(folder, Card)
    images, labels = load_digits()
    pixels = to_uint8(images)
    recipe = Recipe(steps=budget.denoiser_steps, seed=seed)
    trained = fit_denoiser(folder, UNET, images, recipe, reporter)
    short = replace(recipe, steps=budget.classifier_steps, batch=64, warmup=100)
    classifier, accuracy = _fit_classifier(folder, pixels, labels, short, reporter)
    about = "DDPM U-Net (diffusers UNet2DModel, 0.9 million parameters) of 8 x 8 handwritten digits."
    card = digits_card("digits", about, recipe, trained) | DENOISER
    card["extractor"] = {
        "name": "digits",
        "description": "Convolutional classifier of the same digits; 64 penultimate features, 10 logits.",
        "test_accuracy": accuracy,
    }

    def write(out: Path) -> None:
        write_denoiser(out, UNET, trained)
        write_json(out / EXTRACTOR_CONFIG, CLASSIFIER)
        save_tensors(out / EXTRACTOR_WEIGHTS, classifier)
        write_card(out, card)
        extractor = load_extractor(None, load_model(str(out), _CPU), _CPU)
        write_statistics(out / REFERENCE, extractor, pixels, about={"data": "digits"})
        write_card(out, card)
        model, ddpm, steps = load_model(str(out), _CPU), SAMPLERS.make("ddpm"), budget.quality_steps
        found = quality_of(model, ddpm, steps, seed, extractor, reporter)
        write_card(out, card | {"quality": {"ddpm_steps": steps} | found})

    return write_folder(folder, write)


def train_digits_vae(folder: Path, budget: Budget, seed: int, reporter: Reporter) -> Path:
    """Train the autoencoder, keep its decoder, measure that with the extractor of `digits`, write the card.

    Arguments and result are those of `train_digits`.
    """
    check_writing(folder, Card)
    images, _ = load_digits()
    recipe = Recipe(steps=budget.vae_steps, seed=seed)
    torch.manual_seed(seed)  # the initial weights
    vae = Vae(VAE)
    with reporter("autoencoder", recipe.steps) as report:
        trained = train(vae, vae_loss(vae, images, recipe), recipe, Keeping(folder / "vae", report))
    vae.load_state_dict(trained.state)
    about = (
        "Decoder of a convolutional variational autoencoder (0.2 million parameters) of 8 x 8 handwritten digits, for "
        "the sampler one-step; measured with the extractor and reference of digits."
    )
    card = digits_card("digits-vae", about, recipe, trained) | {
        "network": "decoder",
        "noise_shape": [VAE["latent"], 1, 1],
        "parametrisation": "sample",
    }
    card["training"] |= {"likelihood_sigma": SIGMA}

    def write(out: Path) -> None:
        save_tensors(out / WEIGHTS, vae.decoder.state_dict())
        write_json(out / CONFIG, VAE)
        write_card(out, card)
        extractor = load_extractor(None, load_model("digits", _CPU), _CPU)
        model, one_step = load_model(str(out), _CPU), SAMPLERS.make("one-step")
        found = quality_of(model, one_step, 1, seed, extractor, reporter)
        write_card(out, card | {"quality": {"sampler": "one-step", "extractor_sha256": extractor.sha256} | found})

    return write_folder(folder, write)


def fit_denoiser(
    folder: Path,
    config: dict[str, Any],
    images: Tensor,
    recipe: Recipe,
    reporter: Reporter,
    labels: Labels | None = None,
) -> Trained:
    """Train a U-Net of a configuration, with classes if there are labels; its checkpoints go into a folder."""
    torch.manual_seed(recipe.seed)  # the initial weights
    unet, identity = make_unet(config), {} if labels is None else {"label dropout": labels.dropout}
    with reporter("denoiser", recipe.steps) as report:
        loss_of = denoising_loss(unet, images, DiscreteVP.linear(), recipe, labels=labels)
        return train(unet, loss_of, recipe, Keeping(folder / "denoiser", report, identity))


def write_denoiser(out: Path, config: dict[str, Any], trained: Trained) -> None:
    """The weights of such a U-Net and its configuration."""
    save_tensors(out / WEIGHTS, trained.state)
    write_json(out / CONFIG, {"_class_name": "UNet2DModel"} | config)


def _fit_classifier(
    folder: Path, images: Tensor, labels: Tensor, recipe: Recipe, reporter: Reporter
) -> tuple[dict[str, Tensor], float]:
    """Train on four fifths of the data: the weights, and the accuracy on the rest."""
    torch.manual_seed(recipe.seed)
    network = Classifier(**CLASSIFIER)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(recipe.seed))
    held_out, kept = order[: len(order) // 5], order[len(order) // 5 :]
    with reporter("feature extractor", recipe.steps) as report:
        loss_of = shifting_loss(network, images[kept], labels[kept], recipe)
        trained = train(network, loss_of, recipe, Keeping(folder / "classifier", report))
    network.load_state_dict(trained.state)
    return trained.state, accuracy_of(network.eval(), images[held_out], labels[held_out])


def digits_card(name: str, description: str, recipe: Recipe, trained: Trained) -> dict[str, Any]:
    """What the cards of all these models say."""
    return {
        "schema_version": 1,
        "name": name,
        "description": description,
        **_DATA,
        "training_command": f"{called('train')} train {name}",
        "schedule": SCHEDULE,  # a decoder has that of the model it is compared with, as it knows no levels
        "training": training_of(recipe, trained)
        | {"images_seen": trained.steps * recipe.batch, "threads": torch.get_num_threads()},
    }


def quality_of(
    model: Model, sampler: Sampler, steps: int, seed: int, extractor: Extractor, reporter: Reporter
) -> dict[str, float | int]:
    """Frechet distance of generated images to one half of the real ones, and the other half's: the floor.

    All are of the same count, and means over ten ways to halve. A conditional model draws each class equally often: the
    share of its images, and of the real ones, that the extractor's classifier takes for their class.
    """
    (images, classes), card = load_digits(), model.card
    count = len(images) // 2
    labels = None if card.classes is None else torch.arange(count) % card.classes
    denoiser = model.denoiser(card.clip, labels)
    with reporter("quality", -(-count // 250)) as report:
        drawn = draw(denoiser, sampler, card.state_shape, steps, count, seed=seed, report=report)
    made, real = extract(extractor, drawn), extract(extractor, to_uint8(images))
    moments = Moments.of(made.features)
    pairs = [(between(moments, half), between(other, half)) for half, other in halves(real.features)]
    distance, floor = (sum(each) / len(pairs) for each in zip(*pairs, strict=True))
    found = {"images": count, extractor.column(count): distance, f"{extractor.column(count)}_floor": floor}
    if labels is None:
        return found
    return found | {"class_accuracy": _accuracy(made, labels), "class_accuracy_real": _accuracy(real, classes)}


def _accuracy(found: Features, labels: Tensor) -> float:
    assert found.logits is not None, "compact extractors have classes"
    return float((found.logits.argmax(1) == labels).double().mean())


TRAININGS = {"digits": train_digits, "digits-vae": train_digits_vae}
