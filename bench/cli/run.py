"""What the commands do once their arguments are read: progress on stderr, the answer and the paths on stdout."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import interface, report
from bench.escape import markdown_text, terminal_text
from bench.outputs import make_room
from bench.progress import errors, output, say, warn
from bench.report.data.text import duration, significant
from bench.running.executors.choice import Workers
from models.common.errors import UsageError
from models.common.words import counted
from models.common.writing import write_bytes

if TYPE_CHECKING:
    import pandas as pd

    from bench.record import ImageFiles
    from bench.running.session import Session
    from bench.study.file import Overrides


def run_and_report(
    name: str,
    overrides: "Overrides",
    out: Path | None,
    *,
    force: bool,
    dry_run: bool,
    minutes: float | None = None,
    part: str | None = None,
    save_images: "ImageFiles | None" = None,
    workers: Workers = Workers(),  # noqa: B008  (frozen)
    plugins: Sequence[Path] = (),
) -> int:
    """Run a study or a part of it, in so many minutes if they are given, and write its report; the exit status."""
    if dry_run:
        asked = (name, overrides, out, minutes, part)
        with interface.prepared(*asked, save_images=save_images, dry=True) as (session, *_):
            return _dry_run(session, by_workers=workers != Workers())
    done = interface.run(
        *(name, overrides),
        out=out,
        plugins=plugins,
        force=force,
        minutes=minutes,
        part=part,
        save_images=save_images,
        workers=workers,
    )
    report_runs([done.path], None, None)
    return 1 if done.outcome is None or done.outcome.failed or done.outcome.untimed else 0


def merge_runs(runs: Sequence[Path], out: Path) -> int:
    """Join runs into a new one and write its report; the exit status."""
    from bench.running.merge import merge

    with errors.status("joining records ..."):
        joined = merge(runs, interface.run_folder(out).path, warn)
    told = f"{counted(joined.cells, 'cell')} of {counted(len(runs), 'run')} joined"
    warn(f"{told}, {joined.failed} failed, {joined.missing} not measured yet", style=None)
    report_runs([out], None, None)
    return 1 if joined.failed else 0


def _dry_run(session: "Session", *, by_workers: bool) -> int:
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
    alone = ", by one worker" if by_workers else ""
    say(f"about {about} of network evaluations and feature extraction on {device}{alone}")
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
