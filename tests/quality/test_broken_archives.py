"""Whatever is wrong with an .npz, its reader is told which file it is, and never to open it unsafely."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.quality.extractors import load_extractor
from bench.quality.reference import load_reference
from bench.study.study import ExtractorChoice
from models.common.errors import UsageError


def array(old: bytes = b"", new: bytes = b"") -> bytes:
    """64 zeros as an .npy, with a part of its header replaced."""
    np.save(written := io.BytesIO(), np.zeros(64))
    content = written.getvalue()
    header = content[10:128]
    return content[:10] + header.replace(old, new).rstrip().ljust(len(header) - 1) + b"\n" + content[128:]


def archive(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", compression) as file:
        for name in ("mu.npy", "sigma.npy"):
            file.writestr(name, content)
    return written.getvalue()


def unpackable() -> bytes:
    content = archive(array(), zipfile.ZIP_LZMA)
    place = content.index(b"mu.npy") + 20  # in the packed data
    return content[:place] + bytes(255 - byte for byte in content[place : place + 8]) + content[place + 8 :]


BROKEN = {
    "a single array": array(),
    "a header that is no Python": archive(array(b"{", b"{((((((")),
    "an array larger than memory": archive(array(b"(64,)", b"(9000000000000,)")),
    "bits that cannot be unpacked": unpackable(),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_whatever_is_wrong_with_an_archive_is_an_error_of_use(tmp_path: Path, content: bytes) -> None:
    extractor = load_extractor(ExtractorChoice(name="digits"), None, torch.device("cpu"))
    path = tmp_path / "stats.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot read .*stats.npz") as raised:
        load_reference(str(path), extractor)
    assert "allow_pickle" not in str(raised.value)
