"""Studies of latent models: samplers walk latents, images are scored, and what decoding costs stands apart."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from latents import LATENT, dit, ldm, make_vae, rewritten
from quiet import Quiet
from studies import study_toml
from torch import Tensor

from bench.noise.class_labels import draw_labels
from bench.noise.stream import ImageNoise
from bench.quality.images import to_uint8
from bench.record import RunFolder
from bench.report.data.rows import aggregate
from bench.report.data.runs import load
from bench.report.data.text import significant
from bench.report.tables.cost_notes import cost_notes
from bench.running.estimate import estimate
from bench.running.runner import run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.timing.clock import Stopwatch
from models.common.errors import UsageError
from models.grids import GRIDS
from models.guidance import GUIDANCES
from models.loading.zoo import load_model
from models.networks.autoencoder import Autoencoder
from samplers import SAMPLERS

SOLVED: dict[str, Any] = {"metrics": ["solver_error"], "solver_images": 4, "batch": 8}


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the exact flow, which these tests do not ask to be exact."""
    monkeypatch.setattr("bench.running.solution.STEPS", 4)


def _run(path: Path, model: Path, save: bool = False, **more: Any) -> pd.DataFrame:
    study = parse_study(study_toml(steps=(3,), model=str(model), **(SOLVED | more)), "test", Overrides())
    session, folder = Session.load(study), RunFolder(path)
    if save:
        object.__setattr__(session, "save_images", "npz")
    run_study(study, session, folder, force=False, progress=Quiet())
    frame = folder.load()
    assert list(frame["status"]) == ["ok"] * len(frame), list(frame["error"])
    return frame


def _saved(path: Path) -> np.ndarray:
    (file,) = (path / "cells").glob("*.npz")
    images: np.ndarray = np.load(file)["arr_0"]
    return images


def test_images_are_those_of_the_decoder_and_the_same_in_every_batch(tmp_path: Path) -> None:
    for batch in (8, 5):
        _run(tmp_path / str(batch), dit(), save=True, guidance=["cfg[scale=2]"], batch=batch)
    found, others = _saved(tmp_path / "8"), _saved(tmp_path / "5")
    model, numbers = load_model(str(dit()), torch.device("cpu")), torch.arange(16)
    levels = GRIDS.make("trailing")(model.schedule, 3)
    denoiser = model.denoiser(None, draw_labels(0, numbers, 1000), model.guided(GUIDANCES.make("cfg[scale=2]")))
    x = ImageNoise(0, numbers)(torch.empty((16, *LATENT)))
    with torch.inference_mode():
        latents = SAMPLERS.make("ddim").sample(denoiser, x, levels, lambda like: torch.zeros_like(like))
        images = make_vae().decode(latents / 0.18215).sample
    expected = to_uint8(images).movedim(1, 3).numpy()
    assert found.shape == (16, 16, 16, 3)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.abs(found.astype(int) - others).max() <= 1
    assert found.std() > 20


def test_the_solver_error_is_of_the_latents(tmp_path: Path) -> None:
    other = shutil.copytree(dit(), tmp_path / "dit")
    rewritten(other / "vae/config.json", lambda config: config.update(scaling_factor=0.7))
    first, second = (_run(tmp_path / each.parent.name, each).iloc[0] for each in (dit(), other))
    assert first["solver_rmse"] == second["solver_rmse"]
    assert first["preview_sha256"] != second["preview_sha256"]
    assert first["model_sha256"] != second["model_sha256"]


def test_decoding_has_columns_of_its_own_and_no_part_of_sampling(tmp_path: Path) -> None:
    frame = _run(tmp_path / "run", ldm(), timing={"repeats": 2, "seconds": 0.0})
    record = frame.iloc[0]
    assert len(record["decode_s"]) == record["timing_rounds"] == 2
    assert record["decode_batch"] == 8
    row = aggregate(load(tmp_path / "run", "run")[1]).iloc[0]
    decoded = np.median(record["decode_s"]) / record["decode_batch"]
    assert row["decode_s_per_image"] == pytest.approx(decoded, rel=1e-12)
    (note,) = cost_notes([{str(name): each for name, each in row.items()}])
    assert note.startswith(f"Times are of sampling: decoding takes another {significant(1000.0 * decoded)} ms an image")
    assert row["total_seconds"] == pytest.approx(np.median(record["latency_s"]) / 8 + decoded, rel=1e-12)


def test_a_run_goes_on_with_the_rounds_of_decoding_that_there_are(tmp_path: Path) -> None:
    first = _run(tmp_path, ldm(), timing={"repeats": 1, "seconds": 0.0}).iloc[0]
    second = _run(tmp_path, ldm(), timing={"repeats": 3, "seconds": 0.0}).iloc[0]
    assert len(second["decode_s"]) == 3
    assert second["decode_s"][:1] == first["decode_s"]


def test_latents_are_decoded_as_many_at_a_time_as_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, sizes = Autoencoder.decode, list[int]()

    def lacking(self: Autoencoder, latents: Tensor) -> Tensor:
        sizes.append(len(latents))
        if len(latents) > 3:
            raise torch.OutOfMemoryError("no memory")
        return decode(self, latents)

    whole = _run(tmp_path / "whole", ldm(), save=True).iloc[0]
    monkeypatch.setattr(Autoencoder, "decode", lacking)
    record = _run(tmp_path / "run", ldm(), save=True).iloc[0]
    assert max(sizes) == 8
    assert record["decode_batch"] <= 3
    assert record["batch_halvings"] == 0
    assert "latents were decoded" in record["note"]
    assert whole["note"] is None
    assert np.abs(_saved(tmp_path / "whole").astype(int) - _saved(tmp_path / "run")).max() <= 1


def test_an_estimate_has_the_time_of_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    study = parse_study(study_toml(steps=(3,), model=str(ldm()), **SOLVED), "test", Overrides())
    session, second, given = Session.load(study), 1000.0, list[int]()

    def seconds(self: Stopwatch, call: Callable[[], object]) -> float:
        if getattr(call, "args", None) and call.args[0].shape[1:] == (3, 8, 8):  # type: ignore[attr-defined]
            given.append(len(call.args[0]))  # type: ignore[attr-defined]
            return second * given[-1]
        return timed(self, call)

    timed = Stopwatch.seconds
    monkeypatch.setattr(Stopwatch, "seconds", seconds)
    assert second * 16 <= estimate(session).seconds < second * 17
    assert given == [8, 8]


def test_what_is_of_images_is_refused_of_latents() -> None:
    with pytest.raises(UsageError, match="'dynamic' clips x_0 to the range of images, but model 'dit' predicts laten"):
        parse_study(study_toml(model=str(dit()), clip="dynamic", **SOLVED), "test", complete=True)
    given = study_toml(model=str(dit()), guidance=[f"auto[scale=2,model={ldm()}]"], **SOLVED)
    with pytest.raises(UsageError, match="of the same kind; models 'dit' and 'ldm' differ in sample_shape"):
        parse_study(given, "test", complete=True)
