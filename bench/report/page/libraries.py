"""The browser's libraries, as text within a page: compressed, since plotly alone is 5 MB.

Plotly draws the figures. DataTables sorts, searches and selects: of the table libraries that a Python package brings
whole, `itables` is the one that is kept up and that needs neither a notebook nor a server; AG Grid and Tabulator come
by npm or from a host alone. Both are read from their packages, and neither is imported.
"""

import base64
import gzip
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_FILES = {
    "plotly": ("plotly", "package_data/plotly.min.js"),
    "tables": ("itables", "html/dt_bundle.js"),
    "tables-style": ("itables", "html/dt_bundle.css"),
}


@cache
def libraries() -> dict[str, str]:
    """What each file holds, as base64 of gzip, by what the page calls it."""
    return {name: _packed(package, file) for name, (package, file) in _FILES.items()}


def _packed(package: str, file: str) -> str:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"the page needs the package {package!r}; install sampler-bench with what it depends on"
        )
    content = _eager((Path(spec.origin).parent / file).read_bytes())
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def _eager(script: bytes) -> bytes:
    """The same script, in parentheses that let browsers compile its body at once, beside the page.

    Plotly's is an argument of a call. Browsers read over such a function, and compile it again when it is called: a
    quarter of a second in which the page stands still. What has another form stays as it is.
    """
    start, end = b"this, () => {", b"}));"
    if script.find(start, 0, 1000) < 0 or not script.endswith(end):
        return script
    return script.replace(start, b"this, (() => {", 1).removesuffix(end) + b"})));"
