"""The files that code consists of: modules, whatever they import, and the data files that they name.

They are found in the text, not by running it, so that what a sampler imports or opens only when it is called is known
before:

- every `import`, wherever it stands, of a module that the caller follows, as a plugin's is read
  (`models.plugins.modules`);
- in code that is not the tree's, every string that is the name of such a module (`import_module("helper")`) or of a
  file, beside the module, in the working directory, in a package that it imports or names, or above the module if its
  text goes there (`parents`, ".."). What f-strings, sums, "%", `format` and "$NAME" put in stands for anything, a
  suffix alone for a file called like the module. A folder that is named is looked into for the other names, or all of
  it counts if the text lists folders, with what is below it if it walks through them;
- the environment variables whose names such code holds, but those that differ from job to job, and the files and
  folders that these, the parameters, and the network's config.json name.

Not found are names that are put together otherwise or come from elsewhere (a list in another file, the listing of the
module's own folder), and what a module does to others when it is imported. Of installed packages the versions count.
"""

import ast
import hashlib
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions, version
from pathlib import Path

from bench.running.named_files import (
    climbs,
    files_named,
    names_used,
    patterns_of,
    patterns_of_value,
    texts_with_variables,
    variables_in,
)
from models.common.files import sha256_of
from models.plugins.foreign import is_installed
from models.plugins.modules import OURS, as_read

_EXPANDS = {"expandvars"}
_LOOKS_UP = {"environ", "environb", "getenv", "getenvb"} | _EXPANDS
_WALKS = {"fwalk", "rglob", "walk"}
_LISTS = {"iterdir", "listdir", "scandir"} | _WALKS


@dataclass(frozen=True)
class Module:
    """A module's file, and what its text says.

    Attributes:
        name: as it is imported.
        path: of its file.
        imports: names that may be modules.
        strings: its strings as patterns of file names; see `bench.running.named_files`.
        expanded: its strings that hold environment variables, if it has `os.path.expandvars` replace them.
        symbols: names and attributes that it uses, and what it imports from others, by the names that they have there.
        climbs: whether it goes to folders above its own.
    """

    name: str
    path: Path
    imports: frozenset[str]
    strings: frozenset[str]
    expanded: frozenset[str]
    symbols: frozenset[str]
    climbs: bool

    @property
    def in_tree(self) -> bool:
        """Whether it is one of this benchmark's own."""
        return in_tree(self.name)


def in_tree(name: str) -> bool:
    """Whether a module's name is that of one of this benchmark's own."""
    return name.partition(".")[0] in OURS


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
    found, file_of = dict[str, Module](), cache(module_file)  # the same names are all over
    while waiting:
        name, path = waiting.pop()
        if name in found:
            continue
        found[name] = module = _read(name, path)
        named = [] if module.in_tree else filter(_is_name, module.strings)
        for each in {*module.imports, *named} - set(found):
            file = file_of(each) or _beside(each, path)
            if file is not None and follows(each, file):
                waiting.append((each, file))
    return list(found.values())


def data_of(modules: Collection[Module], given: Collection[str] = ()) -> set[Path]:
    """The files that are there and that modules name, other than the tree's.

    Args:
        modules: that may open files.
        given: what they are given that may name files, such as parameters; so may the variables that they look up.
    """
    named, folders_of = set[Path](), cache(_folders_of)  # the same names are all over
    for module in modules:
        if not module.in_tree:
            texts = [*given, *(os.environ[name] for name in _looked_up([module]))]
            texts += map(os.path.expandvars, module.expanded)
            texts += _packages_of(module, folders_of)
            names = module.strings.union(_as_folders(module.strings), *map(patterns_of_value, texts))
            whole, deep = (bool(words & module.symbols) for words in (_LISTS, _WALKS))
            named.update(*(files_named(folder, names, whole=whole, deep=deep) for folder in _folders(module)))
    return named - {module.path for module in modules}


def _folders(module: Module) -> set[Path]:
    """Where a module may look for files: beside it, or beside what it is a link to, above that, and where it runs."""
    places = {module.path.absolute(), module.path.resolve()}
    above = {folder for place in places for folder in place.parents[1:4] if module.climbs}
    return {place.parent for place in places} | {Path.cwd()} | {each for each in above if each != each.parent}


def _as_folders(names: Iterable[str]) -> set[str]:
    """What the names of packages, such as "tables.data" and ".data", are as paths."""
    inner = {each.lstrip("*.") for each in names}
    return {each.replace(".", "/") for each in inner if _is_name(each)}


def _packages_of(module: Module, folders_of: Callable[[str], list[str] | None]) -> set[str]:
    """The folders of the packages that a module imports or names, which may hold files for it: a plugin's own."""
    own, found = module.name.partition(".")[0], set[str]()
    for name in {*module.imports, *filter(_is_name, module.strings)}:
        if not in_tree(name):
            found.update(
                folder
                for folder in folders_of(name) or ()
                if name.partition(".")[0] == own or not is_installed(Path(folder))
            )
    return found


_OF_A_JOB = re.compile(
    r"(SLURM|PBS|LSB|SGE|OMPI|PMI|RAY)_.*|(LOCAL_)?RANK|WORLD_SIZE|CUDA_VISIBLE_DEVICES|HOST(NAME)?|HOME|TMP(DIR)?"
)
"""What tells a job, a machine or its place from another, and differs between parts of one study."""


def environment_of(modules: Collection[Module]) -> set[str]:
    """The environment variables that modules other than the tree's look up, with the hash of what each holds."""
    named = _looked_up(modules)
    return {f"{name} {hashlib.sha256(os.fsencode(os.environ[name])).hexdigest()}" for name in named}


def _looked_up(modules: Collection[Module]) -> set[str]:
    asking = [module for module in modules if not module.in_tree and _LOOKS_UP & module.symbols]
    held = {name for module in asking for name in (*module.strings, *variables_in(module.expanded))}
    return {name for name in held if name in os.environ and not _OF_A_JOB.fullmatch(name)}


def versions_of(modules: Collection[Module]) -> set[str]:
    """The installed packages that modules import, other than the tree's, with their versions."""
    imports = {each.partition(".")[0] for module in modules if not module.in_tree for each in module.imports}
    tops = imports - sys.stdlib_module_names
    packages = _packages() if tops else {}
    return {f"{package} {version(package)}" for top in tops for package in packages.get(top, ())}


_packages = cache(packages_distributions)


def contents(files: Iterable[Path], folder: Path) -> set[str]:
    """Where files lie, seen from a folder, and the hash of what each holds."""
    return {f"{os.path.relpath(path, folder)} {sha256_of(path)}" for path in files}


def digest_of(words: Iterable[str]) -> str:
    """A hash of words, in whatever order."""
    return hashlib.sha256("\n".join(sorted({*words})).encode()).hexdigest()


@cache
def _read(name: str, path: Path) -> Module:
    """A module's text says nothing if it is no Python, or damaged."""
    try:
        nodes = list(ast.walk(as_read(ast.parse(path.read_bytes()), name))) if path.suffix == ".py" else []
    except (SyntaxError, ValueError):
        nodes = []
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    taken = (each.name for node in nodes if isinstance(node, ast.ImportFrom) for each in node.names)
    symbols = frozenset((*names_used(nodes), *taken))
    return Module(
        name,
        path,
        imports=frozenset(each for node in nodes for each in _imported(node, package)),
        strings=frozenset(patterns_of(nodes, path.stem)),
        expanded=frozenset(texts_with_variables(nodes) if _EXPANDS & symbols else ()),
        symbols=symbols,
        climbs=climbs(nodes),
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


def _is_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _spec(name: str) -> ModuleSpec | None:
    """Where a module comes from; neither it nor the packages around it are imported."""
    loaded: ModuleSpec | None = getattr(sys.modules.get(name), "__spec__", None)
    if loaded is not None:
        return loaded
    parent = name.rpartition(".")[0]
    path = _folders_of(parent) if parent else None
    if parent and path is None:
        return None
    finders = (finder.find_spec for finder in sys.meta_path if finder.find_spec is not None)
    with suppress(KeyError):  # of a folder without __init__.py, which looks the package around it up
        return next((spec for find in finders if (spec := find(name, path)) is not None), None)
    return None


def _folders_of(name: str) -> list[str] | None:
    """Where a package looks for its modules, None if there is none; neither it nor those around it are imported."""
    spec = _spec(name)
    if spec is not None:
        places = spec.submodule_search_locations
        return None if places is None else [*places]
    around, _, last = name.rpartition(".")
    inside = [os.path.join(each, last) for each in (_folders_of(around) if around else None) or ()]
    return [*filter(os.path.isdir, inside)] or None


def _beside(name: str, path: Path) -> Path | None:
    """A module in the folder of another, which may put that on the path when it runs."""
    spec = None if "." in name else PathFinder.find_spec(name, [str(path.parent)])
    return None if spec is None else _file(spec)


def _file(spec: ModuleSpec) -> Path | None:
    return Path(spec.origin) if spec.origin is not None and spec.has_location else None
