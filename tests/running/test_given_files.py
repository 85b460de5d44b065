"""A plugin's guidances and grids depend on the files that their parameters name, and so does what is fitted."""

from pathlib import Path

import pytest
from hashes import as_it_was, changed  # noqa: F401  (the first is a fixture of all tests here)
from studies import study_toml

from bench.running.code_hash import grid_code_sha256, guidance_code_sha256
from bench.running.fit import parts_of
from bench.running.resolve import resolve
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from models.grids import GRIDS
from models.guidance import GUIDANCES
from samplers.registry import load_file

_GUIDANCE = """
from dataclasses import dataclass
from pathlib import Path
from models.guidance import GUIDANCES
from models.guidance.none import Unguided

@GUIDANCES.register("NAME")
@dataclass(frozen=True)
class Mine(Unguided):
    table: str = ""

    def join(self, *outputs):
        return outputs[0] * float((Path(__file__).parent / self.table).read_text())
"""
_GRID = """
from dataclasses import dataclass
from pathlib import Path
from models.grids import GRIDS, FitGrid

@GRIDS.register("NAME")
@dataclass(frozen=True)
class Mine(FitGrid):
    table: str = ""

    def fit(self, model):
        return super().fit(model), (Path(__file__).parent / self.table).read_text()
"""


@pytest.fixture(autouse=True)
def grids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grids of plugins are gone after each test."""
    monkeypatch.setattr(GRIDS, "_classes", dict(GRIDS._classes))


def _loaded(folder: Path, text: str, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "plugin.py"
    path.write_text(text.replace("NAME", name))
    load_file(path)
    return path


def _table(folder: Path) -> Path:
    (folder / "weights.txt").write_text("1.0")
    return folder / "weights.txt"


def test_a_guidance_depends_on_the_file_that_a_parameter_names(tmp_path: Path) -> None:
    _loaded(tmp_path, _GUIDANCE, "test-given-guidance")
    ours, other = (GUIDANCES.make(f"test-given-guidance[table={name}.txt]") for name in ("weights", "none"))
    assert changed(_table(tmp_path), lambda: guidance_code_sha256(ours))
    assert not changed(_table(tmp_path), lambda: guidance_code_sha256(other))


def test_a_grid_depends_on_the_file_that_a_parameter_names_and_so_does_its_fit(tmp_path: Path) -> None:
    _loaded(tmp_path, _GRID, "test-given-grid")
    spec = "test-given-grid[images=8,held_out=8,table=weights.txt]"
    toml = study_toml(("ddim",), (4,), "ddim", 4, metrics=["solver_error"])
    toml = toml.replace('grids = ["trailing"]', f"grids = ['{spec}']")
    session = Session.load(parse_study(toml, "test", Overrides()))
    cell = next(each for each in plan(session.study) if each.grid == spec)
    assert changed(_table(tmp_path), lambda: grid_code_sha256(GRIDS.make(spec)))
    assert changed(_table(tmp_path), lambda: parts_of(resolve(cell, session))[-1].content)


def test_a_guidance_depends_on_another_plugin_s_that_it_makes_by_name(tmp_path: Path) -> None:
    inner = _loaded(tmp_path / "inner", _GUIDANCE, "test-inner-guidance")
    _loaded(tmp_path / "outer", _GUIDANCE + "INNER = GUIDANCES.make('test-inner-guidance')\n", "test-outer-guidance")
    outer = GUIDANCES.make("test-outer-guidance")
    assert changed(inner, lambda: guidance_code_sha256(outer))


def test_a_grid_depends_on_another_plugin_s_that_it_is_given(tmp_path: Path) -> None:
    inner = _loaded(tmp_path / "inner", _GRID, "test-inner-grid")
    _loaded(tmp_path / "outer", _GRID, "test-outer-grid")
    outer = GRIDS.make("test-outer-grid[table=test-inner-grid]")
    assert changed(inner, lambda: grid_code_sha256(outer))
