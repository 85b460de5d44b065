"""Whoever has a checkpoint is given a folder that works once the network is in it, and the README's example does."""

import re
import runpy
import shlex
import warnings
from pathlib import Path
from typing import get_args

import pytest
import torch
from commands import Cli
from safetensors.torch import load_file as read_tensors
from safetensors.torch import save_file

from bench.cli import app
from bench.cli.new_model import _KINDS, Given, Predicts
from bench.progress import notices
from models import architectures
from models.architectures import make_network
from models.cards.card import Card
from models.common.errors import UsageError
from models.common.files import sha256_of
from models.loading.sources import load_card
from models.loading.zoo import load_model
from samplers.registry import load_file

_README = Path(__file__).parents[2] / "models" / "README.md"
_TEMPLATE = Path(app.__file__).parent / "templates" / "network.py"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory; networks that plugins register are gone after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(architectures, "_makers", dict(architectures._makers))


def _weights(path: Path, channels: int = 1) -> Path:
    """Weights of the plugin's own network."""
    load_file(_TEMPLATE)
    module = make_network("my-model", {}, "template")
    state = {name: torch.zeros_like(value) for name, value in module.state_dict().items()}
    shapes = {"into.weight": (64, channels, 3, 3), "out.weight": (channels, 64, 3, 3), "out.bias": (channels,)}
    save_file(state | {name: torch.full(shape, 0.1) for name, shape in shapes.items()}, path)
    return path


@pytest.mark.parametrize("network", get_args(Given))
def test_the_folder_of_every_kind_of_network_can_be_sampled_as_it_is(cli: Cli, network: str) -> None:
    weights = _weights(Path("mine.safetensors"))
    given = ("--weights", weights, "--shape", "1,8,8", "--network", network, "--classes", 7)
    shown = cli("new-model", "test-mine", *given).out
    assert "6 tensors of 1,345 numbers: into.bias (64,) ... time.weight (64, 1)" in shown
    assert "\n  run_bench.py check-model test-mine --plugin test-mine/plugin.py\n" in shown
    solvers = "run solvers --model test-mine --plugin test-mine/plugin.py --out results/test-mine"
    assert f"\n  run_bench.py {solvers}\n" in shown
    card = load_card(Path("test-mine"))
    assert (card.name, card.shape, card.network, card.classes) == ("test-mine", (1, 8, 8), network, 7)
    assert card.files == {"mine.safetensors": sha256_of(weights)}
    said = re.search(r"^parametrisation = .*$", Path("test-mine/card.toml").read_text(), re.MULTILINE)
    assert said is not None
    assert sorted(re.findall(r"epsilon|sample|v_prediction|score|flow", said[0])) == sorted(get_args(Predicts))
    load_file(Path("test-mine/plugin.py"))
    model = load_model("test-mine", torch.device("cpu"))
    at, labels = model.schedule.level(0.5), torch.tensor([3])
    assert model.network(torch.ones(1, 1, 8, 8), at, labels).isfinite().all()  # type: ignore[call-arg]


def test_every_key_that_a_card_hints_at_is_one() -> None:
    texts = [(_TEMPLATE.parent / "card.toml").read_text(), *(kind.more for kind in _KINDS.values())]
    hinted = {key for text in texts for key in re.findall(r"^# (\w+) = ", text, re.MULTILINE)}
    assert {"clip", "null_label", "variance", "ignore", "round_time"} == hinted
    assert hinted <= set(Card.model_fields)


def test_without_weights_the_first_command_says_their_hash(cli: Cli) -> None:
    shown = cli("new-model", "test-bare", "--shape", "1,8,8", "--out", "there").out
    assert "put its weights there as weights.safetensors and list them" in shown
    _weights(Path("there/weights.safetensors"))
    shown = cli("check-model", "there", "--plugin", "there/plugin.py", status=2).err
    assert f"(it is {sha256_of(Path('there/weights.safetensors'))})" in shown


def test_a_prefix_that_is_taken_off_is_said_in_one_line_whatever_loads_the_weights_again(
    cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    state = read_tensors(_weights(Path("mine.safetensors")))
    save_file({f"module.{name}": value for name, value in state.items()}, "wrapped.safetensors")
    given = ("--weights", "wrapped.safetensors", "--shape", "1,8,8")
    cli("new-model", "test-mine", *given)

    shown = cli("check-model", "test-mine", "--plugin", "test-mine/plugin.py", "--images", 2, status=1).err
    said = "test-mine/wrapped.safetensors: its weights are taken by their names without the 'module' of "
    assert (shown.count(said), shown.count("Warning"), shown.count("warn(")) == (1, 0, 0)
    with notices():
        for _ in range(2):
            with warnings.catch_warnings():  # after which all may be shown again
                load_model("test-mine", torch.device("cpu"))
    assert [line.startswith(said) for line in capsys.readouterr().err.splitlines()] == [True]


def test_weights_that_are_in_the_folder_already_are_listed(cli: Cli) -> None:
    Path("test-there").mkdir()
    weights = Path("test-there/ema.pt")
    torch.save({"ema": {"a": torch.zeros(2)}}, weights)
    cli("new-model", "test-there", "--weights", weights, "--state-key", "ema")
    card = load_card(Path("test-there"))
    assert (card.weights, card.state_key, card.files) == ("ema.pt", "ema", {"ema.pt": sha256_of(weights)})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Mine",), "'Mine' cannot name a model; expected up to 40 lower-case letters"),
        (("a/b",), "cannot name a model"),
        (("test-mine", "--shape", "3,32"), "--shape 3,32: expected channels, height and width, each 1 ..."),
        (
            ("test-mine", "--shape", "0,8,8"),
            "expected channels, height and width, each 1 ... 65,536, such as",
        ),
        (("test-mine", "--shape", "3,8,65537"), "--shape 3,8,65537: expected channels, height and width, each 1 ..."),
        (("test-mine", "--classes", "0"), "--classes 0: expected 1 ... 2^31 - 1"),
        (("test-mine", "--classes", "9223372036854775808"), "--classes 9223372036854775808: expected 1 ... 2^31 - 1"),
        (("test-mine", "--network", "unit"), "unit"),
        (
            ("test-mine", "--weights", "none.pt"),
            "there is no file of weights 'none.pt'; expected .safetensors, .pt, .pth, .bin, .ckpt, .tar",
        ),
        (("test-mine", "--weights", "kept.txt"), "kept.txt is no file of weights that is known here"),
        (("test-mine", "--weights", "nested.pt"), "as state_key: here with --state-key"),
        (("test-mine", "--out", "kept.txt"), "'kept.txt' is a file; give a folder with --out"),
        (("test-mine", "--out", "kept"), "'kept/card.toml' exists already and is left as it is"),
        (("test-mine", "--out", "other", "--weights", "good.pt"), "'other/good.pt' exists already"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is_overwritten(
    cli: Cli, arguments: tuple[str, ...], said: str
) -> None:
    for name in ("kept.txt", "kept/card.toml", "other/good.pt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("kept")
    torch.save({"ema": {"a": torch.zeros(2)}}, "nested.pt")
    torch.save({"a": torch.zeros(2)}, "good.pt")
    before = {path: path.read_bytes() for path in Path().rglob("*.*")}
    assert said in cli("new-model", *arguments, status=2).err
    assert {path: path.read_bytes() for path in Path().rglob("*.*")} == before


def test_the_example_of_the_readme_goes_from_a_file_of_weights_to_the_error_of_solvers(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _README.read_text().partition("\n## A whole example")[2].partition("\n## ")[0]
    files = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", text, re.DOTALL))
    assert [*files] == ["tiny/models/tiny.py", "train.py", "tiny/plugin.py"]
    commands = re.findall(r"^uv run run_bench.py (.*)$", text, re.MULTILINE)
    new, check, run, quality = map(shlex.split, commands)
    Path("train.py").write_text(files["train.py"])
    runpy.run_path("train.py")
    printed = [" ".join(each) for each in (check[:4], run)]
    assert [line[15:] for line in cli(*new).out.splitlines() if line.startswith("  run_")] == printed
    card = Path("tiny/card.toml")
    assert card.read_text().count("time_scale = 1000.0 ") == 1
    card.write_text(card.read_text().replace("time_scale = 1000.0 ", "time_scale = 1.0 "))
    for name in ("tiny/models/tiny.py", "tiny/plugin.py"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(files[name])
    assert "this network predicts" in cli(*check).out
    monkeypatch.setattr("bench.running.solution.STEPS", 20)
    monkeypatch.setattr("bench.report.FORMATS", ("md",))
    few = ("--samplers", "ddim,heun", "--grids", "trailing", "--evaluations", "20", "--images", "16", "--batch", "16")
    cli(*run, *few, "--device", "cpu")
    assert "heun" in Path("results/tiny/table.md").read_text()
    (study,) = re.findall(r"```toml\n# quality.toml\n(.*?)```", text, re.DOTALL)
    Path("quality.toml").write_text(study)
    few = ("--samplers", "ddim", "--evaluations", "5", "--images", "100", "--batch", "100", "--device", "cpu")
    cli(*quality, *few)
    assert "FD (digits)" in Path("results/tiny-quality/table.md").read_text()


def test_a_study_that_needs_an_extractor_leads_a_model_without_one_to_the_readme(cli: Cli) -> None:
    cli("new-model", "test-mine", "--weights", _weights(Path("mine.safetensors")), "--shape", "1,8,8")
    (line,) = cli("run", "quick", "--model", "test-mine", status=2).err.splitlines()
    assert 'metrics = ["solver_error"] needs neither extractor nor reference, as in `run solvers`' in line
    assert line.endswith("models/README.md shows a study with both")
    assert "extractor = " in _README.read_text()
    assert "reference = " in _README.read_text()


def test_a_model_of_points_is_told_what_can_be_measured_of_it(cli: Cli) -> None:
    cli("new-model", "test-mine", "--weights", _weights(Path("mine.safetensors")), "--shape", "2,1,1")
    said = cli("run", "quick", "--model", "test-mine", status=2).err
    assert "makes points, which no extractor takes. What can be measured is the error of solvers: " in said
    assert 'run solvers --model MODEL, or in a study metrics = ["solver_error"]' in said


def test_a_network_that_misses_its_config_is_told_that_there_is_none(cli: Cli) -> None:
    cli("new-model", "test-mine", "--weights", _weights(Path("mine.safetensors")))
    plugin = Path("test-mine/plugin.py")
    plugin.write_text(plugin.read_text().replace("width=64", 'width=config["width"]'))
    load_file(plugin)
    with pytest.raises(UsageError, match=r"card\.toml without a config\.json does not describe .*KeyError: 'width'"):
        load_model("test-mine", torch.device("cpu"))
    Path("test-mine/config.json").write_text('{"width": 64}')
    with pytest.raises(UsageError, match=r"files does not list 'config\.json' with its sha256"):
        load_model("test-mine", torch.device("cpu"))
