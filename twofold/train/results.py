"""Keep results that take long in files. A run that was stopped continues after the last of them."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..atomic import write_whole
from ..sealed import sealed, unsealed

logger = logging.getLogger(__name__)


def kept(file: Path | str, settings: Any, make: Callable[[], Any]) -> Any:
    """The result of `make()`. It is read from `file` if it is kept there, or else computed and written.

    `settings` and the result are JSON: dictionaries with string keys, lists, numbers, strings. They are kept together with
    a checksum. A file with other settings is replaced. A damaged file is replaced too, with a warning in the log of
    `twofold`. The file is written whole or not at all, and a missing folder is made.

    **Arguments:**

    - `file`: where the result is kept.
    - `settings`: everything that determines the result.
    - `make`: computes the result. The return value is always the result in JSON form, with lists in place of tuples.

    **Raises:** `OSError` if the file cannot be read or written, and whatever `make` raises. Nothing is kept then.
    """
    file, settings = Path(file), _as_json(settings)
    present = in_file(file, settings)
    if present is not None:
        return present["result"]
    file.parent.mkdir(parents=True, exist_ok=True)
    result = _as_json(make())
    write_whole(file, json.dumps(sealed({"settings": settings, "result": result}), indent=1) + "\n")
    return result


def in_file(file: Path | str, settings: Any) -> dict[str, Any] | None:
    """A dictionary with the `result` that is kept in `file` for these settings, or None if there is none.

    **Raises:** `OSError` if the file cannot be read.
    """
    try:
        content = unsealed(Path(file).read_bytes())
        return {"result": content["result"]} if content["settings"] == _as_json(settings) else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        logger.warning("%s is damaged (%s); its result is made again", file, error)
        return None


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
