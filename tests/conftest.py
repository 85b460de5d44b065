"""What several test files share stands in helpers/shared_fixtures.py, which each process that runs tests takes in.

One that hands them out to others runs none, and would import torch and all else for seconds before they can begin.
"""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    hands_out = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
    if not hands_out:
        config.pluginmanager.import_plugin("shared_fixtures")
