"""How often a run that ends when its answer is decided is wrong, and how many evaluations that saves.

    python tests/benchmarks/decisions.py FOLDER STUDY [--pool 10000] [--repetitions 100] [--seed 0]

draws a pool of images of every setting of a study, keeps what they are scored by in the folder, and prints a Markdown
table. A repetition is a run: its images are drawn from the pool with replacement, the same numbers for all settings. It
is followed look by look, as a run's records are, and beside it stands the run that has the most images of every
setting. Settings are chosen by their evaluations. The truth is the mean distance over all repetitions.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pandas as pd
import torch
from coverage import proportion
from torch import Tensor

from bench.quality.features import Rows
from bench.quality.frechet import Target, factor_of, left_out
from bench.quality.images import to_uint8
from bench.quality.metrics import QualityStream
from bench.quality.statistics import BlockMoments, Moments
from bench.report.data.columns import KEYS
from bench.report.data.looks import Decisions, follow
from bench.report.data.rows import aggregate
from bench.report.data.runs import NEEDED
from bench.running.generation import Generation
from bench.running.resolve import Resolved, resolve
from bench.running.session import Session
from bench.running.trajectory import Trajectory
from bench.study.file import load_study
from bench.study.overrides import Overrides
from bench.study.plan import looks, plan
from bench.study.study import Study
from models.analytic import Law
from models.common.sealed import load_sealed, save_sealed
from models.networks.execution import arithmetic
from samplers.about import declared_evaluations


@dataclass(frozen=True)
class Setting:
    """A setting, and what the images of its pool are scored by.

    Attributes:
        name: in the table.
        nfe: its evaluations an image.
        rows: (N, F): features, or the samples themselves where the truth is a law.
    """

    name: str
    nfe: float
    rows: Tensor


def pools(study: Study, images: int, folder: Path) -> tuple[list[Setting], Target]:
    """The pools of all settings of a study, the baseline's first, and what distances are taken to."""
    folder.mkdir(parents=True, exist_ok=True)
    session = Session.load(study)
    return [pool(session, resolve(cell, session), images, folder) for cell in plan(study)], target_of(session)


def pool(session: Session, resolved: Resolved, images: int, folder: Path) -> Setting:
    """The pool of a cell: that in the folder, or made now."""
    cell = resolved.cell
    path = folder / f"{cell.words.replace('/', '_')}.safetensors"
    if not path.exists():
        rows, nfe = _drawn(session, resolved, images)
        save_sealed(path, {"rows": rows}, {"nfe": repr(nfe)})
    tensors, said, _ = load_sealed(path)
    declared = declared_evaluations(cell.sampler, resolved.sampler, resolved.levels)
    return Setting(cell.words, float(declared or said["nfe"]), tensors["rows"][:images])


def _drawn(session: Session, resolved: Resolved, images: int) -> tuple[Tensor, float]:
    trajectory = Trajectory(session, resolved, None)
    generation = Generation(trajectory, range(images), session.batch, fixed=False)
    by_law = session.extractor is None or session.reference is None
    found = Rows(images)
    stream = None
    if session.extractor is not None and session.reference is not None:
        stream = QualityStream(session.extractor, session.reference, ["kid"], images)
    with torch.inference_mode(), arithmetic(resolved.mode.precision):
        for samples in generation:
            if stream is not None:
                stream.add(to_uint8(samples, resolved.model.card.value_range))
            else:
                found.add(samples.flatten(1))
        rows = found.all() if by_law or stream is None else stream.finish()[0]["features"]
    return rows.clone(), trajectory.evaluations / generation.drawn


def target_of(session: Session) -> Target:
    """What distances are taken to: the reference, or the law of the model."""
    if session.reference is not None:
        return session.reference.target
    law = cast(Law, session.subject.network)
    return Target(law.mean, factor_of(law.covariance)[0])


def distances(rows: Tensor, target: Target) -> tuple[float, list[float]]:
    """The Frechet distance of some images, and those without a tenth of them each."""
    blocks = BlockMoments()
    blocks.add(rows)
    return target.distance(Moments.of(rows)), left_out(blocks.finish(), target)


def repetition(
    settings: Sequence[Setting], target: Target, sizes: Sequence[int], generator: torch.Generator
) -> pd.DataFrame:
    """The records of a run with all looks of all settings; the baseline is the first."""
    count = min(len(setting.rows) for setting in settings)
    drawn = torch.randint(count, (sizes[-1],), generator=generator)
    records = []
    for setting in settings:
        rows = setting.rows[drawn]
        for images in sizes:
            value, without = distances(rows[:images], target)
            records.append(
                dict.fromkeys((*KEYS, *NEEDED, "timed_batch"))
                | {"id": f"{setting.name} {images}", "sampler": setting.name, "steps": 1, "seed": 0, "run": "run"}
                | {"images": images, "status": "ok", "nfe": setting.nfe, "model_sha256": "m", "subject_sha256": "m"}
                | {"fd_pool": value, "fd_pool_std": None, "fd_pool_left_out": without, "mode": "fp32"}
                | {"baseline": setting is settings[0], "intervals": 1, "batch": 1, "grid": "", "model": "model"}
            )
    return pd.DataFrame.from_records(records)


@dataclass(frozen=True)
class Ended:
    """How a repetition ended.

    Attributes:
        winner: the place of the setting that was found; 0, the baseline, if none is faster; None: not decided.
        images: of the last look.
        evaluations: that it took.
        full: the place of the setting that the run with the most images of every setting finds.
        values: of all settings, with the most images.
    """

    winner: int | None
    images: int
    evaluations: float
    full: int
    values: list[float]


def ended(settings: Sequence[Setting], cells: pd.DataFrame, sizes: Sequence[int], tolerance: float) -> Ended:
    """Follow a repetition to its end."""
    found = follow(cells, aggregate(cells), sizes, tolerance)
    names = [setting.name for setting in settings]
    winner = None
    if found.decided:
        winner = 0 if found.winner is None else names.index(found.rows[found.winner]["sampler"])
    most = cells[cells["images"] == sizes[-1]].set_index("sampler")["fd_pool"]
    values = [float(most[name]) for name in names]
    good = [n for n in range(1, len(names)) if values[n] <= values[0] + tolerance * abs(values[0])]
    full = min(good, key=lambda n: (settings[n].nfe, values[n]), default=0)
    full = full if settings[full].nfe < settings[0].nfe else 0
    return Ended(winner, found.images, _evaluations(settings, found), full, values)


def _evaluations(settings: Sequence[Setting], found: Decisions) -> float:
    out = {each.row["sampler"]: int(each.row["images"]) for each in found.out.values()}
    return sum(setting.nfe * out.get(setting.name, found.images) for setting in settings)


def table(settings: Sequence[Setting], runs: Sequence[Ended], sizes: Sequence[int], tolerance: float) -> Iterator[str]:
    """What came out, in Markdown."""
    truth = [sum(run.values[n] for run in runs) / len(runs) for n in range(len(settings))]
    good = {n for n in range(1, len(truth)) if truth[n] <= truth[0] + tolerance * abs(truth[0])}
    least = min((settings[n].nfe for n in good if settings[n].nfe < settings[0].nfe), default=settings[0].nfe)
    decided = [run for run in runs if run.winner is not None]
    wrong = [
        run for run in decided if settings[run.winner or 0].nfe != least or (run.winner and run.winner not in good)
    ]
    full = [run for run in runs if settings[run.full].nfe != least or (run.full and run.full not in good)]
    other = [run for run in decided if settings[run.winner or 0].nfe != settings[run.full].nfe]
    everything = sum(setting.nfe for setting in settings) * sizes[-1]
    saved = everything * len(runs) / sum(run.evaluations for run in runs)
    at = Counter(run.images for run in decided)
    yield f"- looks at {', '.join(f'{size:,}' for size in sizes)} images, {len(settings)} settings"
    yield f"- decided: {proportion(len(decided), len(runs))}, at " + ", ".join(
        f"{n:,} images {at[n]}" for n in sorted(at)
    )
    yield f"- decided and wrong: {proportion(len(wrong), len(runs))}"
    yield f"- the run with the most images of every setting, wrong by its values: {proportion(len(full), len(runs))}"
    yield f"- decided, and another number of evaluations than that run finds: {proportion(len(other), len(runs))}"
    yield f"- evaluations of that run over those taken: {saved:.1f}"
    yield f"\n| truly | evaluations | distance of {sizes[-1]:,} images | found by | by the full run |"
    yield "|:--|--:|--:|--:|--:|"
    found, by_full = Counter(run.winner for run in runs), Counter(run.full for run in runs)
    for n in sorted(range(len(settings)), key=lambda n: (n > 0, settings[n].nfe, truth[n])):
        word = "baseline" if n == 0 else "good enough" if n in good else ""
        yield f"| {settings[n].name} {word} | {settings[n].nfe:g} | {truth[n]:.4g} | {found[n]} | {by_full[n]} |"
    yield f"| not decided | | | {found[None]} | |"


def main() -> None:
    """Draw what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("study")
    parser.add_argument("--pool", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    study = load_study(options.study, Overrides(seed=0))
    settings, target = pools(study, options.pool, options.folder)
    generator, sizes = torch.Generator().manual_seed(options.seed), looks(study)
    runs = []
    for _ in range(options.repetitions):
        cells = repetition(settings, target, sizes, generator)
        runs.append(ended(settings, cells, sizes, study.tolerance))
    print("\n".join(table(settings, runs, sizes, study.tolerance)))


if __name__ == "__main__":
    main()
