"""The loop of every training: resumable after a kill, averaging the weights, seeded step by step.

Everything random in step n comes from generators seeded with (seed, n), dropout's global one as well, so no random
state is in a checkpoint. Losses are read back from the device every `read_every` steps, those of all of them at once.
"""

import copy
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from bench.training.checkpoint import differences, load_state, save_state, under_prefix, with_prefix
from bench.training.loss_curve import LossCurve
from bench.training.recipe import Recipe, dropout_seed
from models.common.errors import UsageError

Report = Callable[[int, float], None]
"""Called for every step, in order, with the number of steps done and the smoothed loss."""

_READ_EVERY = 20
"""Steps between readings of the loss on a device that a reading would wait for."""


class Reporter(Protocol):
    """Shows progress of one stage at a time."""

    def __call__(self, stage: str, steps: int) -> AbstractContextManager[Report]: ...


@dataclass(frozen=True)
class Start:
    """Weights that a training goes on from, with a fresh optimiser.

    Attributes:
        state, step, seconds, loss: as in `Trained`, of the training that made them.
        sha256: of the model that they are of: a checkpoint belongs to one start only.
    """

    state: dict[str, Tensor]
    step: int
    seconds: float
    loss: float
    sha256: str = ""


@dataclass(frozen=True)
class Keeping:
    """How a training is kept, watched and stopped; none of it changes its path.

    Attributes:
        checkpoint: folder to resume from when a state is there, and to save to.
        report: progress callback.
        identity: what else, besides the recipe, a checkpoint must agree in: the data, the network.
        shard_mib: the most that a file of a checkpoint may have.
        save_seconds: the longest time between checkpoints.
        deadline: on the clock of `time.monotonic`: no step begins after it.
        read_every: steps between readings of the loss, each of which waits for the device; None: 20 on CUDA, else 1.
        curve: where the loss is written to.
        watch: called after every step with the number of steps done and the averaged network, which it may run.
    """

    checkpoint: Path
    report: Report
    identity: dict[str, Any] = field(default_factory=dict)
    shard_mib: float = 1024.0
    save_seconds: float = math.inf
    deadline: float = math.inf
    read_every: int | None = None
    curve: LossCurve | None = None
    watch: Callable[[int, nn.Module], None] | None = None


@dataclass(frozen=True)
class Trained:
    """What a training gives.

    Attributes:
        state: the averaged (EMA) weights.
        loss: at the end, smoothed over about 100 steps.
        seconds: of training, over all runs that it took.
        steps: done; fewer than the recipe's where time ran out.
        began: the step where this training began from other weights, 0 if it did not.
    """

    state: dict[str, Tensor]
    loss: float
    seconds: float
    steps: int
    began: int = 0


def train(
    network: nn.Module, loss_of: Callable[[int], Tensor], recipe: Recipe, keep: Keeping, start: Start | None = None
) -> Trained:
    """Train a network in place, on the device that it is on; its averages are taken with its buffers.

    Args:
        network, recipe, keep: what, how, and how it is kept, watched and stopped.
        loss_of: the loss at a step, with random numbers that depend on (seed, step) alone.
        start: weights to begin from, unless there is a checkpoint.

    Raises:
        UsageError: the checkpoint belongs to another training or cannot be read; the loss is no longer finite.
    """
    device = next(network.parameters()).device
    cuda = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):  # the loop seeds the global generators, which are the caller's
        return _Training(network, recipe, keep, start).run(loss_of)


class _Training:
    def __init__(self, network: nn.Module, recipe: Recipe, keep: Keeping, start: Start | None) -> None:
        self.recipe, self.keep, self.start = recipe, keep, start
        self.network = network.train()
        self.optimiser = recipe.make_optimiser(network)
        self.began = self.step = start.step if start else 0
        self.smooth, seconds = (start.loss, start.seconds) if start else (0.0, 0.0)
        if start:
            network.load_state_dict(start.state)
        self.ema = copy.deepcopy(network).requires_grad_(False).eval()
        if (saved := self._resume()) is not None:
            self.step, self.began, self.smooth, seconds = saved
        self.saved_step = self.step
        self.saved_at = time.monotonic()
        self.clock = self.saved_at - seconds
        self.unread: list[Tensor] = []
        self.read_every = keep.read_every or (_READ_EVERY if next(network.parameters()).is_cuda else 1)
        if keep.curve:
            keep.curve.begin(self.step)

    def run(self, loss_of: Callable[[int], Tensor]) -> Trained:
        keep = self.keep
        while self.step < self.recipe.steps and time.monotonic() < keep.deadline:
            self._advance(loss_of)
            if len(self.unread) >= self.read_every or self._save_due():
                self._read()
            if self._save_due():
                self._save()
            self._show()
        self._read()
        if self.step > self.saved_step:
            self._save()
        state = {name: value.detach().clone() for name, value in self.ema.state_dict().items()}
        return Trained(state, self.smooth, time.monotonic() - self.clock, self.step, self.began)

    def _advance(self, loss_of: Callable[[int], Tensor]) -> None:
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * recipe.rate_at(self.step, self.began)
        torch.manual_seed(dropout_seed(recipe.seed, self.step))
        loss = loss_of(self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)
        self.optimiser.step()
        self._average()
        self.unread.append(loss.detach())
        self.step += 1

    @torch.no_grad()
    def _average(self) -> None:
        # AveragedModel.update_parameters would wait for the device to read its own count
        averaged = [*self.ema.parameters(), *self.ema.buffers()]
        current = [*self.network.parameters(), *self.network.buffers()]
        pairs = list(zip(averaged, current, strict=True))
        # counters of batch norm are no floating-point numbers, so they are only copied
        floats = [pair for pair in pairs if self.step > 0 and pair[1].is_floating_point()]
        for their, our in pairs:
            if self.step == 0 or not our.is_floating_point():
                their.copy_(our)
        if floats:
            theirs, ours = map(list, zip(*floats, strict=True))
            get_ema_multi_avg_fn(self.recipe.ema_at(self.step))(theirs, ours, 0)

    def _read(self) -> None:
        losses = torch.stack(self.unread).tolist() if self.unread else []
        first = self.step - len(losses)
        self.unread = []
        for step, loss in enumerate(losses, first + 1):
            if not math.isfinite(loss):
                raise UsageError(
                    f"the loss is {loss} at step {step}: the training diverged. Lower its learning rate; the "
                    f"checkpoint {self.keep.checkpoint} holds step {self.saved_step}"
                )
            self.smooth = loss if step == 1 else 0.99 * self.smooth + 0.01 * loss
            if self.keep.curve:
                self.keep.curve.add(step, loss, self.smooth, time.monotonic() - self.clock)
            self.keep.report(step, self.smooth)

    def _show(self) -> None:
        """Let others look at the averaged network; the time that they take is no training's."""
        if not self.keep.watch:
            return
        began = time.monotonic()
        self.keep.watch(self.step, self.ema)
        taken = time.monotonic() - began
        self.clock += taken
        if self.keep.curve:
            self.keep.curve.pause(taken)

    def _save_due(self) -> bool:
        at_step = self.step % self.recipe.checkpoint_every == 0 or self.step == self.recipe.steps
        late = time.monotonic() - self.saved_at > self.keep.save_seconds
        return self.step > self.saved_step and (at_step or late)

    def _save(self) -> None:
        moments = {
            f"optimiser.{at}.{name}": value
            for at, values in self.optimiser.state_dict()["state"].items()
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
        parts = with_prefix("network", self.network.state_dict()) | with_prefix("ema", self.ema.state_dict()) | moments
        note = {"step": self.step, "began": self.began, "loss": self.smooth, "seconds": time.monotonic() - self.clock}
        save_state(self.keep.checkpoint, parts, note | {"of": self._identity()}, self.keep.shard_mib)
        self.saved_step, self.saved_at = self.step, time.monotonic()

    def _identity(self) -> dict[str, Any]:
        origin = {"from": self.start.sha256} if self.start else {}
        return {"recipe": self.recipe.path(), **self.keep.identity, **origin}

    def _resume(self) -> tuple[int, int, float, float] | None:
        """Load the checkpoint if there is one: steps done, where they began, smoothed loss, seconds spent."""
        if (saved := load_state(self.keep.checkpoint)) is None:
            return None
        tensors, note = saved
        if note.get("of") != self._identity():
            theirs, ours = differences(note.get("of"), self._identity())
            raise UsageError(
                f"the checkpoint {self.keep.checkpoint} was made with {theirs}, but this training has {ours}; remove "
                "it to start afresh, or write elsewhere with --out"
            )
        self.network.load_state_dict(under_prefix("network", tensors))
        self.ema.load_state_dict(under_prefix("ema", tensors))
        self._restore_moments(under_prefix("optimiser", tensors))
        return note["step"], note["began"], note["loss"], note["seconds"]

    def _restore_moments(self, tensors: dict[str, Tensor]) -> None:
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            at, _, key = name.partition(".")
            # in the memory format of its parameter, which fused kernels ask for
            like = parameters[int(at)]
            kept = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
            state.setdefault(int(at), {})[key] = kept
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
