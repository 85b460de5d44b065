"""What the commands do once their arguments are read: progress on stderr, the answer and the paths on stdout."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import Progress
from rich.text import Text

from bench import report
from bench.escape import markdown_text, terminal_text
from bench.outputs import RESULTS, make_room
from bench.progress import bar, errors, output, say, warn
from bench.record import MANIFEST, Record, RunFolder
from bench.report.data.text import duration, significant
from models.common.errors import UsageError
from models.common.words import counted
from models.common.writing import write_bytes
from models.plugins.names import check_name

if TYPE_CHECKING:
    import pandas as pd

    from bench.running.session import Session
    from bench.study.file import Overrides
    from bench.study.plan import Cell


MOST_MINUTES = 1_000_000
"""Two years."""


def run_and_report(
    name: str,
    overrides: "Overrides",
    out: Path | None,
    *,
    force: bool,
    dry_run: bool,
    minutes: float | None = None,
    part: str | None = None,
) -> int:
    """Run a study or a part of it, in so many minutes if they are given, and write its report; the exit status."""
    if minutes is not None and not 0 < minutes <= MOST_MINUTES:
        raise UsageError(f"--minutes {minutes:g}; expected more than 0, and at most {MOST_MINUTES:,}")
    from bench.timing.host_load import HostLoad

    host = HostLoad()
    arrived = host.read()  # before torch is imported, which takes long enough to see what others use
    from bench.purity.unchanged import put_back
    from bench.study.file import load_study
    from bench.study.plan import StudyPart

    own = None if part is None else StudyPart.parse(part)
    with put_back(f"planning the study {name!r}"):
        study = load_study(name, overrides, complete=True)
    grow = study.until is not None or minutes is not None
    if own is not None and grow:
        own.refuse_growing()
    usual = RESULTS / (study.name if own is None else f"{study.name}-{own}")
    folder = RunFolder(_named(usual if out is None else out))
    with errors.status(Text(terminal_text(f"loading model {study.model!r} ..."))):
        from bench.running.deadline import Deadline
        from bench.running.runner import run_study
        from bench.running.session import Session
        from bench.timing.monitor import at_start

        session = Session.load(study, folder.batch(study.most_images, study.device))
        session = replace(session, given=name, part=own)
    for line in at_start(host, arrived, session.device):
        warn(line)
    if dry_run:
        return _dry_run(session)
    with bar() as shown:
        progress = _CellProgress(shown, grow=grow)
        deadline = None if minutes is None else Deadline(60.0 * minutes)
        outcome = run_study(study, session, folder, force, progress, progress.warn, deadline)
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
    report_runs([folder.path], None, None)
    return 1 if outcome.failed or outcome.untimed else 0


def merge_runs(runs: Sequence[Path], out: Path) -> int:
    """Join runs into a new one and write its report; the exit status."""
    from bench.running.merge import merge

    with errors.status("joining records ..."):
        joined = merge(runs, _named(out), warn)
    told = f"{counted(joined.cells, 'cell')} of {counted(len(runs), 'run')} joined"
    warn(f"{told}, {joined.failed} failed, {joined.missing} not measured yet", style=None)
    report_runs([out], None, None)
    return 1 if joined.failed else 0


def _named(path: Path) -> Path:
    """A run folder; UsageError if it is yet to be made and no run can be called so."""
    if not os.path.exists(path / MANIFEST):
        try:
            check_name(path.resolve().name, "run")
        except UsageError as error:
            raise UsageError(f"--out {str(path)!r}: {error}; for instance {str(path / 'my-run')!r}") from None
    return path


def _dry_run(session: "Session") -> int:
    """Print a study's cells and what they will take; the exit status."""
    from bench.environment import device_name
    from bench.running.estimate import estimate

    with errors.status("calibrating ..."):
        found = estimate(session)
    for cell, nfe in found.cells:
        said = "as many evaluations as it takes" if nfe is None else f"{counted(nfe, 'evaluation')} an image"
        say(f"{cell}: {said}")
    unknown = sum(nfe is None for _, nfe in found.cells)
    apart = f", and {unknown} that cannot say theirs" if unknown else ""
    study, most = session.study, "" if session.study.until is None else "at most "
    cells = f"{counted(len(found.cells), 'cell')} of {most}{study.most_images:,} images"
    say(f"{cells}: {counted(found.evaluations, 'network evaluation')}{apart}")
    for name, (seconds, batch) in found.rates.items():
        say(f"{name}: {significant(1000 * seconds)} ms an evaluation of one image, in batches of {batch}")
    about, device = duration(found.seconds), device_name(session.device)
    say(f"about {about} of network evaluations and feature extraction on {device}")
    return 0


def report_runs(
    runs: Sequence[Path], formats: Sequence[str] | None, out: Path | None, view: report.View | None = None
) -> int:
    """Print the table and the answer of some runs and write their report; the exit status."""
    if not runs:
        raise UsageError("no run given; expected run folders, such as: report results/quick")
    summary = report.summarise(runs, view or report.View())
    with errors.status("writing tables and figures ..."):
        written = report.write_report(runs, report.FORMATS if formats is None else formats, out, summary)
    output().print(report.terminal_table(summary))
    for line in summary.broken():
        warn(line)
    for told in (*(answer.sentence for answer in summary.answers), *written):
        say(str(told))
    return 0


def compare_runs(run_a: Path, run_b: Path) -> int:
    """Print two runs side by side; the exit status."""
    frame = report.compare(run_a, run_b)
    for line in frame.attrs["broken"]:
        warn(line)
    if not len(frame):
        print("neither run has a result")
        return 0
    if not (frame["quality_comparable"] | frame["time_comparable"]).any():
        say("\n  ".join(["no cell of one run can be compared with one of the other", *frame.attrs["apart"]]))
        return 0
    print(_markdown(report.as_tables_show(frame)))
    return 0


def compare_pairs(run: Path, csv: Path | None) -> int:
    """Print every row of a run beside every other; the exit status."""
    if csv is not None:
        make_room(csv)
    frame = report.pairs(run)
    for line in frame.attrs["broken"]:
        warn(line)
    if not len(frame):
        print("no two rows can be ranked with one another")
    for heading, matrix in report.matrices(frame):
        print(f"{terminal_text(heading)}\n\n{_markdown(matrix)}\n")
    if len(frame):
        print("±: half the 95 % interval of a difference. †: cannot be told from 0 (p > 0.05, Holm, of all pairs).")
    if csv is not None:
        write_bytes(csv, report.as_csv(frame))
        print(csv)
    return 0


def _markdown(frame: "pd.DataFrame") -> str:
    """A table of Markdown; underscores within a heading mark nothing, and are left for those who read it as it is."""
    texts = [name for name in frame.columns if frame[name].map(lambda value: isinstance(value, str)).any()]
    plain = frame.assign(**{name: frame[name].map(_cell) for name in texts})
    headings = {name: name if str(name).isidentifier() else markdown_text(str(name)) for name in plain.columns}
    return plain.rename(columns=headings).to_markdown(index=False)


def _cell(value: object) -> object:
    return markdown_text(value) if isinstance(value, str) else value


_TOLD = ("fid", "law_fd", "solver_rmse")
"""What is told of a cell's quality: the first of these that it has, else its Frechet distance."""


class _CellProgress:
    """Progress of a run in image evaluations, whose rate is steady, drawn between timed calls only."""

    def __init__(self, bar: Progress, *, grow: bool) -> None:
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
