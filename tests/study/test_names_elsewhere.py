"""The names that samplers and grids have elsewhere, where ours are taken: specifications, options and studies."""

import warnings
from typing import Any

import pytest

import samplers.known_as as file
from bench.study.file import load_study, parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from models.common.errors import Notice, UsageError
from models.grids import GRIDS
from models.plugins.registry import Registry
from samplers import SAMPLERS
from samplers.known_as import Names, on_grid

pytestmark = pytest.mark.filterwarnings("ignore::models.common.errors.Notice")

REGISTRIES: dict[file.Kind, Registry[Any]] = {"samplers": SAMPLERS, "grids": GRIDS}


def made(spec: str, kind: file.Kind = "samplers") -> tuple[str, list[str]]:
    """What a specification is by our names, and what is told."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", Notice)
        found = REGISTRIES[kind].make(spec)
    return REGISTRIES[kind].spec_of(found), [str(each.message) for each in told if each.category is Notice]


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("euler_a", "ddim[eta=1]"),
        ("Euler a", "ddim[eta=1]"),
        ("EulerAncestralDiscreteScheduler", "ddim[eta=1]"),
        ("DDIMScheduler[eta=1]", "ddim[eta=1]"),
        ("DPM++ 2M", "dpm++2m[lower_order_below=0]"),
        ("sample_heun", "heun"),
        ("UniPCMultistepScheduler", "unipc[solver_order=2,first_order_to=clean]"),
    ],
)
def test_a_name_of_others_makes_what_it_is_here_and_says_so(given: str, ours: str) -> None:
    shown = repr(given) if " " in given else given
    assert made(given) == (ours, [f"{shown} is {ours} here"])


@pytest.mark.parametrize(
    ("given", "ours"),
    [("normal", "linspace"), ("simple", "trailing"), ("sgm_uniform", "sgm-uniform"), ("KL Optimal", "kl-optimal")],
)
def test_grids_are_known_by_the_names_of_others_too(given: str, ours: str) -> None:
    spec, (told,) = made(given, "grids")
    assert spec == ours
    assert told.startswith(f"{given if ' ' not in given else repr(given)} is {ours} here")
    assert made("karras", "grids") == ("karras", [])


def test_what_is_not_quite_the_same_says_in_what() -> None:
    flows = "on flows it steps in t, not in sigma / alpha"
    assert made("uni_pc")[1] == [
        "uni_pc is unipc[variant=bh1] here, but not quite: it ends at sigma = 0.001, not at the data; "
        f"it places one level more and leaves out the last but one; {flows}"
    ]
    assert made("dpmpp_2m") == (
        "dpm++2m[lower_order_below=0]",
        [f"dpmpp_2m is dpm++2m[lower_order_below=0] here, but not quite: {flows}"],
    )
    assert "on flows it goes down to s * s / t" in made("euler_ancestral")[1][0]
    assert "its quantiles are of sigma" in made("Beta", "grids")[1][0]
    assert made("beta", "grids")[1] == []


def test_a_name_of_ours_is_ours_whatever_others_call_so() -> None:
    assert made("deis") == ("deis", [])
    assert made("uniform", "grids") == ("leading", [])
    told = "deis is our own deis; what ComfyUI calls deis is deis[degree=2,variable=vp-t] here"
    assert Names("samplers").elsewhere("deis", "deis") == told
    for name in ("heun", "rk45", "dpm++2m", "ddim"):
        assert Names("samplers").elsewhere(name, name) is None
    told = "uniform is our own leading; what A1111 calls Uniform is linspace here"
    assert Names("grids").elsewhere("uniform", "leading") == told
    assert Names("grids").elsewhere("beta", "beta") is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "euler_ancestrall",
            "unknown sampler 'euler_ancestrall'. Did you mean 'euler_ancestral', which is ddim[eta",
        ),
        ("dpmpp2m_", None),
        ("DDIMScheduler[eta=0.3]", "not known with these arguments. Here, DDIMScheduler is ddim, and DDIMScheduler["),
        ("euler_a[eta=0.5]", "not known with these arguments. Here, Euler a is ddim[eta=1]; give"),
        ("dim", "unknown sampler 'dim'. Did you mean 'ddim'?"),
        ("xyzzy", "unknown sampler 'xyzzy'. There is: "),
    ],
)
def test_an_unknown_name_that_is_close_suggests_what_was_meant(given: str, said: str | None) -> None:
    if said is None:
        assert made(given)[0] == "dpm++2m[lower_order_below=0]"
        return
    with pytest.raises(UsageError) as error:
        SAMPLERS.make(given)
    assert said in str(error.value)


def test_a_name_that_stands_for_several_things_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    two = {"ddim": {"comfyui": ["twice"]}, "heun": {"a1111": ["Twice"], "differs": {}}}
    monkeypatch.setattr(file, "_file", lambda: {"samplers": two})
    file.known.cache_clear()
    try:
        with pytest.raises(UsageError, match=r"several things: ComfyUI's is ddim; A1111's is heun\. Say"):
            SAMPLERS.make("twice")
    finally:
        file.known.cache_clear()


def test_a_plugin_may_have_a_name_of_others() -> None:
    SAMPLERS.register("euler_ancestral")(type("Theirs", (type(SAMPLERS.make("heun")),), {"__module__": __name__}))
    assert made("euler_ancestral") == ("euler_ancestral", [])


# studies

_STUDY = """
name = "test"
title = "Test"
model = "digits"
images = 16
batch = 16
baseline = { sampler = "DDIM", grid = "simple", steps = 5 }
[[block]]
samplers = ["euler_a", "dpmpp_2m"]
grids = ["sgm_uniform", "karras"]
steps = [5]
"""


def test_a_study_may_use_the_names_of_others_and_is_recorded_under_ours() -> None:
    study = parse_study(_STUDY, "test", complete=True)
    assert (study.baseline.sampler, study.baseline.grid) == ("ddim", "trailing")
    assert study.block[0].samplers == ["ddim[eta=1]", "dpm++2m[lower_order_below=0]"]
    assert study.block[0].grids == ["sgm-uniform", "karras"]
    assert {(cell.sampler, cell.grid) for cell in plan(study)} == {
        ("ddim", "trailing"),
        *((sampler, grid) for sampler in study.block[0].samplers for grid in study.block[0].grids),
    }


def test_names_of_others_do_not_hide_what_is_wrong_with_a_study() -> None:
    with pytest.raises(UsageError, match=r"block\.0\.steps\.0: expected a whole number"):
        parse_study(_STUDY.replace("steps = [5]", "steps = [0]"), "test", complete=True)


def test_a_label_that_names_a_grid_as_well_goes_where_each_belongs() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", Notice)
        study = load_study("quick", Overrides(samplers="DPM++ 2M Karras,euler_a,heun karras", steps=[4]), complete=True)
    blocks = [(block.samplers, block.grids) for block in study.block]
    assert blocks[0] == (["dpm++2m[lower_order_below=0]"], ["karras"])
    assert blocks[1][0] == ["ddim[eta=1]"]
    assert "karras" not in blocks[1][1]
    assert blocks[2] == (["heun"], ["karras"])
    said = {str(each.message) for each in told if each.category is Notice}
    assert "'DPM++ 2M Karras' is dpm++2m[lower_order_below=0] on karras here" in said
    assert "euler_a is ddim[eta=1] here" in said


def test_the_others_of_a_name_of_ours_are_told_of_an_option() -> None:
    with pytest.warns(Notice, match="deis is our own deis; what ComfyUI calls deis is"):
        load_study("quick", Overrides(samplers="deis", steps=[4]))
    with pytest.warns(Notice, match="uniform is our own leading; what A1111 calls Uniform is linspace here"):
        load_study("quick", Overrides(grids="uniform"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            Overrides(samplers="DPM++ 2M Karras", grids="trailing"),
            "--grids: 'DPM++ 2M Karras' names its grid, kar",
        ),
        (Overrides(samplers="DPM++ 9M Karras"), "--samplers: unknown sampler 'DPM++ 9M Karras'"),
        (Overrides(samplers="euler_a", grids="simpel"), "Did you mean 'simple', which is trailing here?"),
    ],
)
def test_a_label_that_cannot_be_used_says_why(overrides: Overrides, said: str) -> None:
    with pytest.raises(UsageError) as error:
        load_study("quick", overrides)
    assert said in str(error.value)


def test_a_study_cannot_have_a_label_that_names_a_grid_as_well() -> None:
    with pytest.raises(UsageError, match=r"2M Karras' names a sampler and its grid, here dpm\+\+2m.* and karras"):
        parse_study(_STUDY.replace("dpmpp_2m", "DPM++ 2M Karras"), "test")


def test_labels_are_taken_apart_at_the_longest_sampler() -> None:
    samplers, grids = {"a", "a b"}, {"b c", "c"}
    assert on_grid("a b c", samplers.__contains__, grids.__contains__) == ("a b", "c")
    assert on_grid("a_c", samplers.__contains__, grids.__contains__) == ("a", "c")
    assert on_grid("c a", samplers.__contains__, grids.__contains__) is None
    assert on_grid("a", samplers.__contains__, grids.__contains__) is None
