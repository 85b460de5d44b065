"""A plugin depends on the files and environment variables that it names, however it names them."""

from pathlib import Path

import pytest
from hashes import as_it_was, later  # noqa: F401  (the first is a fixture of all tests here)

from samplers import SAMPLERS
from samplers.registry import load_file

_OPENS = '''
import os
from dataclasses import dataclass
from pathlib import Path

from samplers import register
from samplers.ddim import DDIM

FILE = __file__
HERE = Path(FILE).parent

@register("NAME")
@dataclass(frozen=True)
class Opens(DDIM):
    """A plugin."""

    table = WHAT
'''
_OPENED = {
    "after a slash": ('open(f"{HERE}/t/a.txt").read()', "t/a.txt"),
    "in a sum": ('open(os.path.dirname(FILE) + "/a.txt").read()', "a.txt"),
    "in a sum with a hole": ('(HERE / ("order-" + str(3) + ".txt")).read_text()', "order-3.txt"),
    "with a percent sign": ('(HERE / ("order-%d.txt" % 3)).read_text()', "order-3.txt"),
    "with format": ('(HERE / "order-{n:02d}.txt".format(n=3)).read_text()', "order-03.txt"),
    "by its suffix": ('Path(FILE).with_suffix(".json").read_text()', "plugin.json"),
    "above": ('(HERE.parent / "t" / "a.txt").read_text()', "../t/a.txt"),
    "above, by number": ('(Path(FILE).parents[1] / "t" / "a.txt").read_text()', "../t/a.txt"),
    "above, by name": ('open(os.path.join(HERE, "..", "t", "a.txt")).read()', "../t/a.txt"),
    "above, by function": ('open(os.path.dirname(os.path.dirname(FILE)) + "/t/a.txt").read()', "../t/a.txt"),
    "by a pattern": ('next((HERE / "t").glob("*.txt")).read_text()', "t/a.txt"),
    "in a folder that is listed": ('next((HERE / "t").iterdir()).read_text()', "t/a"),
    "below a folder that is walked through": (
        '[open(f"{r}/{f}").read() for r, _, fs in os.walk(HERE / "t") for f in fs]',
        "t/b/c",
    ),
}


def _opening(folder: Path, name: str, what: str, file: str) -> tuple[Path, Path]:
    """A plugin and the file that it opens."""
    plugin = folder / "plugins" / "plugin.py"
    opened = plugin.parent / file
    for path, text in ((plugin, _OPENS.replace("NAME", name).replace("WHAT", what)), (opened, "1")):
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    return plugin, opened


@pytest.mark.parametrize(("what", "file"), _OPENED.values(), ids=_OPENED)
def test_a_plugin_depends_on_a_file_however_it_is_named(tmp_path: Path, what: str, file: str) -> None:
    plugin, opened = _opening(tmp_path, "test-sources-opens", what, file)
    load_file(plugin)
    first = later(SAMPLERS.get("test-sources-opens"))
    opened.write_text("2")
    assert later(SAMPLERS.get("test-sources-opens")) != first


def test_a_plugin_that_is_a_link_depends_on_what_lies_beside_the_file_that_it_leads_to(tmp_path: Path) -> None:
    plugin, opened = _opening(
        tmp_path, "test-sources-linked", '(Path(FILE).resolve().parent / "a.txt").read_text()', "a.txt"
    )
    link = tmp_path / "link.py"
    link.symlink_to(plugin)
    load_file(link)
    first = later(SAMPLERS.get("test-sources-linked"))
    opened.write_text("2")
    assert later(SAMPLERS.get("test-sources-linked")) != first


def test_a_plugin_depends_on_the_environment_variables_that_it_looks_up_and_on_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin, _ = _opening(tmp_path, "test-sources-asks", 'os.environ.get("TEST_SOURCES_ORDER", "2")', "a.txt")
    load_file(plugin)
    found = [later(SAMPLERS.get("test-sources-asks"))]
    for name, value in (("TEST_SOURCES_ORDER", "2"), ("TEST_SOURCES_ORDER", "3"), ("TEST_SOURCES_OTHER", "3")):
        monkeypatch.setenv(name, value)
        found.append(later(SAMPLERS.get("test-sources-asks")))
    assert len({*found}) == 3
    assert found[2] == found[3]


@pytest.mark.parametrize(
    ("name", "of_a_job"),
    [
        ("SLURM_ARRAY_TASK_ID", True),
        ("LOCAL_RANK", True),
        ("HOSTNAME", True),
        ("HOST_FACTOR", False),
        ("TMP_SCALE", False),
    ],
)
def test_variables_that_tell_jobs_apart_make_no_other_code_of_parts_of_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, of_a_job: bool
) -> None:
    word = f"test-sources-{name.lower().replace('_', '-')}"
    plugin, _ = _opening(tmp_path, word, f'os.environ.get("{name}", "2")', "a.txt")
    load_file(plugin)
    found = set()
    for value in ("1", "2"):
        monkeypatch.setenv(name, value)
        found.add(later(SAMPLERS.get(word)))
    assert len(found) == (1 if of_a_job else 2)


def test_a_plugin_depends_on_a_module_beside_it_before_it_has_put_its_folder_on_the_path(tmp_path: Path) -> None:
    plugin, helper = _opening(tmp_path, "test-sources-later", "None", "test_sources_beside.py")
    more = "    def step(self, *given):\n        import sys, test_sources_beside\n        return super().step(*given)\n"
    plugin.write_text(plugin.read_text() + more)
    load_file(plugin)
    first = later(SAMPLERS.get("test-sources-later"))
    helper.write_text("2")
    assert later(SAMPLERS.get("test-sources-later")) != first


def test_a_plugin_depends_on_the_file_that_a_variable_names_and_on_what_it_opens_in_a_folder_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("table.txt", "a.txt"):
        (folder / name).write_text("1")
    monkeypatch.setenv("TEST_SOURCES_TABLE", str(folder / "table.txt"))
    monkeypatch.setenv("TEST_SOURCES_FOLDER", str(folder))
    what = 'os.environ["TEST_SOURCES_TABLE"], os.environ["TEST_SOURCES_FOLDER"] + "/a.txt"'
    load_file(_opening(tmp_path, "test-sources-led", what, "none.txt")[0])
    found = [later(SAMPLERS.get("test-sources-led"))]
    for name in ("table.txt", "a.txt"):
        (folder / name).write_text("2")
        found.append(later(SAMPLERS.get("test-sources-led")))
    assert len({*found}) == 3


@pytest.mark.parametrize("given", ["t/table.txt", "{folder}/plugins/t/table.txt", "t"])
def test_a_plugin_depends_on_the_file_or_the_folder_that_a_parameter_names(tmp_path: Path, given: str) -> None:
    plugin, opened = _opening(tmp_path, "test-sources-given", '"table.txt"', "t/table.txt")
    load_file(plugin)
    given = given.format(folder=tmp_path)
    first = later(SAMPLERS.get("test-sources-given"), given)
    opened.write_text("2")
    assert later(SAMPLERS.get("test-sources-given"), given) != first


_ELSEWHERE = {
    "the folder by another name": ("from os import environ as env", 'open(env["TEST_SOURCES_PLACE"] + "/a.txt")'),
    "by a function of another name": ("from os import getenv as g", 'open(g("TEST_SOURCES_PLACE") + "/a.txt")'),
    "in a path that is expanded": ("from os.path import expandvars as x", 'open(x("$TEST_SOURCES_PLACE/a.txt"))'),
    "in braces": ("import os", 'open(os.path.expandvars("${TEST_SOURCES_PLACE}/a.txt"))'),
    "as a part of a name": ("import os", 'open(os.path.expandvars("${TEST_SOURCES_PLACE}er/b.txt"))'),
    "as bytes": ("import os", 'open(os.environb[b"TEST_SOURCES_PLACE"] + b"/a.txt")'),
}


@pytest.mark.parametrize(("imports", "what"), _ELSEWHERE.values(), ids=_ELSEWHERE)
def test_a_plugin_depends_on_a_variable_and_what_it_leads_to_however_it_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imports: str, what: str
) -> None:
    places = [tmp_path / name for name in ("one", "other")]
    opened = [tmp_path / name / file for name in ("one", "other", "oneer") for file in ("a.txt", "b.txt")]
    for path in opened:
        path.parent.mkdir(exist_ok=True)
        path.write_text("1")
    plugin, _ = _opening(tmp_path, "test-sources-leads", f"{what}.read()", "none.txt")
    plugin.write_text(f"{imports}\n{plugin.read_text()}")
    monkeypatch.setenv("TEST_SOURCES_PLACE", str(places[0]))
    load_file(plugin)
    found = [later(SAMPLERS.get("test-sources-leads"))]
    for path in opened:
        path.write_text("2")
        found.append(later(SAMPLERS.get("test-sources-leads")))
    read = {"a": "one/a.txt", "b": "oneer/b.txt"}["b" if "er/b" in what else "a"]
    number = opened.index(tmp_path / read)
    assert [path for path, *pair in zip(opened, found, found[1:], strict=False) if pair[0] != pair[1]] == [
        opened[number]
    ]
    monkeypatch.setenv("TEST_SOURCES_PLACE", str(places[1]))
    assert later(SAMPLERS.get("test-sources-leads")) != found[-1]


@pytest.mark.parametrize(
    ("imports", "what", "file"),
    [
        ("from os import listdir as ls", '[open(HERE / "t" / each).read() for each in ls(HERE / "t")]', "t/a"),
        ("from os.path import dirname as up", 'open(up(up(FILE)) + "/t/a.txt").read()', "../t/a.txt"),
        ("from os import pardir as up", 'open(os.path.join(HERE, up, "t", "a.txt")).read()', "../t/a.txt"),
        ("from string import Template as T", '(HERE / T("$kind.txt").substitute(kind="a")).read_text()', "a.txt"),
        ("import os", 'open(os.path.join(os.fsencode(HERE), b"a.txt")).read()', "a.txt"),
    ],
)
def test_a_plugin_depends_on_a_file_whatever_a_function_is_called(
    tmp_path: Path, imports: str, what: str, file: str
) -> None:
    plugin, opened = _opening(tmp_path, "test-sources-called", what, file)
    plugin.write_text(f"{imports}\n{plugin.read_text()}")
    load_file(plugin)
    first = later(SAMPLERS.get("test-sources-called"))
    opened.write_text("2")
    assert later(SAMPLERS.get("test-sources-called")) != first


def test_compiled_files_below_a_folder_that_is_walked_through_change_nothing(tmp_path: Path) -> None:
    plugin, _ = _opening(tmp_path, "test-sources-walks", '[*os.walk(HERE / "t")]', "t/a.txt")
    load_file(plugin)
    first = later(SAMPLERS.get("test-sources-walks"))
    (plugin.parent / "t" / "__pycache__").mkdir()
    (plugin.parent / "t" / "__pycache__" / "a.pyc").touch()
    assert later(SAMPLERS.get("test-sources-walks")) == first
