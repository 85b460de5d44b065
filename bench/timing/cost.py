"""What a setting costs: its raw times, as they grow round by round, and the columns that a record has of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError

from bench.timing.bootstrap import median_interval, round_medians
from bench.timing.clock import Timed
from bench.timing.monitor import Watch, summed, verdict

Columns = dict[str, Any]

_OVERLAP = (
    "evaluations of the network overlap: the sampler makes them in several threads, and so takes more of the machine "
    "than the others; what goes by inside the network cannot be told"
)
_WATCHES = TypeAdapter(list[Watch])
_SWEEP = ("sweep_batches", "sweep_latency_s", "best_batch", "best_throughput_img_per_s")


class Work(NamedTuple):
    """Operations of a setting's network evaluations, each None if it is not known.

    Attributes:
        gflop: of one image's evaluation.
        weaker_gflop: of one by a guidance's weaker network; None without such a one, too.
        mean_gflop: of one on average.
        peak_tflops: the most that the device can do in a second in this precision.
    """

    gflop: float | None = None
    weaker_gflop: float | None = None
    mean_gflop: float | None = None
    peak_tflops: float | None = None


@dataclass
class Times:
    """The timed calls of a setting.

    Attributes:
        batch: images of a call.
        rounds: in which it was timed so far.
        first_call_s: of making ready for the first of them: first calls, capture.
        latency_s: of every call, by the host's clock.
        network_s: the part of each inside the network; empty where it cannot be told apart.
        device_s: of every call by CUDA events; empty on a CPU.
        peak_mem_mib: the most that a call took beyond what was in use before it; None where nothing counts it.
        held_mem_mib: what was in use before, at the most.
        watches, calls: what else went on in each round, and how many calls it had.
        others: latencies at other batch sizes, by batch; empty where a batch did not fit into the memory.
        decode_s: of decoding `decode_batch` latents, once a round; empty for models without a decoder.
    """

    batch: int
    rounds: int = 0
    first_call_s: float | None = None
    latency_s: list[float] = field(default_factory=list)
    network_s: list[float] = field(default_factory=list)
    device_s: list[float] = field(default_factory=list)
    peak_mem_mib: float | None = None
    held_mem_mib: float | None = None
    watches: list[Watch] = field(default_factory=list)
    others: dict[int, list[float]] = field(default_factory=dict)
    calls: list[int] = field(default_factory=list)
    decode_s: list[float] = field(default_factory=list)

    @classmethod
    def of_record(cls, record: Columns, batch: int, others: Sequence[int] = ()) -> "Times":
        """What an earlier run measured of a record, copied.

        Nothing if it is of another batch, lacks one of the further batches (all of a setting's times are of the same
        rounds), or its watches cannot be read.
        """
        rounds = record.get("timing_rounds")
        sweep = dict(zip(record.get("sweep_batches") or [], record.get("sweep_latency_s") or [], strict=True))
        if not rounds or record["timed_batch"] != batch or not {*others} <= {*sweep, batch}:
            return cls(batch)
        try:
            watches = _WATCHES.validate_python(record["timing_watches"])
        except ValidationError:
            return cls(batch)
        return cls(
            batch,
            rounds,
            record["first_call_s"],
            [*record["latency_s"]],
            [*(record.get("network_s") or [])],
            [*(record.get("device_s") or [])],
            record.get("peak_mem_mib"),
            record.get("held_mem_mib"),
            watches,
            {size: [*times] for size, times in sweep.items() if size != batch},
            [*record["timing_calls"]],
            [*(record.get("decode_s") or [])],
        )

    def add(self, calls: Sequence[Timed], watch: Watch, ready: Timed, decode_s: float | None = None) -> None:
        """Take the calls of a round at the main batch, what else went on, what making ready for them took, and what
        decoding takes.

        A graph takes its memory when it is captured; a call that is not captured takes in its first steps no more than
        in all of them.
        """
        self.first_call_s = ready.seconds if self.first_call_s is None else self.first_call_s
        self.latency_s += [call.seconds for call in calls]
        self.network_s += [call.network_seconds for call in calls if call.network_seconds is not None]
        self.device_s += [call.device_seconds for call in calls if call.device_seconds is not None]
        self.peak_mem_mib = _most(self.peak_mem_mib, ready.peak_mem_mib, *(call.peak_mem_mib for call in calls))
        self.held_mem_mib = _most(self.held_mem_mib, ready.held_mem_mib)  # in the calls a graph is held, too
        self.watches.append(watch)
        self.calls.append(len(calls))
        self.decode_s += [] if decode_s is None else [decode_s]

    def columns(self, nfe: float, work: Work) -> Columns:
        """Record columns.

        Args:
            nfe: network evaluations an image.
            work: of these.
        """
        low, high = median_interval(round_medians(self.latency_s, self.calls))
        q1, median, q3 = np.quantile(self.latency_s, (0.25, 0.5, 0.75)).tolist()
        evaluations = self.batch * nfe / median
        used = None
        if work.mean_gflop is not None and work.peak_tflops is not None:
            used = evaluations * work.mean_gflop / (1000.0 * work.peak_tflops)
        energy = summed(self.watches).energy_j
        found = verdict(self.latency_s, self.watches, self.device_s or None)
        note = "; ".join(filter(None, [_OVERLAP if self._overlaps else None, found])) or None
        return {
            "timing_rounds": self.rounds,
            "timing_calls": [*self.calls],
            "timed_batch": self.batch,
            "first_call_s": self.first_call_s,
            "latency_s": [*self.latency_s],
            "network_s": [*self.network_s] or None,
            "device_s": [*self.device_s] or None,
            "decode_s": [*self.decode_s] or None,
            "latency_s_median": median,
            "latency_s_q1": q1,
            "latency_s_q3": q3,
            "latency_s_ci_low": low,
            "latency_s_ci_high": high,
            "throughput_img_per_s": self.batch / median,
            "evaluations_per_s": evaluations,
            "gflop_per_evaluation": work.gflop,
            "guidance_gflop_per_evaluation": work.weaker_gflop,
            "arithmetic_fraction": used,
            "peak_mem_mib": self.peak_mem_mib,
            "held_mem_mib": self.held_mem_mib,
            "energy_j_per_image": None if energy is None else energy / (self.batch * len(self.latency_s)),
            "timing_valid": note is None,
            "timing_note": note,
            "timing_watches": [asdict(watch) for watch in self.watches],
            **self._inside(nfe),
            **self._sweep(),
        }

    @property
    def _overlaps(self) -> bool:
        """Whether evaluations take more time together than a call in which they are."""
        pairs = zip(self.latency_s, self.network_s, strict=False)
        return any(inside > total for total, inside in pairs)

    def _inside(self, nfe: float) -> Columns:
        """What went by inside the network, and what outside it."""
        if not self.network_s or self._overlaps:
            return dict.fromkeys(("network_s_median", "overhead_s_median", "eval_ms_median"))
        inside = float(np.median(self.network_s))
        return {
            "network_s_median": inside,
            "overhead_s_median": float(np.median(np.subtract(self.latency_s, self.network_s))),
            "eval_ms_median": 1000.0 * inside / nfe if nfe else None,
        }

    def _sweep(self) -> Columns:
        """The batch sizes beside one another, where there are several."""
        if not self.others:
            alone = float(np.median(self.latency_s)) if self.batch == 1 else None
            return {**dict.fromkeys(_SWEEP), "latency_1_s_median": alone}
        by_batch = dict(sorted({**self.others, self.batch: self.latency_s}.items()))
        medians = {size: float(np.median(times)) for size, times in by_batch.items() if times}
        best = max(medians, key=lambda size: size / medians[size])
        return {
            "sweep_batches": list(by_batch),
            "sweep_latency_s": [[*times] for times in by_batch.values()],
            "latency_1_s_median": medians.get(1),
            "best_batch": best,
            "best_throughput_img_per_s": best / medians[best],
        }


def _most(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)
