"""What the commands for what comes of runs do: progress on stderr, tables, answers and paths on stdout."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import interface, report
from bench.escape import markdown_text, terminal_text
from bench.outputs import make_room
from bench.progress import errors, output, say, warn
from models.common.errors import UsageError
from models.common.files import expanded
from models.common.words import counted
from models.common.writing import write_bytes

if TYPE_CHECKING:
    import pandas as pd

    from bench.report.data.runs import Run


def merge_runs(runs: Sequence[Path], out: Path) -> int:
    """Join runs into a new one and write its report; the exit status."""
    from bench.running.merge import merge

    with errors.status("joining records ..."):
        joined = merge(runs, interface.run_folder(out).path, warn)
    told = f"{counted(joined.cells, 'cell')} of {counted(len(runs), 'run')} joined"
    warn(f"{told}, {joined.failed} failed, {joined.missing} not measured yet", style=None)
    report_runs([out], None, None)
    return 1 if joined.failed else 0


def pack_run(run: Path, out: Path | None) -> int:
    """Write a run into one file; the exit status."""
    from bench.packing import pack

    place = expanded(run).resolve()
    file = (place if place.is_file() else place.with_name(f"{place.name}.zip")) if out is None else expanded(out)
    recorded, cells = pack(expanded(run), file)
    size = f"{file.stat().st_size / 2**20:.1f} MiB"
    warn(f"{recorded} of {counted(cells, 'cell')} packed, {size}", style=None)
    say(str(file))
    return 0


def report_runs(
    runs: Sequence[Path], formats: Sequence[str] | None, out: Path | None, view: report.View | None = None
) -> int:
    """Print the table and the answer of some runs and write their report; the exit status."""
    if not runs:
        raise UsageError("no run given; expected run folders, such as: report results/quick")
    wanted, shown = report.FORMATS if formats is None else formats, view or report.View()
    report.check_asked(wanted, shown, out)
    summary = report.summarise(runs, shown)
    _told_of_nothing(summary.runs)
    sent = list[str]()
    with errors.status("writing tables and figures ..."):
        written = report.write_report(runs, wanted, out, summary, sent.append)
    output().print(report.terminal_table(summary))
    for line in summary.broken():
        warn(line)
    for told in (*(answer.sentence for answer in summary.answers), *written, *sent):
        say(str(told))
    return 0


def _told_of_nothing(runs: "Sequence[Run]") -> None:
    """Warn of runs without a record; UsageError if none has one."""
    empty = [each.nothing for each in runs if each.nothing is not None]
    if len(empty) == len(runs):
        raise UsageError("; ".join(empty))
    for each in empty:
        warn(each)


def publish_runs(runs: Sequence[Path], out: Path) -> int:
    """Write a site of some runs and say where; the exit status."""
    if not runs:
        raise UsageError("no run given; expected run folders, such as: publish results/quick --out site")
    with errors.status("writing the site ..."):
        written = report.publish([expanded(run) for run in runs], expanded(out))
    for path in written:
        say(str(path))
    return 0


def compare_runs(run_a: Path, run_b: Path, formats: Sequence[str] | None = None, out: Path | None = None) -> int:
    """Print two runs side by side, and write that where it is asked for; the exit status."""
    frame = report.compare(run_a, run_b)
    asked = formats is not None or out is not None
    written = report.write_comparison(frame, formats or report.COMPARED, out) if asked else []
    for line in frame.attrs["broken"]:
        warn(line)
    if not len(frame):
        print("neither run has a result")
    elif not (frame["quality_comparable"] | frame["time_comparable"]).any():
        say("\n  ".join(["no cell of one run can be compared with one of the other", *frame.attrs["apart"]]))
    else:
        output().print(report.terminal_comparison(frame))
    for path in written:
        say(str(path))
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
