"""A picture of a robot in an episode."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from .panels import panels, plain


def draw_episode(
    frames: Sequence[UInt8[np.ndarray, "height width 3"]],
    positions: Float[np.ndarray, "steps coordinates"],
    shown: int,
    title: str,
) -> Figure:
    """The frames side by side, taken at equal distances within the first `shown` steps, and the coordinates in these steps.

    The first coordinate is the distance that the robot went. It is left out, because it grows without bound.
    """
    figure, axes = panels(1 + bool(frames), 1, figsize=(9.0, 2.4 + 1.6 * bool(frames)))
    if frames:
        axes[0, 0].imshow(np.concatenate(frames, axis=1))
        axes[0, 0].set_axis_off()
    below = axes[-1, 0]
    below.plot(positions[: shown + 1, 1:], linewidth=1)
    below.set(xlabel="step", ylabel="coordinates of the robot", xlim=(0, shown))
    plain(below)
    figure.suptitle(title, fontsize=10)
    return figure
