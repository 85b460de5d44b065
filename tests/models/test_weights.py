"""Files of weights are read as tensors or refused: nothing that runs code, nothing damaged, nothing guessed."""

import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.common.errors import UsageError
from models.common.files import joint_sha256
from models.loading.weights import load_state, load_weights


def _state() -> dict[str, Tensor]:
    return {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([-1.0, 2.0])}


def _same(found: Mapping[str, Tensor]) -> None:
    assert found.keys() == _state().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in _state().items())


_NAMES = ["a.pt", "a.pth", "a.bin", "a.ckpt", "a.safetensors", "a.pth.tar", "a.tar", "a.PTH", "a.SAFETENSORS"]


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("old", [False, True])
def test_state_dicts_are_read_as_they_were_written(tmp_path: Path, name: str, old: bool) -> None:
    path = tmp_path / name
    if path.suffix.lower() == ".safetensors":
        save_file(_state(), path)
    else:
        torch.save(_state(), path, _use_new_zipfile_serialization=not old)
    _same(load_state(path))
    module = load_weights(nn.Linear(3, 2), path)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(x), x @ _state()["weight"].T + _state()["bias"])


def test_a_named_part_of_a_file_is_read_only_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    torch.save({"ema": _state(), "step": 7, "optimiser": {"lr": 0.1}}, path)
    _same(load_state(path, "ema"))
    with pytest.raises(UsageError) as error:
        load_state(path)
    assert "is no state dict; it holds ema (dict), step (int), optimiser (dict)" in str(error.value)
    assert "state_key" in str(error.value)
    for key, said in (("model", "has no 'model', which the card's state_key names"), ("step", "it holds a int")):
        with pytest.raises(UsageError, match=said):
            load_state(path, key)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"ema": {"model": _state()}, "step": 7}, "ema.model"),
        ({"ema.model": _state(), "ema": {"decay": 0.9}}, "ema.model"),
        ([{"step": 7}, _state()], "1"),
        ({"models": [_state(), {"lr": 0.1}]}, "models.0"),
        ({0: (None, {"net.ema": _state()})}, "0.1.net.ema"),
        ({"state_dict": {f"model.net.{name}": tensor for name, tensor in _state().items()}}, "state_dict.model.net"),
    ],
)
def test_a_dotted_key_leads_to_a_state_dict_however_deep_it_lies(tmp_path: Path, content: Any, key: str) -> None:
    torch.save(content, tmp_path / "training.pt")
    _same(load_state(tmp_path / "training.pt", key))


def test_the_beginning_of_names_is_a_key_in_safetensors_too(tmp_path: Path) -> None:
    save_file({f"ema.{name}": tensor for name, tensor in _state().items()}, tmp_path / "a.safetensors")
    _same(load_state(tmp_path / "a.safetensors", "ema"))
    with pytest.raises(UsageError, match="has no 'model', which the card's state_key names; it holds ema"):
        load_state(tmp_path / "a.safetensors", "model")


def test_the_keys_that_there_are_to_choose_from_are_those_that_work(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    optimiser = {number: {"average": torch.zeros(2)} for number in range(20)}
    torch.save([{"optimiser": {"state": optimiser}, "models": {"ema": _state(), "raw": _state()}}, 7], path)
    with pytest.raises(UsageError) as error:
        load_state(path)
    said = str(error.value)
    assert "is no state dict; it holds a list of 2: 0 (dict), 1 (int). State dicts in it are" in said
    assert '"0.models.ema" (2 tensors), "0.models.raw" (2 tensors), "0.optimiser.state.0" (1 tensor)' in said
    assert "and 14 smaller ones" in said
    for key in ("0.models.ema", "0.models.raw"):
        _same(load_state(path, key))
    with pytest.raises(UsageError, match=r"training.pt: '0.models', .* is no state dict; it holds ema .*0.models.ema"):
        load_state(path, "0.models")


def test_what_stands_between_the_tensors_of_a_state_dict_is_named_first(tmp_path: Path) -> None:
    torch.save(_state() | {"step": 7}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match=r"it holds step \(int\), weight .*There is no state dict in it"):
        load_state(tmp_path / "a.pt")


class _Counter:
    """What a pickle runs when it is read."""

    ran = 0

    def __init__(self) -> None:
        type(self).ran += 1

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (_Counter, ())


def _save(content: Callable[[], Any]) -> Callable[[Path], None]:
    return lambda path: torch.save(content(), path)


def _script(path: Path) -> None:
    """The members of a TorchScript archive, which is what tells it from a state dict of the same suffix."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/code/__torch__.py", "")
        archive.writestr("net/constants.pkl", b"")


def _half(path: Path) -> None:
    torch.save(_state(), path)
    path.write_bytes(path.read_bytes()[:200])


def _packed(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name))

    return write


def _pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


_CONVERT = 'save_file(state, "diffusion_pytorch_model.safetensors")'


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        (
            "network.pt",
            _save(lambda: nn.Linear(3, 2)),
            ("would run code: it is not read (it asks for torch.nn.modules.linear", _CONVERT),
        ),
        ("lightning.ckpt", _save(lambda: {"state_dict": _state(), "hooks": _Counter()}), ("would run code", _CONVERT)),
        ("edm.pkl", _save(_Counter), ("a pickle, and reading one runs whatever code is in it", _CONVERT)),
        ("exported.pt2", _save(_state), ("an exported program, not weights", _CONVERT)),
        ("script.pt", _script, ("is a TorchScript archive, a program: it is not run", _CONVERT)),
        ("half.pth", _half, ("damaged, or cut short?",)),
        ("zeros.tar", lambda path: path.write_bytes(bytes(20_000)), ("damaged, or cut short?",)),
        ("first.tar", _packed("sys_info", "pickle", "tensors", "storages"), ("PyTorch's first releases", _CONVERT)),
        ("files.tar", _packed("a/checkpoint", "a/model.index"), ("an archive of files (a/checkpoint, a/model.index)",)),
        ("half.safetensors", _half, ("as safetensors (damaged, or cut short?)",)),
        ("pointer.bin", _pointer, ("is a pointer of git LFS, not the file: run git lfs pull",)),
        ("pointer.safetensors", _pointer, ("is a pointer of git LFS, not the file: run git lfs pull",)),
        ("list.pt", _save(lambda: [1, 2]), ("it holds a list",)),
        ("weights.npz", _save(_state), ("is no file of weights that is known here; expected one of .safetensors",)),
    ],
)
def test_what_is_not_tensors_alone_is_refused_without_running_it(
    tmp_path: Path, name: str, write: Callable[[Path], None], said: tuple[str, ...]
) -> None:
    path = tmp_path / name
    write(path)
    ran = _Counter.ran
    with pytest.raises(UsageError) as error:
        load_state(path)
    assert _Counter.ran == ran
    assert all(each in str(error.value) for each in said), str(error.value)
    assert "`False`" not in str(error.value)  # as torch advises


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, wrong: float, dtype: torch.dtype) -> None:
    state = {"good": torch.zeros(2), "count": torch.tensor(3), "bad": torch.tensor([0.0, wrong], dtype=dtype)}
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(UsageError, match="bad has weights that are NaN or infinite"):
        load_state(tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("bias"), r"1 missing \(bias\)"),
        (lambda s: s.update(more=s["bias"]), r"1 not the network's \(more\)"),
        (lambda s: s.update(bias=torch.zeros(3)), "Error"),
    ],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], said: str
) -> None:
    state = _state()
    change(state)
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=f"do not fit the network of its config: {said}"):
        load_weights(nn.Linear(3, 2), tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda weight: weight.to_sparse(), "weight is sparse, and no layer is"),
        (lambda weight: weight.to_sparse_csr(), "weight is sparse, and no layer is"),
        (lambda weight: weight.to("meta"), r"weight has a shape and no numbers \(meta device\)"),
        (lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8), r"no real numbers \(weight\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:torch.quantize_per_tensor")
def test_tensors_that_no_layer_has_as_they_are_are_refused_by_name(
    tmp_path: Path, other: Callable[[Tensor], Tensor], said: str
) -> None:
    torch.save(_state() | {"weight": other(_state()["weight"])}, tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=said):
        load_weights(nn.Linear(3, 2), tmp_path / "weights.pt")


def test_one_hash_stands_for_several_files_in_their_order() -> None:
    assert joint_sha256(["ab"]) == "ab"
    # printf 'abcd' | sha256sum
    assert joint_sha256(["ab", "cd"]) == "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589"


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
def test_codes_of_weights_are_no_weights(tmp_path: Path, dtype: torch.dtype) -> None:
    """torch copies them into a network as they are."""
    save_file({"weight": torch.ones(2, 2).to(dtype), "bias": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"1 of its tensors are no real numbers \(weight\)"):
        load_weights(nn.Linear(2, 2), tmp_path / "model.safetensors")
