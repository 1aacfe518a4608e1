"""Losses as modules, with torch.nn's names and keywords; formulas in fastconv.ops."""
from .. import ops
from .module import Module


class _Loss(Module):
    """A loss whose keywords stay the same from call to call."""

    def __init__(self, function, **keywords):
        ops.loss.check_reduction(type(self).__name__, keywords["reduction"])
        self._function, self._keywords = function, keywords

    def forward(self, prediction, target):
        return self._function(prediction, target, **self._keywords)

    def extra_repr(self):
        return f"reduction={self._keywords['reduction']!r}"


class CrossEntropyLoss(_Loss):
    """logsumexp(logits) - the label's logit; see fastconv.ops.cross_entropy."""

    def __init__(self, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(ops.cross_entropy, weight=weight, ignore_index=ignore_index, reduction=reduction,
                         label_smoothing=label_smoothing)


SoftmaxLoss = CrossEntropyLoss


class NLLLoss(_Loss):
    """- the label's log-probability; see fastconv.ops.nll_loss."""

    def __init__(self, weight=None, ignore_index=-100, reduction="mean"):
        super().__init__(ops.nll_loss, weight=weight, ignore_index=ignore_index, reduction=reduction)


class MSELoss(_Loss):
    """(prediction - target) ** 2."""

    def __init__(self, reduction="mean"):
        super().__init__(ops.mse_loss, reduction=reduction)


class L1Loss(_Loss):
    """|prediction - target|."""

    def __init__(self, reduction="mean"):
        super().__init__(ops.l1_loss, reduction=reduction)


class HuberLoss(_Loss):
    """Quadratic near 0, linear beyond delta; see fastconv.ops.huber_loss."""

    def __init__(self, reduction="mean", delta=1.0):
        super().__init__(ops.huber_loss, reduction=reduction, delta=delta)


class SmoothL1Loss(_Loss):
    """HuberLoss over beta; see fastconv.ops.smooth_l1_loss."""

    def __init__(self, reduction="mean", beta=1.0):
        super().__init__(ops.smooth_l1_loss, reduction=reduction, beta=beta)


class BCEWithLogitsLoss(_Loss):
    """The binary cross-entropy of sigmoid(logits); see fastconv.ops.bce_with_logits."""

    def __init__(self, weight=None, reduction="mean", pos_weight=None):
        super().__init__(ops.bce_with_logits, weight=weight, reduction=reduction, pos_weight=pos_weight)
