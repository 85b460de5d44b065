"""Finished records go to MLflow and Weights & Biases: a run a row, once, and nothing where it was not asked for."""

import math
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from commands import Cli
from report_records import BASELINE, failed, record, write_preview, write_run
from wandb_files import read_run

from bench.record import Record
from bench.report import FORMATS, View, of_texts, summarise, write_report
from bench.report.export.entries import Entry, rows, whole
from models.common.errors import UsageError

_CHANGE: Record = {"fd_digits": 5.0, "recall": None}
_ODD = '../=cmd()"<script>\x1b[31m\u202e'
_CELLS: list[Record] = [
    record(*BASELINE, peak_mem_mib=None),
    record(seed=0, sampler_parameters={"eta": 0.5, "../x": [1]}),
    record(seed=1),
    record("heun", model=_ODD, family=_ODD, note=_ODD),
    failed("dpm++2m"),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three rows of four cells, with their first images, and a failure."""
    path = write_run(tmp_path / "quick", _CELLS)
    for n, each in enumerate(_CELLS[:4]):
        write_preview(path, each, [np.full((8, 8), 50 * n, dtype=np.uint8)] * each["preview_count"])
    return path


def _changed(run: Path, to: Path) -> Path:
    """The same run, but for a row."""
    write_run(to, [each | (_CHANGE if each["sampler"] == "heun" else {}) for each in _CELLS])
    for each in (run / "cells").glob("*.png"):
        (to / "cells" / each.name).write_bytes(each.read_bytes())
    return to


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a working folder of their own, and no word of either service."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    place = tmp_path / "elsewhere"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(place))
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of MLflow's file store, which is told of in the environment."""
    tracking = pytest.importorskip("mlflow.tracking")
    uri = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return tracking.MlflowClient(tracking_uri=uri)


def _runs(store: Any, name: str = "sampler-bench") -> list[Any]:
    return list(store.search_runs([store.get_experiment_by_name(name).experiment_id]))


def _of(found: list[Any], name: str) -> Any:
    (run,) = (each for each in found if each.info.run_name.startswith(name))
    return run


def test_a_row_is_told_whole_and_missing_values_are_left_out(run: Path) -> None:
    first, ddim, heun = rows(summarise([run]))
    assert first.tags["baseline"] == "true"
    assert ddim.name == "ddim on trailing at 10 steps"
    assert (ddim.parameters["steps"], ddim.parameters["sampler.eta"]) == (10, 0.5)
    assert ddim.metrics["fd_digits"] == pytest.approx((_CELLS[1]["fd_digits"] + _CELLS[2]["fd_digits"]) / 2)
    assert ddim.metrics["nfe"] == 10.0
    assert ddim.tags["model_sha256"] == _CELLS[1]["model_sha256"]
    assert "peak_mem_mib" not in first.metrics
    assert all(math.isfinite(value) for each in (first, ddim, heun) for value in each.metrics.values())
    assert not {*ddim.metrics} & {*ddim.tags}
    assert "\x1b" not in "".join([heun.name, heun.about, *heun.tags.values(), *map(str, heun.parameters.values())])
    assert len({each.id for each in (first, ddim, heun)}) == 3


def test_a_row_keeps_its_id_whatever_is_measured_and_its_digest_tells_that(run: Path, tmp_path: Path) -> None:
    def ddim(path: Path) -> Entry:
        return next(each for each in rows(summarise([path])) if each.name.startswith("ddim"))

    again = write_run(tmp_path / "again" / "quick", [each | {"fd_digits": 1.0} for each in _CELLS[:2]])
    assert ddim(again).id == ddim(run).id
    assert ddim(again).digest != ddim(run).digest
    assert ddim(run).digest == ddim(run).digest


def test_a_selection_and_another_s_run_of_the_same_name_have_reports_of_their_own(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other" / "quick", [each | {"device_name": "another"} for each in _CELLS])
    chosen = summarise([run], View(selection=of_texts("ddim", ())))
    assert len({whole(each).id for each in (summarise([run]), chosen, summarise([other]))}) == 3


def test_the_report_has_figures_tables_and_what_failed(run: Path) -> None:
    found = whole(summarise([run]))
    assert (found.metrics["rows"], found.metrics["failed"]) == (3.0, 1.0)
    assert "BadSamples" in found.tags["failed_1"]
    assert {"table.md", "figures/quality_vs_nfe.png", "figures/images.png"} <= {*found.files}


def test_mlflow_has_a_run_a_row_with_parameters_metrics_tags_and_files(run: Path, store: Any, elsewhere: Path) -> None:
    said = list[str]()
    assert write_report([run], ["mlflow"], tell=said.append) == []
    found = _runs(store)
    kinds = [each.data.tags["kind"] for each in found]
    assert (kinds.count("row"), kinds.count("report")) == (3, 1)
    assert "3 rows and the report in the experiment 'sampler-bench' at file://" in said[0]
    ddim, report = _of(found, "ddim on trailing at 10 steps"), _of(found, "report of quick")
    expected = next(each for each in rows(summarise([run])) if each.name.startswith("ddim"))
    assert ddim.data.metrics == expected.metrics
    assert (ddim.data.params["steps"], ddim.data.params["sampler.eta"]) == ("10", "0.5")
    assert ddim.data.tags["sampler_sha256"] == _CELLS[1]["sampler_sha256"]
    assert ddim.data.tags["mlflow.parentRunId"] == report.info.run_id
    assert ddim.info.status == "FINISHED"
    local = store.download_artifacts(ddim.info.run_id, "preview.png", str(elsewhere))
    assert Path(local).read_bytes() == (run / "cells" / f"{_CELLS[1]['id']}.png").read_bytes()
    Path(local).unlink()
    assert "figures/quality_vs_nfe.png" in [each.path for each in store.list_artifacts(report.info.run_id, "figures")]
    assert list(elsewhere.iterdir()) == []
    assert not list(run.glob("table.*"))


def test_mlflow_has_no_row_twice_and_takes_what_changed(run: Path, store: Any, tmp_path: Path) -> None:
    said = list[str]()
    write_report([run], ["mlflow"], tell=said.append)
    before = {each.info.run_id: each.data.metrics for each in _runs(store)}
    write_report([run], ["mlflow"], tell=said.append)
    assert {each.info.run_id: each.data.metrics for each in _runs(store)} == before
    assert "(4 new)" in said[0]
    assert "(4 unchanged)" in said[1]
    write_report([_changed(run, tmp_path / "again" / "quick")], ["mlflow"])
    after = {each.info.run_id for each in _runs(store)}
    assert (len(after), len(after & set(before))) == (4, 2)  # a row has changed, and so have the report's figures
    parents = {each.data.tags.get("mlflow.parentRunId") for each in _runs(store) if each.data.tags["kind"] == "row"}
    assert parents == {_of(_runs(store), "report of quick").info.run_id}
    assert _of(_runs(store), "heun").data.metrics["fd_digits"] == 5.0
    assert "recall" not in _of(_runs(store), "heun").data.metrics


def test_mlflow_goes_on_where_it_was_interrupted(run: Path, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient

    log, calls = MlflowClient.log_artifacts, list[str]()

    def fails(self: Any, run_id: str, *given: Any) -> None:
        calls.append(run_id)
        if len(calls) == 2:
            raise OSError("the connection was lost")
        log(self, run_id, *given)

    monkeypatch.setattr(MlflowClient, "log_artifacts", fails)
    with pytest.raises(UsageError, match="the connection was lost; what it has is kept, and the same command goes on"):
        write_report([run], ["mlflow"])
    said = list[str]()
    write_report([run], ["mlflow"], tell=said.append)
    assert "(2 new, 1 changed, 1 unchanged)" in said[0]
    assert len(_runs(store)) == 4


def test_mlflow_takes_the_experiment_that_the_environment_names(
    run: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    write_report([run], ["mlflow"])
    assert len(_runs(store, "mine")) == 4
    assert store.get_experiment_by_name("sampler-bench") is None


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights & Biases into files."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    found = [read_run(each) | {"at": each} for each in (folder / "wandb").glob("offline-run-*")]
    assert len({each["id"] for each in found}) == len(found)
    return {each["name"].partition(" ")[0]: each for each in found}


@pytest.mark.usefixtures("offline")
def test_wandb_has_a_run_a_row_with_config_metrics_tags_and_pictures(run: Path, elsewhere: Path) -> None:
    said = list[str]()
    write_report([run], ["wandb"], tell=said.append)
    found = _files(run)
    assert [found[name]["kind"] for name in ("report", "ddpm", "ddim", "heun")] == ["report", "row", "row", "row"]
    assert len(found) == 4
    assert "3 rows and the report in the project 'sampler-bench', as files in " in said[0]
    ddim = found["ddim"]
    expected = next(each for each in rows(summarise([run])) if each.name.startswith("ddim"))
    (logged,) = ddim["logged"]
    assert {name: logged[name] for name in expected.metrics} == expected.metrics
    assert not any(value is None or value != value for value in logged.values())
    assert (ddim["config"]["steps"], ddim["config"]["sampler.eta"]) == (10, 0.5)
    assert ddim["config"]["model_sha256"] == _CELLS[1]["model_sha256"]
    assert f"model {_CELLS[1]['model_sha256'][:8]}" in ddim["tags"]
    assert (ddim["group"], ddim["project"]) == ("report of quick", "sampler-bench")
    assert logged["preview/_type"] == "image-file"
    (preview,) = (ddim["at"] / "files" / "media" / "images").glob("preview*.png")
    assert preview.is_file()
    assert found["report"]["logged"][0]["figures/quality_vs_nfe/_type"] == "image-file"
    assert (found["report"]["at"] / "files" / "table.md").is_file()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.usefixtures("offline")
def test_wandb_leaves_the_process_as_it_was(run: Path) -> None:
    before = sys.exit, sys.excepthook
    write_report([run], ["wandb"])
    assert (sys.exit, sys.excepthook) == before


@pytest.mark.usefixtures("offline")
def test_wandb_has_no_row_twice_and_takes_what_changed(run: Path, tmp_path: Path) -> None:
    said = list[str]()
    for _ in range(2):
        write_report([run], ["wandb"], tmp_path / "out", tell=said.append)
    assert ("(4 new)" in said[0], "(4 unchanged)" in said[1]) == (True, True)
    before = {name: each["at"] for name, each in _files(tmp_path / "out").items()}
    other = _changed(run, tmp_path / "again" / "quick")
    write_report([other], ["wandb"], tmp_path / "out", tell=said.append)
    after = _files(tmp_path / "out")
    assert "(2 changed, 2 unchanged)" in said[2]  # of a row, and so of the report's figures
    assert after["heun"]["logged"][0]["fd_digits"] == 5.0
    assert {name for name, each in after.items() if each["at"] == before[name]} == {"ddpm", "ddim"}


class _Server:
    """Stands for the package with a server behind it: a run that is begun without `resume` replaces that of its id."""

    class Error(Exception):
        """What the package raises."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}

    def login(self, prompt: bool) -> bool:
        assert not prompt
        return True

    def teardown(self) -> None:
        pass

    def Settings(self, **given: Any) -> dict[str, Any]:  # noqa: N802
        return given

    def Image(self, image: Any) -> Any:  # noqa: N802
        return image.size

    def init(self, *, id: str, resume: str | None, settings: dict[str, Any], **given: Any) -> Mock:
        assert settings["mode"] == "online"
        resumed = id in self.runs
        if not resumed or resume is None:
            self.runs[id] = given | {"logged": [], "summary": {}}
        folder = Path(settings["root_dir"], "wandb", id)
        folder.mkdir(parents=True, exist_ok=True)
        kept = self.runs[id]
        run = Mock(resumed=resumed and resume is not None, dir=str(folder), summary=kept["summary"])
        run.log.side_effect = kept["logged"].append
        return run


def test_wandb_has_no_row_twice_on_a_server_either(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, said = _Server(), list[str]()
    monkeypatch.setitem(sys.modules, "wandb", server)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    for path in (run, run, _changed(run, tmp_path / "again" / "quick")):
        write_report([path], ["wandb"], tmp_path / "out", tell=said.append)
    assert [each.partition(" (")[2] for each in said] == ["4 new)", "4 unchanged)", "2 changed, 2 unchanged)"]
    assert [len(each["logged"]) for each in server.runs.values()] == [1] * 4
    assert {each["project"] for each in server.runs.values()} == {"mine"}
    (heun,) = (each for each in server.runs.values() if each["name"].startswith("heun"))
    assert heun["logged"][0]["fd_digits"] == 5.0
    assert "recall" not in heun["logged"][0]


def test_what_is_missing_is_named_before_anything_is_written(
    run: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, elsewhere: Path
) -> None:
    pytest.importorskip("mlflow.tracking")
    pytest.importorskip("wandb")
    out = tmp_path / "out"

    def refused(formats: str) -> str:
        return cli("report", run, "--format", formats, "--out", out, status=2).err

    assert "no tracking URI; set MLFLOW_TRACKING_URI" in refused("md,mlflow")
    assert "no key; log in with `wandb login`, set WANDB_API_KEY, or set WANDB_MODE=offline" in refused("md,wandb")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert "WANDB_MODE is 'disabled'; expected online or offline" in refused("md,wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert "'http://127.0.0.1:9' does not take it" in refused("md,mlflow,wandb")
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
        assert f"needs the package {name}" in (said := refused(f"md,{name}"))
        assert f"pip install 'sampler-bench[{name}]'" in said
    assert not out.exists()
    assert list(elsewhere.iterdir()) == []


def test_neither_is_sent_to_unless_it_is_asked_for(run: Path, elsewhere: Path) -> None:
    assert not {"mlflow", "wandb"} & {*FORMATS}
    with pytest.raises(UsageError, match=r"unknown format 'docx'; there is: md, .*, mlflow, wandb"):
        write_report([run], ["docx"])
