"""What a record's hashes of code cover: whatever a result comes from, and not more."""

from pathlib import Path

import pytest

from bench import sources
from bench.sources import architecture_sha256, code_sha256, sampler_sha256
from models.architectures import register_network
from models.zoo import load_model
from samplers import SAMPLERS, Sampler
from samplers.registry import load_file

_PLUGIN = '''
from dataclasses import dataclass
from samplers import register
from samplers.ddim import DDIM

FACTOR = {factor}

@register("test-sources")
@dataclass(frozen=True)
class Mine(DDIM):
    """A plugin."""
'''


def _later(cls: type[Sampler]) -> str:
    """The hash of a sampler as another process would find it, which has read no file yet."""
    sampler_sha256.cache_clear()
    return sampler_sha256(cls)


def _changed(monkeypatch: pytest.MonkeyPatch, file: str, sampler: str) -> bool:
    """Whether a sampler's hash changes with a file of the tree."""
    before, read = _later(SAMPLERS.get(sampler)), Path.read_text
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", lambda path: read(path) + ("#" if path.name == file else ""))
        return _later(SAMPLERS.get(sampler)) != before


@pytest.mark.parametrize(
    ("file", "sampler", "expected"),
    [
        ("ddim.py", "ddim", True),
        ("ddim.py", "ddpm", False),
        ("coefficients.py", "unipc", True),
        ("coefficients.py", "ddim", False),
        ("singlestep.py", "dpm-solver-3", True),
        ("dpm_solver_2.py", "dpm-solver-3", True),
        ("ddpm.py", "predictor-corrector", True),
        ("langevin.py", "predictor-corrector", True),
    ],
)
def test_a_sampler_is_measured_again_when_a_file_that_it_uses_changes(
    monkeypatch: pytest.MonkeyPatch, file: str, sampler: str, expected: bool
) -> None:
    assert _changed(monkeypatch, file, sampler) is expected


def test_a_file_that_changes_while_a_run_goes_on_changes_no_hash_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    code, sampler = code_sha256(), sampler_sha256(SAMPLERS.get("ddim"))
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path: read(path) + "#")
    assert (code_sha256(), sampler_sha256(SAMPLERS.get("ddim"))) == (code, sampler)


def test_a_plugin_that_builds_on_a_sampler_of_the_tree_depends_on_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "test_sources_plugin.py"
    plugin.write_text(_PLUGIN.format(factor=1))
    load_file(plugin)
    first = _later(SAMPLERS.get("test-sources"))
    assert _changed(monkeypatch, "ddim.py", "test-sources")
    plugin.write_text(_PLUGIN.format(factor=2))
    assert _later(SAMPLERS.get("test-sources")) != first


def test_a_network_that_a_plugin_brings_is_hashed_and_one_of_diffusers_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torch import nn

    model = load_model("digits", torch.device("cpu"))
    assert architecture_sha256(model) is None

    @register_network("test-sources-network")
    def made(config: dict[str, object]) -> nn.Module:
        return nn.Identity()

    object.__setattr__(model, "card", model.card.model_copy(update={"architecture": "test-sources-network"}))
    first = architecture_sha256(model)
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path: read(path) + ("#" if path == Path(__file__) else ""))
    assert first is not None
    sources._module_sha256.cache_clear()  # as in another process
    assert architecture_sha256(model) != first
