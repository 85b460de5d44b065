"""What the commands do once their arguments are read: progress on stderr, the answer and the paths on stdout."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench import report
from bench.listing import RESULTS
from bench.placement import place
from bench.record import Record, RunFolder
from bench.study import Cell, Overrides, load_study, plan
from models.errors import UsageError
from models.registry import unknown
from models.train import Report
from models.zoo import load_card, model_folder

_errors = Console(stderr=True, highlight=False, soft_wrap=True)


def run_and_report(name: str, overrides: Overrides, out: Path | None, *, force: bool, dry_run: bool) -> int:
    """Run a study and write its report; the exit status."""
    study = load_study(name, overrides)
    if dry_run:
        main = load_card(model_folder(study.model))
        for cell in plan(study):
            place(cell, load_card(model_folder(cell.model)), main)  # ends here if it does not fit
            print(cell)
        print(f"{len(plan(study))} cells of {study.images:,} images")
        return 0
    with _errors.status(f"loading model {study.model!r} ..."):
        from bench.cell import Rig
        from bench.runner import run_study

        rig = Rig.load(study)
    folder = RunFolder(RESULTS / study.name if out is None else out)
    with _bar() as bar:
        outcome = run_study(study, rig, folder, force, _CellProgress(bar, rig.extractor.name))
    _errors.print(f"{outcome.measured} cells measured, {outcome.kept} kept from before, {outcome.failed} failed")
    report_runs([folder.path], None, None)
    return 1 if outcome.failed else 0


def report_runs(runs: Sequence[Path], formats: Sequence[str] | None, out: Path | None) -> int:
    """Print the table and the answer of some runs and write their report; the exit status."""
    if not runs:
        raise UsageError("no run given; expected run folders, such as: report results/quick")
    summary = report.summarise(runs)
    with _errors.status("writing tables and figures ..."):
        written = report.write_report(runs, report.FORMATS if formats is None else formats, out)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120  # a log has no edge to wrap at
    console.print(report.terminal_table(summary))
    for answer in summary.answers:
        console.print(answer.sentence, soft_wrap=True, markup=False)
    for path in written:
        console.print(str(path), soft_wrap=True, markup=False)
    return 0


def compare_runs(run_a: Path, run_b: Path) -> int:
    """Print two runs side by side; the exit status."""
    frame = report.compare(run_a, run_b)
    print(frame.to_markdown(index=False) if len(frame) else "the two runs have no cell in common")
    return 0


def train_model(name: str, out: Path | None, seed: int, steps: int | None) -> int:
    """Train an embedded model; the exit status."""
    from bench.training import TRAININGS, Budget

    if name not in TRAININGS:
        raise unknown("trainable model", name, TRAININGS)
    budget = Budget()
    if steps is not None:
        if steps < 1:
            raise UsageError(f"--steps {steps}: expected at least 1")
        part = min(1.0, steps / budget.denoiser_steps)
        shorter = max(1, round(budget.classifier_steps * part))
        budget = replace(
            budget,
            denoiser_steps=steps,
            classifier_steps=shorter,
            quality_steps=max(2, round(1000 * part)),
            vae_steps=steps,
        )
    folder = TRAININGS[name](RESULTS / f"train-{name}" if out is None else out, budget, seed, _training_progress)
    generator = f'name it in a block of a study: model = "{folder}", samplers = ["one-step"]'
    denoiser = f"run_bench.py run quick --model {folder} --out results/quick-trained"
    print(f"{folder}\ntry it: {generator if load_card(folder).is_generator else denoiser}")
    return 0


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    # no refresh thread: it is drawn only when told to, so that it takes no time from what is measured
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=_errors, auto_refresh=False)


class _CellProgress:
    """Progress of a run in image evaluations, whose rate is steady, drawn between timed calls only."""

    def __init__(self, bar: Progress, extractor: str) -> None:
        self._bar, self._column = bar, f"fd_{extractor}"
        self._cells = self._done = 0
        self._task = bar.add_task("planning", total=None)

    def planned(self, cells: int, evaluations: int) -> None:
        self._cells = cells
        self._bar.update(self._task, total=evaluations, description=f"cell 0 of {cells}", refresh=True)

    def advanced(self, evaluations: int) -> None:
        self._bar.update(self._task, advance=evaluations, refresh=True)

    def finished(self, cell: Cell, record: Record, kept: bool) -> None:
        if kept:
            return
        self._done += 1
        self._bar.update(self._task, description=f"cell {self._done} of {self._cells}", refresh=True)
        if record["status"] == "failed":
            self._bar.console.print(f"{cell}: failed, {record['error']}", style="red", markup=False)
            return
        quality = record.get(self._column)
        shown = "" if quality is None else f"{self._column} {quality:.3f}, "
        per_image = 1000.0 * record["latency_s_median"] / record["timed_batch"]
        self._bar.console.print(
            f"{cell}: {shown}{record['nfe']:g} evaluations, {per_image:.3f} ms an image", markup=False
        )


@contextmanager
def _training_progress(stage: str, steps: int) -> Iterator[Report]:
    with _bar() as bar:
        task = bar.add_task(stage, total=steps)

        def report_step(step: int, loss: float) -> None:
            said = f"{stage}, loss {loss:.4f}" if loss else stage
            if step % 20 == 0 or step == steps:
                bar.update(task, completed=step, description=said, refresh=True)
            if not bar.console.is_terminal and (step % 500 == 0 or step == steps):
                bar.console.print(f"{said}, step {step} of {steps}")  # a log file shows no bar

        yield report_step
