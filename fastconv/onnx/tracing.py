"""Tracing: which ops a model calls on an example, in order.

For the time of one forward, calls of ops and of the layers that have an ONNX operator of their own are
written down. Values are known by their Arrays, so detached tensors keep their places.
"""
import contextlib
import threading
from dataclasses import dataclass

from ..autograd import Op, Variable, no_grad
from ..nn import Module

_lock = threading.RLock()


@dataclass
class Call:
    """One call: of an op (`what` is the Op) or of a layer (the Module)."""

    what: object
    inputs: tuple           # Arrays, numbers, None
    parameters: dict        # the op's other arguments by name
    outputs: tuple          # Arrays


class Tracer:
    """Collects the Calls of one forward. `layers` are the Module classes that count as one call."""

    def __init__(self, layers):
        self.layers, self.calls, self.inside = layers, [], 0

    def run(self, module, inputs):
        """The module's outputs; self.calls is filled."""
        with no_grad(), _lock, self._watching():
            return module(*inputs)

    @contextlib.contextmanager
    def _watching(self):
        op_call, layer_call, thread = Op.__call__, Module.__call__, threading.get_ident()

        def call_op(op, *args, **kwargs):
            out = op_call(op, *args, **kwargs)
            if not self.inside and thread == threading.get_ident() and any(isinstance(x, Variable) for x in args):
                self._op(op, args, kwargs, out)
            return out

        def call_layer(layer, *args, **kwargs):
            if self.inside or thread != threading.get_ident() or not self._alone(layer, args, kwargs):
                return layer_call(layer, *args, **kwargs)
            self.inside += 1
            try:
                out = layer_call(layer, *args, **kwargs)
            finally:
                self.inside -= 1
            self.calls.append(Call(layer, _arrays(_flat(args)), {}, _arrays(_flat(out))))
            return out

        Op.__call__, Module.__call__ = call_op, call_layer
        try:
            yield
        finally:
            Op.__call__, Module.__call__ = op_call, layer_call

    def _alone(self, layer, args, kwargs):
        accepts = self.layers.get(type(layer))
        return accepts is not None and not kwargs and accepts(layer, args)

    def _op(self, op, args, kwargs, out):
        count = len(args) if op.variadic else op.inputs
        if not op.variadic:
            bound = op.signature.bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args[:count], {n: bound.arguments[n] for n in op.names[count:]}
        self.calls.append(Call(op, _arrays(args), kwargs, _arrays(out if isinstance(out, tuple) else (out,))))


def _flat(values):
    for v in values if isinstance(values, (tuple, list)) else (values,):
        if isinstance(v, (tuple, list)):
            yield from _flat(v)
        elif v is not None:
            yield v


def _arrays(values):
    return tuple(v.data if isinstance(v, Variable) else v for v in values)
