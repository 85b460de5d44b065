"""Rows and report to Weights & Biases, by its package: into a project, grouped by report, or into files (offline)."""

import io
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from bench.report.data.summary import Summary
from bench.report.export.entries import Entry, rows, whole
from bench.report.export.service import PROJECT, Sent, environment, package_missing, told
from models.common.errors import UsageError

_DIGEST = "sampler_bench_sha256"
_MARK = "sampler-bench.sha256"
"""A file in the folder of an offline run that is whole, with the digest of what it holds."""
_MOST_TAG = 64
_MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline"}


class Wandb:
    """Weights & Biases as its environment says: WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, WANDB_DIR.

    Args:
        folder: of the report, for its files where WANDB_DIR names no other.

    Raises:
        UsageError: the package or a key is missing, or nobody is there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(os.environ.get("WANDB_DIR") or folder).absolute()
        self._loaded = "wandb" in sys.modules
        mode = os.environ.get("WANDB_MODE", "online")
        if mode not in _MODES:
            raise UsageError(f"--format wandb: WANDB_MODE is {mode!r}; expected online or offline")
        self._offline = _MODES[mode] == "offline"
        with self._apart():
            try:
                import wandb
            except ImportError:
                raise package_missing("wandb", "wandb") from None
            if not self._offline and not _logged_in(wandb):
                raise UsageError(
                    "--format wandb: no key; log in with `wandb login`, set WANDB_API_KEY, or set WANDB_MODE=offline "
                    "for files that `wandb sync` sends later"
                )

    def send(self, summary: Summary) -> str:
        """Send rows and report; see `Service`."""
        import wandb

        report, sent = whole(summary), Counter[Sent]()
        with self._apart():
            try:
                for kind, entries in (("report", iter([report])), ("row", rows(summary))):
                    for entry in entries:
                        sent[self._run(wandb, entry, kind, report.name)] += 1
            except (wandb.Error, OSError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise UsageError(
                    f"--format wandb: {reason}; what it has is kept, and the same command goes on"
                ) from None
        project = os.environ.get("WANDB_PROJECT") or PROJECT
        files = f", as files in {self._folder / 'wandb'}, which `wandb sync` sends" if self._offline else ""
        return told("wandb", f"the project {project!r}{files}", sent)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """With what the package keeps for itself in a folder that is removed, and nothing said of this process.

        What it replaces of `sys` for good, to learn how the process ends, is put back.
        """
        replaced = sys.exit, sys.excepthook
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, environment(_own(folder)):
            try:
                yield
            finally:
                if not self._loaded and "wandb" in sys.modules:
                    sys.modules["wandb"].teardown()
                sys.exit, sys.excepthook = replaced

    def _run(self, wandb: Any, entry: Entry, kind: str, group: str) -> Sent:
        """Send an entry, unless it is there as it is."""
        kept = (self._folder / "wandb").glob(f"offline-run-*-{entry.id}") if self._offline else ()
        before = [each for each in kept if each.is_dir()]
        if any(_is_whole(each, entry.digest) for each in before):
            return "unchanged"
        for each in before:
            shutil.rmtree(each)  # of the same run, which comes again; in the same second it has the same folder
        run = self._begin(wandb, entry, kind, group, None if self._offline else "allow")
        resumed = bool(run.resumed)
        if resumed:
            same = run.summary.get(_DIGEST) == entry.digest
            run.finish()
            if same:
                return "unchanged"
            run = self._begin(wandb, entry, kind, group, None)  # what is no longer measured goes with the one before
        try:
            run.log(dict(entry.metrics) | self._pictures(wandb, run, entry.files))
            run.summary[_DIGEST] = entry.digest
        finally:
            run.finish()
        if self._offline:
            Path(run.dir).parent.joinpath(_MARK).write_text(entry.digest)
        return "changed" if resumed or before else "new"

    def _begin(self, wandb: Any, entry: Entry, kind: str, group: str, resume: str | None) -> Any:
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            id=entry.id,
            name=entry.name,
            notes=entry.about,
            group=group,
            job_type=kind,
            config={**entry.tags, **entry.parameters},
            tags=_tags(entry),
            resume=resume,
            reinit="create_new",
            settings=self._settings(wandb),
        )

    def _settings(self, wandb: Any) -> Any:
        return wandb.Settings(
            mode="offline" if self._offline else "online",
            root_dir=str(self._folder),
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
        )

    @staticmethod
    def _pictures(wandb: Any, run: Any, files: Mapping[str, bytes]) -> dict[str, Any]:
        """What is logged of files; those that are no pictures are saved with the run."""
        for name, content in files.items():
            if not name.endswith(".png"):
                path = Path(run.dir, name)
                path.write_bytes(content)
                run.save(str(path), base_path=run.dir, policy="now")
        names = [name for name in files if name.endswith(".png")]
        return {name.removesuffix(".png"): wandb.Image(Image.open(io.BytesIO(files[name]))) for name in names}


def _own(folder: str) -> dict[str, str]:
    """Where the package keeps what is its own, else in the home folder; and that it reports no errors."""
    places = ("CACHE", "CONFIG", "DATA", "ARTIFACT")
    return {f"WANDB_{name}_DIR": folder for name in places} | {"WANDB_ERROR_REPORTING": "false"}


def _logged_in(wandb: Any) -> bool:
    try:
        return bool(wandb.login(prompt=False))
    except (wandb.Error, OSError) as error:
        raise UsageError(f"--format wandb: {str(error).strip()}; or set WANDB_MODE=offline") from None


def _is_whole(folder: Path, digest: str) -> bool:
    mark = folder / _MARK
    return mark.is_file() and mark.read_text() == digest


def _tags(entry: Entry) -> list[str]:
    """Short words to filter by: hashes by their first digits."""
    hashes = [f"{name.removesuffix('_sha256')} {value[:8]}" for name, value in entry.tags.items() if "_sha256" in name]
    words = [str(entry.parameters[name]) for name in ("family", "mode") if name in entry.parameters]
    flags = [name for name in ("baseline", "pareto_nfe", "pareto_seconds") if entry.tags.get(name) == "true"]
    return [each[:_MOST_TAG] for each in dict.fromkeys([*words, *flags, *hashes]) if each]
