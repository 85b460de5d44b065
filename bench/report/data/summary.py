"""What all outputs say of some runs: the table, its protocols, the answers and the failures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bench.model_record import Floors
from bench.packed import PACKED
from bench.report.data.answer import Answer, answer
from bench.report.data.columns import (
    UNGUIDED,
    Row,
    clippings,
    distinct_models,
    guest,
    has,
    mode_words,
    protocol_label,
    rows_of,
    with_columns,
)
from bench.report.data.decided import can_be_decided, decided_answer
from bench.report.data.distances import OWN_TRUTH, fd_columns, fd_label, quality_columns
from bench.report.data.fronts import protocols
from bench.report.data.looks import Decisions, follow
from bench.report.data.modes import mode_costs
from bench.report.data.published import Comparison, compare_published
from bench.report.data.rows import aggregate
from bench.report.data.runs import NEEDED, Run, load
from bench.report.data.section import Section, was_timed
from bench.report.data.selection import left_out, selected
from bench.report.data.text import flat, steps_words
from bench.report.data.view import USUAL, View
from models.common.errors import UsageError
from models.common.program import typed
from models.plugins.registry import unknown


@dataclass(frozen=True, eq=False)
class Summary:
    """All that the outputs are made from.

    Attributes:
        runs: in the order given.
        cells: the records, with the name of their run.
        table: the aggregated rows of all protocols.
        sections: the table by protocol.
        failed: records of the cells that failed.
        published: what has been published about the runs' cells, and what was measured.
        decisions: of a single run whose images grow; None: every row has all images.
        view: what is shown, and how.
        left_out: of a selection, what it is and how much is not shown, in words.
        unshown: records of first looks that are not in the selection.
    """

    runs: list[Run]
    cells: pd.DataFrame
    table: pd.DataFrame
    sections: list[Section]
    failed: list[Row]
    published: list[Comparison]
    decisions: Decisions | None = None
    view: View = USUAL
    left_out: str | None = None
    unshown: int = 0

    @property
    def title(self) -> str:
        whole = " + ".join(dict.fromkeys(str(run.study["title"]) for run in self.runs))
        return f"{whole} (selection)" if self.left_out else whole

    @property
    def answers(self) -> list[Answer]:
        """The answers of all sections, each saying what it holds for where there are several; never none."""
        if self.sections and self.left_out:
            return [_scoped(each, "Of the selection") for each in replace(self, left_out=None).answers]
        if self.sections:
            answering = [section for section in self.sections if not section.first]
            several = len(answering) > 1
            pairs = [(section, each) for section in answering for each in section.answers]
            return [_scoped(each, section.label) if several else each for section, each in pairs]
        sentence = f"No answer: no cell has a result ({len(self.failed)} failed, {self.missing} not measured yet)."
        return [Answer(sentence, self.runs[0].tolerance)]

    @property
    def missing(self) -> int:
        """Cells that are still to be measured."""
        return sum(run.planned - len(_first_look(run, self.cells)) for run in self.runs) - self.unshown

    def broken(self) -> list[str]:
        """The files that are no records, or a damaged first look or picture, in sentences: they count for nothing."""
        found = {file: reason for run in self.runs for file, reason in run.broken.items()}
        records = [f"{file} is no record: {flat(each)}" for file, each in found.items()]
        looks = [flat(run.damage) for run in self.runs if run.damage is not None]
        shown = [f"{file} is not the picture that was written" for run in self.runs for file in sorted(run.pictures)]
        again = "and not shown; delete its cell's record, and run the study again."
        broken = [f"Broken: {each}; run the study again." for each in records + looks]
        return broken + [f"Broken: {each}, {again}" for each in shown]


def run_name(path: Path) -> str:
    """What a run is called; in a folder of reports a packed one as that is."""
    place = path.resolve()
    return place.parent.name if place.name == PACKED else place.stem if place.is_file() else place.name


def read(runs: Sequence[Path], names: Sequence[str] | None = None) -> list[tuple[Run, pd.DataFrame]]:
    """Runs and their records, by these names, or as they are called, or by their paths where two are called alike.

    Raises:
        UsageError: no run, the same run twice, or a folder that is no run folder.
    """
    if not runs:
        raise UsageError("no run was given; expected one or more run folders, such as results/quick")
    paths = [Path(run) for run in runs]
    given = f"{', '.join(map(str, paths))}; give each run once"
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError(f"a run was given twice: {given}")
    plain = list(map(run_name, paths))
    usual = [name if plain.count(name) == 1 else str(path) for path, name in zip(paths, plain, strict=True)]
    found = [load(path, typed(label)) for path, label in zip(paths, names or usual, strict=True)]
    records = [frozenset(zip(each["id"], each["finished"], strict=True)) for _, each in found if "finished" in each]
    if any(records.count(each) > 1 for each in filter(None, records)):
        raise UsageError(f"the same records are in two of these runs, such as one and its copy: {given}")
    return found


def summarise(runs: Sequence[Path], view: View = USUAL, names: Sequence[str] | None = None) -> Summary:
    """Read runs and work out the table, the answers and the failures.

    Args:
        runs: run folders.
        view: see `View`.
        names: of the runs; None: as they are called.

    Raises:
        UsageError: no run, the same run twice, a folder that is no run folder, a view of what no row has, or a
            selection of nothing.
    """
    found, records = zip(*read(runs, names), strict=True)
    cells = with_columns(pd.concat(records, ignore_index=True), NEEDED)
    kept, growing = _of_looks(found, cells)
    whole, every = cells, kept
    if view.selection:
        if not len(cells):
            raise UsageError(str(found[0].nothing))
        cells, kept = selected(cells, view.selection), selected(kept, view.selection)
    table = aggregate(kept)
    failed = rows_of(cells.assign(clipping=clippings(cells))[cells["status"] == "failed"])
    sections = [_section(rows, rank, found, cells, failed) for rows, rank in protocols(table)]
    # what looks have decided is of all settings
    decisions = growing.get(found[0].name) if len(found) == 1 and not view.selection else None
    sections = [_followed(each, decisions) if decisions else _unfollowed(each, growing) for each in sections]
    # a value is that of a whole row, whatever is shown of it
    rows = aggregate(every) if view.selection else table
    shown_ids = set(cells["id"]) if view.selection else None
    published = [line for run in found for line in compare_published(run, whole, rows, shown_ids)]
    _check_view(view, [section.rows for section in sections])
    told, unshown = None, 0
    if view.selection:
        told = left_out(whole, cells, view.selection)
        unshown = sum(len(_first_look(run, whole)) - len(_first_look(run, cells)) for run in found)
    shown = cells.drop(columns="baseline")
    return Summary(list(found), shown, table, sections, failed, published, decisions, view, told, unshown)


def _first_look(run: Run, cells: pd.DataFrame) -> pd.DataFrame:
    """The records of a run that it was to have at least: of the first look, where images grow."""
    own = cells[cells["run"] == run.name]
    return own[own["images"] == run.looks[0]] if run.looks else own


def _check_view(view: View, sections: Sequence[pd.DataFrame]) -> None:
    there = dict.fromkeys(
        each.key for rows in sections for each in quality_columns(rows.columns) if has(rows, each.key)
    )
    if view.metric is not None and view.metric not in there:
        raise UsageError(f"no row has a {view.metric!r} to show; there is: {', '.join(there) or 'no quality at all'}")
    _check_axes(view, sections)
    if view.columns == "seconds" and not any(map(was_timed, sections)):
        raise UsageError("nothing was timed, so that no row has seconds; take columns of nfe or steps")


def _check_axes(view: View, sections: Sequence[pd.DataFrame]) -> None:
    """UsageError for an axis that is no column of numbers in any section."""
    there = dict.fromkeys(name for rows in sections for name in numeric_columns(rows))
    for name in filter(None, (view.x, view.y)):
        if name not in there:
            raise unknown("column of numbers", name, there)


def numeric_columns(rows: pd.DataFrame) -> list[str]:
    """The columns of rows of the table that an axis can show: of numbers, known in some row."""
    numbers = rows.select_dtypes("number").columns
    return [str(name) for name in numbers if has(rows, str(name))]


def _of_looks(runs: Sequence[Run], cells: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Decisions]]:
    """The records that rows are made of, and what runs have decided whose images grow, by their names.

    Of such a run these are the records of the last look that has all settings, and of the last one that is complete.
    """
    found = dict[str, Decisions]()
    for run in (run for run in runs if run.looks):
        own = (cells["run"] == run.name).to_numpy()
        mine = cells[own]
        decisions = follow(mine, aggregate(mine), run.looks, run.tolerance, run.planned, timed=run.timed)
        last = max(decisions.everyone, decisions.images)
        cells = cells[~own | cells["images"].isin([decisions.everyone, last]).to_numpy()]
        # where all settings have come as far, and nobody asked for a decision, the answer is the usual one
        if decisions.everyone < last or run.study.get("until") is not None:
            found[run.name] = decisions
    return cells, found


def _unfollowed(section: Section, found: dict[str, Decisions]) -> Section:
    """A section of several runs, without an answer where not all settings of one of them have come as far."""
    names = {name for each in section.rows["run"] for name in each.split(" + ")}
    if all(each.everyone >= section.images for name, each in found.items() if name in names):
        return section
    sentence = f"No answer: not all settings have {section.images:,} images; each run by itself has the answer."
    return replace(
        section, answers=[replace(each, sentence=sentence, winner=None, speedup=None) for each in section.answers]
    )


def _followed(section: Section, decisions: Decisions) -> Section:
    """A section of a run whose images grow, with the answer that its looks have led to."""
    if section.images != decisions.images:
        return replace(section, first=True, answers=[_looking(each, section, decisions) for each in section.answers])
    if not can_be_decided(decisions) or not any(answer.baseline is not None for answer in section.answers):
        return section
    found = decided_answer(decisions, section.records, section.floors)
    return replace(section, answers=[found if each.baseline is not None else each for each in section.answers])


def _looking(answer: Answer, section: Section, decisions: Decisions) -> Answer:
    """What is said in the place of an answer where all settings are seen with fewer images than the last had."""
    sentence = f"All settings at {section.images:,} images; the answer is of {decisions.images:,}."
    return replace(answer, sentence=sentence, winner=None, speedup=None)


def _section(
    rows: pd.DataFrame, rank: str | None, runs: Sequence[Run], cells: pd.DataFrame, failed: list[Row]
) -> Section:
    unmeasured = [name for name in fd_columns(rows.columns) if name != rank]
    derived = ("", "_std", "_ci", "_inf", "_inf_std", "_inf_ci")
    rows = rows.drop(columns=[f"{name}{end}" for name in unmeasured for end in derived], errors="ignore")
    rows = rows.assign(model=distinct_models(rows), clipping=clippings(rows))
    found = rows_of(rows)
    costs = mode_costs(found, cells, rank, {run.name: run.mode for run in runs})
    section = Section(protocol_label(found, rank), rows, rank, [], costs, _floors(found[0], rank, runs))
    clocks = section.clocks()
    answers = [_answer(section, rows_of(group), runs, failed) for _, group in clocks]
    if len(answers) > 1:
        answers = [_scoped(each, clock) for each, (clock, _) in zip(answers, clocks, strict=True)]
    return replace(section, answers=answers)


def _floors(row: Row, rank: str | None, runs: Sequence[Run]) -> Floors | None:
    """Those of the protocol that a row belongs to."""
    key = (rank, row["extractor_sha256"], row["reference_sha256"])
    known = [each for run in runs for each in run.floors]
    fitting = [each for each in known if (each.column, each.extractor_sha256, each.reference_sha256) == key]
    return min(fitting, key=lambda each: abs(each.noise_images - row["images"]), default=None)


def _answer(section: Section, rows: list[Row], runs: Sequence[Run], failed: list[Row]) -> Answer:
    """The answer among the rows of a clock."""
    run = next(run for run in runs if f"{rows[0]['run']} + ".startswith(f"{run.name} + "))
    return answer(rows, section.rank, run.tolerance, _gap(run, failed, section, rows), section.floors)


def _gap(run: Run, failed: list[Row], section: Section, rows: list[Row]) -> str:
    """What to say of a baseline that is not among some rows of a section."""
    if section.rank in OWN_TRUTH and all(map(guest, rows)):
        distance = fd_label(str(section.rank))
        return f"the baseline is of another model, and {distance} is a distance to each model's own truth"
    sampler, grid, steps, guidance = run.baseline
    guided = "" if guidance == UNGUIDED else f" with {guidance}"
    words = f"the baseline ({sampler} on {grid} at {steps_words(steps)}{guided}{mode_words(run.mode)})"
    for row in failed:
        if row["run"] == run.name and run.is_baseline(row):
            return f"{words} failed ({flat(row['error'])})"
    elsewhere = [clock for clock, each in section.clocks() if each["baseline"].any()]
    if elsewhere:
        return f"{words} was measured on {elsewhere[0]}"
    return f"{words} was not measured{' on this flow' if section.rank == 'solver_rmse' else ''}"


def _scoped(answer: Answer, scope: str) -> Answer:
    """An answer that says what it holds for, where there are several."""
    return replace(answer, sentence=f"{scope}: {answer.sentence}")
