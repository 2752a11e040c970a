"""Students that learn attention, or a step of gradient descent, from random weights."""
