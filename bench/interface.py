"""What the commands do, for notebooks and programs: `bench.run`, `bench.load` and `bench.Run`.

Importing this takes no time; torch is imported where something is run, pandas and matplotlib where they are asked for.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from bench.escape import terminal_text
from bench.outputs import RESULTS
from bench.progress import bar, errors, silent, warn
from bench.purity.plugins import load_plugins
from bench.running.executors.choice import Workers as Workers
from models.common.errors import Notice
from models.common.errors import UsageError as UsageError
from models.common.explain import shown
from models.common.files import expanded

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from bench.record import ImageFiles, RunFolder
    from bench.report import Answer, Summary
    from bench.running.executors.base import Desk, Executor
    from bench.running.runner import Outcome
    from bench.running.session import Session
    from bench.study.overrides import Overrides
    from bench.study.study import Study

MOST_MINUTES = 1_000_000  # two years


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder, with what its records say: they are read when something is first asked for, and once.

    A cell that failed raises nothing: it is in `cells` and `failed`, with its error. What is broken of the folder
    counts for nothing and is told by a warning (`models.common.errors.Notice`).

    Attributes:
        path: of the folder.
        outcome: what `run` measured, kept and left; None of a run that was loaded.
    """

    path: Path
    outcome: "Outcome | None" = None

    @cached_property
    def _summary(self) -> "Summary":
        from bench.report import summarise

        summary = summarise([self.path])
        for line in summary.broken():
            warnings.warn(line, Notice, stacklevel=4)
        return summary

    @property
    def cells(self) -> "pd.DataFrame":
        """The records, a row each, as in `cells.parquet`; `list columns` explains the columns."""
        from bench.report import cells_of

        return cells_of(self._summary)

    @property
    def failed(self) -> "pd.DataFrame":
        """The records of the cells that failed; `error` says why."""
        cells = self.cells
        return cells[cells["status"] == "failed"]

    @property
    def table(self) -> "pd.DataFrame":
        """The rows of the report, all seeds of a setting in one, as in `table.parquet`."""
        from bench.report import table_of

        return table_of(self._summary)

    @property
    def answer(self) -> str:
        """What the run found out, as the report says it: a sentence, or a line for each device and protocol."""
        return "\n".join(each.sentence for each in self._summary.answers)

    @property
    def answers(self) -> "list[Answer]":
        """The same with the rows that it is about: `winner`, `baseline` and `speedup`."""
        return self._summary.answers

    def figure(self, name: str) -> "Figure":
        """A figure of the report, such as "quality_vs_nfe"; UsageError if there is none, or none of this run."""
        from bench.report.figures.plots import draw

        return draw(self._summary, name)

    def report(self, folder: str | Path | None = None, formats: str | Sequence[str] | None = None) -> list[Path]:
        """Write the report.

        Args:
            folder: for the files; None: the run's.
            formats: of `bench.report.FORMATS`, also as "md,csv"; None: all. "mlflow" and "wandb" send each row.

        Returns:
            The files written.

        Raises:
            UsageError: an unknown format, or a folder that cannot be written to.
        """
        from bench.report import FORMATS, write_report

        wanted = formats.split(",") if isinstance(formats, str) else FORMATS if formats is None else formats
        return write_report([self.path], wanted, None if folder is None else expanded(folder), self._summary)

    def _repr_markdown_(self) -> str:
        """As notebooks show it: the answer and the tables."""
        from bench.report.tables.markup import markdown

        return markdown(self._summary)


def load(path: str | Path) -> Run:
    """A run that is there, finished or not; torch is not needed for it.

    Args:
        path: its folder, such as "results/quick".

    Raises:
        UsageError: it is no run folder, or a newer version has written it.
    """
    from bench.record import RunFolder

    folder = RunFolder(expanded(path))
    folder.manifest()
    return Run(folder.path)


def run(
    study: str | Path | Mapping[str, Any],
    overrides: "Overrides | Mapping[str, Any] | None" = None,
    *,
    out: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
    force: bool = False,
    minutes: float | None = None,
    part: str | None = None,
    save_images: "ImageFiles | None" = None,
    workers: Workers = Workers(),  # noqa: B008  (frozen)
    quiet: bool = False,
) -> Run:
    """Run a study: measure every cell that is not recorded yet. Nothing is reported: `Run.report` does that.

    What is finished is kept, whatever interrupts it, and the same call goes on. Settings of torch and of the process
    are afterwards what they were before. An error names what is wrong as the command line does: `--steps` is the
    override `steps`.

    Args:
        study: Name of a shipped study, a TOML file, or what stands in one.
        overrides: What is to hold instead of what the study says, by the names of the options of `run_bench.py run`,
            such as {"samplers": "ddim,heun", "steps": [5, 10]}.
        out: Run folder (default: results/NAME, or results/NAME-part-K-of-N).
        plugins: Python files that register samplers, guidances or networks; one that is loaded already stays so.
        force: Measure again what is already recorded.
        minutes: Measure no longer: few images of everything first, then more. The same call goes on.
        part: Only the K-th of N parts of the settings, as "K/N"; `run_bench.py merge` joins them.
        save_images: Keep all images of each cell beside its record: "npz", a file as the evaluator of guided-diffusion
            (ADM) reads it, or "png", a folder of one file each. A cell whose images are not there is measured again;
            its times stay.
        workers: Where cells are measured; what they give does not depend on it.
        quiet: Print no progress on stderr.

    Returns:
        The run. Cells that failed are in it, with their errors.

    Raises:
        UsageError: something given that cannot be used, or a missing prerequisite; nothing has been measured then.
    """
    load_plugins(plugins)
    asked = (study, overrides, out, minutes, part, workers, save_images)
    with silent(quiet), prepared(*asked) as (session, folder, executor):
        from bench.running.deadline import Deadline
        from bench.running.runner import run_study
        from bench.running.telling import CellProgress, tell

        with bar() as shown:
            progress = CellProgress(shown, grow=session.study.until is not None or minutes is not None)
            deadline = None if minutes is None else Deadline(60.0 * minutes)
            outcome = run_study(session.study, session, folder, force, progress, progress.warn, deadline, executor)
        tell(outcome, folder)
    return Run(folder.path, outcome)


@contextmanager
def prepared(
    study: str | Path | Mapping[str, Any],
    overrides: "Overrides | Mapping[str, Any] | None",
    out: str | Path | None,
    minutes: float | None,
    part: str | None,
    workers: Workers = Workers(),  # noqa: B008  (frozen)
    save_images: "ImageFiles | None" = None,
    *,
    dry: bool = False,
) -> "Iterator[tuple[Session, RunFolder, Callable[[Desk], Executor]]]":
    """What a run needs, loaded and checked: a session, its folder, and what makes its executor.

    What it sets of torch and the process is put back after. The arguments are those of `run`; if `dry`, all is here.
    """
    if minutes is not None and not 0 < minutes <= MOST_MINUTES:
        raise UsageError(f"--minutes {minutes:g}; expected more than 0, and at most {MOST_MINUTES:,}")
    from bench.timing.host_load import HostLoad

    host = HostLoad()
    arrived = host.read()  # before torch is imported, which takes long enough to see what others use
    from bench.purity.unchanged import ProcessState
    from bench.quality.saved_images import image_files
    from bench.study.idle import idle_guidances
    from bench.study.plan import StudyPart

    own = None if part is None else StudyPart.parse(part)
    before, kind, seen = ProcessState(), image_files(save_images), list[str]()
    try:
        read, given = _read(study, overrides)
        read, workers = (read.model_copy(update={"timeout": None}), Workers()) if dry else (read, workers)
        if own is not None and (read.until is not None or minutes is not None):
            own.refuse_growing()
        usual = read.name if own is None else f"{read.name}-{own}"
        folder = run_folder(RESULTS / usual if out is None else expanded(out))
        with ExitStack() as stack:
            with errors.status(Text(terminal_text(f"loading model {read.model!r} ..."))):
                from bench.environment import pick_device
                from bench.running.executors.choice import carried_out, in_this_process
                from bench.timing.monitor import at_start

                batch, here = folder.batch(read.most_images, read.device), workers.ray is None
                if here and not in_this_process(read, workers):  # before workers, which are others to this process
                    seen = at_start(host, arrived, pick_device(read.device))
                loaded, executor = stack.enter_context(carried_out(read, workers, batch, kind))
            for line in at_start(host, arrived, loaded.device) if in_this_process(read, workers) else seen:
                warn(line)
            for line in idle_guidances(read):
                warn(line)
            yield replace(loaded, given=given, part=own), folder, executor
    finally:
        before.put_back()


def _read(
    study: str | Path | Mapping[str, Any], overrides: "Overrides | Mapping[str, Any] | None"
) -> "tuple[Study, str | None]":
    """A study, and what it was called by; None: it was given itself."""
    from bench.purity.unchanged import put_back
    from bench.study.content import as_toml
    from bench.study.file import load_study, study_of
    from bench.study.overrides import Overrides, overrides_of

    said = overrides_of(as_toml(overrides, "overrides")) if isinstance(overrides, Mapping) else overrides or Overrides()
    if isinstance(study, Mapping):
        content = as_toml(study, "study")
        named = f"study {shown(content['name'])}" if "name" in content else "study"
        with put_back(f"planning the {named}"):
            return study_of(content, named, said, complete=True), None
    with put_back(f"planning the study {str(study)!r}"):
        return load_study(str(study), said, complete=True), str(study)


def run_folder(path: Path) -> "RunFolder":
    """A run folder; UsageError if it is yet to be made and no run can be called so."""
    from bench.record import RunFolder
    from models.plugins.names import check_name

    if not RunFolder(path).is_run:
        try:
            check_name(path.resolve().name, "run")
        except UsageError as error:
            raise UsageError(f"--out {str(path)!r}: {error}; for instance {str(path / 'my-run')!r}") from None
    return RunFolder(path)
