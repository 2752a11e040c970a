"""Models that `twofold export` wrote, on streams. This needs ONNX Runtime and NumPy, and neither JAX nor twofold."""

from .stream import OnnxKeyedStream, OnnxStream

__all__ = ["OnnxKeyedStream", "OnnxStream"]
