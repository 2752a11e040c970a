"""JSON with a checksum: damage is noticed, and so are changes by hand."""

import hashlib
import json
from typing import Any


def checksum_of(content: dict[str, Any]) -> str:
    """The checksum of all that `content` says besides its checksum, however it is laid out."""
    said = {name: value for name, value in content.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """`content` with its checksum."""
    return content | {"checksum": checksum_of(content)}


def unsealed(text: bytes | str) -> dict[str, Any]:
    """The content that was sealed, from its JSON.

    **Raises:** `ValueError` if it is anything else.
    """
    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError(f"it has a {type(content).__name__} where an object should be")
        if "checksum" not in content:
            raise ValueError("it has no checksum")
        if content.pop("checksum") != checksum_of(content):
            raise ValueError("its content does not fit its checksum")
        return content
    except RecursionError as error:
        raise ValueError("its lists are too deep") from error
