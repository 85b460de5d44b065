"""From a study to its cells: here, and only here, the product is taken."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

from bench.study.evaluations import declared_nfe
from bench.study.study import Block, Clipping, Study
from models.cards.schedule_cards import ScheduleCard
from models.common.errors import UsageError
from models.common.words import counted
from models.grids import GRIDS, Grid, TooManySteps
from models.guidance import GUIDANCES, Guidance
from models.loading.sources import describe_model
from models.networks.modes import Mode
from models.plugins import installed
from models.schedule import Level, Schedule
from samplers import SAMPLERS, Sampler

UNGUIDED = "none"
_USUAL = str(Mode())
_FURTHER = 8
"""Steps that are tried beyond those that a budget seems to allow, and as many as these, where evaluations may fall."""


@dataclass(frozen=True)
class Cell:
    """One row to be measured: a sampler on a grid of some steps, with one seed.

    Attributes:
        model: as the study spells it.
        main: whether that is the study's main model.
        clip: whether predictions of x_0 are clamped, as `bench.study.study` has it.
        guidance: how outputs are joined, as `models.guidance` spells it.
        mode: how the network is executed, as `models.networks.modes` spells it.
    """

    sampler: str
    grid: str
    steps: int
    seed: int
    model: str
    main: bool = True
    clip: Clipping = True
    guidance: str = UNGUIDED
    mode: str = _USUAL

    def __str__(self) -> str:
        return f"{self.words}, seed {self.seed}"

    @property
    def words(self) -> str:
        """What is timed: all but the seed."""
        model = "" if self.main else f"{self.model}: "
        guidance = "" if self.guidance == UNGUIDED else f", {self.guidance}"
        mode = "" if self.mode == _USUAL else f", {self.mode}"
        return f"{model}{self.sampler} on {self.grid}, {self.steps} step{'s' * (self.steps != 1)}{guidance}{mode}"

    @property
    def setting(self) -> "Cell":
        """The same for all seeds: what is timed."""
        return replace(self, seed=0)


class BudgetTooSmall(UsageError):
    """A sampler takes more evaluations in a single step than it may."""


@dataclass(frozen=True)
class StudyPart:
    """A part of a study's settings: of all in the order of the plan, each `of`-th, so that the first has the baseline.

    All seeds of a setting are in one part, since its times are.

    Attributes:
        number: from 1.
        of: how many parts there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "StudyPart":
        """From words such as "2/8"; UsageError for others."""
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        part = cls(0, 0) if found is None else cls(int(found[1]), int(found[2]))
        if not 1 <= part.number <= part.of:
            raise UsageError(f"--part {text!r}; expected K/N, part K from 1 to N of N parts, such as 2/8")
        return part

    def __str__(self) -> str:
        return f"part-{self.number}-of-{self.of}"

    def settings(self, cells: Iterable[Cell]) -> set[Cell]:
        """Those of a study's cells, in the order of its plan, that are in this part; UsageError for more parts."""
        found = list(dict.fromkeys(cell.setting for cell in cells))
        if len(found) < self.of:
            count = counted(len(found), "setting")
            raise UsageError(
                f"--part {self.number}/{self.of}: the study has {count}, so that some parts would have none; take "
                f"{len(found)} parts at most"
            )
        return set(found[self.number - 1 :: self.of])

    def refuse_growing(self) -> None:
        """UsageError: who has more images is decided among all settings, of which a part has some."""
        raise UsageError(
            f"--part {self.number}/{self.of} of a study whose images grow (--minutes, or until): which settings have "
            "more images is decided among all of them. Leave out --minutes, or until in the study; --images says how "
            "many a cell has"
        )


@dataclass(frozen=True)
class Expectation:
    """A published value, and the cell that is to reproduce it; see `bench.study.study.Published`."""

    cell: Cell
    column: str
    value: float
    tolerance: float
    images: int
    source: str
    open_points: tuple[str, ...]


def plan(study: Study) -> list[Cell]:
    """The cells of a study, the baseline's first, each once, in canonical spelling.

    Raises:
        UsageError: a block with budgets whose samplers, grids and model do not fit together.
    """
    base = study.baseline
    first, guidance = study.modes[0], base.guidance or study.guidance[0]
    cells = [
        _cell(base.sampler, base.grid, base.steps, guidance, seed, study, study.model, first) for seed in study.seeds
    ]
    cells += [cell for block in study.block for cell, _ in _product(study, block)]
    return list(dict.fromkeys(cells))


def expectations(study: Study) -> list[Expectation]:
    """What has been published about a study's cells."""
    found = []
    for block in study.block:
        if (known := block.published) is not None:
            for cell, n in _product(study, block):
                words = (known.source, tuple(known.open_points))
                found.append(Expectation(cell, known.column, known.values[n], known.tolerance, known.images, *words))
    return found


def looks(study: Study) -> list[int]:
    """At how many images each the settings of a study are compared while they grow: twice as many at every look.

    In whole tens but for the last, so that an image stays in its block (image i is in block i mod 10).
    """
    images, found = study.fewest_images, list[int]()
    while images < study.most_images:
        found.append(-(-images // 10) * 10)
        images *= 2
    return [*(each for each in found if each < study.most_images), study.most_images]


def _product(study: Study, block: Block) -> Iterator[tuple[Cell, int]]:
    """A block's cells, each with the position of its steps or evaluations in the block."""
    seeds = study.seeds if block.seeds is None else block.seeds
    modes = study.modes if block.modes is None else block.modes
    guidances = study.guidance if block.guidance is None else block.guidance
    model = study.model if block.model is None else block.model
    schedule = _schedule(study, model) if block.steps is None else None
    for sampler, grid, guidance in product(block.samplers, block.grids, guidances):
        steps = _steps(block, sampler, grid, guidance, schedule)
        for (n, count), mode, seed in product(enumerate(steps), modes, seeds):
            yield _cell(sampler, grid, count, guidance, seed, study, model, mode, block.clip), n


def _schedule(study: Study, model: str) -> Schedule:
    """A model's schedule: as the study states it, else from its files, which may have to be fetched."""
    changes = study.changes_of(model)
    if changes is not None and changes.schedule is not None:
        return built(changes.schedule)
    return built(describe_model(model, changes).schedule)


@lru_cache(maxsize=64)
def built(schedule: ScheduleCard) -> Schedule:
    """The schedule that a card describes, the same object for equal cards."""
    return schedule.build()


def _steps(block: Block, sampler: str, grid: str, guidance: str, schedule: Schedule | None) -> list[int]:
    """A block's numbers of steps, or those that its budgets allow on a schedule."""
    if schedule is None:
        return block.steps or []
    made, placed, guided = SAMPLERS.make(sampler), GRIDS.make(grid), GUIDANCES.make(guidance)
    return [most_steps(made, placed, schedule, budget, guided) for budget in block.evaluations or ()]


def most_steps(
    sampler: Sampler,
    grid: Grid,
    schedule: Schedule,
    budget: int,
    guidance: Guidance = GUIDANCES.make(UNGUIDED),  # noqa: B008  (frozen)
) -> int:
    """The most steps on a grid whose declared evaluations an image stay within a budget.

    Raises:
        BudgetTooSmall: one step takes more.
        UsageError: the sampler does not declare its evaluations, or the grid cannot be placed on the schedule at all.
    """
    spec, on = SAMPLERS.spec_of(sampler), GRIDS.spec_of(grid)
    guided = GUIDANCES.spec_of(guidance)
    return _most_steps(type(sampler), spec, type(grid), on, type(guidance), guided, schedule, budget)


@lru_cache(maxsize=4096)
def _most_steps(
    sampler: type, spec: str, grid: type, on: str, guidance: type, under: str, schedule: Schedule, budget: int
) -> int:
    """Of classes by their specifications: a study is checked before it is planned, and each asks for the same."""
    made, guided = SAMPLERS.make(spec), GUIDANCES.make(under)

    def evaluations(steps: int) -> int:
        try:
            levels = list(_levels(grid, on, schedule, steps))
        except TooManySteps:
            if steps == 1:
                raise
            return budget + 1
        declared = declared_nfe(spec, made, guided, levels, schedule)
        if declared is None:
            raise UsageError(f"{spec} cannot say its evaluations before; give its block steps")
        return declared

    with installed.around(spec):
        found = bisect_right(range(1, budget + 1), budget, key=evaluations)
        if found == budget > evaluations(budget) and evaluations(budget + 1) <= budget:
            found += 1  # the analytical first step takes none
        if guided.varies:  # more steps may have fewer in the interval
            more = range(found + 1, min(2 * found + _FURTHER, budget) + 1)
            found = max((steps for steps in more if evaluations(steps) <= budget), default=found)
    if found == 0:
        who = spec if under == UNGUIDED else f"{spec} under {under}"
        raise BudgetTooSmall(f"{who} takes more than {counted(budget, 'evaluation')} in a single step")
    return found


@lru_cache(maxsize=4096)
def _levels(grid: type, spec: str, schedule: Schedule, steps: int) -> tuple[Level, ...]:
    """The levels of a grid, made once for all samplers and budgets that are tried on it."""
    return tuple(GRIDS.make(spec)(schedule, steps))


def _cell(
    sampler: str,
    grid: str,
    steps: int,
    guidance: str,
    seed: int,
    study: Study,
    model: str,
    mode: str,
    clip: Clipping | None = None,
) -> Cell:
    made, placed = SAMPLERS.make(sampler), GRIDS.spec_of(GRIDS.make(grid))
    return Cell(
        SAMPLERS.spec_of(made),
        "native" if made.places_steps else placed,
        steps,
        seed,
        model,
        main=model == study.model,
        clip=study.clip if clip is None else clip,
        guidance=GUIDANCES.spec_of(GUIDANCES.make(guidance)),
        mode=mode,
    )
