"""What a training on small photographs begins with: the data, the device, the network, weights to start from."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.environment import device_name
from bench.escape import terminal_text
from bench.quality.datasets import DATA_SETS, DataSet, is_archive, open_data
from bench.quality.extractors import compact_names
from bench.training.loop import Start
from bench.training.options import CifarOptions, TrainingOptions, unet_config
from models.cards.card import Card, FolderCard
from models.common.errors import UsageError
from models.common.files import expanded, read_json
from models.common.program import bring
from models.loading.diffusers_folder import CONFIG
from models.loading.sources import CARD, describe_model, extractor_names, load_measuring_card, measuring_folder
from models.loading.zoo import load_model
from models.plugins.registry import unknown
from models.schedule import DiscreteVP

Say = Callable[[str], None]
"""Takes a line for people to read."""

MODEL = "model"
"""What comes out, in the folder of a training."""

_PART = ", a part"


def to_stderr(line: str) -> None:
    """What `say` is unless told otherwise."""
    print(terminal_text(line), file=sys.stderr, flush=True)


HELD_OUT = 10
"""Of data without a test set every tenth image is kept from the extractor."""


@dataclass(frozen=True)
class Job:
    """What the training of a denoiser and its export need.

    Attributes:
        measured_by: folder of the extractor that distances are measured with; None: there is none.
    """

    options: CifarOptions
    train_set: DataSet
    test_set: DataSet | None
    device: torch.device
    schedule: DiscreteVP
    config: dict[str, Any]
    start: Start | None
    measured_by: Path | None
    deadline: float
    say: Say

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.train_set.images.shape[1:]
        return channels, height, width


def prepare(options: CifarOptions, began: float, say: Say) -> Job:
    """Read the data and check what can be checked before anything that takes long; UsageError for what is wrong."""
    if options.start is not None:
        options = replace(options, start=options.start.resolve())  # a path, whatever embedded names there are
    check_writing(options.out, Card)
    device = options.torch_device()
    train_set, test_set = open_splits(options.data)
    announce(train_set, test_set, device, say)
    channels, height, width = train_set.images.shape[1:]
    config, start = unet_config(options.width, (channels, height, width)), None
    if options.start is not None:
        config, start = _start(options.start)
        train_set = train_set.with_channels(config.get("in_channels", channels))
        channels = train_set.images.shape[1]
        if (config.get("in_channels"), config.get("sample_size")) != (channels, height):
            raise UsageError(f"{options.start} is a model of other images than {options.data} holds; start from none")
        if start.step >= options.steps:
            raise UsageError(
                f"{options.start} was trained for {start.step:,} steps already, and --steps {options.steps} counts "
                "them too: nothing would be left to do. Give more"
            )
        if config["block_out_channels"][0] != options.width != CifarOptions.width:
            say(f"{options.start} has width {config['block_out_channels'][0]} and keeps it; --width has no part in it")
    measured_by, deadline = _measured_by(options), deadline_of(options, began)
    return Job(options, train_set, test_set, device, DiscreteVP.linear(), config, start, measured_by, deadline, say)


def announce(data: DataSet, test_set: DataSet | None, device: torch.device, say: Say) -> None:
    """Say what is trained on which data, and what of those is left out."""
    for line in (*data.words, *(test_set.words if test_set is not None and has_test_set(test_set) else ())):
        say(line)
    say(f"trained on {device_name(device)}")


def deadline_of(options: TrainingOptions, began: float) -> float:
    """When training has to stop, on the clock of `time.monotonic`."""
    return float("inf") if options.minutes is None else began + 60.0 * options.minutes


def _measured_by(options: CifarOptions) -> Path | None:
    """The folder of the extractor that is meant: see `CifarOptions`."""
    named = options.extractor
    if named is None and options.start is not None:
        card = describe_model(str(options.start))
        if card.extractor is not None:
            return options.start
        named = card.measured_by
    if named is None and options.data in extractor_names():
        named = options.data
    if named is None:
        return None
    if (folder := measuring_folder(named)) is None:
        raise unknown("extractor (nor is it a folder with one)", named, compact_names())
    return folder.resolve()


def open_splits(spec: str) -> tuple[DataSet, DataSet | None]:
    """The images to train on, and labelled ones to test a classifier on; None where there are no classes.

    Args:
        spec: as `open_data` takes it, or a folder with `train` in it and perhaps `test`, each a folder or an .npz file.

    Without a test set every tenth image serves as one; the first of the two still holds all.
    """
    train, held_out = _split(expanded(spec), "train"), _split(expanded(spec), "test")
    if spec not in DATA_SETS and train is not None:
        whole = _beside_others(open_data(str(train)), train, held_out)
        test = None if held_out is None else open_data(str(held_out))
    else:
        whole = open_data(spec)
        test = open_data(f"{spec}-test") if f"{spec}-test" in DATA_SETS else None
    if whole.labels is None or len(whole.classes or ()) < 2:  # one class teaches an extractor nothing
        unused = () if test is None else (f"{test.name} has no part in it, as {whole.name} has no classes",)
        return replace(whole, remarks=(*whole.remarks, *unused)), None
    test = part(whole, slice(HELD_OUT - 1, None, HELD_OUT)) if test is None else test
    test = test.with_channels(whole.images.shape[1])
    if test.images.shape[1:] != whole.images.shape[1:] or not len(test.images):
        why = "".join(f". {remark}" for remark in test.remarks)
        raise UsageError(
            f"images of {test.name} have shape {tuple(test.images.shape)}, those of {whole.name} "
            f"{tuple(whole.images.shape)}, each (count, channels, height, width); all but the count must agree, and "
            f"there must be some of each{why}"
        )
    return whole, test


def _split(folder: Path, name: str) -> Path | None:
    """A part of a data set, a folder or a file in its folder; None if it is not there."""
    if (folder / name).is_dir():
        return folder / name
    there = sorted(folder.iterdir()) if folder.is_dir() else ()
    return next((path for path in there if is_archive(path) and path.stem == name), None)


def _beside_others(train_set: DataSet, train: Path, test: Path | None) -> DataSet:
    """The images to train on with a remark on what lies beside them and those to test on."""
    names = (path.name for path in train.parent.iterdir() if path not in (train, test))
    others = sorted(name for name in names if not name.startswith("."))
    said = (f"left out of {train.parent}: {', '.join(others)}",) if others else ()
    return replace(train_set, remarks=(*train_set.remarks, *said))


def check_writing(out: Path, kind: type[FolderCard]) -> None:
    """UsageError if what a training writes could not be written at its end, which is hours away.

    Args:
        out: its folder.
        kind: what it will write into `out / "model"`; something of another kind there is not overwritten.
    """
    if (out / MODEL / CARD).is_file() and not isinstance(load_measuring_card(out / MODEL), kind):
        raise UsageError(f"{out / MODEL} holds something else; write elsewhere with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to {str(out)!r}: {error}; choose another folder with --out") from None
    if find_spec("tomli_w") is None:
        raise UsageError(f"training writes TOML, for which tomli-w comes with the extra 'train': {bring('train')}")


def has_test_set(test_set: DataSet | None) -> bool:
    """Whether the images to test on are not among those of the whole."""
    return test_set is not None and not test_set.name.endswith(_PART)


def part(data: DataSet, which: slice | Tensor) -> DataSet:
    labels = None if data.labels is None else data.labels[which]
    return DataSet(f"{data.name}{_PART}", data.images[which], labels, data.classes, data.resize)


def _start(folder: Path) -> tuple[dict[str, Any], Start]:
    """Config and weights of a model folder that is trained further."""
    model = load_model(str(folder), torch.device("cpu"))
    unet = getattr(model.network, "unet", None)
    if not isinstance(unet, nn.Module) or model.card.parametrisation != "epsilon":
        raise UsageError(f"{folder} is not a U-Net that predicts eps on discrete levels, so it cannot be trained on")
    card = model.card.training
    config = {key: value for key, value in read_json(model.folder / CONFIG).items() if not key.startswith("_")}
    for name, kind in (("steps", int), ("images_seen", int), ("seconds", int | float), ("loss", int | float)):
        if not isinstance(card.get(name, 0), kind):
            wanted = "a whole number" if kind is int else "a number"
            raise UsageError(f"{folder}: the card's training.{name} is {card[name]!r}; expected {wanted}")
    steps, seconds, loss = (float(card.get(name, 0)) for name in ("steps", "seconds", "loss"))
    return config, Start(unet.state_dict(), int(steps), seconds, loss, model.sha256)
