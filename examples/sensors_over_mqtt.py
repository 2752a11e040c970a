"""Sensors publish over MQTT, and a forecast comes back for every reading.

This starts the broker mosquitto on a port of its own, and connects it to `twofold stream` with two pipes:

    mosquitto_sub -t readings | twofold stream RUN --key sensor | mosquitto_pub -t forecasts -l

It needs Debian's packages mosquitto and mosquitto-clients. Run it with: python examples/sensors_over_mqtt.py
"""

import json
import math
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twofold.tasks import Forecasting, train

SENSORS = ("hall", "roof", "cellar")


def temperature(sensor: int, hour: int) -> float:
    """The days of a sensor differ from those of the others in their mean, their size and their time."""
    return 15 + 3 * sensor + (2 + sensor) * math.sin(2 * math.pi * (hour + 5 * sensor) / 24)


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(port: int) -> None:
    """Wait until the broker listens."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)


def main() -> None:
    """Train a forecaster for a moment, and let it answer 12 readings of each sensor."""
    folder = Path(tempfile.mkdtemp())
    rows = [f"{temperature(0, hour):.3f}\n" for hour in range(600)]
    (folder / "history.csv").write_text("temperature\n" + "".join(rows))
    settings = {"horizon": 3, "context": 24, "patch": 24, "memory": 24.0, "width": 16, "depth": 1}
    task = Forecasting(csv=folder / "history.csv", mixer="gru", **settings, steps=60, measurements=2)
    train(task, folder / "run", progress=False)

    port = free_port()
    broker = subprocess.Popen(["mosquitto", "-p", str(port)], stderr=subprocess.DEVNULL)
    wait_for(port)
    mqtt = f"-h 127.0.0.1 -p {port} -q 1"
    run = f"{shlex.quote(sys.executable)} -m twofold stream {shlex.quote(str(folder / 'run'))} --key sensor"
    pipe = f"mosquitto_sub {mqtt} -t readings -i reader -c | {run} | mosquitto_pub {mqtt} -t forecasts -l"
    service = subprocess.Popen(pipe, shell=True, start_new_session=True)
    answers = subprocess.Popen(
        f"exec mosquitto_sub {mqtt} -t forecasts -C {12 * len(SENSORS)}", shell=True, stdout=subprocess.PIPE, text=True
    )
    time.sleep(1)  # until both have subscribed
    try:
        with subprocess.Popen(
            f"mosquitto_pub {mqtt} -t readings -l", shell=True, stdin=subprocess.PIPE, text=True
        ) as readings:
            for hour in range(12):
                for number, sensor in enumerate(SENSORS):
                    record = {"sensor": sensor, "temperature": temperature(number, hour)}
                    readings.stdin.write(json.dumps(record) + "\n")
                readings.stdin.flush()
        for line in answers.stdout:
            answer = json.loads(line)
            shown = ", ".join(f"{value:.1f}" for value in answer["forecast"]["temperature"])
            print(f"reading {answer['line']}: {answer['key']} will have {shown}")
    finally:
        os.killpg(service.pid, signal.SIGTERM)  # both ends of the pipe, and twofold
        for process in (service, answers, broker):
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
