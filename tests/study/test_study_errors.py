"""What is wrong with a study is said all at once: each thing once, by its key's path, in the order of the file."""

import codecs
import tomllib
from pathlib import Path
from typing import Any

import pytest
from checkpoints import folder_of
from hypothesis import given
from hypothesis import strategies as st

from bench.study.fields import LONGEST
from bench.study.file import load_study, parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from bench.study.study import Study
from models.common.errors import UsageError

_GOOD = """
name = "s"
title = "S"
model = "digits"
images = 100
batch = 50
baseline = { sampler = "ddpm", grid = "trailing", steps = 20 }
[[block]]
samplers = ["ddim", "heun"]
grids = ["trailing", "karras"]
steps = [5, 10]
"""


def _said(text: str | bytes, *, complete: bool = False, **options: Any) -> list[str]:
    """The lines of the error that a study ends in."""
    with pytest.raises(UsageError) as error:
        parse_study(text, "s.toml", Overrides(**options), complete=complete)
    return str(error.value).splitlines()


_WRONG = """
images = 0
name = "Mine"
titel = "S"
model = "digit"
batch = "many"
seeds = [0, -1]
metrics = ["fd", "fdi"]
modes = ["fp32", "fp8"]
threads = 100000
timing = { repeats = 1.5, batches = [0] }
baseline = { sampler = "dpm", grid = "trailing", steps = 0 }

[[block]]
grids = ["karas", "trailing"]
samplers = ["ddim[eta=-2]", "heun", "dimm"]
evaluations = [5, 1000000]
seeds = []

[[block]]
samplers = ["ddim"]
grids = ["trailing"]
steps = [2]
published = { column = "FID", source = "a paper", values = [1.0] }
"""


def test_all_that_is_wrong_is_said_at_once_by_key_path_with_its_range_in_the_order_of_the_file() -> None:
    first, *lines = _said(_WRONG, complete=True)
    wanted = [
        "images: expected a whole number, 16 ... 10,000,000: standard errors and",
        "name: 'Mine' cannot name a study; expected up to 40 lower-case letters",
        "titel: unknown key 'titel'. Did you mean 'title'? There is: baseline, batch,",
        "model: unknown model 'digit'. Did you mean 'digits'?",
        "batch: expected a number of images, 1 ... 1,000,000, or 'auto', got 'many'",
        "seeds.1: expected a whole number, 0 ... 2^62 - 1, got -1",
        "metrics.1: Input should be 'fd', 'fd_infinity', 'kid'",
        "modes.1: cannot read the execution mode 'fp8'",
        "threads: expected a whole number, 1 ... 1,024, got 100000",
        "timing.repeats: expected a whole number, 0 ... 10,000, got 1.5",
        "timing.batches.0: expected a whole number, 1 ... 1,000,000, got 0",
        "baseline.sampler: unknown sampler 'dpm'",
        "baseline.steps: expected a whole number, 1 ... 100,000, got 0",
        "block.0.grids.0: unknown grid 'karas'. Did you mean 'karras'?",
        "block.0.samplers.0: sampler 'ddim': eta: Input should be greater than or equal to 0, got -2",
        "block.0.samplers.2: unknown sampler 'dimm'. Did you mean 'ddim'?",
        "block.0.evaluations.1: expected a whole number, 1 ... 100,000, got 1000000",
        "block.0.seeds: List should have at least 1 item",
        "block.1.published.column: unknown column 'FID'",
        "title: is missing",
    ]
    assert first == f"study 's.toml': {len(wanted)} errors"
    assert [line[: len(each) + 2] for line, each in zip(lines, wanted, strict=True)] == [f"  {each}" for each in wanted]


def test_a_missing_baseline_is_shown_as_it_is_written() -> None:
    text = _WRONG.replace('baseline = { sampler = "dpm", grid = "trailing", steps = 0 }', "")
    (line,) = [line.strip() for line in _said(text) if "baseline" in line and "missing" in line]
    said, example, _ = line.split("`")
    assert said == "baseline: is missing; write for example "
    assert set(tomllib.loads(example)["baseline"]) == {"sampler", "grid", "steps"}


def test_what_does_not_fit_the_models_is_said_at_once_too() -> None:
    text = """
name = "s"
title = "S"
model = "digits"
images = 100
batch = 50
device = "cpu"
label = 3
metrics = ["fd", "law"]
modes = ["fp32", "tf32"]
baseline = { sampler = "ddim", grid = "trailing", steps = 2000 }
[[block]]
samplers = ["ddim", "heun"]
grids = ["logsnr[t_end=0.9,t_start=0.5]", "trailing"]
steps = [10, 1001]
[[block]]
model = "digits-vae"
samplers = ["ddim", "one-step"]
grids = ["trailing"]
steps = [1]
[[block]]
samplers = ["rk45", "langevin", "ddim"]
grids = ["trailing"]
evaluations = [2, 20]
published = { source = "a paper", values = [1.0, 2.0], column = "kid_mean" }
[[block]]
model = "nothing"
samplers = ["ddim"]
grids = ["trailing"]
steps = [5]
"""
    block = 'samplers = ["ddim"]\ngrids = ["trailing"]\nevaluations = [2, 20]\npublished'
    text = text.replace("published", f"[[block]]\n{block}")
    first, *lines = _said(text, complete=True)
    wanted = [
        "label: model 'digits' has no classes, got 3",
        "label: model 'digits-vae' has no classes, got 3",
        "metrics.1: metric 'law' is the distance to a law that is known exactly, but model 'digits'",
        "metrics.1: metric 'law' is the distance to a law that is known exactly, but model 'digits-vae'",
        "modes.1: mode tf32: TensorFloat-32 needs a CUDA device",
        "baseline.steps: cannot place 2000 steps; expected 1 to 1000",
        "block.0.grids.0: expected t_end < t_start",
        "block.0.steps.1: cannot place 1001 steps; expected 1 to 1000",
        "block.1.samplers.0: ddim needs a denoiser, but model 'digits-vae' is a generator",
        "block.2.samplers.0: rk45 cannot say its evaluations before",
        "block.2.evaluations.0: langevin takes more than 2 evaluations in a single step",
        "block.3.published.column: 'kid_mean' comes of metric 'kid', which is not among the study's",
        "block.4.model: unknown model 'nothing'",
    ]
    assert first == f"study 's.toml': {len(wanted)} errors"
    assert [line[: len(each) + 2] for line, each in zip(lines, wanted, strict=True)] == [f"  {each}" for each in wanted]


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"images": 0}, ["--images: expected a whole number, 16 ... 10,000,000: standard errors and"]),
        ({"steps": [5, 2000]}, ["--steps: cannot place 2000 steps; expected 1 to 1000 (trained on 1000 levels)"]),
        ({"steps": [5], "evaluations": [5]}, ["--steps: expected either these or --evaluations"]),
        ({"evaluations": [10**9]}, ["--evaluations: expected a whole number, 1 ... 100,000, got 1000000000"]),
        ({"threads": 100_000}, ["--threads: expected a whole number, 1 ... 1,024, got 100000"]),
        ({"batch": 10**9}, ["--batch: expected a number of images, 1 ... 1,000,000, or 'auto', got 1000000000"]),
        ({"seed": -1}, ["--seed: expected a whole number, 0 ... 2^62 - 1, got -1"]),
        ({"device": "tpu"}, ["--device: unknown device 'tpu'"]),
        ({"modes": "fp32,graph", "device": "cpu"}, ["--modes: mode fp32+graph: a CUDA graph needs a CUDA device"]),
        ({"precision": "tf32", "device": "cpu"}, ["--precision: mode tf32: TensorFloat-32 needs a CUDA device"]),
        ({"model": "digit"}, ["--model: unknown model 'digit'. Did you mean 'digits'?"]),
        ({"model": " digits"}, ["--model: expected a text without blanks around it"]),
        ({"grids": "trailing,karas"}, ["--grids: unknown grid 'karas'"]),
        ({"samplers": "ddim,a]"}, ["--samplers: unbalanced square brackets in 'ddim,a]'"]),
        (
            {"samplers": "dim,hein"},
            ["2 errors", "  --samplers: unknown sampler", "  --samplers: unknown sampler"],
        ),
    ],
)
def test_what_an_option_says_wrong_names_the_option(options: dict[str, Any], lines: list[str]) -> None:
    found = _said(_GOOD, complete=True, **options)
    assert [line[: len(start)] for line, start in zip(found, lines, strict=True)] == lines


def test_what_is_wrong_in_the_file_keeps_its_place_where_an_option_chooses_other_blocks() -> None:
    block = '[[block]]\nsamplers = ["dpm++2m"]\ngrids = ["explicit[t=[1.0,0.5]]"]\nsteps = [8]\n'
    (line,) = _said(_GOOD + block, complete=True, samplers="dpm++2m")
    assert line.startswith("study 's.toml': block.1.grids.0: the explicit grid lists 2 noisy levels, but these steps")
    lines = _said(_GOOD.replace("100", "0") + block, complete=True, samplers="dim", model="digits")
    assert lines[0] == "study 's.toml': 2 errors"
    assert lines[1].startswith("  images: expected a whole number, 16 ... 10,000,000: standard errors")
    assert lines[2].startswith("  --samplers: unknown sampler 'dim'")


@pytest.mark.parametrize("key", ["extractor = 'inception'", "extractor = { name = 'nothing', sha256 = '0' }"])
def test_an_extractor_that_there_is_not_is_said_with_the_rest(key: str) -> None:
    text = _GOOD.replace("batch = 50", f"batch = 50\n{key}\nlabel = 1")
    assert any(line.startswith("  extractor") for line in _said(text, complete=True))


def test_a_model_without_an_extractor_is_told_which_metrics_need_none(tmp_path: Path) -> None:
    text = _GOOD.replace('"digits"', f'"{folder_of(tmp_path, {})}"')
    (line,) = _said(text, complete=True)
    assert line.startswith("study 's.toml': extractor: model 'mine' has no feature extractor of its own")
    assert 'metrics = ["solver_error"] needs neither extractor nor reference' in line
    assert parse_study(text.replace("batch", 'metrics = ["solver_error"]\nbatch'), "s.toml", complete=True)


_COLUMN = '[[block]]\nsamplers = ["ddim"]\ngrids = ["quad"]\nsteps = [4]\npublished = { source = "p", values = [1.0], '


@pytest.mark.parametrize("column", ["fdi", "nfe", "", "fd_", "FID", "fd_x_std", "fd_x_left_out", "fd_x_ci_inf"])
def test_a_published_column_that_there_is_not_is_refused(column: str) -> None:
    (line,) = _said(f'{_GOOD}{_COLUMN}column = "{column}" }}\n')
    assert f"block.1.published.column: unknown column {column!r}" in line


def test_a_published_distance_is_one_of_an_extractor_that_there_is() -> None:
    for column in ("fd_digits", "fd_inception", "fid"):
        assert parse_study(f'{_GOOD}{_COLUMN}column = "{column}" }}\n', "s.toml", complete=True)
    (line,) = _said(f'{_GOOD}{_COLUMN}column = "fd_digit" }}\n', complete=True)
    assert "block.1.published.column: unknown column 'fd_digit'. Did you mean 'fd_digits'?" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (codecs.BOM_UTF8 + _GOOD.encode(), "begins with a byte order mark (BOM) of UTF-8; save it as UTF-8 without"),
        (codecs.BOM_UTF16_LE + _GOOD.encode("utf-16-le"), "begins with a byte order mark (BOM) of UTF-16"),
        (codecs.BOM_UTF32_LE + _GOOD.encode("utf-32-le"), "begins with a byte order mark (BOM) of UTF-32"),
        (_GOOD.encode("utf-16-le"), "holds a NUL byte, in line 2"),
        (_GOOD.replace('"S"', '"Dauer der L\u00e4ufe"').encode("latin-1"), "byte 0xe4 in line 3; save it as UTF-8"),
        (_GOOD.encode() + b"\0", "holds a NUL byte, in line 12"),
        (b"images = " + b"[" * 3000, "is nested too deeply"),
        (b"images = " + b"1" * 5000, "is not valid TOML: Exceeds the limit"),
    ],
)
def test_a_file_that_is_no_utf_8_is_named_with_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "s.toml").write_bytes(content)
    with pytest.raises(UsageError) as error:
        load_study(str(tmp_path / "s.toml"))
    assert said in str(error.value)
    assert "s.toml" in str(error.value)


@pytest.mark.parametrize("name", ["x" * 300 + ".toml", "a\0b.toml", "../quick", "."])
def test_a_path_that_nothing_can_have_is_no_study(name: str) -> None:
    with pytest.raises(UsageError, match=r"no study file|cannot read the study|unknown study"):
        load_study(name)


_TEXT = st.text(max_size=8) | st.sampled_from(["ddim", "digits", "karras", "fp32", "auto", "ddim[eta=[[1]]]"])
_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**70), 2**70) | st.just(10**400) | st.floats() | _TEXT | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)
_PLACES = st.sampled_from(
    [
        *((key,) for key in [*Study.model_fields, "other\n\x1b"]),
        *(("block", 0, key) for key in ("model", "samplers", "grids", "steps", "evaluations", "seeds", "published")),
        *(("block", 0, key, 1) for key in ("samplers", "grids", "steps")),
        *(("timing", "repeats"), ("baseline", "steps"), ("checkpoint", "schedule"), ("extractor", "name")),
        ("checkpoint", "clip"),
    ]
)


def _put(content: Any, place: tuple[Any, ...], value: object) -> None:
    """Set what stands at a place, if there can be something."""
    for step in place[:-1]:
        if isinstance(content, dict):
            content = content.setdefault(step, {})
        elif isinstance(content, list) and isinstance(step, int) and step < len(content):
            content = content[step]
    if isinstance(content, dict) or (isinstance(content, list) and place[-1] in range(len(content))):
        content[place[-1]] = value


@given(st.lists(st.tuples(_PLACES, _VALUES), min_size=1, max_size=4))
def test_a_study_with_any_values_anywhere_is_one_or_ends_in_lines_that_can_be_read(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    import tomli_w

    content = tomllib.loads(_GOOD)
    for place, value in changes:
        _put(content, place, value)
    try:
        text = tomli_w.dumps(content)
    except (TypeError, ValueError, AttributeError):  # half made tables, which TOML has not
        return
    try:
        study = parse_study(text, "s.toml", complete="hf:" not in text)
    except UsageError as error:
        lines = str(error).splitlines()
        assert all(line.isprintable() and len(line) < LONGEST for line in lines)
        assert len(set(lines)) == len(lines)
        return
    assert plan(study)
