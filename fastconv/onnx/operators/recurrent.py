"""RNN, LSTM and GRU: fastconv's layers where they are the usual ones, else step by step."""
from ... import ops
from ...array import full
from ...nn.recurrent import _Packing
from ...ops.recurrent import _walk_by_ops
from ...tensor import Tensor
from .elementwise import elu
from .registry import OnnxError, operator

_USUAL = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
# Which of ONNX's gates stand where here: LSTM i o f c -> i f g o, GRU z r h -> r z n.
_ORDER = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}
_ACTIVATIONS = {
    "Tanh": lambda x, a, b: ops.tanh(x), "Sigmoid": lambda x, a, b: ops.sigmoid(x), "Relu": lambda x, a, b: ops.relu(x),
    "Affine": lambda x, a, b: x * a + b, "LeakyRelu": lambda x, a, b: ops.where(ops.less(x, 0.0), x * a, x),
    "ThresholdedRelu": lambda x, a, b: ops.where(ops.greater(x, a), x, 0.0), "ScaledTanh": lambda x, a, b: ops.tanh(x * b) * a,
    "HardSigmoid": lambda x, a, b: ops.clip(x * a + b, 0.0, 1.0), "Elu": lambda x, a, b: elu(x, a),
    "Softsign": lambda x, a, b: x / (ops.abs(x) + 1.0), "Softplus": lambda x, a, b: ops.softplus(x)}
_ALPHA = {"Affine": 1.0, "LeakyRelu": 0.01, "ThresholdedRelu": 1.0, "ScaledTanh": 1.0, "HardSigmoid": 0.2, "Elu": 1.0}
_BETA = {"Affine": 0.0, "ScaledTanh": 1.0, "HardSigmoid": 0.5}


def _first(x, size, gates, order):
    """The gates of a weight or bias (gates * h, ...) in another order."""
    return ops.concatenate([ops.getitem(x, slice(g * size, (g + 1) * size)) for g in order[:gates]], 0)


class _Layer:
    """One direction of a layer: its weights in fastconv's order, and its activations."""

    def __init__(self, node, d, w, r, b, p):
        kind, hidden = node.op, r.shape[-1]
        gates, order = _GATES[kind], _ORDER[kind]
        if w.shape[1] != gates * hidden or r.shape[1:] != (gates * hidden, hidden):
            raise OnnxError(f"weights of shape {w.shape} and {r.shape}")
        self.kind, self.hidden = kind, hidden
        self.w, self.r = (_first(ops.getitem(m, d), hidden, gates, order) for m in (w, r))
        b = Tensor(full((w.shape[0], 2 * gates * hidden), 0, w.dtype, w.device)) if b is None else b
        both = ops.getitem(b, d)
        self.wb = _first(ops.getitem(both, slice(0, gates * hidden)), hidden, gates, order)
        self.rb = _first(ops.getitem(both, slice(gates * hidden, None)), hidden, gates, order)
        self.p = None if p is None else ops.split(ops.getitem(p, d), 0, 3)              # i, o, f
        self.clip, self.coupled = node.get("clip"), node.get("input_forget")
        self.late_reset = node.get("linear_before_reset", 0)
        count = len(_USUAL[kind])
        names = node.get("activations") or _USUAL[kind] * w.shape[0]
        self.names = tuple(names[d * count:(d + 1) * count])
        if any(n not in _ACTIVATIONS for n in self.names):
            raise OnnxError(f"activations {self.names}; there are {', '.join(_ACTIVATIONS)}")
        alphas, betas = (list(node.get(key) or ()) for key in ("activation_alpha", "activation_beta"))
        self.f = [lambda x, n=n, a=_parameter(alphas, d * count + i, _ALPHA.get(n)),
                  b=_parameter(betas, d * count + i, _BETA.get(n)): _ACTIVATIONS[n](x, a, b) for i, n in enumerate(self.names)]

    @property
    def usual(self):
        """Whether fastconv.ops has this layer as one op."""
        same = self.names == _USUAL[self.kind] or self.kind == "RNN" and self.names == ("Relu",)
        return same and self.p is None and not self.clip and not self.coupled and (self.kind != "GRU" or self.late_reset)

    def run(self, x, states, sizes):
        """(t, n, c) and the first states to (all h (t, n, h), last states)."""
        gx = ops.linear(x, self.w, self.wb)
        if not self.usual:
            return self._by_steps(gx, states, sizes)
        if self.kind == "RNN":
            hs, h = ops.rnn(gx + self.rb, states[0], self.r, self.names[0].lower(), sizes)
            return hs, [h]
        if self.kind == "GRU":
            hs, h = ops.gru(gx, states[0], self.r, self.rb, sizes)
            return hs, [h]
        hs, h, c = ops.lstm(gx + self.rb, *states, self.r, sizes)
        return hs, [h, c]

    def _by_steps(self, gx, states, sizes):
        return _walk_by_ops(gx, sizes, states, getattr(self, f"_{self.kind.lower()}_step"))

    def _bounded(self, x):
        return ops.clip(x, -self.clip, self.clip) if self.clip else x

    def _rnn_step(self, g, states):
        return [self.f[0](self._bounded(g + ops.matmul(states[0], ops.transpose(self.r)) + self.rb))]

    def _gru_step(self, g, states):
        (h,), n = states, self.hidden
        wr, wz, wn = ops.split(g, 1, 3)
        w, b = ops.split(self.r, 0, (2 * n, n)), ops.split(self.rb, 0, (2 * n, n))
        gr, gz = ops.split(ops.matmul(h, ops.transpose(w[0])) + b[0], 1, 2)
        r, z = self.f[0](self._bounded(wr + gr)), self.f[0](self._bounded(wz + gz))
        if self.late_reset:
            inner = r * (ops.matmul(h, ops.transpose(w[1])) + b[1])
        else:
            inner = ops.matmul(r * h, ops.transpose(w[1])) + b[1]
        new = self.f[1](self._bounded(wn + inner))
        return [(1 - z) * new + z * h]

    def _lstm_step(self, g, states):
        h, c = states
        i, f, u, o = ops.split(g + ops.matmul(h, ops.transpose(self.r)) + self.rb, 1, 4)
        if self.p is not None:
            i, f = i + self.p[0] * c, f + self.p[2] * c
        i = self.f[0](self._bounded(i))
        f = 1 - i if self.coupled else self.f[0](self._bounded(f))
        c = f * c + i * self.f[1](self._bounded(u))
        o = self.f[0](self._bounded(o if self.p is None else o + self.p[1] * c))
        return [o * self.f[2](c), c]


def _parameter(given, i, default):
    return given[i] if i < len(given) else default


@operator("RNN", "GRU", "LSTM", host=(4,))
def _(node, context, x, w, r, b=None, lengths=None, *states):
    directions, batch_first = w.shape[0], node.get("layout", 0)
    if directions != (2 if node.get("direction") == "bidirectional" else 1):
        raise OnnxError(f"weights for {directions} directions, direction {node.get('direction')!r}")
    if batch_first:
        x = ops.transpose(x, 0, 1)
    count = 2 if node.op == "LSTM" else 1
    p = states[2] if len(states) > 2 else None
    shape = (directions, x.shape[1], r.shape[-1])
    states = [s if s is None or not batch_first else ops.transpose(s, 0, 1) for s in (*states[:count], None, None)[:count]]
    states = [Tensor(full(shape, 0, x.dtype, x.device)) if s is None else s for s in states]
    packing = _packing(lengths, x)
    if packing is not None:
        x, *states = (ops.index_select(s, packing.order, 1) for s in (x, *states))
    outputs, ends = [], [[] for _ in states]
    for d in range(directions):
        backwards = d == 1 or node.get("direction") == "reverse"
        turned = x if not backwards else packing.reverse(x) if packing else ops.flip(x, 0)
        first = [ops.getitem(s, d) for s in states]
        hs, last = _Layer(node, d, w, r, b, p).run(turned, first, packing.sizes if packing else None)
        outputs.append(hs if not backwards else packing.reverse(hs) if packing else ops.flip(hs, 0))
        for end, s in zip(ends, last):
            end.append(s)
    y, ends = ops.stack(outputs, 1), [ops.stack(end, 0) for end in ends]
    if packing is not None:
        y = ops.index_select(y, packing.inverse, 2)
        ends = [ops.index_select(end, packing.inverse, 1) for end in ends]
    if batch_first:
        y, ends = ops.permute(y, (2, 0, 1, 3)), [ops.transpose(end, 0, 1) for end in ends]
    return y, *ends


def _packing(lengths, x):
    """How to walk sequences of these lengths, or None when all are as long as x."""
    if lengths is None:
        return None
    lengths = lengths.numpy()
    if lengths.shape != x.shape[1:2] or (lengths == x.shape[0]).all():
        if lengths.shape != x.shape[1:2]:
            raise OnnxError(f"sequence_lens of shape {lengths.shape} for x {x.shape}")
        return None
    if not 1 <= lengths.min() <= lengths.max() == x.shape[0]:
        raise OnnxError(f"sequence_lens {lengths.tolist()} for {x.shape[0]} steps: at least 1, the longest as many as there are")
    return _Packing(lengths, *x.shape[:2])
