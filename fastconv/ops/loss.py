"""Losses, and the one-hot code of labels."""
import functools

import numpy as np

from ..array import BOOL, FLOATS, INTS, Array, array, as_dtype, empty
from ..autograd import Variable, op
from ..row_gradient import take
from .elementwise import abs, minimum, softplus, where
from .logits import log_softmax
from .reduce import mean, sum
from .shape import permute, reshape

REDUCTIONS = ("mean", "sum", "none")


# --- labels ----------------------------------------------------------------------------------

def as_labels(what, labels, classes, device, ignored=None):
    """(labels as an int64 Array on `device`, each in 0..classes-1, or -1 where it is `ignored`; whether one is).

    Labels that come as NumPy arrays or lists are checked on the host, without waiting for the
    device; those that are on a device already are read back for the check.
    """
    if isinstance(labels, Variable):
        labels = labels.data
    on_device = labels.to(device) if isinstance(labels, Array) else None
    labels = labels.numpy() if isinstance(labels, Array) else np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{what}: labels have dtype {labels.dtype}, not an integer one")
    counted, some = labels, False
    if ignored is not None and labels.size and (0 <= ignored < classes or int(labels.min()) < 0 or int(labels.max()) >= classes):
        counted = labels[labels != ignored]
        some = counted.size < labels.size
    if counted.size:
        low, high = int(counted.min()), int(counted.max())
        if low < 0 or high >= classes:
            raise ValueError(f"{what}: labels from {low} to {high} for {classes} classes (0 to {classes - 1})")
    if some:
        labels = np.where(labels == ignored, -1, labels.astype(np.int64))
    elif on_device is not None and on_device.dtype in INTS:
        return on_device.astype(np.int64, copy=False), some
    return array(labels.astype(np.int64, copy=False), device=device), some


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
    labels, _ = as_labels("one_hot", data, n, array(0, device=device).device)
    return _is_label(labels, n).astype(as_dtype(dtype))


# --- losses of labels ------------------------------------------------------------------------

def _picked(log_p, labels):
    """- the label's log-probability of each row (rows, classes); 0 where the label is negative."""
    return -sum(where(_is_label(labels, log_p.shape[1]), log_p, 0.0), 1)


def _composite(logits, labels):
    return _picked(log_softmax(logits, 1), labels), None, None


@op(inputs=2, outputs=1, composite=_composite)
def _cross_entropy(logits, labels):
    """Of each row. Returns (losses, largest logits, sums of exp(logit - largest))."""
    outs = [empty(labels.shape, logits.dtype, logits.device) for _ in range(3)]
    logits.device.cross_entropy(*outs, logits, labels)
    return tuple(outs)


@_cross_entropy.gradient("logits")
def _(g, y, logits, labels):
    (g, *_), (_, top, total) = g, y
    out = empty(logits.shape, logits.dtype, logits.device)
    logits.device.cross_entropy_grad(out, g, logits, top, total, labels)
    return out


@_cross_entropy.gradient("labels")
def _(g, y, logits, labels):
    return None


def cross_entropy(logits, labels, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """logsumexp(logits) - the label's logit, without overflow (torch.nn.functional.cross_entropy).

    logits           (n, classes) or (n, classes, ...), float
    labels           (n,) or (n, ...), any integer dtype, each in 0..classes-1; NumPy arrays, lists, Arrays or Tensors
    weight           (classes,): what a label of each class counts; no gradient goes there
    ignore_index     rows with this label count nothing
    reduction        "mean" over what counts, "sum", or "none": the losses in the labels' shape
    label_smoothing  this share of the target is spread evenly over all classes (Szegedy et al. 2016)

    TypeError for labels that are not integers, ValueError for shapes or labels out of range.

    >>> import fastconv as fc
    >>> round(fc.ops.cross_entropy(fc.array([[0.0, 0.0]]), [1]).item(), 4)
    0.6931
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing {label_smoothing} is not in [0, 1]")
    rows, call = _labelled("cross_entropy", "logits", logits, labels, weight, ignore_index, reduction)
    if not label_smoothing:
        return call.result(_cross_entropy(rows, call.labels)[0])
    log_p = log_softmax(rows, 1)
    spread = sum(log_p if weight is None else log_p * call.weight, 1) * (-label_smoothing / rows.shape[1])
    return call.result(_picked(log_p, call.labels) * (1 - label_smoothing), spread)


def nll_loss(log_p, labels, weight=None, ignore_index=-100, reduction="mean"):
    """- the label's log-probability; arguments as in cross_entropy, which is this of log_softmax(logits)."""
    rows, call = _labelled("nll_loss", "log-probabilities", log_p, labels, weight, ignore_index, reduction)
    return call.result(_picked(rows, call.labels))


class _Labels:
    """The labels of one call, what each counts, and how the losses of the rows become the result."""

    def __init__(self, labels, some_ignored, weight, reduction, shape):
        self.labels, self.weight, self.reduction, self.shape = labels, weight, reduction, shape
        self.counts = (labels >= 0) if some_ignored else None           # bool (rows,), or None: all
        self.factors = None                                             # (rows,), or None: 1
        if weight is not None:
            self.factors = take(weight.reshape(-1, 1), labels.maximum(0)).reshape(-1)

    def result(self, losses, spread=None):
        """`losses` of the labels (rows,), weighted here; `spread`, which carries its weights, is added."""
        if self.factors is not None:
            losses = losses * self.factors
        if spread is not None:
            losses = losses + spread
        if self.counts is not None:
            losses = where(self.counts, losses, 0.0)
        if self.reduction == "mean" and (self.factors is not None or self.counts is not None):
            return sum(losses) / self._total(losses.dtype)
        return reduced(losses, self.reduction, self.shape)

    def _total(self, dtype):
        """What all labels count together."""
        if self.factors is None:
            return self.counts.astype(dtype).sum()
        return (self.factors if self.counts is None else self.counts.where(self.factors, 0.0)).sum()


def _labelled(what, name, x, labels, weight, ignore_index, reduction):
    """The checked arguments of a loss of labels: (x as (rows, classes), its _Labels)."""
    if not isinstance(x, (Variable, Array)):
        raise TypeError(f"{what}: {name} are a Tensor or Array, not {type(x).__name__}")
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"{what}: {name} of shape {x.shape}, not (n, classes)")
    if x.dtype not in FLOATS:
        raise TypeError(f"{what}: {name} have dtype {x.dtype}")
    classes, shape = x.shape[1], (x.shape[0], *x.shape[2:])
    labels, some_ignored = as_labels(what, labels, classes, x.device, ignore_index)
    if labels.shape != shape:
        raise ValueError(f"{what}: labels of shape {labels.shape} for {name} of shape {x.shape}")
    if weight is not None:
        weight = array(weight.data if isinstance(weight, Variable) else weight, x.dtype, x.device)
        if weight.shape != (classes,):
            raise ValueError(f"{what}: weight of shape {weight.shape} for {classes} classes")
    if x.ndim > 2:
        x = reshape(permute(x, (0, *range(2, x.ndim), 1)), (labels.size, classes))
    check_reduction(what, reduction)
    return x, _Labels(labels.reshape(-1), some_ignored, weight, reduction, shape)


# --- losses of numbers -----------------------------------------------------------------------

def check_reduction(what, reduction):
    """ValueError unless it is one of REDUCTIONS."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{what}: reduction {reduction!r}: use one of {', '.join(REDUCTIONS)}")


def reduced(losses, reduction, shape=None):
    """The mean or the sum of the losses, or themselves (in `shape`)."""
    if reduction == "none":
        return losses if shape is None or losses.shape == shape else reshape(losses, shape)
    return mean(losses) if reduction == "mean" else sum(losses)


def _difference(what, prediction, target, reduction):
    """prediction - target, of equal shapes."""
    check_reduction(what, reduction)
    if prediction.shape != target.shape:
        raise ValueError(f"{what}: prediction {prediction.shape}, target {target.shape}")
    return prediction - target


def mse_loss(prediction, target, reduction="mean"):
    """(prediction - target) ** 2, its "mean", "sum" or "none"; shapes must be equal."""
    d = _difference("mse_loss", prediction, target, reduction)
    return reduced(d * d, reduction)


def l1_loss(prediction, target, reduction="mean"):
    """|prediction - target|, its "mean", "sum" or "none"; shapes must be equal."""
    return reduced(abs(_difference("l1_loss", prediction, target, reduction)), reduction)


def huber_loss(prediction, target, reduction="mean", delta=1.0):
    """d * d / 2 up to |d| = delta and delta * (|d| - delta / 2) beyond, d = prediction - target (Huber 1964)."""
    if not delta > 0:
        raise ValueError(f"huber_loss: delta {delta} is not positive")
    d = abs(_difference("huber_loss", prediction, target, reduction))
    inside = minimum(d, float(delta))
    return reduced(inside * (d - inside * 0.5), reduction)


def smooth_l1_loss(prediction, target, reduction="mean", beta=1.0):
    """huber_loss with delta = beta, over beta; with beta = 0 l1_loss (Girshick 2015)."""
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta {beta} is negative")
    if beta == 0:
        return l1_loss(prediction, target, reduction)
    return huber_loss(prediction, target, reduction, beta) / float(beta)


def bce_with_logits(logits, target, weight=None, reduction="mean", pos_weight=None):
    """- target * log(p) - (1 - target) * log(1 - p), p = sigmoid(logits), without overflow.

    target      of the same shape, from 0 to 1
    weight      broadcast to the losses; pos_weight multiplies their part with target, classes being the last axis
    """
    check_reduction("bce_with_logits", reduction)
    if logits.shape != target.shape:
        raise ValueError(f"bce_with_logits: logits {logits.shape}, target {target.shape}")
    share = 1.0 if pos_weight is None else target * (pos_weight - 1.0) + 1.0
    losses = (1.0 - target) * logits + softplus(-logits) * share
    return reduced(losses if weight is None else losses * weight, reduction)


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


__all__ = ["bce_with_logits", "cross_entropy", "dropout", "huber_loss", "l1_loss", "mse_loss", "nll_loss", "one_hot",
           "smooth_l1_loss"]
