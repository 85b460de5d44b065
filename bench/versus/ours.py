"""Our side of the comparison, through the harness's own path; the one place that knows how that is called."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from pydantic import ValidationError
from torch import Tensor

from bench.quality.images import save_preview
from bench.record import SCHEMA, Record, RunFolder, cell_id
from bench.running.cell import Cells
from bench.running.fit import Fits
from bench.running.resolve import Resolved, resolve
from bench.running.session import Session
from bench.running.solution import Solutions
from bench.running.trajectory import Trajectory
from bench.study.metrics import Metric
from bench.study.plan import plan
from bench.study.study import Baseline, Block, Study, Timing
from bench.timing.capture import graphs_on
from bench.versus.peers import Peer, Setting
from models.common.errors import UsageError
from models.common.explain import explain
from models.networks.modes import Mode
from samplers import SAMPLERS


@dataclass(frozen=True)
class Ours:
    """A cell of ours, ready to be sampled or measured.

    Attributes:
        session: what it runs on; holds the model in the cell's mode.
        cell: the cell.
    """

    session: Session
    cell: Resolved

    @classmethod
    def load(
        cls, spec: str, samplers: list[str], mode: Mode, setting: Setting, metrics: list[Metric], images: int
    ) -> list["Ours"]:
        """Load a model in a mode, and what metrics need, for cells of so many images of some samplers, in their order.

        Raises:
            UsageError: there is no such model, sampler, metric or mode, or no such many steps.
        """
        steps, grid = [setting.steps], "trailing"
        try:
            study = Study(
                name="versus",
                title="versus",
                model=spec,
                images=images,
                batch=setting.batch,
                timing=Timing(repeats=0),
                device=str(setting.device),
                modes=[str(mode)],
                metrics=metrics,
                baseline=Baseline(sampler=samplers[0], grid=grid, steps=setting.steps),
                block=[Block(samplers=samplers, grids=[grid], steps=steps)],
            )
        except ValidationError as error:
            raise UsageError(f"what is to be compared: {explain(error)}") from None
        session = Session.load(study)
        cells = {cell.sampler: cell for cell in plan(study)}
        names = [SAMPLERS.spec_of(SAMPLERS.make(sampler)) for sampler in samplers]
        return [cls(session, resolve(cells[name], session)) for name in names]

    def like(self, peer: Peer) -> "Ours":
        """The same on the peer's levels, with x_0 clipped where the peer clips it."""
        cell = replace(self.cell.cell, clip=peer.clip is not None)
        return replace(self, cell=replace(self.cell, cell=cell, levels=peer.levels))

    def seeded(self, seed: int) -> "Ours":
        """The same with noise of another seed."""
        cell, identity = replace(self.cell.cell, seed=seed), self.cell.identity | {"seed": seed}
        return replace(self, cell=replace(self.cell, cell=cell, identity=identity))

    def trajectory(self, batch: int) -> Trajectory:
        """The complete `sample` call of the cell, made ready for batches of this size."""
        made = Trajectory(self.session, self.cell, graphs_on(self.session.device) if self.cell.mode.graph else None)
        made.prepare(torch.arange(batch))
        return made

    def from_noise(self, x: Tensor) -> Tensor:
        """Images in 0 ... 1 of a deterministic sampler from standard normal noise (N, C, H, W)."""
        schedule, levels = self.cell.model.schedule, self.cell.levels
        model = self.cell.model.denoiser(self.cell.clip)
        images = self.cell.sampler.sample(model, x * schedule.prior_std(levels[0]), levels, _no_noise)
        return (images / 2 + 0.5).clamp(0, 1)

    def bare(self, batch: int, evaluations: int) -> Callable[[], Tensor]:
        """So many evaluations of the network alone, on a batch of noise at the levels of the cell in turn."""
        network, noisy = self.cell.model.network, [level for level in self.cell.levels if not level.is_clean]
        x = torch.randn((batch, *self.cell.model.card.state_shape), device=self.session.device)
        levels = [noisy[n % len(noisy)] for n in range(evaluations)]

        def evaluate() -> Tensor:
            for at in levels:
                output = network(x, at)
            return output

        return evaluate

    def measured(self, folder: RunFolder) -> Record:
        """All of a quality cell as `bench.running` does it: images, features, metrics, preview, record."""
        name = cell_id(self.cell.identity)
        kept = Solutions(folder.solutions), Fits(folder.fits, self.session)
        cells = Cells(self.session, graphs_on(self.session.device), *kept)
        images = cells.generate(self.cell, range(self.cell.images), lambda images: None)
        found = cells.measure(self.cell, [images])
        record: Record = {"schema": SCHEMA, "id": name, "status": "ok", **self.cell.identity, **found.columns}
        save_preview(found.preview, folder.preview(name))
        folder.write(record)
        return record


def _no_noise(like: Tensor) -> Tensor:
    raise AssertionError("a deterministic sampler drew noise")
