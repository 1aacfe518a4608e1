"""Normalisation layers."""
from .. import init, ops
from ..array import array
from .module import Module, Parameter


class _BatchNorm(Module):
    """Batch normalisation over all axes but the channels (axis 1), with running statistics for eval.

    weight, bias (num_features,); running_mean, running_var, num_batches_tracked are buffers. In
    training the running statistics move by `momentum` towards the batch's (variance unbiased);
    momentum=None keeps the plain average over all batches. activation="relu" or "relu6" stands for an
    activation layer behind this one, and saves its passes over memory.
    """

    ranks: tuple

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, device=None,
                 dtype="float32", activation=None):
        self.num_features, self.eps, self.momentum, self.affine = num_features, eps, momentum, affine
        self.activation = activation
        self.weight = Parameter(init.ones(num_features, device=device, dtype=dtype)) if affine else None
        self.bias = Parameter(init.zeros(num_features, device=device, dtype=dtype)) if affine else None
        tracked = track_running_stats
        self.register_buffer("running_mean", init.zeros(num_features, device=device, dtype=dtype).data if tracked else None)
        self.register_buffer("running_var", init.ones(num_features, device=device, dtype=dtype).data if tracked else None)
        # On the host device: counting must not launch a kernel.
        self.register_buffer("num_batches_tracked", array(0, "int64", "reference") if tracked else None)

    def forward(self, x):
        if x.ndim not in self.ranks:
            raise ValueError(f"{type(self).__name__} of shape {x.shape}: needs {' or '.join(map(str, self.ranks))} dimensions")
        by_batch = self.training or self.running_mean is None
        momentum = self.momentum
        if momentum is None:
            momentum = 1 / (int(self.num_batches_tracked) + 1) if self.num_batches_tracked is not None else 0.0
        y = ops.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, by_batch, momentum, self.eps,
                           self.activation)
        if self.training and self.num_batches_tracked is not None:
            counter = self.num_batches_tracked
            counter.device.map("add", counter, counter, 1)
        return y

    def _move(self, device):
        counter = self.num_batches_tracked
        super()._move(device)
        self.num_batches_tracked = counter

    def extra_repr(self):
        text = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
        return text if self.activation is None else f"{text}, activation={self.activation!r}"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (n, c) or (n, c, length)."""
    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (n, c, h, w)."""
    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (n, c, d, h, w)."""
    ranks = (5,)


class LayerNorm(Module):
    """Normalisation over the last axes, of sizes `normalized_shape`."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, device=None, dtype="float32"):
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        self.weight = Parameter(init.ones(*shape, device=device, dtype=dtype)) if elementwise_affine else None
        self.bias = Parameter(init.zeros(*shape, device=device, dtype=dtype)) if elementwise_affine and bias else None

    def forward(self, x):
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}"


class GroupNorm(Module):
    """Normalisation over groups of channels (axis 1) and all later axes."""

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, device=None, dtype="float32"):
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: {num_groups} groups do not divide {num_channels} channels")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = Parameter(init.ones(num_channels, device=device, dtype=dtype)) if affine else None
        self.bias = Parameter(init.zeros(num_channels, device=device, dtype=dtype)) if affine else None

    def forward(self, x):
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"
