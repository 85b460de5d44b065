"""What a plugin does costs the plugin: it is refused in a line with its file and line, or its cell fails."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import Cli
from studies import study_toml

from models.common.errors import PluginError, UsageError
from models.plugins.foreign import add_note, foreign, place_of, told
from models.plugins.plain import NotPlain, plain
from samplers import SAMPLERS
from samplers.about import declared_evaluations
from samplers.registry import load_file

_PLUGIN = '''
import enum, decimal, math, pathlib, sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from samplers import StepSampler, register

if TYPE_CHECKING:
    from torch import Tensor

class Way(enum.Enum):
    ONE = "one"

class Said(str, enum.Enum):
    ONE = "one"

class Own:
    pass

@dataclass(frozen=True)
class Inner:
    size: int = 1

class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no words")

@register("test-plugin")
@dataclass(frozen=True)
class Mine(StepSampler):
    """A plugin."""

    {field}

    paper = "none"
    order = 1
    stochastic = False
    {more}

    def nfe(self, levels):
        {nfe}

    def step(self, model, x, t, s, noise):
        {step}
'''
_DDIM = "p = model(x, t); return s.alpha * p.x0 + s.sigma * p.eps"
_STEPS = "return len(levels) - 1"


def _plugin(folder: Path, field: str = "", more: str = "", nfe: str = _STEPS, step: str = _DDIM) -> Path:
    path = folder / "test_plugin.py"
    path.write_text(_PLUGIN.format(field=field, more=more, nfe=nfe, step=step))
    return path


def _refusal(path: Path) -> str:
    """Why the plugin's sampler cannot be made, with the number of the line taken out."""
    load_file(path)
    with pytest.raises(PluginError) as error:
        SAMPLERS.make("test-plugin")
    said, lines = re.subn(rf"\({path}:\d+\)", "(FILE:LINE)", str(error.value))
    assert lines >= 1
    assert "\n" not in said
    return said


_FIELDS = {
    "an Enum": ("way: Way = Way.ONE", "a Way has no place in JSON"),
    "text of an Enum": ("way: Said = Said.ONE", "a Said has no place in JSON"),
    "a Path": ("way: pathlib.Path = pathlib.Path('here')", "a PosixPath has no place in JSON"),
    "a Decimal": ("way: decimal.Decimal = decimal.Decimal('0.1')", "a Decimal has no place in JSON"),
    "a dataclass": ("way: Inner = Inner()", "a Inner has no place in JSON"),
    "a set": ("way: frozenset[int] = frozenset({1})", "a frozenset has no place in JSON"),
    "inf": ("way: float = math.inf", "inf is no finite number"),
    "NaN in a list": ("way: tuple[float, ...] = (0.5, math.nan)", r"\[1\]: nan is no finite number"),
    "numbers for keys": ("way: dict[int, int] = field(default_factory=lambda: {1: 2})", "1 is no key of a table"),
    "a function": ("way: Any = len", "a builtin_function_or_method has no place in JSON"),
    "an array": ("way: Any = field(default_factory=lambda: np.ones(2))", "a ndarray has no place in JSON"),
    "a tensor": ("way: Any = field(default_factory=lambda: torch.ones(2))", "a Tensor has no place in JSON"),
    "a dtype": ("way: Any = torch.float32", "a dtype has no place in JSON"),
    "typed as a tensor": ("way: torch.Tensor | None = None", "is of type .*, which JSON cannot hold"),
    "typed as a class": ("way: Own | None = None", "is of type .*, which JSON cannot hold"),
    "typed as an array": ("way: np.ndarray | None = None", "is of type .*, which JSON cannot hold"),
    "typed as nothing": ('way: "Tensor | None" = None', "is not known when it is made .* outside of TYPE_CHECKING"),
}


@pytest.mark.parametrize(("field", "said"), _FIELDS.values(), ids=_FIELDS)
def test_a_parameter_that_json_cannot_hold_is_refused_by_its_name(tmp_path: Path, field: str, said: str) -> None:
    assert re.match(f"sampler 'test-plugin': .*parameter '?way.*{said}", _refusal(_plugin(tmp_path, field)))


_WORDS = {
    "stochastic as text": ('stochastic = "no"', "stochastic: Input should be a valid boolean, got 'no'"),
    "order as text": ('order = "first"', "order: Input should be a valid integer"),
    "an odd family": ("family = None", "family: Input should be a valid string"),
    "an odd need": ('needs = "luck"', "needs: Input should be 'denoiser' or 'generator'"),
    "a caveat that is a tensor": ("caveat = torch.ones(2)", "caveat: NotPlain: a Tensor has no place in JSON"),
    "half a character": (r'caveat = "\ud800"', "caveat: NotPlain: '\\ud800' holds half a character"),
    "a property that raises": ("paper = property(lambda self: 1 / 0)", "paper: ZeroDivisionError: division by zero"),
    "a property that ends": ("order = property(lambda self: sys.exit(0))", "order: SystemExit: 0"),
    "a constructor that ends": ("def __post_init__(self): sys.exit(0)", "cannot be made: SystemExit: 0"),
    "a constructor that refuses": ("def __post_init__(self): raise ValueError('odd')", ""),
    "a method that is missing": ("nfe = StepSampler.nfe; step = StepSampler.step", "cannot be made: TypeError"),
}


@pytest.mark.parametrize(("more", "said"), _WORDS.values(), ids=_WORDS)
def test_what_a_sampler_says_of_itself_is_asked_before_it_runs(tmp_path: Path, more: str, said: str) -> None:
    path = _plugin(tmp_path, more=more)
    if more.startswith("nfe ="):
        path.write_text(path.read_text().partition("    def nfe")[0])
    if "ValueError" in more:
        load_file(path)
        with pytest.raises(UsageError, match=rf"'test-plugin': odd.* \({path}:\d+\). It takes"):
            SAMPLERS.make("test-plugin")
        return
    assert said in _refusal(path)


_NUMBERS = {
    "an integer of NumPy": ("return np.ones(3, dtype=int).sum()", 3),
    "a float of NumPy": ("return np.float32(3)", 3),
    "an array of no dimension": ("return np.array(3)", 3),
    "a tensor of no dimension": ("return torch.tensor(3)", 3),
    "a whole float": ("return 3.0", 3),
    "nobody knows": ("return None", None),
    "text": ('return "3"', "gave '3'; expected a whole number from 0 on, or None"),
    "NaN": ('return float("nan")', "NotPlain: nan is no finite number"),
    "half an evaluation": ("return 2.5", "gave 2.5; expected a whole number"),
    "less than nothing": ("return -1", "gave -1; expected a whole number"),
    "a truth value": ("return True", "gave True; expected a whole number"),
    "several": ("return np.ones(2)", "NotPlain: a ndarray has no place in JSON"),
    "SystemExit": ("sys.exit(0)", "SystemExit: 0"),
    "no words": ("raise Unprintable", "Unprintable: (its words cannot be had: to print it raises RuntimeError)"),
}


@pytest.mark.parametrize(("nfe", "expected"), _NUMBERS.values(), ids=_NUMBERS)
def test_evaluations_are_numbers_of_pythons_or_refused(tmp_path: Path, nfe: str, expected: object) -> None:
    path = _plugin(tmp_path, nfe=nfe)
    load_file(path)
    sampler = SAMPLERS.make("test-plugin")
    if isinstance(expected, str):
        with pytest.raises(PluginError) as error:
            declared_evaluations("test-plugin", sampler, [])
        assert str(error.value).startswith("sampler 'test-plugin': nfe()")
        assert expected in str(error.value)
        assert f"({path}:" in str(error.value)
    else:
        found = declared_evaluations("test-plugin", sampler, [])
        assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("command", [("run", "quick", "--samplers", "test-plugin"), ("check", "test-plugin")])
def test_no_command_ends_well_because_a_plugin_ends_the_program(
    cli: Cli, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """At import, in its constructor, or through a parameter; each time in one line that names the place."""
    broken = tmp_path / "broken.py"
    broken.write_text("import sys\nsys.exit(0)\n")
    shown = cli(*command, "--plugin", broken, status=2).err
    assert f"error: plugin '{broken}' failed to load: SystemExit: 0 ({broken}:2)\n" in shown
    broken.write_text("def f(:\n")
    shown = cli(*command, "--plugin", broken, status=2).err
    assert f"failed to load: SyntaxError: invalid syntax (broken.py, line 1) ({broken}:1)\n" in shown
    plugin = _plugin(tmp_path, more="def __post_init__(self): sys.exit(0)")
    told = "".join(cli(*command, "--plugin", plugin, status=1 if command[0] == "check" else 2))
    assert "sampler 'test-plugin' cannot be made: SystemExit: 0" in told
    assert f"({plugin}:" in told


@pytest.mark.parametrize("step", ["sys.exit(0)", "raise OSError('gone')", "raise Unprintable", "raise GeneratorExit"])
def test_a_check_fails_whatever_a_step_raises(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    from bench.conformance.suite import CHECKS

    monkeypatch.setattr("bench.cli.authoring.CHECKS", CHECKS[:1])
    plugin = _plugin(tmp_path, step=step)
    (found,) = json.loads(cli("check", "test-plugin", "--plugin", plugin, "--json", status=1).out)["checks"]
    assert found["outcome"] == "failed"
    assert f"({plugin}:" in found["detail"]


def test_a_check_asks_for_all_that_a_record_holds(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of NumPy are right; lists in lists, deeper than a record holds them, are not."""
    from bench.conformance.suite import CHECKS

    named = "says what a record can hold"
    monkeypatch.setattr("bench.cli.authoring.CHECKS", [check for check in CHECKS if check.name == named])
    good = _plugin(tmp_path, "size: float = np.float64(0.5)", "stochastic = np.False_", "return np.int64(3)")
    cli("check", "test-plugin", "--plugin", good)
    (tmp_path / "deep").mkdir()
    deep = _plugin(tmp_path / "deep", "way: Any = field(default_factory=lambda: [[[[1]]]])")
    deep.write_text(deep.read_text().replace("test-plugin", "test-deep"))
    shown = cli("check", "test-deep", "--plugin", deep, status=1).out
    assert f"FAIL  {named}: no record can hold what it says of itself: sampler_parameters" in shown
    (tmp_path / "study.toml").write_text(study_toml(baseline="test-deep"))
    said = cli("run", tmp_path / "study.toml", "--out", tmp_path / "r", status=2).err
    assert re.search(r"error: test-deep\S* on trailing, .*: no record can hold it, .*: sampler_parameters: ", said)
    assert not (tmp_path / "r").exists()


def test_whatever_else_ends_the_program_does_not_end_it_well(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.cli.reporting.report_runs", lambda *given: sys.exit(0))
    assert "ended the program: SystemExit: 0" in cli("report", "results/quick", status=1).err


def test_an_exception_is_told_in_a_line_that_a_file_can_hold_with_its_notes() -> None:
    error = RuntimeError("one\n\ttwo \ud800")
    add_note(error, "three\nfour")
    assert told(error) == "RuntimeError: one two \\ud800; three four"
    vars(error)["__notes__"] = 5
    add_note(error, "five")
    assert told(error) == "RuntimeError: one two \\ud800"
    assert told(SystemExit()) == "SystemExit"
    assert len(told(ValueError("x" * 10_000))) < 1100


def test_interruptions_and_words_of_ours_go_through() -> None:
    for ours in (KeyboardInterrupt, UsageError):
        with pytest.raises(ours, match="as it is"), foreign("it"):
            raise ours("as it is")
    with pytest.raises(PluginError, match=r"^it: StopIteration \(tests/models/test_foreign.py:\d+\)$"), foreign("it"):
        raise StopIteration


def test_the_place_is_the_plugins_not_that_of_a_library_that_it_has_called() -> None:
    with pytest.raises(np.linalg.LinAlgError) as singular:
        np.linalg.inv(np.zeros((2, 2)))
    assert str(place_of(singular.value)).startswith("tests/models/test_foreign.py:")
    library = singular.value.__traceback__
    assert library is not None
    assert place_of(singular.value.with_traceback(library.tb_next)) is None  # as if nobody had called it


def test_plain_values_are_those_of_json() -> None:
    found = plain({"a": (np.float32(0.5), np.bool_(True)), "b": [None, "text", 1, np.str_("x"), np.longdouble(2)]})
    assert found == {"a": [0.5, True], "b": [None, "text", 1, "x", 2.0]}
    assert json.loads(json.dumps(found)) == found
    with pytest.raises(NotPlain, match=r"^columns\['a'\]\[1\]: a complex has no place"):
        plain({"a": [1, 1j]}, "columns")
