"""What the commands do once their arguments are read: progress on stderr, the answer and the paths on stdout."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import interface
from bench.cli.reporting import report_runs
from bench.progress import errors, say
from bench.report.data.text import duration, significant
from bench.running.executors.choice import Workers
from models.common.words import counted

if TYPE_CHECKING:
    from bench.record import ImageFiles
    from bench.running.session import Session
    from bench.study.overrides import Overrides


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
