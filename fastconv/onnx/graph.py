"""A graph as a Module: its float initializers are parameters, and forward runs its nodes in order.

Values are Tensors on one of two devices: the module's, and the reference (NumPy on the host), where shapes
and other constants of the file begin. An operator whose inputs all lie on the host runs there, so the
arithmetic of shapes never waits for a device; beside data of the device its inputs are moved there.
A value is dropped after its last use, so that without gradients its memory serves the next one.
"""
import math

import numpy as np

from ..array import FLOATS, Array, array
from ..autograd import is_grad_enabled
from ..device import default_device
from ..device import device as as_device
from ..nn import Module, Parameter
from ..tensor import Tensor
from .operators import OPERATORS, Constant
from .reading import OnnxError, Value, read_model

# Inputs that say how, not what: floats there are not learnt.
SETTINGS = {"BatchNormalization": (3, 4), "Clip": (1, 2), "Pad": (1, 2), "Dropout": (1, 2), "Resize": (1, 2, 3),
            "Range": (0, 1, 2), "OneHot": (1, 2), "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2)}
CONVOLUTIONS = ("Conv", "ConvTranspose")


def load(path_or_bytes, device=None, max_bytes=1 << 32):
    """The model in an ONNX file (a path, or its bytes) as a Module, in eval mode.

    device     where it runs (default: the default device)
    max_bytes  no value that a number in the file asks for may be larger

    Its floating initializers are Parameters (statistics and other settings: buffers) under the names in
    the file, so `state_dict`, `load_state_dict`, optimisers and `fc.save` work. Opsets 13 to 28, dtypes
    float32, float64, int32, int64, uint8 and bool. After `train()` its dropouts drop and its batch
    normalisations use the batch. Inference is wrapped in `fc.no_grad()`, as elsewhere.

    OnnxError (a ValueError) names the node or the entry for anything that is not an ONNX model, is damaged,
    has operators or dtypes that are missing here, or reaches outside its folder. Loading runs nothing.
    """
    model = read_model(path_or_bytes, OPERATORS)
    if model.reader.missing:
        raise OnnxError("; ".join(f"{node}: the operator is not supported" for node in model.reader.missing[:20]))
    return OnnxModule(model, default_device() if device is None else as_device(device), max_bytes)


class OnnxModule(Module):
    """A loaded ONNX graph. forward(*inputs) takes the graph's inputs in order (or by name) and returns its outputs,
    one alone or a tuple: Tensors, or lists of them for sequences."""

    def __init__(self, model, device, max_bytes):
        self.model, self.device, self.max_bytes = model, device, max_bytes
        graph = model.graph
        self.inputs = [v for v in graph.inputs if v.name not in graph.initializers]
        self.outputs = graph.outputs
        self.weights, self.statistics, self.constants = {}, {}, {}
        settings, convolved = _roles(graph)
        for name, value in graph.initializers.items():
            if value.dtype not in FLOATS or not value.ndim:
                self.constants[name] = Constant(value)
            elif name in settings:
                self.statistics[name] = array(value, device=device)
            else:
                self.weights[name] = Parameter(_stored(value, name in convolved, device))
        graph.initializers = {}                   # held once, above
        self.bodies = {}
        self.eval()

    # --- Module

    def _entries(self):
        return iter(self.weights.items())

    def named_buffers(self, remove_duplicate=True):
        return iter(self.statistics.items())

    def _move(self, device):
        super()._move(device)
        self.device = as_device(device)
        self.statistics = {name: value.to(device) for name, value in self.statistics.items()}

    def extra_repr(self):
        return f"{self.model.graph.name}: {len(self.model.graph.nodes)} nodes, opset {self.model.opsets.get('')}"

    # --- running

    def forward(self, *inputs, **named):
        scope = {**self.weights, **{name: Tensor(a) for name, a in self.statistics.items()}, **self.constants}
        scope.update(self._bound(inputs, named))
        results = run(self.model.graph, scope, _Context(self))
        results = [r.to(self.device) if isinstance(r, Tensor) else r for r in results]
        return results[0] if len(results) == 1 else tuple(results)

    def _bound(self, inputs, named):
        if len(inputs) > len(self.inputs):
            raise OnnxError(f"{len(inputs)} inputs for a graph with {len(self.inputs)}: {', '.join(v.name for v in self.inputs)}")
        given = {v.name: x for v, x in zip(self.inputs, inputs)}
        twice = given.keys() & named.keys()
        unknown = named.keys() - {v.name for v in self.model.graph.inputs}
        lacking = [v.name for v in self.inputs if v.name not in given and v.name not in named and v.kind != "optional"]
        if twice or unknown or lacking:
            raise OnnxError(f"inputs of the graph: twice {sorted(twice)}, unknown {sorted(unknown)}, missing {lacking}")
        given.update(named)
        sizes = {}
        for v in self.inputs:
            given[v.name] = self._input(v, given.get(v.name), sizes)
        return given

    def _input(self, v, x, sizes):
        """An input as a Tensor (or list, or None) on the module's device, checked against its declaration."""
        if v.kind == "sequence" or isinstance(x, (list, tuple)) and v.kind == "optional":
            return [self._input(Value(f"{v.name}[{i}]", dtype=v.dtype), e, sizes) for i, e in enumerate(x)]
        if x is None and v.kind == "optional":
            return None
        try:
            x = x if isinstance(x, (Tensor, Array)) else np.asarray(x)
            x = x.to(self.device) if isinstance(x, Tensor) else Tensor(x, device=self.device)
        except (TypeError, ValueError) as error:
            raise OnnxError(f"input {v.name!r}: {error}") from None
        if v.dtype is not None and x.dtype != v.dtype:
            raise OnnxError(f"input {v.name!r}: dtype {x.dtype}, the graph takes {v.dtype}")
        if v.shape is not None and not _fits(x.shape, v.shape, sizes):
            raise OnnxError(f"input {v.name!r}: shape {x.shape}, the graph takes {v.shape}")
        return x


def _fits(shape, declared, sizes):
    if len(shape) != len(declared):
        return False
    return all(size is None or n == (sizes.setdefault(size, n) if isinstance(size, str) else size)
               for n, size in zip(shape, declared))


def _roles(graph):
    """(names of initializers that are settings of their nodes, names of those that are kernels of convolutions)."""
    settings, convolved, learnt = set(), set(), set()
    for node in graph.nodes:
        for i, name in enumerate(node.inputs):
            (settings if i in SETTINGS.get(node.op, ()) else learnt).add(name)
            if node.op in CONVOLUTIONS and i == 1:
                convolved.add(name)
    return settings - learnt, convolved


def _stored(value, is_kernel, device):
    """A weight on the device; kernels of convolutions lie in memory as (*kernel, in, out), see nn.conv."""
    if not is_kernel or value.ndim < 3:
        return array(value, device=device)
    axes = (*range(2, value.ndim), 1, 0)
    return array(value.transpose(axes), device=device).permute(tuple(axes.index(d) for d in range(value.ndim)))


# --- the walk --------------------------------------------------------------------------------

class NodeError(OnnxError):
    """An error inside a node; the message names the innermost one."""


def run(graph, scope, context):
    """Run the nodes of a graph on the values in `scope` (dict, which it fills and empties); the values of its outputs."""
    for node in graph.nodes:
        inputs = [scope[name] if name else None for name in node.inputs]
        try:
            outputs = _call(node, inputs, scope, context)
        except (NodeError, FloatingPointError):
            raise
        except Exception as error:
            shapes = ", ".join("-" if x is None else f"{x.dtype}{list(x.shape)}" if isinstance(x, Tensor) else "a sequence"
                               for x in inputs)
            raise NodeError(f"{node} of {shapes}: {error or type(error).__name__}") from error
        if len(outputs) < len(node.outputs):
            raise NodeError(f"{node}: names {len(node.outputs)} outputs, the operator gives {len(outputs)} here")
        for name, value in zip(node.outputs, outputs):
            if name:
                scope[name] = value
        inputs = outputs = value = None
        for name in node.frees:
            scope.pop(name, None)
    return [scope[v.name] if v.name else None for v in graph.outputs]


def _call(node, inputs, scope, context):
    """The outputs of one node, as a tuple."""
    body = node.body
    if body is None and node.schema is not None:
        body = _late_body(node, inputs, context)
    if body is not None:
        return tuple(run(body, _arguments(body, inputs), context)[:len(node.outputs)])
    f = OPERATORS[node.op]
    if not f.takes_lists:
        inputs = together(inputs, f.host, context.device)
    if node.overwrites is not None and inputs[node.overwrites].size and _overwrite(node, inputs):
        return (inputs[node.overwrites],)
    out = f(node, context, scope, *inputs) if f.controls else f(node, context, *inputs)
    return out if isinstance(out, tuple) else (out,)


def _overwrite(node, inputs):
    """Whether the output was written over the input that nothing else uses; not while a graph is recorded."""
    if any(isinstance(x, Tensor) and x.requires_grad for x in inputs) and is_grad_enabled():
        return False
    x = inputs[node.overwrites].data
    if node.op == "Relu":
        x.device.map("relu", x, x)
        return True
    if node.op == "Clip":
        bounds = [None if i >= len(inputs) or inputs[i] is None else inputs[i].item() for i in (1, 2)]
        if None in bounds or bounds[0] > bounds[1]:
            return False
        x.device.map("clip", x, x, *bounds)
        return True
    other = inputs[1 - node.overwrites].data
    if other.shape != x.shape or other.dtype != x.dtype:
        return False
    x.device.map("add", x, *((x, other) if node.overwrites == 0 else (other, x)))
    return True


def _arguments(body, inputs):
    names = [v.name for v in body.inputs]
    return dict(zip(names, [*inputs, *[None] * (len(names) - len(inputs))]))


def _late_body(node, inputs, context):
    """The body of an operator that ONNX defines by others in a way that depends on dtypes and shapes."""
    key = id(node), tuple(x if x is None else (x.dtype, x.shape) for x in inputs)
    bodies = context.module.bodies
    if key not in bodies:
        if len(bodies) > 1000:
            bodies.clear()
        bodies[key] = context.module.model.reader.late(node, inputs)
    return bodies[key]


class _Context:
    """What operators may know of the model that they run in."""

    def __init__(self, module):
        self.module, self.device, self.training = module, module.device, module.training

    def check(self, shape, dtype):
        """OnnxError unless a value of this shape may be made."""
        if any(n < 0 for n in shape) or math.prod(shape) * np.dtype(dtype).itemsize > self.module.max_bytes:
            raise OnnxError(f"a value of shape {tuple(shape)} and dtype {dtype} has a negative size, or is over "
                            f"{self.module.max_bytes} bytes")

    def run(self, graph, scope, inputs):
        """The outputs of a graph in an attribute, which sees the values of `scope`."""
        if graph.constants is None:
            graph.constants = {name: Constant(value) for name, value in graph.initializers.items()}
        inner = {name: scope[name] for name in graph.captures}
        return run(graph, {**inner, **graph.constants, **dict(zip((v.name for v in graph.inputs), inputs))}, self)


def together(inputs, hosted, device):
    """The inputs on one device: the host when all are there. Those at the places `hosted` stay where they are."""
    away = [i for i, x in enumerate(inputs) if i not in hosted and isinstance(x, Tensor)]
    if all(inputs[i].device is inputs[away[0]].device for i in away):
        return inputs
    return [moved(x, device) if i in away else x for i, x in enumerate(inputs)]


def moved(x, device):
    return x.on(device) if isinstance(x, Constant) else x.to(device)
