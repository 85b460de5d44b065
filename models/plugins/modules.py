"""Plugin files, whose own modules may be called anything, `models`, `samplers` and `bench` too.

The networks of DiT, SiT, DDIM and Score SDE lie in a module or package `models`, which in their files has to be theirs.
So the modules of a plugin belong to a package that is made for it: `models.dit` beside the file is
`sampler_bench_plugin_<hash of the file's path>.models.dit`, and the imports in a plugin's files are compiled to that:

- what lies in the plugin's folder comes first; so does what lies in a folder with a package of the name of ours that
  it has put on `sys.path`;
- what of our three packages is not there is ours: `from models.dit import DiT` and `from models.architectures import
  register_network` may stand in one file. Everything else is what it is for everybody.

Nothing is exchanged while a plugin runs, so this holds whenever a function imports something, its own or ours, and two
plugins may each have a package `models`. Every module is in `sys.modules` under the name that it has, where pickle,
dataclasses and torch.compile look it up; the last would not ask a hook on `__import__`. `bench.running.closure` follows
the imports that are run, by the same `as_read`. What is only text stays as it is: `import_module("models.dit")` is of
ours.
"""

import ast
import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from models.plugins.foreign import is_installed
from models.plugins.registry import PLUGIN

OURS = ("bench", "models", "samplers")
"""Our own packages."""

_EITHER = """
try: pass
except ImportError as _not_in_the_plugin:
    if not str(_not_in_the_plugin.name).startswith({package!r}): raise
"""


def execute(path: Path) -> None:
    """Execute a plugin file as a module of its package; whatever it raises goes through."""
    name = f"{_package(path)}.{path.stem.replace('.', '_')}"
    loader = _Loader(name, str(path.absolute()))
    spec = spec_from_file_location(name, path.absolute(), loader=loader)
    assert spec is not None, "a loader is given"
    module = sys.modules[name] = module_from_spec(spec)  # dataclasses look their module up there
    loader.exec_module(module)
    _own[name.partition(".")[0]].settle()


def _package(path: Path) -> str:
    """The name of the package of a plugin file, which is made where there is none yet."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    name = PLUGIN + hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    if name not in sys.modules:
        sys.modules[name] = module_from_spec(ModuleSpec(name, None, is_package=True))  # without a path for others
    _own[name] = _Places(path)
    return name


class _Loader(SourceFileLoader):
    """Compiles a plugin's file as it is read here, and leaves __pycache__ to those who read it as it stands there."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = as_read(ast.parse(self.get_data(path), path), fullname)
        code: CodeType = compile(tree, path, "exec", dont_inherit=True)
        return code


class _Finder(MetaPathFinder):
    """Finds the modules of plugins' packages, without importing anything."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, inside = fullname.partition(".")
        if not inside or not package.startswith(PLUGIN) or package not in _own:
            return None
        return _found(fullname, _own[package].of(inside) if "." not in inside else path or ())


_FINDER = _Finder()


class _Places:
    """Where the modules of a plugin may lie: in its own folder, and in those on `sys.path` that are a plugin's.

    What it puts there while it is executed comes before what was there, and that before what comes there later.
    """

    def __init__(self, path: Path) -> None:
        # a link may lie elsewhere than its file and what is beside that
        self._own = [str(path.absolute().parent), str(path.resolve().parent)]
        self._before, self._seen, self._settled = {*_on_path()}, list[str](), False

    def of(self, name: str) -> Sequence[str]:
        """Where to look for a module that no package is around, in order."""
        now = [each for each in _on_path() if _is_a_plugins(each)]
        first = self._seen if self._settled else [each for each in now if each not in self._before]
        self._seen = [*dict.fromkeys((*first, *now, *self._seen))]
        found = [*self._own, *self._seen]
        return [each for each in found if not _is_ours(each)] if name in OURS else found

    def settle(self) -> None:
        """Keep the order of the folders that there are."""
        self.of("")
        self._settled = True


_own = dict[str, _Places]()
"""Of each plugin's package."""


def _on_path() -> list[str]:
    return [*map(os.path.abspath, sys.path)]


def _is_a_plugins(folder: str) -> bool:
    """Whether a folder on `sys.path` has a package of the name of one of ours that is not ours."""
    if is_installed(Path(folder)) or _is_ours(folder):
        return False
    places = [os.path.join(folder, name) for name in OURS]
    return any(os.path.isfile(f"{each}.py") or (os.path.isdir(each) and _has_code(Path(each))) for each in places)


def _is_ours(folder: str) -> bool:
    """Whether a folder holds this benchmark, be it another checkout of it."""
    return all(os.path.isfile(os.path.join(folder, name, "registry.py")) for name in ("models/plugins", "samplers"))


def _has_code(folder: Path) -> bool:
    """Whether a folder may be a package; one of data alone, such as checkpoints, is none."""
    return any(any(folder.glob(pattern)) for pattern in ("*.py", "*/*.py"))


def _found(name: str, folders: Iterable[str]) -> ModuleSpec | None:
    """Where in some folders the module is that the last part of a name calls."""
    portions = list[str]()
    for folder in folders:
        finder = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Loader, SOURCE_SUFFIXES))
        spec = finder.find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec
        places = None if spec is None else spec.submodule_search_locations
        portions += [place for place in places or () if _has_code(Path(place))]
    if not portions:
        return None
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = portions
    return spec


def as_read(tree: ast.Module, name: str) -> ast.Module:
    """The code of a module, changed in place, as it is run: imports of a plugin's own modules by their full names.

    Modules that are no plugin's, by their name, stay as they are.
    """
    if not name.startswith(PLUGIN):
        return tree
    read: ast.Module = _Reader(name).visit(tree)
    return ast.fix_missing_locations(read)


class _Reader(ast.NodeTransformer):
    """Replaces the imports in a module of a plugin by those that are meant."""

    def __init__(self, name: str) -> None:
        self._package, self._name = name.partition(".")[0], name

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        found = list[ast.stmt]()
        for alias in node.names:
            top, dot, _ = alias.name.partition(".")
            theirs: list[ast.stmt] = [ast.Import([ast.alias(self._full(alias.name), alias.asname or top)])]
            if dot and alias.asname is None:  # `import a.b` binds a
                theirs.append(ast.Import([ast.alias(self._full(top), top)]))
            found += self._chosen(node, theirs, ast.Import([alias]), alias.name)
        return found

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt]:
        module = node.module
        if node.level or module is None:
            return [node]
        found = list[ast.stmt]()
        for alias in node.names:
            theirs: list[ast.stmt] = [ast.ImportFrom(self._full(module), [alias], 0)]
            found += self._chosen(node, theirs, ast.ImportFrom(module, [alias], 0), module, alias.name)
        return found

    def _full(self, name: str) -> str:
        return f"{self._package}.{name}"

    def _chosen(
        self, node: ast.stmt, theirs: list[ast.stmt], said: ast.stmt, module: str, name: str | None = None
    ) -> list[ast.stmt]:
        """The statements that are meant, in the place of a statement."""
        own = self._is_own(module, name)
        chosen = theirs if own else [said]
        if own is None:
            (either,) = ast.parse(_EITHER.format(package=self._package)).body
            assert isinstance(either, ast.Try)
            either.body, either.handlers[0].body = theirs, [*either.handlers[0].body, said]
            chosen = [either]
        for each in (inner for statement in chosen for inner in ast.walk(statement)):
            if "lineno" in each._attributes:
                ast.copy_location(each, node)
        return chosen

    def _is_own(self, module: str, name: str | None) -> bool | None:
        """Whether an import of a module, or of a name from it, is the plugin's; None if that shows when it is run."""
        top = module.partition(".")[0]
        if top not in OURS:
            spec = self._spec(top)
            # a file called timm.py that imports timm means the library, not itself
            itself = spec is not None and spec.name == self._name and spec.submodule_search_locations is None
            if spec is not None and spec.loader is not None and not itself:
                return True
            return False if top in sys.modules or find_spec(top) is not None else None
        if self._spec(module if name is None else f"{module}.{name}") is not None:
            return True
        return True if name is not None and self._spec(module) is not None and not _have(module) else None

    def _spec(self, name: str) -> ModuleSpec | None:
        """Where a module of the plugin's is; nothing is imported for it."""
        spec, full = None, self._package
        for part in name.split("."):
            full = f"{full}.{part}"
            spec = _FINDER.find_spec(full, None if spec is None else spec.submodule_search_locations)
            if spec is None:
                return None
        return spec


def _have(module: str) -> bool:
    """Whether a module is one of ours."""
    path = Path(__file__).parents[2].joinpath(*module.split("."))
    return path.is_dir() or path.with_name(f"{path.name}.py").is_file()
