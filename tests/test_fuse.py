"""nn.fuse: convolution, BatchNorm and activation in one call, with the outputs of eval mode."""
import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from models import MobileNetV2, ResNet9, ResNet18


def trained(model, x):
    """The model after a pass that moved its running statistics, its affine parameters no longer 1 and 0."""
    rng = np.random.default_rng(1)
    for p in model.parameters():
        if p.ndim == 1:
            p.data[...] = fc.array(rng.uniform(0.5, 1.5, p.shape).astype(p.dtype), device=p.device)
    model(x)
    return model


def agree(model, x, remaining=0):
    """fuse(model) gives what model.eval() gives, has `remaining` BatchNorms, and leaves the model alone."""
    before = {name: a.numpy() for name, a in model.state_dict().items()}
    fused = nn.fuse(model)
    assert model.training and not any(m.training for m in fused.modules())
    assert sum("BatchNorm" in type(m).__name__ for m in fused.modules()) == remaining
    y = fused(x).numpy()
    for name, a in model.state_dict().items():
        np.testing.assert_array_equal(a.numpy(), before[name], err_msg=name)
    expected = model.eval()(x).numpy()
    assert np.linalg.norm(y - expected) < 1e-5 * np.linalg.norm(expected)
    return fused


@pytest.mark.parametrize("make, size", [(ResNet9, 32), (lambda **p: ResNet9(width="full", **p), 32),
                                        (lambda **p: ResNet18(10, 32, **p), 32), (lambda **p: MobileNetV2(10, 32, **p), 32)],
                         ids=["resnet9", "resnet9-full", "resnet18", "mobilenetv2"])
def test_models(fast_device, make, size, rng):
    fc.manual_seed(0)
    x = fc.Tensor(rng.random((2, 3, size, size), np.float32), device=fast_device)
    agree(trained(make(device=fast_device), x), x)


def test_what_folds(device, rng):
    place = {"device": device}
    x = fc.Tensor(rng.standard_normal((4, 3, 9)), device=device, dtype="float32")
    fused = agree(trained(nn.Sequential(
        nn.Conv1d(3, 4, 3, bias=False, **place), nn.BatchNorm1d(4, affine=False, **place), nn.ReLU(),
        nn.Conv1d(4, 4, 3, groups=2, **place), nn.ReLU(),
        nn.Conv1d(4, 5, 1, activation="relu6", **place), nn.BatchNorm1d(5, **place),        # not behind an activation
        nn.ReLU(), nn.BatchNorm1d(5, track_running_stats=False, **place), nn.Conv1d(5, 2, 1, **place), nn.Tanh()), x), x, 2)
    assert [m.activation for m in fused if isinstance(m, nn.Conv1d)] == ["relu", "relu", "relu6", None]


def test_statistics_of_the_batch_do_not_fold(device, rng):
    x = fc.Tensor(rng.standard_normal((4, 3, 5)), device=device, dtype="float32")
    model = nn.Sequential(nn.Conv1d(3, 4, 3, device=device), nn.BatchNorm1d(4, track_running_stats=False, device=device))
    agree(model, x, 1)


def test_shared_and_contained_modules(device, rng):
    """One block at two places stays one; lists are copied; what is not folded is shared with the model."""
    block = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, device=device), nn.BatchNorm2d(2, device=device))

    class Twice(nn.Module):
        def __init__(self):
            self.blocks, self.head = [block, block], nn.Linear(4, 3, device=device)

        def forward(self, x):
            for b in self.blocks:
                x = b(x)
            return self.head(x)
    model = Twice()
    fused = agree(model, fc.Tensor(rng.standard_normal((1, 2, 3, 4)), device=device, dtype="float32"))
    assert fused.blocks[0] is fused.blocks[1] is not block
    assert fused.head.weight is model.head.weight
    assert isinstance(block[1], nn.BatchNorm2d)


def test_modules_before_identity(device, rng):
    """Only convolutions take in what stands behind them; the model's own modules keep their mode."""
    inner = nn.Sequential(nn.Conv2d(2, 2, 3, device=device), nn.BatchNorm2d(2, device=device), nn.Dropout(0.5))
    model = nn.Sequential(inner, nn.Identity(), nn.BatchNorm2d(2, device=device), nn.Identity())
    nn.fuse(model)
    assert all(m.training for m in model.modules())
    agree(model, fc.Tensor(rng.standard_normal((1, 2, 4, 4)), device=device, dtype="float32"), 1)


def test_fuse_takes_modules():
    with pytest.raises(TypeError, match="int"):
        nn.fuse(3)
