"""The graph of a step is the step, for every layer and model."""
