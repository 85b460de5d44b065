"""The command line: the answer on stdout, one clear line for bad input, and the right exit status."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import app
from bench.study.file import STUDIES

_ROOT = Path(__file__).parents[2]
_PLUGIN = '''
from dataclasses import dataclass
from samplers import StepSampler, register

@register("{name}")
@dataclass(frozen=True)
class Mine(StepSampler):
    """A plugin."""

    paper = "none"
    order = {order}
    stochastic = False

    def nfe(self, levels):
        return len(levels) - 1

    def step(self, model, x, t, s, noise):
        {body}
'''
_DDIM = "p = model(x, t); return s.alpha * p.x0 + s.sigma * p.eps"


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["run_bench.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert isinstance(end.value.code, int)
    return end.value.code


def _plugin(folder: Path, name: str, order: int | None = 1, body: str = _DDIM) -> Path:
    path = folder / f"{name.replace('-', '_')}.py"
    path.write_text(_PLUGIN.format(name=name, order=order, body=body))
    return path


_SMALL = ("--images", 32, "--batch", 16, "--steps", "2", "--device", "cpu")


def test_a_run_ends_with_table_answer_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.toml"
    study.write_text((STUDIES / "quick.toml").read_text().replace("steps = 200", "steps = 3"))
    assert _main(monkeypatch, "run", study, *_SMALL, "--samplers", "ddim", "--out", tmp_path / "run") == 0
    shown = capsys.readouterr().out
    assert "ddim" in shown
    assert "within 10 %" in shown
    names = {path.name for path in (tmp_path / "run").iterdir()}
    figures = {
        f"{name}.{kind}"
        for name in ("quality_vs_nfe", "quality_vs_seconds", "time_split", "images")
        for kind in ("png", "pdf")
    }
    assert {
        "study.json",
        "cells",
        "table.md",
        "table.tex",
        "table.csv",
        "table.parquet",
        "index.html",
    } | figures <= names
    assert json.loads((tmp_path / "run" / "study.json").read_text())["study"]["images"] == 32
    for name in names - {"study.json", "cells"}:
        assert str(name) in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "quik"), "unknown study 'quik'. Did you mean 'quick'?"),
        (("run", "quick", "--samplers", "dim"), "unknown sampler 'dim'. Did you mean 'ddim'?"),
        (("run", "quick", "--grids", "karas"), "unknown grid 'karas'. Did you mean 'karras'?"),
        (("run", "quick", "--steps", "5,x"), "--steps: '5,x'; expected whole numbers separated by commas"),
        (("run", "quick", "--steps", "0"), "--steps: expected a whole number, 1 ... 100,000, got 0"),
        (("run", "quick", "--steps", "2000"), "cannot place 2000 steps; expected 1 to 1000"),
        (("run", "quick", "--images", "many"), "many"),
        (("run", "quick", "--device", "cuda:7"), "unknown device 'cuda:7'; this machine has: auto, cpu"),
        (("run", "quick", "--device", "tpu"), "unknown device 'tpu'"),
        (
            ("run", "quick", "--precision", "fp8"),
            "--precision: Input should be 'fp32', 'tf32'",
        ),
        (("run", "quick", "--modes", "fp32,eager"), "cannot read the execution mode 'eager'"),
        (("run", "quick", "--modes", "tf32"), "mode tf32: TensorFloat-32 needs a CUDA device, and this one is cpu"),
        (("run", "quick", "--batch", "many"), "--batch: 'many'; expected a whole number, such as 20, or auto"),
        (("run", "quick", "--threads", "0"), "--threads: expected a whole number, 1 ... 1,024, got 0"),
        (("run", "quick", "--model", "digit"), "unknown model 'digit'. Did you mean 'digits'?"),
        (("run", "quick", "--out", "/proc/none"), "cannot write to the run folder '/proc/none'"),
        (("run", "quick", "--plugin", "none.py"), "no plugin file 'none.py'"),
        (("run",), "STUDY"),
        (("rnu", "quick"), "rnu"),
        (("run", "quick", "--stesp", "5"), "--stesp"),
        (("list", "sampler"), "sampler"),
        (("list", "samplers", "--steps", "0"), "cannot place 0 steps; expected 1 to 1000"),
        (("list", "grids", "--steps", "5"), "--steps 5 says nothing about grids"),
        (("check", "dim"), "unknown sampler 'dim'"),
        (("check", "ddim", "--plot", "plot.txt"), "--plot 'plot.txt': expected a file that ends in .png or .pdf"),
        (("new-sampler", "ddim"), "a sampler 'ddim' exists already"),
        (("report", "nowhere"), "'nowhere' is not a run folder"),
        (("report", "README.md"), "'README.md' is not a run folder"),
        (("run", "quick", "--grids", "karras[rho=0.001]"), "rho: Input should be greater than or equal to 1"),
        (("run", "quick", "--samplers", "langevin[snr=Infinity]"), "Infinity is no value for a parameter"),
        (("run", "quick", "--samplers", "langevin[snr=1e999]"), "cannot read 'langevin[snr=1e999]'"),
        (("train", "digits", "--out", "/proc/none"), "/proc/none"),
        (("report",), "no run given"),
        (("compare", "nowhere", "nowhere"), "'nowhere' is not a run folder"),
        (("train", "digit"), "unknown trainable model 'digit'. Did you mean 'digits'?"),
        (("train", "digits", "--steps", "0"), "--steps 0: expected at least 1"),
        (("train", "digits", "--seed", "-1"), "--seed -1: expected 0 ... 2^32 - 1"),
        (("run", "quick", "--threads", f"{2**70}"), "--threads: expected a whole number, 1 ... 1,024, got 1180"),
    ],
)
def test_bad_input_ends_with_status_2_and_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert _main(monkeypatch, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") or "\nerror: " in shown.err
    assert said in shown.err
    assert "Traceback" not in shown.err


def test_a_run_with_a_failed_cell_ends_with_status_1_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.cli.run.report.FORMATS", ("md",))
    plugin = _plugin(tmp_path, "test-nan", body="return model(x, t).x0 * float('nan')")
    study = tmp_path / "study.toml"
    study.write_text((STUDIES / "quick.toml").read_text().replace("steps = 100", "steps = 3"))
    arguments = [*_SMALL, "--samplers", "ddim,test-nan", "--plugin", plugin, "--out", tmp_path / "run"]
    assert _main(monkeypatch, "run", study, *arguments) == 1
    shown = capsys.readouterr()
    assert "1 failed" in shown.err
    assert "test-nan" in (tmp_path / "run" / "table.md").read_text()
    assert "NaN or Inf" in (tmp_path / "run" / "table.md").read_text()


def test_an_interrupted_run_ends_with_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.cli.run.run_and_report", interrupt)
    assert _main(monkeypatch, "run", "quick") == 130
    assert "what is finished is kept, and this goes on:\n" in capsys.readouterr().err


def test_a_dry_run_lists_the_cells_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.run.estimate._CALIBRATION_S", 0.01)
    arguments = ("--samplers", "heun,rk45", "--steps", "5", "--dry-run", "--out", tmp_path / "run")
    monkeypatch.setattr("bench.timing.monitor.at_start", lambda *_: ["the machine is busy"])
    assert _main(monkeypatch, "run", "quick", *arguments) == 0
    shown = capsys.readouterr()
    assert "the machine is busy" in shown.err.splitlines()
    *cells, count, rate, time = shown.out.splitlines()
    assert cells == [
        "ddpm on trailing, 100 steps, seed 0: 100 evaluations an image",
        "heun on trailing, 5 steps, seed 0: 9 evaluations an image",
        "rk45 on trailing, 5 steps, seed 0: as many evaluations as it takes",
    ]
    assert count == "3 cells of 1,000 images: 190,750 network evaluations, and 1 that cannot say theirs"
    assert "an evaluation of one image, in batches of 250" in rate
    assert re.match(r"about (\d+ min )?\d+ s of network evaluations and feature extraction on ", time)
    assert not (tmp_path / "run").exists()


def test_a_plugin_is_checked_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.cli.authoring.CHECKS", _cheap_checks())
    good = _plugin(tmp_path, "test-good")
    assert _main(monkeypatch, "check", "test-good", "--plugin", good, "--plot", tmp_path / "new" / "good.pdf") == 0
    shown = capsys.readouterr().out
    assert "test-good: conforms" in shown
    assert str(tmp_path / "new" / "good.pdf") in shown
    assert (tmp_path / "new" / "good.pdf").read_bytes().startswith(b"%PDF")
    assert _main(monkeypatch, "check", "test-bad", "--plugin", _plugin(tmp_path, "test-bad", order=2)) == 1
    shown = capsys.readouterr().out
    assert "FAIL  converges with its declared order: declares order 2, but halving the step gives" in shown
    assert "test-bad: 1 of" in shown


@pytest.mark.parametrize(
    ("name", "order", "body", "said"),
    [
        (
            "test-none",
            None,
            _DDIM,
            "no plot: test-none declares no order, as it does not solve the probability-flow ODE",
        ),
        (
            "test-raises",
            1,
            "raise IndexError('no [level] left')",
            "no plot: test-raises raised IndexError: no [level] left",
        ),
        ("test-inf", 1, "return model(x, t).x0 / 0", "no plot: the errors of test-inf are not positive numbers: ["),
    ],
)
def test_where_there_is_no_convergence_to_draw_it_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    order: int | None,
    body: str,
    said: str,
) -> None:
    monkeypatch.setattr("bench.cli.authoring.CHECKS", _cheap_checks()[-1:])
    plugin, plot = _plugin(tmp_path, name, order, body), tmp_path / "plot.png"
    failed = 0 if order is None else 1
    assert _main(monkeypatch, "check", name, "--plugin", plugin, "--plot", plot) == failed
    assert said in capsys.readouterr().out
    assert not plot.exists()


def test_a_check_as_json_says_the_same_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.cli.authoring.CHECKS", _cheap_checks())
    assert _main(monkeypatch, "check", "test-json", "--json", "--plugin", _plugin(tmp_path, "test-json", order=2)) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["sampler"], found["conforms"]) == ("test-json", False)
    assert found["source"] == str(tmp_path / "test_json.py")
    (failed,) = (check for check in found["checks"] if check["outcome"] == "failed")
    assert failed["name"] == "converges with its declared order"
    assert failed["detail"].startswith("declares order 2, but halving the step gives")


def _cheap_checks() -> tuple[object, ...]:
    from bench.conformance.suite import CHECKS

    return tuple(check for check in CHECKS if "reaches" not in check.name)


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("samplers", "dpm++2m"),
        ("grids", "karras"),
        ("models", "digits"),
        ("extractors", "digits"),
        ("metrics", "fd"),
        ("studies", "quick"),
    ],
)
def test_lists_name_what_there_is_as_a_table_and_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str, name: str
) -> None:
    assert _main(monkeypatch, "list", what, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert name in {row["name"] for row in rows}
    assert _main(monkeypatch, "list", what) == 0
    assert name in capsys.readouterr().out


def test_help_is_there_for_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    for command in ("run", "list", "check", "new-sampler", "report", "compare", "train"):
        assert command in shown


def test_the_command_line_answers_without_importing_torch() -> None:
    code = (
        "import sys, bench.cli.app; sys.exit(any(name in sys.modules for name in ('torch', 'diffusers', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=_ROOT, check=False).returncode == 0
