"""All images of a cell, a batch at a time: as many at once as fit into the memory."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.images import SampleCheck
from bench.purity.unchanged import ProcessState, unchanged
from bench.timing.memory import is_out_of_memory, release_cache
from bench.timing.trajectory import Trajectory


class Generation:
    """The images 0 ... `images` - 1 of a trajectory.

    Where a batch does not fit into the memory it is halved, and the images go on from where they were: an image is the
    same in every batch.

    Args:
        trajectory: what makes them.
        images: how many.
        batch: images at a time, at first.
        fixed: whether every batch has to have the same size: the last one is then filled up with images that nobody
            asked for, and those are left out again.

    Attributes:
        batch: images at a time, in the end.
        halvings: how often it was halved.
        drawn: images drawn so far, those left out again too.
    """

    def __init__(self, trajectory: Trajectory, images: int, batch: int, *, fixed: bool) -> None:
        self._trajectory, self._images, self._fixed, self._captured = trajectory, images, fixed, 0
        self.batch, self.halvings, self.drawn = min(batch, images), 0, 0
        self._check = SampleCheck(trajectory.device)

    def __iter__(self) -> Iterator[Tensor]:
        """Batches (N, C, H, W) in the network's value range, as the sampler returned them.

        Raises:
            torch.OutOfMemoryError: a single image does not fit.
            BadSamples: what the sampler returned is no image; on a GPU NaN and Inf are told at the end, so that nothing
                waits for the device before.
            Impure: a call changed the state of the process.
        """
        done = 0
        while done < self._images:
            samples = self._attempt(done)
            if samples is None:  # by now nothing holds what filled the memory any more
                self._halve()
                continue
            done += len(samples)
            yield samples
        self._check.finish()

    def _attempt(self, done: int) -> Tensor | None:
        """The next batch; None if it does not fit."""
        try:
            return self._draw(done)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or self.batch == 1:
                raise
            return None

    def _draw(self, done: int) -> Tensor:
        left = self._images - done
        end = done + (self.batch if self._fixed else min(self.batch, left))
        numbers = torch.arange(done, end, device=self._trajectory.device)  # a copy to a GPU would wait for it
        anew = self._captured != self.batch
        if anew:
            self._trajectory.compile(self.batch)
        with unchanged(self._trajectory.sampler, ProcessState()):
            if anew:
                self._trajectory.capture(torch.arange(self.batch, device=self._trajectory.device))
                self._captured = self.batch
            samples = self._trajectory(self._trajectory.start(numbers))
        self._check.add(samples, (len(numbers), *self._trajectory.shape), torch.float32)
        self.drawn += len(numbers)
        return samples[:left]

    def _halve(self) -> None:
        self._trajectory.release()
        release_cache()
        self.batch, self.halvings = (self.batch + 1) // 2, self.halvings + 1
