"""The digest of what a JSON file says, which tells one that is damaged; that of tensors is in
`models.common.sealed`.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def json_sha256(content: Mapping[str, Any], but: str) -> str:
    """Hexadecimal sha256 of plain values, in whatever order they come, but for the digest in them, which has this key.

    Raises:
        ValueError: some text is half a character, which has no bytes, and no place in a file.
    """
    said = {key: value for key, value in content.items() if key != but}
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
