"""How long a browser takes from opening a page of many rows until its figure is drawn.

    pytest tests/benchmarks/test_page_load.py --benchmark-only -n 0

Deselected otherwise, as all benchmarks are. `extra_info` has the seconds that the page's own thread computes, which
what else runs on the machine changes less, and the size of the page.
"""

from pathlib import Path
from typing import Any

import pytest
from browser import chromium
from report_records import many, write_run

from bench.report import write_report

Benchmark = Any  # pytest-benchmark has no types


@pytest.mark.parametrize("rows", [150, 2000])
def test_a_page_is_opened(benchmark: Benchmark, tmp_path: Path, rows: int) -> None:
    run = write_run(tmp_path / "run", many(rows // 5))
    (file,) = write_report([run], ["html"])
    with chromium() as browser:

        def opened() -> float:
            context = browser.new_context()
            page = context.new_page()
            session = context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-ready]", timeout=60_000)
            measured = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
            context.close()
            return float(measured["ThreadTime"])

        thread_s = benchmark.pedantic(opened, rounds=3, warmup_rounds=1)
    benchmark.extra_info.update(rows=len(many(rows // 5)), mib=file.stat().st_size / 2**20, thread_s=thread_s)
