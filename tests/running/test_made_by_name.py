"""A plugin's sampler depends on the samplers of other plugins that it makes by name."""

from pathlib import Path

import pytest
from hashes import as_it_was, changed  # noqa: F401  (the first is a fixture of all tests here)

from bench.running.code_hash import code_sha256_of
from samplers import SAMPLERS
from samplers.registry import load_file

_MAKES = """
from dataclasses import dataclass
from samplers import SAMPLERS as KNOWN, register
from samplers.ddim import DDIM

@register("NAME")
@dataclass(frozen=True)
class Mine(DDIM):
    inner: str = "ddim"

    def step(self, model, x, t, s, noise):
        return KNOWN.make(MAKES).step(model, x, t, s, noise)
"""
_MADE = """
from dataclasses import dataclass
from pathlib import Path
from samplers import register
from samplers.ddim import DDIM

@register("NAME")
@dataclass(frozen=True)
class Inner(DDIM):
    table: str = ""

    def step(self, model, x, t, s, noise):
        return super().step(model, x, t, s, noise) * float((Path(__file__).parent / self.table).read_text())
"""


def _loaded(folder: Path, text: str, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "plugin.py"
    path.write_text(text.replace("NAME", name))
    load_file(path)
    return path


@pytest.mark.parametrize(
    ("makes", "given"),
    [
        ("self.inner", "[inner=test-inner]"),
        ("self.inner", "[inner=test-outer[inner=test-inner]]"),
        ("self.inner", "[inner=test-inner[table=weights.txt]]"),
        ('"test-inner"', ""),
        ('"test-inner[table=weights.txt]"', ""),
        ('f"test-inner[table={self.inner}]"', ""),
        ('"test-outer[inner=test-inner]"', ""),
    ],
)
def test_a_sampler_depends_on_those_that_it_makes_by_a_name_that_it_has_or_is_given_and_on_their_files(
    tmp_path: Path, makes: str, given: str
) -> None:
    inner = _loaded(tmp_path / "inner", _MADE, "test-inner")
    outer = _loaded(tmp_path / "outer", _MAKES.replace("MAKES", "self.inner"), "test-outer")
    _loaded(tmp_path / "makes", _MAKES.replace("MAKES", makes), "test-makes")
    (table := inner.parent / "weights.txt").write_text("1.0")
    sampler = SAMPLERS.make(f"test-makes{given}")
    assert changed(inner, lambda: code_sha256_of(sampler))
    assert changed(outer, lambda: code_sha256_of(sampler)) == ("test-outer" in makes + given)
    assert changed(table, lambda: code_sha256_of(sampler)) == ("weights" in makes + given)


def test_samplers_that_name_one_another_depend_on_one_another(tmp_path: Path) -> None:
    names = {"one": "other", "other": "one"}
    files = {
        name: _loaded(tmp_path / name, _MAKES.replace("MAKES", f'"test-{other}"'), f"test-{name}")
        for name, other in names.items()
    }
    for name, other in names.items():
        sampler = SAMPLERS.make(f"test-{name}")
        assert changed(files[other], lambda sampler=sampler: code_sha256_of(sampler))  # type: ignore[misc]


def test_a_parameter_called_sampler_that_is_something_else_is_followed_nowhere(tmp_path: Path) -> None:
    inner = _loaded(tmp_path / "inner", _MADE, "test-inner")
    _loaded(tmp_path / "words", _MADE.replace("table", "sampler"), "test-words")
    words = [SAMPLERS.make(f"test-words[sampler={each}]") for each in ("uniform", "test-inner")]
    assert not changed(inner, lambda: [code_sha256_of(each) for each in words])
