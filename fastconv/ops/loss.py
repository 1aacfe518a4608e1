"""Losses, and the one-hot code of labels."""
import functools

import numpy as np

from ..array import BOOL, FLOATS, INTS, Array, array, as_dtype
from ..autograd import Variable, op
from .reduce import log_softmax, mean, sum


def as_labels(what, labels, classes, device):
    """Labels as an integer Array on `device`, every one in 0..classes-1.

    Labels that come as NumPy arrays or lists are checked on the host, without waiting for the
    device; those that are on a device already are read back for the check.
    """
    if isinstance(labels, Variable):
        labels = labels.data
    if not isinstance(labels, Array):
        labels = np.asarray(labels)
        if labels.dtype.kind not in "iu":
            raise TypeError(f"{what}: labels have dtype {labels.dtype}, not an integer one")
    elif labels.dtype not in INTS:
        raise TypeError(f"{what}: labels have dtype {labels.dtype}, not an integer one")
    if labels.size:
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= classes:
            raise ValueError(f"{what}: labels from {low} to {high} for {classes} classes (0 to {classes - 1})")
    if isinstance(labels, Array):
        return labels.to(device).astype(np.int64, copy=False)
    return array(labels.astype(np.int64), device=device)


@functools.lru_cache(maxsize=64)
def _arange(n, device):
    return array(np.arange(n), device=device)


def _is_label(labels, classes):
    """bool (..., classes): where the last axis is the label."""
    return labels.unsqueeze(labels.ndim)._map("equal", _arange(classes, labels.device), result=BOOL)


def one_hot(indices, n, dtype="float32", device=None):
    """1 at the index and 0 elsewhere along a new last axis of size n.

    indices: integers in 0..n-1 (Array, NumPy array or list); ValueError when one is out of range.

    >>> import fastconv as fc
    >>> fc.ops.one_hot([2, 0], 3).numpy()
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    data = indices.data if isinstance(indices, Variable) else indices
    if device is None and isinstance(data, Array):
        device = data.device
    labels = as_labels("one_hot", data, n, array(0, device=device).device)
    return _is_label(labels, n).astype(as_dtype(dtype))


def _composite(logits, labels):
    chosen = _is_label(labels, logits.shape[1]).astype(logits.dtype)
    return -(sum(log_softmax(logits, 1) * chosen) / logits.shape[0]), None


@op(inputs=2, outputs=1, composite=_composite)
def _cross_entropy(logits, labels):
    """Returns (loss, log-probabilities)."""
    log_p = log_softmax(logits, 1)
    picked = _is_label(labels, logits.shape[1]).where(log_p, 0.0)
    return -(picked.sum() / logits.shape[0]), log_p


@_cross_entropy.gradient("logits")
def _(g, y, logits, labels):
    (g, *_), (_, log_p) = g, y
    p = log_p.exp()
    return _is_label(labels, logits.shape[1]).where(p - 1, p) * (g / logits.shape[0])


@_cross_entropy.gradient("labels")
def _(g, y, logits, labels):
    return None


def cross_entropy(logits, labels):
    """The mean over the batch of logsumexp(logits) - the label's logit, without overflow.

    logits  (n, classes), float
    labels  (n,), any integer dtype, each in 0..classes-1; NumPy arrays, lists, Arrays or Tensors

    TypeError for labels that are not integers, ValueError for shapes or labels out of range.

    >>> import fastconv as fc
    >>> round(fc.ops.cross_entropy(fc.array([[0.0, 0.0]]), [1]).item(), 4)
    0.6931
    """
    if not isinstance(logits, (Variable, Array)):
        raise TypeError(f"cross_entropy: logits are a Tensor or Array, not {type(logits).__name__}")
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(f"cross_entropy: logits of shape {logits.shape}, not (n, classes)")
    if logits.dtype not in FLOATS:
        raise TypeError(f"cross_entropy: logits have dtype {logits.dtype}")
    labels = as_labels("cross_entropy", labels, logits.shape[1], logits.device)
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"cross_entropy: labels of shape {labels.shape} for logits of shape {logits.shape}")
    return _cross_entropy(logits, labels)[0]


def mse_loss(prediction, target):
    """The mean of (prediction - target) ** 2; shapes must be equal."""
    if prediction.shape != target.shape:
        raise ValueError(f"mse_loss: prediction {prediction.shape}, target {target.shape}")
    difference = prediction - target
    return mean(difference * difference)


def dropout(x, p=0.5, training=True, rng=None):
    """Each element 0 with probability p, the others divided by 1 - p; x itself outside training.

    rng: a numpy.random.Generator (default: the library's, see fastconv.manual_seed).
    """
    from ..random import generator
    if not 0 <= p <= 1:
        raise ValueError(f"dropout with probability {p}")
    if not training or p == 0:
        return x
    data = x.data if isinstance(x, Variable) else x
    kept = generator(rng).random(x.shape) >= p
    scale = 1 / (1 - p) if p < 1 else 0.0
    return x * array((kept * scale).astype(data.dtype), device=data.device)


__all__ = ["cross_entropy", "mse_loss", "one_hot", "dropout"]
