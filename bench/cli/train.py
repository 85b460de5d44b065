"""What `run_bench.py train` does once its arguments are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.escape import terminal_text
from bench.outputs import RESULTS
from bench.progress import bar
from bench.training.losses import Report
from models.common.errors import UsageError
from models.common.program import called
from models.loading.sources import load_card
from models.plugins.registry import unknown


def train_model(name: str, out: Path | None, seed: int, steps: int | None) -> int:
    """Train an embedded model; the exit status."""
    from bench.training.digits import TRAININGS, Budget
    from bench.training.oracle import MAKERS

    trainings = TRAININGS | MAKERS
    if name not in trainings:
        raise unknown("trainable model", name, [*trainings, "cifar10", "extractor"])
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed}: expected 0 ... 2^32 - 1")
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
    folder = trainings[name](RESULTS / f"train-{name}" if out is None else out, budget, seed, _training_progress)
    _show_use(folder)
    return 0


def train_on_images(given: dict[str, Any]) -> int:
    """Train a model of photographs with what the command line says of `CifarOptions`; the exit status."""
    from bench.training.cifar10 import train_cifar10
    from bench.training.options import CifarOptions

    folder = train_cifar10(CifarOptions(**given), _training_progress)
    if folder is not None:
        _show_use(folder)
    return 0


def train_on_classes(given: dict[str, Any]) -> int:
    """Train a feature extractor with what the command line says of `ExtractorOptions`; the exit status."""
    from bench.training.options import ExtractorOptions
    from bench.training.train_extractor import train_extractor

    folder = train_extractor(ExtractorOptions(**given), _training_progress)
    if folder is not None:
        print(terminal_text(f'{folder}\nin a study: extractor = "{folder}"\nand for training: --extractor {folder}'))
    return 0


def _show_use(path: Path) -> None:
    card, folder = load_card(path), terminal_text(str(path))
    if card.is_generator:
        print(f'{folder}\nin a block of a study: model = "{folder}", samplers = ["one-step"]')
    elif card.is_exact:
        print(f'{folder}\nin a study: model = "{folder}", metrics = ["law", "solver_error"]')
    else:
        print(f"{folder}\ntry it: {called()} run solvers --model {folder} --out results/solvers-trained")
        if card.extractor is not None or card.measured_by is not None:
            some = "--samplers ddpm,ddim,heun,dpm++2m,unipc"
            print(f"or: {called()} run quick --model {folder} {some} --out results/quick-trained")


@contextmanager
def _training_progress(stage: str, steps: int) -> Iterator[Report]:
    with bar() as shown:
        task = shown.add_task(stage, total=steps)

        def report_step(step: int, loss: float) -> None:
            said = f"{stage}, loss {loss:.4f}" if loss else stage
            if step % 20 == 0 or step == steps:
                shown.update(task, completed=step, description=said, refresh=True)
            if not shown.console.is_terminal and (step % 500 == 0 or step == steps):
                shown.console.print(f"{said}, step {step} of {steps}", markup=False)  # a log file shows no bar

        yield report_step
