"""The files that code consists of: modules, whatever they import, and the data files that they name.

They are found in the text, not by running it, so that what a sampler imports or opens only when it is called is known
before:

- every `import`, wherever it stands, of a module that the caller follows;
- in code that is not the tree's, every string that is the name of such a module (`import_module("helper")`) or of a
  file, beside the module or in the working directory; a hole of an f-string stands for anything, and a folder that is
  named is looked into for the other names.

Not found are names that are put together otherwise or come from outside (`a + b`, environment variables), and what a
module does to others when it is imported. Of installed packages the versions count.
"""

import ast
import glob
import hashlib
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions, version
from pathlib import Path

from models.files import sha256_of

_OF_THE_SYSTEM = tuple(map(Path, ("/proc", "/sys", "/dev")))
_LONGEST = 255  # characters of a file's name: what is longer is prose


@dataclass(frozen=True)
class Module:
    """A module's file, and what its text says.

    Attributes:
        name: as it is imported.
        path: of its file.
        imports: names that may be modules.
        strings: its strings as patterns of file names, `*` for a hole of an f-string.
        symbols: names and attributes that it uses.
    """

    name: str
    path: Path
    imports: frozenset[str]
    strings: frozenset[str]
    symbols: frozenset[str]

    @property
    def in_tree(self) -> bool:
        """Whether it is one of this benchmark's own."""
        return in_tree(self.name)


def in_tree(name: str) -> bool:
    """Whether a module's name is that of one of this benchmark's own."""
    return name.partition(".")[0] in ("bench", "models", "samplers")


def module_file(name: str) -> Path | None:
    """The file that a module is loaded from, or would be; None if there is no such module, or it has no file."""
    spec = _spec(name)
    if spec is None:  # that of a script has none
        file = getattr(sys.modules.get(name), "__file__", None)
        return None if file is None else Path(file)
    return _file(spec)


def modules_of(roots: Iterable[str], follows: Callable[[str, Path], bool]) -> list[Module]:
    """Modules and all that they import, directly or not, each once.

    Args:
        roots: names of modules; those without a file are left out.
        follows: whether a module belongs to them, asked by name and file for all that is imported.
    """
    waiting = [(name, path) for name in roots if (path := module_file(name)) is not None]
    found = dict[str, Module]()
    while waiting:
        name, path = waiting.pop()
        if name in found:
            continue
        found[name] = module = _read(name, path)
        named = [] if module.in_tree else filter(_is_name, module.strings)
        for each in {*module.imports, *named} - set(found):
            file = module_file(each) or _beside(each, path)
            if file is not None and follows(each, file):
                waiting.append((each, file))
    return list(found.values())


def data_of(modules: Collection[Module]) -> set[Path]:
    """The files that are there and that modules name, other than the tree's."""
    named = set[Path]()
    for module in modules:
        if not module.in_tree:
            named.update(*(_named(folder, module.strings) for folder in (module.path.parent, Path.cwd())))
    return named - {module.path for module in modules}


def versions_of(modules: Collection[Module]) -> set[str]:
    """The installed packages that modules import, other than the tree's, with their versions."""
    imports = {each.partition(".")[0] for module in modules if not module.in_tree for each in module.imports}
    tops = imports - sys.stdlib_module_names
    packages = _packages() if tops else {}
    return {f"{package} {version(package)}" for top in tops for package in packages.get(top, ())}


_packages = cache(packages_distributions)


def digest_of(files: Iterable[Path], folder: Path, words: Iterable[str] = ()) -> str:
    """A hash of words, and of what files hold and where they lie, seen from a folder."""
    said = {f"{os.path.relpath(path, folder)} {sha256_of(path)}" for path in files} | set(words)
    return hashlib.sha256("\n".join(sorted(said)).encode()).hexdigest()


def _read(name: str, path: Path) -> Module:
    """A module's text says nothing if it is no Python, or damaged."""
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes()))) if path.suffix == ".py" else []
    except (SyntaxError, ValueError):
        nodes = []
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return Module(
        name,
        path,
        imports=frozenset(each for node in nodes for each in _imported(node, package)),
        strings=frozenset(pattern for node in nodes if (pattern := _pattern(node)) is not None),
        symbols=frozenset(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in nodes
            if isinstance(node, (ast.Name, ast.Attribute))
        ),
    )


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    """Every module that a statement may import, and the packages around it."""
    names = list[str]()
    if isinstance(node, ast.Import):
        names = [each.name for each in node.names]
    elif isinstance(node, ast.ImportFrom):
        parts = package.split(".")
        around = parts[: len(parts) - node.level + 1] if node.level else []
        origin = ".".join([*around, *filter(None, [node.module])])
        names = [origin, *(f"{origin}.{each.name}" for each in node.names)]
    for name in names:
        parts = name.split(".")
        yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _pattern(node: ast.AST) -> str | None:
    """A string as a pattern of names; None for prose, and for what says nothing."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        parts: list[str | None] = [node.value]
    elif isinstance(node, ast.JoinedStr):
        parts = [str(each.value) if isinstance(each, ast.Constant) else None for each in node.values]
    else:
        return None
    text = "".join(part or "" for part in parts)
    if len(text) > _LONGEST or not text.isprintable() or not any(map(str.isalnum, text)):
        return None
    return "".join("*" if part is None else glob.escape(part) for part in parts)


def _is_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _named(folder: Path, patterns: Collection[str]) -> Iterator[Path]:
    """The files that patterns name in a folder, and in those below it that are named in full."""
    folders, seen = [folder.resolve()], set[Path]()
    while folders:
        start = folders.pop()
        seen.add(start)
        for pattern in patterns:
            for found in map(Path, glob.glob(os.path.join(glob.escape(str(start)), pattern))):
                real = found.resolve()
                if any(real.is_relative_to(system) for system in _OF_THE_SYSTEM):
                    continue
                if real.is_file():
                    yield found
                elif real.is_dir() and real not in seen and "*" not in pattern:
                    folders.append(real)


def _spec(name: str) -> ModuleSpec | None:
    """Where a module comes from; neither it nor the packages around it are imported."""
    loaded: ModuleSpec | None = getattr(sys.modules.get(name), "__spec__", None)
    if loaded is not None:
        return loaded
    parent, path = name.rpartition(".")[0], None
    if parent:
        around = _spec(parent)
        if around is None or around.submodule_search_locations is None:
            return None
        path = list(around.submodule_search_locations)
    finders = (finder.find_spec for finder in sys.meta_path if finder.find_spec is not None)
    return next((spec for find in finders if (spec := find(name, path)) is not None), None)


def _beside(name: str, path: Path) -> Path | None:
    """A module in the folder of another, which may put that on the path when it runs."""
    spec = None if "." in name else PathFinder.find_spec(name, [str(path.parent)])
    return None if spec is None else _file(spec)


def _file(spec: ModuleSpec) -> Path | None:
    return Path(spec.origin) if spec.origin is not None and spec.has_location else None
