"""The gradient of an embedding's table as the rows that were used: the bits of the dense one, without its memory."""
import copy
import pickle

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, ops, optim
from fastconv.array import empty
from fastconv.row_gradient import RowGradient

torch = pytest.importorskip("torch")

OPTIMISERS = {
    "sgd": lambda p: optim.SGD(p, 0.5),
    "sgd decay": lambda p: optim.SGD(p, 0.5, weight_decay=1e-2),
    "momentum": lambda p: optim.SGD(p, 0.5, momentum=0.9),
    "nesterov": lambda p: optim.SGD(p, 0.5, momentum=0.9, weight_decay=1e-2, nesterov=True),
    "adam": lambda p: optim.Adam(p, 0.1),
    "adam decay": lambda p: optim.Adam(p, 0.1, weight_decay=1e-2),
    "adamw": lambda p: optim.AdamW(p, 0.1),
}


class Tied(nn.Module):
    """One table for the words that come in, in two embeddings, and the words that go out."""

    def __init__(self, device, tied):
        self.first, self.second = nn.Embedding(23, 6, device=device), nn.Embedding(23, 6, device=device)
        self.out = nn.Linear(6, 23, device=device)
        if tied:
            self.second.weight = self.out.weight = self.first.weight

    def forward(self, ids):
        return self.out(ops.tanh(self.first(ids) + self.second(ids[::-1])))


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("tied", [False, True])
def test_training_has_the_bits_of_the_dense_gradient(device, rng, name, tied):
    batches = [(rng.integers(0, 9, 12), rng.integers(0, 23, 12)) for _ in range(4)]

    def parameters(dense, passes=2):
        fc.manual_seed(0)
        model = Tied(device, tied)
        optimiser, norms = OPTIMISERS[name](model.parameters()), []
        for _ in range(3):
            optimiser.zero_grad()
            for ids, labels in batches[:passes]:
                ops.cross_entropy(model(ids), labels).backward()
                if dense:
                    assert all(p.grad.shape == p.shape for p in model.parameters())
            assert isinstance(model.first.weight._grad, RowGradient) == (not dense and not tied)
            norms.append(optim.clip_grad_norm(model.parameters(), 0.7).numpy())
            optimiser.step()
        return [*norms, *(p.numpy() for p in model.parameters())]

    for dense, rows in zip(parameters(True), parameters(False), strict=True):
        np.testing.assert_array_equal(rows, dense, strict=True)


def backward(weight, ids, factor=1.0):
    y = ops.embedding(ids, weight)
    (y * y * factor).sum().backward()


def test_reading_the_gradient_makes_it_whole(device, rng):
    weight = fc.Tensor(rng.integers(-3, 4, (50, 4)).astype(np.float32), device=device, requires_grad=True)
    ids = np.array([[7, 3, 7], [0, 49, 7]])
    backward(weight, ids)
    assert isinstance(weight._grad, RowGradient)
    backward(weight, [3, 5], 2.0)                                       # rows and rows
    assert isinstance(weight._grad, RowGradient)
    expected = np.zeros((50, 4), np.float32)
    np.add.at(expected, ids, 2 * weight.numpy()[ids])
    np.add.at(expected, [3, 5], 4 * weight.numpy()[[3, 5]])
    for taken in (copy.deepcopy(weight), pickle.loads(pickle.dumps(weight))):
        assert isinstance(taken._grad, RowGradient)
        np.testing.assert_array_equal(taken.grad.numpy(), expected)
    np.testing.assert_array_equal(weight.grad.numpy(), expected)
    assert weight.grad is weight.grad
    weight.grad.data[1] = 9.0                                           # what was handed out is the gradient itself
    expected[1] = 9
    backward(weight, [1, 2])                                            # whole and rows
    expected[1:3] += 2 * weight.numpy()[1:3]
    np.testing.assert_array_equal(weight.grad.numpy(), expected)
    (weight * 3.0).sum().backward()
    np.testing.assert_array_equal(weight.grad.numpy(), expected + 3)


def test_what_is_not_a_leaf_gets_a_whole_gradient(device, rng):
    weight = fc.Tensor(rng.normal(size=(9, 3)), device=device, requires_grad=True)
    backward(weight * 2.0, [4, 4, 1])
    assert isinstance(weight._grad, fc.Tensor)
    (g,) = fc.autograd.grad(ops.embedding([4, 1], weight).sum(), weight)
    assert g.shape == (9, 3) and g.numpy().sum() == 6


def test_second_order_through_rows(device, rng):
    weight = fc.Tensor(rng.normal(size=(9, 3)), device=device, requires_grad=True)
    backward(weight, [1])
    y = ops.embedding([4, 4, 1], weight)
    (y * y * y).sum().backward(create_graph=True)                       # adds to the rows of a plain pass
    (gg,) = fc.autograd.grad(weight.grad.sum(), weight)
    expected = np.zeros((9, 3))
    expected[4], expected[1] = 12 * weight.numpy()[4], 6 * weight.numpy()[1]
    np.testing.assert_allclose(gg.numpy(), expected)


def test_no_words_at_all(device):
    layer = nn.Embedding(5, 3, device=device)
    before = layer.weight.numpy()
    for make in OPTIMISERS.values():
        optimiser = make([layer.weight])
        layer(np.zeros((0, 2), np.int64)).sum().backward()
        assert optim.clip_grad_norm(layer.parameters(), 1.0).item() == 0
        optimiser.step()
        optimiser.zero_grad()
    assert np.isfinite(layer.weight.numpy()).all()
    optim.SGD([layer.weight], 1.0).step()
    assert before.shape == layer.weight.shape


def test_anomalies_in_rows_are_found(device):
    weight = fc.Tensor(np.ones((3, 2), np.float32), device=device, requires_grad=True)
    y = ops.embedding([1, 1], weight)
    with fc.autograd.detect_anomaly(), pytest.raises(FloatingPointError, match="take_rows"):
        y.backward(np.full((2, 2), 3e38, np.float32))               # finite, but not their sum


@pytest.mark.parametrize("make", [OPTIMISERS["sgd"], OPTIMISERS["adam"]], ids=["sgd", "adam"])
def test_memory_of_a_large_table(fast_device, rng, make):
    rows, width = 1_000_000, 16
    table = nn.Embedding(rows, width, device=fast_device).weight
    optimiser, ids = make([table]), rng.integers(0, rows, 640)

    def step():
        optimiser.zero_grad()
        backward(table, ids)
        optim.clip_grad_norm([table], 1.0)
        optimiser.step()

    step()                      # makes the optimiser's state
    stats = fast_device.memory_stats()
    ballast = empty((stats["peak"] - stats["allocated"],), "uint8", fast_device)     # from here every byte shows in the peak
    before = fast_device.memory_stats()["peak"]
    step()
    assert fast_device.memory_stats()["peak"] - before < rows * width * 4 / 20
    assert ballast.size >= 0


@pytest.mark.parametrize("padding", [0, 2, -1])
def test_padding_idx(device, rng, padding):
    theirs = torch.nn.Embedding(6, 4, padding_idx=padding)
    layer = nn.Embedding(6, 4, padding_idx=padding, device=device)
    assert not layer.weight.numpy()[padding].any() and layer.weight.numpy().any(axis=1).sum() == 5
    assert layer.padding_idx == theirs.padding_idx and f"padding_idx={padding % 6}" in repr(layer)
    layer.load_state_dict({"weight": theirs.weight.detach().numpy() + 1})
    theirs.weight.data += 1
    ids, g = rng.integers(0, 6, (5, 7)), rng.normal(size=(5, 7, 4)).astype(np.float32)
    y, yt = layer(ids), theirs(torch.tensor(ids))
    np.testing.assert_array_equal(y.numpy(), yt.detach().numpy())
    y.backward(g)
    yt.backward(torch.tensor(g))
    np.testing.assert_allclose(layer.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-5, atol=1e-5)


def test_padding_idx_to_second_order(rng):
    weight = fc.Tensor(rng.normal(size=(4, 2)), device="reference", requires_grad=True)

    def cubes(w):
        y = ops.embedding([3, 0, 1, 1], w, padding_idx=1)
        return y * y * y
    zero = fc.autograd.grad(cubes(weight).sum(), weight)[0].numpy()
    assert not zero[1:3].any() and zero[0].any() and zero[3].any()
    (g,) = fc.autograd.grad(cubes(weight).sum(), weight, create_graph=True)
    (gg,) = fc.autograd.grad(g.sum(), weight)
    np.testing.assert_allclose(gg.numpy()[[0, 3]], 6 * weight.numpy()[[0, 3]])
    assert not gg.numpy()[1:3].any()


@pytest.mark.parametrize("padding", [4, -5])
def test_padding_idx_out_of_range(padding):
    with pytest.raises(ValueError, match=f"padding_idx {padding} for 4 rows"):
        nn.Embedding(4, 2, padding_idx=padding)
    with pytest.raises(ValueError, match=f"padding_idx {padding} for 4 rows"):
        ops.embedding([1], fc.Tensor(np.ones((4, 2)), requires_grad=True), padding)


def test_put_is_the_inverse_of_take(fast_device, rng):
    for dtype in ("float32", "float64", "int64", "uint8"):
        for flip in (False, True):
            results = []
            for d in (fast_device, fc.reference()):
                out = fc.array(np.zeros((6, 5), dtype), device=d)
                x = fc.array(np.arange(15).reshape(3, 5).astype(dtype), device=d)
                index = fc.array(np.array([4, 9, 0, 9, 5]), device=d)[::2]
                target = out.flip(1) if flip else out
                d.put(target, x, index)
                results.append(out.numpy())
            np.testing.assert_array_equal(*results, strict=True)
            assert results[0][[4, 0, 5]].any(axis=1).all() and not results[0][1:4].any()
