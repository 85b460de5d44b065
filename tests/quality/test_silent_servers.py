"""A server that takes a connection and never answers is given up, and the error says what was asked of whom."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import torch
from checkpoints import into_cache
from huggingface_hub import close_session, constants
from torchvision.datasets import CIFAR10

from bench.quality import extractor_weights
from bench.quality.datasets import ROOT_VARIABLE, open_data
from bench.quality.extractor_weights import Official, checked_weights
from bench.quality.extractors import Chosen, load_extractor
from models.common.errors import UsageError
from models.loading.sources import ZOO, describe_model


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address; whoever asks it is connected, and that is all."""
    monkeypatch.setattr("bench.quality.downloads.PATIENCE_S", 0.1)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def hub(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The hub is that server, and its cache is empty."""
    monkeypatch.setattr(constants, "ENDPOINT", server)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.1)
    close_session()  # a client of before knows other proxies
    yield tmp_path / "cache"
    close_session()


def test_a_model_of_a_silent_hub_is_given_up(hub: Path, server: str) -> None:
    with pytest.raises(UsageError) as error:
        describe_model("hf:owner/name")
    said = str(error.value)
    assert said.startswith(
        f"cannot get hf:owner/name from the hub: {server} was asked for it and did not answer within 0.1 s"
    )
    for remedy in ("HF_ENDPOINT", "HF_HUB_ETAG_TIMEOUT", "hf download owner/name --local-dir FOLDER"):
        assert remedy in said


def test_a_model_that_is_in_the_cache_needs_no_answer(hub: Path) -> None:
    into_cache(hub, ZOO / "digits", "owner/digits")
    assert describe_model("hf:owner/digits").name == "digits"


def test_a_data_set_of_a_silent_server_is_given_up(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    monkeypatch.setattr(CIFAR10, "url", f"{server}/cifar.tar.gz")
    said = (
        rf"CIFAR-10 cannot be downloaded \({server}/cifar.tar.gz was asked for and did not come within 0.1 s\)\. Put "
    )
    with pytest.raises(UsageError, match=said):
        open_data("cifar10")
    assert socket.getdefaulttimeout() is None


def test_a_repository_of_torchs_hub_on_a_silent_server_is_given_up(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "load", lambda *given, **named: urlopen(server))
    said = r"torch's hub \(the repository facebookresearch/dinov2 of github.com, or its .* did not come within 0.1 s\)"
    with pytest.raises(UsageError, match=said):
        load_extractor(Chosen("dinov2-vit-s-14"), None, torch.device("cpu"))


def test_weights_of_a_silent_server_are_given_up(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official = Official(f"{server}/weights.pth", "weights.pth", "0" * 8)
    monkeypatch.setattr(extractor_weights, "official_file", lambda name: official)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    said = (
        rf"cannot be downloaded \({official.url} was asked for and did not come within 0.1 s\); download {official.url}"
    )
    with pytest.raises(UsageError, match=said):
        checked_weights("vgg16", None, None)
    assert not list((tmp_path / "checkpoints").iterdir())
