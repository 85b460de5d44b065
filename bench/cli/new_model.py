"""What whoever has a checkpoint is given: a folder with a card and a plugin that builds the network."""

import json
import os
import shlex
import shutil
from pathlib import Path
from string import Template
from typing import Literal, NamedTuple

from bench.progress import say
from models.common.errors import UsageError
from models.common.files import INDEX, STATE_DICTS, sha256_of, shards_of
from models.common.program import called
from models.common.words import counted
from models.common.writing import replacing, write_text

_TEMPLATES = Path(__file__).parent / "templates"
_NAME = "my-model"  # as the plugin's template has it
_CARD, _PLUGIN, _WEIGHTS = "card.toml", "plugin.py", "weights.safetensors"
_SHAPE, _LARGEST = (3, 32, 32), 65_536  # as a card takes them

Given = Literal["unet", "edm", "flow", "vp-continuous", "sigma"]
Predicts = Literal["epsilon", "sample", "v_prediction", "score", "flow"]


_MEANS: dict[Predicts, str] = {"epsilon": "", "sample": "x_0", "v_prediction": "", "score": "", "flow": "u = eps - x_0"}


class _Kind(NamedTuple):
    """What a card says of a kind of network until somebody knows better."""

    given: str
    predicts: Predicts
    schedule: str
    more: str = ""


_KINDS: dict[Given, _Kind] = {
    "unet": _Kind(
        "an index 0 ... train_steps - 1, between two levels a fraction; or edm, flow, vp-continuous, sigma",
        "epsilon",
        '{ kind = "linear", train_steps = 1000 }   # or scaled_linear, cosine, betas',
        "# round_time = true   # for a network with a table of whole indices\n",
    ),
    "edm": _Kind(
        "log(sigma) / 4 and the scaled state, in EDM's preconditioning",
        "sample",
        '{ kind = "ve", sigma_min = 0.002, sigma_max = 80.0 }',
        "# plugin.py has the inner F of EDM's preconditioning, which is ours. A module that returns the denoised\n"
        '# image from x and sigma, as EDMPrecond, is network = "sigma", parametrisation = "sample", no sigma_data.\n'
        "sigma_data = 0.5\n",
    ),
    "flow": _Kind(
        "time_scale * t, where t = 1 is noise",
        "flow",
        '{ kind = "flow" }   # x_t = (1 - t) x_0 + t eps',
        "time_scale = 1000.0   # 1.0 for a network that is given t itself\n",
    ),
    "vp-continuous": _Kind(
        "time_scale * t of Score SDE's VP",
        "epsilon",
        '{ kind = "vp", beta_min = 0.1, beta_max = 20.0 }',
        "time_scale = 999.0\n",
    ),
    "sigma": _Kind(
        "sigma / alpha itself, as Score SDE's VE",
        "score",
        '{ kind = "ve-geometric", sigma_min = 0.01, sigma_max = 50.0 }',
    ),
}


def new_model(
    name: str,
    /,
    *,
    weights: Path | None = None,
    state_key: str | None = None,
    shape: list[int] | None = None,
    network: Given = "unet",
    predicts: Predicts | None = None,
    classes: int | None = None,
    out: Path | None = None,
) -> int:
    """Write a model folder to start from, for a checkpoint of one's own: a commented card and a plugin file.

    Args:
        name: Name of the model: lower-case letters, digits, "+", "-", "_".
        weights: Its file of weights, which is linked into the folder, or copied (default: put one there later).
        state_key: What of that file is the state dict, such as ema.
        shape: Channels, height and width of an image (default: 3,32,32).
        network: What the network is given for the noise level: an index (unet), log(sigma) / 4 (edm), a time (flow,
            vp-continuous) or sigma.
        predicts: What it predicts (default: what such networks mostly do).
        classes: Of a class-conditional network.
        out: Folder to write (default: NAME here).
    """
    folder, size = Path(name) if out is None else out, _SHAPE if shape is None else tuple(shape)
    _refuse(name, folder, size, classes)
    files, held = ([], None) if weights is None else _read(weights, state_key)
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        _put(file, folder / file.name)
    names = [file.name for file in files]
    said: dict[str, object] = {"name": name, "shape": list(size), "files": _listed(folder, names)}
    said |= {"weights": names[0] if names else _WEIGHTS} | _said(network, predicts, classes, state_key)
    card, plugin = ((_TEMPLATES / each).read_text(encoding="utf-8") for each in (_CARD, "network.py"))
    plugin = plugin.replace(_NAME, name).replace("channels=3", f"channels={size[0]}")
    write_text(folder / _CARD, Template(card).substitute(said))
    write_text(folder / _PLUGIN, plugin)
    _tell(name, folder, held)
    return 0


def _said(network: Given, predicts: Predicts | None, classes: int | None, state_key: str | None) -> dict[str, object]:
    """What the card says of the network, by the words of its template."""
    kind = _KINDS[network]
    return kind._asdict() | {
        "network": network,
        "predicts": predicts or kind.predicts,
        "others": _or_others(predicts or kind.predicts),
        "classes": "# classes = 10" if classes is None else f"classes = {classes}",
        "state_key": '# state_key = "ema"' if state_key is None else f"state_key = {json.dumps(state_key)}",
    }


def _or_others(chosen: Predicts) -> str:
    """What the chosen prediction is and what else there is, as the card's comment has it."""
    others = ", ".join(f"{each}{meaning and f' ({meaning})'}" for each, meaning in _MEANS.items() if each != chosen)
    return f"{_MEANS[chosen]}; or {others}" if _MEANS[chosen] else f"or {others}"


def _refuse(name: str, folder: Path, shape: tuple[int, ...], classes: int | None) -> None:
    """UsageError for what cannot be written, or is there already."""
    from models.plugins.names import check_name

    check_name(name, "model")
    if len(shape) != 3 or not all(1 <= side <= _LARGEST for side in shape):
        wanted = f"channels, height and width, each 1 ... {_LARGEST:,}, such as 3,32,32"
        raise UsageError(f"--shape {','.join(map(str, shape))}: expected {wanted}")
    if classes is not None and not 1 <= classes < 2**31:
        raise UsageError(f"--classes {classes}: expected 1 ... 2^31 - 1")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{str(folder)!r} is a file; give a folder with --out")
    for each in (_CARD, _PLUGIN):
        if (folder / each).exists():
            raise UsageError(f"{str(folder / each)!r} exists already and is left as it is; give another --out")


def _read(weights: Path, state_key: str | None) -> tuple[list[Path], str]:
    """The files of some weights, and what is in them in words; UsageError if they are none that can be used."""
    from models.loading.weights import load_state

    if not weights.is_file():
        known = ", ".join((".safetensors", *STATE_DICTS))
        raise UsageError(f"there is no file of weights {str(weights)!r}; expected {known}")
    try:
        state = load_state(weights, state_key)
    except UsageError as error:
        hint = ": here with --state-key" if "state_key" in str(error) else ""
        raise UsageError(f"{error}{hint}") from None
    shards = shards_of(weights) if weights.name.endswith(INDEX) else []
    numbers = sum(tensor.numel() for tensor in state.values())
    ends = dict.fromkeys((*list(state)[:1], *list(state)[-1:]))
    shown = " ... ".join(f"{name} {tuple(state[name].shape)}" for name in ends)
    said = f"{counted(len(state), 'tensor')} of {counted(numbers, 'number')}: {shown}"
    return [weights, *(weights.parent / shard for shard in shards)], said


def _put(file: Path, to: Path) -> None:
    """The same file under another name, which takes no room, or a copy on another disk; UsageError if one is there."""
    if to.exists():
        if to.samefile(file):
            return
        raise UsageError(f"{str(to)!r} exists already and is left as it is; give another folder with --out")
    try:
        os.link(file.resolve(), to)
    except OSError:
        with replacing(to) as copy, file.open("rb") as held:
            shutil.copyfileobj(held, copy)


def _listed(folder: Path, names: list[str]) -> str:
    """The card's lines of files with their hashes."""
    lines = [f'{json.dumps(name)} = "{sha256_of(folder / name)}"' for name in names]
    return "\n".join(lines) or f'# "{_WEIGHTS}" = "its sha256, which check-model says"'


def _tell(name: str, folder: Path, held: str | None) -> None:
    """Print what to do next."""
    where, plugin = (shlex.quote(str(each)) for each in (folder, folder / _PLUGIN))
    weights = f"its weights hold {held}" if held else f"put its weights there as {_WEIGHTS} and list them under [files]"
    say(
        f"{folder / _CARD}\n{folder / _PLUGIN}\n{weights}\n"
        "say on the card what the model is, build its network in the plugin, and see whether both are right:\n"
        f"  {called()} check-model {where} --plugin {plugin}\n"
        f"  {called()} run solvers --model {where} --plugin {plugin} --out results/{name}"
    )
