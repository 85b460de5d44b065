"""The FLOP that a study's networks need, and the most that its device can do."""

import torch

from bench.environment import processor_name
from bench.running.resolve import Resolved
from bench.running.session import Session
from bench.timing.cost import Work
from bench.timing.flops import gflop_per_evaluation, vendor_peak_tflops
from models.loading.model import Model
from models.loading.zoo import load_model
from models.plugins.foreign import INTERRUPTIONS


class StudyFlops:
    """Of the models of a session, each counted once.

    Args:
        session: device and models.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._counted: dict[str, float | None] = {}

    def of(self, resolved: Resolved) -> Work:
        """The work of a cell's evaluations."""
        own, weaker = self._of(resolved.cell.model, resolved.model), None
        if resolved.weaker is not None and resolved.guidance.weaker is not None:
            weaker = self._of(resolved.guidance.weaker, resolved.weaker)
        each = [weaker if branch == "weaker" else own for branch in resolved.guidance.evaluated]
        known = [gflop for gflop in each if gflop is not None]
        mean = sum(known) / len(each) if len(known) == len(each) else None
        peak = vendor_peak_tflops(processor_name(self._session.device), resolved.mode.precision)
        return Work(own, weaker, mean, peak)

    def _of(self, name: str, model: Model) -> float | None:
        if name not in self._counted:
            self._counted[name] = None if model.card.is_exact else self._count(name)
        return self._counted[name]

    def _count(self, name: str) -> float | None:
        """On a plain copy on the CPU, None if that cannot run there: in a compiled network nothing can be counted."""
        cpu = torch.device("cpu")
        try:
            model = load_model(name, cpu, self._session.study.changes_of(name), images=1)
            denoiser = self._session.denoiser(model, 0, torch.zeros(1, dtype=torch.int64), None)
            level = model.schedule.level(0.5)
            return gflop_per_evaluation(lambda x: denoiser(x, level), model.card.state_shape, cpu)
        except INTERRUPTIONS:
            raise
        except BaseException:  # of an architecture that has kernels for a GPU only; no reason to lose the times
            return None
