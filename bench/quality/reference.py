"""Reference statistics: what real data look like to an extractor.

They come from a model's folder, from a file that `run_bench.py reference` wrote (both safetensors, with the features
that KID, precision and recall need), or from an .npz of `mu` and `sigma`, as pytorch-fid, ADM and EDM publish them,
which says nothing about the extractor that made it. The statistics of a data set by name are those that `reference`
made before; nothing is computed behind a study's back.
"""

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.quality.datasets import ARCHIVE, DATA_SETS, holds_images, is_archive
from bench.quality.extractor import WITHOUT, Extractor
from bench.quality.frechet import Target, factor_of
from bench.quality.images import QUANTISER, size_of
from bench.quality.reference_cache import cached_path
from models.cards.card import Card
from models.common.errors import UsageError
from models.common.files import expanded, sha256_of
from models.common.program import called
from models.common.sealed import load_sealed
from models.loading.sources import CARD, extractor_names, load_measuring_card, measuring_folder, verify_files, zoo_names
from models.plugins.registry import unknown

REFERENCE = "reference.safetensors"
LEAST_FEATURES = {"kid": 2, "precision_recall": 4}
"""Images whose features metrics need that compare them one by one: a subset of two, and an image with three others."""
_AGAIN = "damage to it cannot be told; make it again"
_UNREADABLE = (
    *(OSError, ValueError, EOFError, AttributeError, NotImplementedError, zipfile.BadZipFile, zlib.error),
    *(lzma.LZMAError, tokenize.TokenError, SyntaxError, MemoryError),
)
"""What numpy raises for an archive that is damaged; an array too large for the machine is one, or may as well be."""


@dataclass(frozen=True)
class Reference:
    """Statistics of a reference data set.

    Attributes:
        name: of the data set.
        mean: (F,) float64.
        covariance: (F, F) float64, of the sample (ddof 1).
        count: of images; None: not said.
        features: (N, F) of the extractor's dtype, of all images or of some; None: only the statistics are there.
        sha256: of the file.
        note: what whoever reads a distance to it must know.
        image_size, image_channels: of its images, as `size_of` has it, and 1 of grey ones; None: not said.
    """

    name: str
    mean: Tensor
    covariance: Tensor
    count: int | None
    features: Tensor | None
    sha256: str
    note: str | None = None
    image_size: str | None = None
    image_channels: str | None = None

    @property
    def columns(self) -> dict[str, str | int | None]:
        """What a record says of it."""
        kept = None if self.features is None else len(self.features)
        return {
            "reference": self.name,
            "reference_sha256": self.sha256,
            "reference_count": self.count,
            "reference_features": kept,
        }

    @cached_property
    def target(self) -> Target:
        """The same, for many distances to it.

        Raises:
            UsageError: the covariance is not positive semidefinite.
        """
        factor, least = factor_of(self.covariance)
        if least < -1e-4:  # statistics in float32 stay above -1e-6
            raise UsageError(
                f"the covariance of reference {self.name!r} has a negative eigenvalue, {least:.1e} of the largest: it "
                "is no covariance matrix. Make the reference again"
            )
        return Target(self.mean, factor)

    def beside(self, shape: Sequence[int]) -> "Reference":
        """The same with a note where its images have another size than those (C, H, W) that it measures, or no colours.

        Extractors that scale their images take any size, and those of colours grey images, as three equal channels.
        """
        (channels, *size), its, notes = shape, self.image_channels, [self.note]
        said = f"reference {self.name!r} is of images of"
        if self.image_size not in (None, size_of(size)):
            notes.append(f"{said} {self.image_size}; those measured by it are {size_of(size)}")
        if its not in (None, str(channels)):
            notes.append(f"{said} {its} channel{'s' * (its != '1')}; those measured by it have {channels}")
        return replace(self, note="; ".join(filter(None, notes)) or None)


def load_reference(source: str | None, extractor: Extractor, metrics: Sequence[str] = ()) -> Reference:
    """A reference that fits an extractor and has what the metrics need.

    Args:
        source: a file (.safetensors, .npz), a model whose own is meant, or a data set; None: that of the model folder
            that the extractor belongs to.
        extractor: whose features are compared.
        metrics: of the study.

    Raises:
        UsageError: there is none, it cannot be read, belongs to another extractor, or lacks what a metric needs.
    """
    found = _found(source, extractor)
    if len(found.mean) != extractor.features:
        raise UsageError(
            f"reference {found.name!r} has {len(found.mean)} features, but extractor {extractor.name!r} gives "
            f"{extractor.features}; make one with: {_command(extractor)}"
        )
    _check_features(found, extractor, metrics)
    assert found.target  # fails here, before anything is sampled
    return found


def _check_features(found: Reference, extractor: Extractor, metrics: Sequence[str]) -> None:
    """UsageError if a reference has not the features that the metrics compare one by one."""
    kept = 0 if found.features is None else len(found.features)
    needed = {metric: least for metric, least in LEAST_FEATURES.items() if metric in metrics and kept < least}
    if not needed:
        return
    lacking, name = " and ".join(needed), found.name
    held = f"the features of {kept} images, and {max(needed.values())} are the least" if kept else "none"
    raise UsageError(
        f"{lacking} compare features one by one, of which reference {name!r} holds {held}; leave {lacking} out of the "
        f"study's metrics, or make a reference with features of more images: {_command(extractor)}"
    )


def _found(source: str | None, extractor: Extractor) -> Reference:
    if source is None:
        if extractor.folder is None:
            raise UsageError(
                f"extractor {extractor.name!r} has no reference of its own; name one in the study: reference = FILE, "
                f"an .npz with mu and sigma or what this writes: {_command(extractor)} -o FILE; {WITHOUT}"
            )
        return _of_folder(extractor.folder, extractor)
    path = expanded(source)
    if path.suffix.lower() in (ARCHIVE, ".safetensors") and not path.is_dir():
        if not path.is_file():
            made = Path(source).with_suffix(".safetensors")  # which `reference` writes, and no .npz
            raise UsageError(f"no reference file {source!r}; {_command(extractor)} -o {made} makes one")
        if is_archive(path):
            return _of_data(source, extractor) if holds_images(path) else _from_npz(path)
        return _from_safetensors(path, extractor, vouched=_is_of_a_card(path))
    folder = measuring_folder(source)
    if folder is not None and (folder == extractor.folder or source not in DATA_SETS):
        return _of_folder(folder, extractor)
    if source in DATA_SETS or path.is_dir():
        return _of_data(source, extractor)
    if path.exists():
        raise UsageError(
            f"{source!r} is there, but no reference: expected the .safetensors file that this writes, an {ARCHIVE} of "
            f"mu and sigma or of images, or a folder: {_command(extractor)} -o FILE"
        )
    known = dict.fromkeys([*zoo_names(), *extractor_names(), *DATA_SETS])
    raise unknown("reference (nor is it a file or folder)", source, known)


def data_of(folder: Path) -> str | None:
    """What data the reference in a folder with a card is of, by its own word or the card's; None: there is none."""
    card = load_measuring_card(folder)
    return load_sealed(folder / REFERENCE)[1].get("data", card.name) if (folder / REFERENCE).is_file() else None


def _differing(said: Mapping[str, str], expected: Mapping[str, str], name: str) -> str:
    """What a reference was made with, of what the study has otherwise, and what that has instead."""
    keys = [key for key, value in expected.items() if said.get(key) != value]
    by = ({**dict.fromkeys(("extractor", *expected), "unknown"), **said}, {**expected, "extractor": name})
    words = {"extractor_layer": "layer {extractor_layer!r}", "quantiser": "quantiser {quantiser!r}"}
    words |= {"extractor_sha256": "extractor {extractor!r} ({extractor_sha256:.8})"}
    theirs, ours = (", ".join(words[key].format_map(each) for key in keys) for each in by)
    return f"made with {theirs}; the study has {ours.removeprefix('extractor ')}"


def _command(extractor: Extractor) -> str:
    known = extractor.folder is None or measuring_folder(extractor.name) == extractor.folder
    return f"{called()} reference DATA --extractor {extractor.name if known else extractor.folder}"


def _of_data(source: str, extractor: Extractor) -> Reference:
    cached = cached_path(source, extractor)
    if not cached.is_file():
        raise UsageError(
            f"there are no statistics of data set {source!r} by extractor {extractor.name!r} yet, and they take long; "
            f"make them once with: {_command(extractor).replace('DATA', source)}"
        )
    return _from_safetensors(cached, extractor, source)


def _of_folder(folder: Path, extractor: Extractor) -> Reference:
    card = load_measuring_card(folder)
    if REFERENCE not in card.files:
        by = f" (that is measured with {card.measured_by!r})" if isinstance(card, Card) and card.measured_by else ""
        raise UsageError(
            f"the card of {card.name!r}{by} lists no {REFERENCE}, so no distance to real data can be measured; name a "
            f"reference in the study, or leave out the metrics that need one: {WITHOUT}"
        )
    verify_files(folder, card.model_copy(update={"files": {REFERENCE: card.files[REFERENCE]}}))
    return _from_safetensors(folder / REFERENCE, extractor, otherwise=card.name, vouched=True)


def _is_of_a_card(path: Path) -> bool:
    """Whether the card of a file's folder lists it, which then has been compared with its hash."""
    if not (path.parent / CARD).is_file():
        return False
    card = load_measuring_card(path.parent)
    listed = {name: digest for name, digest in card.files.items() if name == path.name}
    verify_files(path.parent, card.model_copy(update={"files": listed}))
    return bool(listed)


def _from_safetensors(
    path: Path, extractor: Extractor, name: str | None = None, otherwise: str | None = None, *, vouched: bool = False
) -> Reference:
    """What `run_bench.py reference` or a training wrote.

    Args:
        path: of the file.
        extractor: that it has to be made with.
        name: of the data set; None: as the file says, and `otherwise` where it does not.
        otherwise: None: as the file is called.
        vouched: whether its hash was compared with a card's, so that it needs no digest of its own.
    """
    tensors, said, sealed = load_sealed(path)
    missing = {"mean", "covariance"} - set(tensors)
    if missing:
        raise UsageError(f"{path} lacks {', '.join(sorted(missing))}; make it again with: {_command(extractor)}")
    features = tensors.get("features")
    _check(path, tensors["mean"], tensors["covariance"], features)
    # files made before layers were recorded hold the only one that there was
    metadata = {"extractor_layer": extractor.layer} | said
    expected = {"extractor_sha256": extractor.sha256, "extractor_layer": extractor.layer, "quantiser": QUANTISER}
    if any(metadata.get(key) != value for key, value in expected.items()):
        raise UsageError(f"{path} was {_differing(metadata, expected, extractor.name)}")
    count = metadata.get("count", "")
    if not count.isdigit() or (features is not None and len(features) > int(count)):
        held = "no" if features is None else f"{len(features)}"
        raise UsageError(
            f"{path} says it is of {count or 'no'} images and holds the features of {held}; make it again with: "
            f"{_command(extractor)}"
        )
    kept = None if features is None else features.to(extractor.dtype)
    mean, covariance = tensors["mean"].double(), tensors["covariance"].double()
    name = name or metadata.get("data", otherwise or path.stem)
    note = None if sealed or vouched else f"reference {path.name} has no digest, as older versions wrote it: {_AGAIN}"
    of = map(metadata.get, ("image_size", "image_channels"))
    return Reference(name, mean, covariance, int(count), kept, sha256_of(path), note, *of)


def _from_npz(path: Path) -> Reference:
    """Statistics as pytorch-fid, ADM and EDM publish them; other arrays in the file are not read."""
    if not zipfile.is_zipfile(path):  # numpy would take it for a pickle, and say how to open that
        raise UsageError(f"cannot read {path}: it is no .npz, an archive of arrays; damaged, or cut short?")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            there = list(arrays.files)
            found = {name: np.asarray(arrays[name]) for name in ("mu", "sigma") if name in there}
    except _UNREADABLE as error:
        raise UsageError(f"cannot read {path} as an .npz of plain arrays: {error}") from None
    if len(found) < 2:
        raise UsageError(f"{path} holds {', '.join(there) or 'nothing'}; expected arrays mu (F,) and sigma (F, F)")
    wrong = [name for name, array in found.items() if array.dtype not in (np.float32, np.float64)]
    if wrong:
        raise UsageError(f"{path}: {', '.join(wrong)} is {found[wrong[0]].dtype}; expected float32 or float64")
    mean, covariance = (torch.from_numpy(found[name]).double() for name in ("mu", "sigma"))
    _check(path, mean, covariance, None)
    note = f"reference {path.name} does not say by which extractor, from how many images or how rounded it was made"
    return Reference(path.stem, mean, covariance, None, None, sha256_of(path), note)


def _check(path: Path, mean: Tensor, covariance: Tensor, features: Tensor | None) -> None:
    """UsageError unless shapes belong together, all is finite, and the covariance symmetric."""
    size, parts = mean.numel(), [part for part in (mean, covariance, features) if part is not None]
    wide = features is None or (features.ndim == 2 and features.shape[1] == size)
    if mean.ndim != 1 or covariance.shape != (size, size) or not wide or size == 0:
        shapes = ", ".join(str(tuple(part.shape)) for part in parts)
        raise UsageError(f"{path}: shapes {shapes} do not belong together; expected (F,), (F, F) and (N, F) if any")
    if not all(bool(part.isfinite().all()) for part in parts):
        raise UsageError(f"{path} holds NaN or Inf; make it again")
    if not torch.allclose(covariance, covariance.T, rtol=1e-4, atol=1e-6 * float(covariance.abs().max())):
        raise UsageError(f"{path}: the covariance is not symmetric; make it again")
