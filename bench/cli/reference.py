"""The command that makes the reference statistics that studies measure against."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bench.escape import terminal_text


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
