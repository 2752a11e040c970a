"""A speaker is recognised without JAX: a model is trained here, exported, and run in a process that has ONNX Runtime alone.

Run it with: python examples/edge.py
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from twofold.deploy.exported_run import export_run
from twofold.tasks import Classification, train

DEVICE = """
import sys
import numpy as np
from twofold_edge import OnnxStream

stream = OnnxStream(sys.argv[1])
for sound in np.loadtxt(sys.argv[2]):
    answer = stream.answer(stream.push(sound))
    likely = max(answer["probabilities"].values())
    print(f"after sound {stream.tokens}: speaker {answer['class']}, with a probability of {likely:.2f}")
assert "jax" not in sys.modules
"""
"""What runs on the device. It needs the file of the model, and `pip install ./edge`."""


def main() -> None:
    """Train on recordings of nine speakers, and recognise the speaker of a new one, sound by sound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300, help="train for so many steps")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    task = Classification(mixer="aaren", width=32, depth=1, steps=options.steps, measurements=3)
    run = train(task, folder / "run", progress=False)
    export_run(folder / "run", folder / "speakers.onnx")
    np.savetxt(folder / "recording.txt", np.asarray(task.example(run.data)))
    command = [sys.executable, "-c", DEVICE, str(folder / "speakers.onnx"), str(folder / "recording.txt")]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
