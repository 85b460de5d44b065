"""What a study runs on."""

import subprocess
from pathlib import Path

import pytest
import torch

from bench import environment
from bench.environment import device_name, pick_device
from models.common.errors import UsageError


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_gpu_is_picked_with_its_number_without_which_it_cannot_be_made_the_current_device(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device(name) == torch.device("cuda", 0)


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "gpu"])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match="this machine has: auto, cpu"):
        pick_device(name)


@pytest.mark.parametrize("name", ["ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"])
def test_a_cpu_whose_instructions_are_left_out_is_another_device(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Rows that are timed so are several times slower, and a run that goes on would put them beside the others."""
    plain, cpu = device_name(torch.device("cpu")), torch.device("cpu")
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    assert device_name(cpu) == plain
    monkeypatch.setenv(name, "AVX2")
    assert device_name(cpu) == f"{plain}, {name}=AVX2"


def test_a_gpu_that_every_kernel_waits_for_is_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GPU")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert device_name(torch.device("cuda", 0)) == "GPU"
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    assert device_name(torch.device("cuda", 0)) == "GPU, CUDA_LAUNCH_BLOCKING=1"


def _git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_is_of_the_repository_that_tracks_the_package_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment inside of someone's repository, ignored or not, is not of that repository."""
    file = tmp_path / ".venv" / "site-packages" / "bench" / "environment.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    (tmp_path / "theirs.py").write_text("")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", "theirs.py")
    _git(tmp_path, "commit", "-qm", "Theirs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "__file__", str(file))
    device = torch.device("cpu")
    none = environment.describe(device)
    assert (none["git_commit"], none["git_dirty"]) == (None, None)
    _git(tmp_path, "add", "-f", ".venv")
    _git(tmp_path, "commit", "-qm", "The package")
    tracked = environment.describe(device)
    assert (tracked["git_commit"], tracked["git_dirty"]) == (_git(tmp_path, "rev-parse", "HEAD"), False)
    file.write_text("# changed")
    assert environment.describe(device)["git_dirty"] is True


def test_this_checkout_has_its_own_commit_whatever_repository_git_is_pointed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(environment.__file__).parents[1]
    if not (root / ".git").exists():
        pytest.skip("this is no checkout")
    expected = _git(root, "rev-parse", "HEAD")
    _git(tmp_path, "init", "-q")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert environment.describe(torch.device("cpu"))["git_commit"] == expected
