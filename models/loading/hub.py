"""Checkpoints on the Hugging Face hub, `hf:owner/name[@revision]`, through huggingface_hub and its cache.

Configurations come first and weights only once it is clear that they can be used. The revision is resolved once, to a
commit, and everything after that is fetched from that commit.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.common.errors import UsageError
from models.common.files import sha256_of

PREFIX = "hf:"
CONFIGS = [
    "card.toml",
    "model_index.json",
    "config.json",
    "scheduler_config.json",
    "unet/config.json",
    "transformer/config.json",
    "vae/config.json",
    "vqvae/config.json",
    "scheduler/scheduler_config.json",
]
_LFS = re.compile("[0-9a-f]{64}")  # the cache names large files by their sha256,
_GIT = re.compile("[0-9a-f]{40}")  # and others by git's hash of them


@dataclass(frozen=True)
class HubFolder:
    """A commit (forty hexadecimal digits) of a repository (owner/name), and the cache's folder of what is fetched."""

    repository: str
    commit: str
    folder: Path

    @property
    def source(self) -> str:
        """Where the model comes from, exactly: hf:owner/name@commit."""
        return f"{PREFIX}{self.repository}@{self.commit}"


def fetch_configs(spec: str, configs: list[str] = CONFIGS) -> HubFolder:
    """The configurations of 'hf:owner/name[@revision]', a branch, tag or commit; main if none is given.

    Args:
        spec: which repository.
        configs: names of the files that are wanted, as far as they are there.

    UsageError if that cannot be read, or the repository cannot be had; says what to do.
    """
    repository, at, revision = spec.removeprefix(PREFIX).partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")) or (at and not revision):
        raise UsageError(f"cannot read {spec!r}; expected hf:owner/name or hf:owner/name@revision")
    folder = _snapshot(repository, revision or None, configs)
    return HubFolder(repository, folder.name, folder)


def fetch_weights(hub: HubFolder, patterns: list[str], fallback: list[str]) -> None:
    """Fetch what matches the patterns, or else the fallback; UsageError if there is neither, or no way to have it."""
    for wanted in filter(None, (patterns, fallback)):
        _snapshot(hub.repository, hub.commit, wanted)
        if any(match for pattern in wanted for match in hub.folder.glob(pattern)):
            return
    # offline, huggingface_hub takes any part of a snapshot that it has for the whole
    raise UsageError(
        f"{hub.source} has none of {', '.join([*patterns, *fallback])} in its cache, {hub.folder}: either the "
        "repository has no such weights (look at its page; another format has to be converted), or they were not "
        f"downloaded before the hub was out of reach: connect, or unset HF_HUB_OFFLINE. {_by_hand(hub.repository)}"
    )


def verify_cached(folder: Path, names: list[str]) -> None:
    """Compare files of a snapshot with the hash that the cache names them by; UsageError if one differs."""
    for name in names:
        blob = (folder / name).resolve()
        if _LFS.fullmatch(blob.name):
            kind, found = "sha256", sha256_of(blob)
        elif _GIT.fullmatch(blob.name):
            content = blob.read_bytes()
            kind, found = (
                "git hash",
                hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest(),
            )
        else:
            continue
        if found != blob.name:
            raise UsageError(
                f"{folder / name} is damaged: its {kind} is {found} and not the hub's, {blob.name}. Delete {blob}, and "
                "it is downloaded again"
            )


def _snapshot(repository: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download  # only where a model of the hub is asked for

    _end_waiting()
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except Exception as error:  # huggingface_hub's own, those of its HTTP client, and the file system's
        wanted = f"{PREFIX}{repository}" + (f"@{revision}" if revision else "")
        raise UsageError(f"cannot get {wanted} from the hub: {_reason(error)}. {_remedy(error, repository)}") from None


def _end_waiting() -> None:
    """Give each request of huggingface_hub that would wait for ever the limit of those that it does limit."""
    from huggingface_hub import get_session

    client = get_session()
    if _limited not in client.event_hooks["request"]:
        client.event_hooks["request"].append(_limited)


def _limited(request: Any) -> None:
    from huggingface_hub import constants

    said = request.extensions.get("timeout", {})
    limits = {kind: said.get(kind) or constants.HF_HUB_ETAG_TIMEOUT for kind in ("connect", "read", "write", "pool")}
    request.extensions = {**request.extensions, "timeout": limits}


def _is_silence(error: BaseException | None) -> bool:
    """Whether a server did not answer, by the names of the exceptions, whose classes are the HTTP client's."""
    return error is not None and ("Timeout" in type(error).__name__ or _is_silence(error.__cause__))


def _reason(error: Exception) -> str:
    from huggingface_hub import constants

    if _is_silence(error):
        return f"{constants.ENDPOINT} was asked for it and did not answer within {constants.HF_HUB_ETAG_TIMEOUT} s"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no further message'}".rstrip(".")


def _by_hand(repository: str) -> str:
    return (
        f"Or download it where you can (hf download {repository} --local-dir FOLDER) and give that folder as the model"
    )


def _remedy(error: Exception, repository: str) -> str:
    from huggingface_hub import constants, errors

    by_hand = _by_hand(repository)
    if isinstance(error, errors.GatedRepoError):
        return (
            f"Accept its conditions on its page while logged in, then set HF_TOKEN (or run: hf auth login). {by_hand}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return "Look up the branches, tags and commits on its page"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"Check the name; a private repository needs HF_TOKEN (or: hf auth login). {by_hand}"
    if isinstance(error, errors.HFValidationError):
        return "Expected hf:owner/name or hf:owner/name@revision"
    if _is_silence(error):
        return (
            "Try again later, or name another server in HF_ENDPOINT; HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT "
            f"are the seconds that are waited. {by_hand}"
        )
    if isinstance(error, OSError) and error.errno is not None:
        return f"It is kept in {constants.HF_HUB_CACHE}: make room there, or name another folder in HF_HOME. {by_hand}"
    return (
        "It is in no cache here (HF_HOME says where that is) and the hub was not reached: connect, or unset "
        f"HF_HUB_OFFLINE. {by_hand}"
    )
