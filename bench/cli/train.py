"""The commands that train: models, and the extractors that their quality is measured with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from bench.escape import terminal_text
from bench.outputs import RESULTS
from bench.progress import bar
from bench.training.options import CifarOptions, ExtractorOptions
from models.common.errors import UsageError
from models.common.program import called

if TYPE_CHECKING:
    from bench.training.loop import Report

train = App(name="train", help="Train a model or a feature extractor; a killed training goes on from its checkpoint.")


@train.default
def train_embedded(model: str, /, *, out: Path | None = None, seed: int = 0, steps: int | None = None) -> int:
    """Make an embedded model again from scratch.

    Args:
        model: Its name: digits, digits-conditional, digits-conditional-weak, digits-vae, digits-oracle or
            digits-mixture.
        out: Folder for checkpoints and the model (default: results/train-NAME).
        seed: Of initialisation, batches, times and noise.
        steps: Steps of the denoiser's training, to try the command out; all other stages shrink alike.
    """
    from bench.training.conditional import TRAININGS as CONDITIONAL
    from bench.training.digits import TRAININGS, Budget
    from bench.training.oracle import MAKERS
    from models.plugins.registry import unknown

    trainings = TRAININGS | CONDITIONAL | MAKERS
    if model not in trainings:
        raise unknown("trainable model", model, [*trainings, "cifar10", "extractor"])
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed}: expected 0 ... 2^32 - 1")
    if steps is not None and steps < 1:
        raise UsageError(f"--steps {steps}: expected at least 1")
    budget = Budget() if steps is None else Budget.of(steps)
    _show_use(trainings[model](RESULTS / f"train-{model}" if out is None else out, budget, seed, _training_progress))
    return 0


@train.command
def extractor(*, options: ExtractorOptions = ExtractorOptions()) -> int:  # noqa: B008
    """Train a feature extractor on the classes of CIFAR-10 or of a folder of small images, and take their statistics.

    The quality of models of such images is measured with these.
    """
    from bench.training.extractor import train_extractor

    folder = train_extractor(options, _training_progress)
    if folder is not None:
        print(terminal_text(f'{folder}\nin a study: extractor = "{folder}"\nand for training: --extractor {folder}'))
    return 0


@train.command
def cifar10(*, options: CifarOptions = CifarOptions()) -> int:  # noqa: B008
    """Train a DDPM of CIFAR-10, or of a folder of small images."""
    from bench.training.cifar10 import train_cifar10

    folder = train_cifar10(options, _training_progress)
    if folder is not None:
        _show_use(folder)
    return 0


def _show_use(path: Path) -> None:
    from models.loading.sources import load_card

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
def _training_progress(stage: str, steps: int) -> "Iterator[Report]":
    with bar() as shown:
        task = shown.add_task(stage, total=steps)

        def report_step(step: int, loss: float) -> None:
            said = f"{stage}, loss {loss:.4f}" if loss else stage
            if step % 20 == 0 or step == steps:
                shown.update(task, completed=step, description=said, refresh=True)
            if not shown.console.is_terminal and (step % 500 == 0 or step == steps):
                shown.console.print(f"{said}, step {step} of {steps}", markup=False)  # a log file shows no bar

        yield report_step
