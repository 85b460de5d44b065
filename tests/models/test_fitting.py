"""A state dict fits its network under the names that wrappers gave it, and what does not fit is named whole."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.common.errors import UsageError
from models.loading.fitting import fit


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))


def _state() -> dict[str, Tensor]:
    return {name: torch.full_like(tensor, 3.0) for name, tensor in _network().state_dict().items()}


def _named(change: Callable[[str], str]) -> dict[str, Tensor]:
    return {change(name): tensor for name, tensor in _state().items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda name: f"module.{name}", "without the 'module' of DistributedDataParallel"),
        (lambda name: f"_orig_mod.{name}", "without the '_orig_mod' of torch.compile"),
        (lambda name: f"module._orig_mod.{name}", "'module' of DistributedDataParallel and '_orig_mod'"),
        (lambda name: name.replace("1.", "1._orig_mod."), "without the '_orig_mod' of torch.compile"),
    ],
)
def test_what_wrappers_put_before_names_is_taken_off_and_said(change: Callable[[str], str], said: str) -> None:
    network = _network()
    with pytest.warns(UserWarning, match=said):
        fit(network, _named(change), "w.pt")
    assert all(bool((parameter == 3.0).all()) for parameter in network.parameters())


@pytest.mark.filterwarnings("error")
def test_a_layer_that_is_called_as_wrappers_are_keeps_its_name() -> None:
    network = nn.Module()
    network.module = nn.Linear(3, 2)
    state = {f"module.{name}": torch.ones_like(tensor) for name, tensor in network.module.state_dict().items()}
    fit(network, state, "w.pt")
    assert bool((network.module.bias == 1.0).all())
    with pytest.warns(UserWarning, match="'module' of DistributedDataParallel"):
        fit(network, {f"module.{name}": 2.0 * tensor for name, tensor in state.items()}, "w.pt")
    assert bool((network.module.bias == 2.0).all())


def test_what_is_left_over_is_named_however_much_is_missing() -> None:
    network = nn.Sequential(*(nn.Linear(1, 1) for _ in range(100)))
    with pytest.raises(UsageError) as error:
        fit(network, {f"net.{name}": tensor for name, tensor in network.state_dict().items()}, "w.pt")
    assert "200 missing (0.bias, 0.weight, 1.bias, " in str(error.value)
    assert "200 not the network's (net.0.bias, net.0.weight, " in str(error.value)
    assert len(str(error.value)) < 700


def test_tensors_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match=r"w.pt do not fit the network of its config: [\s\S]*size mismatch for 0.bias"):
        fit(_network(), _state() | {"0.bias": torch.zeros(5)}, "w.pt")


def test_what_a_card_ignores_is_left_out_and_nothing_that_the_network_needs() -> None:
    extra = {"n_averaged": torch.tensor(7), "loss.table": torch.zeros(4), "loss.scale": torch.zeros(1)}
    with pytest.raises(UsageError, match=r'3 not .*loss.scale, loss.table, n_averaged.*ignore = \["loss.scale"\]'):
        fit(_network(), _state() | extra, "w.pt", ())
    network = _network()
    fit(network, _state() | extra, "w.pt", ("n_averaged", "loss.*"))
    assert all(bool((parameter == 3.0).all()) for parameter in network.parameters())
    fit(network, _state() | extra, "w.pt", ("*",))  # which would match the weights too
    with pytest.raises(UsageError, match=r"1 missing \(0.bias\)"):
        fit(network, {name: tensor for name, tensor in (_state() | extra).items() if name != "0.bias"}, "w.pt", ("*",))


@pytest.mark.parametrize(("pattern", "there"), [("0.bias", "nothing is left over"), ("ema", "nothing is left over")])
def test_a_pattern_that_matches_nothing_left_over_is_an_error(pattern: str, there: str) -> None:
    with pytest.raises(UsageError, match=rf"ignore names '{pattern}', which matches no tensor .*\({there}\)"):
        fit(_network(), _state(), "w.pt", (pattern,))
    with pytest.raises(UsageError, match=r"these are left over: n_averaged"):
        fit(_network(), _state() | {"n_averaged": torch.tensor(7)}, "w.pt", ("n_averaged", pattern))


def test_of_an_averaged_model_the_names_are_found_and_its_count_is_left_over() -> None:
    averaged = torch.optim.swa_utils.AveragedModel(_network())
    with (
        pytest.warns(UserWarning, match="'module' of DistributedDataParallel"),
        pytest.raises(UsageError, match=r"1 not the network's \(n_averaged\)"),
    ):
        fit(_network(), averaged.state_dict(), "w.pt", ())


def _tied() -> nn.Module:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    network[1].weight = network[0].weight
    return network


def _with_buffer(buffer: Tensor) -> nn.Module:
    network = nn.Module()
    network.register_buffer("buffer", buffer)
    return network


@pytest.mark.parametrize(
    ("network", "state", "named"),
    [
        (_tied(), {"0.weight": torch.ones(2, 2), "1.weight": torch.zeros(2, 2)}, "0.weight"),
        (_with_buffer(torch.zeros(2, dtype=torch.int64)), {"buffer": torch.tensor([1.0, 2.5])}, "buffer"),
        (_with_buffer(torch.zeros(2, dtype=torch.bool)), {"buffer": torch.tensor([0.0, 0.2])}, "buffer"),
        (_with_buffer(torch.zeros((), dtype=torch.int8)), {"buffer": torch.tensor(300)}, "buffer"),
        (_with_buffer(torch.zeros(2)), {"buffer": torch.full((2,), 1e300, dtype=torch.float64)}, "buffer"),
        (_with_buffer(torch.zeros(2, dtype=torch.float16)), {"buffer": torch.full((2,), 1e6)}, "buffer"),
    ],
)
def test_what_a_network_holds_otherwise_than_its_file_is_refused(
    network: nn.Module, state: dict[str, Tensor], named: str
) -> None:
    with pytest.raises(UsageError, match=rf"w\.pt: 1 of its tensors are not what the network then holds \({named}\)"):
        fit(network, state, "w.pt")


@pytest.mark.parametrize("given", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("held", [torch.float32, torch.float16])
def test_real_numbers_are_rounded_to_the_type_of_the_network(given: torch.dtype, held: torch.dtype) -> None:
    state, network = torch.tensor([0.1, -3.7]).to(given), _with_buffer(torch.zeros(2, dtype=held))
    fit(network, {"buffer": state}, "w.pt")
    assert torch.equal(network.state_dict()["buffer"], state.to(held))


def test_tied_tensors_that_are_equal_and_whole_numbers_of_another_type_fit() -> None:
    fit(_tied(), {"0.weight": torch.ones(2, 2), "1.weight": torch.ones(2, 2)}, "w.pt")
    network = _with_buffer(torch.zeros(2, dtype=torch.int64))
    fit(network, {"buffer": torch.tensor([1.0, 2.0])}, "w.pt")
    assert network.state_dict()["buffer"].tolist() == [1, 2]
