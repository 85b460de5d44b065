"""The cells of a study by their names."""

from pathlib import Path

from quiet import Quiet
from studies import study_toml

from bench.record import RunFolder
from bench.running.runner import run_study
from bench.running.session import Session
from bench.study.file import parse_study


def test_a_published_value_finds_its_cell_where_there_is_no_range_to_clip_to(tmp_path: Path) -> None:
    """The two blocks' cells differ in clipping only, which the exact model has not: they are one."""
    top = study_toml(baseline_steps=6, timing={"repeats": 0}).partition("[[block]]")[0]
    block = '[[block]]\nsamplers = ["ddim"]\ngrids = ["trailing"]\nsteps = [6]\n'
    published = 'published = { source = "a paper", column = "law_fd", values = [1.0] }\n'
    study, folder = parse_study(f"{top}{block}{published}{block}clip = false\n", "test"), RunFolder(tmp_path / "run")
    outcome = run_study(study, Session.load(study), folder, False, Quiet())
    manifest = folder.manifest()
    assert outcome.measured == 1
    assert [entry["cell"] for entry in manifest["published"]] == manifest["cells"]
