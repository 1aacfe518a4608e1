"""ONNX: `load` a graph as a Module, `export` a Module as a graph. Needs the onnx package."""
from .export import export
from .graph import OnnxModule, load
from .reading import OnnxError

__all__ = ["OnnxError", "OnnxModule", "export", "load"]
