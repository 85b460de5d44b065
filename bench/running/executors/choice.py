"""Which executor a run has, and the session that it is planned with."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models.common.errors import UsageError

if TYPE_CHECKING:
    from bench.record import ImageFiles
    from bench.running.executors.base import Desk, Executor
    from bench.running.executors.crew import Crew
    from bench.running.session import Session
    from bench.study.study import Study


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Where the cells of a run are measured. By default in this process; what they give does not depend on it.

    Attributes:
        isolate: In a process of its own, which may crash or hang (implied by a timeout).
        devices: Devices that share the work, such as "cuda:0,cuda:1" or "cpu,cpu", each with a process of its own;
            auto: every GPU of this machine.
        ray: Workers of a Ray cluster, one for each GPU, or CPUs of each machine: its address, or auto for the one that
            this machine belongs to.
        accelerator: Only GPUs of this kind, as Ray calls it, such as H100.
    """

    isolate: bool = False
    devices: str | None = None
    ray: str | None = None
    accelerator: str | None = None


def in_this_process(study: "Study", workers: Workers) -> bool:
    """Whether the cells of a study are measured here: nothing else is asked for, and nothing may have to be ended."""
    return workers == Workers() and study.timeout is None


@contextmanager
def carried_out(
    study: "Study", workers: Workers, batch: int | None, save_images: "ImageFiles | None" = None
) -> "Iterator[tuple[Session, Callable[[Desk], Executor]]]":
    """A session to plan a study with, and what makes the executor of a run of it; its workers are ended after that.

    Args:
        study: what is to be run.
        workers: where.
        batch: what "auto" stands for, where that was found out before.
        save_images: how all images of cells are saved; None: they are not.

    Raises:
        UsageError: something that is missing or damaged, here or where workers are; or workers that cannot be had.
    """
    from bench.running.session import Session

    if in_this_process(study, workers):
        from bench.running.executors.in_process import InProcess

        yield replace(Session.load(study, batch), save_images=save_images), InProcess
        return
    from bench.running.executors.remote import Remote

    crew = _crew(study, workers, batch, save_images)
    try:
        crew.start()
        processor = str(crew.about.environment["device_name"])
        session = replace(Session.load(study, crew.about.batch, processor), save_images=save_images)
        yield session, lambda desk: Remote(crew, desk)
    finally:
        crew.close()


def _crew(study: "Study", workers: Workers, batch: int | None, save_images: "ImageFiles | None") -> "Crew":
    """The workers, not started yet."""
    from bench.purity.plugins import loaded
    from bench.running.executors.crew import Crew
    from bench.running.executors.messages import Order
    from bench.running.executors.worker import Worker

    images = study.batch if isinstance(study.batch, int) else batch
    plugins = tuple((str(file), sha256) for file, sha256 in loaded().items())
    order = Order(study.model_dump_json(), study.device, images, plugins, save_images)
    if workers.ray is not None:
        if workers.isolate or workers.devices is not None:
            raise UsageError(
                "--ray has workers of its own, in processes of their own; leave out --isolate and --devices"
            )
        from bench.running.executors.cluster import crew_of

        return crew_of(order, workers.ray, workers.accelerator, study.threads, study.timeout)
    if workers.accelerator is not None:
        raise UsageError("--accelerator is a kind of GPUs of a Ray cluster; name one with --ray")
    from bench.running.executors.local import LocalSlot

    return Crew([LocalSlot(device, Worker) for device in _devices(study, workers)], order, timeout=study.timeout)


def _devices(study: "Study", workers: Workers) -> list[str]:
    """The devices of workers on this machine; UsageError for one that is not there, or too few processors for them."""
    import torch

    from bench.environment import pick_device

    named = [each.strip() for each in (workers.devices or study.device).split(",")]
    if workers.devices == "auto":
        named = [f"cuda:{n}" for n in range(torch.cuda.device_count())] or ["cpu"]
    found = [str(pick_device(name)) for name in named]
    on_cpu, threads = found.count("cpu"), study.threads or torch.get_num_threads()
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if on_cpu > 1 and on_cpu * threads > here:
        raise UsageError(
            f"{on_cpu} workers of {threads} threads each on {here} processors, which would slow each other down many "
            f"times over: give --threads {max(1, here // on_cpu)}, or fewer workers"
        )
    return found
