"""From a cell to what is run: its model, sampler and levels, and its identity, all that decides its result."""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from bench.environment import text_versions, versions
from bench.fitting.flow import STEPS
from bench.quality.images import QUANTISER
from bench.running.code_hash import (
    architecture_sha256,
    code_sha256,
    code_sha256_of,
    extractor_code_sha256,
    grid_code_sha256,
    guidance_code_sha256,
)
from bench.running.session import Session
from bench.study.evaluations import declared_nfe
from bench.study.placement import place, unguidable
from bench.study.plan import Cell
from bench.study.study import Study
from models.common.errors import UsageError
from models.denoiser import Clip
from models.fitted import takes_fit
from models.grids import GRIDS, Grid
from models.grids.fitted import FittedGrid
from models.guidance import GUIDANCES, Guidance
from models.guidance.guided import has_halves
from models.loading.model import Model
from models.networks.modes import Mode
from models.plugins.plain import parameters_of
from models.schedule import Level
from samplers import Sampler
from samplers.about import about, declared_evaluations

DYNAMIC_QUANTILE = 0.995
"""Of an image's pixels, that dynamic thresholding keeps: the value of DPM-Solver's code and of diffusers."""


_PREDICTED = (
    *("model_sha256", "architecture_sha256", "clip", "labels", "device_name", "code_sha256"),
    *("guidance_parameters", "guidance", "guidance_model_sha256", "guidance_code_sha256"),
    "guidance_architecture_sha256",
)
"""And the versions of all packages: a network may be made by any of them."""


class Declared(NamedTuple):
    """What is known before a cell is run, an image.

    Attributes:
        calls: of the model by the sampler; None: it cannot say.
        nfe: network evaluations that these take.
    """

    calls: int | None
    nfe: int | None


@dataclass(frozen=True)
class Resolved:
    """A cell with its model, sampler and levels made.

    Attributes:
        cell: what was asked for.
        model: with its network in the cell's mode.
        sampler, levels: what is run.
        guidance: how outputs of the network are joined.
        weaker: the guidance's weaker model, in the cell's mode; None: it has none.
        identity: record columns; all that determines the result.
        grid: that the levels are of; one that is fitted has them changed. See `bench.running.fit`.
        fitted: what its sampler finds in `model.fitted`, once that is fitted; None: nothing.
    """

    cell: Cell
    model: Model
    sampler: Sampler
    levels: Sequence[Level]
    guidance: Guidance
    weaker: Model | None
    identity: dict[str, Any]
    grid: Grid
    fitted: Any = None

    @property
    def mode(self) -> Mode:
        """How the network is executed."""
        return self.model.mode

    @property
    def seed(self) -> int:
        """Of the noise and the labels."""
        return self.cell.seed

    @property
    def images(self) -> int:
        """How many are made."""
        return int(self.identity["images"])

    def at(self, images: int, solved: int) -> "Resolved":
        """The same cell with so many images, of which at most so many are compared with the flow's solution."""
        most = self.identity["solver_images"]
        changed = {"images": images, "solver_images": None if most is None else min(most, solved)}
        return replace(self, identity=self.identity | changed)

    @property
    def takes_fit(self) -> bool:
        """Whether something is fitted to its model before it is run."""
        return takes_fit(self.sampler) or takes_fit(self.grid)

    @property
    def has_halves(self) -> bool:
        """Whether its guidance evaluates the network in two halves that can be one batch."""
        return has_halves(self.guidance, self.model.card.null_label)

    def first_evaluations(self, batch: int, *, together: bool = True) -> list[tuple[Model, int, bool]]:
        """What a compiled network is compiled for: the model, images at a time, and whether with labels."""
        model, both = self.model, self.has_halves and together
        sizes = [2 * batch] if both and not self.guidance.varies else [batch, 2 * batch] if both else [batch]
        found = [(model, size, True) for size in sizes]
        if "unconditional" in self.guidance.evaluated and model.card.null_label == "none":
            found.append((model, batch, False))
        return found if self.weaker is None else [*found, (self.weaker, batch, True)]

    def declared(self) -> Declared:
        """What the sampler declares, and what that is under the guidance; it may raise whatever it likes."""
        name = self.cell.sampler
        return Declared(
            declared_evaluations(name, self.sampler, self.levels),
            declared_nfe(name, self.sampler, self.guidance, self.levels, self.model.schedule, self.fitted),
        )

    @property
    def predictions(self) -> dict[str, Any]:
        """The part of its identity that predictions of the network in plain float32 depend on."""
        return {key: each for key, each in self.identity.items() if key in _PREDICTED or key.startswith("version_")}

    @property
    def clip(self) -> Clip | None:
        """What predictions of x_0 are clamped to."""
        return _clip(self.cell, self.model)


def resolve(cell: Cell, session: Session) -> Resolved:
    """Make a cell's sampler and levels; UsageError if sampler, grid and model do not fit together."""
    model = session.model_of(cell)
    mode, weaker = model.mode, session.weaker_of(cell)
    sampler, levels = place(cell, model.card, session.subject.card)
    guidance, grid = GUIDANCES.make(cell.guidance), GRIDS.make(cell.grid)
    if (why := unguidable(cell.guidance, guidance, model.card, None if weaker is None else weaker.card)) is not None:
        raise UsageError(f"{cell}: {why}")
    parameters = parameters_of(sampler)
    identity = _shared(session) | {
        "model": model.card.name,
        "model_sha256": model.sha256,
        "architecture_sha256": architecture_sha256(model),
        "value_range": list(model.card.value_range),
        "labels": _label_rule(session, model),
        "clip": _clip(cell, model),
        "guidance": cell.guidance,
        "guidance_parameters": parameters_of(guidance),
        "guidance_model": None if weaker is None else weaker.card.name,
        "guidance_model_sha256": None if weaker is None else weaker.sha256,
        "guidance_architecture_sha256": None if weaker is None else architecture_sha256(weaker),
        "guidance_code_sha256": guidance_code_sha256(guidance),
        "mode": str(mode),
        "dtype": mode.precision,
        "channels_last": mode.channels_last,
        "compile": mode.compile,
        "graph": mode.graph,
        "sampler": cell.sampler,
        "sampler_parameters": parameters,
        "family": about(cell.sampler, sampler).family,
        "sampler_sha256": code_sha256_of(sampler),
        "grid": cell.grid,
        "grid_parameters": parameters_of(grid),
        "grid_code_sha256": grid_code_sha256(grid),
        "steps": cell.steps,
        "levels_sha256": None if isinstance(grid, FittedGrid) else _levels_sha256(levels),
        "seed": cell.seed,
    }
    if model.prompts is not None:
        identity |= {"prompts": len(model.prompts.texts), "prompts_sha256": model.prompts.sha256} | text_versions()
    return Resolved(cell, model, sampler, levels, guidance, weaker, identity, grid)


def _clip(cell: Cell, model: Model) -> Clip | None:
    if cell.clip == "dynamic":
        low, high = model.card.clip or model.card.value_range
        return low, high, DYNAMIC_QUANTILE
    return model.card.clip if cell.clip else None


def _shared(session: Session) -> dict[str, Any]:
    """What determines the results of all cells of a study alike."""
    study, extractor = session.study, session.extractor
    return {
        "subject_sha256": session.subject.sha256,
        "images": study.most_images,
        "batch": study.batch,
        "metrics": list(study.metrics),
        "solver_images": min(study.solver_images, study.most_images) if study.needs_solution else None,
        **_solver_steps(study),
        "device_name": session.processor,
        **{name: version for name, version in versions().items() if name != "version_sampler-bench"},
        **session.protocol,
        "quantiser": QUANTISER,
        "code_sha256": code_sha256(),
        "extractor_code_sha256": None if extractor is None else extractor_code_sha256(extractor.module),
    }


def _solver_steps(study: Study) -> dict[str, Any]:
    """Where they are not the usual ones, so that the names of older records stay."""
    usual = not study.needs_solution or study.solver_steps in (None, STEPS)
    return {} if usual else {"solver_steps": study.solver_steps}


def _levels_sha256(levels: Sequence[Level]) -> str:
    """Of the numbers that are sampled at, to the last bit: whatever code or library moves them."""
    return hashlib.sha256(b"".join(struct.pack(f"<{len(level)}d", *level) for level in levels)).hexdigest()


def _label_rule(session: Session, model: Model) -> str | None:
    """How the classes of images were chosen."""
    if model.card.classes is None:
        return None
    if model.card.prompts is not None:
        return "prompts"
    return session.study.labels if session.study.label is None else str(session.study.label)
