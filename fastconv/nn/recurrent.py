"""Recurrent layers: parameters named, shaped and ordered as torch.nn has them."""
import math

import numpy as np

from .. import init, ops
from ..random import as_generator
from ..tensor import Tensor
from .layers import uniform_parameter
from .module import Module, Parameter


class Embedding(Module):
    """Rows of a table (num_embeddings, embedding_dim) from N(0, 1), by integer indices of any shape.

    padding_idx: a row (negative: from the end) that starts at 0 and gets no gradient. A training step costs
    memory and time for the rows that occur, as far as the optimiser's formula lets it (SGD without momentum
    and weight decay); `weight.grad` is a Tensor of the whole shape for whoever asks.
    """

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None, device=None, dtype="float32", rng=None):
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else ops.indexing.as_row("Embedding", padding_idx, num_embeddings)
        self.weight = Parameter(init.randn(num_embeddings, embedding_dim, device=device, dtype=dtype, rng=rng))
        if padding_idx is not None:
            self.weight.data[self.padding_idx] = 0.0

    def forward(self, indices):
        return ops.embedding(indices, self.weight, self.padding_idx)

    def extra_repr(self):
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


# --- what the cells compute ------------------------------------------------------------------

# x (t, n, c) for all steps, the first states, the parameters -> (outputs (t, n, h), last states)

def _rnn(x, state, w_ih, w_hh, b_ih, b_hh, nonlinearity, sizes):
    hs, h = ops.rnn(ops.linear(x, w_ih, _both(b_ih, b_hh)), state[0], w_hh, nonlinearity, sizes)
    return hs, (h,)


def _lstm(x, state, w_ih, w_hh, b_ih, b_hh, nonlinearity, sizes):
    hs, h, c = ops.lstm(ops.linear(x, w_ih, _both(b_ih, b_hh)), *state, w_hh, sizes)
    return hs, (h, c)


def _gru(x, state, w_ih, w_hh, b_ih, b_hh, nonlinearity, sizes):
    if b_hh is None:
        b_hh = init.zeros(w_hh.shape[0], device=w_hh.device, dtype=w_hh.dtype)
    hs, h = ops.gru(ops.linear(x, w_ih, b_ih), state[0], w_hh, b_hh, sizes)
    return hs, (h,)


def _both(b_ih, b_hh):
    """The two biases of gates into which both products enter as a sum."""
    return None if b_ih is None else ops.add(b_ih, b_hh)


# kind: (gates, states, function)
_KINDS = {"RNN": (1, 1, _rnn), "LSTM": (4, 2, _lstm), "GRU": (3, 1, _gru)}


class _Parameters(Module):
    """Creates weight_ih, weight_hh, bias_ih, bias_hh with a suffix, uniform within 1/sqrt(hidden_size)."""

    def _create(self, suffix, inputs, hidden, gates, bias, device, dtype, rng):
        bound = 1 / math.sqrt(hidden)
        shapes = {"weight_ih": (gates * hidden, inputs), "weight_hh": (gates * hidden, hidden),
                  "bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,)}
        for name, shape in shapes.items():
            wanted = bias or name.startswith("weight")
            setattr(self, name + suffix, uniform_parameter(bound, shape, device, dtype, rng) if wanted else None)

    def _parameters_of(self, suffix):
        return (getattr(self, name + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


# --- cells -----------------------------------------------------------------------------------

class _Cell(_Parameters):
    """One step: x (n, input_size) or (input_size,), and a state of the same rank."""

    kind: str

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype="float32", rng=None):
        self.input_size, self.hidden_size, self.nonlinearity = input_size, hidden_size, nonlinearity
        gates, self.states, self._function = _KINDS[self.kind]
        self._create("", input_size, hidden_size, gates, bias, device, dtype, as_generator(rng))

    def forward(self, x, state=None):
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(f"{type(self).__name__}({self.input_size}, {self.hidden_size}) of x {x.shape}")
        single = x.ndim == 1
        x = ops.reshape(x, (1, -1, self.input_size))
        state = _given_state(self, state, x.shape[1:2] if not single else (), x)
        state = [ops.reshape(s, (x.shape[1], self.hidden_size)) for s in state]
        _, new = self._function(x, state, *self._parameters_of(""), self.nonlinearity, None)
        new = tuple(ops.reshape(s, (-1,)) if single else s for s in new)
        return new if self.states == 2 else new[0]

    def extra_repr(self):
        return f"{self.input_size}, {self.hidden_size}"


def _given_state(module, state, lead, x):
    """The state as a list of tensors (*lead, hidden_size), zeros when None; ValueError when it does not fit."""
    shape = (*lead, module.hidden_size)
    if state is None:
        return [init.zeros(*shape, device=x.device, dtype=x.dtype) for _ in range(module.states)]
    state = list(state) if module.states == 2 else [state]
    if len(state) != module.states or any(s.shape != shape for s in state):
        raise ValueError(f"{type(module).__name__}: state of shape {[s.shape for s in state]}, not {module.states} of {shape}")
    return state


class RNNCell(_Cell):
    """h' = f(w_ih x + b_ih + w_hh h + b_hh), f tanh or relu."""
    kind = "RNN"

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype="float32", rng=None):
        super().__init__(input_size, hidden_size, bias, nonlinearity, device, dtype, rng)


class LSTMCell(_Cell):
    """One LSTM step; state and result are (h, c). Gates in the order i, f, g, o."""
    kind = "LSTM"

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype="float32", rng=None):
        super().__init__(input_size, hidden_size, bias, "tanh", device, dtype, rng)


class GRUCell(_Cell):
    """One GRU step. Gates in the order r, z, n."""
    kind = "GRU"

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype="float32", rng=None):
        super().__init__(input_size, hidden_size, bias, "tanh", device, dtype, rng)


# --- layers ----------------------------------------------------------------------------------

class _Recurrent(_Parameters):
    """A stack of layers over sequences (t, n, input_size), or (n, t, input_size) with batch_first.

    forward(x, state=None, lengths=None) returns (outputs (t, n, directions * hidden_size), state), as
    torch.nn does; states are (num_layers * directions, n, hidden_size). lengths: the number of steps
    of each sequence (n,); outputs beyond are 0 and states are those at each sequence's own end.
    x (t, input_size) without a batch is taken too.
    """

    kind: str

    def __init__(self, input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False,
                 dropout=0.0, bidirectional=False, device=None, dtype="float32", rng=None):
        if num_layers < 1 or hidden_size < 1 or input_size < 1:
            raise ValueError(f"{type(self).__name__}: sizes {input_size}, {hidden_size} and num_layers={num_layers} "
                             "must be positive")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity {nonlinearity!r}: use 'tanh' or 'relu'")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout with probability {dropout}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.nonlinearity, self.batch_first, self.dropout, self.bidirectional = nonlinearity, batch_first, dropout, bidirectional
        gates, self.states, self._function = _KINDS[self.kind]
        self.rng = rng = as_generator(rng)
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else hidden_size * self.directions
            for suffix in self._suffixes(layer):
                self._create(suffix, inputs, hidden_size, gates, bias, device, dtype, rng)

    @property
    def directions(self):
        return 2 if self.bidirectional else 1

    def _suffixes(self, layer):
        return [f"_l{layer}", f"_l{layer}_reverse"][:self.directions]

    def forward(self, x, state=None, lengths=None):
        if x.ndim == 2 and x.shape[1] == self.input_size:
            return self._without_batch(x, state, lengths)
        if x.ndim != 3 or x.shape[2] != self.input_size or 0 in x.shape:
            raise ValueError(f"{type(self).__name__}({self.input_size}, {self.hidden_size}) of x {x.shape}: needs "
                             f"({'n, t' if self.batch_first else 't, n'}, {self.input_size}), none of them 0")
        if self.batch_first:
            x = ops.transpose(x, 0, 1)
        state = _given_state(self, state, (self.num_layers * self.directions, x.shape[1]), x)
        packing = None if lengths is None else _Packing(lengths, x.shape[0], x.shape[1])
        if packing:
            x = ops.index_select(x, packing.order, 1)
            state = [ops.index_select(s, packing.order, 1) for s in state]
        ends = [[] for _ in state]
        for layer in range(self.num_layers):
            outputs = []
            for d, suffix in enumerate(self._suffixes(layer)):
                first = [ops.getitem(s, layer * self.directions + d) for s in state]
                hs, last = self._run(x, first, suffix, packing, backwards=d == 1)
                outputs.append(hs)
                for end, s in zip(ends, last):
                    end.append(s)
            x = outputs[0] if len(outputs) == 1 else ops.concatenate(outputs, 2)
            if layer + 1 < self.num_layers:
                x = ops.dropout(x, self.dropout, self.training, self.rng)
        final = [ops.stack(end, 0) for end in ends]
        if packing:
            x = ops.index_select(x, packing.inverse, 1)
            final = [ops.index_select(s, packing.inverse, 1) for s in final]
        return ops.transpose(x, 0, 1) if self.batch_first else x, tuple(final) if self.states == 2 else final[0]

    def _run(self, x, state, suffix, packing, backwards):
        if backwards:
            x = packing.reverse(x) if packing else ops.flip(x, 0)
        sizes = packing.sizes if packing else None
        hs, last = self._function(x, state, *self._parameters_of(suffix), self.nonlinearity, sizes)
        if backwards:
            hs = packing.reverse(hs) if packing else ops.flip(hs, 0)
        return hs, last

    def _without_batch(self, x, state, lengths):
        if lengths is not None:
            raise ValueError("lengths are for batches of sequences")
        if state is not None:
            state = [ops.unsqueeze(s, 1) for s in (state if self.states == 2 else (state,))]
            state = tuple(state) if self.states == 2 else state[0]
        batch_axis = 0 if self.batch_first else 1
        y, state = self.forward(ops.unsqueeze(x, batch_axis), state)
        state = tuple(ops.squeeze(s, 1) for s in state) if self.states == 2 else ops.squeeze(state, 1)
        return ops.squeeze(y, batch_axis), state

    def extra_repr(self):
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"


class _Packing:
    """Sequences of different lengths sorted by falling length: the order, and how many are active at each step."""

    def __init__(self, lengths, steps, rows):
        lengths = np.asarray(lengths.numpy() if isinstance(lengths, Tensor) or hasattr(lengths, "numpy") else lengths)
        if lengths.shape != (rows,) or lengths.dtype.kind not in "iu":
            raise ValueError(f"lengths: {rows} ints are needed, not {lengths!r}")
        if lengths.min() < 1 or lengths.max() != steps:
            raise ValueError(f"lengths from {lengths.min()} to {lengths.max()} for {steps} steps: "
                             "at least 1, and the longest as many as there are")
        self.order = np.argsort(-lengths, kind="stable")
        self.inverse = np.argsort(self.order)
        sorted_lengths = lengths[self.order]
        self.sizes = tuple(int((sorted_lengths > t).sum()) for t in range(steps))
        # Step t of row n comes from step length - 1 - t, or stays where it is beyond the end.
        t, n = np.arange(steps)[:, None], np.arange(rows)[None, :]
        source = np.where(t < sorted_lengths, sorted_lengths - 1 - t, t)
        self.reversal = (source * rows + n).reshape(-1)

    def reverse(self, x):
        """Each (sorted) sequence of x (t, n, c) backwards within its own length."""
        rows = ops.reshape(x, (x.shape[0] * x.shape[1], x.shape[2]))
        return ops.reshape(ops.index_select(rows, self.reversal, 0), x.shape)


class RNN(_Recurrent):
    """Elman network: h_t = f(w_ih x_t + b_ih + w_hh h_{t-1} + b_hh), f tanh or relu (see torch.nn.RNN)."""
    kind = "RNN"


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); state (h, c), gates i, f, g, o (see torch.nn.LSTM).

    >>> import fastconv as fc
    >>> y, (h, c) = fc.nn.LSTM(3, 5)(fc.init.randn(7, 2, 3))
    >>> y.shape, h.shape
    ((7, 2, 5), (1, 2, 5))
    """
    kind = "LSTM"

    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
                 bidirectional=False, device=None, dtype="float32", rng=None):
        super().__init__(input_size, hidden_size, num_layers, "tanh", bias, batch_first, dropout, bidirectional,
                         device, dtype, rng)


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014), gates r, z, n (see torch.nn.GRU)."""
    kind = "GRU"

    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
                 bidirectional=False, device=None, dtype="float32", rng=None):
        super().__init__(input_size, hidden_size, num_layers, "tanh", bias, batch_first, dropout, bidirectional,
                         device, dtype, rng)
