"""Settings of a network are measured in turns, and the default is left only for one that surely is faster."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.cli.app import app
from bench.timing import tuning
from bench.timing.tuning import REPEATS, Trial, best, tune, usual_threads
from models import architectures
from models.common.errors import UsageError
from models.networks.modes import Mode, parse_mode
from models.schedule import DiscreteVP, Level

CPU = torch.device("cpu")
LAST = Mode(channels_last=True)


class Bench:
    """A clock, and models whose evaluations move it: 1 ms an image and 10 ms a batch, each thread less than the last.

    The first evaluation after the number of threads has changed takes a second more.
    """

    def __init__(self) -> None:
        self.now, self.threads = 0.0, torch.get_num_threads()
        self.calls: list[tuple[Mode, int, int]] = []
        self.most = 10**9

    def clock(self) -> float:
        return self.now

    def load_model(self, spec: str, device: torch.device, *, mode: Mode) -> Any:
        def network(x: Tensor, at: Level, *labels: Tensor) -> Tensor:
            if len(x) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            threads = torch.get_num_threads()
            self.now += 1.0 if threads != self.threads else 0.0
            self.now += (0.001 * len(x) + 0.01) / threads / (2 if mode.channels_last else 1)
            self.threads = threads
            self.calls.append((mode, threads, len(x)))
            return x

        card = SimpleNamespace(state_shape=(1, 2, 2), classes=None)
        return SimpleNamespace(card=card, schedule=DiscreteVP.linear(), network=network)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    before = torch.get_num_threads()
    found = Bench()
    monkeypatch.setattr(tuning, "load_model", found.load_model)
    yield found
    torch.set_num_threads(before)


def trial(median: float, width: float = 0.0, batch: int = 100, mode: str = "fp32") -> Trial:
    times = [median - width, median - width, median, median + width, median + width]
    return Trial(parse_mode(mode), batch, 1, 0.0, tuple(times))


def test_every_combination_is_measured_long_enough_in_the_order_of_the_product(bench: Bench) -> None:
    found = tune("any", CPU, [Mode(), LAST], [10, 1], [1, 2], 0.5, clock=bench.clock)
    assert [(each.mode, each.threads, each.batch) for each in found] == [
        (mode, threads, batch) for mode in [Mode(), LAST] for threads in [1, 2] for batch in [10, 1]
    ]
    for each in found:
        assert len(each.seconds) >= REPEATS
        assert sum(each.seconds) >= 0.5


def test_at_least_five_evaluations_are_made_however_long_they_take(bench: Bench) -> None:
    (found,) = tune("any", CPU, [Mode()], [10_000], [None], 0.001, clock=bench.clock)
    assert len(found.seconds) == REPEATS


def test_what_a_change_of_threads_takes_is_in_no_time(bench: Bench) -> None:
    found = tune("any", CPU, [Mode()], [10], [1, 2], 0.2, clock=bench.clock)
    assert [each.median_s for each in found] == pytest.approx([0.02, 0.01])
    assert all(max(each.seconds) < 0.03 for each in found)


def test_settings_take_turns_in_changing_order(bench: Bench) -> None:
    tune("any", CPU, [Mode(), LAST], [1], [1, 2], 0.5, clock=bench.clock)
    turns = [now for now, before in zip(bench.calls[5:], bench.calls[4:], strict=False) if now != before]
    assert set(turns[:4]) == {(mode, count, 1) for mode in (Mode(), LAST) for count in (1, 2)}
    assert turns[:4] != turns[4:8]
    assert len(turns) > 4 * 5


def test_the_number_of_threads_is_what_it_was_even_after_an_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    tune("any", CPU, [Mode()], [1], [before + 2], 0.01, clock=bench.clock)
    assert torch.get_num_threads() == before
    monkeypatch.setattr(bench, "most", -1)
    monkeypatch.setattr(tuning, "is_out_of_memory", lambda error: False)
    with pytest.raises(torch.OutOfMemoryError):
        tune("any", CPU, [Mode()], [1], [before + 2], 0.01, clock=bench.clock)
    assert torch.get_num_threads() == before


def test_a_batch_that_does_not_fit_has_no_trial(bench: Bench) -> None:
    bench.most = 64
    found = tune("any", CPU, [Mode()], [256, 64, 1], [1], 0.01, clock=bench.clock)
    assert [each.batch for each in found] == [64, 1]


def test_progress_goes_from_nothing_to_all(bench: Bench) -> None:
    shares: list[float] = []
    tune("any", CPU, [Mode()], [10, 1], [1, 2], 0.1, shares.append, bench.clock)
    assert shares == sorted(shares)
    assert shares[0] < 0.5 < shares[-1] == 1.0


def test_a_real_model_is_evaluated() -> None:
    (found,) = tune("digits-oracle", CPU, [Mode()], [2], [None], 0.0)
    assert all(second > 0 for second in found.seconds)


def test_a_model_with_classes_is_given_one_for_each_image(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Tensor] = []

    def load_model(spec: str, device: torch.device, *, mode: Mode) -> Any:
        card = SimpleNamespace(state_shape=(1, 2, 2), classes=10)
        return SimpleNamespace(
            card=card, schedule=DiscreteVP.linear(), network=lambda x, at, labels: given.append(labels)
        )

    monkeypatch.setattr(tuning, "load_model", load_model)
    tune("any", CPU, [Mode()], [3], [None], 0.0)
    assert {(labels.shape, labels.dtype) for labels in given} == {(torch.Size([3]), torch.int64)}


def test_the_default_is_kept_against_less_than_3_percent() -> None:
    default = trial(1.0)
    assert best([default, trial(0.98)]) is default
    faster = trial(0.95)
    assert best([default, faster, trial(0.96)]) is faster


def test_the_default_is_kept_where_intervals_overlap() -> None:
    default, unsure, sure = trial(1.0, 0.02), trial(0.90, 0.2), trial(0.95, 0.01)
    assert best([default, unsure]) is default
    assert best([default, unsure, sure]) is sure


def test_batches_are_compared_by_the_images_they_evaluate_in_a_second() -> None:
    default, larger = trial(1.0, batch=100), trial(1.8, batch=200)
    assert best([default, larger]) is larger


def test_usual_threads_begin_with_those_that_torch_takes_and_hold_one() -> None:
    found = usual_threads()
    assert found[0] == torch.get_num_threads()
    assert 1 in found
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing-of-the-kind"], "unknown model"),
        (["--threads", "100000"], "--threads 100000: expected numbers, 1 ... 1,024"),
        (["--threads", "-1"], "--threads -1: expected numbers, 1 ... 1,024"),
        (["--batches", "1,0"], "--batches 1,0: expected numbers, 1 ... 1,000,000"),
        (["--modes", "fp33"], "cannot read the execution mode 'fp33'"),
        (["--modes", "fp32,bf16+graph"], r"leave \+graph out of bf16\+graph"),
        (["--seconds", "0"], "--seconds 0.0: expected a number above 0"),
        (["--seconds", "inf"], "--seconds inf: expected a number above 0"),
        (["--device", "abacus"], "unknown device 'abacus'"),
    ],
)
def test_wrong_input_is_refused_by_name(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        _run(arguments)


def test_the_command_prints_all_settings_and_the_options_of_the_fastest_of_each_precision(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuning, "tune", _measured([trial(1.0), trial(0.5, mode="fp32+channels_last"), _BF16]))
    assert _run(["--modes", "fp32,fp32+channels_last,bf16", "--threads", "1", "--batches", "100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(("| fp32", "| bf16")) for line in lines) == 3
    assert lines[-2].startswith("fp32: --modes fp32+channels_last --threads 1 --batch 100: 2.00 times as fast")
    assert (
        lines[-1]
        == "bf16: --modes bf16 --threads 1 --batch 100: the default is kept: nothing else is surely 3 % faster"
    )


def test_json_holds_every_raw_time(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    given = [trial(1.0, 0.1), _BF16]
    monkeypatch.setattr(tuning, "tune", _measured(given))
    assert _run(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["evaluation_s"] for each in found["trials"]] == [list(each.seconds) for each in given]
    assert found["chosen"] == {name: f"--modes {name} --threads 1 --batch 100" for name in ("fp32", "bf16")}


def test_more_threads_than_processors_are_allowed_but_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuning, "tune", _measured([trial(1.0)]))
    assert _run(["--threads", "1,1000"]) == 0
    assert "1000 threads are more than the" in capsys.readouterr().err


def test_an_exact_model_has_no_memory_format_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[Mode]] = []
    monkeypatch.setattr(tuning, "tune", _measured([trial(1.0)], asked))
    _run(["digits-oracle"])
    _run(["digits"])
    assert asked == [[Mode()], [Mode(), LAST]]


def test_a_plugin_brings_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "_makers", dict(architectures._makers))
    code = "from models.architectures import register_network\nregister_network('TestTuned')(lambda config: None)\n"
    (tmp_path / "plugin.py").write_text(code)
    monkeypatch.setattr(tuning, "tune", _measured([trial(1.0)]))
    assert _run(["--plugin", str(tmp_path / "plugin.py")]) == 0
    assert "TestTuned" in architectures.network_names()


_BF16 = trial(0.7, mode="bf16")


def _measured(trials: list[Trial], asked: list[list[Mode]] | None = None) -> Callable[..., list[Trial]]:
    def measure(model: str, device: torch.device, modes: list[Mode], *rest: object) -> list[Trial]:
        if asked is not None:
            asked.append(modes)
        return trials

    return measure


def _run(arguments: list[str]) -> Any:
    return app(["tune", *arguments], exit_on_error=False, print_error=False, result_action="return_value")
