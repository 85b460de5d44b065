"""From a name to the folder of a model and its card: embedded in this package, a folder, or a repository on the hub.

No weights are read and torch is not imported, so that listing models and planning studies starts at once.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from models.cards.card import Card, explain_card
from models.cards.changes import Changes, make_card
from models.cards.folder_card import ExtractorFolder, FolderCard
from models.common.errors import UsageError
from models.common.explain import shown
from models.common.files import expanded, read_toml, refuse_programs, sha256_of
from models.common.program import here
from models.loading.diffusers_folder import describe_folder
from models.loading.hub import PREFIX, HubFolder, fetch_configs
from models.loading.layout import CONFIG, PIPELINE, find_layout
from models.loading.text_folder import describe_text
from models.plugins.names import as_name
from models.plugins.registry import unknown

ZOO = Path(__file__).parents[1] / "zoo"
EXTRACTORS = Path(__file__).parents[1] / "extractors"
CARD = "card.toml"
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


def find_source(spec: str) -> Source:
    """The model of an embedded name, a folder, or hf:owner/name[@revision]; UsageError says what there is."""
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


def describe_model(spec: str, changes: Changes | None = None) -> Card:
    """The card of a model, or the one that follows from a folder's configurations; no weights are read.

    Args:
        spec: as `find_source` takes it; of a repository only the configurations are fetched.
        changes: what a study says about it instead of its own configuration.

    Raises:
        UsageError: there is no such model, or it cannot be used; says why and what to do.
    """
    return describe_source(find_source(spec), changes)


def describe_source(source: Source, changes: Changes | None) -> Card:
    """The card of a model whose files have been found; see `describe_model`."""
    if source.has_card:
        return load_card(source.folder, changes)
    if (layout := find_layout(source.folder)).text is not None:
        return describe_text(source.folder, layout, source.name, source.origin, changes)
    return describe_folder(source.folder, source.name, source.origin, changes)


def load_card(folder: Path, changes: Changes | None = None) -> Card:
    """Read and check a model's card, with a study's changes made; UsageError with the place of what is wrong."""
    content = read_toml(folder / CARD)
    if "kind" in content:
        raise UsageError(f'{folder} holds a feature extractor and no model; a study names it as extractor = "..."')
    return make_card(content, changes, str(folder / CARD))


def load_measuring_card(folder: Path) -> Card | ExtractorFolder:
    """Read and check the card of a folder with an extractor, which may be a model's; UsageError as `load_card`."""
    content = read_toml(folder / CARD)
    if "kind" not in content:
        return make_card(content, None, str(folder / CARD))
    try:
        return ExtractorFolder.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{folder / CARD}: {explain_card(error, content, ExtractorFolder)}") from None


def verify_files(folder: Path, card: FolderCard) -> None:
    """Compare every file of the card with its hash; UsageError for one that is missing or differs."""
    for name, expected in card.files.items():
        path = folder / name
        if not path.is_file():
            raise missing_file(card, path)
        if (actual := sha256_of(path)) != expected:
            raise UsageError(
                f"{path} has sha256 {actual}, but the card of {card.name!r} says {expected}: the file is damaged or "
                f"was changed. Restore it{_or_train(card, ',')}, or, if this is meant, put the new hash on the card: "
                f"{actual}"
            )


def missing_file(card: FolderCard, path: Path) -> UsageError:
    """The error for a file that a card lists and that is not there."""
    return UsageError(f"{path} is missing; the card of {card.name!r} lists it. Restore it{_or_train(card)}")


def _or_train(card: FolderCard, comma: str = "") -> str:
    return f"{comma} or train the model again with: {here(card.training_command)}" if card.training_command else ""
