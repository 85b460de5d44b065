"""What whoever writes a sampler is given: a file to start from, and the conformance suite's word on it."""

import importlib.util
import json
import keyword
import re
import shlex
from pathlib import Path
from typing import Any

from rich.text import Text

from bench.cli.sampler_list import source
from bench.conformance.suite import CHECKS, run_check
from bench.escape import terminal_text
from bench.progress import errors, output, say
from bench.purity.unchanged import put_back
from models.common.errors import PluginError, UsageError
from models.common.program import called
from models.common.writing import naming
from models.plugins.installed import load_installed
from models.plugins.names import check_name
from samplers import SAMPLERS, Sampler
from samplers.registry import ENTRY_POINTS

_TEMPLATE = Path(__file__).parent / "templates" / "sampler.py"
_NAME, _CLASS = "my-sampler", "MySampler"  # as the template has them
_MARKS = {"passed": "[green]pass[/]", "failed": "[red]FAIL[/]", "skipped": "[dim]n/a [/]"}


def new_sampler(name: str, out: Path | None) -> int:
    """Write the template as a plugin file of that name and print what to do next; the exit status.

    UsageError if the name is unusable or taken, or the file exists or would hide a module.
    """
    check_name(name, "sampler")
    if (owner := _owner(name)) is not None:
        raise UsageError(f"a sampler {name!r} exists already, from {owner}; choose another name")
    path = Path(re.sub("[-_]+", "_", name.replace("+", "p")) + ".py") if out is None else out
    _refuse_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file, naming(path):
            file.write(_filled(name))
            file.flush()
    except FileExistsError:
        raise UsageError(f"{str(path)!r} exists already and is left as it is; give another file with --out") from None
    plugin = f"--plugin {shlex.quote(str(path))}"
    say(
        f"{path}\n"
        "fill in the capitals, put your method in step(), and see whether it is right and how good it is:\n"
        f"  {called()} check {name} {plugin}\n"
        f"  {called()} run quick --samplers {name},ddim {plugin} --out results/{name}"
    )
    return 0


def check_sampler(name: str, plot: Path | None, *, as_json: bool) -> int:
    """Run the conformance suite on a sampler and print what passed and failed; the exit status."""
    if plot is not None and plot.suffix not in (".png", ".pdf"):
        raise UsageError(f"--plot {str(plot)!r}: expected a file that ends in .png or .pdf")
    console = output(quiet=as_json, soft_wrap=True)
    about: dict[str, Any] = {"sampler": name, "source": None, "conforms": False}
    results, drawn = list[dict[str, str]](), dict[str, Any]()

    def tell(check: str, outcome: str, detail: str) -> None:
        results.append({"name": check, "outcome": outcome, "detail": detail})
        console.print(Text.from_markup(_MARKS[outcome]).append(terminal_text(f"  {check}: {detail}")))

    try:
        with put_back(name):
            sampler = SAMPLERS.make(name)
    except PluginError as error:
        tell("can be made, and says what it is", "failed", str(error))
        verdict = "cannot be checked"
    else:
        for check in CHECKS:
            with errors.status(f"{check.name} ..."):
                result = run_check(check, sampler)
            tell(check.name, result.outcome, result.detail)
        failed = sum(result["outcome"] == "failed" for result in results)
        about = {"sampler": SAMPLERS.spec_of(sampler), "source": source(type(sampler)), "conforms": not failed}
        verdict = f"{failed} of {len(CHECKS)} checks failed" if failed else "conforms"
        drawn = {} if plot is None else _plot(name, sampler, plot)
    for said in filter(None, (f"{name}: {verdict}", drawn.get("no_plot"), drawn.get("plot"))):
        console.print(Text(terminal_text(said)))
    if as_json:
        print(json.dumps(about | {"checks": results} | drawn, indent=1))
    return 0 if about["conforms"] else 1


def _plot(name: str, sampler: Sampler, path: Path) -> dict[str, Any]:
    """Draw the convergence of a sampler: the file, and what is drawn, or why there is none."""
    from bench.conformance.convergence import NothingToDraw, draw

    try:
        with errors.status("drawing its convergence ..."):
            found = draw(name, sampler, path)
    except NothingToDraw as reason:
        return {"plot": None, "no_plot": f"no plot: {reason}", "convergence": None}
    drawn = {"steps": list(found.steps), "errors": list(found.errors), "orders": list(found.orders)}
    return {"plot": str(path), "no_plot": None, "convergence": drawn}


def _owner(name: str) -> str | None:
    """Who has a name: the source of a sampler, or the reason of a package that cannot be imported."""
    broken = load_installed(ENTRY_POINTS)
    if name in broken:
        return f"an installed package that cannot be imported ({broken[name]})"
    try:
        cls = SAMPLERS.get(name)
    except UsageError:
        return None
    where = source(cls)
    return f"the tree ({cls.__module__})" if where == "tree" else where


def _refuse_path(path: Path) -> None:
    """UsageError if a path is no Python file, or if a module of that name is there already."""
    if path.suffix != ".py" or path.is_dir():
        raise UsageError(f"cannot write a sampler to {str(path)!r}; expected a Python file, such as my_sampler.py")
    if path.exists():
        return  # opening it says so
    if path.stem.isidentifier() and importlib.util.find_spec(path.stem) is not None:
        raise UsageError(
            f"{str(path)!r} could hide the module {path.stem!r} from everything that imports it; give another file "
            "with --out"
        )


def _filled(name: str) -> str:
    """The template for a name, its class called by the name in capitals and never as something that it needs."""
    template = _TEMPLATE.read_text(encoding="utf-8")
    words = "".join(part.capitalize() for part in re.split("[-_]+", name.replace("+", "p")))
    cls = f"Sampler{words}" if words[0].isdigit() else words
    needed = set(re.findall(r"\w+", template)) - {_CLASS}
    if cls in needed or keyword.iskeyword(cls):
        cls += "Method"
    return template.replace(_CLASS, cls).replace(_NAME, name)
