"""The command line. Commands import what they need when they run, so that `--help` answers at once."""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from bench.cli.fit import fit
from bench.cli.interrupt import interruptible, tell
from bench.cli.new_model import new_model
from bench.cli.options import AsJson, Batch, Device, Plugin, StudyOptions, exact
from bench.cli.reference import reference
from bench.cli.results import compare, merge, pack, publish, report
from bench.cli.train import train
from bench.cli.versus import versus
from bench.escape import terminal_text
from bench.progress import notices, output, silence
from bench.purity.plugins import load_plugins
from bench.running.executors.choice import Workers
from models.common.errors import UsageError
from models.common.program import called
from models.plugins.foreign import told

FAILED, USAGE = 1, 2
_UNREAD = 141
"""128 and the number of SIGPIPE, as of a program that this ends."""

app = App(
    name=called(),
    help="Sampler Bench: which diffusion sampler gives which quality for how much compute.\n\n"
    "Without a command: the quick study on the embedded checkpoint.",
    help_format="markdown",
    version=lambda: version("sampler-bench"),
    suppress_keyboard_interrupt=False,
    console=output(),
    default_parameter=Parameter(negative=(), converter=exact),
)

for _command in (merge, pack, report, publish, compare, fit, new_model, reference, train, versus):
    app.command(_command)


@app.default
def quick(
    *, images: int | None = None, batch: Batch | None = None, out: Path | None = None, force: bool = False
) -> int:
    """Run the quick study on the embedded checkpoint.

    Args:
        images: Images a cell generates.
        batch: Images generated and timed at a time, or auto.
        out: Run folder (default: results/quick).
        force: Measure again what is already recorded.
    """
    return run("quick", options=StudyOptions(images=images, batch=batch), out=out, force=force)


@app.command
def run(
    study: str,
    /,
    *,
    options: StudyOptions = StudyOptions(),  # noqa: B008  (frozen)
    out: Path | None = None,
    force: bool = False,
    minutes: float | None = None,
    part: str | None = None,
    save_images: Literal["npz", "png"] | None = None,
    dry_run: bool = False,
    workers: Annotated[Workers, Parameter(name="*")] = Workers(),  # noqa: B008  (frozen)
    plugin: Plugin = None,
) -> int:
    """Run a study: measure every cell that is not recorded yet, then report.

    What is given here wins over the study; the resolved study is stored with the run. Exit status: 0 all well, 1 some
    cells failed, 2 wrong usage or a missing prerequisite; 130 interrupted, 143 and 129 ended by SIGTERM and SIGHUP:
    the same command goes on.

    Args:
        study: Name of a shipped study, or a TOML file.
        out: Run folder (default: results/NAME, or results/NAME-part-K-of-N).
        force: Measure again what is already recorded.
        minutes: Measure no longer: few images of everything first, then more. The same command goes on.
        part: Only the K-th of N parts of the settings, as K/N, such as 2/8: one a machine, which merge joins.
        save_images: Keep all images of each cell beside its record, as ADM's evaluator reads them or as a PNG each.
        dry_run: Only list the cells.
    """
    from bench.cli.run import run_and_report
    from bench.study.overrides import Overrides

    load_plugins(plugin)
    return run_and_report(
        *(study, Overrides(**vars(options)), out),
        force=force,
        dry_run=dry_run,
        minutes=minutes,
        part=part,
        save_images=save_images,
        workers=workers,
        plugins=plugin or [],
    )


@app.command(name="list")
def list_(
    what: Literal["samplers", "grids", "guidances", "models", "extractors", "metrics", "columns", "studies", "runs"],
    /,
    *,
    steps: int | None = None,
    as_json: AsJson = False,
    plugin: Plugin = None,
) -> int:
    """List what there is. A sampler that cannot be used is listed with its reason.

    Args:
        what: Kind of thing.
        steps: Steps that the samplers' network evaluations are given for (default: 10).
    """
    from bench.cli.listing import rows, show

    load_plugins(plugin)
    found = rows(what, steps)
    if as_json:
        print(json.dumps(found, indent=1, default=str))
    else:
        show(what, found)
    return 0


@app.command
def check(name: str, /, *, plugin: Plugin = None, plot: Path | None = None, as_json: AsJson = False) -> int:
    """Run the conformance suite on one sampler. Exit status 1 if it does not conform.

    Args:
        name: Sampler, with parameters if need be: "ddim[eta=0.5]".
        plot: Figure (.png or .pdf) of its error against steps, beside the slope of its declared order.
    """
    from bench.cli.authoring import check_sampler

    load_plugins(plugin)
    return check_sampler(name, plot, as_json=as_json)


@app.command
def check_model(
    model: str | None = None,
    /,
    *,
    study: str | None = None,
    prompts: str | None = None,
    data: str | None = None,
    resize: int | None = None,
    images: int = 64,
    device: Device = "auto",
    as_json: AsJson = False,
    plugin: Plugin = None,
) -> int:
    """Tell whether a model is what its card says. Exit status 1 if it is not.

    Real images are noised, and what the network makes of them is read in every parametrisation, value range and
    schedule; its samples are drawn; and its output is tried for what it depends on.

    Args:
        model: Embedded model, model folder, or hf:owner/name.
        study: Instead of a model: name or file of a study, whose model is checked with what the study changes of its
            card.
        prompts: File of what a text-to-image model makes images of: one prompt a line, or .csv with a column of them.
        data: Folder of images, or a data set such as cifar10 (default: what the model's reference is of, if it is
            there; else the network's own samples, which tell less).
        resize: Side that the images of a folder are scaled and cropped to.
        images: Images that are noised.
    """
    from bench.cli.check_model import check as checked

    load_plugins(plugin)
    return checked(model, study, prompts, data, resize, images, device, as_json)


@app.command
def new_sampler(name: str, /, *, out: Path | None = None) -> int:
    """Write a plugin file to start from: a sampler that works, conforms, and says what to fill in.

    Args:
        name: Name of the new sampler: lower-case letters, digits, "+", "-", "_".
        out: Python file to write (default: NAME.py here).
    """
    from bench.cli.authoring import new_sampler as write

    return write(name, out)


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        with interruptible(), notices():
            status = app(sys.argv[1:], exit_on_error=False, print_error=False, result_action="return_value")
            sys.stdout.flush()
    except (UsageError, CycloptsError) as error:
        status = _failed(str(_unknown_command() or error))
    except OSError as error:
        if _unread(error):
            sys.exit(_UNREAD)
        status = _failed(f"{error}; what is finished is kept")
    except (MemoryError, RuntimeError) as error:
        from bench.timing.memory import is_out_of_memory  # which imports torch

        if not is_out_of_memory(error):
            raise
        said = str(error).strip().partition("\n")[0] or "no more could be had"
        status = _failed(f"out of memory ({said}); what is finished is kept; take a smaller --batch")
    except KeyboardInterrupt:
        status = tell()
    except SystemExit as error:  # of code that is not ours, since ours returns its status
        status = _failed(f"something that was asked ended the program: {told(error)}", FAILED)
    sys.exit(status or 0)


def _unknown_command() -> UsageError | None:
    """The error for a first word that is no command; None if it is one."""
    from models.plugins.registry import unknown

    name, commands = sys.argv[1] if len(sys.argv) > 1 else "-", [each for each in app if not each.startswith("-")]
    return None if name.startswith("-") or name in commands else unknown("command", name, commands)


def _failed(reason: str, status: int = USAGE) -> int:
    print(f"error: {terminal_text(reason)}", file=sys.stderr)
    return status


def _unread(error: OSError) -> bool:
    """Whether that came of an output that nobody reads any more. What is left of one that fails goes nowhere."""
    closed = isinstance(error, BrokenPipeError)
    try:
        print(end="\n" if closed else "", flush=True)
    except OSError:
        silence()
        return closed
    return False
