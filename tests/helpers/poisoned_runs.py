"""Small runs of samplers that may misbehave, beside a baseline."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from quiet import Quiet
from studies import study_toml

from bench.record import RunFolder
from bench.running.runner import Outcome, run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.study import Study


def study_of(samplers: Sequence[str], model: str, **timing: object) -> Study:
    metrics = ["law", "solver_error"] if model == "digits-mixture" else ["fd"]
    timing |= {"seconds": 0.0}
    text = study_toml(samplers, [3], "ddpm", model=model, metrics=metrics, batch=8, timing=timing)
    return parse_study(text, "test", Overrides())


def run_of(
    path: Path, samplers: Sequence[str], model: str = "digits-mixture", repeats: int = 0
) -> tuple[Outcome, pd.DataFrame]:
    study, folder = study_of(samplers, model, repeats=repeats), RunFolder(path)
    outcome = run_study(study, Session.load(study), folder, force=False, progress=Quiet())
    return outcome, folder.load().set_index("sampler")
