"""ONNX: load a graph as a Module, export a Module as a graph.

>>> import fastconv as fc
>>> model = fc.nn.Sequential(fc.nn.Linear(3, 2), fc.nn.ReLU())
>>> fc.onnx.export(model, fc.init.ones(1, 3), "/dev/null")    # doctest: +SKIP
"""
from .graph import OnnxModule, load
from .reading import OnnxError

__all__ = ["OnnxError", "OnnxModule", "load"]
