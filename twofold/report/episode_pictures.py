"""A picture of a robot in an episode."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from .panels import panels, plain


def draw_episode(
    frames: Sequence[UInt8[np.ndarray, "height width 3"]],
    angles: Mapping[str, Float[np.ndarray, " steps"]],
    shown: int,
    title: str,
) -> Figure:
    """The frames side by side, taken at equal distances within the first `shown` steps, and the angles in these steps."""
    figure, axes = panels(1 + bool(frames), 1, figsize=(9.0, 2.4 + 1.6 * bool(frames)))
    if frames:
        axes[0, 0].imshow(np.concatenate(frames, axis=1))
        axes[0, 0].set_axis_off()
    below = axes[-1, 0]
    for joint, angle in angles.items():
        below.plot(angle[: shown + 1], linewidth=1, label=joint)
    below.set(xlabel="step", ylabel="angle of the joint, radians", xlim=(0, shown))
    below.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    plain(below)
    figure.suptitle(title, fontsize=10)
    return figure
