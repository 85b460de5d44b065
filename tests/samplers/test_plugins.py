"""A package of samplers, installed: found when it is asked for, a sampler like any other, and no trouble if broken."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from bench.conformance.suite import CHECKS

_ROOT = Path(__file__).parents[2]
_EXAMPLE = _ROOT / "tests" / "example_package"
_BROKEN = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "broken-plugin"
version = "0.3"
[project.entry-points."sampler_bench.samplers"]
broken = "broken_plugin"
[tool.hatch.build.targets.wheel]
only-include = ["broken_plugin.py"]
"""
# several commands in one process: each imports torch only once, and a plugin that one has loaded shows in the next
_SESSION = """
import contextlib, io, json, sys
import bench.cli.sampler_list
load, bench.cli.sampler_list.load_installed = bench.cli.sampler_list.load_installed, lambda group: {}
bench.cli.sampler_list.sampler_rows(10)
bench.cli.sampler_list.load_installed = load
slow = [name for name in ("diffusers", "matplotlib", "pandas", "torchvision") if name in sys.modules]
import pytest
from bench import report
from bench.cli import app
from bench.running.session import Session
Session.warm_up = lambda session: None  # as conftest.py has it
report.FORMATS = ("md",)  # figures take seconds
found, tests = {"slow imports": slow, "from": bench.cli.sampler_list.__file__}, sys.argv[2:]
for key, arguments in json.loads(sys.argv[1]).items():
    sys.argv[1:] = arguments
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            app.main()
        except SystemExit as end:
            status = end.code
    found[key] = [status, out.getvalue(), "gradient_estimation" in sys.modules]
out = io.StringIO()
with contextlib.redirect_stdout(out):
    found["own tests"] = [int(pytest.main(tests)), out, True]
found["own tests"][1] = out.getvalue()
print(json.dumps(found))
"""
_OWN_PACKAGES = {
    "models/__init__.py": "",
    "models/dit.py": "WIDTH = 3\n",
    "plugin.py": """
from dataclasses import dataclass
from models.architectures import register_network
from models.dit import WIDTH
from samplers import register
from samplers.ddim import DDIM

@register("test-own-packages")
@dataclass(frozen=True)
class Mine(DDIM):
    def nfe(self, levels):
        from models.dit import WIDTH as late
        from models.schedule import Level
        return WIDTH + late + isinstance(levels[0], Level)
""",
}
_STUDY = """
name = "tiny"
title = "Two steps of each"
model = "digits"
images = 16
batch = 16
timing = { repeats = 1, seconds = 0.0 }
seeds = [0]
baseline = { sampler = "ddim", grid = "trailing", steps = 2 }
[[block]]
samplers = ["ddim"]
grids = ["trailing"]
steps = [2]
"""


def _wheel(project: Path, out: Path) -> zipfile.ZipFile:
    """Build a project's wheel with the hatchling that is installed here: nothing is downloaded."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=project, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """This package."""
    return _wheel(_ROOT, tmp_path_factory.mktemp("wheel"))


def test_what_new_samplers_and_models_are_made_from_is_shipped_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    for name in ("sampler.py", "network.py", "card.toml"):
        template = f"bench/cli/templates/{name}"
        assert wheel.read(template) == (_ROOT / template).read_bytes()
    assert not [name for name in wheel.namelist() if name.startswith("tests")]


def test_the_examples_readme_shows_its_own_test() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (_EXAMPLE / "README.md").read_text(), re.DOTALL)
    test = (_EXAMPLE / "tests" / "test_gradient_estimation.py").read_text()
    for part in code.split("\n\n\n"):
        shown = [line for line in part.splitlines() if line.strip()]
        assert [line for line in shown if line not in test.splitlines()] == []


@pytest.fixture(scope="module")
def installed(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this package, the example and a broken one, as their wheels have them, and a plugin's files."""
    folder = tmp_path_factory.mktemp("installed")
    broken = tmp_path_factory.mktemp("broken")
    (broken / "pyproject.toml").write_text(_BROKEN)
    (broken / "broken_plugin.py").write_text("raise RuntimeError('needs [red] a library\\nthat is not here')\n")
    (folder / "theirs").mkdir()
    for name, text in _OWN_PACKAGES.items():
        (folder / "theirs" / name).parent.mkdir(exist_ok=True)
        (folder / "theirs" / name).write_text(text)
    wheel.extractall(folder)
    for project in (_EXAMPLE, broken):
        _wheel(project, tmp_path_factory.mktemp("wheel")).extractall(folder)
    return folder


@pytest.fixture(scope="module")
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Any]:
    """Exit status and stdout of commands with both packages installed, and whether the example was imported by then.

    Worked out once for all workers.
    """
    base = tmp_path_factory.getbasetemp()
    kept = (base if worker_id == "master" else base.parent) / "installed.json"
    with FileLock(f"{kept}.lock"):
        if not kept.exists():
            installed = request.getfixturevalue("installed")
            kept.write_text(json.dumps(_commands(installed, tmp_path_factory.mktemp("runs"))))
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def _commands(installed: Path, runs: Path) -> dict[str, Any]:
    """What the commands gave."""
    (runs / "tiny.toml").write_text(_STUDY)
    study = ["run", str(runs / "tiny.toml"), "--device", "cpu", "--samplers"]
    commands = {
        "run tree": [*study, "ddim", "--out", str(runs / "tree")],
        "run plugin": [*study, "my-gradient-estimation,ddim", "--out", str(runs / "plugin")],
        "table": ["list", "samplers"],
        "list": ["list", "samplers", "--json", "--steps", "7"],
        "check": ["check", "my-gradient-estimation", "--json", "--plot", str(runs / "plot.png")],
        "check broken": ["check", "broken"],
        "own packages": ["list", "samplers", "--json", "--plugin", str(installed / "theirs" / "plugin.py")],
        "take": ["new-sampler", "my-gradient-estimation", "--out", str(runs / "taken.py")],
    }
    # without what "check" runs
    own_tests = [str(_EXAMPLE), "-q", "-p", "no:cacheprovider", "-k", "not reaches and not gradient-estimation-"]
    done = subprocess.run(
        [sys.executable, "-c", _SESSION, json.dumps(commands), *own_tests],
        cwd=runs,  # the wheel is imported, and not the checkout
        env=os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"messages": [done.stderr], "installed": str(installed)}


class TestInstalledPackage:
    def test_a_study_of_the_trees_samplers_does_not_import_it(self, session: dict[str, list[Any]]) -> None:
        status, shown, imported = session["run tree"]
        assert status == 0
        assert "ddim" in shown
        assert not imported

    def test_a_study_runs_it_by_name(self, session: dict[str, list[Any]]) -> None:
        status, shown, imported = session["run plugin"]
        assert status == 0
        assert "my-gradient-estimation" in shown
        assert imported

    def test_it_conforms(self, session: dict[str, list[Any]]) -> None:
        status, shown, _ = session["check"]
        found = json.loads(shown)
        assert status == 0
        assert found["conforms"]
        assert found["sampler"] == "my-gradient-estimation"
        assert found["source"] == "sampler-bench-gradient-estimation 0.1.0"
        assert [check["name"] for check in found["checks"]] == [check.name for check in CHECKS]
        assert found["convergence"]["orders"][-1] == pytest.approx(1.0, abs=0.1)
        assert Path(found["plot"]).read_bytes().startswith(b"\x89PNG")

    def test_its_own_tests_pass(self, session: dict[str, list[Any]]) -> None:
        status, shown, _ = session["own tests"]
        assert status == 0, shown

    def test_listing_samplers_imports_only_what_they_need(self, session: dict[str, list[Any]]) -> None:
        assert session["slow imports"] == []

    def test_it_is_listed_with_where_it_comes_from(self, session: dict[str, list[Any]]) -> None:
        rows = {row["name"]: row for row in json.loads(session["list"][1])}
        row = rows["my-gradient-estimation"]
        assert row["source"] == "sampler-bench-gradient-estimation 0.1.0"
        assert (row["family"], row["order"], row["stochastic"]) == ("ODE, multistep", 1, False)
        assert (row["nfe_at_7_steps"], row["parameters"]) == (7, "gamma=2.0")
        assert row["unavailable"] is None
        assert "from sampler-bench-gradient-estimation 0.1.0: my-gradient-estimation" in session["table"][1]

    def test_a_broken_one_is_listed_with_its_reason_and_stops_nobody(self, session: dict[str, list[Any]]) -> None:
        rows = {row["name"]: row for row in json.loads(session["list"][1])}
        assert rows["broken"]["source"] == "broken-plugin 0.3"
        assert rows["broken"]["unavailable"].startswith("broken_plugin: RuntimeError: needs [red] a library")
        assert rows["ddim"]["unavailable"] is None
        reason = "broken_plugin: RuntimeError: needs [red] a library that is not here"
        assert f"unavailable: broken (broken-plugin 0.3): {reason}" in session["table"][1]

    def test_a_broken_one_that_is_asked_for_is_named_with_its_reason(self, session: dict[str, list[Any]]) -> None:
        assert session["check broken"][0] == 2
        assert "'broken' comes from a package that cannot be imported: broken_plugin" in session["messages"][0]

    def test_its_name_is_taken(self, session: dict[str, list[Any]]) -> None:
        assert session["take"][0] == 2
        said = "'my-gradient-estimation' exists already, from sampler-bench-gradient-estimation 0.1.0"
        assert said in session["messages"][0]

    def test_a_plugin_may_have_a_package_called_as_one_of_ours(self, session: dict[str, Any]) -> None:
        rows = {row["name"]: row for row in json.loads(session["own packages"][1])}
        row = rows["test-own-packages"]
        assert (row["unavailable"], row["nfe_at_10_steps"]) == (None, 7)
        assert Path(session["from"]).is_relative_to(session["installed"])
