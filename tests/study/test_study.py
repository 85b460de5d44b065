"""Studies: what is wrong in them ends in a message, and their product holds every cell once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.study.file import STUDIES, load_study, parse_study, study_names
from bench.study.overrides import Overrides
from bench.study.plan import Cell, expectations, plan
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


def _parse(text: str, **overrides: object) -> Study:
    return parse_study(text, "test", Overrides.model_validate(overrides))


def test_the_product_is_taken_once_and_the_baseline_comes_first() -> None:
    cells = plan(
        _parse(_GOOD + '[[block]]\nsamplers = ["ddim[eta=0]"]\ngrids = ["trailing"]\nsteps = [5]\nseeds = [0, 1]\n')
    )
    assert cells[0] == Cell("ddpm", "trailing", 20, 0, "digits")
    assert len(cells) == len(set(cells)) == 1 + 2 * 2 * 2 + 1  # ddim[eta=0] at seed 0 is ddim, which is there
    assert Cell("ddim", "trailing", 5, 1, "digits") in cells


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("images = 100", "images = 0"), "images: expected a whole number, 16 ... 10,000,000: standard errors and"),
        (("images = 100", 'images = "many"'), "images: expected a whole number, 16 ... 10,000,000, got 'many'"),
        (("images = 100", "images = 100.0"), "images: expected a whole number, 16 ... 10,000,000, got 100.0"),
        (
            ("images = 100", "imagse = 100"),
            "imagse: unknown key 'imagse'. Did you mean 'images'?",
        ),
        (('"ddim", ', '"dimm", '), "unknown sampler 'dimm'. Did you mean 'ddim'?"),
        (('"karras"', '"karas"'), "unknown grid 'karas'. Did you mean 'karras'?"),
        (("steps = [5, 10]", "steps = []"), "block.0.steps: List should have at least 1 item"),
        (("samplers = [", "model = 1\nsamplers = ["), "block.0.model: Input should be a valid string, got 1"),
        (("batch = 50", "batch = 0"), "batch: expected a number of images, 1 ... 1,000,000, or 'auto', got 0"),
        (("batch = 50", "batch = 50\nmetrics = ['fdi']"), "metrics.0: Input should be 'fd', 'fd_infinity', 'kid'"),
        (("batch = 50", "batch = 50\nmodes = ['fp8']"), "modes.0: cannot read the execution mode 'fp8'"),
        (("batch = 50", "batch = 50\nmodes = []"), "modes: List should have at least 1 item"),
        (
            ("batch = 50", "batch = 50\ntiming = { repeats = -1 }"),
            "timing.repeats: expected a whole number, 0 ...",
        ),
        (
            ("batch = 50", "batch = 50\ntiming = { batches = [0] }"),
            "timing.batches.0: expected a whole number, 1 ...",
        ),
        (
            ("batch = 50", "batch = 50\ntiming = { repeat = 1 }"),
            "timing.repeat: unknown key 'repeat'. Did you",
        ),
        (("batch = 50", "batch = 50\nrepeats = 9"), "Instead of `repeats = 10` write `timing = { repeats = 10 }`"),
        (("batch = 50", "batch = 50\nprecision = 'bf16'"), 'write `modes = ["bf16"]`'),
        (("batch = 50", "batch = 50\nseeds = [-1]"), "seeds.0: expected a whole number, 0 ... 2^62 - 1, got -1"),
        (('name = "s"', 'name = "../s"'), "name: '../s' cannot name a study; expected up to 40 lower-case letters"),
        (("images = 100", "images = "), "is not valid TOML"),
    ],
)
def test_a_wrong_study_says_where_and_what(change: tuple[str, str], said: str) -> None:
    assert change[0] in _GOOD
    with pytest.raises(UsageError) as error:
        _parse(_GOOD.replace(*change))
    assert said in str(error.value)


def test_the_command_line_wins() -> None:
    study = _parse(
        _GOOD, samplers=["ddim[eta=0.5]", "heun", "ddpm"], steps=[7], images=32, batch=8, seed=5, grids=["quad"]
    )
    assert (study.images, study.batch, study.seeds) == (32, 8, [5])
    assert set(plan(study)) == {
        Cell("ddpm", "trailing", 20, 5, "digits"),
        Cell("ddim[eta=0.5]", "quad", 7, 5, "digits"),
        Cell("heun", "quad", 7, 5, "digits"),
        Cell("ddpm", "quad", 7, 5, "digits"),
    }


def test_a_sampler_named_on_the_command_line_keeps_the_grid_that_the_study_gives_it() -> None:
    text = _GOOD + '[[block]]\nsamplers = ["dpm++2m"]\ngrids = ["logsnr"]\nsteps = [8]\n'
    cells = plan(_parse(text, samplers=["dpm++2m"]))
    assert cells[1:] == [Cell("dpm++2m", "logsnr", 8, 0, "digits")]


_VAE_BLOCK = """
[[block]]
model = "digits-vae"
samplers = ["one-step"]
grids = ["trailing"]
steps = [1]
"""
_SECOND = _GOOD + _VAE_BLOCK
_ONE_STEP = Cell("one-step", "trailing", 1, 0, "digits-vae", main=False)


def test_a_block_is_run_on_its_own_model_and_all_else_on_the_study_s() -> None:
    cells = plan(_parse(_SECOND))
    assert [cell for cell in cells if cell.model != "digits"] == [_ONE_STEP]
    assert all(cell.main == (cell.model == "digits") for cell in cells)


def test_a_block_that_names_the_study_s_model_adds_no_cell_twice() -> None:
    again = _GOOD[_GOOD.index("[[block]]") :].replace("[[block]]", '[[block]]\nmodel = "digits"')
    assert plan(_parse(_GOOD + again)) == plan(_parse(_GOOD))


def test_a_cell_names_its_model_where_it_is_not_the_study_s() -> None:
    shown = [str(cell) for cell in plan(_parse(_SECOND))]
    assert shown[0] == "ddpm on trailing, 20 steps, seed 0"
    assert shown[-1] == "digits-vae: one-step on trailing, 1 step, seed 0"


def test_the_command_line_replaces_the_main_model_only() -> None:
    cells = plan(_parse(_SECOND, model="other"))
    assert {cell.model for cell in cells if cell.main} == {"other"}
    assert cells[-1] == _ONE_STEP


def test_a_sampler_named_on_the_command_line_keeps_the_model_that_the_study_gives_it() -> None:
    assert plan(_parse(_SECOND, samplers=["one-step"]))[1:] == [_ONE_STEP]


def test_a_sampler_that_the_study_lacks_is_run_on_the_main_model_even_if_the_first_block_has_another() -> None:
    text = _GOOD.replace("[[block]]", f"{_VAE_BLOCK}[[block]]")
    assert plan(_parse(text))[1] == _ONE_STEP
    assert plan(_parse(text, samplers=["euler-maruyama"]))[1] == Cell("euler-maruyama", "trailing", 5, 0, "digits")


def test_unknown_studies_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown study 'quik'\. Did you mean 'quick'"):
        load_study("quik")
    with pytest.raises(UsageError, match="no study file"):
        load_study(str(tmp_path / "none.toml"))


def test_a_study_file_is_read_from_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(_GOOD)
    assert load_study(str(tmp_path / "mine.toml")) == _parse(_GOOD)


def test_the_shipped_studies_are_valid_and_named_after_their_files() -> None:
    assert {"quick", "full"} <= set(study_names())
    for name in study_names():
        assert load_study(name).name == name == (STUDIES / f"{name}.toml").stem


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*Study.model_fields, "other"]), _VALUES))
def test_any_content_is_a_study_or_a_usage_error(content: dict[str, object]) -> None:
    import tomli_w

    try:
        text = tomli_w.dumps(content)
    except (TypeError, ValueError):  # TOML has no null
        return
    try:
        study = _parse(text)
    except UsageError:
        return
    assert plan(study)


@given(st.text(max_size=60))
def test_any_text_is_a_study_or_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        _parse(text)


@given(
    st.sampled_from(
        ["images", "batch", "timing", "modes", "seeds", "tolerance", "baseline", "block", "metrics", "title"]
    ),
    _VALUES,
)
def test_a_good_study_with_one_strange_value_is_a_study_or_a_usage_error(key: str, value: object) -> None:
    import tomllib

    import tomli_w

    try:
        text = tomli_w.dumps(tomllib.loads(_GOOD) | {key: value})
    except (TypeError, ValueError):
        return
    try:
        study = _parse(text)
    except UsageError:
        return
    assert plan(study)


_PUBLISHED = 'published = { source = "a paper", values = [3.5, 2.25] }'
_ONE = '[[block]]\nsamplers = ["ddim"]\ngrids = ["quad"]\nsteps = [4, 8]\nseeds = [0, 1]\n'


def test_published_values_belong_to_the_cells_of_their_block() -> None:
    found = expectations(_parse(_GOOD + _ONE + _PUBLISHED))
    assert [(each.cell.steps, each.cell.seed, each.value) for each in found] == [
        (4, 0, 3.5),
        (4, 1, 3.5),
        (8, 0, 2.25),
        (8, 1, 2.25),
    ]
    said = {(each.column, each.images, each.tolerance, each.source) for each in found}
    assert said == {("fid", 50_000, 0.04, "a paper")}


def test_published_values_are_forgotten_when_other_cells_are_asked_for() -> None:
    text = _GOOD + _ONE + _PUBLISHED
    assert expectations(_parse(text, images=32, seed=3, model="digits"))
    for change in ({"steps": [5]}, {"evaluations": [5]}, {"grids": ["trailing"]}, {"samplers": ["ddim"]}):
        assert not expectations(_parse(text, **change))


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (_ONE.replace("[4, 8]", "[4]"), "1 samplers, 1 grids, 1 numbers and 2 values"),
        (_ONE.replace('["ddim"]', '["ddim", "heun"]'), "2 samplers, 1 grids, 2 numbers and 2 values"),
        (_ONE.replace('["quad"]', '["quad", "trailing"]'), "1 samplers, 2 grids, 2 numbers and 2 values"),
    ],
)
def test_published_values_that_fit_no_block_are_refused(block: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        _parse(_GOOD + block + _PUBLISHED)


def test_a_block_may_clip_where_its_study_does_not() -> None:
    text = _GOOD.replace("batch = 50", "batch = 50\nclip = false") + _ONE + "clip = true\n"
    clips = {(cell.sampler, cell.grid): cell.clip for cell in plan(_parse(text))}
    assert clips[("ddim", "quad")] is True
    assert not any(clip for key, clip in clips.items() if key != ("ddim", "quad"))


def test_what_a_study_says_about_its_checkpoint_is_about_that_one() -> None:
    text = _GOOD.replace("batch = 50", "batch = 50\ncheckpoint = { parametrisation = 'v_prediction' }")
    study = _parse(text)
    assert study.changes_of("digits") is study.checkpoint
    assert study.changes_of("digits-vae") is None
    assert _parse(text, model="digits").checkpoint is None


def test_an_extractor_may_be_just_its_name() -> None:
    study = _parse(_GOOD.replace("batch = 50", "batch = 50\nextractor = 'digits'"))
    assert study.extractor is not None
    assert (study.extractor.name, study.extractor.weights, study.extractor.sha256) == ("digits", None, None)


def test_open_points_of_a_protocol_are_kept_with_the_values_that_they_are_about() -> None:
    points = 'open_points = ["The ends are not stated.", "Nor is the order."]'
    text = _GOOD.replace("batch = 50", 'batch = 50\nopen_points = ["Of all."]')
    study = _parse(text + _ONE + _PUBLISHED.replace(" }", f", {points} }}"))
    assert study.open_points == ["Of all."]
    assert {each.open_points for each in expectations(study)} == {("The ends are not stated.", "Nor is the order.")}


@pytest.mark.parametrize("said", ['[""]', '["  "]', '"a sentence"', "[1]"])
def test_open_points_that_say_nothing_are_refused(said: str) -> None:
    with pytest.raises(UsageError, match="open_points"):
        _parse(_GOOD.replace("batch = 50", f"batch = 50\nopen_points = {said}"))


@pytest.mark.parametrize("name", [name for name in study_names() if name.startswith("reproduce-")])
def test_every_cell_of_a_reproduction_but_a_baseline_has_a_published_value(name: str) -> None:
    study = load_study(name)
    published = {each.cell for each in expectations(study)}
    assert set(plan(study)) - published <= {plan(study)[0]}
    assert study.images == 50_000
    assert study.metrics == ["fd"]
    assert all(each.source for each in expectations(study))
