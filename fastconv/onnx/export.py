"""Export: the calls of a traced model as an ONNX file."""
import math
import os

import numpy as np

from .. import nn
from ..array import FLOATS, Array, array
from ..autograd import REGISTRY, Variable
from ..io import _write_atomically
from ..tensor import Tensor
from .reading import OnnxError, _onnx, code_of
from .tracing import Tracer, flat

OPSET, IR_VERSION = 18, 8
WRITERS: dict = {}            # Op or Module class -> function(graph, call): writes nodes, returns the names of the outputs


def export(module, example, path, input_names=None, output_names=None):
    """Write a Module as an ONNX file that computes what its forward computes on inputs shaped like the example.

    module   exported in eval mode: dropout is left out, batch normalisation uses its running statistics
    example  an input (Tensor, Array, NumPy array), or a tuple of them; the file takes these shapes and dtypes
    path     the file, or something with `write`
    input_names, output_names   lists (default: "input", "output", numbered where there are several)

    The forward runs once and its calls are written down, so control flow is that of the example. Weights and
    buffers become initializers under their names in `state_dict`. Opset 18. OnnxError names an op that has no
    form in ONNX here; values read on the host (`.numpy()`, `.item()`) become constants.

    >>> import fastconv as fc, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    >>> fc.onnx.export(fc.nn.Linear(3, 2), fc.init.ones(1, 3), path)
    >>> fc.onnx.load(path)(fc.init.ones(1, 3)).shape
    (1, 2)
    """
    examples = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    place = next((a.device for _, a in module.named_parameters()), None)
    examples = [x if isinstance(x, Variable) else Tensor(x if isinstance(x, Array) else array(np.asarray(x), device=place))
                for x in examples]
    examples = [Tensor(x.data.astype(x.dtype)) for x in examples]          # arrays of their own: nothing else is these
    modes = [(m, m.training) for m in module.modules()]
    tracer = Tracer(_LAYERS)
    try:
        out = tracer.run(module.eval(), examples)
    finally:
        for m, training in modes:
            m.training = training
    outs = tuple(flat(out))
    if not all(isinstance(o, (Variable, Array)) for o in outs):
        raise OnnxError(f"the model returns {', '.join(type(o).__name__ for o in outs)}; a graph returns tensors")
    writer = _Writer(module)
    proto = writer.model(tracer.calls, examples, outs, _names(input_names, "input", examples),
                         _names(output_names, "output", outs))
    data = proto.SerializeToString()
    if hasattr(path, "write"):
        path.write(data)
    else:
        _write_atomically(os.fspath(path), data)


def _names(given, word, values):
    if given is None:
        return [word] if len(values) == 1 else [f"{word}_{i}" for i in range(len(values))]
    if len(given) != len(values) or len(set(given)) != len(values):
        raise OnnxError(f"{word}_names {given} for {len(values)} of them")
    return list(given)


class _Writer:
    """The graph as it grows: nodes, initializers, and the name of every Array."""

    def __init__(self, module):
        self.helper = _onnx().helper
        self.nodes, self.initializers, self.names, self.kept, self.count = [], {}, {}, [], 0
        self.state = {}
        for name, a in module.state_dict().items():
            self.state.setdefault(_place(a), (name, a))
        self.whole_inputs = False

    def model(self, calls, examples, outs, input_names, output_names):
        for x, name in zip(examples, input_names):
            self.bind(x.data, name)
        self.whole_inputs = any(x.dtype not in FLOATS for x in examples)
        self.reserved = {*input_names, *output_names}
        for call in calls:
            kind = call.what if call.what in WRITERS else type(call.what)
            if kind not in WRITERS:
                raise OnnxError(f"op {getattr(call.what, 'name', call.what)!r} has no form in ONNX here")
            self.call = call
            names = WRITERS[kind](self, call)
            for a, name in zip(call.outputs, names if isinstance(names, tuple) else (names,)):
                self.bind(a, name)
        for o, name in zip(outs, output_names):
            self.nodes.append(self.helper.make_node("Identity", [self.name(o.data if isinstance(o, Variable) else o)], [name]))
        inputs = [self.helper.make_tensor_value_info(n, code_of(x.dtype), x.shape) for n, x in zip(input_names, examples)]
        outputs = [self.helper.make_tensor_value_info(n, code_of(o.dtype), o.shape) for n, o in zip(output_names, outs)]
        graph = self.helper.make_graph(self.nodes, "fastconv", inputs, outputs, list(self.initializers.values()))
        model = self.helper.make_model(graph, opset_imports=[self.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                                       producer_name="fastconv")
        _onnx().checker.check_model(model, full_check=True)
        return model

    # --- names

    def bind(self, a, name):
        if isinstance(a, Array):
            self.names[id(a)] = name
            self.kept.append(a)         # so that its id stays its own

    def fresh(self, word):
        self.count += 1
        return f"{word}_{self.count}"

    def name(self, a, dtype=None):
        """The name of an Array or number; one that no call made is a weight, a buffer or a constant."""
        if not isinstance(a, Array):
            return self.constant(np.asarray(a, dtype))
        if id(a) not in self.names:
            name, stored = self.state.get(_place(a), (None, None))
            if name is None or stored.shape != a.shape:
                return self.constant(a.numpy())
            self.bind(a, self.weight(name, a))
        name = self.names[id(a)]
        return name if dtype is None or a.dtype == dtype else self.node("Cast", [name], to=code_of(dtype))

    def weight(self, name, a):
        """An initializer under its name in state_dict."""
        label = name if name not in self.reserved else f"{name}."
        if label not in self.initializers:
            self.initializers[label] = _onnx().numpy_helper.from_array(a.numpy(), label)
        return label

    def parameter(self, a):
        """The initializer of a layer's own Parameter or buffer."""
        a = a.data if isinstance(a, Variable) else a
        return self.name(a)

    def constant(self, values, word="constant"):
        name = self.fresh(word)
        self.initializers[name] = _onnx().numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), name)
        return name

    def ints(self, values):
        return self.constant(np.array(values, np.int64), "shape")

    def node(self, op, inputs, outputs=1, **attributes):
        """Write a node; the name of its output, or a tuple of names."""
        names = [self.fresh(op.lower()) for _ in range(outputs)]
        self.nodes.append(self.helper.make_node(op, inputs, names, name=names[0], **attributes))
        return names[0] if outputs == 1 else tuple(names)

    def reshaped(self, name, shape):
        return self.node("Reshape", [name, self.ints(shape)], allowzero=1)


def _place(a):
    return id(a.buffer), a.offset, a.shape, a.strides


def writer(*names):
    """Decorator: how to write a call of these ops."""
    def enter(function):
        for name in names:
            WRITERS[REGISTRY[name]] = function
        return function
    return enter


# --- elementwise -----------------------------------------------------------------------------

_SAME = {"negative": "Neg", "abs": "Abs", "sign": "Sign", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "tanh": "Tanh",
         "sigmoid": "Sigmoid", "erf": "Erf", "relu": "Relu", "floor": "Floor", "ceil": "Ceil", "round": "Round", "sin": "Sin",
         "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh",
         "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "softplus": "Softplus", "bitwise_not": "BitwiseNot"}
_BINARY = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "power": "Pow", "maximum": "Max",
           "minimum": "Min", "truncated_divide": "Div", "bitwise_and": "BitwiseAnd", "bitwise_or": "BitwiseOr",
           "bitwise_xor": "BitwiseXor"}
_COMPARE = {"equal": "Equal", "less": "Less", "less_equal": "LessOrEqual", "greater": "Greater",
            "greater_equal": "GreaterOrEqual"}
_LOGICAL = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}


def _one_to_one(table, write):
    for name, target in table.items():
        WRITERS[REGISTRY[name]] = lambda g, call, target=target: write(g, call, target)


_one_to_one(_SAME, lambda g, call, target: g.node(target, [g.name(call.inputs[0], call.outputs[0].dtype)]))
_one_to_one(_BINARY, lambda g, call, target: g.node(target, [g.name(x, call.outputs[0].dtype) for x in call.inputs]))


def _operands(g, call):
    """The inputs of a comparison in their common dtype."""
    dtypes = [x.dtype for x in call.inputs if isinstance(x, Array)]
    numbers = [np.asarray(x).dtype for x in call.inputs if not isinstance(x, Array)]
    dtype = np.result_type(*dtypes)
    if any(d.kind == "f" for d in numbers) and dtype.kind != "f":
        dtype = np.dtype(np.float32)
    return [g.name(x, dtype) for x in call.inputs]


_one_to_one(_COMPARE, lambda g, call, target: g.node(target, _operands(g, call)))
_one_to_one(_LOGICAL, lambda g, call, target: g.node(target, [g.name(x, np.dtype(bool)) for x in call.inputs]))


@writer("not_equal")
def _(g, call):
    return g.node("Not", [g.node("Equal", _operands(g, call))])


@writer("logical_not")
def _(g, call):
    return g.node("Not", [g.name(call.inputs[0], np.dtype(bool))])


@writer("isfinite")
def _(g, call):
    x = g.name(call.inputs[0])
    return g.node("Not", [g.node("Or", [g.node("IsNaN", [x]), g.node("IsInf", [x])])])


@writer("where")
def _(g, call):
    condition, a, b = call.inputs
    return g.node("Where", [g.name(condition, np.dtype(bool)), *(g.name(x, call.outputs[0].dtype) for x in (a, b))])


@writer("clip")
def _(g, call):
    x, dtype = call.inputs[0], call.outputs[0].dtype
    return g.node("Clip", [g.name(x), *(g.constant(np.asarray(call.parameters[k], dtype)) for k in ("low", "high"))])


@writer("fmod")
def _(g, call):
    return g.node("Mod", [g.name(x, call.outputs[0].dtype) for x in call.inputs], fmod=1)


@writer("cast")
def _(g, call):
    return g.node("Cast", [g.name(call.inputs[0])], to=code_of(call.outputs[0].dtype))


@writer("alias", "to_device")
def _(g, call):
    return g.name(call.inputs[0])


@writer("normalize")
def _(g, call):
    x, mean, rstd, weight, bias = (g.name(v, call.outputs[0].dtype) for v in call.inputs)
    return g.node("Add", [g.node("Mul", [g.node("Sub", [x, mean]), g.node("Mul", [rstd, weight])]), bias])


@writer("batch_norm")
def _(g, call):
    """By the statistics of the batch: what layer and group normalisation are too."""
    x, dtype = call.inputs[0], call.outputs[0].dtype
    axes, column = g.ints([d for d in range(x.ndim) if d != 1]), (1, x.shape[1], *(1,) * (x.ndim - 2))
    name = g.name(x)
    centred = g.node("Sub", [name, g.node("ReduceMean", [name, axes])])
    var = g.node("ReduceMean", [g.node("Mul", [centred, centred]), axes])
    eps = g.constant(np.asarray(call.parameters["eps"], dtype))
    y = g.node("Div", [centred, g.node("Sqrt", [g.node("Add", [var, eps])])])
    for op, a in zip(("Mul", "Add"), call.inputs[1:]):
        y = y if a is None else g.node(op, [y, g.reshaped(g.name(a, dtype), column)])
    return (_activated(g, y, call.parameters["activation"], dtype),)


# --- shapes ----------------------------------------------------------------------------------

@writer("reshape", "squeeze", "unsqueeze")
def _(g, call):
    return g.reshaped(g.name(call.inputs[0]), call.outputs[0].shape)


@writer("broadcast_to")
def _(g, call):
    return g.node("Expand", [g.name(call.inputs[0]), g.ints(call.outputs[0].shape)])


@writer("sum_to")
def _(g, call):
    x, y = call.inputs[0], call.outputs[0]
    lead = x.ndim - y.ndim
    axes = [*range(lead), *(lead + d for d, n in enumerate(y.shape) if n == 1 != x.shape[lead + d])]
    return g.reshaped(g.node("ReduceSum", [g.name(x), g.ints(axes)]), y.shape) if axes else g.name(x)


@writer("permute")
def _(g, call):
    return g.node("Transpose", [g.name(call.inputs[0])], perm=[a % call.inputs[0].ndim for a in call.parameters["axes"]])


@writer("transpose")
def _(g, call):
    order = list(range(call.inputs[0].ndim))
    a, b = call.parameters["axis1"], call.parameters["axis2"]
    order[a], order[b] = order[b], order[a]
    return g.node("Transpose", [g.name(call.inputs[0])], perm=order)


def _sliced(g, name, shape, key):
    """name[key] for slices, one per axis; a negative step may run to before the first element."""
    parts = [(a, *k.indices(n)) for a, (k, n) in enumerate(zip(key, shape)) if k != slice(None)]
    if not parts:
        return name
    axes, starts, ends, steps = zip(*parts)
    ends = [-(1 << 62) if s < 0 and e < 0 else e for e, s in zip(ends, steps)]
    return g.node("Slice", [name, *(g.ints(v) for v in (starts, ends, axes, steps))])


@writer("flip")
def _(g, call):
    x = call.inputs[0]
    axis = call.parameters["axis"]
    axes = range(x.ndim) if axis is None else [a % x.ndim for a in (axis if isinstance(axis, (tuple, list)) else (axis,))]
    return _sliced(g, g.name(x), x.shape, [slice(None, None, -1) if a in axes else slice(None) for a in range(x.ndim)])


@writer("getitem")
def _(g, call):
    x, y = call.inputs[0], call.outputs[0]
    keys = call.parameters["key"]
    keys = [k for k in (keys if isinstance(keys, tuple) else (keys,)) if k is not None]
    at = keys.index(Ellipsis) if Ellipsis in keys else len(keys)
    rest = x.ndim - sum(k is not Ellipsis for k in keys)
    keys = [*keys[:at], *[slice(None)] * rest, *keys[at + 1:]]
    key = [k if isinstance(k, slice) else slice(k % n, k % n + 1) for k, n in zip(keys, x.shape)]
    part = _sliced(g, g.name(x), x.shape, key)
    shape = tuple(len(range(*k.indices(n))) for k, n in zip(key, x.shape))
    return part if shape == y.shape else g.reshaped(part, y.shape)


@writer("undilate")
def _(g, call):
    x, axes, d = call.inputs[0], call.parameters["axes"], call.parameters["d"]
    axes = [a % x.ndim for a in (axes if isinstance(axes, (tuple, list)) else (axes,))]
    return _sliced(g, g.name(x), x.shape, [slice(None, None, d + 1) if a in axes else slice(None) for a in range(x.ndim)])


@writer("pad")
def _(g, call):
    x, width = call.inputs[0], call.parameters["width"]
    pads = [lo for lo, _ in width] + [hi for _, hi in width]
    return g.node("Pad", [g.name(x), g.ints(pads), g.constant(np.asarray(call.parameters["value"], x.dtype))])


@writer("concatenate")
def _(g, call):
    y = call.outputs[0]
    return g.node("Concat", [g.name(x, y.dtype) for x in call.inputs], axis=call.parameters["axis"] % y.ndim)


@writer("stack")
def _(g, call):
    y = call.outputs[0]
    a = call.parameters["axis"] % y.ndim
    parts = [g.reshaped(g.name(x, y.dtype), (*y.shape[:a], 1, *y.shape[a + 1:])) for x in call.inputs]
    return g.node("Concat", parts, axis=a)


@writer("split")
def _(g, call):
    sections = call.parameters["sections"]
    names = g.node("Split", [g.name(call.inputs[0]), g.ints(sections)], len(sections), axis=call.parameters["axis"])
    return names if isinstance(names, tuple) else (names,)


@writer("unstack")
def _(g, call):
    x = call.inputs[0]
    a = call.parameters["axis"] % x.ndim
    names = g.node("Split", [g.name(x), g.ints([1] * x.shape[a])], x.shape[a], axis=a)
    return tuple(g.reshaped(n, y.shape) for n, y in zip(names if isinstance(names, tuple) else (names,), call.outputs))


@writer("take_rows")
def _(g, call):
    if g.whole_inputs or any(a.dtype not in FLOATS for a in g.kept):
        raise OnnxError("rows picked by index: their indices may depend on an input, which a trace cannot tell; use "
                        "nn.Embedding")
    return g.node("Gather", [g.name(call.inputs[0]), g.ints(call.parameters["rows"].flat)], axis=0)


# --- reductions and products -----------------------------------------------------------------

def _axes(call):
    axis, ndim = call.parameters["axis"], call.inputs[0].ndim
    axes = range(ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    return [a % ndim for a in axes]


def _reduction(g, call, target):
    x, y, axes = call.inputs[0], call.outputs[0], _axes(call)
    if not axes:
        return g.name(x, y.dtype)
    return g.node(target, [g.name(x, y.dtype), g.ints(axes)], keepdims=int(call.parameters["keepdims"]))


_one_to_one({"sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin", "logsumexp": "ReduceLogSumExp"},
            _reduction)


def _arg_reduction(g, call, target):
    x, axes, y = call.inputs[0], _axes(call), call.outputs[0]
    rest = [d for d in range(x.ndim) if d not in axes]
    name = g.node("Transpose", [g.name(x)], perm=[*rest, *axes]) if axes != list(range(x.ndim)) else g.name(x)
    flat = g.reshaped(name, (*(x.shape[d] for d in rest), math.prod(x.shape[d] for d in axes)))
    return g.reshaped(g.node(target, [flat], axis=-1, keepdims=0), y.shape)


_one_to_one({"argmax": "ArgMax", "argmin": "ArgMin"}, _arg_reduction)


def _softmax(g, call, target):
    axes, x = _axes(call), call.inputs[0]
    if len(axes) == 1:
        return g.node(target, [g.name(x)], axis=axes[0])
    rest = [d for d in range(x.ndim) if d not in axes]
    order = [*rest, *axes]
    flat = g.reshaped(g.node("Transpose", [g.name(x)], perm=order), (*(x.shape[d] for d in rest), -1))
    y = g.reshaped(g.node(target, [flat], axis=-1), [x.shape[d] for d in order])
    return g.node("Transpose", [y], perm=[order.index(d) for d in range(x.ndim)])


_one_to_one({"softmax": "Softmax", "log_softmax": "LogSoftmax"}, _softmax)


@writer("matmul")
def _(g, call):
    return g.node("MatMul", [g.name(x) for x in call.inputs])


@writer("linear")
def _(g, call):
    x, w, *bias = (g.name(a) for a in call.inputs if a is not None)
    if call.inputs[0].ndim == 2:
        return g.node("Gemm", [x, w, *bias], transB=1)
    y = g.node("MatMul", [x, g.node("Transpose", [w], perm=[1, 0])])
    return g.node("Add", [y, *bias]) if bias else y


# --- convolution and pooling -----------------------------------------------------------------

def _activated(g, name, activation, dtype):
    """What a fused op does last."""
    if activation is None:
        return name
    if activation == "relu":
        return g.node("Relu", [name])
    if activation == "relu6":
        return g.node("Clip", [name, *(g.constant(np.asarray(v, dtype)) for v in (0, 6))])
    raise OnnxError(f"activation {activation!r} has no form in ONNX here")


def _channels_first(g, name, ndim, last):
    return g.node("Transpose", [name], perm=[0, ndim - 1, *range(1, ndim - 1)]) if last else name


def _as_layout(g, name, ndim, last):
    return g.node("Transpose", [name], perm=[0, *range(2, ndim), 1]) if last else name


def _kernel_first(g, name, ndim, last):
    return g.node("Transpose", [name], perm=[ndim - 1, ndim - 2, *range(ndim - 2)]) if last else name


def _window(geo, x_shape, y_shape, w_shape):
    """(attributes of a convolution of x to y with w, what padding at the ends is too little)."""
    dims = len(x_shape) - 2
    last = geo.channels_last
    size, out = (x_shape[1:-1], y_shape[1:-1]) if last else (x_shape[2:], y_shape[2:])
    kernel = w_shape[:-2] if last else w_shape[2:]
    stride, before, dilation = geo.stride[-dims:], geo.padding[-dims:], geo.dilation[-dims:]
    after = [(o - 1) * s + (k - 1) * d + 1 - n - p for o, s, k, d, n, p in zip(out, stride, kernel, dilation, size, before)]
    attributes = {"strides": stride, "dilations": dilation, "group": geo.groups, "kernel_shape": kernel,
                  "pads": [*before, *(max(a, 0) for a in after)]}
    return attributes, [max(-a, 0) for a in after]


@writer("conv", "activated_conv")
def _(g, call):
    x, w, bias = call.inputs
    geo, ndim = call.parameters["geo"], x.ndim
    attributes, _ = _window(geo, x.shape, call.outputs[0].shape, w.shape)
    inputs = [_channels_first(g, g.name(x), ndim, geo.channels_last), _kernel_first(g, g.name(w), ndim, geo.channels_last)]
    y = g.node("Conv", inputs + ([] if bias is None else [g.name(bias)]), **attributes)
    y = _activated(g, y, call.parameters.get("activation"), x.dtype)
    return _as_layout(g, y, ndim, geo.channels_last)


@writer("input_grad")
def _(g, call):
    """The transposed convolution; `geo` is that of the convolution it transposes."""
    x, w = call.inputs
    geo, ndim = call.parameters["geo"], x.ndim
    attributes, extra = _window(geo, call.outputs[0].shape, x.shape, w.shape)
    inputs = [_channels_first(g, g.name(x), ndim, geo.channels_last), _kernel_first(g, g.name(w), ndim, geo.channels_last)]
    return _as_layout(g, g.node("ConvTranspose", inputs, output_padding=extra, **attributes), ndim, geo.channels_last)


def _pooling_attributes(window):
    dims = len(window.x_shape) - 2
    size, stride, before, dilation = (getattr(window, k)[-dims:] for k in ("size", "stride", "padding", "dilation"))
    after = [max((o - 1) * s + (k - 1) * d + 1 - n - p, 0) for o, s, k, d, n, p in
             zip(window.y_shape[2:], stride, size, dilation, window.x_shape[2:], before)]
    return {"kernel_shape": size, "strides": stride, "pads": [*before, *after]}, dilation


@writer("max_pool")
def _(g, call):
    attributes, dilation = _pooling_attributes(call.parameters["window"])
    return (g.node("MaxPool", [g.name(call.inputs[0])], dilations=dilation, **attributes),)


@writer("window_sum")
def _(g, call):
    """The mean of each window, padding and all, times its size."""
    window, x = call.parameters["window"], call.inputs[0]
    attributes, _ = _pooling_attributes(window)
    pads = attributes["pads"]
    dims = len(pads) // 2
    padded = g.node("Pad", [g.name(x), g.ints([0, 0, *pads[:dims], 0, 0, *pads[dims:]]), g.constant(np.zeros((), x.dtype))]) \
        if any(pads) else g.name(x)
    y = g.node("AveragePool", [padded], kernel_shape=attributes["kernel_shape"], strides=attributes["strides"])
    return g.node("Mul", [y, g.constant(np.asarray(math.prod(window.size), x.dtype))])


# --- layers that are one operator ------------------------------------------------------------

def _batch_norm(g, call):
    layer, x = call.what, call.inputs[0]
    one, zero = (np.full(x.shape[1], v, x.dtype) for v in (1, 0))
    scale = g.constant(one) if layer.weight is None else g.parameter(layer.weight)
    bias = g.constant(zero) if layer.bias is None else g.parameter(layer.bias)
    statistics = [g.parameter(layer.running_mean), g.parameter(layer.running_var)]
    y = g.node("BatchNormalization", [g.name(x), scale, bias, *statistics], epsilon=layer.eps)
    return _activated(g, y, getattr(layer, "activation", None), x.dtype)


def _embedding(g, call):
    return g.node("Gather", [g.parameter(call.what.weight), g.name(call.inputs[0])], axis=0)


_GATES = {"RNN": (0,), "LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}        # where torch's gates stand in ONNX's order


def _recurrent(g, call):
    """A stack of layers, one node each. The weights keep their names and order; nodes bring the gates into ONNX's."""
    layer, (x, *states) = call.what, call.inputs
    name, kind, h, directions = g.name(x), type(layer).__name__, layer.hidden_size, layer.directions
    if layer.batch_first:
        name = g.node("Transpose", [name], perm=[1, 0, 2])
    t, n = (x.shape[1], x.shape[0]) if layer.batch_first else x.shape[:2]
    firsts, ends = [g.name(s) for s in states], [[] for _ in range(layer.states)]
    for number in range(layer.num_layers):
        w, r, b = (_stacked(g, layer, number, parts, kind) for parts in (("weight_ih",), ("weight_hh",), ("bias_ih", "bias_hh")))
        rows = slice(number * directions, (number + 1) * directions)
        first = [_sliced(g, s, (layer.num_layers * directions,), [rows]) for s in firsts]
        attributes = {"hidden_size": h, "direction": "bidirectional" if directions == 2 else "forward"}
        if kind == "GRU":
            attributes["linear_before_reset"] = 1
        if kind == "RNN":
            attributes["activations"] = ["Tanh" if layer.nonlinearity == "tanh" else "Relu"] * directions
        y, *last = g.node(kind, [name, w, r, b, "", *first], 1 + layer.states, **attributes)
        name = g.reshaped(g.node("Transpose", [y], perm=[0, 2, 1, 3]), (t, n, directions * h))
        for end, s in zip(ends, last):
            end.append(s)
    if layer.batch_first:
        name = g.node("Transpose", [name], perm=[1, 0, 2])
    return name, *(e[0] if len(e) == 1 else g.node("Concat", e, axis=0) for e in ends)


def _stacked(g, layer, number, parts, kind):
    """(directions, gates * h * parts, ...) from the parameters of one layer; "" where there are none."""
    rows, order = [], _GATES[kind]
    for suffix in layer._suffixes(number):
        made = []
        for part in parts:
            p = getattr(layer, part + suffix)
            if p is None:
                return ""
            gates = g.parameter(p)
            if order != tuple(sorted(order)):
                split = g.node("Split", [gates, g.ints([layer.hidden_size] * len(order))], len(order), axis=0)
                gates = g.node("Concat", [split[i] for i in order], axis=0)
            made.append(gates)
        whole = made[0] if len(made) == 1 else g.node("Concat", made, axis=0)
        rows.append(g.node("Unsqueeze", [whole, g.ints([0])]))
    return rows[0] if len(rows) == 1 else g.node("Concat", rows, axis=0)


def _plain(layer, args):
    return len(args) == 1


_LAYERS: dict = {
    nn.Embedding: _plain,
}
WRITERS[nn.Embedding] = _embedding
for _norm in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
    WRITERS[_norm] = _batch_norm
    _LAYERS[_norm] = lambda layer, args: layer.running_mean is not None
for _cell in (nn.RNN, nn.LSTM, nn.GRU):
    WRITERS[_cell] = _recurrent
    _LAYERS[_cell] = lambda layer, args: args[0].ndim == 3 and len(args) < 3
