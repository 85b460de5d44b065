"""The commands that make what studies need: reference statistics and models."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from bench.escape import terminal_text
from bench.outputs import RESULTS


def reference(
    data: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"))] = None,
    extractor: str | None = None,
    weights: str | None = None,
    sha256: str | None = None,
    images: int | None = None,
    resize: int | None = None,
    features: int | None = None,
    batch: int | None = None,
    device: str = "auto",
) -> int:
    """Compute the reference statistics of a data set, once, for the studies that measure against it.

    Args:
        data: cifar10, cifar10-test, digits, a folder of images, or an .npz of uint8 pixels.
        out: File to write, .safetensors (default: the cache, where a study finds it by the data set's name).
        extractor: A name of list extractors (default: inception-v3-compat), or a folder with one.
        weights: File of its weights (default: downloaded by torch-fidelity).
        sha256: That the weights must have, if they are not the official ones.
        images: Only so many of them, drawn by a fixed seed.
        resize: Side that a folder's images are scaled and cropped to.
        features: Keep the features of so many images, which KID, precision and recall need (default: all; 0: none).
        batch: Images that the extractor sees at a time (default: its own number).
        device: auto, cpu, cuda, cuda:1, ...
    """
    from bench.environment import pick_device
    from bench.progress import bar
    from bench.quality.extractor import INCEPTION
    from bench.quality.reference_maker import ReferenceOptions, make_reference
    from models.loading.sources import measuring_folder

    name = INCEPTION if extractor is None else extractor
    options = ReferenceOptions(data, out, name, weights, sha256, images, resize, features, batch)
    with bar() as shown:
        task = shown.add_task("features", total=None)

        def advanced(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total, refresh=True)

        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            shown.console.print(terminal_text(line), markup=False, highlight=False, soft_wrap=True)

        path = make_reference(options, pick_device(device), advanced, say)
    embedded = measuring_folder(data)  # by that name a study would find the reference there
    found = data if out is None and (embedded is None or embedded != measuring_folder(name)) else path
    print(terminal_text(f'{path}\nof {said[0]}\nin a study: extractor = "{name}", reference = "{found}"'))
    return 0


train = App(name="train", help="Train a model or a feature extractor; a killed training goes on from its checkpoint.")


@train.default
def train_embedded(model: str, /, *, out: Path | None = None, seed: int = 0, steps: int | None = None) -> int:
    """Make an embedded model again from scratch: digits, digits-vae, digits-oracle, digits-mixture.

    Args:
        model: Its name.
        out: Folder for checkpoints and the model (default: results/train-NAME).
        seed: Of initialisation, batches, times and noise.
        steps: Steps of the denoiser's training, to try the command out; all other stages shrink alike.
    """
    from bench.cli.train import train_model

    return train_model(model, out, seed, steps)


@train.command
def extractor(
    *,
    data: str = "cifar10",
    out: Path | None = None,
    epochs: int | None = None,
    width: int | None = None,
    minutes: float | None = None,
    device: str = "auto",
    precision: Literal["bf16", "fp32"] | None = None,
    shard_mib: float | None = None,
    seed: int = 0,
    name: str | None = None,
    features: int | None = None,
    flips: Annotated[bool, Parameter(name="--flips", negative="--no-flips")] = True,
) -> int:
    """Train a feature extractor on the classes of CIFAR-10 or of a folder of small images, and take their statistics.

    The quality of models of such images is measured with these.

    Args:
        data: cifar10 (downloaded where it is missing), or a folder of images, a subfolder a class; train/ and test/ in
            it are both used.
        out: Folder for checkpoints and the extractor (default: results/train-extractor).
        epochs: Passes over the data (default: 30).
        width: Channels of the first layer (default: 64).
        minutes: Stop after so many, with a checkpoint; the same command goes on.
        device: auto, cpu, cuda, cuda:1, ...
        precision: Of the network in training (default: bf16 on CUDA, else fp32).
        shard_mib: The most that a file of a checkpoint may have (default: 15).
        seed: Of everything random.
        name: Distances are called fd_NAME (default: after the data).
        features: Keep the features of so many images, which KID, precision and recall need (default: all; 0: none).
        flips: Mirror half of the images left to right in training. The default is that of photographs, which show the
            same either way; digits, letters and whatever else is another thing in a mirror need --no-flips.
    """
    given = _given(locals(), RESULTS / "train-extractor")
    from bench.cli.train import train_on_classes

    return train_on_classes(given)


def _given(arguments: dict[str, Any], out: Path) -> dict[str, Any]:
    """The arguments that were given, and a folder in any case."""
    return {"out": out} | {name: value for name, value in arguments.items() if value is not None}


@train.command
def cifar10(
    *,
    data: str = "cifar10",
    out: Path | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch: int | None = None,
    device: str = "auto",
    width: int | None = None,
    compile_: Annotated[bool | None, Parameter(name="--compile", negative="--no-compile")] = None,
    precision: Literal["bf16", "fp32"] | None = None,
    shard_mib: float | None = None,
    seed: int = 0,
    grid_every: int | None = None,
    learning_rate: float | None = None,
    warmup: int | None = None,
    checkpoint_every: int | None = None,
    checkpoint_minutes: float | None = None,
    start: Annotated[Path | None, Parameter(name="--from")] = None,
    storage: Literal["fp32", "fp16"] = "fp32",
    extractor: str | None = None,
    quality_images: int | None = None,
    name: str | None = None,
    flips: Annotated[bool, Parameter(name="--flips", negative="--no-flips")] = True,
) -> int:
    """Train a DDPM of CIFAR-10, or of a folder of small images.

    Args:
        data: cifar10 (downloaded where it is missing), a folder of images, or an .npz of uint8 pixels; of a folder with
            train and test in it both are used.
        out: Folder for checkpoints, curves, grids of samples and the model (default: results/train-cifar10).
        steps: Of the denoiser (default: 200,000).
        minutes: Stop after so many, with a checkpoint and a model; the same command goes on.
        batch: Images a step (default: 128).
        device: auto, cpu, cuda, cuda:1, ...
        width: Channels of the first level: 128 is DDPM's U-Net of 35.7 million parameters, 80 has 14, 24 has 1.3
            (default: 80).
        compile_: Try torch.compile (default: on CUDA).
        precision: Of the networks in training (default: bf16 on CUDA, else fp32).
        shard_mib: The most that a file of a checkpoint or of the weights may have (default: 15).
        seed: Of everything random.
        grid_every: Steps between grids of samples with their Frechet distance; 0: none (default: 5,000).
        learning_rate: Of the denoiser (default: 2e-4).
        warmup: Steps of its linear warm-up (default: 5,000, or a tenth of --steps if that is less; with --from 500).
            To go on to more --steps later, give it the same number.
        checkpoint_every: Steps between checkpoints (default: 5,000).
        checkpoint_minutes: The longest time between them (default: 5).
        start: Model folder whose weights are trained further, with a fresh optimiser.
        storage: Of the model's weights.
        extractor: Embedded one or folder that distances are measured with (default: that of the model that is trained
            further, or the embedded one of the data).
        quality_images: Samples that Frechet distances are taken of (default: 2,000).
        name: Of the model (default: after the data).
        flips: Mirror half of the images left to right in training. The default is that of photographs, which show the
            same either way; digits, letters and whatever else is another thing in a mirror need --no-flips.
    """
    given = _given(locals(), RESULTS / "train-cifar10")
    from bench.cli.train import train_on_images

    compiled = {} if compile_ is None else {"compile": given.pop("compile_")}
    return train_on_images(given | compiled)
