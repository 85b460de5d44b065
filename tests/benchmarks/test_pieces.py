"""What a piece of work costs beside its images where a worker of a Ray cluster does it: to send it, and its result.

    OMP_NUM_THREADS=1 pytest tests/benchmarks/test_pieces.py --benchmark-only -n 0

Deselected otherwise, as all benchmarks are. `extra_info` has the milliseconds a piece, those of the same pieces in this
process, and the difference.
"""

import time
from pathlib import Path
from typing import Any

import pytest
from studies import study_toml

from bench.record import RunFolder
from bench.running.attempts import Attempts
from bench.running.executors.base import Desk, Wanted
from bench.running.executors.choice import Workers, carried_out
from bench.running.measuring import Measuring
from bench.running.session import Session
from bench.running.stages import Stages
from bench.study.file import parse_study

Benchmark = Any  # pytest-benchmark has no types

PIECES = 1_000
_STUDY = study_toml(("ddim",), (2,), images=20, batch=20, seeds=[0], threads=1, timing={"repeats": 0})


def _here(session: Session, cells: list[Wanted], path: Path) -> float:
    """Seconds of the pieces in this process."""
    measuring = Measuring(session, path / "solutions", path / "fits")
    start = time.perf_counter()
    for _, resolved in cells:
        measuring.quality(resolved, [measuring.part(resolved, range(20), lambda _: None)])  # type: ignore[list-item]
    return time.perf_counter() - start


def _remote(address: str, pieces: int, path: Path) -> tuple[float, float]:
    """Seconds of the pieces through a worker, and in this process."""
    toml = _STUDY.replace("seeds = [0]", f"seeds = {list(range(pieces))}")
    study, folder = parse_study(toml, "test"), RunFolder(path)
    folder.create()
    with carried_out(study, Workers(ray=address), None) as (session, executor):
        desk = Desk(session, folder, Attempts(folder.cells), None, print)
        cells = [Wanted(name, each) for name, each in Stages.of(session, grow=False).cells[0].items()]
        remote = executor(desk)
        list(remote.measure(cells[:10], 10, lambda *_: None))
        start = time.perf_counter()
        assert len(list(remote.measure(cells, len(cells), lambda *_: None))) == pieces
        taken = time.perf_counter() - start
    return taken, _here(Session.load(study), cells, path)


def test_what_a_piece_of_work_costs_beside_its_images(
    benchmark: Benchmark, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    from clusters import cluster

    rounds = int(request.config.getoption("benchmark_min_rounds"))
    pieces = PIECES if rounds > 1 else 10
    with cluster(1) as made:
        taken, here = benchmark.pedantic(_remote, (made.address, pieces, tmp_path / "run"), rounds=1)
    ms = {"ms_a_piece": 1e3 * taken / pieces, "ms_in_process": 1e3 * here / pieces}
    benchmark.extra_info.update(ms, ms_overhead=ms["ms_a_piece"] - ms["ms_in_process"])
    print(benchmark.extra_info)
