"""Scaled dot-product attention (Vaswani et al. 2017), from the products and the softmax."""
import functools
import math

import numpy as np

from ..array import BOOL, array
from .elementwise import where
from .linalg import matmul
from .logits import softmax
from .loss import dropout
from .shape import transpose


@functools.lru_cache(maxsize=32)
def causal_mask(queries, keys, device):
    """bool (queries, keys): query i may look at keys 0..i."""
    return array(np.tri(queries, keys, dtype=bool), device=device)


def attention_weights(q, k, mask=None, is_causal=False, scale=None):
    """softmax(q @ k.T * scale) over the keys; see scaled_dot_product_attention."""
    if q.ndim < 2 or k.ndim < 2 or q.shape[-1] != k.shape[-1]:
        raise ValueError(f"attention of q {q.shape} and k {k.shape}: (..., queries, d) and (..., keys, d)")
    scores = matmul(q, transpose(k)) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    masks = [] if mask is None else [mask]
    if is_causal:
        masks.append(causal_mask(q.shape[-2], k.shape[-2], getattr(q, "data", q).device))
    for m in masks:
        scores = where(m, scores, -math.inf) if m.dtype == BOOL else scores + m
    return softmax(scores, -1)


def scaled_dot_product_attention(q, k, v, mask=None, dropout_p=0.0, is_causal=False, scale=None, rng=None):
    """softmax(q @ k.T / sqrt(d)) @ v.

    q (..., queries, d), k (..., keys, d), v (..., keys, e); leading axes broadcast.
    mask       bool (True: may be looked at) or float (added to the scores), broadcast to (..., queries, keys)
    is_causal  query i looks at keys 0..i only
    scale      instead of 1 / sqrt(d)
    dropout_p  each weight is dropped with this probability

    A query that may look at nothing gives NaN.
    """
    weights = attention_weights(q, k, mask, is_causal, scale)
    return matmul(dropout(weights, dropout_p, rng=rng), v)


__all__ = ["scaled_dot_product_attention"]
