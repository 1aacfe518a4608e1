"""Convolution layers. Names, shapes and argument order as torch.nn; images are (n, c, ...)."""
import math

from .. import init, ops
from ..random import as_generator
from ..tensor import Tensor
from .layers import uniform_parameter
from .module import Module, Parameter

_LAYOUT = {1: "NCL", 2: "NCHW", 3: "NCDHW"}


def _tuple(value, dims):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * dims


class _ConvNd(Module):
    """weight (out, in / groups, *kernel) Kaiming-uniform with ReLU gain over fan-in, bias (out,) uniform
    within 1/sqrt(fan-in). activation="relu" or "relu6" stands for an activation layer behind this one."""

    dims: int
    transposed = False

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 device=None, dtype="float32", rng=None, activation=None):
        kernel = _tuple(kernel_size, self.dims)
        if len(kernel) != self.dims or min(in_channels, out_channels, *kernel) < 1:
            raise ValueError(f"{type(self).__name__}({in_channels}, {out_channels}, kernel_size={kernel_size}): sizes "
                             f"must be positive, the kernel's {self.dims} in number")
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"{type(self).__name__}: groups={groups} does not divide {in_channels} input and "
                             f"{out_channels} output channels")
        rng = as_generator(rng)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = kernel
        self.stride, self.padding, self.dilation, self.activation = stride, padding, dilation, activation
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        fan_in = second // groups * math.prod(self.kernel_size)
        # (first, second, *kernel) in shape, (*kernel, second, first) in memory: see init_weight.
        self.weight = init_weight((first, second // groups, *self.kernel_size), fan_in, device, dtype, rng)
        self.bias = None
        if bias:
            self.bias = uniform_parameter(1 / math.sqrt(fan_in), (out_channels,), device, dtype, rng)

    def forward(self, x):
        function = getattr(ops, f"conv{self.dims}d")
        return function(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups,
                        layout=_LAYOUT[self.dims], activation=self.activation)

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, default in (("padding", 0), ("dilation", 1), ("groups", 1)):
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        text += "" if self.bias is not None else ", bias=False"
        return text if self.activation is None else f"{text}, activation={self.activation!r}"


def init_weight(shape, fan_in, device, dtype, rng):
    """A Kaiming-uniform weight of torch's shape (out, in, *kernel) that lies in memory as (*kernel, in, out).

    The register tile reads rows of output channels, so this layout is never converted, only viewed.
    """
    drawn = init.kaiming_uniform(fan_in, fan_in, shape, device="reference", dtype=dtype, rng=rng)
    axes = tuple(range(2, len(shape))) + (1, 0)
    stored = Tensor(drawn.numpy().transpose(axes), device=device)
    return Parameter(stored.data.permute(tuple(axes.index(d) for d in range(len(shape)))))


class Conv1d(_ConvNd):
    """1-D convolution of (n, c, length); see fastconv.ops.conv1d."""
    dims = 1


class Conv2d(_ConvNd):
    """2-D convolution of (n, c, h, w); see fastconv.ops.conv2d.

    >>> import fastconv as fc
    >>> layer = fc.nn.Conv2d(3, 8, 3, stride=2, padding=1)
    >>> layer(fc.init.rand(1, 3, 8, 8)).shape, layer.weight.shape
    ((1, 8, 4, 4), (8, 3, 3, 3))
    """
    dims = 2


class Conv3d(_ConvNd):
    """3-D convolution of (n, c, d, h, w); see fastconv.ops.conv3d."""
    dims = 3


class _ConvTransposeNd(_ConvNd):
    """weight (in, out / groups, *kernel)."""

    transposed = True

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1,
                 bias=True, dilation=1, device=None, dtype="float32", rng=None):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
                         device, dtype, rng)
        self.output_padding = output_padding

    def forward(self, x):
        function = getattr(ops, f"conv_transpose{self.dims}d")
        return function(x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.dilation,
                        self.groups, layout=_LAYOUT[self.dims])


class ConvTranspose1d(_ConvTransposeNd):
    """1-D transposed convolution of (n, c, length)."""
    dims = 1


class ConvTranspose2d(_ConvTransposeNd):
    """2-D transposed convolution of (n, c, h, w); see fastconv.ops.conv_transpose2d."""
    dims = 2


class ConvTranspose3d(_ConvTransposeNd):
    """3-D transposed convolution of (n, c, d, h, w)."""
    dims = 3


class Conv(Module):
    """The course's layer: NCHW in and out, square kernel, "same" padding (k - 1) // 2.

    weight (k, k, in, out) Kaiming-uniform over in * k * k and out * k * k; bias (out,) uniform within
    1/sqrt(in * k * k).
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, bias=True, device=None, dtype="float32",
                 rng=None):
        k = kernel_size[0] if isinstance(kernel_size, tuple) else kernel_size
        s = stride[0] if isinstance(stride, tuple) else stride
        self.in_channels, self.out_channels, self.kernel_size, self.stride = in_channels, out_channels, k, s
        fan_in, rng = in_channels * k * k, as_generator(rng)
        self.weight = Parameter(init.kaiming_uniform(fan_in, out_channels * k * k, (k, k, in_channels, out_channels),
                                                     device=device, dtype=dtype, rng=rng))
        self.bias = None
        if bias:
            self.bias = uniform_parameter(1 / math.sqrt(fan_in), (out_channels,), device, dtype, rng)

    def forward(self, x):
        weight = ops.permute(self.weight, (3, 2, 0, 1))
        return ops.conv2d(x, weight, self.bias, self.stride, (self.kernel_size - 1) // 2, layout="NCHW")

    def extra_repr(self):
        return f"{self.in_channels}, {self.out_channels}, {self.kernel_size}, stride={self.stride}"
