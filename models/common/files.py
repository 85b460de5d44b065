"""Files that are given: paths, hashes, TOML and JSON, and which may hold weights (`models.loading.weights`)."""

import codecs
import hashlib
import json
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.common.errors import UsageError

INDEX = ".index.json"
STATE_DICTS = (".pt", ".pth", ".bin", ".ckpt", ".tar")
_PROGRAMS = {
    ".pkl": "a pickle, and reading one runs whatever code is in it",
    ".pickle": "a pickle, and reading one runs whatever code is in it",
    ".pt2": "an exported program, not weights",
    ".onnx": "an exported program, not weights",
    ".msgpack": "made by another framework",
    ".h5": "made by another framework",
}
_TOLD = 3  # files of an archive that a message names
_LFS_POINTER = b"version https://git-lfs"
_MARKS = {  # of four bytes first, as two of them are the beginning of others
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
    codecs.BOM_UTF8: "UTF-8",
}


def expanded(path: str | Path) -> Path:
    """A path as it is written by hand, where ~ is a home folder; UsageError if there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"cannot read the path {str(path)!r}: {error}") from None


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joint_sha256(hashes: Sequence[str]) -> str:
    """One hash for weights in several files: of their hashes' digits one after the other; of one file its own."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def json_sha256(content: Mapping[str, Any], but: str) -> str:
    """Hexadecimal sha256 of plain values, in whatever order, without the digest in them, which has the key `but`.

    ValueError if some text is half a character, which has no bytes.
    """
    said = {key: value for key, value in content.items() if key != but}
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; UsageError if it is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    return parse_toml(content, str(path))


def parse_toml(content: bytes, origin: str) -> dict[str, Any]:
    """The content of a TOML document; UsageError, which begins with `origin`, if it is none, or not in UTF-8."""
    mark = next((mark for mark in _MARKS if content.startswith(mark)), None)
    if mark is not None:
        raise UsageError(
            f"{origin} begins with a byte order mark (BOM) of {_MARKS[mark]}; save it as UTF-8 without one"
        )
    if 0 in content:
        line = _line(content, content.index(0))
        raise UsageError(f"{origin} holds a NUL byte, in line {line}: it is damaged, or UTF-16; save it as UTF-8")
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        wrong = f"byte 0x{content[error.start]:02x} in line {_line(content, error.start)}"
        raise UsageError(f"{origin} is not in UTF-8, which TOML is in: {wrong}; save it as UTF-8") from None
    except RecursionError:
        raise UsageError(f"{origin} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # tomllib's own, and what Python says of numbers of thousands of digits
        raise UsageError(f"{origin} is not valid TOML: {error}") from None


def read_text(path: Path, what: str) -> str:
    """The content of a text file in UTF-8, without a byte order mark; UsageError, which says what it holds."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file of {what} {str(path)!r}; give one that there is") from None
    except (OSError, ValueError) as error:  # nothing can be called so
        raise UsageError(f"cannot read the {what} {str(path)!r}: {error}") from None
    content = content.removeprefix(codecs.BOM_UTF8)
    mark = next((mark for mark in _MARKS if content.startswith(mark)), None)
    if mark is not None:
        raise UsageError(f"{path} begins with a byte order mark (BOM) of {_MARKS[mark]}; save it as UTF-8")
    if 0 in content:
        line = _line(content, content.index(0))
        raise UsageError(f"{path} holds a NUL byte, in line {line}: it is damaged, or UTF-16; save it as UTF-8")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        wrong = f"byte 0x{content[error.start]:02x} in line {_line(content, error.start)}"
        raise UsageError(f"{path} is not in UTF-8: {wrong}; save it as UTF-8") from None


def _line(content: bytes, at: int) -> int:
    return content.count(b"\n", 0, at) + 1


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; UsageError if it is not one."""
    try:
        content = json.loads(path.read_bytes())
    except RecursionError:
        raise UsageError(f"cannot read {path} as JSON: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path} as JSON: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds a {type(content).__name__}; expected a JSON object")
    return content


def how_to_convert(path: Path) -> str:
    """What to run where the authors' code runs, to make weights of a file that is refused here."""
    return (
        f"Convert it where its authors' own code runs and you trust the file: load {path.name!r} as they do, then\n"
        "    from safetensors.torch import save_file\n"
        "    state = {name: value.contiguous() for name, value in network.state_dict().items()}\n"
        '    save_file(state, "diffusion_pytorch_model.safetensors")\n'
        "and write a card.toml beside it whose architecture is registered with models.architectures.register_network "
        "in a --plugin file"
    )


def refuse_programs(path: Path) -> None:
    """UsageError for a file that would have to be executed, that no reader here knows, or that is not there yet."""
    suffix = path.suffix.lower()
    if suffix in _PROGRAMS:
        raise UsageError(f"{path} is {_PROGRAMS[suffix]}: it is not read. {how_to_convert(path)}")
    if suffix not in (".safetensors", *STATE_DICTS) and not path.name.endswith(INDEX):
        known = ", ".join((".safetensors", f".safetensors{INDEX}", *STATE_DICTS))
        raise UsageError(f"{path} is no file of weights that is known here; expected one of {known}")
    if not path.is_file():
        return
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise UsageError(f"{path} is a pointer of git LFS, not the file: run git lfs pull where it was cloned")
    if suffix in STATE_DICTS:
        _refuse_archives(path)


def _refuse_archives(path: Path) -> None:
    """UsageError for a program in a zip archive, which torch.save writes too, and for a tar archive of whatever files.

    What is called .tar in PyTorch is none: it is what torch.save writes into files of any name.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist()):
                raise UsageError(f"{path} is a TorchScript archive, a program: it is not run. {how_to_convert(path)}")
        return
    try:
        with tarfile.open(path) as files:
            names = files.getnames()
    except (tarfile.TarError, OSError, EOFError):  # no such archive, or a damaged one
        return
    if names:
        if {"pickle", "storages", "tensors"} <= set(names):
            raise UsageError(
                f"{path} is what torch.save wrote in PyTorch's first releases, which torch reads only by running the "
                f"pickle in it: it is not read. {how_to_convert(path)}"
            )
        raise UsageError(
            f"{path} is an archive of files ({', '.join(names[:_TOLD])}): unpack it, and name the file of weights in it"
        )


def shards_of(index: Path) -> list[str]:
    """The names of the files that an index of sharded weights lists; UsageError if it does not, or leads elsewhere."""
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise UsageError(f"{index} is no index of weights: it has no weight_map from tensors to files")
    names = sorted(set(listed.values()))
    kind = Path(index.name.removesuffix(INDEX)).suffix
    astray = [name for name in names if Path(name).name != name or Path(name).suffix != kind]
    if astray:
        raise UsageError(f"{index} names {astray[0]!r}; the files of its weights lie beside it, and are {kind} too")
    return names


def with_shards(folder: Path, names: Sequence[str]) -> list[str]:
    """The first of some files of weights that a folder has, an index before the files that it lists; none of none.

    UsageError for an index that lists what is not there.
    """
    name = next((each for each in names if (folder / each).is_file()), None)
    if name is None:
        return []
    found = [name, *(shards_of(folder / name) if name.endswith(INDEX) else ())]
    if missing := [each for each in found if not (folder / each).is_file()]:
        raise UsageError(f"{folder / name} lists {missing[0]}, which is missing")
    return found
