"""What a stage is told, and how it keeps what it finds."""

import math
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

from bench.sealed_json import write_json

_BEGAN = time.monotonic()
_IMPORTED_S = min(max(time.time() - psutil.Process().create_time(), 0.0), 30.0)


@dataclass(frozen=True)
class Job:
    """A stage's orders.

    Attributes:
        stage: its name.
        out: folder that comes home; the findings are `<stage>.json` in it.
        work: folder that stays, for what is large: the data, trainings, runs.
        data: folder of `cifar10-jpeg-{train,test}.tar.xz`; None: stand-ins are made.
        rehearse: whether budgets are tiny and the device is the CPU.
        box_s: seconds after which the stage is ended.
    """

    stage: str
    out: Path
    work: Path
    data: Path | None
    rehearse: bool
    box_s: float
    _found: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the stage computes."""
        return torch.device("cpu") if self.rehearse else torch.device("cuda", 0)

    @property
    def left_s(self) -> float:
        """Seconds until the stage is ended."""
        return self.box_s - age_s()

    def put(self, **found: Any) -> None:
        """Keep findings by name; numbers that are not finite as words, which JSON has no others for."""
        self._found.update({name: _finite(value) for name, value in found.items()})
        write_json(self.out / f"{self.stage}.json", self._found)

    def found(self, name: str) -> Any:
        """What was kept under a name."""
        return self._found[name]

    def append(self, name: str, row: dict[str, Any]) -> None:
        """Keep one more row of a list, and show it."""
        print(f"{name}: " + ", ".join(f"{key} {_short(value)}" for key, value in row.items()), flush=True)
        self.put(**{name: [*self._found.get(name, []), row]})

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Keep the error of a part, and go on with the next."""
        try:
            yield
        except Exception as error:
            self.append("errors", {"what": what, "error": f"{type(error).__name__}: {error}"[:500]})
            traceback.print_exc()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def age_s() -> float:
    """Seconds since this process was started, its imports included; of these at most 30, since clocks are set."""
    return _IMPORTED_S + time.monotonic() - _BEGAN


def share_caches(work: Path) -> None:
    """Keep what the compiler writes where the next stage finds it."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(work / "inductor"))
    os.environ.setdefault("TRITON_CACHE_DIR", str(work / "triton"))
