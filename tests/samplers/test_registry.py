"""Names and parameters: strict, loud, and the same after a round trip."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.common.errors import UsageError
from models.grids import GRIDS
from models.plugins.registry import PLUGIN, Family, Registry, unknown
from models.plugins.specs import parse_spec, split_outside_brackets
from samplers import SAMPLERS, Sampler
from samplers.ddim import DDIM
from samplers.registry import load_file


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("dim", "unknown sampler 'dim'. Did you mean 'ddim'?"),
        ("sa-solver[t_max=3]", "less than or equal to 1, got 3"),
        ("ddim[eta=NaN]", "NaN is no value for a parameter"),
        ('ddim[eta="a"]', "valid number, got 'a'"),
        ("ddim[eto=1]", "eto: Unexpected keyword argument. It takes: eta=0.0, s_noise=1.0"),
        ("ddpm[variance=large]", "'learned_range' or 'analytic', got 'large'"),
        ("langevin[corrections=2.5]", "valid integer, got 2.5"),
        ("langevin[corrections=0]", "greater than or equal to 1, got 0"),
        ("langevin[corrections=true]", "valid integer, got True"),
        ("ddim[eta=1", "cannot read 'ddim[eta=1'"),
        ("ddim[eta=1]x", "cannot read"),
        ("ddim[eta]", "expected parameter=value"),
        ("ddim[eta=1,eta=0]", "each parameter once"),
        ("", "unknown sampler ''"),
    ],
)
def test_a_wrong_specification_says_what_is_wrong_and_what_there_is(spec: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        SAMPLERS.make(spec)
    assert said in str(error.value)


def test_a_whole_number_is_made_of_nothing_else() -> None:
    wanted = [
        f"{name}[{field.name}={given}]"
        for name in SAMPLERS.names()
        for field in dataclasses.fields(SAMPLERS.get(name))  # type: ignore[arg-type]
        if type(field.default) is int
        for given in (f"{field.default}.0", f"{field.default}.4", "true")
    ]
    assert {"unipc[solver_order=3.0]", "unipc[solver_order=true]", "restart[iterations=2.4]"} <= set(wanted)
    for spec in wanted:
        with pytest.raises(UsageError, match=r"whole number|valid integer|Input should be (0, )?[12]"):
            SAMPLERS.make(spec)


def test_a_class_of_another_module_keeps_the_ranges_of_what_it_is_derived_from() -> None:
    @SAMPLERS.register("test-derived")
    @dataclass(frozen=True)
    class Derived(DDIM):
        strength: float = 1.0

    assert SAMPLERS.make("test-derived[eta=1.0,strength=2.0]") == Derived(eta=1.0, strength=2.0)
    with pytest.raises(UsageError, match="eta: Input should be greater than or equal to 0, got -1"):
        SAMPLERS.make("test-derived[eta=-1]")


@given(st.text(alphabet="ddim[]=,eta01. \"'\n", max_size=30))
def test_any_text_is_either_a_specification_or_a_usage_error(text: str) -> None:
    try:
        sampler = SAMPLERS.make(text)
    except UsageError:
        return
    assert SAMPLERS.make(SAMPLERS.spec_of(sampler)) == sampler


@pytest.mark.parametrize(
    ("registry", "spec", "shortest"),
    [
        (SAMPLERS, "ddim[eta=0.0]", "ddim"),
        (SAMPLERS, " ddim[ eta = 0.5 ] ", "ddim[eta=0.5]"),
        (SAMPLERS, "ddpm[variance=fixed_large]", "ddpm[variance=fixed_large]"),
        (GRIDS, "uniform", "leading"),
        (GRIDS, "explicit[t=[1.0,0.5,0.1],clean=false]", "explicit[clean=false,t=[1.0,0.5,0.1]]"),
    ],
)
def test_every_spelling_has_one_canonical_form(registry: Registry[object], spec: str, shortest: str) -> None:
    assert registry.spec_of(registry.make(spec)) == shortest


def test_lists_are_split_at_commas_outside_brackets_only() -> None:
    assert split_outside_brackets("a[x=1,y=[2,3]], b") == ["a[x=1,y=[2,3]]", "b"]
    assert parse_spec("a[x=[1,2],y=word]") == ("a", {"x": [1, 2], "y": "word"})
    with pytest.raises(UsageError, match="unbalanced"):
        split_outside_brackets("a],b[")


def test_two_classes_of_one_name_are_both_named() -> None:
    registry: Registry[object] = Registry("thing", object)

    @registry.register("one")
    @dataclass(frozen=True)
    class First: ...

    @dataclass(frozen=True)
    class Second: ...

    with pytest.raises(UsageError, match=r"two things are called 'one': .*First and .*Second"):
        registry.register("one")(Second)
    assert registry.get("one") is First


def test_what_is_no_sampler_is_not_registered() -> None:
    with pytest.raises(UsageError, match="is not a Sampler"):
        SAMPLERS.register("no-sampler")(int)  # type: ignore[arg-type]
    assert "no-sampler" not in SAMPLERS.names()


def test_a_broken_package_is_named_with_its_reason_and_stops_nobody_else() -> None:
    registry: Registry[Sampler] = Registry("sampler", Sampler, discover=lambda: {"broken": "pkg:X: ImportError: no y"})
    with pytest.raises(UsageError, match="'broken' comes from a package that cannot be imported: pkg:X: ImportError"):
        registry.get("broken")
    with pytest.raises(UsageError, match="unknown sampler 'other'"):
        registry.get("other")


def test_a_plugin_file_that_is_missing_or_raises_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no plugin file"):
        load_file(tmp_path / "none.py")
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    with pytest.raises(UsageError, match="failed to load: ZeroDivisionError"):
        load_file(broken)


def test_every_registered_class_is_a_frozen_dataclass() -> None:
    for name in SAMPLERS.names():
        with pytest.raises(dataclasses.FrozenInstanceError):
            SAMPLERS.make(name).anything = 1  # type: ignore[attr-defined]


def _family(made: list[str]) -> Family[object]:
    def make(name: str) -> type[object]:
        if name not in ("one", "two"):
            raise unknown("thing", f"lib:{name}", ["lib:one", "lib:two"])
        made.append(name)
        return dataclasses.make_dataclass(name, [("size", int, 1)], frozen=True)

    return Family(make, lambda: ["two", "one"])


def test_a_family_makes_a_class_once_and_only_when_it_is_asked_for() -> None:
    made: list[str] = []
    registry: Registry[object] = Registry("thing", object)
    registry.add_family("lib", _family(made))
    assert (registry.names(), registry.families(), made) == ([], {"lib": ["lib:one", "lib:two"]}, [])
    thing = registry.make("lib:one[size=2]")
    assert thing == registry.make(" lib:one[ size = 2 ] ")
    assert type(thing) is registry.get("lib:one")
    assert (registry.name_of(thing), registry.spec_of(thing)) == ("lib:one", "lib:one[size=2]")
    assert (registry.spec_of(registry.make("lib:two[size=1]")), made) == ("lib:two", ["one", "two"])


def test_an_unknown_name_tells_of_plugin_files_where_none_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[object] = Registry("thing", object)
    for name in [name for name in sys.modules if name.startswith(PLUGIN)]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError, match=r"nothing\. One that a file of your own registers needs --plugin FILE\.$"):
        registry.make("mine")
    monkeypatch.setitem(sys.modules, f"{PLUGIN}mine", sys)
    with pytest.raises(UsageError, match=r"There is: nothing\.$"):
        registry.make("mien")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("lib:tow", "unknown thing 'lib:tow'. Did you mean 'lib:two'? There is: lib:one, lib:two."),
        ("lib:", "unknown thing 'lib:'."),
        ("lib:one[size=0.5]", "thing 'lib:one': size: Input should be a valid integer, got 0.5. It takes: size=1."),
        ("libs:one", "unknown thing 'libs:one'. Did you mean 'lib:<name>'? There is: lib:<name>."),
        ("lib", "unknown thing 'lib'. There is: lib:<name>."),
    ],
)
def test_what_a_family_does_not_have_is_a_usage_error(spec: str, said: str) -> None:
    registry: Registry[object] = Registry("thing", object)
    registry.add_family("lib", _family([]))
    with pytest.raises(UsageError) as error:
        registry.make(spec)
    assert said in str(error.value)


def test_nothing_else_takes_the_prefix_of_a_family() -> None:
    registry: Registry[object] = Registry("thing", object)
    registry.add_family("lib", _family([]))
    with pytest.raises(UsageError, match="two families of things have the prefix 'lib'"):
        registry.add_family("lib", _family([]))
    with pytest.raises(UsageError, match="thing 'lib:mine' has the prefix of a family"):
        registry.register("lib:mine")(int)
