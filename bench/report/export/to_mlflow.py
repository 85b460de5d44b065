"""Rows and report to MLflow, by its client: the runs of rows lie below that of the report.

A run that has changed takes the place of the one before, which is deleted as MLflow does that: it can be restored.
"""

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.report.data.summary import Summary
from bench.report.export.entries import Entry, rows, whole
from bench.report.export.service import PROJECT, Sent, environment, package_missing, told
from models.common.errors import UsageError

_ID, _DIGEST = "sampler_bench.id", "sampler_bench.sha256"
"""Tags by which a run is found again, and of what it holds."""
_MOST_TEXT, _MOST_AT_ONCE = 500, 100
"""Of a parameter's value, in older versions; and of parameters and tags in a request."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # which would write into the home folder
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # where the address is a folder, that was asked for
}


class Mlflow:
    """MLflow at the address that its environment names.

    Raises:
        UsageError: the package or the address is missing, or nobody is there.
    """

    def __init__(self) -> None:
        with environment(_QUIET | _PATIENCE):
            try:
                import mlflow.tracking
                from mlflow.tracking import MlflowClient
            except ImportError:
                raise package_missing("mlflow", "mlflow-skinny (or mlflow)") from None
            if not mlflow.tracking.is_tracking_uri_set():
                raise UsageError(
                    "--format mlflow: no tracking URI; set MLFLOW_TRACKING_URI to a server, such as "
                    "http://localhost:5000, or to a folder, such as file:///home/me/mlruns"
                )
            self._uri = str(mlflow.get_tracking_uri())
            with _named(self._uri):
                self._client: Any = MlflowClient(tracking_uri=self._uri)
                self._client.search_experiments(max_results=1)

    def send(self, summary: Summary) -> str:
        """Send rows and report; see `Service`."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        sent = Counter[Sent]()
        with environment(_QUIET | _PATIENCE), _named(self._uri):
            experiment = self._experiment(name)
            there = dict(self._there(experiment))
            parent, state = self._run(experiment, whole(summary), there, {})
            sent[state] += 1
            for entry in rows(summary):
                _, state = self._run(experiment, entry, there, {"mlflow.parentRunId": parent})
                sent[state] += 1
        return told("mlflow", f"the experiment {name!r} at {self._uri}", sent)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=self._artifacts()))

    def _artifacts(self) -> str | None:
        """Where files go of an experiment that is made now: None: where the server or the folder says.

        Those of a database would go into the working directory.
        """
        if match := re.fullmatch(r"sqlite:///(.+)", self._uri):
            return (Path(match[1]).resolve().parent / "mlartifacts").as_uri()
        if re.match(r"(postgresql|mysql|mssql)\b", self._uri):
            raise UsageError(
                "--format mlflow: files of a new experiment in a database would go into the working directory; make "
                "it first (mlflow experiments create -n NAME -l WHERE, and MLFLOW_EXPERIMENT_NAME), or use a server"
            )
        return None

    def _there(self, experiment: str) -> Iterator[tuple[str, tuple[str, str | None]]]:
        """The runs that were sent before, by id: their own, and the digest of what they hold if they are whole."""
        token: str | None = None
        while True:
            asked = f"tags.`{_ID}` LIKE 'sb-%'"
            page = self._client.search_runs([experiment], asked, max_results=1000, page_token=token)
            for run in page:
                yield run.data.tags[_ID], (run.info.run_id, run.data.tags.get(_DIGEST))
            token = page.token
            if not token:
                return

    def _run(
        self, experiment: str, entry: Entry, there: dict[str, tuple[str, str | None]], more: dict[str, str]
    ) -> tuple[str, Sent]:
        """Send an entry, unless it is there as it is: its run, and what became of that."""
        before, digest = there.get(entry.id, (None, None))
        if before is not None and digest == entry.digest:
            for name, value in more.items():  # the report may be another run now
                self._client.set_tag(before, name, value)
            return before, "unchanged"
        if before is not None:
            self._client.delete_run(before)  # which would keep what is no longer measured
        at = None if entry.finished is None else int(1000 * entry.finished)
        tags = {_ID: entry.id, **more}
        run = str(self._client.create_run(experiment, start_time=at, tags=tags, run_name=entry.name).info.run_id)
        self._log(run, entry, at or 0)
        if entry.files:
            with tempfile.TemporaryDirectory() as folder:
                for name, content in entry.files.items():
                    path = Path(folder, name)
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(content)
                self._client.log_artifacts(run, folder)
        self._client.set_tag(run, _DIGEST, entry.digest)
        self._client.set_terminated(run, "FINISHED", at)
        return run, "new" if before is None else "changed"

    def _log(self, run: str, entry: Entry, at: int) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(_key(name), value, at, 0) for name, value in entry.metrics.items()]
        params = [Param(_key(name), str(value)[:_MOST_TEXT]) for name, value in entry.parameters.items()]
        tags = [RunTag(_key(name), value) for name, value in entry.tags.items()]
        tags += [RunTag("mlflow.note.content", entry.about), RunTag("mlflow.source.name", PROJECT)]
        if "git_commit" in entry.tags:
            tags.append(RunTag("mlflow.source.git.commit", entry.tags["git_commit"]))
        for each in _parts(metrics):
            self._client.log_batch(run, metrics=each)
        for each in _parts(params):
            self._client.log_batch(run, params=each)
        for each in _parts(tags):
            self._client.log_batch(run, tags=each)


def _parts(entities: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (entities[start : start + _MOST_AT_ONCE] for start in range(0, len(entities), _MOST_AT_ONCE))


def _key(name: str) -> str:
    """A name that MLflow takes: of letters and digits, and no path that leads elsewhere."""
    return re.sub(r"[^A-Za-z0-9_\-. ]", "_", name).strip(". ")[:250] or "_"


@contextmanager
def _named(uri: str) -> Iterator[None]:
    """What MLflow raises as an error of usage that names the address."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, ImportError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        more = "" if uri.startswith(("http", "file")) else " (mlflow-skinny has no databases: pip install mlflow)"
        raise UsageError(
            f"--format mlflow: {uri!r} does not take it: {reason}{more}; what it has is kept, and the same command "
            "goes on"
        ) from None
