"""ONNX's operators in terms of fastconv.ops, by family. What is not here runs by ONNX's own definition, where it has one."""
from . import (
               control,
               convolution,
               elementwise,
               indexing,
               norm,
               pooling,
               quantize,
               random,
               recurrent,
               reductions,
               resize,
               shape,
               signal,
)
from .registry import OPERATORS, Constant

__all__ = ["OPERATORS", "Constant"]
