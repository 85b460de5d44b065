"""What is imported when: whoever lists, plans or asks for help does not wait for torch, nor for what only draws."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HEAVY = ("torch", "diffusers", "matplotlib", "pandas", "scipy", "huggingface_hub")
"""Each takes a good part of a second, or several."""

DESCRIBING = (
    *("samplers", "models.cards.card", "models.denoiser", "models.loading.diffusers_folder", "models.grids"),
    *("models.loading.hub", "models.plugins.registry", "models.schedule", "models.cards.schedule_cards"),
    *("models.loading.scheduler_config", "models.loading.sources", "bench.cli.app", "bench.cli.listing"),
    *("bench.study.placement", "bench.study.plan", "bench.record", "bench.column_meanings", "bench.study.study"),
    *("bench.study.file", "models.plugins.modules"),
)

_STUDY = """
from bench.study.plan import plan
from bench.study.study import Study
from samplers import SAMPLERS
grids = ["leading", "trailing", "linspace", "power", "quad", "karras", "karras[rho=5]", "logsnr"]
block = {"samplers": SAMPLERS.names(), "grids": grids, "steps": list(range(1, 2 + 2000 // len(SAMPLERS.names()) // 8))}
block["seeds"] = list(range(5))
study = Study.model_validate({
    "name": "many", "title": "Many cells", "model": "digits", "images": 1000, "batch": 100, "block": [block],
    "baseline": {"sampler": "ddim", "grid": "trailing", "steps": 10},
})
cells = len(plan(study))
assert cells > 9_000, cells
"""


def run(code: str) -> str:
    """What some code prints last, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def loaded_by(code: str) -> set[str]:
    """The top-level modules that some code imports, directly or not."""
    return set(run(f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})").split())


def test_what_describes_and_plans_imports_none_of_the_large_libraries() -> None:
    code = f"""
import importlib, sys
for name in {DESCRIBING}:
    importlib.import_module(name)
    assert not set({HEAVY}) & set(sys.modules), (name, set({HEAVY}) & set(sys.modules))
"""
    assert "pydantic" in loaded_by(code)


@pytest.mark.parametrize("what", ["samplers", "grids", "models", "metrics", "runs"])
def test_what_there_is_is_listed_without_the_large_libraries(what: str) -> None:
    assert not loaded_by(f"from bench.cli.app import list_\nlist_({what!r})") & set(HEAVY)


def test_help_is_printed_before_anything_is_imported_that_it_does_not_need() -> None:
    loaded = loaded_by("from bench.cli.app import app\napp(['--help'], result_action='return_value')")
    assert not loaded & {*HEAVY, "numpy", "pydantic", "samplers"}


def test_a_report_and_a_merge_need_no_torch_and_draw_nothing_before_they_are_asked_to() -> None:
    assert not loaded_by("import bench.cli.reporting, bench.running.merge") & {
        "torch",
        "diffusers",
        "matplotlib",
    }


def test_diffusers_is_imported_by_its_adapter_alone_until_a_function_needs_it() -> None:
    files = [path for folder in ("bench", "models", "samplers") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert [path.name for path in files if "diffusers" in _imported(path)] == ["diffusers_adapter.py"]


def _imported(path: Path) -> set[str]:
    """The top-level modules that a file imports outside of functions."""
    found = set[str]()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read where Linux tells it")
def test_ten_thousand_cells_are_planned_within_500_mb() -> None:
    peak = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    assert int(run(f"{_STUDY}\n{peak}")) * 1024 < 500e6
