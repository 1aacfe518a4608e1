"""Pooling layers; arguments as torch.nn, images (n, c, ...)."""
from .. import ops
from .module import Module


class _MaxPool(Module):
    """The largest element of each window; see fastconv.ops.max_pool2d."""

    function: object

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.ceil_mode = dilation, ceil_mode

    def forward(self, x):
        return self.function(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self):
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool1d(_MaxPool):
    """The largest element of each window of (n, c, l)."""
    function = staticmethod(ops.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest element of each window of (n, c, h, w)."""
    function = staticmethod(ops.max_pool2d)


class MaxPool3d(_MaxPool):
    """The largest element of each window of (n, c, d, h, w)."""
    function = staticmethod(ops.max_pool3d)


class _AvgPool(Module):
    """The mean of each window; see fastconv.ops.avg_pool2d."""

    function: object

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x):
        return self.function(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self):
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window of (n, c, l)."""
    function = staticmethod(ops.avg_pool1d)


class AvgPool2d(_AvgPool):
    """The mean of each window of (n, c, h, w)."""
    function = staticmethod(ops.avg_pool2d)


class AvgPool3d(_AvgPool):
    """The mean of each window of (n, c, d, h, w)."""
    function = staticmethod(ops.avg_pool3d)


class _AdaptiveAvgPool(Module):
    """Means over windows chosen so that the spatial sizes become output_size."""

    dims: int

    def __init__(self, output_size):
        self.output_size = output_size

    def forward(self, x):
        if x.ndim != self.dims + 2:
            raise ValueError(f"{type(self).__name__} of shape {x.shape}: needs {self.dims + 2} dimensions")
        return ops.adaptive_avg_pool(x, self.output_size)

    def extra_repr(self):
        return f"{self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of (n, c, l) to length output_size."""
    dims = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of (n, c, h, w) to output_size."""
    dims = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means of (n, c, d, h, w) to output_size."""
    dims = 3
