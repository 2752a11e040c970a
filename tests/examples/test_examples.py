"""Every example runs, in a process of its own, and says what it should."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
RUN = {
    "edge.py": (["--steps", "5"], r"after sound \d+: speaker \d, with a probability of [\d.]+"),
    "flights.py": (["--lines", "2000", "--steps", "5"], r"right one for \d+% of 1,997 flights"),
    "self_updating.py": (["--steps", "5", "--parts", "2"], r"part 2: error 0\.\d+ updated"),
    "sensors_over_mqtt.py": ([], r"reading 36: \w+ will have [\d.]+, [\d.]+, [\d.]+"),
}
"""The examples, with options that make them quick, and what the last line is."""


def test_every_example_is_run():
    assert {file.name for file in EXAMPLES.glob("*.py")} >= RUN.keys()


LONG = ("flights.py", "self_updating.py")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.long if name in LONG else ()) for name in RUN])
def test_an_example_runs(name, tmp_path):
    if "mqtt" in name and not (shutil.which("mosquitto") and shutil.which("mosquitto_sub")):
        pytest.skip("MOSQUITTO IS NOT INSTALLED: apt-get install mosquitto mosquitto-clients, and run this test again")
    arguments, last = RUN[name]
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert re.search(last, done.stdout.splitlines()[-1]), done.stdout
