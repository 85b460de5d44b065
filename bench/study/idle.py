"""Guidances in an interval in which no level of their cells' grids lies."""

from bench.study.placement import levels_on
from bench.study.plan import Cell, plan
from bench.study.study import Study
from models.cards.schedule_cards import ScheduleCard
from models.fitted import Fitted
from models.grids import GRIDS
from models.guidance import GUIDANCES
from models.guidance.base import CONDITIONAL
from models.loading.sources import describe_model
from samplers import SAMPLERS


def idle_guidances(study: Study) -> list[str]:
    """A line for each guidance that guides at no level of the grids of its cells.

    Nothing of samplers that place their steps themselves, and of fitted grids: where they ask is not known before.
    """
    found, lines = dict[tuple[str, str], set[Cell]](), list[str]()
    for cell in plan(study):
        if GUIDANCES.make(cell.guidance).varies:
            found.setdefault((cell.model, cell.guidance), set()).add(cell.setting)
    for (model, spec), cells in found.items():
        if any(map(_is_unknown, cells)) or _guides(spec, cells, _on(study, model)):
            continue
        low, high = GUIDANCES.make(spec).interval
        lines.append(
            f"{spec} guides where sigma/alpha is in ({low:g}, {high:g}], and no level of its cells' grids lies there; "
            "only samplers that ask between levels are guided at all"
        )
    return lines


def _is_unknown(cell: Cell) -> bool:
    """Whether the levels of a cell are not known before it is run."""
    return SAMPLERS.make(cell.sampler).places_steps or isinstance(GRIDS.make(cell.grid), Fitted)


def _on(study: Study, model: str) -> ScheduleCard:
    changes = study.changes_of(model)
    return describe_model(model, changes).schedule


def _guides(spec: str, cells: set[Cell], schedule: ScheduleCard) -> bool:
    """Whether a guidance does anything at any level of some cells, if it does anything at all."""
    guidance = GUIDANCES.make(spec)
    levels = (at for cell in cells for at in levels_on(schedule, cell.grid, cell.steps) if not at.is_clean)
    return guidance.evaluated == CONDITIONAL or any(guidance.branches(at) != CONDITIONAL for at in levels)
