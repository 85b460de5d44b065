"""Whoever writes a sampler is given a file that is right, and nothing of theirs is overwritten."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Cli

from bench.conformance.suite import CHECKS, Check, run_check
from samplers import SAMPLERS
from samplers.registry import load_file

_ROOT = Path(__file__).parents[2]
_TEMPLATE = _ROOT / "bench" / "cli" / "templates" / "sampler.py"


def _conforms(spec: str, checks: tuple[Check, ...] = CHECKS) -> None:
    for check in checks:
        result = run_check(check, SAMPLERS.make(spec))
        assert result.outcome != "failed", f"{check.name}: {result.detail}"


def test_the_file_conforms_as_it_is_and_the_next_commands_are_printed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = cli("new-sampler", "test-new").out
    assert "run_bench.py check test-new --plugin test_new.py\n" in shown
    assert "run_bench.py run quick --samplers test-new,ddim --plugin test_new.py --out results/test-new\n" in shown
    load_file(tmp_path / "test_new.py")
    _conforms("test-new")


@pytest.mark.parametrize("name", ["test-new", "3m++", "step-sampler", "none", "a" * 40])
def test_the_file_is_the_checked_template_under_another_name(cli: Cli, tmp_path: Path, name: str) -> None:
    """mypy --strict runs on the template (`.ci/run`), and what it says holds for the file."""
    path = tmp_path / "written_sampler.py"
    cli("new-sampler", name, "--out", path)
    written = path.read_text()
    (cls,) = (node.name for node in ast.parse(written).body if isinstance(node, ast.ClassDef))
    assert cls not in _TEMPLATE.read_text()
    assert written.replace(cls, "MySampler").replace(name, "my-sampler") == _TEMPLATE.read_text()
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", "pyproject.toml", str(path)]
        done = subprocess.run(ruff, cwd=_ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    load_file(path)
    assert SAMPLERS.make(f"{name}[eta=0.5]").stochastic


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ddim",), "a sampler 'ddim' exists already, from the tree (samplers.ddim)"),
        (("Mine",), "'Mine' cannot name a sampler; expected up to 40 lower-case letters"),
        (("a[b",), "cannot name a sampler"),
        (("a,b",), "cannot name a sampler"),
        (("",), "cannot name a sampler"),
        (("a" * 41,), "cannot name a sampler"),
        (("diffusers:mine",), "cannot name a sampler"),
        (("random",), "'random.py' could hide the module 'random'"),
        (("test-new", "--out", "kept.py"), "'kept.py' exists already and is left as it is"),
        (("test-new", "--out", "mine.txt"), "cannot write a sampler to 'mine.txt'; expected a Python file"),
        (("test-new", "--out", "folder.py"), "cannot write a sampler to 'folder.py'"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is_overwritten(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("kept.py").write_text("kept")
    Path("folder.py").mkdir()
    assert said in cli("new-sampler", *arguments, status=2).err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.py", "kept.py"]
    assert Path("kept.py").read_text() == "kept"


def test_the_plugin_in_the_readme_conforms(tmp_path: Path) -> None:
    (code,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", (_ROOT / "samplers" / "README.md").read_text(), re.DOTALL)
        if '@register("mine")' in block
    )
    (tmp_path / "mine.py").write_text(code)
    load_file(tmp_path / "mine.py")
    _conforms("mine", tuple(check for check in CHECKS if "reaches" not in check.name))
