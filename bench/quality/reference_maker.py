"""Makes reference statistics: what `run_bench.py reference DATA` does."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.environment import versions
from bench.outputs import make_room
from bench.quality.datasets import DataSet, check_data, open_data
from bench.quality.extractor import INCEPTION, Extractor
from bench.quality.extractors import Chosen, load_extractor
from bench.quality.features import Extraction, Outputs, Rows
from bench.quality.images import QUANTISER, size_of
from bench.quality.reference_cache import cached_path
from bench.quality.statistics import Moments
from models.common.errors import UsageError
from models.common.sealed import save_sealed

_SUBSET_SEED = 0


@dataclass(frozen=True)
class ReferenceOptions:
    """What `run_bench.py reference` is told.

    Attributes:
        data: a name of `bench.quality.datasets.DATA_SETS` or a folder of images.
        out: the file to write; None: the cache, where a study finds it by the data set's name.
        extractor: of torch-fidelity, an embedded one, a folder with one, or a model whose own is meant.
        weights: file of its weights; None: torch-fidelity's official ones.
        sha256: that the weights must have; None: the official one's.
        images: how many of them, drawn without replacement by a fixed seed and kept in order; None: all.
        resize: side that a folder's images are scaled to.
        features: how many images' features to keep, which KID, precision and recall need, drawn as `images` are; None:
            all, 0: none.
        batch: images the extractor sees at a time; None: its own number.
    """

    data: str
    out: Path | None = None
    extractor: str = INCEPTION
    weights: str | None = None
    sha256: str | None = None
    images: int | None = None
    resize: int | None = None
    features: int | None = None
    batch: int | None = None


def make_reference(
    options: ReferenceOptions,
    device: torch.device,
    advanced: Callable[[int, int], None],
    say: Callable[[str], None] = print,
) -> Path:
    """Compute and store the statistics of a data set.

    Args:
        options: of what, and where to.
        device: the extractor runs on.
        advanced: told images done and images in all.
        say: told how many images they are, and then what was left out.

    Returns:
        The file.

    Raises:
        UsageError: data or weights that cannot be had, images that the extractor does not take, a file that cannot be
            written.
    """
    if options.out is None and (options.images is not None or options.resize is not None):
        raise UsageError("statistics of a part or of resized images are not those of the data set; give a file with -o")
    if options.out is not None and options.out.suffix != ".safetensors":
        raise UsageError(f"cannot write {str(options.out)!r}: a reference is a .safetensors file; call it so")
    if options.batch is not None and options.batch < 1:
        raise UsageError(f"a batch of {options.batch} images; expected 1 or more")
    check_data(options.data)
    extractor = load_extractor(Chosen(options.extractor, options.weights, options.sha256), None, device)
    if options.batch is not None:
        extractor = dataclasses.replace(extractor, batch=options.batch)
    out = cached_path(options.data, extractor) if options.out is None else options.out
    data = _part(open_data(options.data, resize=options.resize), options.images)
    for line in data.words:
        say(line)
    extractor.check((), data.images.shape[1:])
    about = {name: str(version) for name, version in versions().items()}
    about |= {"data": data.name, "images_sha256": data.sha256(), "resize": str(options.resize or "none")}
    write_statistics(out, extractor, data.images, features=options.features, about=about, advanced=advanced)
    return out


def write_statistics(
    path: Path,
    extractor: Extractor,
    images: Tensor,
    *,
    features: int | None = None,
    about: Mapping[str, str],
    advanced: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Compute and store, atomically, the statistics of uint8 images (N, C, H, W).

    Args:
        path: of the file.
        extractor: gives the features.
        images: at least two.
        features: how many images' to keep; None: all, 0: none.
        about: goes into the file's metadata.
        advanced: told images done and images in all.

    Raises:
        UsageError: fewer than two images, or a file that cannot be written.
    """
    if len(images) < 2:
        raise UsageError(f"a reference needs at least two images, and there are {len(images)}")
    if features is not None and not 0 <= features <= len(images):
        raise UsageError(f"features of {features} images are to be kept, and there are {len(images)}")
    make_room(path)  # before what takes long
    kept = _some(len(images), len(images) if features is None else features)
    moments, rows = Moments(extractor.features, extractor.device), Rows(int(kept.sum()))

    def take(outputs: Outputs) -> None:
        found = outputs[extractor.layer]
        # without loss: every extractor computes in float32; not kept on the device, for data sets of any size
        rows.add(found.float().cpu()[kept[moments.count : moments.count + len(found)]])
        moments.add(found)
        advanced(moments.count, len(images))

    extraction = Extraction(extractor, take)
    for batch in images.split(extractor.batch):
        extraction.add(batch)
    extraction.finish()
    tensors = {"mean": moments.mean.cpu(), "covariance": moments.covariance.cpu()}
    tensors |= {"features": rows.all()} if kept.any() else {}
    metadata = {key: str(value) for key, value in extractor.columns.items()} | {"quantiser": QUANTISER}
    metadata |= {"extractor_batch": str(extraction.fitting.size)}
    metadata |= {"image_size": size_of(images.shape[2:]), "image_channels": str(images.shape[1])}
    try:
        save_sealed(path, tensors, metadata | dict(about) | {"count": str(moments.count)})
    except OSError as error:
        raise UsageError(f"cannot write {str(path)!r}: {error}") from None


def _part(data: DataSet, images: int | None) -> DataSet:
    """So many of a data set's images, without labels."""
    if images is None:
        return dataclasses.replace(data, labels=None)
    if not 2 <= images <= len(data.images):
        raise UsageError(f"images = {images}; data set {data.name!r} has {len(data.images):,}, and 2 are the least")
    return dataclasses.replace(data, images=data.images[_some(len(data.images), images)], labels=None)


def _some(count: int, number: int) -> Tensor:
    """Which (count,), bool, of all are drawn: `number` of them without replacement, always the same."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(_SUBSET_SEED))
    return torch.zeros(count, dtype=torch.bool).index_fill(0, order[:number], True)
