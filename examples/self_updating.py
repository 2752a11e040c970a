"""A forecaster of electricity demand that is trained again on what it has seen, while the stream goes on.

Two houses, the keys, share a model. It learns from the first house. The store keeps the last observations of each house. So a new
model reads these first, and then goes on where the old one was. Run it with: python examples/self_updating.py
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import twofold
from twofold.data.series import elecdemand
from twofold.deploy import KeyedStream, Store
from twofold.tasks import Forecasting, train

HORIZON, WARM = 8, 200


def trained(seen: np.ndarray, folder: Path, steps: int):
    """A model that was trained on the demand that was seen."""
    folder.mkdir(parents=True)
    np.savetxt(folder / "seen.csv", seen, header="demand", comments="")
    settings = {"horizon": HORIZON, "context": 48, "patch": 48, "width": 16, "depth": 1, "batch": 8}
    task = Forecasting(csv=folder / "seen.csv", mixer="gru", **settings, steps=steps, measurements=2)
    train(task, folder / "run", progress=False)
    return twofold.load(folder / "run")


def main() -> None:
    """Stream the demand of half a year, and train again after each part of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200, help="train for so many steps")
    parser.add_argument("--parts", type=int, default=4, help="train again so many times")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    demand = elecdemand().values[0, :, 0]
    houses = {"small": demand, "large": 3 * demand[::-1]}  # the second has its days backwards
    first, part = 1000, 1000
    model = trained(demand[:first], folder / "0", options.steps)
    fixed = KeyedStream(model)
    stream = KeyedStream(model, store=Store(folder / "states.sqlite"), warm=WARM)
    for number in range(1, options.parts + 1):
        times = range(first + (number - 1) * part, first + number * part)
        errors = {}
        for name, each in (("updated", stream), ("fixed", fixed)):
            keys = [key for _ in times for key in houses]
            ys = each.push(keys, np.array([[house[t]] for t in times for house in houses.values()]))
            came = np.array([house[t + 1 : t + 1 + HORIZON] / house.mean() for t in times for house in houses.values()])
            scale = np.array([house.mean() for _ in times for house in houses.values()])[:, None]
            errors[name] = np.mean(np.abs(ys / scale - came))
        print(f"part {number}: error {errors['updated']:.4f} updated, {errors['fixed']:.4f} with the first model")
        if number < options.parts:
            stream.commit()
            stream.store.close()
            model = trained(demand[: times[-1] + 1], folder / str(number), options.steps)
            stream = KeyedStream(model, store=Store(folder / "states.sqlite"), warm=WARM)


if __name__ == "__main__":
    main()
