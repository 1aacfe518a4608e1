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


# name: (model, the model of bench/torch_models.py, shape of its input)
MODELS = {
    "resnet9": (lambda d: ResNet9(d), lambda t: t.ResNet9(), (4, 3, 32, 32)),
    "resnet9-full": (lambda d: ResNet9(d, width="full"), lambda t: t.ResNet9("full"), (2, 3, 32, 32)),
    "simple-cnn": (lambda d: SimpleCNN(device=d), lambda t: t.SimpleCNN(), (4, 1, 28, 28)),
    "resnet18-32": (lambda d: ResNet18(10, 32, device=d), lambda t: t.ResNet18(10, 32), (2, 3, 32, 32)),
    "resnet18-224": (lambda d: ResNet18(10, device=d), lambda t: t.ResNet18(10), (1, 3, 224, 224)),
    "mobilenetv2-32": (lambda d: MobileNetV2(10, 32, 0.0, device=d), lambda t: t.MobileNetV2(10, 32, 0.0), (2, 3, 32, 32)),
    "mobilenetv2-224": (lambda d: MobileNetV2(10, 224, 0.0, device=d), lambda t: t.MobileNetV2(10, 224, 0.0), (1, 3, 224, 224)),
}


@pytest.mark.parametrize("name", MODELS)
def test_same_outputs_as_torch(name, fast_device, rng):
    torch = pytest.importorskip("torch")
    from bench import torch_models
    make, make_other, shape = MODELS[name]
    fc.manual_seed(0)
    model = make(fast_device)
    other = make_other(torch_models)
    expected_names = {k for k in other.state_dict()}
    assert set(model.state_dict()) == expected_names
    other.load_state_dict({k: torch.tensor(v.numpy()) for k, v in model.state_dict().items()})
    x = rng.random(shape, np.float32)
    if shape[0] > 1:                        # a training pass moves the running statistics of both alike
        model(fc.Tensor(x, device=fast_device))
        other(torch.tensor(x))
    with fc.no_grad(), torch.no_grad():
        y, z = model.eval()(fc.Tensor(x, device=fast_device)).numpy(), other.eval()(torch.tensor(x)).numpy()
        folded = torch_models.fold(other)(torch.tensor(x)).numpy()
    assert np.linalg.norm(y - z) < 1e-4 * np.linalg.norm(z)
    assert np.linalg.norm(folded - z) < 1e-4 * np.linalg.norm(z)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in other.modules())


@pytest.mark.skipif(not os.environ.get("FASTCONV_DATA"), reason="FASTCONV_DATA names no folder with the real files")
def test_filter_gradients_on_real_digits(fast_device):
    torch = pytest.importorskip("torch")
    from bench import torch_models
    images, labels = fc.data.MNISTDataset(os.environ["FASTCONV_DATA"]).batch(np.arange(64))
    fc.manual_seed(0)
    model = SimpleCNN(device=fast_device)
    other = torch_models.SimpleCNN()
    other.load_state_dict({k: torch.tensor(v.numpy()) for k, v in model.state_dict().items()})
    fc.ops.cross_entropy(model(fc.Tensor(images, device=fast_device)), labels).backward()
    torch.nn.functional.cross_entropy(other(torch.tensor(images)), torch.tensor(labels)).backward()
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        if name.endswith("weight"):         # a bias in front of a normalisation has gradient 0 but for rounding
            g, h = p.grad.numpy(), q.grad.numpy()
            assert np.linalg.norm(g - h) < 1e-4 * np.linalg.norm(h), name
