"""What a run is to measure: the cells of each look by their names, which are what determines them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from bench.purity.unchanged import put_back
from bench.record import cell_id, fault_of_identity
from bench.running.resolve import Resolved, resolve
from bench.running.session import Session
from bench.study.plan import Cell, Expectation, StudyPart, expectations, looks, plan
from models.common.errors import UsageError
from models.plugins.foreign import foreign

Stage = dict[str, Resolved]
"""Cells by their names."""


@dataclass(frozen=True)
class Stages:
    """The cells of a study.

    Attributes:
        images: of each look; one number where images do not grow.
        cells: of each look, the same cell in the same place; of a part of the study its own.
        listed: the names of the cells of the whole study, for the manifest.
        published: entries of the manifest, of the cells of the last look.
    """

    images: list[int]
    cells: list[Stage]
    listed: list[str]
    published: list[dict[str, Any]]

    @classmethod
    def of(cls, session: Session, *, grow: bool) -> "Stages":
        """Those of a session's study, whose images grow or not.

        Raises:
            UsageError: a cell whose sampler, grid and model do not fit together, or that no record could hold; or a
                part of a study whose images grow, or of one that has fewer settings than parts.
        """
        study, part = session.study, session.part
        if part is not None and grow:
            part.refuse_growing()
        images = looks(study) if grow else [study.most_images]
        with put_back(f"planning the study {study.name!r}"):
            resolved = [(cell, _resolved(cell, session)) for cell in plan(study)]
            known = expectations(study)
        cells = [_named(resolved, each, images[0]) for each in images]
        names = {cell: _name(each.at(images[-1], images[0])) for cell, each in resolved} if known else {}
        published = [_published(names[each.cell], each) for each in known]
        listed = list(dict.fromkeys(name for stage in cells for name in stage))
        return cls(images, cells if part is None else [_own(part, each) for each in cells], listed, published)

    @property
    def all(self) -> Stage:
        """The cells of all looks."""
        return {name: each for stage in self.cells for name, each in stage.items()}


def _named(resolved: Sequence[tuple[Cell, Resolved]], images: int, first: int) -> Stage:
    """Cells with so many images, by their names; the same in the same place, however many images.

    Where a model has no range to clip to, a clipped cell and one that is not are the same.
    """
    sized = [each.at(images, first) for _, each in resolved]
    return {_name(each): each for each in sized}


def _own(part: StudyPart, stage: Stage) -> Stage:
    """The cells that are in a part, named as they are: what no record tells apart is one setting."""
    settings = part.settings(each.cell for each in stage.values())
    return {name: each for name, each in stage.items() if each.cell.setting in settings}


def in_turn(stage: Stage) -> Stage:
    """Cells in the order of what they tell: of each seed the baseline, then every sampler at its first number of steps,
    at its second, and so on.
    """
    first, seeds, lines = next(iter(stage.values())).cell, dict[int, int](), Counter[Cell]()
    turns = dict[str, tuple[int, int]]()
    for name, each in stage.items():
        line, turn = replace(each.cell, steps=0), 0
        if each.cell.setting != first.setting:
            lines[line] += 1
            turn = lines[line]
        turns[name] = seeds.setdefault(each.cell.seed, len(seeds)), turn
    return {name: stage[name] for name in sorted(stage, key=lambda name: turns[name])}


def _published(cell: str, expected: Expectation) -> dict[str, Any]:
    """A manifest's entry: what was published, and which cell is to reproduce it, in words too."""
    content = {field.name: getattr(expected, field.name) for field in fields(expected) if field.name != "cell"}
    words = {name: getattr(expected.cell, name) for name in ("sampler", "grid", "steps", "guidance", "model")}
    return {"cell": cell} | words | content


def _resolved(cell: Cell, session: Session) -> Resolved:
    """A cell made ready; UsageError, too, for whatever its sampler or grid raises meanwhile."""
    with foreign(str(cell)):
        return resolve(cell, session)


def _name(resolved: Resolved) -> str:
    """The id of a cell; UsageError if no record could hold what determines it."""
    if (wrong := fault_of_identity(resolved.identity)) is not None:
        raise UsageError(
            f"{resolved.cell}: no record can hold it, which has values of JSON, lists and tables three deep at most: "
            f"{wrong}"
        )
    return cell_id(resolved.identity)


def expected_evaluations(resolved: Resolved) -> int:
    """Evaluations an image, for the time estimate; a sampler that cannot say counts as one a step."""
    try:
        declared = resolved.declared().nfe
    except UsageError:  # its cell fails when it is measured
        declared = None
    return declared or len(resolved.guidance.evaluated) * (len(resolved.levels) - 1)
