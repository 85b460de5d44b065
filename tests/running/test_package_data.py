"""A plugin depends on the data files that lie in packages, its own and others that are not installed."""

import sys
from pathlib import Path

import pytest
from hashes import as_it_was, later  # noqa: F401  (the first is a fixture of all tests here)

from samplers import SAMPLERS
from samplers.registry import load_file

_PLUGIN = """
import importlib.resources
import pkgutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from samplers import register
from samplers.ddim import DDIM

@register("NAME")
@dataclass(frozen=True)
class Mine(DDIM):
    def step(self, *given):
        return super().step(*given) * self.read()

    def read(self):
        WHAT
"""
_READS = {
    "by the name of a package": 'return files("tspkg.data").joinpath("f.txt").read_text()',
    "below a package that is named": 'return files("tspkg").joinpath("data/f.txt").read_text()',
    "below a package, part by part": 'return (files("tspkg") / "data" / "f.txt").read_text()',
    "by a package that is imported": "import tspkg.data; return files(tspkg.data).joinpath('f.txt').read_text()",
    "by one of another name": "from tspkg import data as d; return files(d).joinpath('f.txt').read_text()",
    "as bytes": 'return pkgutil.get_data("tspkg.data", "f.txt")',
    "beside a module's file": "import tspkg; return (Path(tspkg.__file__).parent / 'data' / 'f.txt').read_text()",
    "in a package that is listed": 'return [each.read_text() for each in files("tspkg.data").iterdir()]',
}


@pytest.mark.parametrize("inits", [("", "data"), ("",), ()], ids=["packages", "data alone", "none"])
@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("reads", _READS.values(), ids=_READS)
def test_a_plugin_depends_on_the_data_of_packages_however_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: str, beside: bool, inits: tuple[str, ...]
) -> None:
    """They are not imported for it, and need no __init__.py, but where they are imported from beside the plugin."""
    if (beside and inits != ("", "data") and "import " in reads) or ("__file__" in reads and not inits):
        return
    (plugins := tmp_path / "plugins").mkdir()
    place = plugins if beside else tmp_path / "packages"
    (read := place / "tspkg" / "data" / "f.txt").parent.mkdir(parents=True)
    for name in inits:
        (place / "tspkg" / name / "__init__.py").touch()
    read.write_text("1")
    (unread := place / "tspkg" / "g.txt").write_text("1")
    monkeypatch.syspath_prepend(place)
    (plugins / "plugin.py").write_text(_PLUGIN.replace("NAME", "test-packages-data").replace("WHAT", reads))
    load_file(plugins / "plugin.py")
    found = [later(SAMPLERS.get("test-packages-data"))]
    for path in (unread, read):
        path.write_text("2")
        found.append(later(SAMPLERS.get("test-packages-data")))
    assert found[0] == found[1] != found[2]
    assert not any(name.endswith("tspkg") for name in sys.modules)
