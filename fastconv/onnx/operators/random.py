"""Random values. ONNX fixes no generator: a node's `seed` makes its own repeat, else the library's is used."""
import numpy as np

from ...array import array
from ...random import generator
from ...tensor import Tensor
from ..reading import dtype_of
from .registry import OnnxError, number, operator


def _generator(node):
    seed = node.get("seed")
    return generator(None) if seed is None else np.random.default_rng(np.float32(seed).view(np.uint32))


def _drawn(node, context, shape, dtype):
    context.check(shape, dtype)
    rng = _generator(node)
    if node.op.startswith("RandomNormal"):
        values = rng.normal(node.get("mean"), node.get("scale"), shape)
    else:
        values = rng.uniform(node.get("low"), node.get("high"), shape)
    return Tensor(array(values.astype(dtype), device=context.device))


def _dtype(node, like):
    return dtype_of(node.get("dtype"), "the result") if node.get("dtype") else like.dtype


@operator("RandomNormal", "RandomUniform")
def _(node, context):
    return _drawn(node, context, node.get("shape"), dtype_of(node.get("dtype"), "the result"))


@operator("RandomNormalLike", "RandomUniformLike")
def _(node, context, x):
    return _drawn(node, context, x.shape, _dtype(node, x))


@operator("Bernoulli")
def _(node, context, x):
    drawn = _generator(node).random(x.shape) < x.numpy()
    return Tensor(array(drawn.astype(_dtype(node, x)), device=x.device))


@operator("Dropout", host=(1, 2))
def _(node, context, x, ratio=None, training=None):
    p = 0.5 if ratio is None else float(number(ratio))
    active = context.training or training is not None and bool(number(training))
    if not 0 <= p < 1:
        raise OnnxError(f"ratio {p}")
    if not active or not p:
        kept = np.ones(x.shape, bool)
        y = x
    else:
        kept = _generator(node).random(x.shape) >= p
        y = x * array((kept / (1 - p)).astype(x.dtype), device=x.device)
    return (y, Tensor(array(kept, device=x.device))) if len(node.outputs) > 1 else y
