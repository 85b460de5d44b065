"""`run_bench.py train digits-conditional` and `train digits-conditional-weak`: the embedded models for guidance.

Both are given classes and at times none (arXiv 2207.12598). They are measured with the extractor and the reference of
`digits`, which their cards name, and by the share of their images that the extractor's classifier takes for the class
asked for.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.quality.datasets import load_digits
from bench.quality.extractors import load_extractor
from bench.training.digits import DENOISER, UNET, Budget, digits_card, fit_denoiser, quality_of, write_denoiser
from bench.training.folder import check_writing, write_card, write_folder
from bench.training.loop import Reporter
from bench.training.losses import Labels
from bench.training.recipe import Recipe
from models.cards.card import Card
from models.loading.zoo import load_model
from samplers import SAMPLERS

NULL_LABEL = 10
LABEL_DROPOUT = 0.1
CONDITIONAL = UNET | {"num_class_embeds": NULL_LABEL + 1}
WEAK = CONDITIONAL | {"block_out_channels": [8, 16, 32]}
_CPU = torch.device("cpu")
# a constant rate: raise the steps of the budget, and a training that has ended goes on
_recipe = partial(Recipe, batch=128, warmup=150, decay="constant", checkpoint_every=100)


def train_digits_conditional(folder: Path, budget: Budget, seed: int, reporter: Reporter) -> Path:
    """Train the denoiser, measure it with what `digits` is measured with, write the card.

    Arguments and result are those of `bench.training.digits.train_digits`.
    """
    about = (
        "Class-conditional DDPM U-Net (diffusers UNet2DModel, 0.9 million parameters) of 8 x 8 handwritten digits, "
        "trained with label dropout for guidance."
    )
    recipe = _recipe(steps=budget.conditional_steps, seed=seed)
    return _train("digits-conditional", about, CONDITIONAL, recipe, folder, budget, reporter)


def train_digits_conditional_weak(folder: Path, budget: Budget, seed: int, reporter: Reporter) -> Path:
    """Train a smaller network of the kind of `digits-conditional`, and less: what autoguidance asks for.

    A network that errs as the better one does, but more, guides it away from its errors (arXiv 2406.02507). Arguments
    and result are those of `bench.training.digits.train_digits`.
    """
    about = (
        "A smaller (0.2 million parameters) and less trained network of the kind of digits-conditional, which it "
        "guides in autoguidance."
    )
    recipe = _recipe(steps=budget.weak_steps, seed=seed)
    return _train("digits-conditional-weak", about, WEAK, recipe, folder, budget, reporter)


def _train(
    name: str, about: str, config: dict[str, Any], recipe: Recipe, folder: Path, budget: Budget, reporter: Reporter
) -> Path:
    check_writing(folder, Card)
    images, classes = load_digits()
    trained = fit_denoiser(folder, config, images, recipe, reporter, Labels(classes, NULL_LABEL, LABEL_DROPOUT))
    card = digits_card(name, about, recipe, trained) | DENOISER
    card |= {"classes": NULL_LABEL, "null_label": NULL_LABEL, "measured_by": "digits"}
    card["training"] |= {"label_dropout": LABEL_DROPOUT}

    def write(out: Path) -> None:
        write_denoiser(out, config, trained)
        write_card(out, card)
        model, ddpm, steps = load_model(str(out), _CPU), SAMPLERS.make("ddpm"), budget.conditional_quality_steps
        extractor = load_extractor(None, model, _CPU)
        found = quality_of(model, ddpm, steps, recipe.seed, extractor, reporter)
        measured = {"ddpm_steps": steps, "extractor_sha256": extractor.sha256}
        write_card(out, card | {"quality": measured | found})

    return write_folder(folder, write)


TRAININGS = {
    "digits-conditional": train_digits_conditional,
    "digits-conditional-weak": train_digits_conditional_weak,
}
"""As `bench.training.digits.TRAININGS`, what makes each."""
