"""All flights from New York in 2013 as one stream of events: after each flight, which airline leaves next, and when?

Each airport has a state of its own. Run it with: python examples/flights.py
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from twofold.data import nycflights
from twofold.tasks import Events, train


def flights():
    """The flights in the order of their scheduled times, with the columns origin, day, time (in minutes) and carrier."""
    table = nycflights.read("flights")
    day = np.unique(table[["month", "day"]].to_numpy() @ [100, 1], return_inverse=True)[1]
    minute = table.sched_dep_time // 100 * 60 + table.sched_dep_time % 100
    # Many flights have the same minute. They are put in a random order, which is the same in every run.
    within = np.random.default_rng(0).uniform(0, 1, len(table)).round(3)
    return table.assign(day=day, time=1440 * day + minute + within).sort_values("time", kind="stable")


def main() -> None:
    """Train a model for a moment on the flights of each day, and stream."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, help="stream so many flights; all of them if not given")
    parser.add_argument("--steps", type=int, default=300, help="train for so many steps")
    parser.add_argument("--out", type=Path, help="the folder for the run, the flights and the answers")
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    table = flights()
    training = table.iloc[: len(table) if options.lines is None else 5 * options.lines]
    training.assign(sequence=training.origin + "-" + training.day.astype(str)).rename(columns={"carrier": "mark"})[
        ["sequence", "time", "mark"]
    ].to_csv(folder / "training.csv", index=False)
    task = Events(
        dataset=str(folder / "training.csv"), jitter=0.001, depth=1, batch=8, steps=options.steps, measurements=3
    )
    train(task, folder / "run", progress=False)

    with (folder / "flights.ndjson").open("w") as lines:
        for origin, time, carrier in table[["origin", "time", "carrier"]].head(options.lines).itertuples(index=False):
            lines.write(json.dumps({"origin": origin, "time": round(time, 3), "mark": carrier}) + "\n")
    files = ["--input", "flights.ndjson", "--output", "answers.ndjson", "--store", "states.sqlite"]
    command = [sys.executable, "-m", "twofold", "stream", "run", "--key", "origin", *files]
    subprocess.run(command, cwd=folder, check=True)

    expected: dict[str, dict] = {}
    right, count = 0, 0
    with (folder / "flights.ndjson").open() as lines, (folder / "answers.ndjson").open() as answers:
        for flight, answer in zip(map(json.loads, lines), map(json.loads, answers), strict=True):
            if flight["origin"] in expected:
                right += expected[flight["origin"]]["mark"] == flight["mark"]
                count += 1
            expected[flight["origin"]] = answer
    print(f"The most probable airline was the right one for {right / count:.0%} of {count:,} flights.")


if __name__ == "__main__":
    main()
