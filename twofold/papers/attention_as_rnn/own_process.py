"""A measurement in a process of its own, which does nothing else."""

import json
import signal
import subprocess
import sys
from types import ModuleType
from typing import Any

from ...errors import InputError


class MemoryShort(InputError):
    """The memory of the machine did not suffice for a measurement."""


def in_own_process(module: ModuleType, job: Any) -> dict[str, Any]:
    """What `python -m module` prints as JSON for a job, a named tuple with a `mixer`.

    **Raises:** `InputError` if the process fails; it is `MemoryShort` if memory did not suffice.
    """
    command = [sys.executable, "-m", module.__name__, json.dumps(job._asdict())]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout)
    short = done.returncode == -signal.SIGKILL or "RESOURCE_EXHAUSTED" in done.stderr
    raise (MemoryShort if short else InputError)(
        f"{job.mixer} could not be measured (exit code {done.returncode}): {done.stderr[-500:]}"
    )
