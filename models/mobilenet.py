"""MobileNetV2 (Sandler et al. 2018), with the names and shapes of torchvision's."""
from fastconv import nn, ops


def conv_bn_relu(in_channels, channels, kernel_size, stride, groups, place):
    return nn.Sequential(nn.Conv2d(in_channels, channels, kernel_size, stride, (kernel_size - 1) // 2, groups=groups,
                                   bias=False, **place), nn.BatchNorm2d(channels, activation="relu6", **place))


class InvertedResidual(nn.Module):
    """1x1 up by `expand`, 3x3 depthwise, 1x1 down; with a shortcut where the shape stays."""

    def __init__(self, in_channels, channels, stride, expand, place):
        hidden = in_channels * expand
        layers = [conv_bn_relu(in_channels, hidden, 1, 1, 1, place)] if expand != 1 else []
        layers += [conv_bn_relu(hidden, hidden, 3, stride, hidden, place),
                   nn.Conv2d(hidden, channels, 1, bias=False, **place), nn.BatchNorm2d(channels, **place)]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and in_channels == channels

    def forward(self, x):
        return ops.add(x, self.conv(x)) if self.shortcut else self.conv(x)


# (expansion, channels, blocks, stride of the first)
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class MobileNetV2(nn.Module):
    """(n, 3, h, w) images to (n, classes) logits; 3,504,872 parameters for 1000 classes, 2,236,682 for 10.

    image_size 224: five halvings, as published. image_size 32: the stem and the second stage keep the
    size, as is usual for CIFAR-10.
    """

    def __init__(self, classes=1000, image_size=224, dropout=0.2, device=None, dtype="float32"):
        if image_size not in (32, 224):
            raise ValueError(f"MobileNetV2 for image_size={image_size}: there are strides for 32 and 224")
        place = {"device": device, "dtype": dtype}
        small = image_size == 32
        features, channels = [conv_bn_relu(3, 32, 3, 1 if small else 2, 1, place)], 32
        for stage, (expand, width, blocks, stride) in enumerate(STAGES):
            for block in range(blocks):
                first = 1 if small and stage == 1 else stride
                features.append(InvertedResidual(channels, width, first if block == 0 else 1, expand, place))
                channels = width
        features.append(conv_bn_relu(channels, 1280, 1, 1, 1, place))
        self.features = nn.Sequential(*features)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, classes, **place))

    def forward(self, x):
        return self.classifier(self.flatten(self.pool(self.features(x))))
