"""Losses with all their options against torch.nn, and the fused kernels of softmax and cross-entropy."""
import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, ops

torch = pytest.importorskip("torch")


def close(got, want, dtype):
    rtol, atol = (2e-5, 2e-6) if dtype == "float32" else (1e-10, 1e-12)
    np.testing.assert_allclose(got.numpy(), want.detach().numpy(), rtol=rtol, atol=atol)


def compare(device, dtype, mine, theirs, inputs, *fixed):
    """Value, gradients, and the gradient of their sum of squares, of the same loss here and in torch."""
    if device.kind == "opencl" and dtype == "float64" and not device.implementation.runtime.has_double:
        pytest.skip("no float64")
    ours = [fc.Tensor(x.astype(dtype), device=device, requires_grad=True) for x in inputs]
    others = [torch.tensor(x.astype(dtype), requires_grad=True) for x in inputs]
    y, yt = mine(*ours, *fixed), theirs(*others, *(torch.tensor(f) for f in fixed))
    assert y.shape == tuple(yt.shape)
    close(y, yt, dtype)
    g = np.random.default_rng(1).uniform(0.5, 1.5, y.shape).astype(dtype)
    y.backward(g, retain_graph=True)                                                # the fused rules
    first = fc.autograd.grad(y, ours, fc.Tensor(g, device=device), create_graph=True)
    expected = torch.autograd.grad(yt, others, torch.tensor(g), create_graph=True)
    for t, recorded, want in zip(ours, first, expected):
        close(t.grad, want, dtype)
        close(recorded, want, dtype)
    if any(e.requires_grad for e in expected):
        wanted = torch.autograd.grad(sum((a * a).sum() for a in expected), others, allow_unused=True)
        total = sum((a * a).sum() for a in first)
        second = fc.autograd.grad(total, ours) if total.requires_grad else [None] * len(ours)
        for got, want, x in zip(second, wanted, others):
            zeros = torch.zeros_like(x)                                             # a linear loss has none
            close(zeros if got is None else got, zeros if want is None or want._is_zerotensor() else want, dtype)


@pytest.mark.parametrize("seed", range(24))
def test_cross_entropy_and_nll(device, seed):
    rng = np.random.default_rng(seed)
    classes, dtype = int(rng.integers(2, 70)), ["float32", "float64"][seed % 2]
    shape = [(int(rng.integers(1, 20)), classes), (2, classes, 3), (2, classes, 3, 2)][rng.integers(3)]
    labels = rng.integers(0, classes, (shape[0], *shape[2:]))
    ignored = int(rng.choice([-100, 1, classes + 4]))
    labels[rng.random(labels.shape) < 0.3 * (seed % 3)] = ignored
    labels.flat[0] = 0                                                              # one counts at least
    weight = rng.uniform(0.2, 2, classes).astype(dtype) if rng.random() < 0.5 else None
    keywords = {"ignore_index": ignored, "reduction": ["mean", "sum", "none"][rng.integers(3)]}
    smoothing = {"label_smoothing": float(rng.choice([0, 0, 0.1, 1]))}
    x = 3 * rng.normal(size=shape)
    given = fc.array(labels, device=device) if seed % 4 else labels
    for ours, theirs, options in ((nn.CrossEntropyLoss, torch.nn.CrossEntropyLoss, {**keywords, **smoothing}),
                                  (nn.NLLLoss, torch.nn.NLLLoss, keywords)):
        mine = ours(weight if weight is None or seed % 5 else fc.Tensor(weight, device=device), **options)
        twin = theirs(None if weight is None else torch.tensor(weight), **options)
        compare(device, dtype, lambda t, m=mine: m(t, given), lambda t, m=twin: m(t, torch.tensor(labels)), [x])


NUMBERS = [("MSELoss", {}), ("L1Loss", {}), ("HuberLoss", {"delta": 0.7}), ("HuberLoss", {"delta": 3.0}), ("SmoothL1Loss", {}),
           ("SmoothL1Loss", {"beta": 0.3}), ("SmoothL1Loss", {"beta": 0.0})]


@pytest.mark.parametrize("name, keywords", NUMBERS, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_of_numbers(device, rng, name, keywords, reduction, dtype):
    mine = getattr(nn, name)(reduction=reduction, **keywords)
    twin = getattr(torch.nn, name)(reduction=reduction, **keywords)
    assert reduction in repr(mine)
    compare(device, dtype, mine, twin, [rng.normal(size=(4, 3, 5)), rng.normal(size=(4, 3, 5))])


@pytest.mark.parametrize("options", ["", "weight", "pos_weight", "both"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("scale", [1, 30])
def test_bce_with_logits(device, rng, options, reduction, scale):
    weights = {"weight": rng.uniform(0.2, 2, (6, 1)), "pos_weight": rng.uniform(0.2, 2, 5)}
    chosen = {k: v.astype("float32") for k, v in weights.items() if options in (k, "both")}
    mine = nn.BCEWithLogitsLoss(reduction=reduction, **{k: fc.array(v, device=device) for k, v in chosen.items()})
    twin = torch.nn.BCEWithLogitsLoss(reduction=reduction, **{k: torch.tensor(v) for k, v in chosen.items()})
    target = fc.array(rng.random((6, 5)).astype("f"), device=device)
    compare(device, "float32", lambda x: mine(x, target), lambda x: twin(x, torch.tensor(target.numpy())),
            [scale * rng.normal(size=(6, 5))])


def test_all_labels_ignored(device):
    x = fc.Tensor(np.ones((3, 4), np.float32), device=device, requires_grad=True)
    assert np.isnan(ops.cross_entropy(x, [-100] * 3).item())
    total = ops.cross_entropy(x, [-100] * 3, reduction="sum")
    total.backward()
    assert total.item() == 0 and not x.grad.numpy().any()


def test_an_ignored_row_may_hold_anything(device):
    x = np.ones((3, 4), np.float32)
    x[1] = [np.nan, np.inf, -np.inf, 0]
    x = fc.Tensor(x, device=device, requires_grad=True)
    loss = ops.cross_entropy(x, [2, -1, 0], ignore_index=-1)
    loss.backward()
    assert abs(loss.item() - np.log(4)) < 1e-6
    np.testing.assert_allclose(x.grad.numpy(), (np.array([[.25, .25, -.75, .25], [0] * 4, [-.75, .25, .25, .25]]) / 2), rtol=1e-6)


@pytest.mark.parametrize("call, shown", [
    (lambda x: ops.cross_entropy(x, [0, 1, 5]), "labels from 0 to 5 for 4 classes"),
    (lambda x: ops.cross_entropy(x, [0, 1, -2]), "labels from -2 to 1"),
    (lambda x: ops.cross_entropy(x, [0, -1, 5], ignore_index=-1), "labels from 0 to 5"),
    (lambda x: ops.cross_entropy(x, [0, 1, 2], np.ones(3)), r"weight of shape \(3,\) for 4 classes"),
    (lambda x: ops.cross_entropy(x, [0, 1, 2], reduction="average"), "'average': use one of mean, sum, none"),
    (lambda x: ops.cross_entropy(x, [0, 1, 2], label_smoothing=1.5), "label_smoothing 1.5"),
    (lambda x: ops.nll_loss(x, [[0, 1, 2]]), r"labels of shape \(1, 3\)"),
    (lambda x: nn.MSELoss("average"), "MSELoss: reduction 'average'"),
    (lambda x: ops.l1_loss(x, x[:2]), r"prediction \(3, 4\), target \(2, 4\)"),
    (lambda x: ops.huber_loss(x, x, delta=0), "delta 0 is not positive"),
    (lambda x: ops.smooth_l1_loss(x, x, beta=-1), "beta -1 is negative"),
    (lambda x: ops.bce_with_logits(x, x[:2]), r"logits \(3, 4\), target \(2, 4\)"),
])
def test_bad_calls_show_what_is_wrong(call, shown):
    with pytest.raises(ValueError, match=shown):
        call(fc.Tensor(np.zeros((3, 4), np.float32)))


# --- the kernels

SHAPES = [(1, 1), (5, 3), (17, 31), (40, 32), (3, 33), (2, 1000), (70, 300), (2, 10000)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [1, 1e4])
@pytest.mark.parametrize("view", ["plain", "every second", "reversed", "transposed"])
def test_kernels_against_the_reference(fast_device, rng, shape, scale, view):
    """float32 on any strides, against the reference in float64."""
    def place(x, device):
        if view == "every second":
            return fc.array(np.repeat(np.repeat(x, 2, 0), 2, 1), device=device)[::2, ::2]
        if view == "reversed":
            return fc.array(x[:, ::-1].copy(), device=device).flip(1)
        return fc.array(x.T.copy(), device=device).transpose() if view == "transposed" else fc.array(x, device=device)

    rows, n = shape
    x, g = (scale * rng.normal(size=shape)).astype("f"), rng.normal(size=shape).astype("f")
    labels = rng.integers(-1, n, rows)
    results = []
    for device, dtype in ((fast_device, "float32"), (fc.reference(), "float64")):
        def fresh(*size, d=device, t=dtype):
            return fc.array(np.full(size, np.nan, t), device=d)
        xa, ga = place(x.astype(dtype), device), place(g.astype(dtype), device)
        given = fc.array(np.repeat(labels, 2), device=device)[::2]
        per_row = [fresh(2 * rows)[::2] for _ in range(3)]
        device.cross_entropy(*per_row, xa, given)
        found = [*per_row]
        d = place(np.full(shape, np.nan, dtype), device)
        device.cross_entropy_grad(d, ga[:, 0], xa, *per_row[1:], given)
        found.append(d)
        for log in (False, True):
            y, d = place(np.full(shape, np.nan, dtype), device), place(np.full(shape, np.nan, dtype), device)
            device.softmax(y, xa, log)
            device.softmax_grad(d, ga, y, log)
            found += [y, d]
        results.append([a.numpy() for a in found])
    for k, (got, want) in enumerate(zip(*results)):
        # The gradient of log_softmax takes exp of a float32, whose rounding grows with it.
        rtol, atol = (1e-4, 3e-6 * max(1, scale / 10)) if k == 7 else (3e-6, 3e-6)
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=str(k))


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (-1, 1), None])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_over_axes(device, rng, axis, name):
    x = rng.normal(size=(3, 4, 5)).astype("f")
    e = np.exp(x.astype("d"))
    expected = e / e.sum(axis=axis, keepdims=True)
    got = getattr(ops, name)(fc.Tensor(x, device=device), axis)
    assert got.shape == x.shape
    np.testing.assert_allclose(got.numpy(), expected if name == "softmax" else np.log(expected), rtol=1e-5, atol=1e-6)


def test_softplus_keeps_its_digits(device):
    x = np.array([-200, -88, -30, -17, -1e-3, 0, 1e-3, 17, 88, 200, np.inf, -np.inf, np.nan], np.float32)
    got = fc.ops.softplus(fc.Tensor(x, device=device)).numpy()
    with np.errstate(all="ignore"):
        expected = np.logaddexp(0, x.astype("d")).astype("f")
    np.testing.assert_allclose(got, expected, rtol=4e-7, atol=1e-44)
