"""Runs are joined only if the same code has measured them: nothing in a report would tell their rows apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from report_records import record, study, write_run

from bench.record import Record, RunFolder
from bench.running.merge import Joined, merge
from models.common.errors import UsageError


def _part(folder: Path, own: Sequence[Record]) -> Path:
    """A run of some of the cells of one study."""
    run = write_run(folder, own)
    RunFolder(run).write_manifest(study(), [each["id"] for each in own])
    return run


_CHANGED = [
    ({"sampler_sha256": "d4" * 32}, "sampler ddim"),
    ({"code_sha256": "d4" * 32}, "sampler-bench"),
    ({"grid_code_sha256": "d4" * 32}, "grid trailing"),
    ({"guidance": "mine", "guidance_code_sha256": "d4" * 32}, "guidance mine"),
    ({"architecture_sha256": "d4" * 32}, "the network of model digits"),
    ({"extractor_code_sha256": "d4" * 32}, "extractor digits"),
    ({"version_torch": "2.12.0"}, "torch"),
]


@pytest.mark.parametrize(("changes", "said"), _CHANGED)
def test_runs_that_other_code_has_measured_are_refused_by_what_changed(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    """Of another number of steps, as in parts, so that no cell has two results."""
    column, value = list(changes.items())[-1]
    same = {key: each for key, each in changes.items() if key != column}
    first, other = record("ddim", **same), record("ddim", steps=20, **changes)
    runs = [_part(tmp_path / "a", [first]), _part(tmp_path / "b", [other])]
    with pytest.raises(UsageError) as refused:
        merge(runs, tmp_path / "run")
    assert f"not measured by the same code: {said} is another" in str(refused.value)
    assert f"{column} is {str(first.get(column))[:12]} in {str(runs[0])!r} and {value[:12]} in" in str(refused.value)
    assert not (tmp_path / "run").exists()
    assert merge(runs[:1], tmp_path / "alone").cells == 1


def test_code_of_things_that_the_runs_do_not_share_is_not_compared(tmp_path: Path) -> None:
    """And that of a plugin, whose hash has versions of packages, only where these are the same."""
    machines: list[dict[str, Any]] = [
        {"device_name": "A", "version_torch": "2.11.0+cpu", "sampler_sha256": "d4" * 32},
        {"device_name": "B", "version_torch": "2.11.0+cu128", "sampler_sha256": "e5" * 32},
    ]
    shared = [[record("ddim", **each), record("heun", **each)] for each in machines]
    runs = [_part(tmp_path / str(n), each) for n, each in enumerate(shared)]
    assert merge(runs, tmp_path / "machines") == Joined(4, 0, 0)
    runs = [_part(tmp_path / each["sampler"], [each]) for each in (record("ddim"), record("heun"))]
    assert merge(runs, tmp_path / "samplers").cells == 2
