"""Hints say what is typed here: in an installed wheel there is no `run_bench.py`."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.cli import app
from bench.quality.datasets import load_digits
from bench.quality.extractors import Chosen, load_extractor
from bench.quality.reference import load_reference
from models.common import program
from models.common.errors import UsageError
from models.loading.sources import ZOO, load_card, missing_file


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/sampler-bench"])


@pytest.mark.parametrize(
    ("name", "in_a_checkout", "said"),
    [
        ("run_bench.py", True, "run_bench.py"),
        ("bin/sampler-bench", True, "sampler-bench"),
        ("bin/sampler-bench", False, "sampler-bench"),
        ("ipykernel_launcher.py", True, "run_bench.py"),
        ("ipykernel_launcher.py", False, "sampler-bench"),
    ],
)
def test_the_program_is_called_as_it_was_or_could_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, in_a_checkout: bool, said: str
) -> None:
    monkeypatch.setattr(sys, "argv", [name])
    if not in_a_checkout:
        monkeypatch.setattr(program, "__file__", str(tmp_path / "site-packages" / "models" / "common" / "program.py"))
    assert program.called() == said
    extra = "uv run --extra train run_bench.py" if said == "run_bench.py" else "sampler-bench"
    assert program.called("train") == extra
    assert program.here("uv run --extra train run_bench.py train digits") == f"{extra} train digits"


@pytest.mark.parametrize(("name", "said"), [("run_bench.py", "run_bench.py"), ("bin/sampler-bench", "sampler-bench")])
def test_what_uv_has_started_is_called_with_it(monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    monkeypatch.setattr(sys, "argv", [name])
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert program.called() == f"uv run {said}"


@pytest.mark.parametrize(
    ("command", "hints"),
    [
        ("new-sampler", ("check mine --plugin", "run quick --samplers mine,ddim --plugin")),
        ("new-model", ("check-model ", "run solvers --model ")),
    ],
)
def test_what_comes_next_is_said_with_the_command_of_an_installed_wheel(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    hints: tuple[str, ...],
) -> None:
    out = tmp_path / ("mine.py" if command == "new-sampler" else "mine")
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/sampler-bench", command, "mine", "--out", str(out)])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"  sampler-bench {hint}" in shown for hint in hints)


@pytest.mark.usefixtures("wheel")
def test_errors_of_an_installed_wheel_name_its_command() -> None:
    card = load_card(ZOO / "digits")
    assert "train the model again with: sampler-bench train digits" in str(missing_file(card, ZOO / "none"))
    digits = load_extractor(Chosen("digits"), None, torch.device("cpu"))
    with pytest.raises(UsageError, match=r"no reference file 'none.npz'; sampler-bench reference DATA"):
        load_reference("none.npz", digits)


@pytest.mark.usefixtures("wheel")
def test_an_extra_that_is_missing_is_installed_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UsageError, match=r"the extra 'train': pip install 'sampler-bench\[train\]'"):
        load_digits()


def test_help_calls_itself_by_its_name() -> None:
    code = "import sys; from bench.cli.entry import main; sys.argv = ['bin/sampler-bench', '--help']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: sampler-bench COMMAND")
