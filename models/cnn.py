"""SimpleCNN: a small convolutional network for small images."""
from fastconv import nn

from .resnet9 import ConvBN


class SimpleCNN(nn.Module):
    """(N, in_channels, image_size, image_size) images to (N, classes) logits.

    channels   of the ConvBN blocks; all but the first halve the image
    """

    def __init__(self, in_channels=1, classes=10, image_size=28, channels=(16, 32), device=None,
                 dtype="float32"):
        super().__init__()
        for name, value in (("in_channels", in_channels), ("classes", classes), ("image_size", image_size)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is a positive int, not {value!r}")
        place = {"device": device, "dtype": dtype}
        blocks, size = [], image_size
        for i, out_channels in enumerate(channels):
            stride = 2 if i else 1
            blocks.append(ConvBN(in_channels, out_channels, 3, stride, **place))
            in_channels, size = out_channels, -(-size // stride)
        self.layers = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(in_channels * size * size, classes, **place))

    def forward(self, x):
        return self.layers(x)
