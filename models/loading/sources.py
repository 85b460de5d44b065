"""Where models come from: embedded in this package, a folder, or a repository on the hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from models.cards.folder_card import FolderCard
from models.common.errors import UsageError
from models.common.explain import shown
from models.common.files import expanded, refuse_programs
from models.common.program import here
from models.loading.hub import PREFIX, HubFolder, fetch_configs
from models.plugins.names import as_name
from models.plugins.registry import unknown

ZOO = Path(__file__).parents[1] / "zoo"
EXTRACTORS = Path(__file__).parents[1] / "extractors"
WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"
CARD = "card.toml"
PIPELINE = "model_index.json"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Source:
    """A model's files.

    Attributes:
        name: for people: an embedded model's name, or what the rule for names leaves of a folder's or repository's.
        folder: where the files are.
        origin: for records: the name of an embedded model, the folder as it was given, or hf:owner/name@commit.
        hub: the repository, whose weights may have to be fetched yet; None: all files are there.
    """

    name: str
    folder: Path
    origin: str
    hub: HubFolder | None = None

    @property
    def has_card(self) -> bool:
        """Whether a card.toml describes the model; if not, the folder is laid out as diffusers does."""
        return (self.folder / CARD).is_file()


def zoo_names() -> list[str]:
    """Names of the embedded models."""
    return sorted(path.parent.name for path in ZOO.glob(f"*/{CARD}"))


def extractor_names() -> list[str]:
    """Names of the embedded extractors that are no model's own."""
    return sorted(path.parent.name for path in EXTRACTORS.glob(f"*/{CARD}"))


def measuring_folder(name_or_path: str) -> Path | None:
    """The folder with a card, of an extractor or of a model, whose extractor and reference a name or path means.

    An embedded extractor comes before an embedded model of the same name. None: there is no such folder.
    """
    for root, names in ((EXTRACTORS, extractor_names()), (ZOO, zoo_names())):
        if name_or_path in names:
            return root / name_or_path
    folder = expanded(name_or_path)
    try:
        return folder if (folder / CARD).is_file() else None
    except OSError as error:  # it may not be looked into, or nothing can have so long a name
        raise UsageError(f"cannot look into the folder {shown(name_or_path)}: {error.strerror}") from None


def find_source(spec: str) -> Source:
    """The model of an embedded name, a path of a folder, or hf:owner/name[@revision].

    Raises:
        UsageError: there is no such model; says what there is.
    """
    if spec.startswith(PREFIX):
        hub = fetch_configs(spec)
        return Source(as_name(hub.repository.partition("/")[2], "model"), hub.folder, hub.source, hub)
    if spec in zoo_names():
        return Source(spec, ZOO / spec, spec)
    try:
        return _find_folder(spec)
    except OSError as error:
        raise UsageError(f"cannot look into the model folder {shown(spec)}: {error.strerror}") from None


def _find_folder(spec: str) -> Source:
    folder = expanded(spec)
    if folder.is_file():
        refuse_programs(folder)
        raise UsageError(
            f"{spec!r} is a file; a model is a folder: one of diffusers, or one with a {CARD} whose files name it"
        )
    if any((folder / name).is_file() for name in (CARD, PIPELINE, CONFIG, f"unet/{CONFIG}")):
        return Source(as_name(folder.resolve().name, "model"), folder, spec)
    if folder.is_dir():
        raise UsageError(
            f"the folder {spec!r} has no {CARD}; a model folder needs one, or a {PIPELINE} or {CONFIG} of diffusers"
        )
    if "/" not in spec:
        raise UsageError(f"{unknown('model', spec, zoo_names())} Nor is it a folder: {_start()}")
    hint = f" For a repository on the hub write {PREFIX}{spec}." if _REPOSITORY.fullmatch(spec) else ""
    started = "" if folder.is_absolute() else f": {_start()}"
    raise UsageError(
        f"there is no model folder {spec!r}{started}. Give one with --model, or one of: {', '.join(zoo_names())}.{hint}"
        " A study that ships says in its first lines how its model is made"
    )


def _start() -> str:
    try:
        return f"relative paths start at the current folder, {Path.cwd()}"
    except OSError:  # it was removed
        return "relative paths start at the current folder, which is not there any more"


def model_folder(name_or_path: str) -> Path:
    """The folder of an embedded model's name or of a path; UsageError if there is no card."""
    source = find_source(name_or_path)
    if not source.has_card:
        raise UsageError(f"the folder {name_or_path!r} has no {CARD}; a model folder needs one")
    return source.folder


def missing_file(card: FolderCard, path: Path) -> UsageError:
    """The error for a file that a card lists and that is not there."""
    again = f" or train the model again with: {here(card.training_command)}" if card.training_command else ""
    return UsageError(f"{path} is missing; the card of {card.name!r} lists it. Restore it{again}")
