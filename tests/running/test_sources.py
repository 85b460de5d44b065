"""What a record's hashes of code cover: whatever a result comes from, and not more."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hashes import as_it_was, forget, later  # noqa: F401  (the first is a fixture of all tests here)
from torch import nn

from bench.record import cell_id
from bench.running import closure
from bench.running.code_hash import architecture_sha256, code_sha256, extractor_code_sha256, sampler_sha256
from bench.running.resolve import resolve
from bench.running.session import Session
from bench.study import placement
from bench.study.file import load_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from models import architectures
from models.common.errors import UsageError
from models.common.files import sha256_of
from models.loading.model import Model
from models.loading.zoo import load_model
from models.schedule import Level
from samplers import SAMPLERS
from samplers.registry import load_file

_PLUGIN = '''
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from samplers import register
from samplers.ddim import DDIM

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import {name}_eager
TABLE = (HERE / "{name}-table.txt").read_text()

@register("{name}")
@dataclass(frozen=True)
class Mine(DDIM):
    """A plugin."""

    def step(self, model, x, t, s, noise):
        from {name}_lazy import factor
        tables = [HERE / "{name}-tables" / f"order-{{self.eta}}.txt", HERE.joinpath("{name}-tables", "all.txt")]
        return factor * import_module("{name}_by_word").factor * super().step(model, x, t, s, noise)
'''
_FILES = {
    "{name}_eager.py": "factor = 1.0",
    "{name}_lazy.py": "from {name}_further import factor",
    "{name}_further/__init__.py": "from .inner import factor",
    "{name}_further/inner.py": "factor = 1.0",
    "{name}_by_word.py": "factor = 1.0",
    "{name}-table.txt": "1",
    "{name}-tables/order-0.0.txt": "1",
    "{name}-tables/all.txt": "1",
    "{name}_stranger.py": "factor = 1.0",
    "{name}-notes.txt": "1",
    "{name}-tables/notes.txt": "1",
}
"""What lies beside the plugin. It uses all but strangers and notes."""


def _later_code() -> str:
    forget()
    return code_sha256()


def _with(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """A file of the tree, by the end of its path, is another one from now on."""
    monkeypatch.setattr(closure, "sha256_of", lambda path: sha256_of(path) + "#" * path.as_posix().endswith(f"/{file}"))


def _write_plugin(folder: Path, name: str) -> Path:
    for file, text in _FILES.items():
        path = folder / file.format(name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(name=name))
    (folder / "plugin.py").write_text(_PLUGIN.format(name=name))
    return folder / "plugin.py"


@pytest.mark.parametrize(
    ("file", "sampler", "expected"),
    [
        ("ddim.py", "ddim", True),
        ("ddim.py", "ddpm", False),
        ("coefficients.py", "unipc", True),
        ("coefficients.py", "one-step", False),
        ("singlestep.py", "dpm-solver-3", True),
        ("tableaus.py", "dpm-solver-3", True),
        ("ddpm.py", "predictor-corrector", True),
        ("langevin.py", "predictor-corrector", True),
        ("diffusers_adapter.py", "diffusers:DDIMScheduler", True),
    ],
)
def test_a_sampler_is_measured_again_when_a_file_that_it_uses_changes(
    monkeypatch: pytest.MonkeyPatch, file: str, sampler: str, expected: bool
) -> None:
    cls = SAMPLERS.get(sampler)
    before = later(cls)
    _with(monkeypatch, f"samplers/{file}")
    assert (later(cls) != before) is expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("bench/running/cell.py", True),
        ("bench/running/closure.py", True),
        ("bench/study/placement.py", True),
        ("bench/running/resolve.py", True),
        ("bench/running/code_hash.py", True),
        ("bench/study/plan.py", True),
        ("bench/running/score.py", True),
        ("bench/timing/memory.py", True),
        ("bench/running/rounds.py", True),
        ("bench/timing/cost.py", True),
        ("bench/timing/clock.py", True),
        ("bench/timing/monitor.py", True),
        ("bench/quality/exact_arithmetic.py", True),
        ("bench/quality/frechet.py", True),
        ("bench/quality/reference.py", True),
        ("bench/quality/law.py", True),
        ("models/loading/zoo.py", True),
        ("models/cards/card.py", True),
        ("models/grids/by_noise.py", True),
        ("models/cards/schedule_cards.py", True),
        ("models/loading/scheduler_config.py", True),
        ("samplers/base.py", True),
        ("samplers/ddim.py", False),
        ("bench/report/tables/markup.py", False),
        ("bench/report/data/runs.py", False),
        ("bench/report/data/rows.py", False),
        ("bench/cli/app.py", False),
        ("bench/training/data.py", False),
        ("bench/running/estimate.py", False),
        ("bench/conformance/suite.py", False),
        ("bench/training/losses.py", False),
        ("bench/training/loop.py", False),
        ("bench/training/checkpoint.py", False),
    ],
)
def test_all_cells_are_measured_again_when_a_file_changes_that_any_number_comes_from_and_not_for_others(
    monkeypatch: pytest.MonkeyPatch, file: str, expected: bool
) -> None:
    assert (Path(__file__).parents[2] / file).is_file()
    before = _later_code()
    _with(monkeypatch, file)
    assert (_later_code() != before) is expected


def test_a_file_that_changes_while_a_run_goes_on_changes_no_hash_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    code, sampler = code_sha256(), sampler_sha256(SAMPLERS.get("ddim"))
    monkeypatch.setattr(closure, "sha256_of", lambda path: "#")
    assert (code_sha256(), sampler_sha256(SAMPLERS.get("ddim"))) == (code, sampler)


def test_a_plugin_depends_on_itself_and_on_what_it_imports_or_opens_whenever_it_does_and_on_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "test_sources_whole"
    plugin = _write_plugin(tmp_path, name)
    load_file(plugin)
    cls = SAMPLERS.get(name)
    first = later(cls)
    changed = []
    for path in (plugin, *(tmp_path / file.format(name=name) for file in _FILES)):
        before = path.read_text()
        path.write_text(before + " ")
        if later(cls) != first:
            changed.append(path.name)
        path.write_text(before)
    unused = {f"{name}_stranger.py", f"{name}-notes.txt", "notes.txt"}
    assert changed == [
        each for each in ("plugin.py", *(Path(f.format(name=name)).name for f in _FILES)) if each not in unused
    ]
    assert later(cls) == first
    _with(monkeypatch, "samplers/ddim.py")
    assert later(cls) != first


def test_a_plugin_depends_on_the_versions_of_the_packages_that_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "test_sources_versions"
    plugin = _write_plugin(tmp_path, name)
    plugin.write_text(plugin.read_text() + "\nimport scipy.special\n")
    load_file(plugin)
    first = later(SAMPLERS.get(name))
    monkeypatch.setattr(closure, "version", lambda package: "another")
    assert later(SAMPLERS.get(name)) != first


def test_two_plugin_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    found = []
    for folder in ("one", "other"):
        load_file(_write_plugin(tmp_path / folder, f"test_sources_{folder}"))
        found.append(SAMPLERS.get(f"test_sources_{folder}"))
    first, other = map(later, found)
    with (tmp_path / "one" / "plugin.py").open("a") as file:
        file.write("# changed")
    assert later(found[0]) != first
    assert later(found[1]) == other
    with pytest.raises(UsageError, match=r"two samplers are called .*/one/plugin\.py and Mine in .*/third/plugin\.py"):
        load_file(_write_plugin(tmp_path / "third", "test_sources_one"))


def test_a_plugin_that_takes_samplers_by_name_depends_on_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = _write_plugin(tmp_path, "test_sources_by_name")
    plugin.write_text(plugin.read_text() + "\nfrom samplers import SAMPLERS\nHEUN = SAMPLERS.make('heun')\n")
    load_file(plugin)
    first = later(SAMPLERS.get("test_sources_by_name"))
    _with(monkeypatch, "samplers/heun.py")
    assert later(SAMPLERS.get("test_sources_by_name")) != first


def test_a_network_that_a_plugin_brings_is_hashed_and_one_of_diffusers_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(architectures, "_makers", {**architectures._makers})
    model = load_model("digits", torch.device("cpu"))
    assert architecture_sha256(model) is None
    (tmp_path / "test_sources_blocks.py").write_text("from torch.nn import Identity")
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nfrom functools import partial\n"
        "from models.architectures import register_network\n"
        "def made(config, width):\n    from test_sources_blocks import Identity\n    return Identity()\n"
        "register_network('test-sources-network')(partial(made, width=3))\n"
    )
    load_file(plugin)
    card, table = model.card.model_copy(update={"architecture": "test-sources-network"}), tmp_path / "table.txt"
    theirs = replace(model, card=card, folder=tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"tables": [str(table)]}))
    table.write_text("1")
    found = [_later_architecture(theirs)]
    for path in (plugin, tmp_path / "test_sources_blocks.py", table):
        path.write_text(path.read_text() + "# changed")
        found.append(_later_architecture(theirs))
    assert None not in found
    assert len(set(found)) == 4


def _later_architecture(model: Model) -> str | None:
    forget()
    return architecture_sha256(model)


def test_an_extractor_that_a_plugin_brings_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine:
        """Of this file."""

    first = extractor_code_sha256(Mine())
    assert first is not None
    assert extractor_code_sha256(nn.Identity()) is None
    _with(monkeypatch, "tests/running/test_sources.py")
    forget()
    assert extractor_code_sha256(Mine()) != first


def test_a_cell_is_another_one_when_its_levels_move_in_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study("quick", Overrides(samplers=["ddim"], steps=[3], images=16))
    session = Session.load(study, 16)
    cell = plan(study)[-1]
    names, place = [cell_id(resolve(cell, session).identity)], placement.levels_on

    def moved(*arguments: object) -> tuple[Level, ...]:
        first, second, *others = place(*arguments)
        return (first, second._replace(sigma=second.sigma * (1 + 2**-52)), *others)

    monkeypatch.setattr(placement, "levels_on", moved)
    names.append(cell_id(resolve(cell, session).identity))
    assert len(set(names)) == 2
