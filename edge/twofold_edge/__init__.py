"""Models that `twofold export` wrote, on streams. This needs ONNX Runtime and NumPy, and neither JAX nor twofold."""

from .keyed_stream import OnnxKeyedStream
from .stream import OnnxStream

__all__ = ["OnnxKeyedStream", "OnnxStream"]
