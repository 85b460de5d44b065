"""Workers of a Ray cluster: an actor for each device, which keeps its models while it lives.

What dies with its machine is done again elsewhere, and so is, once, what ends its process; what raises is not. Ray
places actors where their device is, starts another one where one has died, and knows which machines there are.
"""

import logging
import math
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import psutil

from bench.running.executors.crew import Crew, Died, Lost, TookTooLong
from bench.running.executors.messages import Order
from bench.running.executors.worker import Worker
from models.common.errors import UsageError

try:
    import ray
    from ray._private import ray_constants
    from ray._private.services import canonicalize_bootstrap_address
    from ray.exceptions import (
        ActorUnavailableError,
        GetTimeoutError,
        OutOfMemoryError,
        RayActorError,
        RayError,
        RayTaskError,
    )
except ImportError:
    raise UsageError("--ray needs Ray: pip install 'sampler-bench[ray]', on every machine of the cluster") from None

Result = TypeVar("Result")

_ATTEMPTS = 2
"""At a cell that ends its worker's process."""
_NOTICED_S, _LEAVES_S, _REACHED_S, _LOOKS_S = 3.0, 2.0, 5.0, 0.5
"""Seconds in which Ray notices that a machine is gone whose worker is, that a worker is given to clear up, in which a
cluster is to be reached, and after which whoever waits looks whether the actor was ended."""
_LEFT = re.compile(r"sampler-bench-(\d+)-.*")


class Host:
    """An actor: the process of a worker."""

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._worker: Worker | None = None
        for folder in Path(tempfile.gettempdir()).glob("sampler-bench-*"):  # of actors that were killed
            found = _LEFT.fullmatch(folder.name)
            if found is not None and not psutil.pid_exists(int(found.group(1))):
                shutil.rmtree(folder, ignore_errors=True)

    def load(self, order: Order) -> str:
        """Load what is worked on; the machine's name in the cluster."""
        if self._worker is None:
            gpu = next(iter(ray.get_gpu_ids()), None)
            device = order.device if gpu is None else f"{order.device}:{gpu}"
            self._worker = Worker(order._replace(place=f"{socket.gethostname()} {device}"))
        return str(ray.get_runtime_context().get_node_id())

    def do(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What a method of the worker gives."""
        return function(self._worker, *arguments)


class RaySlot:
    """A device of a cluster.

    Args:
        options: of the actor: what it takes of a machine.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options, self._node, self._name = options, "", ""
        self._actor: Any = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def is_up(self) -> bool:
        return self._actor is not None

    def start(self, order: Order) -> None:
        if self._actor is not None:
            return
        self._actor = ray.remote(Host).options(**self._options).remote()
        self._node = self._got(self._actor.load.remote(order), None)  # for hours, where no machine has its device
        about = self.call(Worker.about)
        self._name = f"{about.host} {about.environment['device']}"

    def call(self, function: Callable[..., Result], /, *arguments: Any, timeout: float | None = None) -> Result:
        if self._actor is None:
            raise Lost("it was ended")
        result: Result = self._got(self._actor.do.remote(function, *arguments), timeout)
        return result

    def end(self) -> None:
        actor, self._actor = self._actor, None
        if actor is not None and ray.is_initialized():
            with suppress(RayError):
                ray.get(actor.do.remote(Worker.leave), timeout=_LEAVES_S)
            ray.kill(actor)

    def _got(self, reference: Any, timeout: float | None) -> Any:
        """What comes of it.

        Whether the actor was ended is looked at from time to time: Ray does not tell of one that was killed while its
        process was being started, until that is up.
        """
        until = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return ray.get(reference, timeout=max(0.0, min(_LOOKS_S, until - time.monotonic())))
            except GetTimeoutError:
                if self._actor is None:
                    raise Lost("it was ended") from None
                if time.monotonic() >= until:
                    self._kill()
                    raise TookTooLong(f"took longer than {timeout:g} s (timeout)") from None
            except RayError as error:
                self._failed(error)

    def _failed(self, error: RayError) -> NoReturn:
        """What an error of Ray's means."""
        try:
            raise error
        except RayTaskError as raised:
            raise raised.cause from None  # what it raised there
        except ActorUnavailableError as error:  # its machine does not answer, which Ray takes longer to call dead
            self._kill()
            raise Lost(str(error)) from None
        except RayActorError as error:
            ended, self._actor = self._actor is None, None
            if ended or self._is_lost():
                raise Lost(str(error)) from None
            raise Died("ended its process", f"{error}\n") from None
        except OutOfMemoryError as error:
            self._kill()
            raise Died("was ended by Ray, as it does where memory runs out", f"{error}\n") from None
        except RayError as error:  # what was on its way from a machine that is gone
            self._kill()
            raise Lost(str(error)) from None

    def _kill(self) -> None:
        actor, self._actor = self._actor, None
        if actor is not None:
            ray.kill(actor)

    def _is_lost(self) -> bool:
        """Whether the machine is gone, which is noticed a little later."""
        until = time.monotonic() + _NOTICED_S
        while time.monotonic() < until:
            if self._node not in {node["NodeID"] for node in ray.nodes() if node["Alive"]}:
                return True
            time.sleep(0.1)
        return False


def crew_of(order: Order, address: str, accelerator: str | None, threads: int | None, timeout: float | None) -> Crew:
    """The workers of a cluster, not started yet: as many as it has devices.

    Args:
        order: what they work on; where its device is auto, that is GPUs if the cluster has any.
        address: of the cluster; auto: that of this machine.
        accelerator: kind of GPUs, as Ray calls it; None: any.
        threads: of a worker on CPUs; None: all that the smallest machine has.
        timeout: seconds that a cell may take.

    Raises:
        UsageError: there is no such cluster, or it has no such devices.
    """
    closing = _connected(address)
    try:
        slots = _slots(order.device, accelerator, threads)
    except UsageError:
        closing()
        raise
    device = "cuda" if "num_gpus" in slots[0] else "cpu"
    return Crew(
        [RaySlot(options) for options in slots],
        order._replace(device=device),
        attempts=_ATTEMPTS,
        timeout=timeout,
        closing=closing,
    )


def _connected(address: str) -> Callable[[], None]:
    """Connect to a cluster; what ends that again: nothing, where this process was connected before."""
    if ray.is_initialized():
        there = ray.get_runtime_context().gcs_address
        if address not in ("auto", there):
            raise UsageError(
                f"this process is connected to the Ray cluster at {there!r}, not to {address!r}: give 'auto', or call "
                "ray.shutdown() before"
            )
        return lambda: None
    alone = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if alone else {}
    copied, ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV, False
    try:  # not from a copy of the working directory, which Ray sends to machines from under `uv run`
        _reach(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"no Ray cluster at {address!r} ({' '.join(str(error).split())}); start one with `ray start --head`, and "
            "`ray start --address=...` on the other machines, or name its address, as host:port. On one machine "
            "--devices needs no cluster"
        ) from None
    finally:
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = copied
        for number, handler in before.items():
            signal.signal(number, handler)
    return ray.shutdown


def _reach(address: str) -> None:
    """OSError or ValueError if nobody listens there: Ray would try for minutes, and tell of it in lines of its own."""
    if address != "auto" and re.fullmatch(r"[^/]+:\d+", address) is None:
        raise ValueError("expected host:port, or auto")
    host, _, port = str(canonicalize_bootstrap_address(address)).rpartition(":")
    socket.create_connection((host, int(port)), _REACHED_S).close()


def _slots(device: str, accelerator: str | None, threads: int | None) -> list[dict[str, Any]]:
    """What the actor of each device takes."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    named = (name.partition(":") for each in machines for name in each)
    kinds = sorted({kind for name, _, kind in named if name == "accelerator_type"})
    if accelerator is not None:
        machines = [each for each in machines if f"accelerator_type:{accelerator}" in each]
    gpus = sum(int(each.get("GPU", 0)) for each in machines)
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device {device!r} on a Ray cluster, which places workers itself; expected auto, cpu or cuda")
    if (device == "cuda" or accelerator is not None) and not gpus:
        of_kind = "" if accelerator is None else f" of the kind {accelerator!r}"
        raise UsageError(f"the Ray cluster has no GPU{of_kind}; it has kinds: {', '.join(kinds) or 'none'}")
    if gpus and device != "cpu":
        kind = {} if accelerator is None else {"accelerator_type": accelerator}
        return [{"num_gpus": 1, "num_cpus": 1, **kind}] * gpus
    cpus = [int(each["CPU"]) for each in machines if each.get("CPU", 0) >= 1]
    each = threads or min(cpus, default=1)
    count = sum(cpu // each for cpu in cpus)
    if not count:
        raise UsageError(f"no machine of the Ray cluster has the {each} CPUs of a worker; give fewer --threads")
    return [{"num_cpus": each}] * count
