"""The models: parameter counts as published, outputs equal to PyTorch's with the same weights."""
import os

import numpy as np
import pytest

import fastconv as fc
from models import MobileNetV2, ResNet9, ResNet18, SimpleCNN


def count(model):
    return sum(p.size for p in model.parameters())


def test_parameter_counts():
    assert count(ResNet9(device="reference")) == 431_946
    assert count(ResNet9(device="reference", width="full")) == 6_575_370
    assert count(ResNet18(device="reference")) == 11_689_512
    assert count(ResNet18(10, 32, device="reference")) == 11_173_962
    assert count(MobileNetV2(device="reference")) == 3_504_872
    assert count(MobileNetV2(10, 32, device="reference")) == 2_236_682


def twin(torch, module):
    """The torch module of the same structure, built from a fastconv module."""
    nn, tn = fc.nn, torch.nn

    class Lambda(tn.Module):
        def __init__(self, function, **parts):
            super().__init__()
            self.function = function
            for name, part in parts.items():
                setattr(self, name, part)

        def forward(self, x):
            return self.function(self, x)

    def same(m):
        return twin(torch, m)

    if isinstance(module, nn.Conv2d):
        return tn.Conv2d(module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding,
                         module.dilation, module.groups, module.bias is not None)
    if isinstance(module, nn.BatchNorm2d):
        return tn.BatchNorm2d(module.num_features, module.eps, module.momentum)
    if isinstance(module, nn.Linear):
        return tn.Linear(module.in_features, module.out_features)
    if isinstance(module, nn.MaxPool2d):
        return tn.MaxPool2d(module.kernel_size, module.stride, module.padding)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return tn.AdaptiveAvgPool2d(module.output_size)
    if isinstance(module, nn.Dropout):
        return tn.Dropout(module.p)
    if isinstance(module, nn.Sequential):
        return tn.Sequential(*map(same, module))
    if isinstance(module, nn.Residual):
        return Lambda(lambda self, x: self.fn(x) + x, fn=same(module.fn))
    kind = type(module).__name__
    plain = {"ReLU": tn.ReLU, "ReLU6": tn.ReLU6, "Flatten": tn.Flatten, "Identity": tn.Identity}
    if kind in plain:
        return plain[kind]()
    parts = {name: same(m) for name, m in module.named_children()}
    forwards = {
        "ConvBN": lambda self, x: self.relu(self.norm(self.conv(x))),
        "ResNet9": lambda self, x: self.layers(x),
        "SimpleCNN": lambda self, x: self.layers(x),
        "BasicBlock": lambda self, x: self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
                                                + (self.downsample(x) if hasattr(self, "downsample") else x)),
        "InvertedResidual": lambda self, x, shortcut=getattr(module, "shortcut", None):
            x + self.conv(x) if shortcut else self.conv(x),
        "ResNet18": lambda self, x: self.fc(self.flatten(self.avgpool(self.layer4(self.layer3(self.layer2(self.layer1(
            self.maxpool(self.relu(self.bn1(self.conv1(x))))))))))),
        "MobileNetV2": lambda self, x: self.classifier(self.flatten(self.pool(self.features(x)))),
    }
    return Lambda(forwards[kind], **parts)


MODELS = {
    "resnet9": (lambda d: ResNet9(d), (4, 3, 32, 32)),
    "resnet9-full": (lambda d: ResNet9(d, width="full"), (2, 3, 32, 32)),
    "simple-cnn": (lambda d: SimpleCNN(device=d), (4, 1, 28, 28)),
    "resnet18-32": (lambda d: ResNet18(10, 32, device=d), (2, 3, 32, 32)),
    "resnet18-224": (lambda d: ResNet18(10, device=d), (1, 3, 224, 224)),
    "mobilenetv2-32": (lambda d: MobileNetV2(10, 32, dropout=0.0, device=d), (2, 3, 32, 32)),
    "mobilenetv2-224": (lambda d: MobileNetV2(10, dropout=0.0, device=d), (1, 3, 224, 224)),
}


@pytest.mark.parametrize("name", MODELS)
def test_same_outputs_as_torch(name, fast_device, rng):
    torch = pytest.importorskip("torch")
    make, shape = MODELS[name]
    fc.manual_seed(0)
    model = make(fast_device)
    other = twin(torch, model)
    expected_names = {k for k in other.state_dict()}
    assert set(model.state_dict()) == expected_names
    other.load_state_dict({k: torch.tensor(v.numpy()) for k, v in model.state_dict().items()})
    x = rng.random(shape, np.float32)
    if shape[0] > 1:                        # a training pass moves the running statistics of both alike
        model(fc.Tensor(x, device=fast_device))
        other(torch.tensor(x))
    with fc.no_grad(), torch.no_grad():
        y, z = model.eval()(fc.Tensor(x, device=fast_device)).numpy(), other.eval()(torch.tensor(x)).numpy()
    assert np.linalg.norm(y - z) < 1e-4 * np.linalg.norm(z)


@pytest.mark.skipif(not os.environ.get("FASTCONV_DATA"), reason="FASTCONV_DATA names no folder with the real files")
def test_filter_gradients_on_real_digits(fast_device):
    torch = pytest.importorskip("torch")
    images, labels = fc.data.MNISTDataset(os.environ["FASTCONV_DATA"]).batch(np.arange(64))
    fc.manual_seed(0)
    model = SimpleCNN(device=fast_device)
    other = twin(torch, model)
    other.load_state_dict({k: torch.tensor(v.numpy()) for k, v in model.state_dict().items()})
    fc.ops.cross_entropy(model(fc.Tensor(images, device=fast_device)), labels).backward()
    torch.nn.functional.cross_entropy(other(torch.tensor(images)), torch.tensor(labels)).backward()
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        if name.endswith("weight"):         # a bias in front of a normalisation has gradient 0 but for rounding
            g, h = p.grad.numpy(), q.grad.numpy()
            assert np.linalg.norm(g - h) < 1e-4 * np.linalg.norm(h), name
