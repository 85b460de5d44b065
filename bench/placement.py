"""Whether a cell's sampler, grid and model fit together, told from the model's card alone, and where its grid ends."""

from collections.abc import Sequence
from functools import lru_cache

from bench.plan import Cell
from models.card import Card
from models.errors import UsageError
from models.foreign import foreign
from models.grids import GRIDS
from models.schedule import Level, Schedule
from models.schedule_cards import DISCRETE, ScheduleCard
from samplers import SAMPLERS, Sampler


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
    if card.shape != main.shape:
        raise UsageError(
            f"{cell}: images of model {card.name!r} have shape {card.shape}, those of the study's model {main.name!r} "
            f"{main.shape}; the two cannot be measured by one reference. Give each a study of its own, or name the "
            "samplers of the study's own model: --samplers ..."
        )
    sampler = SAMPLERS.make(cell.sampler)
    if card.is_generator and sampler.needs == "denoiser":
        raise UsageError(
            f"{cell}: {cell.sampler} needs a denoiser, but model {card.name!r} is a generator, which has no noise "
            "levels to walk down; sample it with one-step"
        )
    if sampler.takes_betas and card.schedule.kind not in DISCRETE:
        raise UsageError(
            f"{cell}: {cell.sampler} needs betas, so a discrete variance-preserving schedule; that of model "
            f"{card.name!r} is of kind {card.schedule.kind!r}, which has none. Leave this sampler out"
        )
    try:
        with foreign(f"grid {cell.grid!r}"):
            levels = list(_levels(card.schedule, cell.grid, cell.steps))
    except UsageError as error:
        raise UsageError(f"{cell}: {error}") from None
    if levels[0].alpha == 0.0 and not (sampler.starts_at_noise or sampler.places_steps):
        raise UsageError(
            f"{cell}: the grid starts at t = {levels[0].t:g}, where alpha is 0 and log(alpha / sigma) is -inf; "
            f"{cell.sampler} cannot start there. Leave out the grid's t_start, or give one below, such as t_start=0.99"
        )
    return sampler, levels


@lru_cache(maxsize=4096)
def _levels(schedule: ScheduleCard, grid: str, steps: int) -> tuple[Level, ...]:
    """Once for all cells that walk them, which differ in sampler, seed or mode."""
    return tuple(GRIDS.make(grid)(_built(schedule), steps))


@lru_cache(maxsize=64)
def _built(schedule: ScheduleCard) -> Schedule:
    return schedule.build()


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
