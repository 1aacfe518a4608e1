"""Worked examples with known answers, and convolution's gradients spelled out by convolutions."""
import numpy as np
import pytest

import fastconv as fc
from fastconv import ops

# A Conv1d worked by hand: weight (out, in, k), x (batch, in, length), stride 1.
WEIGHT = [[[0, 1], [2, 3]], [[4, 2], [-2, -4]], [[3, -4], [5, 2]]]
BIAS = [0, 1, 2]
X = [[[0, 1, -3, -1], [-2, 3, -2, 1]], [[4, 5, -2, 3], [2, -1, -4, 7]]]
OUTPUT = [[[6, -3, -2], [-5, 1, -13], [-6, 28, -11]], [[6, -16, 16], [27, 35, -21], [2, 12, -22]]]
OUTPUT_GRADIENT = [[[2, -1, -1], [2, -2, 3], [2, 2, 1]], [[0, 0, -3], [2, 7, -1], [8, 7, 2]]]
X_GRADIENT = [[[14, -4, 2, 1], [10, 14, 6, -13]], [[32, 21, -12, -13], [36, 29, -8, -1]]]
WEIGHT_GRADIENT = [[[8, -3], [7, -14]], [[34, -2], [-15, -24]], [[62, 27], [1, -19]]]
BIAS_GRADIENT = [-3, 11, 22]


def tensor(values, device):
    return fc.Tensor(np.array(values, np.float32), device=device, requires_grad=True)


@pytest.mark.parametrize("algorithm", ["implicit_gemm", "im2col", "filter2row"])
def test_conv1d_by_hand(algorithm, device):
    x, w, b = (tensor(v, device) for v in (X, WEIGHT, BIAS))
    y = ops.conv1d(x, w, b, layout="NCL", algorithm=algorithm)
    np.testing.assert_array_equal(y.numpy(), OUTPUT)
    y.backward(np.array(OUTPUT_GRADIENT, np.float32))
    np.testing.assert_array_equal(x.grad.numpy(), X_GRADIENT)
    np.testing.assert_array_equal(w.grad.numpy(), WEIGHT_GRADIENT)
    np.testing.assert_array_equal(b.grad.numpy(), BIAS_GRADIENT)


def test_frames_that_do_not_fit_get_no_gradient(device):
    x = tensor(np.ones((1, 1, 7)), device)
    y = ops.conv1d(x, tensor(np.ones((1, 1, 3)), device), stride=3, layout="NCL")
    assert y.shape == (1, 1, 2)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], [1, 1, 1, 1, 1, 1, 0])


@pytest.mark.parametrize("axes, strides, offset", [((0,), (-8, 4, 1), 16), ((1,), (8, -4, 1), 4), ((2,), (8, 4, -1), 3),
                                                   ((0, 1), (-8, -4, 1), 20), ((0, 1, 2), (-8, -4, -1), 23)])
def test_flip_is_a_view(axes, strides, offset, device):
    x = fc.array(np.arange(24, dtype=np.float32).reshape(3, 2, 4), device=device)
    y = x.flip(axes)
    assert (y.strides, y.offset) == (strides, offset) and y.buffer is x.buffer
    np.testing.assert_array_equal(y.numpy(), np.flip(x.numpy(), axes))


def test_dilate(device):
    x = fc.array(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), device=device)
    np.testing.assert_array_equal(ops.dilate(x, (0,), 1).numpy(), [[1, 2], [0, 0], [3, 4], [0, 0]])
    np.testing.assert_array_equal(ops.dilate(x, (0, 1), 1).numpy(),
                                  [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]])
    assert ops.dilate(x, (0, 1), 0).shape == (2, 2)


@pytest.mark.parametrize("stride, padding, kernel, size", [(1, 1, 3, 8), (2, 1, 3, 8), (2, 0, 3, 9), (1, 2, 5, 7), (3, 2, 5, 13)])
def test_gradients_by_convolutions(stride, padding, kernel, size, device, rng):
    """The course's derivation, for images that the stride divides: dx is a convolution of the dilated output
    gradient with the flipped kernel, dw one with batch and channels exchanged."""
    n, c_in, c_out, out = 2, 3, 4, (size + 2 * padding - kernel) // stride + 1
    x, w = rng.integers(-3, 4, (n, size, size, c_in)), rng.integers(-3, 4, (kernel, kernel, c_in, c_out))
    xt, wt = tensor(x, device), tensor(w, device)
    g = fc.array(rng.integers(-3, 4, (n, out, out, c_out)).astype(np.float32), device=device)
    ops.conv2d(xt, wt, stride=stride, padding=padding).backward(g)

    spread = ops.dilate(g, (1, 2), stride - 1)
    rest = size + 2 * padding - kernel + 1 - spread.shape[1]      # rows that the stride leaves over
    spread = ops.pad(spread, ((0, 0), (0, max(rest, 0)), (0, max(rest, 0)), (0, 0)))
    spread = spread[:, :size + 2 * padding - kernel + 1, :size + 2 * padding - kernel + 1]
    dx = ops.conv2d(spread, ops.transpose(ops.flip(wt.data, (0, 1)), 2, 3), padding=kernel - 1 - padding)
    dw = ops.conv2d(ops.permute(xt.data, (3, 1, 2, 0)), ops.permute(spread, (1, 2, 0, 3)), padding=padding)
    np.testing.assert_array_equal(xt.grad.numpy(), dx.numpy())
    np.testing.assert_array_equal(wt.grad.numpy(), ops.permute(dw, (1, 2, 0, 3)).numpy())


def test_batch_norm_without_affine(device, rng):
    x = rng.normal(size=(4, 3, 5, 5)).astype(np.float32)
    y = fc.nn.BatchNorm2d(3, affine=False, device=device)(fc.Tensor(x, device=device)).numpy()
    expected = (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_explaining_a_convolution():
    rows = ops.conv_algorithms(fc.init.ones(2, 9, 9, 3), (3, 3, 3, 5), stride=2)
    assert [r["name"] for r in rows] == ["implicit_gemm", "im2col", "filter2row", "fft"]
    assert [r["default"] for r in rows] == [True, False, False, False] and [r["exact"] for r in rows] == [True] * 3 + [False]
    assert rows[0]["workspace"] < rows[1]["workspace"]
    with pytest.raises(ValueError, match="3 channels"):
        ops.conv_algorithms((2, 9, 9, 3), (3, 3, 4, 5))
