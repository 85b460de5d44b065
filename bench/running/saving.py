"""All images of a run's cells in files beside their records, where they are asked for."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.quality.saved_images import refuse_as, remove_images, save_images
from bench.record import IMAGE_FILES, RunFolder
from bench.running.resolve import Resolved
from bench.running.session import Session
from bench.running.stages import Stage


class Saving:
    """Saves the images of cells, as the session says.

    Of images that grow those of the last look that a setting had are kept, which hold those of the looks before.

    Args:
        session: of the run.
        folder: of its records.
        stages: of each look the cells by their names, in the same order.

    Raises:
        UsageError: images of a model cannot be saved so.
    """

    def __init__(self, session: Session, folder: RunFolder, stages: Sequence[Stage]) -> None:
        self._session, self._folder, self._kind = session, folder, session.save_images
        self._looks = {name: looks for looks in zip(*stages, strict=True) for name in looks}
        if self._kind is not None:
            for (name, _), model in session.models.items():
                refuse_as(self._kind, name, model.card.shape)

    def lacks(self, name: str) -> bool:
        """Whether images of a cell are asked for, and neither they nor, where they have grown since, more are there."""
        looks = self._looks[name]
        kind, later = self._kind, looks[looks.index(name) :]
        return kind is not None and not any(self._folder.images(each, kind).exists() for each in later)

    def save(self, name: str, resolved: Resolved, pixels: Tensor | None) -> None:
        """Write the images of a cell, if that is asked for; those of its earlier looks are removed."""
        if self._kind is None or pixels is None:
            return
        session, looks = self._session, self._looks[name]
        numbers = torch.arange(resolved.images, device=session.device)
        labels = session.labels(resolved.model, resolved.seed, numbers)
        path = self._folder.images(name, self._kind)
        save_images(pixels, None if labels is None else labels.cpu(), path, self._kind)
        for earlier in looks[: looks.index(name)]:
            for kind in IMAGE_FILES:
                remove_images(self._folder.images(earlier, kind))
