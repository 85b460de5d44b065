"""The programs that count wrong decisions and verdicts count what they say, on settings whose distances are known."""

import pytest
import torch
from decisions import Ended, Setting, ended, repetition, table
from verdicts import null, ties

from bench.quality.frechet import Target
from bench.study.file import load_study
from bench.study.plan import looks, plan

LOOKS = (200, 400)


def setting(name: str, nfe: float, shift: float, seed: int = 0, own: float = 0.0) -> Setting:
    """Rows about a shift: what they share with others is their seed's, and some is of their own."""
    shared = torch.randn(4000, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    alone = torch.randn(4000, 2, generator=torch.Generator().manual_seed(int(nfe)), dtype=torch.float64)
    return Setting(name, nfe, shared + own * alone + shift)


@pytest.fixture
def target() -> Target:
    return Target(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))


def test_runs_find_the_cheapest_that_is_truly_good_enough_and_the_table_counts_who_was_found(target: Target) -> None:
    settings = [setting("base", 20, 1.0), setting("bad", 5, 3.0), setting("good", 10, 1.0), setting("dear", 15, 0.5)]
    generator = torch.Generator().manual_seed(0)
    runs = [ended(settings, repetition(settings, target, LOOKS, generator), LOOKS, 0.1) for _ in range(5)]
    assert {(run.winner, run.full) for run in runs} == {(2, 2)}
    assert {run.images for run in runs} == {200}
    assert {run.evaluations for run in runs} == {200 * (20 + 5 + 10 + 15)}
    lines = list(table(settings, runs, LOOKS, 0.1))
    assert "- decided: 100.0 % (47.8 ... 100.0), at 200 images 5" in lines
    assert "- decided and wrong: 0.0 % (0.0 ... 52.2)" in lines
    assert "- evaluations of that run over those taken: 2.0" in lines


def test_a_run_that_finds_another_number_of_evaluations_than_the_truth_is_wrong(target: Target) -> None:
    settings = [setting("base", 20, 1.0), setting("bad", 5, 3.0), setting("good", 10, 1.0)]
    values = [2.0, 18.0, 2.0]
    runs = [Ended(winner, 200, 1.0, 2, values) for winner in (2, 1, 0, None)]
    lines = list(table(settings, runs, LOOKS, 0.1))
    assert any(line.startswith("- decided: 75.0 %") for line in lines)
    assert any(line.startswith("- decided and wrong: 50.0 %") for line in lines)


def test_names_for_one_setting_are_rarely_told_apart_and_ties_of_one_flow_are(target: Target) -> None:
    generator = torch.Generator().manual_seed(0)
    said = null(setting("one", 5, 1.0), target, 200, 40, generator)
    assert float(said.partition("in ")[2].split(" %")[0]) <= 15.0  # 5 % of 40, and three standard errors
    close = [setting("a", 5, 1.0, own=0.05), setting("b", 6, 1.03, own=0.05), setting("c", 7, 1.06, own=0.05)]
    told = ties(close, target, 400, 5, generator)
    assert "of 3 pairs 3 are ties by Welch's test, of which pairs tell 3 apart" in told
    assert "contradicts 0.0 %" in told


def test_the_study_on_the_exact_model_grows_as_quick_does() -> None:
    quick = load_study("quick")
    oracle = load_study(__file__.replace("test_decisions_table.py", "decisions_oracle.toml"))
    assert looks(oracle) == looks(quick) == [500, 1000, 2000, 4000, 8000]
    assert (oracle.until, oracle.baseline, oracle.tolerance) == (quick.until, quick.baseline, quick.tolerance)
    assert len(plan(oracle)) == 24
