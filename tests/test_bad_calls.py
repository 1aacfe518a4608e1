"""Wrong calls get an exception of the right type that shows the offending values, and leave everything usable.

Each row of the tables: name, exception, a regular expression its message must match, and the call, which gets
`d`, a namespace of good things on the device under test to misuse.
"""
import importlib
import math
import os
import re
import types

import numpy as np
import pytest

import fastconv as fc
from fastconv.device import Device

ops, nn, optim, autograd = fc.ops, fc.nn, fc.optim, fc.autograd
NAN, INF = math.nan, math.inf
# A second device, whatever the first: nothing may cross between them.
ELSEWHERE = Device(importlib.import_module("fastconv.reference"))


def goods(device):
    """Operands that are right by themselves."""
    d = types.SimpleNamespace(device=device)
    d.zeros = lambda *shape, dtype="float32", grad=False: fc.Tensor(
        np.zeros(shape, dtype), device=device, requires_grad=grad)
    d.array = lambda *shape, dtype="float32": fc.array(np.zeros(shape, dtype), device=device)
    d.x, d.w, d.b = d.zeros(2, 6, 7, 4), d.zeros(3, 3, 4, 5), d.zeros(5)     # NHWC, HWIO
    d.int32, d.bool = d.array(2, 3, dtype="int32"), d.array(2, 3, dtype="bool")
    d.there = fc.array(np.zeros((2, 3), "f"), device=ELSEWHERE)
    d.p = nn.Parameter(np.zeros((2, 3), "f"), device=device)
    d.logits = d.zeros(4, 10, grad=True)
    return d


def conv(d, x=None, w=None, b=None, **kwargs):
    return ops.conv2d(d.x if x is None else x, d.w if w is None else w, b, **kwargs)


CONVOLUTION = [
    ("rank-3", ValueError, r"\(6, 7, 4\).*4 dimensions", lambda d: conv(d, d.zeros(6, 7, 4))),
    ("rank-5", ValueError, r"\(1, 2, 6, 7, 4\)", lambda d: conv(d, d.zeros(1, 2, 6, 7, 4))),
    ("weight-rank", ValueError, r"\(3, 4, 5\)", lambda d: conv(d, w=d.zeros(3, 4, 5))),
    ("channels", ValueError, r"\(2, 6, 7, 4\).*\(3, 3, 6, 5\).*4 channels.* 6 ",
     lambda d: conv(d, w=d.zeros(3, 3, 6, 5))),
    ("channels-nchw", ValueError, r"6 channels.* 3 ", lambda d: conv(d, layout="NCHW", w=d.zeros(5, 3, 3, 3))),
    ("kernel-too-large", ValueError, r"\(8, 3\).*\(6, 7\)", lambda d: conv(d, w=d.zeros(8, 3, 4, 5))),
    ("kernel-too-large-padded", ValueError, r"\(11, 3\).*\(10, 11\)",
     lambda d: conv(d, w=d.zeros(11, 3, 4, 5), padding=2)),
    ("dilated-too-large", ValueError, r"\(9, 9\).*\(6, 7\)", lambda d: conv(d, dilation=4)),
    ("empty-image", ValueError, r"\(0, 7\)", lambda d: conv(d, d.zeros(2, 0, 7, 4))),
    ("empty-kernel", ValueError, r"\(0, 3, 4, 5\)", lambda d: conv(d, w=d.zeros(0, 3, 4, 5))),
    ("groups-divide", ValueError, r"groups=3.*4 input.*5 output", lambda d: conv(d, groups=3)),
    ("groups-divide-out", ValueError, r"groups=2.*5 output", lambda d: conv(d, w=d.zeros(3, 3, 2, 5), groups=2)),
    ("groups-zero", ValueError, r"groups=0", lambda d: conv(d, groups=0)),
    ("groups-negative", ValueError, r"groups=-1", lambda d: conv(d, groups=-1)),
    ("groups-float", TypeError, r"groups=1\.0", lambda d: conv(d, groups=1.0)),
    ("groups-list", TypeError, r"groups=\(1,\)", lambda d: conv(d, groups=[1])),
    ("padding-negative", ValueError, r"padding=-1", lambda d: conv(d, padding=-1)),
    ("padding-negative-pair", ValueError, r"padding=-2", lambda d: conv(d, padding=((0, -2), (0, 0)))),
    ("padding-count", ValueError, r"padding=\(1, 1, 1\)", lambda d: conv(d, padding=(1, 1, 1))),
    ("padding-triple", ValueError, r"\(1, 2, 3\)", lambda d: conv(d, padding=((1, 2, 3), (0, 0, 0)))),
    ("padding-word", ValueError, r"'full'.*'same'", lambda d: conv(d, padding="full")),
    ("padding-float", TypeError, r"padding=1\.5", lambda d: conv(d, padding=1.5)),
    ("padding-none", TypeError, r"padding=None", lambda d: conv(d, padding=None)),
    ("padding-same-strided", ValueError, r"'same'.*\(2, 2\)", lambda d: conv(d, padding="same", stride=2)),
    ("stride-zero", ValueError, r"stride=0", lambda d: conv(d, stride=0)),
    ("stride-negative", ValueError, r"stride=-1", lambda d: conv(d, stride=(1, -1))),
    ("stride-float", TypeError, r"stride=2\.0", lambda d: conv(d, stride=2.0)),
    ("stride-float-after-int", TypeError, r"stride=2\.0", lambda d: (conv(d, stride=2), conv(d, stride=2.0))),
    ("stride-float-pair", TypeError, r"stride=2\.0", lambda d: (conv(d, stride=(2, 2)), conv(d, stride=(2.0, 2)))),
    ("stride-word", TypeError, r"stride='2'", lambda d: conv(d, stride="2")),
    ("stride-count", ValueError, r"stride=\(1,\)", lambda d: conv(d, stride=(1,))),
    ("stride-set", TypeError, r"stride=\{1\}", lambda d: conv(d, stride={1})),
    ("dilation-zero", ValueError, r"dilation=0", lambda d: conv(d, dilation=0)),
    ("dilation-float", TypeError, r"dilation=1\.0", lambda d: conv(d, dilation=1.0)),
    ("layout", ValueError, r"'NCWH'.*'NHWC'", lambda d: conv(d, layout="NCWH")),
    ("layout-of-conv1d", ValueError, r"'NHWC'.*'NLC'",
     lambda d: ops.conv1d(d.zeros(2, 9, 3), d.zeros(3, 3, 4), layout="NHWC")),
    ("layout-type", (ValueError, TypeError), r"None", lambda d: conv(d, layout=None)),
    ("algorithm", ValueError, r"'fastest'.*'im2col'", lambda d: conv(d, algorithm="fastest")),
    ("bias-shape", ValueError, r"\(4,\).*5 output", lambda d: conv(d, b=d.zeros(4))),
    ("bias-rank", ValueError, r"\(1, 5\).*5 output", lambda d: conv(d, b=d.zeros(1, 5))),
    ("int", TypeError, r"int32",
     lambda d: conv(d, d.zeros(2, 6, 7, 4, dtype="int32"), d.zeros(3, 3, 4, 5, dtype="int32"))),
    ("bool", TypeError, r"bool", lambda d: conv(d, d.zeros(2, 6, 7, 4, dtype="bool"))),
    ("mixed-dtypes", TypeError, r"float32.*float64", lambda d: conv(d, w=d.zeros(3, 3, 4, 5, dtype="float64"))),
    ("mixed-bias", TypeError, r"float32.*float64", lambda d: conv(d, b=d.zeros(5, dtype="float64"))),
    ("mixed-devices", ValueError, r"devices.*reference",
     lambda d: conv(d, w=fc.init.zeros(3, 3, 4, 5, device=ELSEWHERE))),
    ("numpy", TypeError, r"x .*ndarray", lambda d: conv(d, np.zeros((2, 6, 7, 4), "f"))),
    ("none", TypeError, r"w .*NoneType", lambda d: ops.conv2d(d.x, None)),
    ("activation", ValueError, r"conv2d.*'tanh'", lambda d: ops.conv2d(d.x, d.zeros(3, 3, 4, 5), activation="tanh")),
    ("transposed-channels", ValueError, r"4 channels.* 5 ", lambda d: ops.conv_transpose2d(d.x, d.zeros(3, 3, 4, 5))),
    ("transposed-output-padding", ValueError, r"output_padding \(2, 2\).*\(2, 2\)",
     lambda d: ops.conv_transpose2d(d.x, d.zeros(3, 3, 5, 4), stride=2, output_padding=2)),
    ("transposed-negative-output", ValueError, r"\(-[0-9]+, ", lambda d: ops.conv_transpose2d(
        d.x, d.zeros(3, 3, 5, 4), padding=20)),
    ("transposed-layout", ValueError, r"conv_transpose2d.*'NWHC'|'NWHC'.*conv_transpose2d",
     lambda d: ops.conv_transpose2d(
        d.x, d.zeros(3, 3, 5, 4), layout="NWHC")),
    ("transposed-bias", ValueError, r"\(4,\).*5 output",
     lambda d: ops.conv_transpose2d(d.x, d.zeros(3, 3, 5, 4), d.zeros(4))),
    ("conv1d-rank", ValueError, r"\(9, 3\)", lambda d: ops.conv1d(d.zeros(9, 3), d.zeros(3, 3, 4))),
    ("conv3d-rank", ValueError, r"\(2, 6, 7, 4\)", lambda d: ops.conv3d(d.x, d.zeros(1, 1, 1, 4, 4))),
]

ARRAYS = [
    ("complex", TypeError, r"complex128", lambda d: fc.array([1j], device=d.device)),
    ("complex-numpy", TypeError, r"complex64", lambda d: fc.array(np.zeros(2, "complex64"), device=d.device)),
    ("object", TypeError, r"object", lambda d: fc.array([None], device=d.device)),
    ("string", TypeError, r"<U3|str", lambda d: fc.array(["abc"], device=d.device)),
    ("datetime", TypeError, r"datetime64", lambda d: fc.array(np.zeros(2, "M8[s]"), device=d.device)),
    ("structured", TypeError, r"dtype", lambda d: fc.array(np.zeros(2, "f,f"), device=d.device)),
    ("ragged", ValueError, r"inhomogeneous|not an array", lambda d: fc.array([[1, 2], [3]], device=d.device)),
    ("dtype-unknown", TypeError, r"float33", lambda d: fc.array([1], "float33", d.device)),
    ("dtype-complex", TypeError, r"complex64", lambda d: fc.array([1], "complex64", d.device)),
    ("dtype-float16", TypeError, r"float16", lambda d: fc.array([1], "float16", d.device)),
    ("astype", TypeError, r"int8", lambda d: d.array(2).astype("int8")),
    ("device-unknown", ValueError, r"'tpu'.*'cpu'", lambda d: fc.array([1], device="tpu")),
    ("device-type", TypeError, r"3", lambda d: fc.array([1], device=3)),
    ("device-opencl", (ValueError, RuntimeError), r"no such thing", lambda d: fc.opencl("no such thing")),
    ("device-opencl-index", (ValueError, RuntimeError), r"99", lambda d: fc.opencl(99)),
    ("set-default-device", ValueError, r"'gpu'", lambda d: fc.set_default_device("gpu")),
    ("huge", (MemoryError, ValueError), r"1099511627776", lambda d: fc.init.zeros(2 ** 40, 2 ** 40, device=d.device)),
    ("large", (MemoryError, ValueError), r"", lambda d: fc.init.zeros(2 ** 20, 2 ** 27, device=d.device)),
    ("huge-broadcast", (MemoryError, ValueError), r"1099511627776",
     lambda d: d.array(1, 1).broadcast_to(2 ** 40, 2 ** 40) + 1.0),
    ("huge-pad", (MemoryError, ValueError), r"", lambda d: d.array(1).pad(((2 ** 62, 2 ** 62),))),
    ("negative-shape", ValueError, r"\(-2, 3\)", lambda d: fc.init.zeros(-2, 3, device=d.device)),
    ("float-shape", TypeError, r"2\.5", lambda d: fc.init.zeros(2.5, device=d.device)),
    ("too-many-dims", ValueError, r"17", lambda d: fc.init.zeros(*(1,) * 17, device=d.device)),
    ("too-many-dims-array", ValueError, r"17", lambda d: fc.array(np.zeros((1,) * 17), device=d.device)),
    ("too-many-dims-index", ValueError, r"17", lambda d: d.array(2)[(None,) * 16]),
    ("reshape", ValueError, r"\(2, 3\).*\(4, 2\)", lambda d: d.p.data.reshape(4, 2)),
    ("reshape-infer", ValueError, r"6 .*\(4, -1\)", lambda d: d.p.data.reshape(4, -1)),
    ("reshape-two-unknown", ValueError, r"\(-1, -1\)", lambda d: d.p.data.reshape(-1, -1)),
    ("reshape-infer-zero", ValueError, r"\(0, -1\)", lambda d: d.array(0, 3).reshape(0, -1)),
    ("reshape-float", TypeError, r"6\.0", lambda d: d.p.data.reshape(6.0)),
    ("permute-missing", ValueError, r"\(0,\).*\(2, 3\)", lambda d: d.p.data.permute(0)),
    ("permute-repeated", ValueError, r"\(0, 0\)", lambda d: d.p.data.permute(0, 0)),
    ("permute-range", ValueError, r"\(0, 2\)", lambda d: d.p.data.permute(0, 2)),
    ("permute-negative", ValueError, r"\(0, -3\)", lambda d: d.p.data.permute(0, -3)),
    ("permute-type", TypeError, r"'ab'|a", lambda d: d.p.data.permute("a", "b")),
    ("transpose-range", ValueError, r"axis 2", lambda d: d.p.data.transpose(0, 2)),
    ("broadcast-to", ValueError, r"\(2, 3\).*\(2, 4\)", lambda d: d.p.data.broadcast_to(2, 4)),
    ("broadcast-to-fewer", ValueError, r"\(2, 3\).*\(3,\)", lambda d: d.p.data.broadcast_to(3)),
    ("broadcast-to-one", ValueError, r"\(2, 3\).*\(1, 3\)", lambda d: d.p.data.broadcast_to(1, 3)),
    ("broadcast", ValueError, r"\(2, 3\).*\(4,\)", lambda d: d.p.data + d.array(4)),
    ("broadcast-numpy", ValueError, r"\(4,\).*\(2, 3\)|\(2, 3\).*\(4,\)", lambda d: np.zeros(4, "f") + d.p.data),
    ("broadcast-where", ValueError, r"\(2, 3\).*\(2,\)", lambda d: d.bool.where(d.array(2), 0.0)),
    ("squeeze", ValueError, r"\(2, 3\)", lambda d: d.p.data.squeeze(0)),
    ("squeeze-range", ValueError, r"axis 5", lambda d: d.p.data.squeeze(5)),
    ("unsqueeze-range", ValueError, r"axis 4", lambda d: d.p.data.unsqueeze(4)),
    ("flip-range", ValueError, r"axis 2 .*2 dimensions", lambda d: d.p.data.flip(2)),
    ("flip-repeated", ValueError, r"\(0, -2\)", lambda d: d.p.data.flip((0, -2))),
    ("sum-range", ValueError, r"axis -3", lambda d: d.p.data.sum(-3)),
    ("sum-repeated", ValueError, r"\(1, 1\)", lambda d: d.p.data.sum((1, 1))),
    ("sum-float", TypeError, r"1\.0", lambda d: d.p.data.sum(1.0)),
    ("sum-word", TypeError, r"'rows'", lambda d: d.p.data.sum("rows")),
    ("max-empty", ValueError, r"max.*\(0, 3\)", lambda d: d.array(0, 3).max()),
    ("min-empty-axis", ValueError, r"min.*\(0, 3\)", lambda d: d.array(0, 3).min(0)),
    ("argmax-empty", ValueError, r"argmax.*\(0, 3\)", lambda d: d.array(0, 3).argmax()),
    ("argmin-empty-axis", ValueError, r"argmin.*\(0, 3\)", lambda d: d.array(0, 3).argmin(0)),
    ("as-strided-beyond", ValueError, r"\(2, 4\).*0\.\.6 .* 6", lambda d: d.p.data.as_strided((2, 4), (3, 1))),
    ("as-strided-before", ValueError, r"-2\.\.0", lambda d: d.p.data.as_strided((3,), (-1,))),
    ("as-strided-offset", ValueError, r"6\.\.6", lambda d: d.p.data.as_strided((1,), (1,), 6)),
    ("as-strided-negative-offset", ValueError, r"-1\.\.-1", lambda d: d.p.data.as_strided((1,), (1,), -1)),
    ("as-strided-huge", ValueError, r"9223372036854775807", lambda d: d.p.data.as_strided((2,), (2 ** 63 - 1,))),
    ("as-strided-lengths", ValueError, r"\(2,\).*\(1, 1\)", lambda d: d.p.data.as_strided((2,), (1, 1))),
    ("as-strided-float", TypeError, r"", lambda d: d.p.data.as_strided((2,), (1.0,))),
    ("index-range", IndexError, r"index 2 .*\(2, 3\)", lambda d: d.p.data[2]),
    ("index-range-negative", IndexError, r"index -4 .*axis 1", lambda d: d.p.data[0, -4]),
    ("index-too-many", IndexError, r"3 indices.*\(2, 3\)", lambda d: d.p.data[0, 0, 0]),
    ("index-0d", IndexError, r"\(\)", lambda d: d.array()[0]),
    ("index-ellipses", IndexError, r"Ellipsis", lambda d: d.p.data[..., ...]),
    ("index-float", (TypeError, IndexError), r"1\.0", lambda d: d.p.data[1.0]),
    ("index-word", (TypeError, IndexError), r"'a'", lambda d: d.p.data["a"]),
    ("index-list", (TypeError, IndexError), r"\[0, 1\]", lambda d: d.p.data[[0, 1]]),
    ("index-mask", (TypeError, IndexError), r"bool|Array", lambda d: d.p.data[d.bool]),
    ("index-bool", (TypeError, IndexError), r"True", lambda d: d.p.data[True]),
    ("slice-zero-step", ValueError, r"step", lambda d: d.p.data[::0]),
    ("slice-float", TypeError, r"", lambda d: d.p.data[0.5:]),
    ("assign-shape", ValueError, r"\(4,\).*\(2, 3\)", lambda d: d.p.data.__setitem__(..., d.array(4))),
    ("assign-rank", ValueError, r"\(2, 2, 3\).*\(2, 3\)", lambda d: d.p.data.__setitem__(..., d.array(2, 2, 3))),
    ("assign-broadcast", ValueError, r"\(4, 2, 3\).*\(0, 3, 1\)",
     lambda d: d.p.data.broadcast_to(4, 2, 3).__setitem__(..., 1.0)),
    ("assign-elsewhere", ValueError, r"devices.*reference", lambda d: d.p.data.__setitem__(..., d.there)),
    ("assign-word", (TypeError, ValueError), r"<U|str", lambda d: d.p.data.__setitem__(0, "a")),
    ("assign-none", (TypeError, ValueError), r"object|None", lambda d: d.p.data.__setitem__(0, None)),
    ("assign-int-range", ValueError, r"300.*uint8", lambda d: d.array(2, dtype="uint8").__setitem__(0, 300)),
    ("assign-int-nan", ValueError, r"nan.*int32", lambda d: d.int32.__setitem__(0, NAN)),
    ("assign-range", IndexError, r"index 5", lambda d: d.p.data.__setitem__(5, 1.0)),
    ("add-elsewhere", ValueError, r"add.*devices.*reference", lambda d: d.p.data + d.there),
    ("add-word", TypeError, r"str", lambda d: d.p.data + "a"),
    ("add-none", TypeError, r"NoneType", lambda d: d.p.data + None),
    ("add-list", TypeError, r"list", lambda d: d.p.data + [1, 2, 3]),
    ("add-complex", TypeError, r"complex", lambda d: d.p.data + 1j),
    ("add-bools", TypeError, r"bool", lambda d: d.bool + d.bool),
    ("int-overflow", ValueError, r"2147483648.*int32", lambda d: d.int32 + 2 ** 31),
    ("negative-uint8", ValueError, r"-1.*uint8", lambda d: d.array(2, dtype="uint8") + -1),
    ("truth", ValueError, r"\(2, 3\)", lambda d: bool(d.p.data)),
    ("float-of-many", ValueError, r"\(2, 3\)", lambda d: float(d.p.data)),
    ("item-of-many", ValueError, r"\(2, 3\)", lambda d: d.p.data.item()),
    ("item-of-none", ValueError, r"\(0,\)", lambda d: d.array(0).item()),
    ("index-of-float", TypeError, r"float32", lambda d: [1, 2][d.array()]),
    ("len-0d", TypeError, r"0-d", lambda d: len(d.array())),
    ("iterate-0d", TypeError, r"0-d", lambda d: list(d.array())),
    ("pad-count", ValueError, r"\(\(1, 1\),\).*\(2, 3\)", lambda d: d.p.data.pad(((1, 1),))),
    ("pad-negative", ValueError, r"-1", lambda d: d.p.data.pad(((0, 0), (-1, 0)))),
    ("pad-int", TypeError, r"1", lambda d: d.p.data.pad(1)),
    ("pad-value", ValueError, r"256.*uint8", lambda d: d.array(2, dtype="uint8").pad(((1, 1),), 256)),
    ("pad-value-type", (TypeError, ValueError), r"'a'|str", lambda d: d.array(2).pad(((1, 1),), "a")),
    ("fill-value-type", (TypeError, ValueError), r"None", lambda d: fc.init.full((2,), None, device=d.device)),
    ("copy-false", ValueError, r"cop", lambda d: np.asarray(d.p.data, copy=False)),
]

MATMUL = [
    ("inner", ValueError, r"\(2, 3\).*\(2, 3\).*3 columns.*2 rows", lambda d: d.p.data @ d.p.data),
    ("vectors", ValueError, r"\(3,\).*\(4,\)", lambda d: d.array(3) @ d.array(4)),
    ("batch", ValueError, r"\(2,\).*\(3,\)|\(2, 1, 4\).*\(3, 4, 1\)", lambda d: d.array(2, 1, 4) @ d.array(3, 4, 1)),
    ("0d", ValueError, r"\(\).*0-d", lambda d: d.array() @ d.array(3)),
    ("mixed-dtypes", TypeError, r"float32.*float64", lambda d: d.p.data @ d.array(3, 2, dtype="float64")),
    ("int", TypeError, r"int32", lambda d: d.int32 @ d.int32.T),
    ("elsewhere", ValueError, r"devices.*reference", lambda d: d.p.data @ d.there.T),
    ("number", TypeError, r"", lambda d: d.p.data @ 3.0),
    ("tensor", ValueError, r"\(2, 3\).*\(2, 3\)", lambda d: d.p @ d.p),
    ("op-number", TypeError, r"", lambda d: ops.matmul(d.p, 3.0)),
    ("linear", ValueError, r"Linear\(4, 2\).*\(2, 3\)", lambda d: nn.Linear(4, 2, device=d.device)(d.p)),
    ("op-linear-number", TypeError, r"linear.*float", lambda d: ops.linear(d.p, 3.0)),
    ("op-linear-none", TypeError, r"linear.*None", lambda d: ops.linear(d.p, None)),
    ("op-linear-bias", ValueError, r"linear of x \(2, 3\), w \(2, 3\).*bias \(3,\)", lambda d: ops.linear(d.p, d.p, d.zeros(3))),
    ("linear-dtype", TypeError, r"float64.*float32",
     lambda d: nn.Linear(3, 2, device=d.device)(d.zeros(2, 3, dtype="float64"))),
]

OPS = [
    ("word", TypeError, r"exp.*str", lambda d: ops.exp("a")),
    ("none", TypeError, r"NoneType", lambda d: ops.exp(None)),
    ("missing", TypeError, r"'b'", lambda d: ops.add(d.p)),
    ("add-elsewhere", ValueError, r"devices", lambda d: d.p + fc.Tensor(d.there)),
    ("broadcast", ValueError, r"\(2, 3\).*\(2,\)", lambda d: d.p * d.zeros(2)),
    ("clip", ValueError, r"2.*1", lambda d: ops.clip(d.p, 2, 1)),
    ("clip-nan", ValueError, r"nan", lambda d: ops.clip(d.p, NAN, 1)),
    ("concatenate-none", ValueError, r"no tensors", lambda d: ops.concatenate([])),
    ("concatenate-shapes", ValueError, r"\(2, 3\).*\(2, 4\)", lambda d: ops.concatenate([d.p, d.zeros(2, 4)])),
    ("concatenate-axis", ValueError, r"axis 2", lambda d: ops.concatenate([d.p, d.p], 2)),
    ("concatenate-ranks", ValueError, r"\(2, 3\).*\(3,\)", lambda d: ops.concatenate([d.p, d.zeros(3)])),
    ("concatenate-elsewhere", ValueError, r"devices", lambda d: ops.concatenate([d.p, fc.Tensor(d.there)])),
    ("concatenate-0d", ValueError, r"axis 0", lambda d: ops.concatenate([d.zeros(), d.zeros()])),
    ("stack-shapes", ValueError, r"\(2, 3\).*\(3,\)", lambda d: ops.stack([d.p, d.zeros(3)])),
    ("stack-none", ValueError, r"no tensors", lambda d: ops.stack(())),
    ("split-parts", ValueError, r"\(2, 3\).*2", lambda d: ops.split(d.p, 1, 2)),
    ("split-sizes", ValueError, r"\(2, 3\).*\(1, 1\)", lambda d: ops.split(d.p, 1, (1, 1))),
    ("split-negative", ValueError, r"\(4, -1\)", lambda d: ops.split(d.p, 1, (4, -1))),
    ("split-zero", ValueError, r"0", lambda d: ops.split(d.p, 1, 0)),
    ("dilate-negative", ValueError, r"-1", lambda d: ops.dilate(d.p, 0, -1)),
    ("dilate-axis", ValueError, r"axis 2", lambda d: ops.dilate(d.p, 2, 1)),
    ("dilate-float", TypeError, r"", lambda d: ops.dilate(d.p, 0, 1.5)),
    ("var-correction", ValueError, r"\(2, 3\)", lambda d: ops.var(d.p, 0, correction=2)),
    ("softmax-axis", ValueError, r"axis 2", lambda d: ops.softmax(d.p, 2)),
    ("logsumexp-axis", ValueError, r"\(0, 0\)", lambda d: ops.logsumexp(d.p, (0, 0))),
    ("dropout", ValueError, r"1\.5", lambda d: ops.dropout(d.p, 1.5)),
    ("dropout-nan", ValueError, r"nan", lambda d: ops.dropout(d.p, NAN)),
    ("dropout-rng", TypeError, r"'seed'", lambda d: ops.dropout(d.p, 0.5, rng="seed")),
    ("one-hot-range", ValueError, r"3 .*3 classes", lambda d: ops.one_hot([0, 3], 3, device=d.device)),
    ("one-hot-negative", ValueError, r"-1", lambda d: ops.one_hot([-1], 3, device=d.device)),
    ("one-hot-float", TypeError, r"float64", lambda d: ops.one_hot([0.5], 3, device=d.device)),
    ("mse-shapes", ValueError, r"\(2, 3\).*\(2, 1\)", lambda d: ops.mse_loss(d.p, d.zeros(2, 1))),
    ("labels-float", TypeError, r"float64", lambda d: ops.cross_entropy(d.logits, np.zeros(4))),
    ("labels-float-tensor", TypeError, r"float32", lambda d: ops.cross_entropy(d.logits, d.zeros(4))),
    ("labels-bool", TypeError, r"bool", lambda d: ops.cross_entropy(d.logits, np.zeros(4, bool))),
    ("labels-range", ValueError, r"10 .*10 classes", lambda d: ops.cross_entropy(d.logits, [0, 1, 2, 10])),
    ("labels-range-array", ValueError, r"-3 ", lambda d: ops.cross_entropy(
        d.logits, fc.array([0, 1, -3, 9], "int32", d.device))),
    ("labels-wrapping", ValueError, r"9223372036854775808",
     lambda d: ops.cross_entropy(d.logits, np.full(4, 2 ** 63, "uint64"))),
    ("labels-count", ValueError, r"\(3,\).*\(4, 10\)", lambda d: ops.cross_entropy(d.logits, [0, 1, 2])),
    ("labels-rank", ValueError, r"\(4, 1\).*\(4, 10\)", lambda d: ops.cross_entropy(d.logits, [[0], [1], [2], [3]])),
    ("labels-one-hot", ValueError, r"\(4, 10\)", lambda d: ops.cross_entropy(d.logits, np.zeros((4, 10), int))),
    ("labels-ragged", ValueError, r"", lambda d: ops.cross_entropy(d.logits, [[0], [1, 2]])),
    ("logits-rank", ValueError, r"\(10,\)", lambda d: ops.cross_entropy(d.zeros(10), [1])),
    ("logits-int", TypeError, r"int64", lambda d: ops.cross_entropy(d.zeros(4, 10, dtype="int64"), [0] * 4)),
    ("logits-empty", ValueError, r"\(0, 10\)", lambda d: ops.cross_entropy(d.zeros(0, 10), np.zeros(0, int))),
    ("logits-numpy", TypeError, r"ndarray", lambda d: ops.cross_entropy(np.zeros((4, 10), "f"), [0] * 4)),
]

NORMALISATION = [
    ("rank", ValueError, r"\(4,\)", lambda d: ops.batch_norm(d.zeros(4), training=True)),
    ("weight", ValueError, r"weight.*\(4,\).*3", lambda d: ops.batch_norm(d.p, weight=d.zeros(4), training=True)),
    ("running", ValueError, r"running_var.*\(2,\)", lambda d: ops.batch_norm(d.p, d.zeros(3), d.zeros(2))),
    ("activation", ValueError, r"'gelu'", lambda d: ops.batch_norm(d.p, training=True, activation="gelu")),
    ("no-statistics", ValueError, r"running_mean", lambda d: ops.batch_norm(d.p)),
    ("dtype", TypeError, r"float32.*float64",
     lambda d: ops.batch_norm(d.p, weight=d.zeros(3, dtype="float64"), training=True)),
    ("empty", ValueError, r"\(0, 3\)", lambda d: ops.batch_norm(d.zeros(0, 3), training=True)),
    ("int", TypeError, r"int32", lambda d: ops.batch_norm(fc.Tensor(d.int32), training=True)),
    ("elsewhere", ValueError, r"device", lambda d: ops.batch_norm(
        d.p, weight=fc.init.ones(3, device=ELSEWHERE), training=True)),
    ("running-elsewhere", ValueError, r"device", lambda d: ops.batch_norm(
        d.p, fc.init.ones(3, device=ELSEWHERE), fc.init.ones(3, device=ELSEWHERE), training=True)),
    ("layer-rank", ValueError, r"BatchNorm2d.*\(2, 3\)", lambda d: nn.BatchNorm2d(3, device=d.device)(d.p)),
    ("layer-rank-1d", ValueError, r"BatchNorm1d.*\(2, 6, 7, 4\)", lambda d: nn.BatchNorm1d(6, device=d.device)(d.x)),
    ("layer-channels", ValueError, r"\(2, 3\).*\(4,\)", lambda d: nn.BatchNorm1d(4, device=d.device)(d.p)),
    ("layer-norm", ValueError, r"\(4,\).*\(2, 3\)", lambda d: ops.layer_norm(d.p, 4)),
    ("layer-norm-rank", ValueError, r"\(1, 2, 3\).*\(2, 3\)", lambda d: ops.layer_norm(d.p, (1, 2, 3))),
    ("layer-norm-nothing", ValueError, r"\(\)", lambda d: ops.layer_norm(d.p, ())),
    ("layer-norm-weight", ValueError, r"weight.*\(2, 3\)", lambda d: ops.layer_norm(d.p, 3, d.zeros(2, 3))),
    ("layer-norm-int", TypeError, r"int32", lambda d: ops.layer_norm(fc.Tensor(d.int32), 3)),
    ("layer-norm-dtype", TypeError, r"float32.*float64", lambda d: ops.layer_norm(d.p, 3, d.zeros(3, dtype="float64"))),
    ("group-norm", ValueError, r"\(2, 3\).*2 groups", lambda d: ops.group_norm(d.p, 2)),
    ("group-norm-zero", ValueError, r"0 groups", lambda d: ops.group_norm(d.p, 0)),
    ("group-norm-weight", ValueError, r"\(4,\)", lambda d: ops.group_norm(d.p, 3, d.zeros(4))),
    ("group-norm-int", TypeError, r"int32", lambda d: ops.group_norm(fc.Tensor(d.int32), 3)),
    ("group-norm-layer", ValueError, r"2 groups.*3", lambda d: nn.GroupNorm(2, 3)),
]


def twice(d):
    y = (d.p * 2).sum()
    y.backward()
    y.backward()


def twice_in_part(d):
    z = d.p.exp()
    z.sum().backward()
    (z * 2).sum().backward()


AUTOGRAD = [
    ("no-grad", ValueError, r"does not require", lambda d: d.zeros(1).backward()),
    ("under-no-grad", ValueError, r"does not require", lambda d: fc.no_grad()(lambda: d.p.sum())().backward()),
    ("detached", ValueError, r"does not require", lambda d: d.p.sum().detach().backward()),
    ("many", ValueError, r"\(2, 3\)", lambda d: (d.p * 2).backward()),
    ("gradient-shape", ValueError, r"\(3,\).*\(2, 3\)", lambda d: (d.p * 2).backward(d.zeros(3))),
    ("gradient-dtype", ValueError, r"float64.*float32", lambda d: (d.p * 2).backward(d.zeros(2, 3, dtype="float64"))),
    ("gradient-elsewhere", ValueError, r"reference", lambda d: (d.p * 2).backward(fc.Tensor(d.there))),
    ("gradient-word", (TypeError, ValueError), r"", lambda d: (d.p * 2).backward("ones")),
    ("twice", RuntimeError, r"retain_graph", twice),
    ("twice-in-part", RuntimeError, r"exp.*retain_graph", twice_in_part),
    ("grad-of-array", TypeError, r"Array", lambda d: autograd.grad(d.p.sum(), d.p.data)),
    ("grad-of-numpy", TypeError, r"ndarray", lambda d: autograd.grad(d.p.sum(), np.zeros(2))),
    ("grad-from-array", TypeError, r"Array", lambda d: autograd.grad(d.p.data.sum(), d.p)),
    ("grad-not-required", ValueError, r"\(5,\)", lambda d: autograd.grad(d.p.sum(), d.b)),
    ("grad-outputs-count", ValueError, r"1 .*2 ", lambda d: autograd.grad([d.p.sum(), d.p.sum()], d.p, [d.zeros()])),
    ("grad-outputs-shape", ValueError, r"\(2,\)", lambda d: autograd.grad(d.p.sum(), d.p, d.zeros(2))),
    ("grad-many", ValueError, r"\(2, 3\)", lambda d: autograd.grad(d.p * 2, d.p)),
    ("set-grad-shape", ValueError, r"\(3,\).*\(2, 3\)", lambda d: setattr(d.p, "grad", d.zeros(3))),
    ("set-grad-dtype", ValueError, r"float64.*float32", lambda d: setattr(d.p, "grad", d.zeros(2, 3, dtype="float64"))),
    ("set-grad-elsewhere", ValueError, r"reference", lambda d: setattr(d.p, "grad", fc.Tensor(d.there))),
    ("int-requires", TypeError, r"int64", lambda d: fc.Tensor([1, 2], device=d.device, requires_grad=True)),
    ("assign", TypeError, r"in place.*\.data", lambda d: d.p.__setitem__(0, 1.0)),
    ("iterate-0d", TypeError, r"0-d", lambda d: list(d.p.sum())),
    ("gradcheck-float32", ValueError, r"float32", lambda d: autograd.gradcheck(ops.exp, d.p)),
    ("gradcheck-nothing", ValueError, r"requires_grad", lambda d: autograd.gradcheck(ops.exp, d.b)),
    ("anomaly", FloatingPointError, r"'log'.*\(2, 3\)", lambda d: autograd.detect_anomaly()(lambda: ops.log(d.p))()),
    ("anomaly-gradient", FloatingPointError, r"gradient.*'sqrt'",
     lambda d: autograd.detect_anomaly()(lambda: ops.sqrt(d.p).sum().backward())()),
]

def later(d):
    optimizer = optim.SGD([d.p])
    optimizer.lr = NAN
    d.p.grad = d.zeros(2, 3)
    optimizer.step()


OPTIMISERS = [
    ("nothing", ValueError, r"parameter", lambda d: optim.SGD([])),
    ("arrays", TypeError, r"Array", lambda d: optim.SGD([d.p.data])),
    ("one-tensor", TypeError, r"\(2, 3\)", lambda d: optim.SGD(d.p.detach(), 0.1)),
    ("one-twice", ValueError, r"once", lambda d: optim.SGD([d.p, d.p], 0.1)),
    ("result", ValueError, r"leaves.*\(2, 3\)", lambda d: optim.SGD([d.p * 2])),
    ("lr-nan", ValueError, r"lr=nan", lambda d: optim.SGD([d.p], NAN)),
    ("lr-negative", ValueError, r"lr=-0\.1", lambda d: optim.Adam([d.p], -0.1)),
    ("lr-infinite", ValueError, r"lr=inf", lambda d: optim.AdamW([d.p], INF)),
    ("lr-word", TypeError, r"lr='0\.1'", lambda d: optim.SGD([d.p], "0.1")),
    ("lr-none", TypeError, r"lr=None", lambda d: optim.Adam([d.p], None)),
    ("lr-later", ValueError, r"lr=nan", later),
    ("momentum", ValueError, r"momentum=-1", lambda d: optim.SGD([d.p], momentum=-1)),
    ("momentum-nan", ValueError, r"momentum=nan", lambda d: optim.SGD([d.p], momentum=NAN)),
    ("nesterov", ValueError, r"nesterov", lambda d: optim.SGD([d.p], nesterov=True)),
    ("weight-decay", ValueError, r"weight_decay=-1", lambda d: optim.AdamW([d.p], weight_decay=-1)),
    ("beta1", ValueError, r"1\.0", lambda d: optim.Adam([d.p], betas=(1.0, 0.9))),
    ("beta2", ValueError, r"-0\.1", lambda d: optim.Adam([d.p], betas=(0.9, -0.1))),
    ("beta-nan", ValueError, r"nan", lambda d: optim.AdamW([d.p], betas=(0.9, NAN))),
    ("betas-count", (ValueError, TypeError), r"betas", lambda d: optim.Adam([d.p], betas=(0.9,))),
    ("betas-number", (ValueError, TypeError), r"betas", lambda d: optim.Adam([d.p], betas=0.9)),
    ("eps", ValueError, r"eps=-1", lambda d: optim.Adam([d.p], eps=-1)),
    ("clip", ValueError, r"max_norm=-1", lambda d: optim.clip_grad_norm([d.p], -1)),
    ("clip-nan", ValueError, r"max_norm=nan", lambda d: optim.clip_grad_norm([d.p], NAN)),
    ("state-count", ValueError, r"2 .*1", lambda d: optim.SGD([d.p]).load_state_dict(
        optim.SGD([d.p, nn.Parameter(d.p.data)]).state_dict())),
    ("state-shape", ValueError, r"\(3,\).*\(2, 3\)", lambda d: optim.Adam([d.p]).load_state_dict(
        {**optim.Adam([d.p]).state_dict(), "0.exp_avg": np.zeros(3), "0.exp_avg_sq": np.zeros(3)})),
    ("state-missing", ValueError, r"betas", lambda d: optim.Adam([d.p]).load_state_dict(optim.SGD([d.p]).state_dict())),
]

MODULES = [
    ("forward", NotImplementedError, r"Module", lambda d: nn.Module()(d.x)),
    ("sequential", TypeError, r"3", lambda d: nn.Sequential(nn.ReLU(), 3)),
    ("conv-groups", ValueError, r"groups=2.*3 input", lambda d: nn.Conv2d(3, 4, 3, groups=2)),
    ("conv-groups-zero", ValueError, r"groups=0", lambda d: nn.Conv2d(3, 4, 3, groups=0)),
    ("conv-kernel-zero", ValueError, r"0", lambda d: nn.Conv2d(3, 4, 0)),
    ("conv-channels-zero", ValueError, r"0", lambda d: nn.Conv2d(0, 4, 3)),
    ("conv-kernel-count", ValueError, r"\(3,\)", lambda d: nn.Conv2d(3, 4, (3,))),
    ("conv-channels", ValueError, r"\(2, 6, 7, 4\).*6 channels.* 3 ",
     lambda d: nn.Conv2d(3, 4, 3, device=d.device)(d.x)),
    ("linear-zero", ValueError, r"0", lambda d: nn.Linear(0, 3)),
    ("linear-negative", ValueError, r"-1", lambda d: nn.Linear(3, -1)),
    ("dtype", TypeError, r"int32", lambda d: nn.Linear(3, 2, dtype="int32")),
    ("dtype-half", TypeError, r"float16", lambda d: nn.Conv2d(3, 2, 1, dtype="float16")),
    ("device", ValueError, r"'nowhere'", lambda d: nn.Linear(3, 2, device="nowhere")),
    ("to", ValueError, r"'nowhere'", lambda d: nn.Linear(3, 2, device=d.device).to("nowhere")),
    ("dropout", ValueError, r"-0\.5", lambda d: nn.Dropout(-0.5)),
    ("init-fan", ValueError, r"fan_in=0", lambda d: fc.init.kaiming_uniform(0, 3)),
    ("init-xavier", ValueError, r"fan_in=0", lambda d: fc.init.xavier_uniform(0, 0)),
    ("init-nonlinearity", ValueError, r"'mish'.*relu", lambda d: fc.init.kaiming_normal(3, 3, nonlinearity="mish")),
    ("init-rng", TypeError, r"'a'", lambda d: fc.init.rand(2, rng="a")),
    ("init-int", TypeError, r"int32", lambda d: fc.init.ones(2, dtype="int32", requires_grad=True, device=d.device)),
]

TABLES = {"conv": CONVOLUTION, "array": ARRAYS, "matmul": MATMUL, "ops": OPS, "norm": NORMALISATION,
          "autograd": AUTOGRAD, "optim": OPTIMISERS, "nn": MODULES}
ROWS = [pytest.param(*row[1:], id=f"{table}-{row[0]}") for table, rows in TABLES.items() for row in rows]


def check_usable(device):
    """A convolution, a product, a step of SGD: right after what went wrong before."""
    assert autograd.is_grad_enabled()
    x = fc.Tensor(np.arange(16.0).reshape(1, 4, 4, 1).astype("f"), device=device, requires_grad=True)
    w = nn.Parameter(np.ones((3, 3, 1, 2), "f"), device=device)
    y = ops.conv2d(x, w, stride=1)
    np.testing.assert_array_equal(y.numpy()[0, :, :, 1], [[45, 54], [81, 90]])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy()[0, :, :, 0], [[2, 4, 4, 2], [4, 8, 8, 4], [4, 8, 8, 4], [2, 4, 4, 2]])
    np.testing.assert_array_equal(w.grad.numpy()[:, :, 0, 0], [[10, 14, 18], [26, 30, 34], [42, 46, 50]])
    optim.SGD([w], 0.5).step()
    np.testing.assert_array_equal(w.numpy()[0, :, 0, 1], [-4, -6, -8])
    a = fc.array(np.arange(6.0).reshape(2, 3), "float32", device)
    np.testing.assert_array_equal((a @ a.T).numpy(), [[5, 14], [14, 50]])


@pytest.mark.parametrize("error, message, call", ROWS)
def test_bad_call(device, error, message, call):
    d = goods(device)
    before = {name: getattr(d, name).numpy() for name in ("x", "w", "b", "p", "int32", "logits")}
    with pytest.raises(error) as caught:
        call(d)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
    for name, values in before.items():
        np.testing.assert_array_equal(getattr(d, name).numpy(), values, f"{name} was changed")
    check_usable(device)


def test_a_failed_backward_leaves_the_graph_whole(device):
    d = goods(device)
    y = d.p.exp()
    with pytest.raises(ValueError):
        y.backward(d.zeros(3))
    assert d.p.grad is None
    y.backward(fc.init.ones(2, 3, device=device))
    np.testing.assert_array_equal(d.p.grad.numpy(), 1)


def test_a_failed_step_changes_nothing(device):
    """Running statistics, batch count and parameters stay as they were when the forward pass is refused."""
    layer = nn.BatchNorm1d(3, device=device)
    before = {name: value.numpy() for name, value in layer.state_dict().items()}
    for bad in (fc.init.ones(2, 4, device=device), fc.init.ones(0, 3, device=device), fc.init.ones(3, device=device),
                fc.init.ones(2, 3, device=ELSEWHERE)):
        with pytest.raises(ValueError):
            layer(bad)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name], name)


def test_modes_survive_exceptions(device):
    for mode in (fc.no_grad, autograd.detect_anomaly):
        with pytest.raises(ZeroDivisionError), mode():
            raise ZeroDivisionError
    check_usable(device)


# --- state dicts -----------------------------------------------------------------------------

def test_load_state_dict_lists_every_problem_and_writes_nothing(device):
    model = nn.Sequential(nn.Linear(3, 2, device=device), nn.BatchNorm1d(2, device=device))
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    state = {name: value + 1 for name, value in before.items()}
    state["0.weight"] = np.zeros((3, 2), "f")
    state["1.running_var"] = np.zeros(5)
    del state["0.bias"]
    state["2.weight"] = np.zeros(1)
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    for part in ("0.weight", r"(3, 2)", "(2, 3)", "1.running_var", "(5,)", "0.bias: missing", "2.weight: unexpected"):
        assert part in message, message
    with pytest.raises(ValueError, match=r"0\.weight") as caught:
        model.load_state_dict(state, strict=False)
    assert "missing" not in str(caught.value)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name], name)


@pytest.mark.parametrize("value", ["text", None, [[1, 2], [3]], np.zeros((2, 3), complex), {"a": 1}],
                         ids=["text", "none", "ragged", "complex", "dict"])
def test_load_state_dict_of_things_that_are_no_arrays(device, value):
    layer = nn.Linear(3, 2, device=device)
    before = {name: v.numpy() for name, v in layer.state_dict().items()}
    with pytest.raises((ValueError, TypeError), match="weight"):
        layer.load_state_dict({"bias": np.ones(2), "weight": value})
    for name, v in layer.state_dict().items():
        np.testing.assert_array_equal(v.numpy(), before[name])


def test_load_state_dict_of_no_dict(device):
    with pytest.raises((ValueError, TypeError)):
        nn.Linear(3, 2, device=device).load_state_dict([1, 2])


# --- checkpoints -----------------------------------------------------------------------------

@pytest.fixture
def checkpoint(tmp_path, device):
    pytest.importorskip("safetensors")
    path = tmp_path / "good.safetensors"
    fc.save_checkpoint(path, model=nn.Linear(3, 2, device=device), progress={"epoch": 3})
    return path


def refuse(path, device, message, error=ValueError, **parts):
    layer = nn.Linear(3, 2, device=device)
    before = layer.weight.numpy()
    with pytest.raises(error) as caught:
        fc.load_checkpoint(path, **(parts or {"model": layer}))
    assert re.search(message, str(caught.value)), str(caught.value)
    assert os.path.basename(path) in str(caught.value)
    np.testing.assert_array_equal(layer.weight.numpy(), before)


def test_damaged_checkpoints(device, checkpoint):
    data = checkpoint.read_bytes()
    cases = {"empty": b"", "text": b"hello, world " * 10, "zip": b"PK\3\4" + bytes(100), "zeros": bytes(64),
             "huge-header": (2 ** 60).to_bytes(8, "little") + data[8:], "header-cut": data[:20]}
    cases.update({f"cut-{n}": data[:n] for n in range(0, len(data), max(1, len(data) // 7))})
    cases["longer"] = data + b"xx"
    for name, content in cases.items():
        path = checkpoint.parent / f"{name}.safetensors"
        path.write_bytes(content)
        refuse(path, device, r"checkpoint")


def test_foreign_checkpoints(device, checkpoint):
    safetensors = pytest.importorskip("safetensors.numpy")
    foreign = checkpoint.parent / "foreign.safetensors"
    safetensors.save_file({"weight": np.zeros((2, 3), "f")}, foreign)
    refuse(foreign, device, "not a fastconv checkpoint")
    for parts in ("{", "[]", '{"model": {"tensor": "nowhere"}}', '{"model": {"dict": 3}}', '{"model": {"what": 1}}'):
        safetensors.save_file({"w": np.zeros(1, "f")}, foreign, {"format": "fastconv checkpoint 1", "parts": parts})
        refuse(foreign, device, "checkpoint")
    safetensors.save_file({"w": np.zeros(1, "f")}, foreign, {"format": "fastconv checkpoint 1"})
    refuse(foreign, device, "checkpoint")


def test_checkpoints_that_lack_or_misfit_a_part(device, checkpoint):
    layer = nn.Linear(3, 2, device=device)
    refuse(checkpoint, device, "optimizer.*model, progress", model=layer, optimizer=layer)
    with pytest.raises(ValueError, match=r"weight.*\(2, 3\).*\(5, 4\)"):
        fc.load_checkpoint(checkpoint, model=nn.Linear(4, 5, device=device))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fc.load_checkpoint(checkpoint.parent / "nowhere.safetensors", model=layer)
    with pytest.raises(OSError):
        fc.load_checkpoint(checkpoint.parent, model=layer)
    assert fc.load_checkpoint(checkpoint, model=layer) == {"progress": {"epoch": 3}}


def test_a_checkpoint_that_cannot_be_saved_leaves_the_old_one(device, checkpoint):
    before = checkpoint.read_bytes()
    with pytest.raises(TypeError, match=r"model\.f.*function|model\.f.*builtin"):
        fc.save_checkpoint(checkpoint, model={"f": print})
    with pytest.raises(TypeError, match="set"):
        fc.save_checkpoint(checkpoint, model={1, 2})
    assert checkpoint.read_bytes() == before and os.listdir(checkpoint.parent) == [checkpoint.name]
    with pytest.raises(OSError):
        fc.save_checkpoint(checkpoint.parent / "no" / "folder.safetensors", model={})


def test_pooling_refuses_a_size_that_is_no_int_also_after_its_equal(device):
    x = fc.init.ones(1, 1, 4, 4, device=device)
    for call in (lambda k: ops.max_pool2d(x, k), lambda k: ops.avg_pool2d(x, k), lambda k: ops.unfold(x, k)):
        call(2)
        for wrong in (2.0, {2}, np.array([2.0, 2.0])):
            with pytest.raises(TypeError, match="kernel_size"):
                call(wrong)
        call([2, 2])
