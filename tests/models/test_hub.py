"""A model of the hub is one commit of a repository, fetched through huggingface_hub's cache, weights last."""

import shutil
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
import torch
from checkpoints import COMMIT, CPU, images, into_cache, make, network
from huggingface_hub import constants, errors

from models.cards.changes import Changes
from models.common.errors import UsageError
from models.common.files import sha256_of
from models.loading.layout import CONFIG, WEIGHTS
from models.loading.sources import CARD, ZOO, describe_model
from models.loading.zoo import load_model

_NAME = "owner/ddpm-cifar10"
_SPEC = f"hf:{_NAME}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no way out: HF_HOME and HF_HUB_OFFLINE as they are read on import."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


@pytest.mark.parametrize("flat", [False, True])
def test_a_cached_repository_is_the_model_in_its_files(cache: Path, tmp_path: Path, flat: bool) -> None:
    folder = make(tmp_path / "ddpm-cifar10", flat=flat)
    into_cache(cache, folder, _NAME)
    model, local = load_model(_SPEC, CPU), load_model(str(folder), CPU)
    assert model.source == f"hf:{_NAME}@{COMMIT}"
    assert model.card.name == "ddpm-cifar10"
    assert model.sha256 == local.sha256
    torch.testing.assert_close(model.network(images(), model.schedule.level(0.5)), network()(images(), 499).sample)
    assert describe_model(_SPEC) == model.card.model_copy(update={"files": {}})


def test_a_revision_is_the_commit_that_it_names(cache: Path, tmp_path: Path) -> None:
    folder, other = make(tmp_path / "one"), "f" * 40
    into_cache(cache, folder, _NAME)
    into_cache(cache, make(tmp_path / "two", sample_size=16), _NAME, other, "v2")
    assert describe_model(_SPEC).shape == (3, 8, 8)
    for spec in (f"{_SPEC}@v2", f"{_SPEC}@{other}"):
        model = load_model(spec, CPU)
        assert (model.source, model.card.shape) == (f"hf:{_NAME}@{other}", (3, 16, 16))


def test_a_repository_with_a_card_is_a_model_folder(cache: Path) -> None:
    into_cache(cache, ZOO / "digits", "owner/digits")
    model, embedded = load_model("hf:owner/digits", CPU), load_model("digits", CPU)
    assert (model.card, model.sha256) == (embedded.card, embedded.sha256)
    assert (model.folder / CARD).is_file()
    assert model.source == f"hf:owner/digits@{COMMIT}"


@pytest.mark.parametrize(
    ("name", "kind"),
    [(f"unet/{WEIGHTS}", "sha256"), (f"unet/{CONFIG}", "git hash"), ("scheduler/scheduler_config.json", "git hash")],
)
def test_a_file_that_is_not_what_the_cache_names_it_by_is_refused(
    cache: Path, tmp_path: Path, name: str, kind: str
) -> None:
    snapshot = into_cache(cache, make(tmp_path / "model"), _NAME)
    load_model(_SPEC, CPU)
    blob = (snapshot / name).resolve()
    content = bytearray(blob.read_bytes())
    if kind == "sha256":
        content[-1] ^= 1
    else:
        content += b" "
    blob.write_bytes(content)
    with pytest.raises(
        UsageError, match=f"is damaged: its {kind} is [0-9a-f]+ and not the hub's, {blob.name}. Delete {blob}"
    ):
        load_model(_SPEC, CPU)


@pytest.mark.parametrize("origin", ["hub", "folder", "card"])
def test_weights_are_recorded_by_the_hash_of_their_file_which_a_study_may_pin(
    cache: Path, tmp_path: Path, origin: str
) -> None:
    folder = make(tmp_path / "model")
    into_cache(cache, folder, _NAME)
    spec = {"hub": _SPEC, "folder": str(folder), "card": "digits"}[origin]
    model = load_model(spec, CPU)
    found = model.weights_sha256
    assert found == sha256_of(ZOO / "digits" / WEIGHTS if origin == "card" else folder / "unet" / WEIGHTS)
    assert found in model.card.files.values()
    load_model(spec, CPU, Changes(weights_sha256=found))
    with pytest.raises(UsageError, match=f"have sha256 {found}, but the study's weights_sha256 is {'0' * 64}"):
        load_model(spec, CPU, Changes(weights_sha256="0" * 64))


def test_what_is_not_cached_says_how_to_get_it(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        load_model(_SPEC, CPU)
    for said in (f"cannot get {_SPEC} from the hub", "HF_HOME", "HF_HUB_OFFLINE", f"hf download {_NAME} --local-dir"):
        assert said in str(error.value)
    into_cache(cache, make(tmp_path / "model"), _NAME)
    with pytest.raises(UsageError, match=f"cannot get {_SPEC}@v9 from the hub"):
        load_model(f"{_SPEC}@v9", CPU)


def test_a_repository_of_which_only_the_configurations_are_cached_says_so(cache: Path, tmp_path: Path) -> None:
    folder = make(tmp_path / "model")
    (folder / "unet" / WEIGHTS).unlink()
    into_cache(cache, folder, _NAME)
    assert describe_model(_SPEC).shape == (3, 8, 8)
    with pytest.raises(UsageError, match=rf"^hf:{_NAME}@{COMMIT} has none of unet/{WEIGHTS}, .* unset HF_HUB_OFFLINE"):
        load_model(_SPEC, CPU)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../../refs/main"])
def test_a_stranger_s_card_names_no_file_out_of_its_repository(cache: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(ZOO / "digits", tmp_path / "model"))
    (folder / CARD).write_text((folder / CARD).read_text().replace("[files]", f'[files]\n"{name}" = "00"'))
    into_cache(cache, folder, _NAME)
    with pytest.raises(UsageError, match="expected paths inside of the card's folder"):
        load_model(_SPEC, CPU)


@pytest.mark.parametrize("spec", ["hf:name", "hf:a/b/c", "hf:owner/", "hf:owner/name@"])
def test_a_specification_that_is_none_says_how_it_is_written(spec: str) -> None:
    with pytest.raises(UsageError, match=r"expected hf:owner/name or hf:owner/name@revision"):
        describe_model(spec)


def _answer(kind: type[errors.HfHubHTTPError]) -> errors.HfHubHTTPError:
    made = kind.__new__(kind)  # without a response of the server, of which only the class matters here
    made.args = ("the server's message",)
    return made


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (errors.GatedRepoError, "Accept its conditions on its page while logged in, then set HF_TOKEN"),
        (errors.RepositoryNotFoundError, "a private repository needs HF_TOKEN"),
        (errors.RevisionNotFoundError, "Look up the branches, tags and commits"),
        (errors.HfHubHTTPError, "the hub was not reached"),
    ],
)
def test_what_the_hub_refuses_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, kind: type[errors.HfHubHTTPError], said: str
) -> None:
    def refuse(*args: object, **kwargs: object) -> str:
        raise _answer(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(UsageError) as error:
        describe_model(_SPEC)
    assert said in str(error.value)
    assert kind.__name__ in str(error.value)


class Upstream:
    """A server of one repository: copies what is asked for, and remembers it."""

    def __init__(self, folder: Path, snapshot: Path) -> None:
        self.folder, self.snapshot = folder, snapshot
        self.fetched: list[str] = []

    def download(self, repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert (repository, revision) == (_NAME, COMMIT if self.fetched else None)
        for path in (each for each in self.folder.rglob("*") if each.is_file()):
            name = str(path.relative_to(self.folder))
            if any(fnmatch(name, pattern) for pattern in allow_patterns):
                self.fetched.append(name)
                (self.snapshot / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, self.snapshot / name)
        return str(self.snapshot)


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    folder = make(tmp_path / "upstream", flat=True)
    for name in ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors", "other.ckpt", "README.md"):
        (folder / name).write_bytes(b"")
    server = Upstream(folder, tmp_path / "snapshots" / COMMIT)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", server.download)
    return server


_CONFIGS = ["config.json", "model_index.json", "scheduler_config.json"]


def test_only_what_is_needed_is_fetched_and_weights_only_to_be_loaded(upstream: Upstream) -> None:
    describe_model(_SPEC)
    assert sorted(upstream.fetched) == _CONFIGS
    upstream.fetched.clear()
    load_model(_SPEC, CPU)
    assert sorted(upstream.fetched) == sorted([*_CONFIGS, WEIGHTS])


def test_pickled_weights_are_fetched_only_where_there_are_no_others(upstream: Upstream) -> None:
    (upstream.folder / WEIGHTS).unlink()
    torch.save(network().state_dict(), upstream.folder / "diffusion_pytorch_model.bin")
    model = load_model(_SPEC, CPU)
    assert sorted(upstream.fetched) == sorted([*_CONFIGS, "diffusion_pytorch_model.bin"])
    torch.testing.assert_close(model.network(images(), model.schedule.level(0.5)), network()(images(), 499).sample)


def test_a_model_that_cannot_be_used_is_refused_before_its_weights_are_fetched(upstream: Upstream) -> None:
    with pytest.raises(UsageError, match="network 'unet' is conditioned on a schedule"):
        load_model(_SPEC, CPU, Changes.model_validate({"schedule": {"kind": "flow"}}))
    assert sorted(upstream.fetched) == _CONFIGS
