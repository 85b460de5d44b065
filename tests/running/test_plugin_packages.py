"""A plugin whose own modules are called as ours are: each gets what it means, whenever a function imports it."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import models
from bench.running import closure, code_hash
from bench.running.code_hash import sampler_sha256
from models import architectures
from models import schedule as our_schedule
from models.architectures import make_network
from models.common.errors import UsageError
from models.plugins.registry import PLUGIN
from samplers import SAMPLERS
from samplers.registry import load_file

_FILES = {
    "models/__init__.py": "from .layers import WIDTH\n",
    "models/layers.py": "WIDTH = {width}\ndef modulate(x, shift):\n    return x * WIDTH + shift\n",
    "models/dit.py": """
from torch import nn
from models.layers import modulate

class DiT(nn.Module):
    def forward(self, x, condition):
        from models.late import SHIFT
        return modulate(x, SHIFT)
""",
    "models/late.py": "SHIFT = 0.5\n",
    "models/schedule.py": "KIND = 'theirs'  # of the name of one of our modules\n",
    "samplers/__init__.py": "",
    "samplers/tables.py": "import models.layers\nTABLE = [models.layers.WIDTH]\n",
    "bench/rates.py": "RATE = 7.0\n",
    "ops.py": "from models import WIDTH\ndef twice():\n    return 2 * WIDTH\n",
}
"""What lies in the authors' repository."""

_PLUGIN = """
from __future__ import annotations
import models.layers as layers, models.late
from dataclasses import dataclass
from bench.rates import RATE
from models import WIDTH, dit
from models.architectures import register_network
from models.dit import DiT
from models.schedule import KIND
from ops import twice
from samplers import StepSampler, register
from samplers.ddim import DDIM
from samplers.tables import TABLE

FOUND = [WIDTH, layers.WIDTH, models.late.SHIFT, models.WIDTH, dit.DiT is DiT, KIND, twice(), TABLE, RATE]

register_network("{name}")(lambda config: DiT())

@register("{name}")
@dataclass(frozen=True)
class Mine(DDIM):
    scale: float = 1.0

    def late(self):
        from models.late import SHIFT
        from models.schedule import DiscreteVP
        import samplers.tables
        from samplers.heun import Heun
        return SHIFT, DiscreteVP, samplers.tables.TABLE, Heun
"""


def _write(folder: Path, files: dict[str, str], **said: object) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**said) if said else text)


def _plugin(folder: Path, name: str, width: int = 3) -> Path:
    _write(folder, _FILES | {"plugin.py": _PLUGIN}, name=name, width=width)
    return folder / "plugin.py"


def _loaded(path: Path) -> ModuleType:
    """The module of a plugin file that was loaded."""
    load_file(path)
    named = (each for name, each in sys.modules.items() if name.startswith(PLUGIN))
    (found,) = (each for each in named if getattr(each, "__file__", None) == str(path))
    return found


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What plugins add to, and that none of our modules is another one afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(architectures, "_makers", dict(architectures._makers))
    before = {name: each for name, each in sys.modules.items() if closure.in_tree(name)}
    yield
    assert {name: sys.modules.get(name) for name in before} == before
    code_hash._code_sha256.cache_clear()
    sampler_sha256.cache_clear()


def test_packages_of_the_names_of_ours_and_ours_are_imported_in_one_file(tmp_path: Path) -> None:
    module = _loaded(_plugin(tmp_path, "test-packages"))
    assert module.FOUND == [3, 3, 0.5, 3, True, "theirs", 6, [3], 7.0]
    assert sys.modules["models"] is models
    assert sys.modules["models.schedule"] is our_schedule
    x = torch.ones(2, 1, 4, 4)
    torch.testing.assert_close(make_network("test-packages", {}, "card")(x, torch.zeros(2)), 3.5 * x)


def test_what_a_function_imports_when_it_runs_is_found_too_its_own_and_ours(tmp_path: Path) -> None:
    from models.schedule import DiscreteVP
    from samplers.heun import Heun

    load_file(_plugin(tmp_path, "test-late"))
    sampler: Any = SAMPLERS.make("test-late[scale=2.0]")
    assert sampler.late() == (0.5, DiscreteVP, [3], Heun)


def test_two_plugins_have_each_their_own_package(tmp_path: Path) -> None:
    found = [_loaded(_plugin(tmp_path / name, f"test-{name}", width)) for name, width in (("one", 3), ("two", 5))]
    assert [(each.FOUND[0], each.Mine().late()[2]) for each in found] == [(3, [3]), (5, [5])]
    assert found[0].DiT is not found[1].DiT


_ONLY = "from models{dit} import WIDTH\nfrom models.architectures import register_network\nfrom ops import twice\n"
_BESIDE = {"ops.py": _FILES["ops.py"].replace("models", "models{dit}")}


@pytest.mark.parametrize(
    ("files", "dit"),
    [
        ({"models.py": "WIDTH = 3\n"}, ""),  # DiT's and SiT's
        ({"models/dit.py": "WIDTH = 3\n"}, ".dit"),  # DDIM's, without an __init__.py
        (
            {"models/dit/small.py": "from models.dit.layers import WIDTH\n", "models/dit/layers.py": "WIDTH = 3"},
            ".dit.small",
        ),
        ({"models/__init__.py": "from models.networks import WIDTH\n", "models/networks.py": "WIDTH = 3\n"}, ""),
    ],
)
@pytest.mark.parametrize("place", ["beside", "first", "last"])
def test_every_layout_is_found_beside_the_plugin_and_where_that_puts_it_on_the_path(
    tmp_path: Path, files: dict[str, str], dit: str, place: str
) -> None:
    clone = tmp_path / "clone"
    _write(clone, {name: text.format(dit=dit) for name, text in (files | _BESIDE).items()})
    path = clone / "plugin.py" if place == "beside" else tmp_path / "plugin.py"
    put = {"beside": "", "first": f"sys.path.insert(0, {str(clone)!r})", "last": f"sys.path.append({str(clone)!r})"}
    path.write_text(f"import sys\n{put[place]}\n{_ONLY.format(dit=dit)}")
    module = _loaded(path)
    assert (module.WIDTH, module.twice()) == (3, 6)
    assert module.register_network is architectures.register_network


_CLONE = """
import sys
sys.path.{how}{clone!r})
from models import {name}
from models.same import IT

def late():
    from other import IT
    return IT
"""


@pytest.mark.parametrize("how", ["insert(0, ", "append("])
def test_two_plugins_in_one_folder_have_each_the_clone_that_they_put_on_the_path(tmp_path: Path, how: str) -> None:
    found = []
    for name in ("one", "two"):
        clone, it = tmp_path / name, f"IT = {name!r}"
        _write(clone, {"models/__init__.py": "", f"models/{name}.py": "", "models/same.py": it, "other.py": it})
        path = tmp_path / f"plugin_{name}.py"
        path.write_text(_CLONE.format(how=how, clone=str(clone), name=name))
        found.append(_loaded(path))
    assert [(each.IT, each.late()) for each in found] == [("one", "one"), ("two", "two")]


def test_a_folder_of_data_is_no_package(tmp_path: Path) -> None:
    _write(tmp_path, {"models/edm/card.toml": "", "plugin.py": "import models\nfrom samplers import register\n"})
    assert _loaded(tmp_path / "plugin.py").models is models


def test_a_plugin_in_another_checkout_of_this_benchmark_gets_the_one_that_runs(tmp_path: Path) -> None:
    copies = dict.fromkeys(("models/schedule.py", "models/plugins/registry.py", "samplers/registry.py"), "1 / 0")
    _write(tmp_path, copies | {"plugin.py": "from models.schedule import Level\nfrom samplers import register\n"})
    assert _loaded(tmp_path / "plugin.py").Level is our_schedule.Level


def test_a_file_that_is_called_as_a_library_means_the_library(tmp_path: Path) -> None:
    (tmp_path / "safetensors.py").write_text("from safetensors.torch import save_file\nimport safetensors\n")
    assert _loaded(tmp_path / "safetensors.py").safetensors is sys.modules["safetensors"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("from models.nothing import x", "No module named 'models.nothing'"),
        ("from models.dit import Nothing", "cannot import name 'Nothing'"),
        ("from samplers import Nothing", "cannot import name 'Nothing' from 'samplers'"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("import broken", "No module named 'no_such_library'"),
        ("from models.broken import x", "No module named 'no_such_library'"),
    ],
)
def test_what_is_nowhere_is_said_as_it_was_written(tmp_path: Path, text: str, said: str) -> None:
    broken = dict.fromkeys(("broken.py", "models/broken.py"), "import no_such_library\n")
    _write(tmp_path, broken | {"models/dit.py": "", "plugin.py": text})
    with pytest.raises(UsageError) as error:
        load_file(tmp_path / "plugin.py")
    assert said in str(error.value)


def test_its_objects_are_pickled_and_its_networks_traced(tmp_path: Path) -> None:
    module = _loaded(_plugin(tmp_path, "test-traced"))
    network = pickle.loads(pickle.dumps(module.DiT()))
    assert isinstance(network, module.DiT)
    assert isinstance(network, nn.Module)
    # what a function of theirs imports, and what it calls of another module of theirs, is looked up by name
    traced, x = torch.compile(network, backend="eager", fullgraph=True), torch.ones(2, 1, 4, 4)
    torch.testing.assert_close(traced(x, torch.zeros(2)), 3.5 * x)


def test_the_hash_of_a_plugin_s_sampler_is_of_all_files_of_its_own_that_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = _loaded(_plugin(tmp_path, "test-hashed")).Mine
    (tmp_path / "models" / "unused.py").touch()
    hashed = set[Path]()

    def contents(files: set[Path], folder: Path) -> set[str]:
        hashed.update(files)
        return set()

    monkeypatch.setattr(code_hash, "contents", contents)
    sampler_sha256(cls)
    own = {str(path.relative_to(tmp_path)) for path in hashed if path.is_relative_to(tmp_path)}
    assert own == {*_FILES, "plugin.py"}


def test_the_hash_of_a_plugin_does_not_depend_on_where_it_lies(tmp_path: Path) -> None:
    found = []
    for name in ("here", "elsewhere/deeper"):  # beside the samplers of the tree that it imports
        found.append(sampler_sha256(_loaded(_plugin(tmp_path / name, "test-moved")).Mine))
        del SAMPLERS._classes["test-moved"], architectures._makers["test-moved"]
    assert found[0] == found[1]


def test_nothing_is_left_beside_a_plugin_that_others_would_run(tmp_path: Path) -> None:
    path = _plugin(tmp_path, "test-caches")
    load_file(path)
    assert not list(tmp_path.rglob("__pycache__"))
