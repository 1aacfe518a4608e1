"""Reverse-mode differentiation: ops and their gradient rules, the graph, and the walk back.

An op is a function of Arrays with gradient rules beside it:

    @op
    def tanh(x):
        return x.map("tanh")

    @tanh.gradient
    def _(g, y, x):
        return g * (1 - y * y)

Called with Arrays it computes; called with Tensors it also records a Node. A rule is written in ops
and operators that work on both, so one rule serves the plain walk (on Arrays: nothing is recorded)
and create_graph=True (on Tensors). The walk goes from the newest node to the oldest, which is an
order in which every gradient is complete before it is used, and frees the graph behind it.

This file is plain Python that Cython compiles; autograd.pxd gives it the C types.
"""
import contextlib
import inspect
import itertools
from heapq import heappop, heappush

import numpy as np

from .array import FLOAT64, Array, array
from .modes import anomaly, recording, set_anomaly, set_recording
from .row_gradient import RowGradient
from .view import is_float

REGISTRY: dict = {}       # name -> Op

_clock = itertools.count()
_tensor_class = None


class Variable:
    """What the graph knows of a Tensor.

    data                its Array
    requires_grad       whether it needs a gradient
    _grad               the gradient that backward collected, or None
    node, output        which output of which recorded call it is; None, 0 for a leaf
    """


def register_tensor_class(cls):
    """Tell the graph which class wraps the outputs of ops (fastconv.tensor does, once)."""
    global _tensor_class
    _tensor_class = cls


def _wrap(data, node=None, output=0):
    tensor = _tensor_class.__new__(_tensor_class)
    tensor.data = data
    tensor.node = node
    tensor.output = output
    tensor.requires_grad = node is not None
    return tensor


# --- modes -----------------------------------------------------------------------------------

class _Mode(contextlib.ContextDecorator):
    """Context manager and decorator that sets one of the switches of modes.pyx."""

    def __init__(self, switch, value):
        self.switch, self.value, self.before = switch, value, []

    def __enter__(self):
        self.before.append(self.switch(self.value))

    def __exit__(self, *error):
        self.switch(self.before.pop())

    def _recreate_cm(self):
        return _Mode(self.switch, self.value)       # each call of a decorated function has its own


def no_grad():
    """Context manager and decorator: ops inside record nothing.

    >>> import fastconv as fc
    >>> w = fc.Tensor([1.0], requires_grad=True)
    >>> with fc.no_grad():
    ...     (w * 2).requires_grad
    False
    """
    return _Mode(set_recording, False)


def enable_grad():
    """Context manager and decorator: ops inside record, also within no_grad."""
    return _Mode(set_recording, True)


def is_grad_enabled():
    """Whether ops record a graph in this thread."""
    return recording()


def detect_anomaly():
    """Context manager: the first op whose output or gradient holds NaN or infinity raises
    FloatingPointError with its name. Slow: every result is read back.
    """
    return _Mode(set_anomaly, True)


def _check_finite(what, values):
    for value in values:
        data = value.data if isinstance(value, Variable) else getattr(value, "values", value)
        if isinstance(data, Array) and is_float(data.dtype) and data.size:
            finite = data._map("isfinite", result=np.bool_)
            if not finite.min().item():
                raise FloatingPointError(f"{what} holds NaN or infinity (shape {data.shape}, dtype {data.dtype})")


# --- ops -------------------------------------------------------------------------------------

class Op:
    """A differentiable function; see `op`. Instances are what `fastconv.ops` exports."""

    def __init__(self, forward, inputs, broadcasts, composite, differentiable, outputs):
        self.forward = forward
        self.name = forward.__name__.lstrip("_")
        self.broadcasts = broadcasts
        self.composite = composite
        self.differentiable = differentiable
        self.outputs = outputs
        self.rules, self.joint_rule = {}, None
        self.signature = inspect.signature(forward)
        parameters = self.signature.parameters.values()
        self.names = [p.name for p in parameters]
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.inputs = sum(p.default is p.empty for p in parameters) if inputs is None else inputs
        self.__doc__, self.__name__, self.__signature__ = forward.__doc__, self.name, self.signature
        self.__module__, self.__wrapped__ = forward.__module__, forward

    def __repr__(self):
        return f"<fastconv op {self.name}>"

    def gradient(self, rule):
        """Decorator for a gradient rule.

        `@f.gradient` takes (g, y, *inputs, **parameters) and returns the gradient of the input, or
        a tuple with one (or None) for each. `@f.gradient("w")` is the rule of the input w alone and
        runs only when w needs its gradient. g is the gradient of y; of several outputs both are tuples.
        """
        if isinstance(rule, str):
            def register(function):
                self.rules[self.names.index(rule)] = function
                return function
            return register
        self.joint_rule = rule
        return rule

    def __call__(self, *args, **kwargs):
        return self.apply(args, kwargs)

    def apply(self, args, keywords):
        """The op on these arguments: inputs, then parameters."""
        count = len(args) if self.variadic else self.inputs
        if len(args) < count:
            bound = self.signature.bind(*args, **keywords)
            bound.apply_defaults()
            args, keywords = bound.args, bound.kwargs
        plain, device = list(args), None
        has_variables = needs_grad = foreign = False
        for i in range(count):
            x = args[i]
            if isinstance(x, Variable):
                variable = x
                has_variables = True
                needs_grad = needs_grad or variable.requires_grad
                plain[i] = variable.data
                device = variable.data.device
            elif isinstance(x, Array):
                device = x.device
            else:
                foreign = _check_operand(self.name, x, i) or foreign
        if foreign or device is None:
            _convert_operands(plain, count, device)
        call = tuple(plain)
        out = self.forward(*call, **keywords) if keywords else self.forward(*call)
        if anomaly():
            _check_finite(f"the output of op {self.name!r}", out if self.outputs else (out,))
        if not has_variables:
            return out
        node = None
        if needs_grad and self.differentiable and recording():
            node = _record(self, args, call, keywords, out, count)
        return _wrap_outputs(self, out, node) if self.outputs else _wrap(out, node)

    def carries_gradient(self, output):
        """Whether the output of this number is differentiable."""
        return self.outputs is True or output < max(self.outputs, 1)


def op(forward=None, *, inputs=None, broadcasts=False, composite=None, differentiable=True, outputs=0):
    """Declare an op from its forward function of Arrays.

    inputs          how many leading parameters are tensors (default: those without a default;
                    *args are all tensors). A tensor input may also be None or a Python number.
    broadcasts      inputs broadcast against each other and promote: their gradients are summed back
                    to their shapes and converted to their dtypes here.
    composite       the same function in elementary ops; create_graph=True differentiates through
                    it, so that a rule may use fused kernels and need no rule of its own.
    differentiable  False: outputs never need a gradient.
    outputs         0: one Array. n: a tuple whose first n entries carry gradients. True: a tuple, all do.
    """
    def declare(function):
        made = Op(function, inputs, broadcasts, composite, differentiable, outputs)
        REGISTRY[made.name] = made
        return made
    return declare if forward is None else declare(forward)


def _wrap_outputs(op, arrays, node):
    return tuple([_wrap(a, node if op.carries_gradient(i) else None, i) for i, a in enumerate(arrays)])


def _check_operand(name, x, place):
    """Whether an input that is no tensor must become one; TypeError for what can be none."""
    if x is None and place:                 # None may stand for a bias, not for x
        return False
    if not isinstance(x, (float, int, np.generic, np.ndarray, list)) or isinstance(x, str):     # np.str_ is both
        raise TypeError(f"{name} takes tensors, arrays and numbers, not {type(x).__name__}")
    return isinstance(x, (np.ndarray, list))


def _convert_operands(plain, count, device):
    """NumPy arrays and lists become Arrays on this device; numbers too where there is no tensor to say which."""
    known = device
    for i in range(count):
        x = plain[i]
        if isinstance(x, (np.ndarray, list)) or (device is None and x is not None and not isinstance(x, Array)):
            plain[i] = array(x, device=known)


# --- the graph -------------------------------------------------------------------------------

class Node:
    """One recorded call of an op.

    args, keywords      as passed; the first `count` of args are its inputs
    call                args with the Arrays that the Tensors held then
    out                 the result, an Array or a tuple of them
    time                a number that grows with every call
    """

    def outputs(self):
        return self.out if isinstance(self.out, tuple) else (self.out,)

    def free(self):
        self.args = self.call = self.out = None

    def check_alive(self):
        if self.args is None:
            raise RuntimeError(f"the graph behind op {self.op.name!r} was freed by an earlier backward; "
                               "pass retain_graph=True there")

    def sources(self):
        """The inputs that need gradients."""
        return [x for x in self.args[:self.count] if isinstance(x, Variable) and x.requires_grad]

    def input_gradients(self, grads, needed, create_graph):
        """Gradients of the inputs at indices `needed`, in that order; grads has one for each output."""
        op = self.op
        if create_graph and op.composite:
            return self._through_composite(grads, needed)
        y = self.outputs()
        if create_graph:
            y = _wrap_outputs(op, y, self)
        head = (grads, y) if op.outputs else (grads[0], y[0])
        arguments = head + (self.args if create_graph else self.call)
        found = self._apply_rules(arguments, needed)
        if op.broadcasts:
            found = [_fit(g, self.call[i]) for g, i in zip(found, needed)]
        return found

    def _apply_rules(self, arguments, needed):
        op, keywords = self.op, self.keywords
        if op.joint_rule is not None:
            grads = op.joint_rule(*arguments, **keywords) if keywords else op.joint_rule(*arguments)
            return [grads[i] for i in needed] if isinstance(grads, tuple) else [grads]
        found = []
        for i in needed:
            if i not in op.rules:
                raise NotImplementedError(f"op {op.name!r} has no gradient with respect to {op.names[i]!r}")
            rule = op.rules[i]
            found.append(rule(*arguments, **keywords) if keywords else rule(*arguments))
        return found

    def _through_composite(self, grads, needed):
        # Aliases, so that an input that depends on another one still gets its partial derivative.
        aliases = [alias(x) if i in needed else x for i, x in enumerate(self.args[:self.count])]
        ys = _as_tuple(self.op.composite(*aliases, *self.args[self.count:], **self.keywords))
        pairs = [(y, g) for y, g in zip(ys, grads) if y is not None and g is not None]
        return list(grad([y for y, _ in pairs], [aliases[i] for i in needed], [g for _, g in pairs], create_graph=True))


def _record(op, args, call, keywords, out, count):
    node = Node.__new__(Node)
    node.op = op
    node.args = args
    node.call = call
    node.keywords = keywords
    node.out = out
    node.count = count
    node.time = next(_clock)
    return node


@op
def alias(x):
    """x itself, as a new place in the graph."""
    return x


@alias.gradient
def _(g, y, x):
    return g


@op(inputs=1)
def sum_to(x, shape):
    """The sum over the axes that broadcasting `shape` to x.shape repeats: the gradient of broadcast_to."""
    lead = x.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + d for d, size in enumerate(shape) if size == 1 and x.shape[lead + d] != 1)
    return x.sum(axes, keepdims=True).reshape(shape) if axes else x


@op(inputs=1)
def broadcast_to(x, shape):
    """A view of `shape` in which missing and size-1 axes repeat. ValueError when it does not fit.

    >>> import fastconv as fc
    >>> fc.ops.broadcast_to(fc.array([1.0, 2.0]), (3, 2)).shape
    (3, 2)
    """
    return x.broadcast_to(shape)


@sum_to.gradient
def _(g, y, x, shape):
    return broadcast_to(g, x.shape)


@broadcast_to.gradient
def _(g, y, x, shape):
    return sum_to(g, x.shape)


@op(inputs=1)
def cast(x, dtype):
    """x converted to `dtype` (float to integer truncates)."""
    return x.astype(dtype, copy=False)


@cast.gradient
def _(g, y, x, dtype):
    return cast(g, x.dtype)


@op(inputs=1)
def to_device(x, device):
    """x on another device."""
    return x.to(device)


@to_device.gradient
def _(g, y, x, device):
    return to_device(g, x.device)


def _fit(g, x):
    """The gradient g of a broadcast, promoted input, in the input's own shape and dtype."""
    if g is None:
        return None
    if g.shape != x.shape:
        g = sum_to(g, x.shape)
    return g if g.dtype == x.dtype else cast(g, x.dtype)


# --- the walk --------------------------------------------------------------------------------

def _reachable(roots):
    """The nodes behind these tensors, oldest first."""
    seen, stack = {}, [t.node for t in roots if t.node is not None]
    while stack:
        node = stack.pop()
        if node.time not in seen:
            node.check_alive()
            seen[node.time] = node
            stack += [x.node for x in node.sources() if x.node is not None]
    return [seen[t] for t in sorted(seen)]


def _place(tensor):
    """What identifies a tensor in the graph: the output of a node, or itself when it is a leaf."""
    return tensor if tensor.node is None else (tensor.node, tensor.output)


class _Walk:
    """The state of one walk: who waits for more gradients, and what has arrived.

    targets     the places whose gradients are wanted, or None for every leaf
    useful      the nodes that lead to them, or None for all
    waiting     time of a node -> [node, gradient of its first output, ...]
    queue       a heap of these times, negative: the newest first
    found       place -> gradient
    """

    def __init__(self, targets, useful):
        self.targets, self.useful = targets, useful
        self.waiting, self.queue, self.found = {}, [], {}

    def give(self, tensor, g):
        """Add g to the gradient of a tensor."""
        node = tensor.node
        if node is not None and isinstance(g, RowGradient):
            g = g.dense()
        if self.targets is not None:
            place = _place(tensor)
            if place in self.targets:
                self.found[place] = self.found[place] + g if place in self.found else g
        elif node is None:
            self.found[tensor] = self.found[tensor] + g if tensor in self.found else g
        if node is None or (self.useful is not None and node not in self.useful):
            return
        slot = self.waiting.get(node.time)
        if slot is None:
            node.check_alive()
            slot = [node] + [None] * (len(node.out) if node.op.outputs else 1)
            self.waiting[node.time] = slot
            heappush(self.queue, -node.time)
        before = slot[tensor.output + 1]
        slot[tensor.output + 1] = g if before is None else before + g

    def wants(self, x):
        """Whether an input of a useful node needs its gradient."""
        if not isinstance(x, Variable) or not x.requires_grad:
            return False
        return self.useful is None or x.node in self.useful or _place(x) in self.targets

    def run(self, create_graph, retain_graph):
        while self.queue:
            slot = self.waiting.pop(-heappop(self.queue))
            node = slot[0]
            node.check_alive()
            args = node.args
            needed = [i for i in range(node.count) if self.wants(args[i])]
            results = node.input_gradients(_fill_missing(node, slot, create_graph), needed, create_graph)
            if anomaly():
                _check_finite(f"the gradient of op {node.op.name!r}", results)
            for i, g in zip(needed, results):
                if g is not None:
                    self.give(args[i], g)
            if not retain_graph:
                node.free()


def _walk(roots, seeds, targets, create_graph, retain_graph):
    """Gradients of the roots (weighted by seeds) at `targets`: dict place -> gradient.

    targets is a set of places, or None for every leaf that requires a gradient.
    """
    walk = _Walk(targets, None if targets is None else _leading_to(roots, targets))
    before = set_recording(create_graph)
    try:
        for root, seed in zip(roots, seeds):
            walk.give(root, seed)
        walk.run(create_graph, retain_graph)
    finally:
        set_recording(before)
    return walk.found


def _leading_to(roots, targets):
    """The nodes on a way from the roots to a target."""
    useful = set()
    for node in _reachable(roots):
        if any(_place(x) in targets or x.node in useful for x in node.sources()):
            useful.add(node)
    return useful


def _fill_missing(node, slot, create_graph):
    """One gradient per output; zeros for an output that nothing used."""
    grads = slot[1:]
    for i, g in enumerate(grads):
        if g is None and node.op.carries_gradient(i):
            out = node.outputs()[i]
            g = out._map("copy", dtype=out.dtype)
            g._fill(0)
            grads[i] = _wrap(g) if create_graph else g
    return tuple(grads)


def _seed(tensor, gradient, create_graph):
    """The gradient to start with: what the caller gave, checked, or 1 for a scalar."""
    if not tensor.requires_grad:
        raise ValueError("this tensor does not require a gradient: it depends on no tensor that does")
    if gradient is None:
        if tensor.data.size != 1:
            raise ValueError(f"backward of a tensor of shape {tensor.shape} needs a gradient of that shape")
        gradient = array(np.ones(tensor.data.shape, tensor.data.dtype), device=tensor.data.device)
    elif not isinstance(gradient, (Variable, Array)):
        gradient = array(gradient, tensor.data.dtype, tensor.data.device)
    data = gradient.data if isinstance(gradient, Variable) else gradient
    if data.shape != tensor.data.shape or data.dtype != tensor.data.dtype:
        raise ValueError(f"a gradient of shape {data.shape}, dtype {data.dtype} for a tensor of shape "
                         f"{tensor.data.shape}, dtype {tensor.data.dtype}")
    if data.device is not tensor.data.device:
        raise ValueError(f"a gradient on {data.device.name} for a tensor on {tensor.data.device.name}")
    if create_graph:
        return gradient if isinstance(gradient, Variable) else _wrap(gradient)
    return data


def backward(tensor, gradient=None, create_graph=False, retain_graph=None):
    """Add the gradient of `tensor` to `.grad` of every leaf it depends on; see Tensor.backward."""
    seed = _seed(tensor, gradient, create_graph)
    retain = create_graph if retain_graph is None else retain_graph
    found = _walk([tensor], [seed], None, create_graph, retain)
    given = {id((seed.data if create_graph else seed).buffer)}
    for leaf, g in found.items():
        if create_graph:
            with _Mode(set_recording, True):
                leaf._grad = g if leaf._grad is None else leaf.grad + g
        elif leaf._grad is not None:
            leaf._grad = _kept(getattr(leaf._grad, "data", leaf._grad) + g)
        else:
            leaf._grad = _kept(_owned(g, given))
        if not isinstance(g, RowGradient):
            given.add(id((g.data if create_graph else g).buffer))


def _kept(g):
    """A gradient of the plain walk as a leaf keeps it; the rows of a table become a Tensor when they are read."""
    return g if isinstance(g, RowGradient) else _wrap(g)


def _owned(data, given):
    """A gradient to hand out: a copy where its elements share memory or something else holds its buffer."""
    if isinstance(data, RowGradient):
        return data                     # made by its rule, for this one leaf
    return data.astype(data.dtype) if id(data.buffer) in given or 0 in data.strides else data


def grad(outputs, inputs, grad_outputs=None, create_graph=False, retain_graph=None):
    """Gradients of `outputs` with respect to `inputs`, as a tuple; `.grad` is not touched.

    outputs, inputs   a Tensor or a list; inputs may be leaves or not
    grad_outputs      the weights of the outputs (default 1 for scalars)
    create_graph      make the gradients differentiable themselves

    An input that the outputs do not depend on gets None.

    >>> import fastconv as fc
    >>> x = fc.Tensor([2.0], requires_grad=True)
    >>> (g,) = fc.autograd.grad(x ** 3, x, create_graph=True)
    >>> fc.autograd.grad(g, x)[0].numpy()
    array([12.], dtype=float32)
    """
    outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if not isinstance(grad_outputs, (list, tuple)):
        grad_outputs = [grad_outputs] * len(outputs) if grad_outputs is None else [grad_outputs]
    if len(grad_outputs) != len(outputs):
        raise ValueError(f"{len(grad_outputs)} grad_outputs for {len(outputs)} outputs")
    for t in outputs:
        if not isinstance(t, Variable):
            raise TypeError(f"grad differentiates Tensors, not {type(t).__name__}")
    for x in inputs:
        if not isinstance(x, Variable):
            raise TypeError(f"grad differentiates with respect to Tensors, not {type(x).__name__}")
        if not x.requires_grad:
            raise ValueError(f"an input of shape {x.data.shape} does not require a gradient")
    pairs = [(t, _seed(t, g, create_graph)) for t, g in zip(outputs, grad_outputs) if t.requires_grad or g is None]
    retain = create_graph if retain_graph is None else retain_graph
    found = _walk([t for t, _ in pairs], [s for _, s in pairs], {_place(x) for x in inputs}, create_graph, retain)
    results = [found.get(_place(x)) for x in inputs]
    results = [g.dense() if isinstance(g, RowGradient) else g for g in results]
    if create_graph:
        return tuple(results)
    given, owned = {id(s.buffer) for _, s in pairs}, []
    for g in results:
        owned.append(None if g is None else _wrap(_owned(g, given)))
        given.add(None if g is None else id(g.buffer))
    return tuple(owned)


# --- checking --------------------------------------------------------------------------------

class GradcheckError(AssertionError):
    """gradcheck found a gradient that differs from the finite difference; the message names the worst entry."""


def gradcheck(fn, inputs, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True):
    """Compare the gradients of `fn` with central differences.

    fn       any function of Tensors that returns a Tensor or a tuple of them
    inputs   a Tensor or a list; those with requires_grad must be float64 and are checked
    Returns True; raises GradcheckError that names the worst entry (or returns False when
    raise_exception is False). The outputs are weighted with fixed random numbers, so one pass
    checks the whole Jacobian.

    >>> import fastconv as fc
    >>> x = fc.Tensor([0.3, -0.2], dtype="float64", requires_grad=True)
    >>> fc.autograd.gradcheck(fc.ops.tanh, x)
    True
    """
    inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    checked = [x for x in inputs if isinstance(x, Variable) and x.requires_grad]
    if not checked:
        raise ValueError("gradcheck needs at least one input with requires_grad=True")
    for x in checked:
        if x.data.dtype != FLOAT64:
            raise ValueError(f"gradcheck needs float64 inputs, not {x.data.dtype}")
    outputs = _as_tuple(fn(*inputs))
    chosen = [i for i, o in enumerate(outputs) if o.requires_grad]
    weights = [_random_weights(outputs[i]) for i in chosen]
    analytic = grad([outputs[i] for i in chosen], checked, weights)

    def value():
        with no_grad():
            again = _as_tuple(fn(*inputs))
        return sum((again[i].data * w).sum().item() for i, w in zip(chosen, weights))

    worst = (0.0, "")
    for number, (x, g) in enumerate(zip(checked, analytic)):
        numeric = _central_differences(value, x, eps)
        exact = np.zeros(x.data.shape) if g is None else g.data.numpy()
        excess = np.abs(exact - numeric) - (atol + rtol * np.abs(numeric))
        excess = np.where(np.isfinite(excess), excess, np.inf)
        if excess.size and excess.max() > worst[0]:
            at = np.unravel_index(excess.argmax(), excess.shape)
            place = tuple(int(i) for i in at)
            worst = (excess.max(), f"input {number} of shape {x.data.shape} at {place}: gradient {exact[at]:.10g}, "
                                   f"central difference {numeric[at]:.10g}")
    if worst[1] and raise_exception:
        raise GradcheckError(worst[1])
    return not worst[1]


def gradgradcheck(fn, inputs, eps=1e-6, atol=1e-5, rtol=1e-3):
    """gradcheck of the gradients of `fn`: its second order."""
    inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    chosen = [i for i, o in enumerate(_as_tuple(fn(*inputs))) if o.requires_grad]
    weights = [_wrap(_random_weights(_as_tuple(fn(*inputs))[i])) for i in chosen]
    for w in weights:
        w.requires_grad = True

    def first_order(*args):
        xs, ws = args[:len(inputs)], list(args[len(inputs):])
        with enable_grad():
            outputs = _as_tuple(fn(*xs))
            checked = [x for x in xs if isinstance(x, Variable) and x.requires_grad]
            found = grad([outputs[i] for i in chosen], checked, ws, create_graph=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(first_order, [*inputs, *weights], eps, atol, rtol)


def _as_tuple(outputs):
    return tuple(outputs) if isinstance(outputs, (list, tuple)) else (outputs,)


def _random_weights(output):
    """Fixed random numbers, none near 0, in the shape of an output."""
    rng = np.random.default_rng(output.data.size)
    return array(rng.uniform(0.5, 1.5, output.data.shape), output.data.dtype, output.data.device)


def _central_differences(value, x, eps):
    """d value / d x entry by entry, moving x.data in place and putting it back."""
    original, numeric = x.data.numpy(), np.zeros(x.data.shape)
    for at in np.ndindex(*x.data.shape):
        ends = []
        for step in (eps, -eps):
            x.data[at] = float(original[at] + step)
            ends.append(value())
        x.data[at] = float(original[at])
        numeric[at] = (ends[0] - ends[1]) / (2 * eps)
    return numeric
