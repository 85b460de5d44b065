"""What samplers and grids of a run have fitted to its models: each once a model, guidance and clipping, and kept.

A fit is of the network in plain float32: all modes and seeds share it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.fitting.model import SEED, CountedModel
from bench.purity.unchanged import ProcessState, unchanged
from bench.running.code_hash import sampler_sha256
from bench.running.kept import Found, Kept
from bench.running.named_files import texts_in
from bench.running.resolve import Resolved
from bench.running.session import PLAIN, Session
from models.denoiser import Denoiser
from models.fitted import OWN, Fitted, Solver, takes_fit
from models.grids import Explicit
from models.grids.fitted import FittedGrid
from models.networks.execution import arithmetic
from models.networks.network import counted
from models.plugins.foreign import foreign
from models.plugins.plain import parameters_of
from samplers import SAMPLERS, Sampler

Columns = dict[str, Any]


class Fit(NamedTuple):
    """What was fitted.

    Attributes:
        found: tensors on the CPU, as what was fitted reads them.
        images: of noise that it took.
        nfe: network evaluations of the whole fit, of all its images.
        seconds: that it took when it was made.
    """

    found: Mapping[str, Tensor]
    images: int
    nfe: int
    seconds: float


_NOTHING = Fit({}, 0, 0, 0.0)


class Fits:
    """What is fitted to the models of a run, each once, kept in a folder.

    Args:
        folder: made when something is kept. A file that is damaged is fitted again.
        session: the models.
    """

    def __init__(self, folder: Path, session: Session) -> None:
        self._kept, self._session = Kept(folder), session

    def __call__(self, resolved: Resolved) -> tuple[Resolved, Columns]:
        """A cell with what its sampler and its grid take, and record columns of that: none if they take nothing.

        Returns:
            fit_images: images that the fit took.
            fit_nfe: network evaluations of the whole fit, whatever the number of cells that share it.
            fit_s: seconds of the whole fit.
            fitted_t: noisy times of the levels, where the grid was fitted.
        """
        if not resolved.takes_fit:
            return resolved, {}
        found = self.of(resolved)
        columns: Columns = {"fit_images": found.images, "fit_nfe": found.nfe, "fit_s": found.seconds}
        if takes_fit(resolved.sampler):
            resolved = replace(resolved, fitted=_read(resolved.cell.sampler, resolved.sampler, found))
        if isinstance(resolved.grid, FittedGrid):
            levels = resolved.grid.fitted(resolved.model.schedule, resolved.cell.steps, _of(found, _GRID))
            resolved = replace(resolved, levels=levels)
            columns["fitted_t"] = [level.t for level in levels if not level.is_clean]
        return resolved, columns

    def of(self, resolved: Resolved) -> Fit:
        """What is kept of a cell, or fitted now and kept."""
        content = _content(resolved)
        if (kept := self._kept.get(content)) is not None:
            said = kept.said
            return Fit(kept.tensors, int(said["images"]), int(said["nfe"]), float.fromhex(said["seconds"]))
        with arithmetic(PLAIN.precision), torch.inference_mode():
            found = self._fitted(resolved)
        said = {"images": str(found.images), "nfe": str(found.nfe), "seconds": found.seconds.hex()}
        self._kept.put(content, Found(found.found, said))
        return found

    def place(self, resolved: Resolved) -> Path | None:
        """The file of what a cell takes, which need not be there; None: it takes nothing."""
        return self._kept.place(_content(resolved))[0] if resolved.takes_fit else None

    def _fitted(self, resolved: Resolved) -> Fit:
        """Fit, whatever it takes: first what a sampler takes, then the grid."""
        grid, sampler = resolved.grid, resolved.sampler
        if not isinstance(grid, FittedGrid):
            return self._fit(resolved, sampler, _SAMPLER)
        own = self.of(_without_grid(resolved)) if takes_fit(sampler) else _NOTHING
        named, known = _solver_of(resolved), _NOTHING
        if takes_fit(named.sampler):
            known = self.of(_without_grid(named))
            named = replace(named, fitted=_read(named.cell.sampler, named.sampler, known))
        found = self._fit(named, grid, _GRID)
        shared = _content(_without_grid(named)) == _content(_without_grid(resolved))  # and counted once
        apart = _NOTHING if shared else known
        images, nfe, seconds = (sum(each) for each in zip(own[1:], apart[1:], found[1:], strict=True))
        return Fit({**own.found, **found.found}, int(images), int(nfe), float(seconds))

    def _fit(self, resolved: Resolved, thing: Any, part: str) -> Fit:
        """Fit one thing to the model of a cell."""
        start, model = time.perf_counter(), self._model(resolved)
        spec = resolved.cell.sampler if part == _SAMPLER else resolved.cell.grid
        with unchanged(spec, ProcessState(), self._session.weights), foreign(f"{spec}: fit()", type(thing).fit):
            found = thing.fit(model)
        seconds = time.perf_counter() - start
        return Fit({f"{part}{name}": each for name, each in found.items()}, thing.fit_images, model.nfe, seconds)

    def _model(self, resolved: Resolved) -> CountedModel:
        session, cell = self._session, resolved.cell
        plain, weaker = session.models[cell.model, PLAIN], session.weaker_of(cell, PLAIN)
        shape = plain.card.state_shape

        def make(numbers: Tensor) -> tuple[Denoiser, Callable[[], int]]:
            (network, own), *others = [counted(each.network, shape) for each in (plain, weaker) if each is not None]
            guided = plain.guided(resolved.guidance, others[0][0] if others else None, network)
            model = session.denoiser(plain, SEED, numbers, resolved.clip, guided, resolved.fitted)
            return model, lambda: own.images + sum(count.images for _, count in others)

        return CountedModel(
            plain.schedule,
            shape,
            plain.card.value_range,
            make,
            session.batch,
            session.device,
            cell.steps,
            _solver(resolved.sampler),
            resolved.guidance.interval if resolved.guidance.varies else (),
        )


_SAMPLER, _GRID = "sampler.", "grid."
"""What the names of kept tensors begin with."""


def _of(fit: Fit, part: str) -> dict[str, Tensor]:
    """The tensors of one thing that was fitted, by its own names."""
    return {name.removeprefix(part): each for name, each in fit.found.items() if name.startswith(part)}


def _read(spec: str, sampler: Any, fit: Fit) -> Any:
    """What a sampler finds in `model.fitted`."""
    with foreign(f"{spec}: read()", type(sampler).read):
        return sampler.read(_of(fit, _SAMPLER))


def _solver(sampler: Sampler) -> Solver:
    def no_noise(like: Tensor) -> Tensor:
        raise ValueError("it draws noise, and what is fitted is fitted to samplers that draw none")

    return lambda model, x, levels: sampler.sample(model, x, list(levels), no_noise)


def _solver_of(resolved: Resolved) -> Resolved:
    """The cell with the sampler that its grid is fitted to."""
    spec = resolved.grid.fits_sampler if isinstance(resolved.grid, FittedGrid) else None
    if spec is None or spec == OWN:
        return resolved
    return replace(resolved, cell=replace(resolved.cell, sampler=spec), sampler=SAMPLERS.make(spec))


def _without_grid(resolved: Resolved) -> Resolved:
    """The cell as far as its sampler goes, whose fit cells of all grids share."""
    return replace(resolved, grid=Explicit())


def _content(resolved: Resolved) -> dict[str, Any]:
    """All that a cell's fit depends on."""
    grid = resolved.grid
    content: dict[str, Any] = {"identity": resolved.predictions, "seed": str(SEED)}
    if takes_fit(resolved.sampler):
        content["sampler"] = _said(resolved, resolved.sampler)
    if isinstance(grid, FittedGrid):
        content["grid"] = {"type": type(grid).__qualname__, **parameters_of(grid)}
        content["grid_code"], content["steps"] = resolved.identity["grid_code_sha256"], resolved.cell.steps
        if grid.fits_sampler is not None:
            named = _solver_of(resolved)
            content["solver"] = _said(named, named.sampler, whole=True)
    return content


def _said(resolved: Resolved, sampler: Sampler, *, whole: bool = False) -> dict[str, Any]:
    """What a fit depends on of a sampler: the parameters that it says, or all of them where it is run."""
    parameters = parameters_of(sampler)
    code = sampler_sha256(type(sampler), tuple(texts_in(parameters)))
    wanted = sampler.fit_parameters if isinstance(sampler, Fitted) and not whole else None
    told = parameters if wanted is None else {name: parameters[name] for name in wanted}
    return {"type": type(sampler).__qualname__, "code": code, "parameters": told}
