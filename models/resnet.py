"""ResNet-18 (He, Zhang, Ren and Sun 2016), with the names and shapes of torchvision's."""
from fastconv import nn, ops


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    chains = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(self, in_channels, channels, stride, device=None, dtype="float32"):
        place = {"device": device, "dtype": dtype}
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False, **place)
        self.bn1 = nn.BatchNorm2d(channels, activation="relu", **place)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False, **place)
        self.bn2 = nn.BatchNorm2d(channels, **place)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False, **place),
                                            nn.BatchNorm2d(channels, **place))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x))
        return ops.relu(ops.add(self.bn2(self.conv2(x)), shortcut))


class ResNet18(nn.Module):
    """(n, 3, h, w) images to (n, classes) logits.

    image_size 224: a 7x7 stem of stride 2 and pooling; 11,689,512 parameters for 1000 classes.
    image_size 32: a 3x3 stem of stride 1 instead; 11,173,962 parameters for 10 classes.
    """

    chains = (("conv1", "bn1"),)

    def __init__(self, classes=1000, image_size=224, device=None, dtype="float32"):
        if image_size not in (32, 224):
            raise ValueError(f"ResNet18 for image_size={image_size}: there are stems for 32 and 224")
        place = {"device": device, "dtype": dtype}
        small = image_size == 32
        self.conv1 = nn.Conv2d(3, 64, *((3, 1, 1) if small else (7, 2, 3)), bias=False, **place)
        self.bn1 = nn.BatchNorm2d(64, activation="relu", **place)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        channels = 64
        for i, width in enumerate((64, 128, 256, 512), start=1):
            blocks = nn.Sequential(BasicBlock(channels, width, 1 if i == 1 else 2, **place),
                                   BasicBlock(width, width, 1, **place))
            setattr(self, f"layer{i}", blocks)
            channels = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(512, classes, **place)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.flatten(self.avgpool(x)))
