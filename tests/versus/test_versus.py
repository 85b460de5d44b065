"""`versus` times the same work on both sides, keeps every time, and refuses what cannot be compared."""

import json
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hoards import Hoards
from PIL import Image
from scipy import stats

from bench.cli.app import app
from bench.quality.images import to_uint8
from bench.quality.metrics import QualityStream
from bench.running.trajectory import WrongCount
from bench.study.metrics import Metric
from bench.timing.clock import Stopwatch
from bench.versus import baseline_pipeline, end_to_end, sampling
from bench.versus.baseline_pipeline import Fidelity, generate
from bench.versus.contest import versus
from bench.versus.options import VersusOptions
from bench.versus.ours import Ours
from bench.versus.pairs import PAIRS, Pair, pairs_of
from bench.versus.peers import Setting, make_peer
from bench.versus.turns import Ratio, in_turns
from models.common.errors import UsageError
from models.networks.modes import Mode
from samplers import SAMPLERS

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")

_SETTING = Setting(4, 2, torch.device("cpu"))
_USABLE = [pair for pair in PAIRS if pair.betas]
_OTHERWISE = {
    "dpm-solver-3",
    "dpm++3m[halved=true,lower_order_below=0]",
    "pndm[variant=S]",
    "deis[degree=2,variable=log-rho]",
    "deis[degree=3,variable=rho]",
}
"""Of whom diffusers makes other images in so few steps: test_differences_from_diffusers.py says of each why."""


def _name(pair: Pair) -> str:
    return f"{pair.ours}-{pair.theirs.removesuffix('Scheduler')}"


@pytest.fixture(scope="module")
def cells() -> dict[str, Ours]:
    """A cell of every sampler that has a counterpart, on the digits."""
    names = list(dict.fromkeys(pair.ours for pair in _USABLE))
    return dict(zip(names, Ours.load("digits", names, Mode(), _SETTING, ["solver_error"], 16), strict=True))


@pytest.mark.parametrize("pair", _USABLE, ids=_name)
def test_both_sides_make_the_same_images_of_the_same_noise_in_as_many_evaluations(
    pair: Pair, cells: dict[str, Ours]
) -> None:
    found = sampling.compare(cells[pair.ours], pair, _SETTING, 0, lambda: None)
    assert found.evaluations == found.peer_evaluations >= _SETTING.steps
    assert (found.apart is None) == pair.draws
    if found.apart is not None and pair.ours not in _OTHERWISE:
        assert found.apart < 0.05  # of 255 grey levels


def test_every_timed_call_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SAMPLERS, "_classes", {**SAMPLERS._classes, "hoards": Hoards})
    (ours,) = Ours.load("digits", ["hoards"], Mode(), _SETTING, ["solver_error"], 16)
    with pytest.raises(WrongCount, match="hoards evaluates the network less or more when it is called again"):
        sampling.compare(ours, Pair("hoards", "DDIMScheduler"), _SETTING, 2, lambda: None)


def test_in_16_bits_the_peer_evaluates_the_very_network_of_ours_on_a_float32_state(cells: dict[str, Ours]) -> None:
    """With a state of one side in bfloat16 the images are 0.9 grey levels apart; from those of fp32 both are 2.7."""
    pair, setting, seen = pairs_of("ddim")[0], Setting(20, 16, torch.device("cpu")), set[torch.dtype]()
    (ours,) = Ours.load("digits", ["ddim"], Mode("bf16"), setting, ["solver_error"], 16)
    peer = make_peer(pair, ours.cell.model, setting)
    plain = make_peer(pair, cells["ddim"].cell.model, setting)
    peer.unet.register_forward_pre_hook(lambda _, given: seen.add(given[0].dtype))
    with torch.inference_mode():
        apart = sampling.pixels_apart(ours.like(peer), peer, setting)
        x, at = torch.randn(2, 1, 8, 8), ours.cell.model.schedule.level(0.5)
        assert torch.equal(peer.unet(x, torch.tensor(499)).sample, ours.cell.model.network(x, at))
        assert not torch.equal(plain.unet(x, torch.tensor(499)).sample, ours.cell.model.network(x, at))
    assert seen == {torch.float32}
    assert apart is not None
    assert apart < 0.6  # 0.27 here: round-off of float32 turns some of the network's inputs to the next bfloat16


def test_in_turns_keeps_every_time_by_round() -> None:
    calls = {name: partial(lambda name, number: {f"{name}_s": 10.0 * number + ord(name)}, name) for name in "abc"}
    seen: list[None] = []
    found = in_turns(calls, 5, lambda: seen.append(None))
    assert found == {f"{name}_s": [10.0 * number + ord(name) for number in range(5)] for name in "abc"}
    assert len(seen) == 15


def test_a_ratio_is_of_the_times_of_one_round() -> None:
    """A machine that slows down tenfold changes none."""
    drift = np.array([1.0, 2.0, 5.0, 10.0, 10.0])
    found = Ratio.of((3.0 * drift).tolist(), (2.0 * drift).tolist())
    assert (found.median, found.q1, found.q3, found.low, found.high) == pytest.approx((1.5,) * 5)
    assert Ratio.of([3.0, 3.0], [2.0, 2.0], 0.5).median == pytest.approx(0.75)


def _options(out: Path, **changes: Any) -> VersusOptions:
    usual = VersusOptions(samplers="ddim,heun", steps=2, batch=4, repeats=3, device="cpu", out=out)
    return replace(usual, **changes)


def _fake_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reading is a second after the one before."""
    readings = count()
    for module in (sampling, baseline_pipeline, end_to_end):
        monkeypatch.setattr(module, "Stopwatch", partial(Stopwatch, clock=lambda: float(next(readings))))


def test_every_raw_time_is_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fake_clock(monkeypatch)
    assert versus(_options(tmp_path / "new" / "found.json")) == 0
    content = json.loads((tmp_path / "new" / "found.json").read_text())
    named = [(each["sampler"], each["peer"], each["evaluations"]) for each in content["sampling"]]
    assert named == [
        ("ddim", "DDIMPipeline", 2),
        ("ddim", "EulerDiscreteScheduler", 2),
        ("heun", "HeunDiscreteScheduler", 3),
    ]
    for each in content["sampling"]:
        assert each["seconds"] == {"ours": [1.0] * 3, "diffusers": [1.0] * 3, "bare": [1.0] * 3}
        assert each["ratios"]["diffusers_to_ours"]["median"] == 1.0
    assert content["environment"]["version_torch"] == torch.__version__.partition("+")[0]
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("DDIMPipeline", "1.000 [1.000, 1.000] (1.000 ... 1.000)", "found.json"))


def test_end_to_end_times_every_part_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fake_clock(monkeypatch)
    monkeypatch.setattr(Fidelity, "choose_workers", lambda fidelity, images: setattr(fidelity, "workers", False))
    setting = Setting(2, 20, torch.device("cpu"))
    cells = Ours.load("digits", ["ddim"], Mode(), setting, ["fd"], 32)
    (found,) = end_to_end.compare(cells, pairs_of("ddim")[0], setting, 32, 2, lambda: None)
    batches = 2  # of 20 and 12 images, each timed by itself
    parts = {"ours": 1, "bare": 1, "generation": batches, "png": batches, "metrics": 1, "habit": 2 * batches + 1}
    assert found.seconds == {part: [seconds] * 2 for part, seconds in parts.items()}
    distances = found.habit_scores["frechet_inception_distance"]
    assert distances == pytest.approx(found.scores["fd_digits"], rel=0.5)  # of other images
    for each in (distances, found.scores["fd_digits"]):
        assert len(set(each)) == len(each) == 2  # every round from a seed of its own
    assert found.apart is not None
    assert found.apart < 0.05
    assert "versus-reference" not in capsys.readouterr().out


def test_what_both_sides_distances_differ_by_is_of_pairs() -> None:
    """Of rounds whose distances vary by far more than the sides differ; the more modes, the wider each interval."""
    ours, theirs = [0.10, 0.20, 0.30, 0.40], [0.11, 0.23, 0.31, 0.43]
    found = end_to_end.EndToEnd(
        sampler="ddim",
        peer="DDIMPipeline",
        mode="fp32",
        images=50,
        workers=False,
        seconds=dict.fromkeys(("ours", "habit", "bare", "generation", "png", "metrics"), [1.0] * 4),
        scores={"fd_digits": ours},
        habit_scores={"frechet_inception_distance": theirs},
        apart=None,
    )
    for modes, level in ((1, 0.95), (2, 0.975)):
        interval = stats.ttest_rel(theirs, ours).confidence_interval(level)
        half = (interval.high - interval.low) / 2
        assert found.row(found, modes)["Theirs - ours"] == f"+0.020 ± {half:.3f}"
    short = replace(found, scores={"fd_digits": ours[:1]}, habit_scores={"frechet_inception_distance": theirs[:1]})
    assert short.row(found)["Theirs - ours"] == "+0.010"


def test_from_the_same_noise_the_habit_scores_what_ours_does(tmp_path: Path) -> None:
    """All the way: steps, clipping, rounding, files, colours, a last batch that is smaller, statistics."""
    metrics: list[Metric] = ["fd", "kid", "precision_recall"]
    setting = Setting(4, 20, torch.device("cpu"))
    (ours,) = Ours.load("digits", ["ddim"], Mode(), setting, metrics, 50)
    extractor, reference = ours.session.extractor, ours.session.reference
    assert extractor is not None
    assert reference is not None
    fidelity = Fidelity(extractor, reference, metrics, setting.device, 50, tmp_path / "cache")
    fidelity.workers = False
    (tmp_path / "images").mkdir()
    peer = make_peer(pairs_of("ddim")[0], ours.cell.model, setting)
    noise = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        generate(peer, tmp_path / "images", 50, setting, seed=3)
        theirs = fidelity(tmp_path / "images").scores
        each = [ours.like(peer).from_noise(torch.randn((n, 1, 8, 8), generator=noise)) for n in (20, 20, 10)]
    files = sorted((tmp_path / "images").iterdir())
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files]))[:, None]
    assert pixels.shape == (50, 1, 8, 8)
    for images, near in ((pixels, 1e-6), (to_uint8(torch.cat(each), (0.0, 1.0)), 1e-3)):
        stream = QualityStream(extractor, reference, metrics, 50)
        stream.add(images)
        values = stream.values()
        assert theirs["frechet_inception_distance"] == pytest.approx(values["fd_digits"], rel=near)
        assert theirs["kernel_inception_distance_mean"] == pytest.approx(values["kid_mean"], rel=near)
        assert theirs["recall"] == pytest.approx(values["recall"])


def test_the_files_of_the_habit_hold_the_images_rounded(tmp_path: Path) -> None:
    images = torch.rand(2, 8, 8, 1, generator=torch.Generator().manual_seed(0))
    baseline_pipeline.write_pngs(images, tmp_path, 7)
    read = np.stack([np.asarray(Image.open(tmp_path / f"{number:06d}.png")) for number in (7, 8)])
    assert np.array_equal(read, to_uint8(images, (0.0, 1.0)).squeeze(3).numpy())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samplers": "er-sde"}, "unknown method with a counterpart in diffusers 'er-sde'"),
        ({"samplers": "ipndm"}, "IPNDMScheduler knows no betas"),
        ({"samplers": "nothing"}, "unknown sampler 'nothing'"),
        ({"model": "digits-oracle"}, "is no UNet2DModel"),
        ({"batch": 0}, "--batch 0: expected 1 ... 1,000,000"),
        ({"repeats": 0}, "--repeats 0"),
        ({"steps": 10**9}, "--steps 1000000000: expected 1 ... 100,000"),
        ({"model": ""}, "model: expected a text that says something"),
        (
            {"images": 8, "end_to_end": True},
            "--images 8: expected 16 ... 10,000,000: standard errors and the Inception score",
        ),
        (
            {"metrics": "inception_score", "end_to_end": True},
            "--metrics inception_score: expected some of fd, kid, precision_recall",
        ),
        ({"modes": "fp8"}, "cannot read the execution mode 'fp8'"),
        ({"samplers": "pndm", "steps": 2000}, "2000"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        versus(_options(tmp_path / "found.json", **changes))
    assert said in str(refusal.value)


def test_a_plugin_brings_samplers(tmp_path: Path) -> None:
    code = (
        "from samplers import register\nfrom samplers.ddim import DDIM\n@register('test-beside')\nclass Mine(DDIM): ..."
    )
    (tmp_path / "plugin.py").write_text(code)
    given = ["versus", "--samplers", "test-beside", "--plugin", str(tmp_path / "plugin.py")]
    with pytest.raises(UsageError, match="unknown method with a counterpart in diffusers 'test-beside'"):
        app(given, exit_on_error=False, print_error=False, result_action="return_value")


def test_a_run_that_is_refused_leaves_earlier_results_alone(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot read the execution mode"):
        versus(_options(tmp_path / "found.json", modes="fp8"))
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]
    assert (tmp_path / "found.json").read_text() == "{}"


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another file with --out"):
        versus(_options(tmp_path / "file" / "found.json"))
