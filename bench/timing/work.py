"""The arithmetic that a study's networks need, and the most that its device can do."""

import torch

from bench.environment import device_name
from bench.resolve import Resolved
from bench.rig import Rig
from bench.timing.arithmetic import gflop_per_evaluation, vendor_peak_tflops
from models.foreign import INTERRUPTIONS
from models.zoo import load_model


class Work:
    """Of the models of a rig, each counted once.

    Args:
        rig: device and models.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._counted: dict[str, float | None] = {}

    def of(self, resolved: Resolved) -> tuple[float | None, float | None]:
        """GFLOP of an evaluation of one image, and the device's peak in TFLOP/s; each None if it is not known."""
        name = resolved.cell.model
        if name not in self._counted:
            self._counted[name] = None if resolved.model.card.is_exact else self._count(name)
        return self._counted[name], vendor_peak_tflops(device_name(self._rig.device), resolved.mode.precision)

    def _count(self, name: str) -> float | None:
        """On a plain copy on the CPU, None if that cannot run there: in a compiled network nothing can be counted."""
        cpu = torch.device("cpu")
        try:
            model = load_model(name, cpu, self._rig.study.changes_of(name))
            denoiser = self._rig.denoiser(model, 0, torch.zeros(1, dtype=torch.int64), None)
            level = model.schedule.level(0.5)
            return gflop_per_evaluation(lambda x: denoiser(x, level), model.card.state_shape, cpu)
        except INTERRUPTIONS:
            raise
        except BaseException:  # of an architecture that has kernels for a GPU only; no reason to lose the times
            return None
