"""The models of models/ in PyTorch, with the same names of parameters: what bench/ and the tests compare with."""
import torch
from torch import nn


class ConvBN(nn.Module):
    def __init__(self, channels, out, kernel_size, stride):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel_size, stride, (kernel_size - 1) // 2)
        self.norm = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.norm(self.conv(x)))


class Residual(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, x):
        return self.fn(x) + x


def _residual_pair(channels):
    return Residual(nn.Sequential(ConvBN(channels, channels, 3, 1), ConvBN(channels, channels, 3, 1)))


class Layers(nn.Module):
    """A sequence under the name `layers`."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


def ResNet9(width="seed"):
    if width == "seed":
        return Layers(ConvBN(3, 16, 7, 4), ConvBN(16, 32, 3, 2), _residual_pair(32), ConvBN(32, 64, 3, 2),
                      ConvBN(64, 128, 3, 2), _residual_pair(128), nn.Flatten(), nn.Linear(128, 128), nn.ReLU(),
                      nn.Linear(128, 10))
    return Layers(ConvBN(3, 64, 3, 1), ConvBN(64, 128, 3, 1), nn.MaxPool2d(2), _residual_pair(128), ConvBN(128, 256, 3, 1),
                  nn.MaxPool2d(2), ConvBN(256, 512, 3, 1), nn.MaxPool2d(2), _residual_pair(512), nn.MaxPool2d(4),
                  nn.Flatten(), nn.Linear(512, 10))


def SimpleCNN():
    return Layers(ConvBN(1, 16, 3, 1), ConvBN(16, 32, 3, 2), nn.Flatten(), nn.Linear(32 * 14 * 14, 10))


class BasicBlock(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + shortcut)


class ResNet18(nn.Module):
    def __init__(self, classes=1000, image_size=224):
        super().__init__()
        small = image_size == 32
        self.conv1 = nn.Conv2d(3, 64, *((3, 1, 1) if small else (7, 2, 3)), bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        channels = 64
        for i, width in enumerate((64, 128, 256, 512), start=1):
            blocks = nn.Sequential(BasicBlock(channels, width, 1 if i == 1 else 2), BasicBlock(width, width, 1))
            setattr(self, f"layer{i}", blocks)
            channels = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _conv_bn_relu(channels, out, kernel_size, stride, groups):
    return nn.Sequential(nn.Conv2d(channels, out, kernel_size, stride, (kernel_size - 1) // 2, groups=groups, bias=False),
                         nn.BatchNorm2d(out), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    def __init__(self, channels, out, stride, expand):
        super().__init__()
        hidden = channels * expand
        self.conv = nn.Sequential(*([_conv_bn_relu(channels, hidden, 1, 1, 1)] if expand != 1 else []),
                                  _conv_bn_relu(hidden, hidden, 3, stride, hidden),
                                  nn.Conv2d(hidden, out, 1, bias=False), nn.BatchNorm2d(out))
        self.shortcut = stride == 1 and channels == out

    def forward(self, x):
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, classes=1000, image_size=224, dropout=0.2):
        super().__init__()
        small = image_size == 32
        features, channels = [_conv_bn_relu(3, 32, 3, 1 if small else 2, 1)], 32
        stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
        for stage, (expand, width, blocks, stride) in enumerate(stages):
            for block in range(blocks):
                first = 1 if small and stage == 1 else stride
                features.append(InvertedResidual(channels, width, first if block == 0 else 1, expand))
                channels = width
        self.features = nn.Sequential(*features, _conv_bn_relu(channels, 1280, 1, 1, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


class LanguageModel(nn.Module):
    """ids (t, n) to logits (t * n, vocabulary), with an LSTM."""

    def __init__(self, embedding_size, output_size, hidden_size, num_layers):
        super().__init__()
        self.embedding = nn.Embedding(output_size, embedding_size)
        self.model = nn.LSTM(embedding_size, hidden_size, num_layers)
        self.linear = nn.Linear(hidden_size, output_size)

    def forward(self, ids):
        h, _ = self.model(self.embedding(ids))
        return self.linear(h.reshape(-1, h.shape[2]))


def fold(model):
    """The model in eval mode with every BatchNorm folded into the convolution before it."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval
    model.eval()
    pairs = {"conv1": "bn1", "conv2": "bn2", "conv": "norm"}
    for module in model.modules():
        children = dict(module.named_children())
        names = list(children)
        for name, following in zip(names, names[1:] + [None]):
            partner = pairs.get(name, following)
            if isinstance(children[name], nn.Conv2d) and isinstance(children.get(partner), nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(children[name], children[partner]))
                setattr(module, partner, nn.Identity())
    return model
