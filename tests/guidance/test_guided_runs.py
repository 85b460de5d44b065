"""Runs under guidance: what they cost, images as diffusers' schedulers make them, and what is refused before."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
import torch
from checkpoints import CIFAR10, CPU, folder_of, network, write
from commands import Cli
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from quiet import Quiet
from studies import study_toml
from torch import Tensor

from bench.record import RunFolder
from bench.running.resolve import resolve
from bench.running.runner import run_study
from bench.running.session import Session
from bench.running.trajectory import Start, Trajectory
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from models import architectures
from models.cards.changes import Changes
from models.guidance import GUIDANCES
from models.loading.layout import CONFIG, WEIGHTS
from models.loading.zoo import load_model

EXACT = {"classes": 10, "null_label": "none"}
TWICE = {"repeats": 2, "seconds": 0.0}


def conditional(folder: Path, *, seed: int = 0, said: dict[str, Any] | None = None, **unet: Any) -> Path:
    """A model folder of three classes, whose label for none is 3."""
    folder.mkdir()
    config = {"num_class_embeds": 4} | unet
    made = network(**config)
    draws = torch.Generator().manual_seed(seed)
    made.class_embedding.weight.data = 3.0 * torch.randn(made.class_embedding.weight.shape, generator=draws)
    made.save_pretrained(folder)
    write(folder / CONFIG, CIFAR10 | config)
    files = {name: folder / name for name in (CONFIG, WEIGHTS)}
    return folder_of(folder, files, **{"name": folder.name, "classes": 3, "null_label": 3} | (said or {}))


def run(path: Path, text: str) -> Any:
    """The records of a study, by sampler and guidance."""
    study, folder = parse_study(text, "test", Overrides()), RunFolder(path)
    run_study(study, Session.load(study), folder, force=False, progress=Quiet())
    return folder.load().set_index(["sampler", "guidance"]).sort_index()


def guided_study(model: str | Path, guidance: Sequence[str], **more: Any) -> str:
    text = study_toml(["heun", "dpm++2m", "restart"], [6], model=str(model), guidance=list(guidance), **more)
    return text.replace('["trailing"]', '["karras"]')


def test_every_evaluation_of_a_guidance_is_counted_and_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.running.solution.STEPS", 4)  # the distance is not looked at
    guidance = ["none", "cfg[scale=1]", "cfg[scale=3]", "cfg[scale=3,low=0.3,high=3]"]
    more = {"checkpoint": EXACT, "metrics": ["solver_error"], "solver_images": 1, "timing": TWICE}
    frame = run(tmp_path, guided_study("digits-mixture", guidance, **more))
    assert (frame["status"] == "ok").all()
    assert (frame["nfe"] == frame["nfe_declared"]).all()
    assert (frame["calls"] == frame["calls_declared"]).all()
    assert frame["timing_note"].fillna("").str.contains("WrongCount").sum() == 0
    for sampler, calls in (("heun", 11), ("dpm++2m", 6), ("restart", 19)):
        row = frame.loc[sampler]
        assert (row["calls"] == calls).all()
        assert row.loc[guidance[:3], "nfe"].tolist() == [calls, calls, 2 * calls]
        assert calls < row.loc[guidance[3], "nfe"] < 2 * calls
    assert frame["guidance_batches"].isna().all()  # of a law that is asked without labels


def test_an_evaluation_of_the_weaker_network_counts_as_one(tmp_path: Path) -> None:
    model, weaker = conditional(tmp_path / "full"), conditional(tmp_path / "weak", seed=1)
    auto = f"auto[scale=2,model={weaker}]"
    text = study_toml(["heun", "dpm++2m", "restart"], [4], model=str(model), guidance=[auto], baseline="ddpm")
    text = text.replace('["law"]', '["solver_error"]')
    study = parse_study(text, "test", Overrides())
    session = Session.load(study)
    for cell, calls in zip(plan(study), (4, 7, 4, 7), strict=True):
        trajectory = Trajectory(session, resolve(cell, session), None)
        with torch.inference_mode():
            trajectory(trajectory.start(torch.arange(2)))
        assert (trajectory.calls, trajectory.evaluations) == (2 * calls, 4 * calls), cell
    row = run(tmp_path / "run", text.replace('["heun", "dpm++2m", "restart"]', '["ddpm"]')).loc[("ddpm", auto)]
    assert row[["status", "calls", "nfe", "nfe_declared"]].tolist() == ["ok", 4, 8, 8]
    assert row["guidance_model"] == "weak"
    assert row["guidance_model_sha256"] not in (None, row["model_sha256"])
    assert 0.0 < row["guidance_gflop_per_evaluation"] <= row["gflop_per_evaluation"]


def by_hand(evaluate: Callable[[Tensor, Tensor, Tensor], Tensor], start: Start, steps: int) -> Tensor:
    """Classifier-free guidance at a scale of 4 as whoever uses diffusers writes it; of no class the label is 3."""
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing", set_alpha_to_one=True)
    scheduler.set_timesteps(steps)
    labels, x = cast(Tensor, start.labels), start.x
    for t in scheduler.timesteps:
        both = torch.cat([labels, torch.full_like(labels, 3)])
        conditional, unconditional = evaluate(torch.cat([x, x]), t, both)[:, :3].chunk(2)
        x = scheduler.step(unconditional + 4.0 * (conditional - unconditional), t, x).prev_sample
    return x


def require_by_hand(model: Path, evaluate: Callable[[Tensor, Tensor, Tensor], Tensor], *, together: bool) -> None:
    """That six images of ddim in ten steps at a scale of 4 are those."""
    text = study_toml(["ddim"], [10], model=str(model), guidance=["cfg[scale=4]"], metrics=["solver_error"])
    study = parse_study(text, "test", Overrides())
    session = Session.load(study)
    trajectory = Trajectory(session, resolve(plan(study)[0], session), None, together=together)
    start = trajectory.start(torch.arange(6))
    assert start.labels is not None
    assert len(start.labels.unique()) > 1
    with torch.inference_mode():
        found, expected = trajectory(start), by_hand(evaluate, start, 10)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-5 * float(expected.abs().max()))
    assert (trajectory.calls, trajectory.evaluations) == (60, 120)


@pytest.mark.parametrize("together", [True, False])
def test_images_are_those_of_a_guided_loop_around_diffusers_ddim(tmp_path: Path, together: bool) -> None:
    model = conditional(tmp_path / "model")
    unet = load_model(str(model), CPU).network.unet  # type: ignore[attr-defined]
    require_by_hand(model, lambda x, t, labels: unet(x, t, class_labels=labels).sample, together=together)


def test_a_transformer_that_says_its_variance_is_guided_in_its_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = {"in_channels": 3, "out_channels": 6, "sample_size": 8, "patch_size": 2, "num_embeds_ada_norm": 3}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dit = DiTTransformer2DModel(num_attention_heads=2, attention_head_dim=8, num_layers=2, **shape).eval()
        for parameter in dit.parameters():
            torch.nn.init.normal_(parameter, std=0.3)

    class Called(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dit = dit

        def forward(self, x: Tensor, condition: Tensor, labels: Tensor) -> Tensor:
            output: Tensor = self.dit(x, condition, labels).sample
            return output

    folder = tmp_path / "dit"
    folder.mkdir()
    torch.save(Called().state_dict(), folder / "weights.pt")
    monkeypatch.setattr(architectures, "_makers", architectures._makers | {"test-dit": lambda config: Called()})
    said = {"architecture": "test-dit", "weights": "weights.pt", "classes": 3, "null_label": 3}
    folder_of(folder, {"weights.pt": folder / "weights.pt"}, variance="learned_range", **said)
    require_by_hand(folder, lambda x, t, labels: dit(x, t.expand(len(x)), labels).sample, together=True)


def test_both_halves_as_one_batch_make_the_image_of_one_after_the_other(tmp_path: Path) -> None:
    study = parse_study(guided_study(conditional(tmp_path / "m"), ["cfg[scale=3]"], metrics=["solver_error"]), "", None)
    session = Session.load(study)
    found = []
    for together in (True, False):
        trajectory = Trajectory(session, resolve(plan(study)[1], session), None, together=together)
        with torch.inference_mode():
            found.append(trajectory(trajectory.start(torch.arange(5))))
    torch.testing.assert_close(*found, rtol=0.0, atol=1e-6 * float(found[0].abs().max()))


def test_where_one_batch_does_not_fit_the_halves_go_one_after_the_other_before_there_are_fewer_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = study_toml(
        ["ddpm"], [3], baseline="ddpm", model=str(conditional(tmp_path / "model")),
        metrics=["solver_error"], guidance=["cfg[scale=2]"], timing={"repeats": 1, "seconds": 0.0},
    )  # fmt: skip
    asked = list[bool]()
    original = Trajectory._sample

    def fails(self: Trajectory, *arguments: Any, **named: Any) -> Tensor:
        asked.append(self.together)
        if self.together:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(self, *arguments, **named)

    monkeypatch.setattr(Trajectory, "_sample", fails)
    row = run(tmp_path / "run", text).loc[("ddpm", "cfg[scale=2]")]
    assert row["status"] == "ok"
    assert (row["guidance_batches"], row["batch_halvings"], row["generation_batch"]) == (2, 0, 16)
    assert asked[:2] == [True, False]
    assert not any(asked[2:])  # timed as they were made


def test_the_solver_error_is_the_distance_from_the_guided_flow(tmp_path: Path) -> None:
    more: dict[str, Any] = {"checkpoint": EXACT, "metrics": ["solver_error"], "guidance": ["none", "cfg[scale=3]"]}
    frame = run(tmp_path, study_toml(["heun"], [40, 80], model="digits-mixture", baseline="heun", **more))
    for guidance in ("none", "cfg[scale=3]"):
        coarse, fine = frame.loc[("heun", guidance)].sort_values("steps")["solver_rmse_median"]
        assert 2.5 < coarse / fine < 5.5, guidance


PLUGIN = '''
from dataclasses import dataclass
from models.guidance import Guidance, register

@register("halfway")
@dataclass(frozen=True)
class Halfway(Guidance):
    """Halfway between the class and none."""

    evaluated = ("conditional", "unconditional")

    def join(self, *outputs):
        return (outputs[0] + outputs[1]) / 2
'''


def test_a_plugin_brings_a_guidance_whose_code_is_in_the_identity(tmp_path: Path, cli: Cli, registered: None) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    text = study_toml(["ddim"], [3], checkpoint=EXACT, metrics=["solver_error"], timing={"repeats": 0})
    (tmp_path / "study.toml").write_text(text)
    given = ["run", tmp_path / "study.toml", "--out", tmp_path / "run", "--guidance", "halfway,cfg[scale=0.5]"]
    assert "unknown guidance 'halfway'" in cli(*given, status=2).err
    cli(*given, "--plugin", tmp_path / "mine.py")
    frame: Any = RunFolder(tmp_path / "run").load().set_index("guidance")
    assert len(frame.loc["halfway", "guidance_code_sha256"]) == 64
    assert pd.isna(frame.loc["cfg[scale=0.5]", "guidance_code_sha256"])
    assert frame.loc["halfway", "solver_rmse"] == pytest.approx(frame.loc["cfg[scale=0.5]", "solver_rmse"], rel=1e-5)


def test_labels_reach_a_network_of_one_hot_rows_and_none_are_zeros(tmp_path: Path, registered: None) -> None:
    seen = list[Tensor]()

    class Rows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor, condition: Tensor, labels: Tensor) -> Tensor:
            seen.append(labels)
            return x * (labels @ self.gain).view(-1, 1, 1, 1)

    folder = tmp_path / "rows"
    folder.mkdir()
    torch.save(Rows().state_dict(), folder / "weights.pt")
    said = {"architecture": "test-rows", "weights": "weights.pt", "classes": 3, "null_label": "zeros"}
    makers: dict[str, Callable[..., Any]] = dict(architectures._makers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architectures, "_makers", makers | {"test-rows": lambda config: Rows()})
        model = load_model(str(folder_of(folder, {"weights.pt": folder / "weights.pt"}, **said)), CPU)
        x, at = torch.randn(2, 3, 8, 8), model.schedule.level(0.5)
        guided = model.guided(GUIDANCES.make("cfg[scale=2]"))
        found = model.denoiser(None, torch.tensor([2, 0]), guided)(x, at).eps
    assert seen[-1].tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(found, 2.0 * x)


@pytest.mark.parametrize(
    ("checkpoint", "guidance", "said"),
    [
        ({}, "cfg[scale=2]", "cfg[scale=2] needs a model with classes that knows images without one, too; model"),
        ({"classes": 10}, "apg[scale=2]", "has the classes 0 ... 9 alone: say the null_label that it was trained with"),
        (
            EXACT,
            "auto[scale=2,model=digits]",
            "differ in parametrisation: sample and epsilon; classes: 10",
        ),
        (EXACT, "auto[scale=2,model=nowhere]", "unknown model 'nowhere'"),
        (EXACT, "cfg[scale=2,low=3,high=2]", "expected low < high, got {'scale': 2, 'low': 3"),
        ({"classes": 9, "null_label": "none"}, "cfg[scale=2]", "has 10 components, which are the classes"),
    ],
)
def test_a_guidance_that_does_not_go_with_the_model_ends_the_study_before_it_runs(
    tmp_path: Path, cli: Cli, checkpoint: dict[str, Any], guidance: str, said: str
) -> None:
    more: dict[str, Any] = {"checkpoint": checkpoint} if checkpoint else {}
    (tmp_path / "study.toml").write_text(study_toml(metrics=["solver_error"], **more))
    printed = cli("run", tmp_path / "study.toml", "--out", tmp_path / "run", "--guidance", guidance, status=2)
    assert said in " ".join(printed.err.split())
    assert not (tmp_path / "run").exists()


def test_a_generator_and_labels_outside_of_the_classes_are_refused(tmp_path: Path, cli: Cli) -> None:
    for name, text, said in (
        ("vae", study_toml(["one-step"], [1], baseline="one-step", model="digits-vae", metrics=["fd"],
                           guidance=["auto[scale=2,model=digits-vae]"]), "model 'digits-vae' is a generator"),
        ("null", study_toml(model=str(conditional(tmp_path / "model")), metrics=["solver_error"], label=3),
         "has the classes 0 ... 2"),
    ):  # fmt: skip
        (tmp_path / f"{name}.toml").write_text(text)
        assert said in " ".join(cli("run", tmp_path / f"{name}.toml", "--out", tmp_path / "r", status=2).err.split())


def test_changing_what_stands_for_no_class_is_another_model() -> None:
    plain = load_model("digits-mixture", CPU, Changes(classes=10))
    assert plain.sha256 != load_model("digits-mixture", CPU, Changes(classes=10, null_label="none")).sha256
