"""A word-level language model: Embedding, RNN, LSTM, GRU or Transformer, Linear to the vocabulary."""
import numpy as np

from fastconv import array, init, nn, ops
from fastconv.random import as_generator

RECURRENT = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class LanguageModel(nn.Module):
    """Scores of the next word at every position.

    embedding_size, hidden_size, num_layers   of the embedding and the sequence model
    output_size   the vocabulary
    seq_model     "rnn", "lstm", "gru" or "transformer" (a causal encoder, pre-norm, learned positions,
                  hidden_size channels in its feed-forward layers, `heads` heads, at most max_length steps)
    dropout       after the embedding, between layers and before the output

    model(ids (t, n), state=None) returns (logits (t * n, output_size), state); the state of a recurrent
    model goes into the next call, cut from the graph by `detach`; that of a transformer is None.
    """

    def __init__(self, embedding_size, output_size, hidden_size, num_layers=1, seq_model="rnn", dropout=0.0, heads=2,
                 max_length=512, device=None, dtype="float32", rng=None):
        rng = as_generator(rng)
        place = {"device": device, "dtype": dtype, "rng": rng}
        self.seq_model, self.output_size = seq_model, output_size
        self.embedding = nn.Embedding(output_size, embedding_size, **place)
        self.dropout = nn.Dropout(dropout, rng)
        if seq_model in RECURRENT:
            self.model = RECURRENT[seq_model](embedding_size, hidden_size, num_layers, dropout=dropout, **place)
            width = hidden_size
        elif seq_model == "transformer":
            layer = nn.TransformerEncoderLayer(embedding_size, heads, hidden_size, dropout, norm_first=True, **place)
            self.model = nn.TransformerEncoder(layer, num_layers, nn.LayerNorm(embedding_size, device=device, dtype=dtype))
            self.positions = nn.Embedding(max_length, embedding_size, **place)
            width = embedding_size
        else:
            raise ValueError(f"seq_model {seq_model!r}: use one of {', '.join([*RECURRENT, 'transformer'])}")
        self.linear = nn.Linear(width, output_size, **place)

    def forward(self, ids, state=None):
        if len(ids.shape) != 2:
            raise ValueError(f"LanguageModel of ids {ids.shape}, not (t, n)")
        x = self.embedding(ids)
        if self.seq_model == "transformer":
            x = ops.add(x, self.positions(np.arange(ids.shape[0])[:, None]))
            h = self.model(self.dropout(x), is_causal=True)
        else:
            h, state = self.model(self.dropout(x), state)
        h = self.dropout(h)
        return self.linear(ops.reshape(h, (-1, h.shape[2]))), state

    @staticmethod
    def detach(state):
        """The state without its history: for truncated back-propagation."""
        if state is None:
            return None
        return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()

    def initialize_uniform(self, bound=0.1, rng=None):
        """Embedding and output weights uniform within +-bound, output bias 0 (Zaremba, Sutskever and Vinyals 2014)."""
        for p in (self.embedding.weight, self.linear.weight):
            p.data[...] = init.rand(*p.shape, low=-bound, high=bound, device=p.device, dtype=p.dtype, rng=rng).data
        self.linear.bias.data[...] = array(0.0, self.linear.bias.dtype, self.linear.bias.device)
