"""Whether a cell's sampler, grid and model fit together, told from the model's card alone, and where its grid ends."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bench.study.plan import Cell, built
from models.cards.card import Card
from models.cards.schedule_cards import DISCRETE, ScheduleCard
from models.common.errors import UsageError
from models.fitted import OWN
from models.grids import GRIDS
from models.grids.fitted import FittedGrid
from models.guidance import Guidance
from models.guidance.base import CONDITIONAL
from models.plugins.foreign import foreign
from models.schedule import Level
from samplers import SAMPLERS, Sampler
from samplers.about import declared_evaluations

if TYPE_CHECKING:
    from models.loading.model import Model


def place(cell: Cell, card: Card, main: Card) -> tuple[Sampler, list[Level]]:
    """A cell's sampler, and its levels on the schedule of its model.

    Args:
        cell: what is to be measured.
        card: of the cell's model.
        main: of the study's model, whose extractor and reference measure all cells.

    Raises:
        UsageError: images of another shape than the main model's, a sampler that needs another kind of model, or a
            grid that cannot be placed on the model's schedule or starts where the sampler cannot.
    """
    sampler = SAMPLERS.make(cell.sampler)
    try:
        if (why := other_shape(card, main) or misfit(cell.sampler, sampler, card)) is not None:
            raise UsageError(why)
        levels = levels_on(card.schedule, cell.grid, cell.steps)
        if (why := bad_start(cell.sampler, sampler, levels) or unfittable(cell.grid, cell.sampler, levels)) is not None:
            raise UsageError(why)
    except UsageError as error:
        raise UsageError(f"{cell}: {error}") from None
    return sampler, list(levels)


def other_shape(card: Card, main: Card) -> str | None:
    """Why a model cannot be measured beside a study's main one; None if it can."""
    if card.shape == main.shape:
        return None
    return (
        f"images of model {card.name!r} have shape {card.shape}, those of the study's model {main.name!r} "
        f"{main.shape}; the two cannot be measured by one reference. Give each a study of its own, or name the "
        "samplers of the study's own model: --samplers ..."
    )


def misfit(spec: str, sampler: Sampler, card: Card) -> str | None:
    """Why a sampler, named by a specification, cannot sample a model; None if it can."""
    if card.is_generator and sampler.needs == "denoiser":
        return (
            f"{spec} needs a denoiser, but model {card.name!r} is a generator, which has no noise levels to walk down; "
            "sample it with one-step"
        )
    if sampler.takes_betas and card.schedule.kind not in DISCRETE:
        return (
            f"{spec} needs betas, so a discrete variance-preserving schedule; that of model {card.name!r} is of kind "
            f"{card.schedule.kind!r}, which has none. Leave this sampler out"
        )
    if sampler.takes_flow and card.schedule.kind != "flow":
        return (
            f"{spec} is for flow matching, so for a schedule of kind 'flow'; that of model {card.name!r} is of kind "
            f"{card.schedule.kind!r}. Leave this sampler out"
        )
    if sampler.takes_variance and card.variance != "learned_range":
        has = "says nothing of it" if card.variance is None else f"has variance {card.variance!r}"
        return (
            f"{spec} needs a network that says the variance of a step, variance = 'learned_range' on its card; model "
            f"{card.name!r} {has}. Take fixed_small, fixed_large or analytic"
        )
    return None


def unguidable(spec: str, guidance: Guidance, card: Card, weaker: Card | None) -> str | None:
    """Why a model cannot be sampled under a guidance, named by a specification; None if it can.

    Args:
        spec, guidance: the guidance.
        card: of the model.
        weaker: of the guidance's weaker model, where it names one.
    """
    if guidance.evaluated == CONDITIONAL and weaker is None:
        return None
    if card.is_generator:
        return f"{spec} joins predictions of a denoiser, but model {card.name!r} is a generator, which makes none"
    if "unconditional" in guidance.evaluated and card.null_label is None:
        if card.classes is None:
            return f"{spec} needs a model with classes that knows images without one, too; model {card.name!r} has none"
        return (
            f"{spec} needs what stands for no class, but model {card.name!r} has the classes 0 ... {card.classes - 1} "
            "alone: say the null_label that it was trained with on its card or in the study's [checkpoint] table, or "
            "take auto[...], which needs none"
        )
    if weaker is None:
        return None
    apart = [name for name in _ALIKE if getattr(card, name) != getattr(weaker, name)]
    if not apart:
        return None
    told = "; ".join(f"{name}: {getattr(card, name)} and {getattr(weaker, name)}" for name in apart)
    return f"{spec} needs a weaker model of the same kind; models {card.name!r} and {weaker.name!r} differ in {told}"


def bad_start(spec: str, sampler: Sampler, levels: Sequence[Level]) -> str | None:
    """Why a sampler, named by a specification, cannot start at the first of some levels; None if it can."""
    if levels[0].alpha > 0.0 or sampler.starts_at_noise or sampler.places_steps:
        return None
    return (
        f"the grid starts at t = {levels[0].t:g}, where alpha is 0 and log(alpha / sigma) is -inf; {spec} cannot start "
        "there. Leave out the grid's t_start, or give one below, such as t_start=0.99"
    )


def unfittable(spec: str, sampler: str, levels: Sequence[Level]) -> str | None:
    """Why a grid cannot be fitted to a sampler, both named by specifications; None if it can, or is not fitted."""
    grid = GRIDS.make(spec)
    if not isinstance(grid, FittedGrid):
        return None
    if SAMPLERS.make(sampler).needs == "generator":
        return f"{spec} is fitted to the probability flow, and generators have none: give {sampler} another grid"
    if grid.fits_sampler is None:
        return None
    named = sampler if grid.fits_sampler == OWN else grid.fits_sampler
    made = SAMPLERS.make(named)
    if made.needs == "generator":
        why = "needs a generator"
    elif made.stochastic:
        why = "draws noise"
    elif made.places_steps or declared_evaluations(named, made, levels) is None:
        why = "places its steps itself"
    else:
        return None
    return (
        f"{spec} is fitted to where a solver of the probability flow ends, but {named} {why}; give it another grid, or "
        f"fit to a solver: {spec.partition('[')[0]}[sampler=ddim]"
    )


def no_range(card: Card) -> str | None:
    """Why x_0 of a model cannot be clipped by dynamic thresholding; None if it can."""
    if card.decoder is None or card.clip is not None:
        return None
    return (
        f"'dynamic' clips x_0 to the range of images, but model {card.name!r} predicts latents, which have none: leave "
        "it out, or say clip = [low, high] of latents in the study's [checkpoint] table"
    )


def no_law(name: str, card: Card) -> str | None:
    """Why distances to the law of a model cannot be measured; None if they can."""
    if card.is_exact and card.classes is None:
        return None
    if card.is_exact:
        return (
            f"metric 'law' is the distance to all of a law, but model {name!r} is asked for its classes; leave it out"
        )
    return (
        f"metric 'law' is the distance to a law that is known exactly, but model {name!r} is a trained network; leave "
        "'law' out of the study's metrics, or use an exact model such as digits-oracle"
    )


def no_classes(cards: Mapping[str, Card]) -> str | None:
    """Why class accuracy cannot be measured of any of a study's models, by their names; None if of one it can."""
    if any(card.takes_classes for card in cards.values()):
        return None
    models = f"model{'s' * (len(cards) > 1)} {', '.join(map(repr, cards))} {'have' if len(cards) > 1 else 'has'}"
    return (
        f"metric 'class_accuracy' is the share of images that are of the class asked for, but {models} no classes; "
        "leave 'class_accuracy' out of the study's metrics, or use a class-conditional model"
    )


def prompts_of(thing: "Card | Model") -> Any:
    """The prompts of a model, or those that its card says; None: it is given none."""
    return thing.prompts


def no_prompts(models: Sequence[str], *, prompted: bool) -> str | None:
    """Why the CLIP score of a study's models, by name, cannot be measured; None if some of them are given prompts."""
    if prompted:
        return None
    several = len(models) > 1
    return (
        f"metric 'clip_score' says how well images fit the prompts that they are made of, but model{'s' * several} "
        f"{', '.join(map(repr, models))} {'take' if several else 'takes'} none; leave 'clip_score' out of the study's "
        "metrics, or use a text-to-image model with prompts = FILE"
    )


def no_label(label: int, name: str, card: Card) -> str | None:
    """Why a model has no such class; None if it has."""
    if card.takes_classes and card.classes is not None and label < card.classes:
        return None
    if card.prompts is not None:
        return f"model {name!r} is given prompts, which image i has by its number, and has no classes"
    what = "has no classes" if card.classes is None else f"has the classes 0 ... {card.classes - 1}"
    return f"model {name!r} {what}"


_ALIKE = (
    "sample_shape",
    "prompts_sha256",
    "decoder",
    "parametrisation",
    "schedule",
    "classes",
    "value_range",
    "learns_variance",
)
"""What a weaker model of a guidance has in common with the one it guides."""


@lru_cache(maxsize=4096)
def levels_on(schedule: ScheduleCard, grid: str, steps: int) -> tuple[Level, ...]:
    """The levels of a grid, made once for all cells that walk them, which differ in sampler, seed or mode.

    Raises:
        UsageError: the grid cannot be placed on the schedule; TooManySteps: in so many steps.
    """
    with foreign(f"grid {grid!r}"):
        return tuple(GRIDS.make(grid)(built(schedule), steps))


def grid_ends(sampler: Sampler, levels: Sequence[Level]) -> dict[str, float | bool | None]:
    """Record columns: sigma / alpha of the first and of the last noisy level, and whether a step to clean data follows.

    None where sigma / alpha is infinite; all None for a sampler that places its steps itself.
    """
    if sampler.places_steps:
        return dict.fromkeys(("sigma_start", "sigma_end", "final_denoising"))
    clean = levels[-1].is_clean
    last = levels[-2] if clean else levels[-1]
    return {"sigma_start": _ratio(levels[0]), "sigma_end": _ratio(last), "final_denoising": clean}


def _ratio(level: Level) -> float | None:
    return level.sigma / level.alpha if level.alpha > 0.0 else None
