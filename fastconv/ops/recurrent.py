"""Recurrent layers over whole sequences: one op a layer and direction, one fused kernel a time step.

An input product for all steps at once, gx = x @ w_ih.T + b (t, n, gates * h), comes in; the op walks
the steps, forward and back, and the gradient of the recurrent weight is one product over all steps.

`sizes` (or None) packs sequences of different lengths: rows are sorted by falling length, and step t
computes its first sizes[t] rows only. Outputs past a sequence's end are 0, and its last state is kept.
"""
import itertools

from ..array import Array, empty, full, same_device, same_float_dtype
from ..autograd import op
from .elementwise import add, multiply, relu, sigmoid, tanh
from .linalg import matmul
from .shape import concatenate, getitem, split, stack, transpose


def _zeros(shape, like):
    return full(shape, 0, like.dtype, like.device)


class _Steps:
    """The walk over the time steps of one layer: which rows are active, and where states are kept."""

    def __init__(self, gx, sizes):
        self.length, self.rows = gx.shape[:2]
        self.sizes = sizes or (self.rows,) * self.length

    @property
    def packed(self):
        return self.sizes[-1] != self.rows

    def active(self, arrays, t):
        """The active rows of step t of sequences (t, n, ...)."""
        return (_rows(a, t, self.sizes[t]) for a in arrays)

    def before(self, states, t):
        """The active rows of the state before step t."""
        return _rows(states, t, self.sizes[t])

    def states(self, first):
        """Room for the states (t + 1, n, h) before and after each step, `first` (n, h) the first of them."""
        states = self.new(first.shape[1], first, 1)
        states[0] = first
        return states

    def new(self, width, like, more=0):
        """A sequence (t + more, n, width); zero beyond the ends of packed sequences."""
        shape = (self.length + more, self.rows, width)
        return _zeros(shape, like) if self.packed else empty(shape, like.dtype, like.device)

    def last(self, states):
        """The last state of each row (n, h)."""
        if not self.packed:
            return states[self.length].astype(states.dtype)
        out = empty((self.rows, states.shape[2]), states.dtype, states.device)
        for t in range(self.length):
            ends = self.sizes[t + 1] if t + 1 < self.length else 0
            if ends < self.sizes[t]:
                out[ends:self.sizes[t]] = states[t + 1, ends:self.sizes[t]]
        return out

    def factor(self, w):
        """w.T as the right factor of a product in every step, laid out row by row once."""
        return w.transpose().compact() if self.length > 1 else w.transpose()


def _rows(a, t, n):
    """a[t, :n] of a sequence (t, n, width), without the price of indexing."""
    return Array(a.buffer, (n, a.shape[2]), a.strides[1:], a.offset + t * a.strides[0], a.dtype, a.device)


def _first(a, n):
    return a if n == a.shape[0] else a[:n]


def _weight_gradient(d_gates, states):
    """Sum over steps of d_gates[t].T @ (state before t): one product, whose operands are read as they lie."""
    length, _, width = d_gates.shape
    return (states[:length].reshape(-1, states.shape[2]).transpose() @ d_gates.reshape(-1, width)).transpose().compact()


def _walk_by_ops(gx, sizes, states, step):
    """The same walk in ops, for create_graph: step(gx_t, states) -> states; returns (all h, last states)."""
    rows = gx.shape[1]
    sizes, ended, outputs = sizes or (rows,) * gx.shape[0], [[] for _ in states], []
    for t, n in enumerate(sizes):
        if n < states[0].shape[0]:
            for done, s in zip(ended, states):
                done.insert(0, getitem(s, (slice(n, None),)))
            states = [getitem(s, (slice(0, n),)) for s in states]
        states = step(getitem(gx, (t, slice(0, n))), states)
        h = states[0]
        if n < rows:
            h = concatenate([h, _zeros((rows - n, h.shape[1]), getattr(h, "data", h))], 0)
        outputs.append(h)
    last = [concatenate([s, *done], 0) if done else s for s, done in zip(states, ended)]
    return stack(outputs, 0), last


# --- RNN -------------------------------------------------------------------------------------

_ACTIVATIONS = {"tanh": tanh, "relu": relu}


def _rnn_by_ops(gx, h0, w_hh, nonlinearity, sizes):
    def step(g, states):
        return [_ACTIVATIONS[nonlinearity](add(g, matmul(states[0], transpose(w_hh))))]
    hs, (last,) = _walk_by_ops(gx, sizes, [h0], step)
    return hs, last, None


@op(inputs=3, outputs=2, composite=_rnn_by_ops)
def _rnn(gx, h0, w_hh, nonlinearity, sizes):
    """h_t = f(gx_t + h_{t-1} @ w_hh.T). Returns (all h, last h, h before and after each step)."""
    device, steps = gx.device, _Steps(gx, sizes)
    states, w = steps.states(h0), steps.factor(w_hh)
    hs = states[1:]
    for t in range(steps.length):
        h, g = steps.active((hs, gx), t)
        device.matmul(h, steps.before(states, t), w)
        device.map("add", h, h, g)
        device.map(nonlinearity, h, h)
    return hs, steps.last(states), states


@_rnn.gradient
def _(g, y, gx, h0, w_hh, nonlinearity, sizes):
    (d_hs, d_last, _), (hs, _, states) = g, y
    device, steps = gx.device, _Steps(gx, sizes)
    d_gates, dh = steps.new(gx.shape[2], gx), d_last.astype(gx.dtype)
    for t in reversed(range(steps.length)):
        d, h, from_above = steps.active((d_gates, hs, d_hs), t)
        active = _first(dh, steps.sizes[t])
        device.map("add", active, active, from_above)
        if nonlinearity == "relu":
            device.map("relu_grad", d, active, h)
        else:
            device.map("tanh_grad", d, active, h)
        device.matmul(active, d, w_hh)
    return d_gates, dh, _weight_gradient(d_gates, states)


# --- LSTM ------------------------------------------------------------------------------------

def _lstm_by_ops(gx, h0, c0, w_hh, sizes):
    def step(g, states):
        h, c = states
        i, f, u, o = split(add(g, matmul(h, transpose(w_hh))), 1, 4)
        c = add(multiply(sigmoid(f), c), multiply(sigmoid(i), tanh(u)))
        return [multiply(sigmoid(o), tanh(c)), c]
    hs, (h, c) = _walk_by_ops(gx, sizes, [h0, c0], step)
    return hs, h, c, None, None, None


@op(inputs=4, outputs=3, composite=_lstm_by_ops)
def _lstm(gx, h0, c0, w_hh, sizes):
    """Returns (all h, last h, last c, h and c before and after each step, activated gates)."""
    device, steps = gx.device, _Steps(gx, sizes)
    h_states, c_states, gates, w = steps.states(h0), steps.states(c0), steps.new(gx.shape[2], gx), steps.factor(w_hh)
    hs, cs = h_states[1:], c_states[1:]
    for t in range(steps.length):
        h, c, a, g = steps.active((hs, cs, gates, gx), t)
        device.matmul(a, steps.before(h_states, t), w)
        device.lstm_step(h, c, a, g, steps.before(c_states, t))
    return hs, steps.last(h_states), steps.last(c_states), h_states, c_states, gates


@_lstm.gradient
def _(g, y, gx, h0, c0, w_hh, sizes):
    (d_hs, d_h, d_c, *_), (_, _, _, h_states, c_states, gates) = g, y
    device, steps, cs = gx.device, _Steps(gx, sizes), c_states[1:]
    d_gates, dh, dc = steps.new(gx.shape[2], gx), d_h.astype(gx.dtype), d_c.astype(gx.dtype)
    for t in reversed(range(steps.length)):
        n = steps.sizes[t]
        d, a, c, from_above = steps.active((d_gates, gates, cs, d_hs), t)
        dh_n, dc_n = _first(dh, n), _first(dc, n)
        device.map("add", dh_n, dh_n, from_above)
        device.lstm_step_grad(d, dc_n, dh_n, dc_n, a, c, steps.before(c_states, t))
        device.matmul(dh_n, d, w_hh)
    return d_gates, dh, dc, _weight_gradient(d_gates, h_states)


# --- GRU -------------------------------------------------------------------------------------

def _gru_by_ops(gx, h0, w_hh, bias, sizes):
    def step(g, states):
        (h,) = states
        xr, xz, xn = split(g, 1, 3)
        hr, hz, hn = split(add(matmul(h, transpose(w_hh)), bias), 1, 3)
        r, z = sigmoid(add(xr, hr)), sigmoid(add(xz, hz))
        n = tanh(add(xn, multiply(r, hn)))
        return [add(n, multiply(z, h - n))]
    hs, (last,) = _walk_by_ops(gx, sizes, [h0], step)
    return hs, last, None, None, None


@op(inputs=4, outputs=2, composite=_gru_by_ops)
def _gru(gx, h0, w_hh, bias, sizes):
    """bias (3h,) is that of the recurrent product.

    Returns (all h, last h, h before and after each step, gates, recurrent products).
    """
    device, steps, width = gx.device, _Steps(gx, sizes), gx.shape[2]
    states, gates, gh, w = steps.states(h0), steps.new(width, gx), steps.new(width, gx), steps.factor(w_hh)
    hs = states[1:]
    for t in range(steps.length):
        h, a, p, g = steps.active((hs, gates, gh, gx), t)
        before = steps.before(states, t)
        device.matmul(p, before, w)
        device.gru_step(h, a, g, p, bias, before)
    return hs, steps.last(states), states, gates, gh


@_gru.gradient
def _(g, y, gx, h0, w_hh, bias, sizes):
    (d_hs, d_last, *_), (_, _, states, gates, gh) = g, y
    device, steps = gx.device, _Steps(gx, sizes)
    width = gx.shape[2]
    d_gx, d_gh, dh = steps.new(width, gx), steps.new(width, gx), d_last.astype(gx.dtype)
    product = empty(dh.shape, dh.dtype, dh.device)
    for t in reversed(range(steps.length)):
        n = steps.sizes[t]
        dx, dp, a, p, from_above = steps.active((d_gx, d_gh, gates, gh, d_hs), t)
        dh_n, product_n = _first(dh, n), _first(product, n)
        device.map("add", dh_n, dh_n, from_above)
        device.gru_step_grad(dx, dp, dh_n, dh_n, a, p, steps.before(states, t))
        device.matmul(product_n, dp, w_hh)
        device.map("add", dh_n, dh_n, product_n)
    return d_gx, dh, _weight_gradient(d_gh, states), d_gh.sum((0, 1))


# --- public ----------------------------------------------------------------------------------

def _check_call(name, gx, states, w_hh, gates, sizes):
    hidden = w_hh.shape[-1]
    if gx.ndim != 3 or w_hh.shape != (gates * hidden, hidden) or gx.shape[2] != gates * hidden or 0 in gx.shape:
        raise ValueError(f"{name}: gx {gx.shape} (t, n, {gates} * h) with w_hh {w_hh.shape} ({gates} * h, h)")
    for s in states:
        if s.shape != (gx.shape[1], hidden):
            raise ValueError(f"{name}: a state of shape {s.shape}, not {(gx.shape[1], hidden)}")
    same_float_dtype(name, gx, *states, w_hh)
    same_device(name, gx, *states, w_hh)
    if sizes is None:
        return None
    sizes = tuple(sizes)
    falling = all(a >= b for a, b in itertools.pairwise(sizes))
    if len(sizes) != gx.shape[0] or not falling or sizes[0] > gx.shape[1] or sizes[-1] < 1:
        raise ValueError(f"{name}: sizes {sizes} for gx {gx.shape}: one per step, falling, from 1 to {gx.shape[1]}")
    if sizes[0] != gx.shape[1]:
        raise ValueError(f"{name}: {gx.shape[1] - sizes[0]} of {gx.shape[1]} sequences are empty")
    return None if sizes[-1] == gx.shape[1] else sizes


def rnn(gx, h0, w_hh, nonlinearity="tanh", sizes=None):
    """h_t = f(gx_t + h_{t-1} @ w_hh.T) over a sequence.

    gx (t, n, h) the input products with their biases, h0 (n, h), w_hh (h, h); nonlinearity "tanh" or
    "relu"; sizes as in the module's docstring. Returns (all h (t, n, h), last h (n, h)).
    """
    if nonlinearity not in _ACTIVATIONS:
        raise ValueError(f"nonlinearity {nonlinearity!r}: use 'tanh' or 'relu'")
    return _rnn(gx, h0, w_hh, nonlinearity, _check_call("rnn", gx, (h0,), w_hh, 1, sizes))[:2]


def lstm(gx, h0, c0, w_hh, sizes=None):
    """An LSTM over a sequence, gates in the order i, f, g, o.

    gx (t, n, 4h) the input products with all biases, h0 and c0 (n, h), w_hh (4h, h).
    Returns (all h (t, n, h), last h, last c).
    """
    return _lstm(gx, h0, c0, w_hh, _check_call("lstm", gx, (h0, c0), w_hh, 4, sizes))[:3]


def gru(gx, h0, w_hh, bias, sizes=None):
    """A GRU over a sequence, gates in the order r, z, n; `bias` (3h,) belongs to the recurrent product.

    gx (t, n, 3h) the input products with their bias, h0 (n, h), w_hh (3h, h).
    Returns (all h (t, n, h), last h).
    """
    if bias.shape != w_hh.shape[:1]:
        raise ValueError(f"gru: bias {bias.shape} for w_hh {w_hh.shape}")
    same_float_dtype("gru", w_hh, bias)
    same_device("gru", w_hh, bias)
    return _gru(gx, h0, w_hh, bias, _check_call("gru", gx, (h0,), w_hh, 3, sizes))[:2]


__all__ = ["gru", "lstm", "rnn"]
