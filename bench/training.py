"""`run_bench.py train`: makes an embedded model again from scratch, down to its card with every hash."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.features import EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS, Extractor, Features, extract, load_extractor
from bench.images import to_uint8
from bench.metrics import frechet
from bench.noise import ImageNoise
from bench.reference import REFERENCE, Reference, write_reference
from models.classifier import Classifier
from models.denoiser import Denoiser
from models.errors import UsageError
from models.grids import GRIDS
from models.networks import make_unet
from models.schedule import DiscreteVP
from models.train import Recipe, Report, Trained, train_classifier, train_denoiser
from models.zoo import CARD, CONFIG, WEIGHTS, Card, Model, load_model, sha256_of
from samplers import SAMPLERS


class Reporter(Protocol):
    """Shows progress of one stage at a time."""

    def __call__(self, stage: str, steps: int) -> AbstractContextManager[Report]: ...


@dataclass(frozen=True)
class Budget:
    """How much to train: the defaults make the shipped model, tests take a tiny one."""

    denoiser_steps: int = 16_000
    classifier_steps: int = 1_500
    quality_steps: int = 1_000


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
SCHEDULE = {"kind": "linear", "train_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02}


def load_digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's handwritten digits: images (1797, 1, 8, 8) float32 in [-1, 1], labels (1797,) int64."""
    try:
        from sklearn.datasets import load_digits as load
    except ImportError:
        raise UsageError(
            "training on the digits needs scikit-learn and tomli-w: uv run --extra train run_bench.py train digits"
        ) from None
    data = load()
    return torch.tensor(data.images, dtype=torch.float32)[:, None] / 8.0 - 1.0, torch.tensor(data.target)


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
    out, work = folder / "model", folder
    try:
        (out / EXTRACTOR_CONFIG).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {str(out)!r}: {error}; choose another folder with --out") from None
    recipe = Recipe(steps=budget.denoiser_steps, seed=seed)
    trained = _fit_denoiser(out, work, images, recipe, reporter)
    short = replace(recipe, steps=budget.classifier_steps, batch=64, warmup=100)
    accuracy = _fit_classifier(out, work, to_uint8(images), labels, short, reporter)
    card = _card(recipe, trained, accuracy)
    _write_card(out, card)
    extractor = load_extractor(load_model(str(out), torch.device("cpu")), torch.device("cpu"))
    write_reference(out / REFERENCE, extractor, to_uint8(images))
    _write_card(out, card)
    model = load_model(str(out), torch.device("cpu"))
    card["quality"] = _quality(model, extractor, to_uint8(images), budget.quality_steps, seed, reporter)
    _write_card(out, card)
    return out


TRAININGS: dict[str, Callable[[Path, Budget, int, Reporter], Path]] = {"digits": train_digits}


def _fit_denoiser(out: Path, work: Path, images: Tensor, recipe: Recipe, reporter: Reporter) -> Trained:
    torch.manual_seed(recipe.seed)  # the initial weights
    unet = make_unet(UNET)
    with reporter("denoiser", recipe.steps) as report:
        trained = train_denoiser(unet, images, DiscreteVP.linear(), recipe, work / "denoiser.pt", report)
    save_file(trained.state, out / WEIGHTS)
    (out / CONFIG).write_text(json.dumps({"_class_name": "UNet2DModel"} | UNET, indent=1) + "\n")
    return trained


def _fit_classifier(out: Path, work: Path, images: Tensor, labels: Tensor, recipe: Recipe, reporter: Reporter) -> float:
    """Train on four fifths of the data; the accuracy on the rest."""
    torch.manual_seed(recipe.seed)
    network = Classifier(**CLASSIFIER)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(recipe.seed))
    held_out, kept = order[: len(order) // 5], order[len(order) // 5 :]
    with reporter("feature extractor", recipe.steps) as report:
        trained = train_classifier(network, images[kept], labels[kept], recipe, work / "classifier.pt", report)
    network.load_state_dict(trained.state)
    network.eval()
    with torch.inference_mode():
        correct = network(images[held_out])[1].argmax(1) == labels[held_out]
    save_file(trained.state, out / EXTRACTOR_WEIGHTS)
    (out / EXTRACTOR_CONFIG).write_text(json.dumps(CLASSIFIER, indent=1) + "\n")
    return float(correct.double().mean())


def _quality(
    model: Model, extractor: Extractor, images: Tensor, steps: int, seed: int, reporter: Reporter
) -> dict[str, float | int]:
    """DDPM's Frechet distance to one half of the real data, and the other half's: the floor. All of the same count."""
    count = len(images) // 2
    drawn = extract(extractor, _draw(model, count, steps, seed, reporter))
    real = extract(extractor, images)
    floors, distances = [], []
    for split in range(10):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(split))
        half = _as_reference(Features(real.features[order[:count]], real.logits[order[:count]]), extractor)
        other = real.features[order[count : 2 * count]]
        floors.append(frechet(other.mean(0), torch.cov(other.T), half))
        distances.append(frechet(drawn.features.mean(0), torch.cov(drawn.features.T), half))
    return {
        "images": count,
        "ddpm_steps": steps,
        "fd_digits": sum(distances) / len(distances),
        "fd_digits_floor": sum(floors) / len(floors),
    }


def _draw(model: Model, count: int, steps: int, seed: int, reporter: Reporter) -> Tensor:
    levels = GRIDS.make("trailing")(model.schedule, steps)
    sampler = SAMPLERS.make("ddpm")
    drawn = []
    with reporter("quality", -(-count // 250)) as report, torch.inference_mode():
        for done, numbers in enumerate(torch.arange(count).split(250)):
            denoiser = Denoiser(model.network, model.card.parametrisation, model.schedule, model.card.clip)
            source = ImageNoise(seed, numbers)
            x = source(torch.empty(len(numbers), *model.card.shape)) * model.schedule.prior_std(levels[0])
            drawn.append(to_uint8(sampler.sample(denoiser, x, levels, source)))
            report(done + 1, 0.0)
    return torch.cat(drawn)


def _as_reference(features: Features, extractor: Extractor) -> Reference:
    values = features.features
    return Reference("half of the real data", values.mean(0), torch.cov(values.T), values, extractor.sha256)


def _card(recipe: Recipe, trained: Trained, accuracy: float) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": "digits",
        "description": "DDPM U-Net (diffusers UNet2DModel, 0.9 million parameters) of 8 x 8 handwritten digits.",
        "data": "scikit-learn load_digits: the 1,797 test images of UCI's Optical Recognition of Handwritten Digits "
        "data set (E. Alpaydin, C. Kaynak, 1998)",
        "data_licence": "CC BY 4.0",
        "training_command": "uv run --extra train run_bench.py train digits",
        "shape": [1, 8, 8],
        "parametrisation": "epsilon",
        "clip": [-1.0, 1.0],
        "schedule": SCHEDULE,
        "training": {
            **asdict(recipe),
            "images_seen": recipe.steps * recipe.batch,
            "weights": "EMA",
            "seconds": round(trained.seconds),
            "threads": torch.get_num_threads(),
            "loss": trained.loss,
        },
        "extractor": {
            "name": "digits",
            "description": "Convolutional classifier of the same digits; 64 penultimate features, 10 logits.",
            "test_accuracy": accuracy,
        },
    }


def _write_card(out: Path, card: dict[str, Any]) -> None:
    import tomli_w  # only training writes TOML

    present = (CONFIG, WEIGHTS, EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS, REFERENCE)
    files = {name: sha256_of(out / name) for name in present if (out / name).exists()}
    content = card | {"files": files}
    Card.model_validate(content)
    (out / CARD).write_text(tomli_w.dumps(content))
