"""A training that is killed anywhere goes on as if it had not been, and its state is never half written."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from bench.training.checkpoint import STATE, load_state, save_state, write_shards
from bench.training.loop import Keeping, Start, Trained, train
from bench.training.loss_curve import LossCurve
from bench.training.recipe import Recipe, step_generator
from models.common.errors import UsageError

_RECIPE = Recipe(steps=12, batch=8, warmup=3, checkpoint_every=4)


class _Killed(Exception):
    pass


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 1)
    )


def _train(
    folder: Path,
    recipe: Recipe = _RECIPE,
    *,
    stop_at: int | None = None,
    start: Start | None = None,
    spy: Callable[[nn.Module], None] = lambda network: None,
    **keeping: object,
) -> tuple[list[float], Trained]:
    torch.set_num_threads(1)
    network, losses = _network(), list[float]()

    def loss_of(step: int) -> Tensor:
        spy(network)
        x = torch.randn(recipe.batch, 1, 4, 4, generator=step_generator(recipe.seed, step))
        loss: Tensor = (network(x) - x.sum((1, 2, 3))[:, None]).square().mean()
        return loss

    def report(step: int, loss: float) -> None:
        losses.append(loss)
        if step == stop_at:
            raise _Killed

    curve = LossCurve(folder / "loss.jsonl", 2, recipe.batch, recipe.steps, lambda line: None)
    keep = Keeping(folder / "state", report, curve=curve, **keeping)  # type: ignore[arg-type]
    return losses, train(network, loss_of, recipe, keep, start)


def _rows(folder: Path) -> list[tuple[int, float, float]]:
    rows = [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"], row["loss_smooth"]) for row in rows]


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("read_every", [1, 5])
def test_a_training_killed_and_resumed_is_the_same_bit_for_bit(tmp_path: Path, optimiser: str, read_every: int) -> None:
    recipe = Recipe(steps=12, batch=8, warmup=3, checkpoint_every=4, optimiser=optimiser)  # type: ignore[arg-type]
    losses, whole = _train(tmp_path / "whole", recipe)
    with pytest.raises(_Killed):
        _train(tmp_path / "killed", recipe, stop_at=9, read_every=read_every)
    resumed, again = _train(tmp_path / "killed", recipe, read_every=read_every)  # goes on from step 8, with dropout
    assert resumed == losses[8:]
    assert _same(again.state, whole.state)
    assert _rows(tmp_path / "killed") == _rows(tmp_path / "whole")


def test_a_process_killed_while_it_saves_leaves_the_state_before(tmp_path: Path) -> None:
    losses, whole = _train(tmp_path / "whole")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, __file__, str(tmp_path / "killed")], env=environment, timeout=120)
    assert done.returncode == -signal.SIGKILL
    state = tmp_path / "killed" / "state"
    assert json.loads((state / STATE).read_text())["step"] == 4
    assert list(state.glob("step-00000008*.safetensors"))  # on the disk, but not yet committed
    resumed, again = _train(tmp_path / "killed")
    assert resumed == losses[4:]
    assert _same(again.state, whole.state)
    assert {path.name[:13] for path in state.glob("*.safetensors")} == {"step-00000012"}


def test_the_average_follows_its_recursion(tmp_path: Path) -> None:
    seen: list[Tensor] = []
    recipe = Recipe(steps=30, batch=8, warmup=3, ema_decay=0.6)
    _, trained = _train(tmp_path, recipe, spy=lambda network: seen.append(network[5].weight.detach().clone()))  # type: ignore[index]
    average = seen[1]
    for step, weight in enumerate(seen[2:], 1):  # the weights after each step but the last
        decay = min(0.6, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    tensors, _ = load_state(tmp_path / "state") or ({}, {})
    average = 0.6 * average + 0.4 * tensors["network.5.weight"]
    torch.testing.assert_close(trained.state["5.weight"], average)


def test_out_of_time_a_training_ends_with_a_checkpoint_and_goes_on_later(tmp_path: Path) -> None:
    losses, _ = _train(tmp_path / "whole")
    clock = map(float, range(1000))
    with mock.patch("bench.training.loop.time.monotonic", side_effect=clock):
        early, part = _train(tmp_path / "part", deadline=40.0)
    assert 0 < part.steps < 12
    assert json.loads((tmp_path / "part" / "state" / STATE).read_text())["step"] == part.steps
    later, trained = _train(tmp_path / "part")
    assert early + later == losses
    assert trained.steps == 12


def test_a_training_saves_when_time_has_passed_too(tmp_path: Path) -> None:
    with pytest.raises(_Killed):
        _train(tmp_path, stop_at=3, save_seconds=0.0)
    assert json.loads((tmp_path / "state" / STATE).read_text())["step"] == 2


def test_weights_are_trained_further_from_where_they_were_with_a_fresh_warm_up(tmp_path: Path) -> None:
    _, first = _train(tmp_path / "first")
    seen: list[Tensor] = []
    longer = Recipe(steps=20, batch=8, warmup=3, decay="constant")
    start = Start(first.state, 12, first.seconds, first.loss)
    _, second = _train(tmp_path / "second", longer, start=start, spy=lambda net: seen.append(net[5].weight.clone()))  # type: ignore[index]
    assert torch.equal(seen[0], first.state["5.weight"])
    assert (len(seen), second.steps, second.began) == (8, 20, 12)
    assert [longer.rate_at(step, 12) for step in (12, 13, 14, 19)] == pytest.approx([1 / 3, 2 / 3, 1, 1])


def test_a_checkpoint_of_other_weights_to_start_from_is_refused(tmp_path: Path) -> None:
    state = _network().state_dict()
    _train(tmp_path, start=Start(state, 2, 0.0, 1.0, "one"))
    with pytest.raises(UsageError, match=r"was made with from one, but this training has from two;"):
        _train(tmp_path, start=Start(state, 2, 0.0, 1.0, "two"))
    with pytest.raises(UsageError, match=r"was made with from one, but this training has from None;"):
        _train(tmp_path)


def test_dropout_does_not_draw_the_numbers_that_the_noise_is_made_of(tmp_path: Path) -> None:
    def compare(network: nn.Module) -> None:
        ours = torch.rand(8, generator=step_generator(_RECIPE.seed, len(seen)))
        seen.append(torch.equal(torch.rand(8), ours))

    seen: list[bool] = []
    _train(tmp_path, spy=compare)
    assert seen == 12 * [False]


def test_a_training_that_diverges_says_so_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    def ruin(network: nn.Module) -> None:
        if (tmp_path / "state" / STATE).exists():
            nn.init.constant_(network[5].weight, torch.nan)  # type: ignore[index]

    with pytest.raises(UsageError, match=r"loss is nan at step 5.*holds step 4"):
        _train(tmp_path, spy=ruin)
    assert json.loads((tmp_path / "state" / STATE).read_text())["step"] == 4


@pytest.mark.parametrize("kib", [1, 3, 1000])
def test_shards_have_the_stated_size_and_merge_back_exactly(tmp_path: Path, kib: int) -> None:
    sizes = [(3, 3), (300,), (), (16, 16), (5,), (90, 3), (200,)]
    tensors = {f"layer.{n}.weight": torch.randn(size) for n, size in enumerate(sizes)}
    tensors |= {"half": torch.randn(64, 2).half(), "count": torch.tensor(7), "last": torch.randn(2, 3, 4, 4)}
    tensors["last"] = tensors["last"].to(memory_format=torch.channels_last)
    save_state(tmp_path, tensors, {"step": 3, "said": [1.5]}, kib / 1024)
    for path in tmp_path.glob("*.safetensors"):
        assert path.stat().st_size <= 1024 * kib or kib == 1  # there, a tensor alone is larger
    merged, note = load_state(tmp_path) or ({}, {})
    assert note == {"step": 3, "said": [1.5]}
    assert _same(merged, tensors)
    assert merged["half"].dtype == torch.float16
    assert (len(list(tmp_path.glob("*.safetensors"))) == 1) is (kib == 1000)


def test_one_file_of_weights_is_called_plainly_and_several_are_numbered(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(300), "b": torch.zeros(300)}
    assert write_shards(tmp_path, tensors, "w", 1.0) == {"w.safetensors": ["a", "b"]}
    assert list(write_shards(tmp_path, tensors, "w", 2 / 1024)) == [
        "w-00001-of-00002.safetensors",
        "w-00002-of-00002.safetensors",
    ]


@pytest.mark.parametrize("damage", ["flip", "remove", "no json", "list", "digit"])
def test_a_damaged_state_is_refused(tmp_path: Path, damage: str) -> None:
    save_state(tmp_path, {"a": torch.zeros(30)}, {"step": 1}, 1.0)
    path = next(tmp_path.glob("*.safetensors"))
    if damage == "flip":
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
    elif damage == "remove":
        path.unlink()
    elif damage == "digit":
        (tmp_path / STATE).write_text((tmp_path / STATE).read_text().replace('"step": 1', '"step": 7'))
    else:
        (tmp_path / STATE).write_text({"no json": "{", "list": "[]"}[damage])
    with pytest.raises(UsageError, match=r"cannot read the checkpoint .*Remove it to start afresh"):
        load_state(tmp_path)


def test_a_state_of_an_older_version_which_has_no_digest_is_read(tmp_path: Path) -> None:
    save_state(tmp_path, {"a": torch.ones(3)}, {"step": 1}, 1.0)
    content = json.loads((tmp_path / STATE).read_text())
    del content["sha256"]
    (tmp_path / STATE).write_text(json.dumps(content))
    found = load_state(tmp_path)
    assert found is not None
    assert found[1] == {"step": 1}


if __name__ == "__main__":  # the process that is killed: between the shards of step 8 and their commit

    def _kill_at_the_second(source: Path, target: Path, replace: Callable[..., None] = os.replace) -> None:
        if Path(target).name == STATE and Path(target).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = _kill_at_the_second  # type: ignore[assignment]
    _train(Path(sys.argv[1]))
