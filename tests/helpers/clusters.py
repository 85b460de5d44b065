"""A Ray cluster of this machine alone, whose nodes are processes, and samplers that do it harm."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private import ray_constants
from ray.cluster_utils import Cluster

ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False  # or `uv run pytest` would send the tree to its nodes each time

_SOON = {"health_check_period_ms": 500, "health_check_failure_threshold": 2, "health_check_timeout_ms": 500}
"""A node that is gone is noticed in a second or two, which takes Ray ten otherwise."""

_PLUGIN = """
import os, time
from dataclasses import dataclass
from samplers.ddim import DDIM
from samplers.registry import register

LOG = bytes.fromhex({log!r}).decode()  # a file that it names by a string would be one of those that it depends on

def note(what):
    with open(LOG, "a") as log:
        log.write(what + "\\n")

@register("slow")
@dataclass(frozen=True)
class Slow(DDIM):
    seconds: float = 0.2
    def sample(self, model, x, levels, noise):
        time.sleep(self.seconds)
        return super().sample(model, x, levels, noise)

@register("raises")
@dataclass(frozen=True)
class Raises(DDIM):
    def sample(self, model, x, levels, noise):
        note("raises")
        raise ValueError("no such thing")

@register("exits")
@dataclass(frozen=True)
class Exits(DDIM):
    def sample(self, model, x, levels, noise):
        note("exits")
        os._exit(3)

@register("prints")
@dataclass(frozen=True)
class Prints(DDIM):
    def sample(self, model, x, levels, noise):
        print("printed by a sampler", flush=True)
        return super().sample(model, x, levels, noise)
"""


def harmful(folder: Path) -> tuple[Path, Path]:
    """A file of samplers, and that into which they write each call of theirs."""
    plugin, log = folder / "harmful.py", folder / "calls.txt"
    plugin.write_text(_PLUGIN.format(log=str(log).encode().hex()))
    log.touch()
    return plugin, log


@contextmanager
def cluster(nodes: int = 2) -> Iterator[Cluster]:
    """A head that works on nothing, and nodes of one CPU each."""
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": _SOON}
    made = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(nodes):
        made.add_node(num_cpus=1)
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def lose(made: Cluster) -> None:
    """The last node is gone, at once and with all that runs there."""
    made.remove_node(next(reversed(list(made.worker_nodes))), allow_graceful=False)


def eventually(happens: Callable[[], Any], seconds: float = 90.0) -> None:
    """Wait for something; AssertionError if it does not happen."""
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.05)


def is_idle(made: Cluster) -> bool:
    """Whether no CPU of a cluster is taken, and no worker of ours is left."""
    ray.init(made.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        every, free = ray.cluster_resources().get("CPU"), ray.available_resources().get("CPU")
    finally:
        ray.shutdown()
    return every == free and not workers()


def workers() -> list[int]:
    """The processes of workers."""
    return [each.pid for each in psutil.process_iter(["name"]) if "ray::Host" in (each.info["name"] or "")]
