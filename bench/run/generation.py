"""All images of a cell, a batch at a time: as many at once as fit into the memory."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from bench.purity.unchanged import ProcessState, unchanged
from bench.quality.images import SampleCheck
from bench.run.trajectory import Trajectory
from bench.timing.memory import Halving


class Generation:
    """The images `first` ... `images` - 1 of a trajectory.

    Where a batch does not fit into the memory it is halved, and the images go on from where they were: an image is the
    same in every batch.

    Args:
        trajectory: what makes them.
        images: the number after the last.
        batch: images at a time, at first.
        fixed: whether every batch has to have the same size: the last one is then filled up with images that nobody
            asked for, and those are left out again.
        first: the number of the first.

    Attributes:
        fitting: images at a time, and how often they were halved.
        drawn: images drawn so far, those left out again too.
    """

    def __init__(self, trajectory: Trajectory, images: int, batch: int, *, fixed: bool, first: int = 0) -> None:
        self._trajectory, self._images, self._fixed, self._captured = trajectory, images, fixed, 0
        self._first = first
        self.fitting, self.drawn = Halving(min(batch, images), trajectory.release), 0
        self._check = SampleCheck(trajectory.device)

    def __iter__(self) -> Iterator[Tensor]:
        """Batches (N, C, H, W) in the network's value range, as the sampler returned them.

        Raises:
            torch.OutOfMemoryError: a single image does not fit.
            BadSamples: what the sampler returned is no image; on a GPU NaN and Inf are told at the end, so that nothing
                waits for the device before.
            Impure: a call changed the state of the process.
        """
        done = self._first
        while done < self._images:
            samples = self.fitting(partial(self._draw, done))
            done += len(samples)
            yield samples
        self._check.finish()

    def _draw(self, done: int, batch: int) -> Tensor:
        left = self._images - done
        end = done + (batch if self._fixed else min(batch, left))
        numbers = torch.arange(done, end, device=self._trajectory.device)  # a copy to a GPU would wait for it
        anew = self._captured != batch
        if anew:
            self._trajectory.compile(batch)
        with unchanged(self._trajectory.sampler, ProcessState()):
            if anew:
                self._trajectory.capture(torch.arange(batch, device=self._trajectory.device))
                self._captured = batch
            samples = self._trajectory(self._trajectory.start(numbers))
        self._check.add(samples, (len(numbers), *self._trajectory.shape), torch.float32)
        self.drawn += len(numbers)
        return samples[:left]
