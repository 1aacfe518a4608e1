"""fastconv: convolutional and recurrent networks on any device.

Cython + OpenMP on the CPU, OpenCL on every GPU, NumPy as the reference, behind one Array and one
Tensor with automatic differentiation.

>>> import fastconv as fc
>>> x = fc.init.rand(1, 3, 8, 8)
>>> model = fc.nn.Sequential(fc.nn.Conv2d(3, 4, 3, padding=1), fc.nn.ReLU(), fc.nn.Flatten(), fc.nn.Linear(256, 10))
>>> model(x).shape
(1, 10)

Importing opens no device and prints nothing.
"""
from . import autograd, init, io, nn, ops, optim
from .array import Array, array
from .autograd import enable_grad, no_grad
from .interop import from_dlpack, from_pyopencl
from .io import load, load_checkpoint, save, save_checkpoint
from .ops.algorithms import get_conv_precision, set_conv_precision
from .profile import profile
from .random import manual_seed
from .tensor import Tensor

# Last: `cpu`, `opencl` and `reference` are functions here; the reference *module* is reached by
# `from fastconv.reference import ...`.
from .device import (Device, cpu, default_device, devices, get_num_threads, opencl, reference,  # isort: skip
                     set_default_device, set_num_threads, show_config)

__version__ = "0.1.0"

__all__ = ["Array", "Device", "Tensor", "array", "autograd", "cpu", "data", "default_device", "devices", "enable_grad",
           "from_dlpack", "from_pyopencl", "get_conv_precision", "get_num_threads", "init", "io", "load",
           "load_checkpoint", "manual_seed", "nn", "no_grad", "onnx", "opencl", "ops", "optim", "profile", "reference", "save",
           "save_checkpoint", "set_conv_precision", "set_default_device", "set_num_threads", "show_config"]


def __getattr__(name):
    if name in ("data", "onnx"):
        import importlib
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
