"""The studies of published tables: their cells have the noise levels and the evaluations of the sources' own code."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoints import CIFAR10, folder_of, make, network, write
from safetensors.torch import save_file

from bench.cli.run import run_and_report
from bench.study.file import load_study, study_names
from bench.study.overrides import Overrides
from bench.study.plan import Expectation, expectations, plan
from models.grids import GRIDS
from models.loading.layout import CONFIG, WEIGHTS
from models.schedule import VE, ContinuousVP, DiscreteVP, Level, Schedule
from samplers import SAMPLERS
from samplers.dpm_solver_v3 import DPMSolverV3

STUDIES = Path(__file__).parents[2] / "bench" / "studies"
SCHEDULES: dict[str, Schedule] = {
    "reproduce-ddim": DiscreteVP.linear(),
    "reproduce-dpm-solver-v3": ContinuousVP(),
    "reproduce-edm": VE(),
    "reproduce-score-sde": DiscreteVP.linear(),
}
EDM_FEW, EDM_V3 = [3, 4, 5, 6, 7, 8, 9, 10], [5, 6, 8, 10, 12, 15, 20, 25]


def resolved(name: str, source: str) -> list[tuple[int, list[Level], Expectation]]:
    """The evaluations and levels of what is compared with a source's values, in the order of the evaluations."""
    found = []
    for each in expectations(load_study(name)):
        if each.source == source:
            levels = GRIDS.make(each.cell.grid)(SCHEDULES[name], each.cell.steps)
            found.append((SAMPLERS.make(each.cell.sampler).nfe(levels) or 0, levels, each))
    return sorted(found, key=lambda each: each[0])


def polynomial(n: int) -> np.ndarray:
    return np.asarray((80 ** (1 / 7) + np.arange(n + 1) / n * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7)


def log_snr(n: int) -> np.ndarray:
    return np.exp(np.linspace(np.log(80), np.log(0.002), n + 1))


def time_uniform(n: int) -> np.ndarray:
    """diff-sampler's, with rho 2."""
    beta_d = 2 * (np.log(0.002**2 + 1) / 1e-3 - np.log(80**2 + 1)) / (1e-3 - 1)
    beta_min = np.log(80**2 + 1) - 0.5 * beta_d
    t = (1 + np.arange(n + 1) / n * (1e-3**0.5 - 1)) ** 2
    return np.asarray((np.e ** (0.5 * beta_d * t**2 + beta_min * t) - 1) ** 0.5)


def heun(nfe: int) -> np.ndarray:
    """DPM-Solver-v3's: half as many steps, and at odd evaluations one more to the clean level."""
    return np.append(polynomial(nfe // 2), [0.0] * (nfe % 2))


def with_middles(nfe: int) -> np.ndarray:
    ends = polynomial(nfe // 2)
    return np.insert(ends, range(1, len(ends)), np.sqrt(ends[1:] * ends[:-1]))


EDM: list[tuple[str, list[int], Callable[[int], np.ndarray]]] = [
    ("arXiv:2206.00364, table 2, 35 evaluations", [35], lambda n: np.append(polynomial(n // 2), 0.0)),
    ("arXiv:2310.13268, table 1, Heun", EDM_V3, heun),
    ("arXiv:2310.13268, table 1, DPM-Solver++", EDM_V3, log_snr),
    ("arXiv:2310.13268, table 1, UniPC", EDM_V3, log_snr),
    ("arXiv:2310.13268, table 1, DPM-Solver-v3", [5, 10], log_snr),
    ("diff-sampler, Euler", EDM_FEW, polynomial),
    ("diff-sampler, DPM-Solver++(3M)", EDM_FEW, log_snr),
    ("diff-sampler, UniPC-3", EDM_FEW, log_snr),
    ("diff-sampler, DEIS-tAB3", EDM_FEW, time_uniform),
    ("diff-sampler, iPNDM-4", EDM_FEW, polynomial),
    ("diff-sampler, iPNDM_v-4", EDM_FEW, polynomial),
    ("diff-sampler, DPM-Solver-2", [4, 6, 8, 10], with_middles),
    ("diff-sampler, Heun", [4, 6, 8, 10], lambda n: polynomial(n // 2)),
]


@pytest.mark.parametrize(("source", "evaluations", "sigmas"), EDM, ids=[source for source, *_ in EDM])
def test_cells_on_edms_checkpoint_have_the_levels_of_their_sources_launch_scripts(
    source: str, evaluations: list[int], sigmas: Callable[[int], np.ndarray]
) -> None:
    found = resolved("reproduce-edm", source)
    assert list(dict.fromkeys(nfe for nfe, *_ in found)) == evaluations
    for nfe, levels, _ in found:
        np.testing.assert_allclose([level.sigma for level in levels], sigmas(nfe), rtol=1e-8)


def test_every_source_of_the_edm_study_is_checked() -> None:
    assert {each.source for each in expectations(load_study("reproduce-edm"))} == {source for source, *_ in EDM}


@pytest.mark.parametrize("row", ["DDIM", "DPM-Solver++", "UniPC", "DPM-Solver-v3"])
def test_cells_on_score_sdes_checkpoint_end_where_dpm_solver_v3_ends_them(row: str) -> None:
    found = resolved("reproduce-dpm-solver-v3", f"arXiv:2310.13268, table 1, {row}")
    counts = EDM_V3[:-1] if row == "DDIM" else EDM_V3
    assert list(dict.fromkeys(nfe for nfe, *_ in found)) == counts
    vp = ContinuousVP()
    for nfe, levels, _ in found:
        low, high = (vp.level(t).logsnr for t in (1.0, 1e-3 if nfe <= 10 else 1e-4))
        even = np.linspace(low, high, nfe + 1)
        np.testing.assert_allclose([level.logsnr for level in levels], even, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["reproduce-edm", "reproduce-dpm-solver-v3"])
def test_the_third_order_multistep_solver_is_the_published_one_and_unipc_has_both_variants(name: str) -> None:
    samplers = {cell.sampler for cell in plan(load_study(name))[1:]}  # the first is the baseline
    assert {each for each in samplers if each.startswith("dpm++3m")} == {"dpm++3m[halved=true,lower_order_below=1000]"}
    made = [SAMPLERS.make(each) for each in samplers if each.startswith("unipc")]
    assert {each.variant for each in made} == {"bh1", "bh2"}  # type: ignore[attr-defined]
    assert all(each.lower_order_below > 25 for each in made)  # type: ignore[attr-defined]


# evaluations: whether the predictor is pseudo, whether its order falls at the end, and whether there is a corrector
SCORE_SDE_V3 = {5: (True, False, True), 6: (False, True, True), 8: (False, True, True), 10: (False, True, False)}
SCORE_SDE_V3 |= dict.fromkeys((12, 15, 20, 25), (False, True, True))
EDM_V3_MODES = {5: (True, True, True), 10: (False, True, False)}


@pytest.mark.parametrize(
    ("name", "modes"), [("reproduce-dpm-solver-v3", SCORE_SDE_V3), ("reproduce-edm", EDM_V3_MODES)]
)
def test_dpm_solver_v3_runs_in_the_modes_of_the_authors_launch_scripts(
    name: str, modes: dict[int, tuple[bool, bool, bool]]
) -> None:
    found = {}
    for nfe, _, each in resolved(name, "arXiv:2310.13268, table 1, DPM-Solver-v3"):
        made = SAMPLERS.make(each.cell.sampler)
        assert isinstance(made, DPMSolverV3)
        assert (made.solver_order, made.corrector in ("none", "same")) == (3, True)
        found[nfe] = made.pseudo_predictor, made.lower_order_below > nfe, made.corrector == "same"
    assert found == modes


def test_only_the_data_predictions_of_diff_sampler_are_clamped_dynamically() -> None:
    clips = {each.source: each.cell.clip for each in expectations(load_study("reproduce-edm"))}
    clamped = ("diff-sampler, DPM-Solver++(3M)", "diff-sampler, UniPC-3")
    assert clips == {source: "dynamic" if source in clamped else False for source in clips}


RATIOS = {  # arXiv 2011.13456, table 5, VP
    "ancestral with corrector": 0.01,
    "reverse diffusion with corrector": 0.01,
    "probability flow with corrector": 0.04,
    "Langevin alone": 0.27,
}


def test_score_sdes_cells_visit_all_levels_and_correctors_have_the_ratios_of_its_table() -> None:
    found = {each.source.rpartition(", ")[2]: each for each in expectations(load_study("reproduce-score-sde"))}
    assert set(RATIOS) < set(found)
    for row, each in found.items():
        levels = GRIDS.make(each.cell.grid)(DiscreteVP.linear(), each.cell.steps)
        assert [round(1000 * level.t) for level in levels] == list(range(1000, -1, -1))
        sampler = SAMPLERS.make(each.cell.sampler)
        expected = 2001 if row == "Langevin alone" else 2000 if row in RATIOS else 1000
        assert sampler.nfe(levels) == expected
        if row in RATIOS:
            assert sampler.snr == RATIOS[row]  # type: ignore[attr-defined]
            assert sampler.step_size == "norms"  # type: ignore[attr-defined]


def test_ddims_cells_visit_the_indices_of_its_code() -> None:
    for each in expectations(load_study("reproduce-ddim")):
        steps = each.cell.steps
        levels = GRIDS.make(each.cell.grid)(DiscreteVP.linear(), steps)
        quadratic = {int(s) for s in np.linspace(0, np.sqrt(800), steps) ** 2}
        expected = range(1000) if steps == 1000 else sorted(quadratic)
        assert [round(1000 * level.t) - 1 for level in levels[:-1]] == list(expected)[::-1]
        assert levels[-1].is_clean
        assert each.cell.clip == ("sigma hat" in each.source)


@pytest.mark.parametrize("name", [name for name in study_names() if name.startswith("reproduce-")])
def test_a_reproduction_can_be_planned_on_a_stand_in_of_its_checkpoint(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the embedded extractor in the place of Inception, and without asking how long all takes."""
    monkeypatch.setattr("bench.running.estimate._CALIBRATION_S", 0.0)
    monkeypatch.setattr("bench.running.estimate._seconds_an_extraction", lambda session: 0.0)
    model = tmp_path / "model"
    if isinstance(SCHEDULES[name], DiscreteVP):
        make(model, flat=True, sample_size=32)
    else:
        edm = isinstance(SCHEDULES[name], VE)
        said = {"network": "edm", "parametrisation": "sample"} if edm else {"network": "vp-continuous"}
        write(model / CONFIG, CIFAR10 | {"sample_size": 32})
        save_file(network(sample_size=32).state_dict(), model / WEIGHTS)
        files = {each: model / each for each in (CONFIG, WEIGHTS)}
        folder_of(model, files, shape=[3, 32, 32], schedule={"kind": "ve" if edm else "vp"}, **said)
    text = (STUDIES / f"{name}.toml").read_text()
    given = 'extractor = "inception-v3-compat"\nreference = "cifar10-inception.safetensors"'
    assert given in text
    study = tmp_path / "study.toml"
    study.write_text(text.replace(given, 'extractor = "cifar10"'))
    overrides = Overrides(model=str(model), batch=4, device="cpu")
    assert run_and_report(str(study), overrides, tmp_path / "run", force=False, dry_run=True) == 0
    shown = capsys.readouterr().out
    assert f"{len(plan(load_study(name)))} cells of 50,000 images" in shown
    assert not (tmp_path / "run").exists()
