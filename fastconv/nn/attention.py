"""Attention and the Transformer encoder: parameters named and shaped as torch.nn has them."""
import copy
import math

from .. import init, ops
from ..array import BOOL, Array, array
from ..ops.attention import attention_weights
from ..random import as_generator
from ..tensor import Tensor
from .layers import Dropout, Linear
from .module import Module, Parameter
from .norm import LayerNorm


class MultiheadAttention(Module):
    """num_heads attentions side by side on embed_dim / num_heads channels each (see torch.nn.MultiheadAttention).

    forward(query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None, is_causal=False)
    with (t, n, embed_dim), or (n, t, embed_dim) with batch_first. Masks as in torch: bool with True where
    *not* to look, or float to add; attn_mask (queries, keys), key_padding_mask (n, keys). Returns
    (output, weights averaged over the heads (n, queries, keys) or None).
    """

    def __init__(self, embed_dim, num_heads, dropout=0.0, bias=True, batch_first=False, device=None, dtype="float32",
                 rng=None):
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"MultiheadAttention: {num_heads} heads do not divide embed_dim={embed_dim}")
        self.rng = rng = as_generator(rng)
        self.embed_dim, self.num_heads, self.batch_first, self.dropout = embed_dim, num_heads, batch_first, dropout
        place = {"device": device, "dtype": dtype}
        shape = (3 * embed_dim, embed_dim)
        self.in_proj_weight = Parameter(init.xavier_uniform(*shape, shape, rng=rng, **place))
        self.in_proj_bias = Parameter(init.zeros(3 * embed_dim, **place)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, rng=rng, **place)
        if bias:
            self.out_proj.bias.data[...] = 0.0

    def forward(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None, is_causal=False):
        for name, x in (("query", query), ("key", key), ("value", value)):
            if x.ndim != 3 or x.shape[2] != self.embed_dim:
                raise ValueError(f"MultiheadAttention: {name} of shape {x.shape}, not (., ., {self.embed_dim})")
        if not self.batch_first:
            query, key, value = (ops.transpose(x, 0, 1) for x in (query, key, value))
        q, k, v = self._project(query, key, value)
        mask = self._mask(attn_mask, key_padding_mask, query.device)
        weights = attention_weights(q, k, mask, is_causal)
        mixed = ops.matmul(ops.dropout(weights, self.dropout, self.training, self.rng), v)
        n, t = query.shape[:2]
        y = self.out_proj(ops.reshape(ops.permute(mixed, (0, 2, 1, 3)), (n, t, self.embed_dim)))
        return y if self.batch_first else ops.transpose(y, 0, 1), ops.mean(weights, 1) if need_weights else None

    def _project(self, query, key, value):
        """Queries, keys and values as (n, heads, t, channels of a head); one product where they are one tensor."""
        e, weight, bias = self.embed_dim, self.in_proj_weight, self.in_proj_bias
        if query is key and key is value:
            parts = ops.split(_affine(query, weight, bias), 2, 3)
        else:
            parts = [_affine(x, weight[i * e:(i + 1) * e], None if bias is None else bias[i * e:(i + 1) * e])
                     for i, x in enumerate((query, key, value))]
        return [ops.permute(ops.reshape(p, (*p.shape[:2], self.num_heads, e // self.num_heads)), (0, 2, 1, 3))
                for p in parts]

    def _mask(self, attn_mask, key_padding_mask, device):
        """One additive mask (n or 1, 1, queries or 1, keys), or None."""
        total = None
        for mask, new_axes in ((attn_mask, (0, 1)), (key_padding_mask, (1, 2))):
            if mask is not None:
                mask = mask.data if isinstance(mask, Tensor) else array(mask, device=device)
                if mask.dtype == BOOL:
                    mask = mask.where(-math.inf, 0.0).astype(self.in_proj_weight.dtype, copy=False)
                mask = mask.unsqueeze(new_axes)
                total = mask if total is None else total + mask
        return total


def _affine(x, weight, bias):
    """x (n, t, c) @ weight.T + bias."""
    rows = ops.matmul(ops.reshape(x, (-1, x.shape[2])), ops.transpose(weight))
    return ops.reshape(rows if bias is None else ops.add(rows, bias), (*x.shape[:2], weight.shape[0]))


_ACTIVATIONS = {"relu": ops.relu, "gelu": ops.gelu}


class TransformerEncoderLayer(Module):
    """Self-attention and a two-layer perceptron, each with a shortcut and LayerNorm (see torch.nn).

    norm_first: normalise before each block instead of after. activation: "relu", "gelu" or a function.
    forward(src, src_mask=None, src_key_padding_mask=None, is_causal=False).
    """

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation="relu", layer_norm_eps=1e-5,
                 batch_first=False, norm_first=False, bias=True, device=None, dtype="float32", rng=None):
        if not callable(activation) and activation not in _ACTIVATIONS:
            raise ValueError(f"activation {activation!r}: use {', '.join(map(repr, _ACTIVATIONS))} or a function")
        place = {"device": device, "dtype": dtype}
        rng = as_generator(rng)
        self.activation = activation if callable(activation) else _ACTIVATIONS[activation]
        self.norm_first = norm_first
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first, rng=rng, **place)
        self.linear1 = Linear(d_model, dim_feedforward, bias, rng=rng, **place)
        self.dropout = Dropout(dropout, rng)
        self.linear2 = Linear(dim_feedforward, d_model, bias, rng=rng, **place)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.dropout1, self.dropout2 = Dropout(dropout, rng), Dropout(dropout, rng)

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        def attend(x):
            return self.dropout1(self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal)[0])

        def feed(x):
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        if self.norm_first:
            x = ops.add(src, attend(self.norm1(src)))
            return ops.add(x, feed(self.norm2(x)))
        x = self.norm1(ops.add(src, attend(src)))
        return self.norm2(ops.add(x, feed(x)))


class TransformerEncoder(Module):
    """num_layers copies of an encoder layer (the same values, as in torch), and an optional norm at the end."""

    def __init__(self, encoder_layer, num_layers, norm=None):
        self.layers = [_copied(encoder_layer) for _ in range(num_layers)]
        self.norm = norm

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=False):
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, is_causal)
        return src if self.norm is None else self.norm(src)


def _copied(module):
    """A module of the same structure and values whose parameters and buffers are its own."""
    made = copy.copy(module)
    for name, value in module.__dict__.items():
        if isinstance(value, Array):            # a buffer
            setattr(made, name, value.astype(value.dtype))
        elif isinstance(value, Parameter):
            setattr(made, name, Parameter(value.data.astype(value.dtype), requires_grad=value.requires_grad))
        elif isinstance(value, Module):
            setattr(made, name, _copied(value))
    return made
