"""Weights of torch-fidelity's extractors: found, or downloaded, and checked before the library sees them.

torch-fidelity reads weights with a full unpickler, which runs whatever code a file holds. A file is therefore used only
if its sha256 is the official one or the one that the study names, and even then every `torch.load` is held to plain
tensors. CLIP's official files are TorchScript archives, which no such check can read: of those only the official ones,
whose whole hash torch-fidelity knows, are used.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

import torch
from torch_fidelity import feature_extractor_clip, feature_extractor_inceptionv3
from torchvision.models import VGG16_Weights

from bench.quality.downloads import patient, reason
from models.common.errors import UsageError
from models.common.files import expanded, sha256_of


class Official(NamedTuple):
    """The file that an extractor's authors published.

    Attributes:
        url: where it is.
        file_name: what torch-fidelity calls it in torch's hub folder.
        sha256: its first digits; all 64 where they are known.
    """

    url: str
    file_name: str
    sha256: str


class Weights(NamedTuple):
    """A checked file.

    Attributes:
        path: where it is.
        sha256: all of it.
        official: whether it is the authors' own.
    """

    path: Path
    sha256: str
    official: bool


def official_file(name: str) -> Official:
    """The official weights of Inception, VGG16 or a CLIP network, from the libraries' own constants."""
    if name in feature_extractor_clip.MODEL_METADATA:
        digest = feature_extractor_clip.MODEL_METADATA[name]["hash"]
        return Official(feature_extractor_clip.MODEL_URLS[name], f"{name}-{digest}.pt", digest)
    url = VGG16_Weights.IMAGENET1K_V1.url if name == "vgg16" else feature_extractor_inceptionv3.URL_INCEPTION_V3
    file_name = os.path.basename(urlparse(url).path)
    found = torch.hub.HASH_REGEX.search(file_name)  # torch's convention: name-<first digits of the sha256>.ext
    assert found is not None, f"the library's file name {file_name} has no hash"
    return Official(url, file_name, found.group(1))


def checked_weights(name: str, given: str | None, pinned: str | None) -> Weights:
    """The weights of an extractor, downloaded if there are none.

    Args:
        name: in torch-fidelity's registry.
        given: a file; None: the official one in torch's hub folder, downloaded if it is not there.
        pinned: sha256 that the file must have; None: the official one's.

    Raises:
        UsageError: there is no file and it cannot be downloaded, or it is another one.
    """
    official = official_file(name)
    path = checkpoints() / official.file_name if given is None else expanded(given)
    if given is None and not path.is_file():
        _download(name, official, path)
    if not path.is_file():
        raise UsageError(f"no weights of extractor {name!r} at {str(path)!r}; {_where(official)}")
    digest = sha256_of(path)
    is_official = digest.startswith(official.sha256)
    if pinned is not None and digest != pinned:
        raise UsageError(f"{path} has sha256 {digest}, but the study says {pinned} for extractor {name!r}")
    if not is_official and pinned is None:
        raise UsageError(
            f"{path} has sha256 {digest}, but that of the official weights of {name!r} begins with {official.sha256}: "
            "the file is damaged or another one. Download it again, or, if you mean this one, write "
            "sha256 = ... beside weights = ... in the study's extractor; with other weights no distance is called fid"
        )
    if not is_official and name in feature_extractor_clip.MODEL_METADATA:
        raise UsageError(
            f"{path} is not the official file of {name!r} (sha256 {official.sha256}); torch-fidelity reads CLIP from "
            "TorchScript archives, which can hold code, so no others are used"
        )
    return Weights(path, digest, is_official)


_FORCE, _FORCE_NOT = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


@contextmanager
def plain_tensors_only() -> Iterator[None]:
    """Holds every `torch.load` to weights_only=True, whatever its caller says."""
    before = {name: os.environ.pop(name, None) for name in (_FORCE, _FORCE_NOT)}
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        os.environ.pop(_FORCE)
        os.environ.update({name: value for name, value in before.items() if value is not None})


def checkpoints() -> Path:
    """Where torch keeps downloaded weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _download(name: str, official: Official, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with patient():  # writes beside the file, checks the hash, renames
            torch.hub.download_url_to_file(official.url, str(path), official.sha256, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash a RuntimeError
        raise UsageError(
            f"the weights of extractor {name!r} are not here and cannot be downloaded ({reason(error, official.url)}); "
            f"{_where(official)}"
        ) from None


def _where(official: Official) -> str:
    return (
        f"download {official.url} and put it into {checkpoints()}, or name it in the study: "
        'extractor = { name = "...", weights = "path" }'
    )
