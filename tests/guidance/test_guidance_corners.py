"""What is easily forgotten of guidance: code in identities, labels of no class, graphs, compilation, jumps, plugins."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import CPU, folder_of
from commands import Cli
from guided import LABELS, mixture
from studies import study_toml
from torch import Tensor

from bench.fitting.flow import solve
from bench.running.code_hash import guidance_code_sha256
from bench.running.generation import Generation
from bench.running.resolve import Resolved, resolve
from bench.running.session import Session
from bench.running.trajectory import Trajectory
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import most_steps, plan
from models import architectures
from models.common.errors import UsageError
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.guidance import GUIDANCES, Guidance, register
from models.guidance.guided import Guided
from models.loading.zoo import load_model
from models.networks.modes import Mode
from models.schedule import VE, DiscreteVP
from samplers import SAMPLERS

NETWORK = """
import torch
from models.architectures import register_network

class Scaled(torch.nn.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.table = torch.nn.Embedding(classes, 1)

    def forward(self, x, condition, labels=None):
        return GAIN * x * (1.0 if labels is None else self.table(labels)[:, :, None, None])

@register_network("NAME")
def made(config):
    return Scaled()
"""


@pytest.fixture(autouse=True)
def makers(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "_makers", dict(architectures._makers))


def plugged(folder: Path, name: str, gain: float, **said: Any) -> Path:
    """A model folder whose network a plugin file makes, loaded."""
    from samplers.registry import load_file

    folder.mkdir(exist_ok=True)
    torch.save({"table.weight": torch.tensor([[0.1], [0.2], [0.3], [0.0]])}, folder / "weights.pt")
    plugin = folder / f"{name}.py"
    plugin.write_text(NETWORK.replace("GAIN", str(gain)).replace("NAME", name))
    load_file(plugin)
    card = {"name": name, "architecture": name, "weights": "weights.pt", "classes": 3, "null_label": 3} | said
    return folder_of(folder, {"weights.pt": folder / "weights.pt"}, **card)


def resolved(model: str | Path, guidance: str, **more: Any) -> tuple[Session, Resolved]:
    text = study_toml(["ddim"], [4], model=str(model), guidance=[guidance], metrics=["solver_error"], **more)
    study = parse_study(text, "test", Overrides())
    session = Session.load(study)
    return session, resolve(plan(study)[0], session)


def test_the_weaker_network_s_code_is_in_the_identity(tmp_path: Path) -> None:
    model, found = plugged(tmp_path / "a", "test-main", 1.0), list[dict[str, Any]]()
    for gain in (1.0, 5.0):
        architectures._makers.pop("test-weak", None)
        weaker = plugged(tmp_path / f"weak-{gain}", "test-weak", gain)
        found.append(resolved(model, f"auto[scale=2,model={weaker}]")[1].predictions)
    assert found[0]["guidance_model_sha256"] == found[1]["guidance_model_sha256"]  # the same weights and card
    assert found[0]["guidance_architecture_sha256"] != found[1]["guidance_architecture_sha256"]


def test_the_code_of_a_guidance_that_is_not_ours_is_hashed_wherever_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "test_guides"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from models.guidance.none import Unguided\nclass Mine(Unguided): ...\n")
    monkeypatch.syspath_prepend(package.parent)
    from test_guides import Mine  # type: ignore[import-not-found]

    assert len(guidance_code_sha256(Mine()) or "") == 64
    assert guidance_code_sha256(GUIDANCES.make("cfg[scale=2]")) is None


def test_only_halves_of_one_network_that_take_labels_can_be_one_batch(tmp_path: Path) -> None:
    model, weaker = plugged(tmp_path / "a", "test-main", 1.0), plugged(tmp_path / "b", "test-weak", 1.0)
    blind = plugged(tmp_path / "c", "test-blind", 1.0, null_label="none")
    auto, cfg = f"auto[scale=2,model={weaker}]", "cfg[scale=2]"
    for folder, guidance, halves in ((model, cfg, True), (model, auto, False), (blind, cfg, False)):
        session, cell = resolved(folder, guidance)
        assert cell.has_halves == halves
        assert Trajectory(session, cell, None).split() == halves
    whole = [(size, labelled) for _, size, labelled in resolved(model, cfg)[1].first_evaluations(8)]
    apart = [(size, labelled) for _, size, labelled in resolved(model, cfg)[1].first_evaluations(8, together=False)]
    inside = [(size, labelled) for _, size, labelled in resolved(model, "cfg[scale=2,high=1]")[1].first_evaluations(8)]
    assert (whole, apart, inside) == ([(16, True)], [(8, True)], [(8, True), (16, True)])
    assert [(size, labelled) for _, size, labelled in resolved(blind, cfg)[1].first_evaluations(8)] == [
        (8, True),
        (8, False),
    ]
    assert [each.card.name for each, _, _ in resolved(model, auto)[1].first_evaluations(8)] == [
        "test-main",
        "test-weak",
    ]


def test_a_network_without_a_row_for_no_class_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"of no class, null_label = 4: architecture 'test-short' failed on"):
        load_model(str(plugged(tmp_path / "a", "test-short", 1.0, null_label=4)), CPU)


def test_a_graph_is_captured_anew_where_halves_take_less_memory_at_the_same_size() -> None:
    done = list[str]()

    class Memory(Trajectory):
        """Stands for one whose joined halves do not fit."""

        device, sampler, shape, together = CPU, "it", (1, 2, 2), True

        def __init__(self) -> None: ...

        def start(self, numbers: Tensor) -> Any:
            return numbers

        def compile(self, batch: int) -> None:
            done.append(f"compile {batch}")

        def capture(self, numbers: Tensor) -> None:
            done.append(f"capture {len(numbers)}")

        def split(self) -> bool:
            was, self.together = self.together, False
            return was

        def release(self) -> None:
            done.append("release")

        def __call__(self, start: Any) -> Tensor:
            if self.together:
                raise torch.OutOfMemoryError("CUDA out of memory")
            done.append("made")
            return torch.zeros(len(start), 1, 2, 2)

    assert sum(len(each) for each in Generation(Memory(), range(8), 4, fixed=True)) == 8
    assert done == ["compile 4", "capture 4", "release", "compile 4", "capture 4", "made", "made"]


def test_the_solution_of_a_flow_that_jumps_at_the_ends_of_an_interval_keeps_its_order() -> None:
    schedule, guidance = DiscreteVP.linear(), GUIDANCES.make("cfg[scale=3,low=0.19,high=1.61]")
    guided = Guided(mixture(), guidance, "sample", "none")
    model = Denoiser(guided, guided.parametrisation, schedule, labels=LABELS)
    first, last = schedule.level(1.0), schedule.level(0.01)
    x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = solve(model, x, first, last, 1600, guidance.interval)
    errors = [
        float((solve(model, x, first, last, n, guidance.interval) - exact).square().mean()) ** 0.5 for n in (50, 100)
    ]
    across = float((solve(model, x, first, last, 100) - exact).square().mean()) ** 0.5
    assert errors[0] / errors[1] > 8.0
    assert across > 30.0 * errors[1]


def test_a_budget_buys_the_most_steps_under_an_interval_in_which_there_may_be_fewer() -> None:
    guidance, schedule = GUIDANCES.make("cfg[scale=3,low=0.5,high=0.8]"), VE(0.002, 80.0)
    from bench.study.evaluations import declared_nfe

    for sampler in ("langevin", "restart", "heun"):
        made, grid = SAMPLERS.make(sampler), GRIDS.make("karras")
        taken = {n: declared_nfe(sampler, made, guidance, grid(schedule, n), schedule) or 0 for n in range(1, 21)}
        for budget in (10, 15, 19):
            within = [steps for steps, nfe in taken.items() if nfe <= budget]
            assert most_steps(made, grid, schedule, budget, guidance) == max(within), (sampler, budget)


@dataclass(frozen=True)
class Odd(Guidance):
    """Says what a test lets it say."""

    said: str = ""

    @property
    def evaluated(self) -> Any:
        return {"": (), "typo": ("conditional", "uncondtional"), "weak": ("weaker",)}.get(
            self.said, ("conditional", "unconditional")
        )

    @property
    def interval(self) -> tuple[float, float]:  # type: ignore[override]
        return (3.0, 2.0) if self.said == "interval" else (0.0, float("inf"))

    def join(self, *outputs: Tensor) -> Tensor:
        return outputs[0].mean(0, keepdim=True)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", r"evaluates \(\); expected one or more of conditional, unconditional, weaker, each once"),
        ("typo", "evaluates .*uncondtional.*; expected"),
        ("weak", "evaluates a weaker model and names none"),
        ("interval", "has the interval 3 ... 2"),
    ],
)
def test_a_guidance_that_evaluates_what_there_is_not_is_refused(said: str, expected: str) -> None:
    register("odd")(Odd)
    with pytest.raises(UsageError, match=expected):
        GUIDANCES.make(f'odd[said="{said}"]')


def test_a_join_that_mixes_images_raises() -> None:
    guided: Callable[..., Tensor] = Guided(lambda x, at, labels: x, Odd("mean"), "epsilon", 3)
    with pytest.raises(ValueError, match=r"Odd.join gave shape \(1, 1, 2, 2\); expected \(3, 1, 2, 2\)"):
        guided(torch.zeros(3, 1, 2, 2), DiscreteVP.linear().level(0.5), torch.tensor([0, 1, 2]))


def test_a_model_may_be_its_own_weaker_one_with_what_the_study_says_of_it(tmp_path: Path, cli: Cli) -> None:
    text = study_toml(model="digits", metrics=["fd"], checkpoint={"value_range": [0.0, 1.0]})
    (tmp_path / "study.toml").write_text(text)
    given = ["run", tmp_path / "study.toml", "--guidance", "auto[scale=2,model=digits]", "--out", tmp_path / "run"]
    assert "auto[scale=2,model=digits]" in cli(*given, "--dry-run").out


def test_a_mode_that_captures_counts_what_was_captured(tmp_path: Path) -> None:
    from tape import Tape

    session, cell = resolved(plugged(tmp_path / "a", "test-main", 1.0), "cfg[scale=2]")
    cell = replace(cell, model=replace(cell.model, mode=Mode(graph=True)))
    trajectory = Trajectory(session, cell, Tape)
    with torch.inference_mode():
        trajectory.capture(torch.arange(3))
        trajectory(trajectory.start(torch.arange(3)))
    assert trajectory.captured
    assert (trajectory.calls, trajectory.evaluations) == (12, 24)
