"""What an offline run of Weights & Biases holds: its file is a log in LevelDB's format, of messages of its package."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEADER, _BLOCK = 7, 2**15


def _messages(content: bytes) -> Iterator[bytes]:
    at, message = _HEADER, b""
    while at + _HEADER <= len(content):
        if _BLOCK - at % _BLOCK < _HEADER:
            at += _BLOCK - at % _BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + _HEADER])
        message += content[at + _HEADER : at + _HEADER + size]
        at += _HEADER + size
        if kind in (1, 4):  # all of a message, or its last part
            yield message
            message = b""


def read_run(folder: Path) -> dict[str, Any]:
    """Its run's id, name, group, kind, tags and project, the config, and what was logged and summarised.

    A process of the package's own writes the file, on a busy machine after the run was finished: it is waited for.
    """
    until = time.monotonic() + 30.0
    while not (found := _read(folder))["ended"] and time.monotonic() < until:
        time.sleep(0.05)
    return found


def _read(folder: Path) -> dict[str, Any]:
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    (file,) = folder.glob("run-*.wandb")
    found: dict[str, Any] = {"config": {}, "logged": [], "summary": {}, "files": [], "ended": False}
    for each in _messages(file.read_bytes()):
        record = Record.FromString(each)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            found |= {"id": run.run_id, "name": run.display_name, "group": run.run_group, "kind": run.job_type}
            found |= {"tags": list(run.tags), "project": run.project, "notes": run.notes}
            found["config"] |= _items(run.config.update)
        elif kind == "config":
            found["config"] |= _items(record.config.update)
        elif kind == "history":
            found["logged"].append(_items(record.history.item))
        elif kind == "summary":
            found["summary"] |= _items(record.summary.update)
        elif kind == "exit":
            found["ended"] = True
    return found


def _items(items: Any) -> dict[str, Any]:
    return {"/".join(each.nested_key) or each.key: json.loads(each.value_json) for each in items}
