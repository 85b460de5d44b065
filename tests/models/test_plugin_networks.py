"""Networks that plugins bring: loaded with a card's weights, asked as it says, and refused where they cannot be."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import CPU, folder_of, images, write, x0_of
from safetensors.torch import save_file
from torch import Tensor, nn

from models import architectures
from models.architectures import Maker, register_network
from models.cards.changes import Changes
from models.common.errors import UsageError
from models.denoiser import Denoiser
from models.loading.layout import CONFIG
from models.loading.sources import CARD
from models.loading.zoo import load_model
from models.schedule import DiscreteVP


class Plugin(nn.Module):
    """A network of somebody else's: linear in the state, the condition and the label."""

    def __init__(self, gain: float, wide: bool = False, most: int = 100) -> None:
        super().__init__()
        self.shifts = torch.arange(most)
        self.gain = nn.Parameter(torch.tensor(gain))
        self.wide = wide

    def forward(self, x: Tensor, condition: Tensor, labels: Tensor | None = None) -> Tensor:
        shift = condition if labels is None else condition + self.shifts[labels]
        found = self.gain * x + shift[:, None, None, None]
        return torch.cat([found, found], 1) if self.wide else found


class Table(nn.Module):
    """A network with a table of the times that it was trained at, and none between them."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.table = nn.Embedding(times, 1)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        found: Tensor = x + self.table(index)[:, :, None, None]
        return found


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Maker:
    monkeypatch.setattr(architectures, "_makers", dict(architectures._makers))

    @register_network("Plugin")
    def made(config: dict[str, Any]) -> nn.Module:
        return Plugin(**config)

    return made


def plugged(folder: Path, config: dict[str, Any], **said: Any) -> Path:
    folder.mkdir()
    write(folder / CONFIG, config)
    torch.save({"ema": {"gain": torch.tensor(3.0)}}, folder / "ema.pt")
    files = {name: folder / name for name in (CONFIG, "ema.pt")}
    return folder_of(folder, files, architecture="Plugin", weights="ema.pt", state_key="ema", **said)


@pytest.mark.usefixtures("plugin")
def test_a_network_that_a_plugin_brings_is_loaded_with_the_card_s_weights_and_called_with_labels(
    tmp_path: Path,
) -> None:
    model = load_model(str(plugged(tmp_path / "mine", {"gain": 1.0}, classes=5)), CPU)
    x, labels = images(), torch.tensor([4, 0, 2])
    found = Denoiser(model.network, "epsilon", model.schedule, None, labels)(x, model.schedule.level(0.5)).eps
    torch.testing.assert_close(found, 3.0 * x + (499.0 + labels)[:, None, None, None])


@pytest.mark.usefixtures("plugin")
def test_a_plugin_s_network_that_fails_or_gives_another_shape_is_refused_before_it_samples(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not describe a Plugin: TypeError: .*unexpected keyword argument 'gian'"):
        load_model(str(plugged(tmp_path / "a", {"gian": 1.0})), CPU)
    with pytest.raises(UsageError, match=r"gave \(1, 6, 8, 8\); expected \(1, 3, 8, 8\)"):
        load_model(str(plugged(tmp_path / "b", {"gain": 1.0, "wide": True})), CPU)
    with pytest.raises(UsageError, match="failed on a state, a condition and labels of one image: IndexError"):
        load_model(str(plugged(tmp_path / "d", {"gain": 1.0, "most": 4}, classes=5)), CPU)
    learned = plugged(tmp_path / "c", {"gain": 1.0, "wide": True}, variance="learned_range")
    assert load_model(str(learned), CPU).network(images(), DiscreteVP.linear().level(0.5)).shape == (3, 6, 8, 8)


@pytest.mark.usefixtures("plugin")
def test_a_network_that_asks_for_classes_is_told_what_its_card_lacks(tmp_path: Path) -> None:
    class Labelled(nn.Module):
        def __init__(self, gain: float) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(gain))

        def forward(self, x: Tensor, condition: Tensor, y: Tensor) -> Tensor:
            return self.gain * x + y[:, None, None, None]

    register_network("Labelled")(lambda config: Labelled(**config))
    folder = plugged(tmp_path / "a", {"gain": 1.0})
    card = folder / CARD
    card.write_text(card.read_text().replace("'Plugin'", "'Labelled'"))
    with pytest.raises(UsageError, match=r"missing 1 required positional argument: 'y'.* say classes = N on the card"):
        load_model(str(folder), CPU)
    card.write_text(f"classes = 5\n{card.read_text()}")
    assert load_model(str(folder), CPU).card.classes == 5


def tabled(folder: Path, **said: Any) -> Path:
    """A network of ten times whose table holds 0, 100, ... 900, and the count of an average beside it."""
    folder.mkdir()
    write(folder / CONFIG, {"times": 10})
    state = {"module.table.weight": 100.0 * torch.arange(10.0)[:, None], "n_averaged": torch.tensor(7)}
    torch.save([{"ema": state}], folder / "last.pth.tar")
    files = {name: folder / name for name in (CONFIG, "last.pth.tar")}
    said |= {"schedule": {"kind": "linear", "train_steps": 10}, "weights": "last.pth.tar", "state_key": "0.ema"}
    return folder_of(folder, files, architecture="Table", **said)


class _Inner(nn.Module):
    """F of a network of EDM's: linear in the state, and not the same at every noise level."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.weight * x + condition[:, None, None, None]


class _Precond(_Inner):
    """D as EDMPrecond gives it: the same weights, asked with x and sigma, in a preconditioning of its own."""

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        sigma, data = sigma[:, None, None, None], 0.6
        std = (sigma**2 + data**2).sqrt()
        inner = super().forward(x / std, sigma.flatten().log() / 4)
        return data**2 / std**2 * x + sigma * data / std * inner


@pytest.mark.usefixtures("plugin")
def test_the_inner_network_of_edm_and_its_preconditioned_one_are_the_same_denoiser(tmp_path: Path) -> None:
    register_network("Inner")(lambda config: _Inner())
    register_network("Precond")(lambda config: _Precond())
    ways: dict[str, dict[str, Any]] = {"Inner": {"network": "edm", "sigma_data": 0.6}, "Precond": {"network": "sigma"}}
    models = []
    for name, way in ways.items():
        weights = tmp_path / name / "w.safetensors"
        weights.parent.mkdir()
        save_file({"weight": torch.tensor(0.7)}, weights)
        said = {"architecture": name, "weights": weights.name, "parametrisation": "sample", "schedule": {"kind": "ve"}}
        folder = folder_of(weights.parent, {weights.name: weights}, **said, **way)
        models.append(load_model(str(folder), CPU))
    for t in (0.001, 0.1, 1.0):
        torch.testing.assert_close(*(x0_of(model, images(), t) for model in models), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*DistributedDataParallel")
@pytest.mark.usefixtures("plugin")
def test_a_network_with_a_table_of_whole_times_says_what_it_needs_and_is_asked_at_the_nearest(tmp_path: Path) -> None:
    register_network("Table")(lambda config: Table(**config))
    with (
        pytest.warns(UserWarning, match="without the 'module' of DistributedDataParallel"),
        pytest.raises(UsageError, match=r"1 not the network's \(n_averaged\)\. .*ignore = \[\"n_averaged\"\]"),
    ):
        load_model(str(tabled(tmp_path / "a")), CPU)
    with pytest.raises(UsageError, match=r"failed on a state .*round_time = true on its card, or in the study's"):
        load_model(str(tabled(tmp_path / "b", ignore=["n_*"])), CPU)
    on_card = load_model(str(tabled(tmp_path / "c", ignore=["n_*"], round_time=True)), CPU)
    in_study = load_model(str(tmp_path / "b"), CPU, Changes(round_time=True))
    assert on_card.sha256 == in_study.sha256
    for t, index in ((1.0, 9), (0.5, 4), (0.449, 3), (0.451, 4), (0.45, 3), (0.55, 5), (0.02, 0)):  # halves to even
        for model in (on_card, in_study):
            found = model.network(torch.zeros(2, 3, 8, 8), model.schedule.level(t))
            assert (found == 100.0 * index).all(), (t, index, found[0, 0, 0, 0])


def test_two_networks_of_one_name_are_refused_but_a_plugin_may_be_read_twice(plugin: Maker) -> None:
    assert register_network("Plugin")(plugin) is plugin
    with pytest.raises(UsageError, match=r"two networks are called 'Plugin': .*made and .*Plugin; rename"):
        register_network("Plugin")(Plugin)  # type: ignore[arg-type]


@pytest.mark.usefixtures("plugin")
def test_a_plugin_s_network_that_ends_the_program_is_refused_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its evaluation, and where it is made."""
    folder = str(plugged(tmp_path / "a", {"gain": 1.0}))
    ends = {"forward": "failed on a state and a condition of one image", "__init__": "not describe a Plugin"}
    for name, said in ends.items():
        monkeypatch.setattr(Plugin, name, lambda *given, **named: sys.exit(0))
        with pytest.raises(UsageError, match=rf"{said}: SystemExit: 0 \(tests/models/test_plugin_networks.py:\d+\)"):
            load_model(folder, CPU)
