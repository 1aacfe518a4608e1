"""Tracing: which ops a model calls on an example, in order.

For the time of one forward, calls of ops and of the layers that have an ONNX operator of their own are
written down. Values are known by their Arrays, so detached tensors keep their places.
"""
import contextlib
import threading
from dataclasses import dataclass

from ..autograd import REGISTRY, Variable, no_grad
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
        self.layers, self.calls, self.inside, self.thread = layers, [], 0, threading.get_ident()

    def run(self, module, inputs):
        """The module's outputs; self.calls is filled."""
        with no_grad(), _lock, self._watching():
            return module(*inputs)

    @contextlib.contextmanager
    def _watching(self):
        forwards, layer_call = {op: op.forward for op in REGISTRY.values()}, Module.__call__
        try:
            for op, forward in forwards.items():
                op.forward = self._watched(op, forward)
            Module.__call__ = self._watched_layer(layer_call)
            yield
        finally:
            Module.__call__ = layer_call
            for op, forward in forwards.items():
                op.forward = forward

    def _alone(self):
        """Whether a call is one of the model's own: not inside another one, nor in another thread."""
        return not self.inside and threading.get_ident() == self.thread

    def _watched(self, op, forward):
        def call(*args, **kwargs):
            if not self._alone():
                return forward(*args, **kwargs)
            out = self._inside(forward, args, kwargs)
            count = len(args) if op.variadic else op.inputs
            parameters = kwargs
            if not op.variadic:
                bound = op.signature.bind(*args, **kwargs)
                bound.apply_defaults()
                parameters = {name: bound.arguments[name] for name in op.names[count:]}
            self.calls.append(Call(op, _arrays(args[:count]), parameters, _arrays(out if isinstance(out, tuple) else (out,))))
            return out
        return call

    def _watched_layer(self, layer_call):
        def call(layer, *args, **kwargs):
            accepts = self.layers.get(type(layer))
            if not self._alone() or accepts is None or kwargs or not accepts(layer, args):
                return layer_call(layer, *args, **kwargs)
            out = self._inside(layer_call, (layer, *args), {})
            self.calls.append(Call(layer, _arrays(flat(args)), {}, _arrays(flat(out))))
            return out
        return call

    def _inside(self, function, args, kwargs):
        self.inside += 1
        try:
            return function(*args, **kwargs)
        finally:
            self.inside -= 1


def flat(values):
    """What is in nested tuples and lists, but for None."""
    for v in values if isinstance(values, (tuple, list)) else (values,):
        if isinstance(v, (tuple, list)):
            yield from flat(v)
        elif v is not None:
            yield v


def _arrays(values):
    return tuple(v.data if isinstance(v, Variable) else v for v in values)
