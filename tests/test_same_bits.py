"""float32 on the CPU and on OpenCL: the same bits, so that a training run takes the same course on both.

A product that is rounded once on one device and twice on the other is enough for losses that are
percents apart after fifty steps; both sides therefore need FMA. Reductions have no order in common:
their sums of float32 carry the rounding errors of float64 along, so that none shows even where nearly
everything cancels (the gradient of a bias in front of a batch norm, say). Also: how exact float_math.h is.
"""
import math

import numpy as np
import pytest

import fastconv as fc
from fastconv import cl, nn, ops, optim

CPU = fc.cpu()


def why_not(implementation):
    """The reason why this OpenCL device cannot agree with the CPU to the last bit, or None."""
    import pyopencl
    config, have = pyopencl.device_fp_config, implementation.cl_device.single_fp_config
    if CPU.implementation.config()["isa"] == "baseline":
        return "the CPU's instruction set in use has no FMA"
    if not have & config.FMA:
        return f"{implementation.name} has no FMA in float32"
    if not have & config.DENORM:
        return f"{implementation.name} flushes float32 denormals to 0"
    if not have & config.CORRECTLY_ROUNDED_DIVIDE_SQRT:
        return f"{implementation.name} does not round float32 divisions correctly"
    if not implementation.cl_device.double_fp_config:
        return f"{implementation.name} has no float64, in which float32 is summed"
    return None


@pytest.fixture(params=cl.available() or [None], ids=lambda i: i.name.replace(" ", "-", 1) if i else "no-opencl")
def pair(request):
    """(cpu, an OpenCL device)"""
    reason = "no OpenCL device" if request.param is None else why_not(request.param)
    if reason:
        pytest.skip(reason)
    return CPU, fc.opencl(int(request.param.name.split(":")[1].split(" ")[0]))


def check(pair, compute):
    """compute(device), a list of Tensors, Arrays or NumPy arrays, gives the same bits on both devices."""
    results = [[getattr(x, "numpy", lambda x=x: x)() for x in compute(device)] for device in pair]
    for k, (expected, got) in enumerate(zip(*results, strict=True)):
        assert np.any(np.isfinite(expected) & (expected != 0)), f"result {k} says nothing"
        np.testing.assert_array_equal(got, expected, err_msg=f"result {k}", strict=True)


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def with_gradients(device, function, *inputs):
    """function's result, then the gradients of its inputs for a gradient that is not constant."""
    tensors = [fc.Tensor(x, device=device, requires_grad=True) for x in inputs]
    y = function(*tensors)
    y.backward(y.detach() * 0.5 + 1)
    return [y, *(t.grad for t in tensors)]


# --- kernels

RESNET9 = [(128, 3, 32, 16, 7, 4), (128, 16, 8, 32, 3, 2), (128, 32, 4, 32, 3, 1), (128, 32, 4, 64, 3, 2),
           (128, 64, 2, 128, 3, 2), (128, 128, 1, 128, 3, 1)]
# batch, channels, size, outs, kernel, stride, padding, dilation, groups
CONVOLUTIONS = [(n, c, (s, s), o, (k, k), stride, k // 2, 1, 1) for n, c, s, o, k, stride in RESNET9] + [
    (100, 5, (4, 4), 7, (3, 3), 1, 1, 1, 1),            # chunks that end inside a line
    (2, 8, (40, 39), 33, (3, 3), 1, 1, 1, 1),
    (3, 6, (33, 31), 9, (3, 2), (2, 3), (1, 0), 1, 1),
    (2, 4, (30, 30), 8, (3, 3), 1, 3, 3, 1),
    (9, 12, (14, 14), 24, (3, 3), 2, 1, 1, 4),
    (300, 6, (5, 3), 6, (3, 3), 1, 2, 2, 6),
    (1, 3, (90, 70), 4, (5, 5), 1, 2, 1, 1),
    (4, 3, (64, 1), 5, (3, 1), 1, (1, 0), 1, 1)]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_convolutions(pair, rng, case, layout):
    n, c, size, outs, kernel, stride, padding, dilation, groups = case
    x, w, b = normal(rng, n, *size, c), normal(rng, *kernel, c // groups, outs), normal(rng, outs)
    if layout == "NCHW":
        x, w = x.transpose(0, 3, 1, 2).copy(), w.transpose(3, 2, 0, 1).copy()
    check(pair, lambda device: with_gradients(
        device, lambda *t: ops.conv2d(*t, stride, padding, dilation, groups, layout, "implicit_gemm"), x, w, b))


@pytest.mark.parametrize("threads", [1, 3])
def test_the_weight_gradient_does_not_depend_on_threads(pair, rng, threads):
    cpu = pair[0]
    x, w = normal(rng, 64, 8, 8, 16), normal(rng, 3, 3, 16, 24)
    before = cpu.implementation.get_num_threads()
    cpu.implementation.set_num_threads(threads)
    try:
        check(pair, lambda device: with_gradients(device, lambda x, w: ops.conv2d(x, w, padding=1), x, w))
    finally:
        cpu.implementation.set_num_threads(before)


@pytest.mark.parametrize("shapes", [((128, 128), (128, 10)), ((7, 3000), (3000, 33)), ((5, 17, 40), (5, 40, 9)),
                                    ((1, 500), (500, 1))], ids=str)
def test_products(pair, rng, shapes):
    a, b = (normal(rng, *shape) for shape in shapes)
    check(pair, lambda device: with_gradients(device, ops.matmul, a, b))


def cancelling(rng, shape, axes):
    """Values of every size whose sum over `axes` is a tiny part of them: each has its opposite, nearly."""
    x = normal(rng, *shape) * np.exp2(rng.integers(-20, 20, shape)).astype(np.float32)
    rows = np.moveaxis(x, axes, range(len(axes)))
    kept = rows.shape[len(axes):]
    rows = rows.reshape(-1, *kept)
    half = len(rows) // 2
    rows[half:2 * half] = -rows[rng.permutation(half)]
    rows[2 * half:] = 0
    rows[rng.integers(0, len(rows), 3)] += 1e-3 * normal(rng, 3, *kept)
    return np.moveaxis(rows.reshape(*(shape[a] for a in axes), *kept), range(len(axes)), axes).copy()


def exact_sum(x, axes):
    """x over `axes` without any rounding but the last, in keepdims shape."""
    rows = np.moveaxis(x, axes, range(-len(axes), 0))
    kept = rows.shape[:-len(axes)]
    sums = [math.fsum(row) for row in rows.reshape(math.prod(kept), -1)]
    return np.expand_dims(np.float32(sums).reshape(kept), axes)


# shape, axes, and the view in which the device has the values
SUMS = [((70001,), (0,), "plain"), ((64, 6, 8, 8), (0, 2, 3), "plain"), ((64, 37, 8, 8), (0, 2, 3), "channels last"),
        ((32, 16, 9, 7), (0, 2, 3), "channels last"), ((300, 41), (0,), "plain"), ((300, 41), (1,), "plain"),
        ((3, 5000), (1,), "reversed"), ((5000, 3), (0,), "every second"), ((20, 30, 19), (1,), "plain"),
        ((20, 30, 19), (0, 2), "reversed"), ((40, 1000), (0, 1), "every second"), ((3000, 300), (0,), "plain"),
        ((3, 9000), (1,), "plain"), ((50, 40, 33), (0, 2), "plain"), ((7, 300, 5, 31), (1, 3), "plain"),
        ((900, 10), (1,), "plain")]


def place(x, view, device):
    """x as an array of `device` with other strides."""
    if view == "channels last":
        return fc.array(np.moveaxis(x, 1, -1).copy(), device=device).permute((0, 3, 1, 2))
    if view == "reversed":
        return fc.array(x[..., ::-1].copy(), device=device)[..., ::-1]
    if view == "every second":
        return fc.array(np.repeat(x, 2, axis=-1), device=device)[..., ::2]
    return fc.array(x, device=device)


@pytest.mark.parametrize("shape, axes, view", SUMS, ids=str)
def test_sums_that_cancel(pair, rng, shape, axes, view):
    x = cancelling(rng, shape, axes)
    exact = exact_sum(x, axes)
    assert np.median(np.abs(exact) / np.abs(x).sum(axis=axes, keepdims=True, dtype=np.float64)) < 1e-7

    def compute(device):
        a = place(x, view, device)
        return [a.sum(axis=axes, keepdims=True), a.mean(axis=axes, keepdims=True)]
    check(pair, compute)
    for device in pair:         # float64 loses what it has to, and no more
        slack = 1e-14 * np.abs(x).sum(axis=axes, keepdims=True, dtype=np.float64)
        assert np.all(np.abs(compute(device)[0].numpy() - exact) <= 1e-7 * np.abs(exact) + slack)


@pytest.mark.parametrize("values", [[np.inf, 1], [-np.inf, np.inf], [np.nan, 1], [-np.inf, -np.inf], [3e38, 3e38, -3e38]],
                         ids=str)
@pytest.mark.parametrize("axis", [0, 1])
def test_sums_of_what_is_not_finite(pair, rng, values, axis):
    x = normal(rng, 400, 400)
    for k, value in enumerate(values):
        x[37 * k + 5, 37 * k + 5] = x[5, 37 * k + 5] = x[37 * k + 5, 5] = value
    with np.errstate(all="ignore"):
        expected = x.sum(axis=axis, dtype=np.float64).astype(np.float32)
    check(pair, lambda device: [fc.array(x, device=device).sum(axis=axis)])
    for device in pair:
        np.testing.assert_allclose(fc.array(x, device=device).sum(axis=axis).numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(128, 32, 4, 4), (128, 16, 8, 8), (50, 7), (5, 24, 17, 13), (700, 19), (3, 1, 30, 31)],
                         ids=str)
@pytest.mark.parametrize("view", ["plain", "channels last", "reversed"])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
def test_batch_norm(pair, rng, shape, view, activation):
    x, w, b = normal(rng, *shape), normal(rng, shape[1]), normal(rng, shape[1])
    g = cancelling(rng, shape, tuple(d for d in range(len(shape)) if d != 1))

    def compute(device):
        x_, w_, b_ = (fc.Tensor(v, requires_grad=True) for v in (
            place(x, view, device) if len(shape) == 4 else fc.array(x, device=device), fc.array(w, device=device),
            fc.array(b, device=device)))
        running = [fc.array(v, device=device) for v in (w, b * b)]
        y = ops.batch_norm(x_, *running, w_, b_, training=True, activation=activation)
        y.backward(fc.array(g, device=device))
        return [y, x_.grad, w_.grad, b_.grad, *running]
    check(pair, compute)


def test_losses(pair, rng):
    for rows, classes in ((128, 10), (33, 1000), (20, 32), (7, 10000)):
        logits, labels = 5 * normal(rng, rows, classes), rng.integers(-1, classes, rows)
        for keywords in ({}, {"reduction": "none", "weight": rng.random(classes).astype("f")}, {"label_smoothing": 0.1}):
            check(pair, lambda device, k=keywords, x=logits, y=labels: with_gradients(
                device, lambda t: ops.cross_entropy(t, y, ignore_index=-1, **k), x))
        for axis in (0, 1):
            check(pair, lambda device, x=logits, a=axis: with_gradients(device, lambda t: ops.softmax(t, axis=a), x))
            check(pair, lambda device, x=logits, a=axis: with_gradients(device, lambda t: ops.log_softmax(t, axis=a), x))
    logits, labels = 5 * normal(rng, 128, 10), rng.integers(0, 10, 128)
    check(pair, lambda device: with_gradients(device, lambda x: ops.cross_entropy(x, labels), logits))
    check(pair, lambda device: with_gradients(device, lambda x: ops.softmax(x, axis=1), logits))
    check(pair, lambda device: with_gradients(device, lambda x: ops.log_softmax(x, axis=0), logits))


@pytest.mark.parametrize("layer, gates", [(nn.RNN, 1), (nn.LSTM, 4), (nn.GRU, 3)])
def test_recurrent_layers(pair, rng, layer, gates):
    x = normal(rng, 6, 20, 12)
    weights = {"weight_ih_l0": normal(rng, gates * 17, 12), "weight_hh_l0": normal(rng, gates * 17, 17),
               "bias_ih_l0": normal(rng, gates * 17), "bias_hh_l0": normal(rng, gates * 17)}

    def compute(device):
        layers = layer(12, 17, device=device)
        layers.load_state_dict(weights)
        return [*with_gradients(device, lambda x: layers(x)[0], x), *(p.grad for p in layers.parameters())]
    check(pair, compute)


# --- optimisers and training

OPTIMISERS = {
    "sgd": lambda p: optim.SGD(p, 0.05, weight_decay=1e-2),
    "momentum": lambda p: optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p, weight_decay=1e-3),
    "adamw": lambda p: optim.AdamW(p, weight_decay=1e-2),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers(pair, rng, name):
    start, grads = normal(rng, 37, 111), [normal(rng, 37, 111) for _ in range(6)]

    def compute(device):
        p = fc.Tensor(start, device=device, requires_grad=True)
        optimiser = OPTIMISERS[name]([p])
        for g in grads:
            p.grad = fc.Tensor(g, device=device)
            optimiser.step()
        return [p]
    check(pair, compute)


def test_five_training_steps(pair, rng):
    x, labels = normal(rng, 32, 3, 16, 16), rng.integers(0, 10, 32)

    def compute(device):
        fc.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, device=device), nn.BatchNorm2d(16, device=device), nn.ReLU(),
                              nn.Conv2d(16, 32, 3, 2, 1, device=device), nn.BatchNorm2d(32, device=device), nn.Tanh(),
                              nn.Flatten(), nn.Linear(512, 10, device=device))
        optimiser, losses = optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-3), []
        for _ in range(5):
            loss = ops.cross_entropy(model(fc.Tensor(x, device=device)), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.numpy())
        assert losses[-1] < losses[0]
        return [*losses, *(p.detach() for p in model.parameters())]
    check(pair, compute)


# --- functions

def sigmoid(x):
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


FUNCTIONS = {"exp": np.exp, "log": np.log, "tanh": np.tanh, "sigmoid": sigmoid,
             "softplus": lambda x: np.logaddexp(0, x), "erf": np.vectorize(math.erf)}
EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 88.72283, 88.722855, -87.33655, -103.97208, -103.97209, 104.0,
         1e-45, -1e-45, 1.1754942e-38, 1.1754944e-38, 3.4e38, -3.4e38, 9.0, 10.0, 4.0, 0.92773444, 0.92773432]


def arguments(rng):
    """Every exponent, the ranges in which the functions bend, and the edges."""
    every = np.arange(0, 1 << 32, 20011, dtype=np.uint32).view(np.float32)
    bends = [rng.uniform(-r, r, 50000) for r in (0.5, 2, 10, 105)]
    return np.concatenate([every, np.concatenate([*bends, 1 + bends[0], EDGES]).astype(np.float32)])


@pytest.mark.parametrize("name", [*FUNCTIONS, "sqrt", "rsqrt", "reciprocal"])
def test_functions(pair, rng, name):
    x = arguments(rng)
    check(pair, lambda device: [fc.array(x, device=device).map(name)])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_accurate(fast_device, rng, name):
    if fast_device.kind == "opencl" and why_not(fast_device.implementation):
        pytest.skip(why_not(fast_device.implementation))
    x = arguments(rng)
    got = fc.array(x, device=fast_device).map(name).numpy()
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[name](x.astype(np.float64))
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(got[~finite], rounded[~finite])
    ulps = np.abs(got[finite].astype(np.float64) - exact[finite]) / np.spacing(np.abs(rounded[finite])).astype(np.float64)
    worst = ulps.argmax()
    assert ulps[worst] < 2.5, f"{name}({x[finite][worst]!r}) is {ulps[worst]:.2f} ulp off"
    if name in ("tanh", "erf"):
        np.testing.assert_array_equal(np.signbit(got[finite]), np.signbit(x[finite]))


@pytest.mark.parametrize("name, operands", [("lerp", 3), ("normalize", 5), ("tanh_grad", 2)])
def test_composite_functions(pair, rng, name, operands):
    values = [normal(rng, 40000) for _ in range(operands)]

    def compute(device):
        first, *others = (fc.array(v, device=device) for v in values)
        return [first.map(name, *others)]
    check(pair, compute)
