"""All images of a cell, a batch at a time: as many at once as fit into the memory."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from bench.purity.unchanged import ProcessState, unchanged
from bench.quality.images import SampleCheck
from bench.running.trajectory import Trajectory
from bench.timing.memory import Halving


class Generation:
    """Images of a trajectory.

    Where a batch does not fit into the memory it is halved, and the images go on from where they were: an image is the
    same in every batch.

    Args:
        trajectory: what makes them.
        images: their numbers.
        batch: images at a time, at first.
        fixed: whether every batch has to have the same size: the last one is then filled up with images that nobody
            asked for, and those are left out again.

    Attributes:
        fitting: images at a time, and how often they were halved.
        drawn: images drawn so far, those left out again too.
    """

    def __init__(self, trajectory: Trajectory, images: range, batch: int, *, fixed: bool) -> None:
        self._trajectory, self._images, self._fixed, self._captured = trajectory, images, fixed, 0
        self.fitting, self.drawn = Halving(batch, self._release, trajectory.split), 0
        self._check = SampleCheck(trajectory.device)

    def __iter__(self) -> Iterator[Tensor]:
        """Batches (N, C, H, W) in the network's value range, as the sampler returned them.

        Raises:
            torch.OutOfMemoryError: a single image does not fit.
            BadSamples: what the sampler returned is no image; on a GPU NaN and Inf are told at the end, so that nothing
                waits for the device before.
            Impure: a call changed the state of the process.
        """
        done = self._images.start
        while done < self._images.stop:
            samples = self.fitting(partial(self._draw, done))
            done += len(samples)
            yield samples
        self._check.finish()

    def again(self, images: Tensor, *, back: bool = False) -> Tensor:
        """Images of these numbers once more, as many at a time as fit into the memory, and of these in the reverse
        order if `back`; where batches have to have one size, others behind them fill them up.
        """
        numbers, made, done = images.to(self._trajectory.device), list[Tensor](), 0
        while done < len(numbers):
            made.append(self.fitting(partial(self._once_more, numbers[done:], back)))
            done += len(made[-1])
        self._check.finish()
        return torch.cat(made)

    def _once_more(self, numbers: Tensor, back: bool, batch: int) -> Tensor:
        """The first of these numbers."""
        asked = numbers[:batch]
        whole = asked
        if self._fixed:
            whole = torch.cat([asked, asked[-1] + torch.arange(1, batch + 1, device=asked.device)])[:batch]
        samples = self._call(whole.flip(0) if back else whole, len(whole))
        return (samples.flip(0) if back else samples)[: len(asked)]

    def _release(self) -> None:
        """Give back what was made for batches that did not fit, and have it made anew."""
        self._trajectory.release()
        self._captured = 0

    def _draw(self, done: int, batch: int) -> Tensor:
        left = self._images.stop - done
        end = done + (batch if self._fixed else min(batch, left))
        # a copy to a GPU would wait for it
        samples = self._call(torch.arange(done, end, device=self._trajectory.device), batch)
        self.drawn += len(samples)
        return samples[:left]

    def _call(self, numbers: Tensor, batch: int) -> Tensor:
        """The images of these numbers, of a batch of so many at most."""
        anew = self._captured != batch
        if anew:
            self._trajectory.compile(batch)
        with unchanged(self._trajectory.sampler, ProcessState()):
            if anew:
                self._trajectory.capture(torch.arange(batch, device=self._trajectory.device))
                self._captured = batch
            samples = self._trajectory(self._trajectory.start(numbers))
        self._check.add(samples, (len(numbers), *self._trajectory.shape), torch.float32)
        return samples
