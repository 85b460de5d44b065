"""The command line: the answer on stdout, one clear line for bad input, and the right exit status."""

import json
import re
from pathlib import Path

import pytest
from commands import Cli

from bench.conformance.check import Check
from bench.study.file import STUDIES

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


def _plugin(folder: Path, name: str, order: int | None = 1, body: str = _DDIM) -> Path:
    path = folder / f"{name.replace('-', '_')}.py"
    path.write_text(_PLUGIN.format(name=name, order=order, body=body))
    return path


_SMALL = ("--images", 32, "--batch", 16, "--steps", "2", "--device", "cpu")


def test_a_run_ends_with_table_answer_and_files(cli: Cli, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text((STUDIES / "quick.toml").read_text().replace("steps = 200", "steps = 3"))
    shown = cli("run", study, *_SMALL, "--samplers", "ddim", "--out", tmp_path / "run").out
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
        (("run", "quick", "--precision", "fp8"), "--precision: Input should be 'fp32', 'tf32'"),
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
def test_bad_input_ends_with_status_2_and_one_message(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    shown = cli(*arguments, status=2)
    assert shown.err.startswith("error: ") or "\nerror: " in shown.err
    assert said in shown.err
    assert "Traceback" not in shown.err


def test_a_run_with_a_failed_cell_ends_with_status_1_and_names_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cli.reporting.report.FORMATS", ("md",))
    plugin = _plugin(tmp_path, "test-nan", body="return model(x, t).x0 * float('nan')")
    study = tmp_path / "study.toml"
    study.write_text((STUDIES / "quick.toml").read_text().replace("steps = 10 }", "steps = 3 }"))
    arguments = [*_SMALL, "--samplers", "ddim,test-nan", "--plugin", plugin, "--out", tmp_path / "run"]
    shown = cli("run", study, *arguments, status=1)
    assert "1 failed" in shown.err
    assert "test-nan" in (tmp_path / "run" / "table.md").read_text()
    assert "NaN or Inf" in (tmp_path / "run" / "table.md").read_text()


def test_an_interrupted_run_ends_with_status_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.cli.run.run_and_report", interrupt)
    assert "what is finished is kept, and this goes on:\n" in cli("run", "quick", status=130).err


def test_a_dry_run_lists_the_cells_and_writes_nothing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.running.estimate._CALIBRATION_S", 0.01)
    arguments = ("--samplers", "heun,rk45", "--steps", "5", "--dry-run", "--out", tmp_path / "run")
    monkeypatch.setattr("bench.timing.monitor.at_start", lambda *_: ["the machine is busy"])
    shown = cli("run", "quick", *arguments)
    assert "the machine is busy" in shown.err.splitlines()
    *cells, count, rate, time = shown.out.splitlines()
    assert cells == [
        "ddim on trailing, 10 steps, seed 0: 10 evaluations an image",
        "heun on trailing, 5 steps, seed 0: 9 evaluations an image",
        "rk45 on trailing, 5 steps, seed 0: as many evaluations as it takes",
    ]
    assert count == "3 cells of at most 8,000 images: 159,125 network evaluations, and 1 that cannot say theirs"
    assert "an evaluation of one image, in batches of 125" in rate
    assert re.match(r"about (\d+ min )?\d+ (s|min) of network evaluations and feature extraction on ", time)
    assert not (tmp_path / "run").exists()


def test_a_plugin_is_checked_like_any_other(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.cli.authoring.CHECKS", _cheap_checks())
    good = _plugin(tmp_path, "test-good")
    shown = cli("check", "test-good", "--plugin", good, "--plot", tmp_path / "new" / "good.pdf").out
    assert "test-good: conforms" in shown
    assert str(tmp_path / "new" / "good.pdf") in shown
    assert (tmp_path / "new" / "good.pdf").read_bytes().startswith(b"%PDF")
    shown = cli("check", "test-bad", "--plugin", _plugin(tmp_path, "test-bad", order=2), status=1).out
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
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, order: int | None, body: str, said: str
) -> None:
    order_alone = [each for each in _cheap_checks() if each.name == "converges with its declared order"]
    monkeypatch.setattr("bench.cli.authoring.CHECKS", order_alone)
    plugin, plot = _plugin(tmp_path, name, order, body), tmp_path / "plot.png"
    failed = 0 if order is None else 1
    assert said in cli("check", name, "--plugin", plugin, "--plot", plot, status=failed).out
    assert not plot.exists()


def test_a_check_as_json_says_the_same_and_nothing_else(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cli.authoring.CHECKS", _cheap_checks())
    found = json.loads(
        cli("check", "test-json", "--json", "--plugin", _plugin(tmp_path, "test-json", order=2), status=1).out
    )
    assert (found["sampler"], found["conforms"]) == ("test-json", False)
    assert found["source"] == str(tmp_path / "test_json.py")
    (failed,) = (check for check in found["checks"] if check["outcome"] == "failed")
    assert failed["name"] == "converges with its declared order"
    assert failed["detail"].startswith("declares order 2, but halving the step gives")


def _cheap_checks() -> tuple[Check, ...]:
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
def test_lists_name_what_there_is_as_a_table_and_as_json(cli: Cli, what: str, name: str) -> None:
    rows = json.loads(cli("list", what, "--json").out)
    assert name in {row["name"] for row in rows}
    assert name in cli("list", what).out


def test_help_is_there_for_every_command(cli: Cli) -> None:
    shown = cli("--help").out
    for command in ("run", "list", "check", "new-sampler", "report", "compare", "train"):
        assert command in shown


@pytest.mark.parametrize(("name", "said"), [("comapre", "Did you mean 'compare'?"), ("quick", "There is: check, ")])
def test_a_word_that_is_no_command_is_said_to_be_none(cli: Cli, name: str, said: str) -> None:
    found = cli(name, "a", status=2).err
    assert f"unknown command '{name}'" in found
    assert said in found


@pytest.mark.parametrize("extractor", ["inception-v3-compat", "digits"])
def test_a_reference_of_a_folder_that_is_not_there_is_refused_for_that(cli: Cli, extractor: str) -> None:
    said = cli("reference", "/nowhere/images", "--extractor", extractor, status=2).err
    assert "'/nowhere/images' is no folder of images" in said
