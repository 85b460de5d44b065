"""What a run tells on stderr while it works, and when it is done."""

from typing import TYPE_CHECKING, Protocol

from rich.progress import Progress as Bar

from bench.progress import warn
from bench.record import Record, RunFolder
from bench.report.data.text import significant
from models.common.words import counted

if TYPE_CHECKING:
    from bench.running.runner import Outcome
    from bench.study.plan import Cell

_TOLD = ("fid", "law_fd", "solver_rmse")
_ELSE_TOLD = ("psnr", "clip_score")
"""What is told of a cell's quality: the first of these that it has, else its Frechet distance, else what is last."""


class Progress(Protocol):
    """What a run tells while it works."""

    def planned(self, cells: int, evaluations: int) -> None:
        """Before each look: the cells to measure, and the image evaluations that they will take."""

    def advanced(self, evaluations: int) -> None:
        """Image evaluations done; between timed regions only."""

    def finished(self, cell: "Cell", record: Record, kept: bool) -> None:
        """Every cell's record, and whether it was there already; without times, unless it was."""

    def timed(self, cell: "Cell", record: Record) -> None:
        """The record of a setting that has been timed in all its rounds."""


class CellProgress:
    """Progress of a run in image evaluations, whose rate is steady, drawn between timed calls only."""

    def __init__(self, bar: Bar, *, grow: bool) -> None:
        self._bar, self._grow = bar, grow
        self._cells = self._done = self._evaluations = 0
        self._task = bar.add_task("planning", total=None)

    def planned(self, cells: int, evaluations: int) -> None:
        self._cells += cells
        self._evaluations += evaluations
        words = f"cell {self._done} of {self._cells}" if self._cells else "timing"
        self._bar.update(self._task, total=self._evaluations, description=words, refresh=True)

    def advanced(self, evaluations: int) -> None:
        timing = "timing" if self._done == self._cells else None  # None leaves the description as it is
        self._bar.update(self._task, advance=evaluations, description=timing, refresh=True)

    def finished(self, cell: "Cell", record: Record, kept: bool) -> None:
        if kept:
            return
        self._done += 1
        self._bar.update(self._task, description=f"cell {self._done} of {self._cells}", refresh=True)
        if record["status"] == "failed":
            warn(f"{cell}: failed, {record['error']}")
            return
        measured = [name for name in _TOLD if isinstance(record.get(name), float)]
        measured += [name for name in record if name.startswith("fd_")]
        measured += [name for name in _ELSE_TOLD if isinstance(record.get(name), float)]
        shown = f"{measured[0]} {significant(record[measured[0]])}, " if measured else ""
        warn(f"{cell}: {shown}{counted(record['nfe'], 'evaluation')}{self._images(record)}", style=None)

    def _images(self, record: Record) -> str:
        """How many images a cell has, where they grow."""
        return f", {record['images']:,} images" if self._grow else ""

    def warn(self, text: str) -> None:
        warn(text)

    def timed(self, cell: "Cell", record: Record) -> None:
        if record.get("latency_s_median") is None:
            warn(f"{cell.words}: {record['timing_note']}")
            return
        note = "" if record["timing_valid"] else f" ({record['timing_note']})"
        per_image = 1000.0 * record["latency_s_median"] / record["timed_batch"]
        warn(f"{cell.words}: {per_image:.3f} ms an image{note}", style=None)


def tell(outcome: "Outcome", folder: RunFolder) -> None:
    """Say what was measured, what failed, and what is left to do."""
    for cell, reason in folder.broken.items():
        warn(f"{cell}.json was no record ({reason}); it was measured again", style=None)
    measured = counted(outcome.measured, "cell")
    warn(f"{measured} measured, {outcome.kept} kept from before, {outcome.failed} failed", style=None)
    if outcome.left:
        left, again = counted(outcome.left, "cell"), "run the study again to go on"
        warn(f"no time was left for {left} of the look that was begun last; {again}", style=None)
    if outcome.unfinished:
        lacking = counted(outcome.unfinished, "setting")
        warn(f"no time was left for all rounds of timing of {lacking}; run the study again to go on", style=None)
    if outcome.untimed:
        warn(f"the timing of {counted(outcome.untimed, 'setting')} failed; run the study again to go on", style=None)
