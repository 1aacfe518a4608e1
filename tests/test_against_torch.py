"""Values and gradients against PyTorch: convolutions by hypothesis, layers, losses, optimisers, elementwise ops.

FASTCONV_EXAMPLES=20 draws 20 times as many random examples, new ones at every run.
"""
import inspect
import math
import os
from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("hypothesis")

import hypothesis.extra.numpy as hnp  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import fastconv as fc  # noqa: E402

torch.set_num_threads(1)

# torch pads "same" with an even kernel by a copy, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

EXAMPLES = float(os.environ.get("FASTCONV_EXAMPLES") or 1)
# name -> whether small integers come out bit for bit
ALGORITHMS = {"auto": True, **{a["name"]: a["exact"] for a in fc.ops.conv_algorithms((1, 1, 1, 1), (1, 1, 1, 1))}}
LAYOUTS = {1: ("NLC", "NCL"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}


def examples(count):
    """Settings for `count` examples: the same ones at every run, unless FASTCONV_EXAMPLES asks for more."""
    return settings(max_examples=max(1, round(count * EXAMPLES)), deadline=None, derandomize=EXAMPLES == 1,
                    database=None, print_blob=True,
                    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow,
                                           HealthCheck.data_too_large])


def need(device, dtype):
    """Skip where the device has no float64."""
    if dtype == "float64":
        try:
            fc.array([1.0], "float64", device) + 1
        except NotImplementedError as error:
            pytest.skip(str(error))


def assert_close(actual, expected, dtype, length=1, what=""):
    """Equal within rounding of a sum of `length` terms; `expected` was computed in float64.

    rtol is 1.3e-6 * sqrt(length) in float32. atol is 1e-5 for values around 1 and grows with their
    root mean square, because a sum that cancels is only as exact as its terms are large.
    """
    if not isinstance(actual, np.ndarray):
        actual = actual.numpy()
    expected = np.asarray(expected, np.float64)
    assert actual.dtype == dtype and actual.shape == expected.shape, (what, actual.dtype, actual.shape, expected.shape)
    finite = expected[np.isfinite(expected)]
    scale = max(1.0, math.sqrt((finite ** 2).mean())) if finite.size else 1.0
    rtol, atol = (1.3e-6, 1e-5) if dtype == "float32" else (1e-12, 1e-11)
    np.testing.assert_allclose(actual.astype(np.float64), expected, rtol * math.sqrt(length), atol * scale,
                               err_msg=what)


@pytest.fixture(autouse=True, scope="module")
def _direct_sums():
    """"auto" has to be exact on integers here; test_winograd.py checks what it picks otherwise."""
    fc.set_conv_precision("exact")
    yield
    fc.set_conv_precision("fast")


# --- non-contiguous inputs -------------------------------------------------------------------

VIEWS = ("contiguous", "permuted", "flipped", "sliced", "broadcast")


def prepare(values, how, rng):
    """`values` as they must be for the view `how`: a broadcast axis repeats its first slice."""
    if how == "broadcast":
        axis = int(rng.integers(values.ndim))
        values = np.broadcast_to(values.take([0], axis), values.shape).copy()
    return values


def as_view(values, how, device, rng):
    """An Array that holds `values` with the strides that `how` says."""
    if how == "permuted":
        order = tuple(int(a) for a in rng.permutation(values.ndim))
        x = fc.array(values.transpose(order), device=device).permute(tuple(int(a) for a in np.argsort(order)))
    elif how == "flipped":
        axes = tuple(a for a in range(values.ndim) if rng.integers(2)) or tuple(range(values.ndim))
        x = fc.array(np.flip(values, axes), device=device).flip(axes)
    elif how == "sliced":
        shape = tuple(2 * n + 3 for n in values.shape)
        x = fc.array(np.full(shape, np.nan, values.dtype), device=device)
        x = x[tuple(slice(1, 2 * n, 2) for n in values.shape)]
        x[...] = values
    elif how == "broadcast":
        repeated = [a for a in range(values.ndim)
                    if values.size and (values == values.take([0], a)).all() and values.shape[a] > 1]
        x = fc.array(values, device=device)
        for a in repeated:
            x = x[(slice(None),) * a + (slice(0, 1),)]
        x = x.broadcast_to(values.shape)
    else:
        x = fc.array(values, device=device)
    np.testing.assert_array_equal(x.numpy(), values)
    return x


# --- convolution -----------------------------------------------------------------------------

@dataclass
class Conv:
    """One convolution, in torch's shapes (NC..., OI...)."""

    batch: int
    size: tuple
    c_in: int
    c_out: int
    kernel: tuple
    stride: tuple
    padding: object
    dilation: tuple
    groups: int
    bias: bool
    layout: str
    views: tuple          # how x, w and the output gradient lie in memory
    seed: int
    output_padding: tuple = ()

    @property
    def dims(self):
        return len(self.size)

    def pads(self):
        """((before, after), ...)."""
        if self.padding in ("same", "valid"):
            dilation = self.dilation if isinstance(self.dilation, tuple) else (self.dilation,) * self.dims
            total = [d * (k - 1) if self.padding == "same" else 0 for k, d in zip(self.kernel, dilation)]
            return [(t // 2, t - t // 2) for t in total]
        entries = self.padding if isinstance(self.padding, tuple) else (self.padding,) * self.dims
        return [e if isinstance(e, tuple) else (e, e) for e in entries]


def one_or_all(draw, values):
    """A tuple, or the int when all entries are equal and a coin says so."""
    return values[0] if len(set(values)) == 1 and draw(st.booleans()) else values


@st.composite
def convolutions(draw, dims, transposed=False):
    small = dims == 3
    pick = lambda low, high: tuple(draw(st.lists(st.integers(low, high), min_size=dims, max_size=dims)))  # noqa: E731
    kernel = pick(1, 3 if small else 5)
    dilation = pick(1, 3)
    stride = pick(1, 3 if small else 4)
    padding = draw(st.sampled_from(("int", "each", "pairs", "same", "valid")))
    if padding == "int":
        padding = draw(st.integers(0, 4))
    elif padding == "each":
        padding = pick(0, 4)
    elif padding == "pairs":
        padding = tuple(zip(pick(0, 4), pick(0, 4)))
    elif padding == "same" and draw(st.booleans()):
        stride = (1,) * dims
    elif padding == "same":
        padding = "valid"
    groups = draw(st.sampled_from((1, 1, 1, 2, 3, 5)))
    channels = st.sampled_from((1, 2, 3, 4, 7) if small or groups > 1 else (1, 2, 3, 5, 8, 17, 33))
    depthwise = groups > 1 and draw(st.booleans())
    c_in, c_out = 1 if depthwise else draw(channels), draw(st.integers(1, 2)) if depthwise else draw(channels)
    case = Conv(draw(st.integers(1, 3)), (), c_in * groups, c_out * groups, kernel, one_or_all(draw, stride), padding,
                one_or_all(draw, dilation), groups, draw(st.booleans()), draw(st.sampled_from(LAYOUTS[dims])),
                tuple(draw(st.sampled_from(VIEWS)) for _ in range(3)), draw(st.integers(0, 2 ** 31)))
    case.size = (0,) * dims
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    extra = pick(0, 4 if small else 9)
    if transposed:
        # (n - 1) * s - lo - hi + reach >= 1
        least = [max(1, -((lo + hi + 1 - r) // -s) + 1) for s, (lo, hi), r in zip(stride, case.pads(), reach)]
        case.output_padding = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation))
    else:
        least = [max(1, r - lo - hi) for (lo, hi), r in zip(case.pads(), reach)]
    case.size = tuple(n + e for n, e in zip(least, extra))
    return case


def torch_conv(case, x, w, b):
    name = f"conv{case.dims}d"
    if case.padding in ("same", "valid"):
        return getattr(F, name)(x, w, b, case.stride, case.padding, case.dilation, case.groups)
    flat = [n for pair in reversed(case.pads()) for n in pair]
    return getattr(F, name)(F.pad(x, flat), w, b, case.stride, 0, case.dilation, case.groups)


def torch_conv_transpose(case, x, w, b):
    y = getattr(F, f"conv_transpose{case.dims}d")(x, w, None, case.stride, 0, case.output_padding, case.groups,
                                                  case.dilation)
    for axis, (lo, hi) in enumerate(case.pads(), start=2):
        y = y.narrow(axis, lo, y.shape[axis] - lo - hi)
    return y if b is None else y + b.reshape(-1, *(1,) * case.dims)


def channels_last(values, case):
    return np.moveaxis(values, 1, -1) if case.layout.endswith("C") else values


def weights_last(values, case):
    """OI... to ...IO for the channels-last layouts."""
    return np.moveaxis(values, (0, 1), (-1, -2)) if case.layout.endswith("C") else values


def check_conv(case, device, dtype, integers, transposed=False):
    """Forward and gradients of x, w and bias for every algorithm; bit for bit when the values are small integers."""
    rng = np.random.default_rng(case.seed)
    draw = (lambda shape: rng.integers(-3, 4, shape).astype(dtype)) if integers else \
        (lambda shape: rng.standard_normal(shape).astype(dtype))
    first, second = (case.c_in, case.c_out) if transposed else (case.c_out, case.c_in)
    x = prepare(draw((case.batch, case.c_in, *case.size)), case.views[0], rng)
    w = prepare(draw((first, second // case.groups, *case.kernel)), case.views[1], rng)
    b = draw((case.c_out,)) if case.bias else None

    tx, tw, tb = (None if a is None else torch.tensor(a.astype(np.float64), requires_grad=True) for a in (x, w, b))
    ty = (torch_conv_transpose if transposed else torch_conv)(case, tx, tw, tb)
    g = prepare(draw(tuple(ty.shape)), case.views[2], rng)
    ty.backward(torch.tensor(g.astype(np.float64)))
    expected = [channels_last(ty.detach().numpy(), case), channels_last(tx.grad.numpy(), case),
                weights_last(tw.grad.numpy(), case)] + ([tb.grad.numpy()] if b is not None else [])
    norms = [np.linalg.norm(a) * np.linalg.norm(b) for a, b in ((x, w), (g, w), (x, g))]
    taps, pixels = math.prod(case.kernel), math.prod(ty.shape[2:])
    lengths = [taps * case.c_in // case.groups, taps * case.c_out // case.groups, case.batch * pixels,
               case.batch * pixels]

    values = channels_last(x, case), weights_last(w, case), channels_last(g, case)
    views = [as_view(v, how, device, rng) for v, how in zip(values, case.views)]
    xt, wt = (fc.Tensor(v, requires_grad=True) for v in views[:2])
    bt = None if b is None else fc.Tensor(b, device=device, requires_grad=True)
    function = getattr(fc.ops, f"conv_transpose{case.dims}d" if transposed else f"conv{case.dims}d")
    more = {"output_padding": case.output_padding} if transposed else {}
    for algorithm, exact in ALGORITHMS.items():
        y = function(xt, wt, bt, stride=case.stride, padding=case.padding, dilation=case.dilation,
                     groups=case.groups, layout=case.layout, algorithm=algorithm, **more)
        grads = fc.autograd.grad(y, [t for t in (xt, wt, bt) if t is not None], fc.Tensor(views[2]))
        for what, got, want, length, norm in zip(("y", "dx", "dw", "db"), (y, *grads), expected, lengths, norms + [0]):
            if not exact and norm:
                # Transforms spread their rounding errors: they are small beside the norms, not beside each value.
                assert got.dtype == dtype and got.shape == want.shape
                np.testing.assert_allclose(got.numpy(), want, 0, 8 * np.finfo(dtype).eps * norm,
                                           err_msg=f"{what} of {algorithm}")
            elif integers:
                assert got.dtype == dtype
                np.testing.assert_array_equal(got.numpy(), want.astype(dtype), f"{what} of {algorithm}")
            else:
                assert_close(got, want, dtype, length, f"{what} of {algorithm}")
    for view, before in zip(views, values):
        np.testing.assert_array_equal(view.numpy(), before, "an input was changed")


@given(case=convolutions(2), dtype=st.sampled_from(("float32", "float64")))
@examples(30)
def test_conv2d(device, case, dtype):
    need(device, dtype)
    check_conv(case, device, dtype, integers=False)


@given(case=convolutions(2))
@examples(30)
def test_conv2d_is_exact_on_integers(device, case):
    check_conv(case, device, "float32", integers=True)


@pytest.mark.parametrize("dims", [1, 3])
@given(data=st.data(), dtype=st.sampled_from(("float32", "float64")), integers=st.booleans())
@examples(15)
def test_conv1d_and_conv3d(device, dims, data, dtype, integers):
    need(device, dtype)
    check_conv(data.draw(convolutions(dims)), device, dtype, integers)


@pytest.mark.parametrize("dims", [1, 2, 3])
@given(data=st.data(), dtype=st.sampled_from(("float32", "float64")), integers=st.booleans())
@examples(15)
def test_conv_transpose(device, dims, data, dtype, integers):
    need(device, dtype)
    check_conv(data.draw(convolutions(dims, transposed=True)), device, dtype, integers, transposed=True)


# (size, c_in, c_out, kernel, stride, padding, dilation, groups): what networks hold, and corners of the geometry.
NAMED_CONVS = {
    "resnet9-stem": ((32, 32), 3, 16, (7, 7), (4, 4), (3, 3), (1, 1), 1),
    "3x3-same": ((9, 11), 16, 32, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "3x3-stride-2-even": ((8, 8), 8, 16, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    "3x3-stride-2-odd": ((9, 7), 8, 16, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    "1x1": ((5, 5), 48, 20, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "1x1-stride-2": ((7, 6), 8, 8, (1, 1), (2, 2), (0, 0), (1, 1), 1),
    "depthwise": ((8, 8), 24, 24, (3, 3), (1, 1), (1, 1), (1, 1), 24),
    "depthwise-multiplier": ((8, 8), 6, 18, (3, 3), (2, 1), (1, 1), (1, 1), 6),
    "grouped": ((6, 7), 24, 36, (3, 3), (1, 2), (1, 0), (1, 1), 3),
    "stride-over-kernel": ((11, 12), 3, 4, (2, 2), (5, 4), (0, 1), (1, 1), 1),
    "stride-over-image": ((3, 3), 2, 3, (1, 1), (7, 9), (0, 0), (1, 1), 1),
    "dilation-over-stride": ((13, 12), 3, 4, (3, 2), (2, 3), (2, 3), (3, 6), 1),
    "kernel-is-image": ((6, 5), 3, 4, (6, 5), (1, 1), (0, 0), (1, 1), 1),
    "mostly-padding": ((1, 2), 3, 4, (2, 2), (2, 3), (4, 4), (4, 3), 1),
    "padding-over-kernel": ((3, 3), 2, 2, (1, 1), (1, 2), (3, 2), (1, 1), 1),
    "long-reduction": ((6, 6), 200, 9, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "one-row": ((1, 40), 4, 4, (1, 9), (1, 1), (0, 4), (1, 1), 1),
}


@pytest.mark.parametrize("name", NAMED_CONVS)
@pytest.mark.parametrize("integers", [False, True], ids=["random", "integers"])
def test_named_convolutions(device, name, integers):
    size, c_in, c_out, kernel, stride, padding, dilation, groups = NAMED_CONVS[name]
    for layout in LAYOUTS[2]:
        check_conv(Conv(2, size, c_in, c_out, kernel, stride, padding, dilation, groups, True, layout,
                        ("contiguous",) * 3, 0), device, "float32", integers)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("layout", LAYOUTS[2])
def test_conv_of_an_empty_batch(device, algorithm, layout):
    x = fc.init.zeros(*((0, 5, 5, 2) if layout == "NHWC" else (0, 2, 5, 5)), device=device, requires_grad=True)
    w = fc.init.ones(*((3, 3, 2, 4) if layout == "NHWC" else (4, 2, 3, 3)), device=device, requires_grad=True)
    b = fc.init.ones(4, device=device, requires_grad=True)
    y = fc.ops.conv2d(x, w, b, layout=layout, algorithm=algorithm)
    assert y.shape == ((0, 3, 3, 4) if layout == "NHWC" else (0, 4, 3, 3))
    y.sum().backward()
    assert x.grad.shape == x.shape
    np.testing.assert_array_equal(w.grad.numpy(), 0)
    np.testing.assert_array_equal(b.grad.numpy(), 0)


@pytest.mark.parametrize("algorithm", [name for name, exact in ALGORITHMS.items() if exact])
@given(data=st.data())
@examples(5)
def test_conv_second_order(algorithm, data):
    """Float64 on the reference device: the gradients' gradients by central differences."""
    dims = data.draw(st.sampled_from((1, 2)))
    stride, dilation = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    kernel, groups = data.draw(st.integers(1, 3)), data.draw(st.sampled_from((1, 2)))
    padding = tuple(data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in range(dims))
    layout = data.draw(st.sampled_from(LAYOUTS[dims]))
    size = max(1, dilation * (kernel - 1) + 1) + data.draw(st.integers(0, 1))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 2, *(size,) * dims))
    w = rng.standard_normal((2, 2 // groups, *(kernel,) * dims))
    if layout.endswith("C"):
        x, w = np.moveaxis(x, 1, -1), np.moveaxis(w, (0, 1), (-1, -2))
    inputs = [fc.Tensor(a, device="reference", requires_grad=True) for a in (x, w, rng.standard_normal(2))]
    function = getattr(fc.ops, f"conv{dims}d")

    def conv(x, w, b):
        return function(x, w, b, stride, padding, dilation, groups, layout, algorithm)

    assert fc.autograd.gradcheck(conv, inputs)
    assert fc.autograd.gradgradcheck(conv, inputs)


def test_conv_transpose_second_order():
    rng = np.random.default_rng(0)
    inputs = [fc.Tensor(rng.standard_normal(s), device="reference", requires_grad=True)
              for s in ((1, 4, 2, 2), (4, 1, 2, 3), (2,))]

    def up(x, w, b):
        return fc.ops.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1, groups=2, layout="NCHW")

    assert fc.autograd.gradcheck(up, inputs)
    assert fc.autograd.gradgradcheck(up, inputs)


def test_double_backward_equals_torch(device):
    """A gradient penalty: the gradient of a squared input gradient with respect to the weights."""
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((2, 3, 7, 6)).astype("f"), rng.standard_normal((4, 3, 3, 2)).astype("f")
    tx, tw = (torch.tensor(a.astype("d"), requires_grad=True) for a in (x, w))
    ty = F.conv2d(tx, tw, stride=2, padding=1).tanh()
    (tg,) = torch.autograd.grad(ty.sum(), tx, create_graph=True)
    (tg ** 2).sum().backward()
    fx, fw = (fc.Tensor(a, device=device, requires_grad=True) for a in (x, w))
    y = fc.ops.conv2d(fx, fw, stride=2, padding=1, layout="NCHW").tanh()
    (g,) = fc.autograd.grad(y.sum(), fx, create_graph=True)
    (g * g).sum().backward()
    assert_close(fx.grad, tx.grad.numpy(), "float32", 24)
    assert_close(fw.grad, tw.grad.numpy(), "float32", 24 * 12)


# --- layers ----------------------------------------------------------------------------------

LAYERS = {
    "Linear": (lambda nn: nn.Linear(7, 5), (4, 7)),
    "Linear-no-bias": (lambda nn: nn.Linear(7, 5, bias=False), (4, 7)),
    "Linear-3d": (lambda nn: nn.Linear(7, 5), (2, 3, 7)),
    "Linear-1d": (lambda nn: nn.Linear(7, 5), (7,)),
    "Conv1d": (lambda nn: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 9)),
    "Conv2d": (lambda nn: nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (2, 3, 9, 8)),
    "Conv2d-same": (lambda nn: nn.Conv2d(3, 4, 4, padding="same", bias=False), (2, 3, 6, 7)),
    "Conv2d-depthwise": (lambda nn: nn.Conv2d(6, 12, 3, padding=1, groups=6), (2, 6, 5, 5)),
    "Conv3d": (lambda nn: nn.Conv3d(2, 3, (1, 2, 3), padding=(0, 1, 1)), (2, 2, 4, 5, 4)),
    "ConvTranspose1d": (lambda nn: nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1, groups=2), (2, 4, 5)),
    "ConvTranspose2d": (lambda nn: nn.ConvTranspose2d(3, 4, (3, 2), 2, padding=1, output_padding=1), (2, 3, 4, 5)),
    "ConvTranspose2d-dilated": (lambda nn: nn.ConvTranspose2d(3, 4, 3, 2, 1, 0, 1, False, 2), (2, 3, 4, 5)),
    "ConvTranspose3d": (lambda nn: nn.ConvTranspose3d(2, 3, 2, stride=(1, 2, 2)), (2, 2, 3, 3, 2)),
    "LayerNorm": (lambda nn: nn.LayerNorm(9), (4, 3, 9)),
    "LayerNorm-2-axes": (lambda nn: nn.LayerNorm((3, 9), eps=1e-3), (4, 3, 9)),
    "LayerNorm-plain": (lambda nn: nn.LayerNorm(9, elementwise_affine=False), (4, 9)),
    "LayerNorm-no-bias": (lambda nn: nn.LayerNorm(9, bias=False), (4, 9)),
    "GroupNorm": (lambda nn: nn.GroupNorm(2, 6), (3, 6, 4, 5)),
    "GroupNorm-instance": (lambda nn: nn.GroupNorm(6, 6, affine=False), (3, 6, 4)),
    "GroupNorm-2d": (lambda nn: nn.GroupNorm(3, 24), (4, 24)),
    "ReLU": (lambda nn: nn.ReLU(), (5, 7)),
    "Tanh": (lambda nn: nn.Tanh(), (5, 7)),
    "Sigmoid": (lambda nn: nn.Sigmoid(), (5, 7)),
    "SiLU": (lambda nn: nn.SiLU(), (5, 7)),
    "GELU": (lambda nn: nn.GELU(), (5, 7)),
    "GELU-tanh": (lambda nn: nn.GELU(approximate="tanh"), (5, 7)),
    "Flatten": (lambda nn: nn.Flatten(), (3, 4, 2, 5)),
    "BatchNorm1d-eval": (lambda nn: nn.BatchNorm1d(6).eval(), (5, 6)),
    "BatchNorm2d-eval": (lambda nn: nn.BatchNorm2d(6).eval(), (3, 6, 4, 2)),
    "Sequential": (lambda nn: nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
                                            nn.Linear(128, 4)), (4, 3, 8, 8)),
}


def randomise(module, rng):
    """Weights and buffers that no bug maps to themselves."""
    with torch.no_grad():
        for name, t in module.state_dict().items():
            if t.is_floating_point():
                low = 0.5 if name.endswith("running_var") else -1.0
                t.copy_(torch.tensor(rng.uniform(low, 1.5, tuple(t.shape))))


def pair(make, device, dtype, seed=0):
    """The same layer in torch (float64) and here, with the same weights."""
    theirs = make(torch.nn).double()
    randomise(theirs, np.random.default_rng(seed))
    state = {name: t.numpy() for name, t in theirs.state_dict().items()}
    mine = make(_On(device, dtype))
    assert list(mine.state_dict()) == list(state) or set(mine.state_dict()) == set(state)
    assert {n: a.shape for n, a in mine.state_dict().items()} == {n: a.shape for n, a in state.items()}
    mine.load_state_dict(state)
    # What float32 made of the weights is what torch gets to see.
    theirs.load_state_dict({n: torch.tensor(a.numpy()) for n, a in mine.state_dict().items()})
    return theirs, mine


class _On:
    """fastconv.nn whose layers are made on one device with one dtype."""

    def __init__(self, device, dtype):
        self.device, self.dtype = device, dtype

    def __getattr__(self, name):
        cls = getattr(fc.nn, name)
        if not hasattr(cls, "__init__") or "device" not in inspect.signature(cls).parameters:
            return cls
        return lambda *args, **kwargs: cls(*args, device=self.device, dtype=self.dtype, **kwargs)


def compare_step(theirs, mine, x, device, dtype, rng, length):
    """One forward and backward of both; then values and every gradient."""
    tx, fx = torch.tensor(x.astype("d"), requires_grad=True), fc.Tensor(x, device=device, requires_grad=True)
    ty, fy = theirs(tx), mine(fx)
    g = rng.standard_normal(tuple(ty.shape)).astype(dtype)
    theirs.zero_grad(set_to_none=True)
    mine.zero_grad()
    ty.backward(torch.tensor(g.astype("d")))
    fy.backward(fc.Tensor(g, device=device))
    assert_close(fy, ty.detach().numpy(), dtype, length, "y")
    assert_close(fx.grad, tx.grad.numpy(), dtype, length, "dx")
    grads = dict(theirs.named_parameters())
    for name, p in mine.named_parameters():
        assert_close(p.grad, grads.pop(name).grad.numpy(), dtype, length, name)
    assert not grads


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers(device, name, dtype):
    need(device, dtype)
    make, shape = LAYERS[name]
    theirs, mine = pair(make, device, dtype)
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape).astype(dtype)
    compare_step(theirs, mine, x, device, dtype, rng, length=100)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kwargs", [{}, {"momentum": 0.4, "eps": 1e-2}, {"momentum": None}, {"affine": False},
                                    {"track_running_stats": False}],
                         ids=["default", "momentum", "cumulative", "plain", "untracked"])
@pytest.mark.parametrize("kind, shape", [("BatchNorm1d", (6, 5)), ("BatchNorm1d", (4, 5, 7)),
                                         ("BatchNorm2d", (3, 5, 4, 2)), ("BatchNorm3d", (2, 5, 2, 3, 2))])
def test_batch_norm_over_steps(device, kind, shape, kwargs, dtype):
    need(device, dtype)
    theirs, mine = pair(lambda nn: getattr(nn, kind)(shape[1], **kwargs), device, dtype)
    rng = np.random.default_rng(2)
    for step in range(6):
        if step in (4, 5):
            theirs.train(step == 5), mine.train(step == 5)
        x = (rng.standard_normal(shape) * (1 + step) + step).astype(dtype)
        compare_step(theirs, mine, x, device, dtype, rng, length=50)
        for name, t in theirs.state_dict().items():
            got = mine.state_dict()[name].numpy()
            if t.is_floating_point():
                assert_close(got, t.numpy(), dtype, 50, name)
            else:
                assert got == t.numpy()


@given(data=st.data(), kind=st.sampled_from(("MaxPool", "AvgPool", "AdaptiveAvgPool")),
       dims=st.sampled_from((1, 2, 2, 3)), dtype=st.sampled_from(("float32", "float64")), seed=st.integers(0, 999))
@examples(40)
def test_pooling(device, data, kind, dims, dtype, seed):
    """Windows that overlap, leave gaps, hang over the edge; ties in max go to the first."""
    need(device, dtype)
    pick = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(dims))  # noqa: E731
    if kind == "AdaptiveAvgPool":
        args, kwargs, size = (pick(1, 5),), {}, pick(1, 9)
    else:
        kernel = pick(1, 4)
        padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
        kwargs = {"stride": data.draw(st.none() | st.just(pick(1, 3))), "padding": padding,
                  "ceil_mode": data.draw(st.booleans())}
        dilation = (1,) * dims
        if kind == "MaxPool":
            kwargs["dilation"] = dilation = pick(1, 2)
        else:
            kwargs["count_include_pad"] = data.draw(st.booleans())
        args = (kernel,)
        # avg_pool3d of torch wants the kernel no larger than the image without its padding; and its max_pool
        # writes out of bounds when a dilated window holds only padding, so no image is smaller than the dilation.
        size = tuple(max(d, d * (k - 1) + 1 - (2 * p if dims < 3 else 0)) + e
                     for k, p, d, e in zip(kernel, padding, dilation, pick(0, 5 if dims < 3 else 2)))
    rng = np.random.default_rng(seed)
    x = rng.integers(-4, 5, (2, data.draw(st.sampled_from((1, 3, 16))), *size)).astype(dtype)
    compare(device, dtype, getattr(fc.nn, f"{kind}{dims}d")(*args, **kwargs),
            getattr(torch.nn, f"{kind}{dims}d")(*args, **kwargs), [x], rng, length=64)


def test_max_pool_windows_that_hold_only_padding(device):
    x = fc.init.ones(2, 3, 1, 1, device=device, requires_grad=True)
    y = fc.ops.max_pool2d(x, (1, 2), padding=(0, 1), dilation=2)
    np.testing.assert_array_equal(y.numpy(), -np.inf)
    y.backward(fc.init.ones(*y.shape, device=device))
    np.testing.assert_array_equal(x.grad.numpy(), 0)


def test_batch_norm_keeps_a_large_mean(device):
    """The variance is that of centred values: float32 with a mean of 1000 loses nothing but its last digits."""
    x = (np.random.default_rng(0).standard_normal((64, 3, 4, 4)) + 1000).astype("f")
    mine, theirs = fc.nn.BatchNorm2d(3, device=device), torch.nn.BatchNorm2d(3).double()
    want = theirs(torch.tensor(x.astype("d"))).detach().numpy()
    np.testing.assert_allclose(mine(fc.Tensor(x, device=device)).numpy(), want, atol=1e-3)
    assert_close(mine.running_var, theirs.running_var.numpy(), "float32", 1024)


def test_norms_second_order():
    rng = np.random.default_rng(0)

    def draw(*shapes):
        return [fc.Tensor(rng.standard_normal(s), device="reference", requires_grad=True) for s in shapes]

    inputs = draw((3, 2, 2), (2,), (2,))
    assert fc.autograd.gradgradcheck(lambda x, w, b: fc.ops.batch_norm(x, None, None, w, b, training=True), inputs)
    assert fc.autograd.gradgradcheck(lambda x, w, b: fc.ops.layer_norm(x, (2,), w, b), inputs)
    inputs = draw((2, 4, 2), (4,), (4,))
    assert fc.autograd.gradgradcheck(lambda x, w, b: fc.ops.group_norm(x, 2, w, b), inputs)


def test_resnet9_like_training(device):
    """Five steps of a small residual network under AdamW: losses follow torch's."""
    def make(nn, residual):
        block = lambda i, o, s: nn.Sequential(nn.Conv2d(i, o, 3, s, 1), nn.BatchNorm2d(o), nn.ReLU())  # noqa: E731
        return nn.Sequential(block(3, 8, 2), residual(nn.Sequential(block(8, 8, 1), block(8, 8, 1))), block(8, 12, 2),
                             nn.Flatten(), nn.Linear(12 * 9, 10))

    class Residual(torch.nn.Module):
        def __init__(self, fn):
            super().__init__()
            self.fn = fn

        def forward(self, x):
            return self.fn(x) + x

    torch.manual_seed(0)
    theirs = make(torch.nn, Residual)
    mine = make(_On(device, "float32"), fc.nn.Residual)
    mine.load_state_dict({n: t.numpy() for n, t in theirs.state_dict().items()})
    steps = torch.optim.AdamW(theirs.parameters(), 1e-2), fc.optim.AdamW(mine.parameters(), 1e-2)
    rng = np.random.default_rng(3)
    for _ in range(5):
        x, labels = rng.standard_normal((16, 3, 12, 12)).astype("f"), rng.integers(0, 10, 16)
        their_loss = F.cross_entropy(theirs(torch.tensor(x)), torch.tensor(labels))
        my_loss = fc.ops.cross_entropy(mine(fc.Tensor(x, device=device)), labels)
        np.testing.assert_allclose(my_loss.item(), their_loss.item(), rtol=1e-4)
        for optimizer, loss in zip(steps, (their_loss, my_loss)):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
def test_dropout_statistics(device, p):
    layer = fc.nn.Dropout(p, rng=np.random.default_rng(0))
    x = fc.init.ones(200, 100, device=device, requires_grad=True)
    y = layer(x)
    values = y.numpy()
    assert set(np.unique(values)) <= {np.float32(0), np.float32(1 / (1 - p) if p < 1 else 0)}
    assert abs((values == 0).mean() - p) < 4 * math.sqrt(p * (1 - p) / values.size) + 1e-12
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), values)
    np.testing.assert_array_equal(layer.eval()(x).numpy(), x.numpy())
    again = fc.nn.Dropout(p, rng=np.random.default_rng(0))(x)
    np.testing.assert_array_equal(again.numpy(), values)


@pytest.mark.parametrize("name", [n for n in LAYERS if len(LAYERS[n][1]) > 1])
def test_layers_of_an_empty_batch(device, name):
    make, shape = LAYERS[name]
    layer = make(_On(device, "float32")).eval()
    x = fc.init.zeros(0, *shape[1:], device=device, requires_grad=True)
    y = layer(x)
    assert y.shape == tuple(make(torch.nn).eval()(torch.zeros(0, *shape[1:])).shape)
    y.sum().backward()
    assert x.grad.shape == x.shape
    for p in layer.parameters():
        np.testing.assert_array_equal(p.grad.numpy(), 0)


def test_conditions_that_are_numbers(device):
    x = fc.Tensor([1.0, 2.0], device=device, requires_grad=True)
    (fc.ops.where(True, x, 0.0) * 3 + fc.ops.where(False, x, 5.0)).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 3)
    np.testing.assert_array_equal(fc.ops.logical_and(True, x > 1).numpy(), [False, True])
    np.testing.assert_array_equal(fc.ops.logical_or(False, x > 1).numpy(), [False, True])


# --- losses and softmax ----------------------------------------------------------------------

@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1, 100, 1e4])
@pytest.mark.parametrize("shape", [(1, 1), (4, 1), (5, 10), (64, 33)])
def test_cross_entropy(device, dtype, scale, shape):
    need(device, dtype)
    rng = np.random.default_rng(0)
    x, labels = (rng.standard_normal(shape) * scale).astype(dtype), rng.integers(0, shape[1], shape[0])
    tx = torch.tensor(x.astype("d"), requires_grad=True)
    want = F.cross_entropy(tx, torch.tensor(labels))
    want.backward()
    for kind in ("int64", "int32", "uint8", list, fc.array):
        given_labels = labels.tolist() if kind is list else fc.array(labels, device=device) if kind is fc.array else \
            labels.astype(kind)
        fx = fc.Tensor(x, device=device, requires_grad=True)
        loss = fc.nn.CrossEntropyLoss()(fx, given_labels)
        loss.backward()
        assert loss.shape == ()
        assert_close(loss, want.item(), dtype, shape[0])
        assert_close(fx.grad, tx.grad.numpy(), dtype, shape[1])


def test_mse_loss(device):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((5, 7)).astype("f") for _ in range(2))
    ta, tb = (torch.tensor(v.astype("d"), requires_grad=True) for v in (a, b))
    fa, fb = (fc.Tensor(v, device=device, requires_grad=True) for v in (a, b))
    want, got = F.mse_loss(ta, tb), fc.nn.MSELoss()(fa, fb)
    want.backward(), got.backward()
    assert_close(got, want.item(), "float32", 35)
    assert_close(fa.grad, ta.grad.numpy(), "float32")
    assert_close(fb.grad, tb.grad.numpy(), "float32")


SOFT = {"softmax": torch.softmax, "log_softmax": torch.log_softmax,
        "logsumexp": lambda x, axis: torch.logsumexp(x, axis)}


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("scale", [1, 1000])
def test_softmax_family(device, name, axis, scale):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((3, 5, 7)) * scale).astype("f")
    tx, fx = torch.tensor(x.astype("d"), requires_grad=True), fc.Tensor(x, device=device, requires_grad=True)
    ty, fy = SOFT[name](tx, axis), getattr(fc.ops, name)(fx, axis)
    g = rng.standard_normal(tuple(ty.shape)).astype("f")
    ty.backward(torch.tensor(g.astype("d")))
    fy.backward(fc.Tensor(g, device=device))
    assert_close(fy, ty.detach().numpy(), "float32", 7)
    assert_close(fx.grad, tx.grad.numpy(), "float32", 7)


def test_softmax_family_with_infinities(device):
    inf = math.inf
    x = np.array([[0, -inf, 1], [-inf, -inf, 2], [-inf, -inf, -inf], [inf, 0, 1]], "f")
    arr = fc.array(x, device=device)
    np.testing.assert_allclose(fc.ops.logsumexp(arr, 1).numpy(), torch.logsumexp(torch.tensor(x), 1), rtol=1e-6)
    for name in ("softmax", "log_softmax"):
        np.testing.assert_allclose(getattr(fc.ops, name)(arr, 1).numpy(), SOFT[name](torch.tensor(x), 1), rtol=1e-6)
    tx, fx = torch.tensor(x[:2], requires_grad=True), fc.Tensor(x[:2], device=device, requires_grad=True)
    torch.logsumexp(tx, 1).sum().backward()
    fc.ops.logsumexp(fx, 1).sum().backward()
    np.testing.assert_allclose(fx.grad.numpy(), tx.grad.numpy(), rtol=1e-6)


# --- optimisers ------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": ("SGD", {"lr": 0.05}),
    "SGD-decay": ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    "SGD-momentum": ("SGD", {"lr": 0.01, "momentum": 0.9}),
    "SGD-momentum-decay": ("SGD", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.05}),
    "SGD-nesterov": ("SGD", {"lr": 0.01, "momentum": 0.8, "weight_decay": 0.05, "nesterov": True}),
    "Adam": ("Adam", {}),
    "Adam-decay": ("Adam", {"lr": 0.01, "weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-6}),
    "AdamW": ("AdamW", {}),
    "AdamW-decay": ("AdamW", {"lr": 0.02, "weight_decay": 0.3, "betas": (0.5, 0.9)}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_over_100_steps(device, name, dtype):
    """Parameters of several shapes and strides; one has no gradient at first, the rate halves, a state is reloaded."""
    need(device, dtype)
    cls, kwargs = OPTIMIZERS[name]
    rng = np.random.default_rng(0)
    shapes = [(3, 4), (5,), (), (2, 3, 2, 2)]
    values = [rng.standard_normal(s).astype(dtype) for s in shapes]
    theirs = [torch.nn.Parameter(torch.tensor(v)) for v in values]
    mine = [fc.nn.Parameter(as_view(v, "permuted" if v.ndim == 4 else "contiguous", device, rng)) for v in values]
    theirs_opt = getattr(torch.optim, cls)(theirs, **kwargs)
    my_opt = getattr(fc.optim, cls)(mine, **kwargs)
    for step in range(100):
        for i, (t, m) in enumerate(zip(theirs, mine)):
            g = rng.standard_normal(t.shape).astype(dtype)
            t.grad = None if i == 1 and step < 3 else torch.tensor(g)
            m.grad = None if i == 1 and step < 3 else fc.Tensor(g, device=device)
        if step == 50:
            my_opt.lr /= 2
            theirs_opt.param_groups[0]["lr"] /= 2
        if step == 60:
            state, my_opt = my_opt.state_dict(), getattr(fc.optim, cls)(mine, **{**kwargs, "lr": 99.0})
            my_opt.load_state_dict(state)
        theirs_opt.step(), my_opt.step()
    rtol, atol = (2e-5, 2e-6) if dtype == "float32" else (1e-10, 1e-12)
    for t, m in zip(theirs, mine):
        np.testing.assert_allclose(m.numpy(), t.detach().numpy(), rtol, atol)


def test_clip_grad_norm(device):
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(s).astype("f") for s in ((3, 4), (5,))]
    for max_norm in (0.5, 100.0):
        theirs = [torch.nn.Parameter(torch.zeros(v.shape)) for v in values]
        mine = [fc.nn.Parameter(np.zeros_like(v), device=device) for v in values]
        for t, m, v in zip(theirs, mine, values):
            t.grad, m.grad = torch.tensor(v), fc.Tensor(v, device=device)
        want = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
        got = fc.optim.clip_grad_norm(mine, max_norm)
        assert_close(got, want.item(), "float32", 17)
        for t, m in zip(theirs, mine):
            assert_close(m.grad, t.grad.numpy(), "float32", 17)


def test_clip_grad_norm_of_one_tensor():
    p = fc.Tensor([0.0, 0.0], requires_grad=True)
    p.grad = fc.Tensor([3.0, 4.0])
    assert fc.optim.clip_grad_norm(p, 1.0).item() == 5.0
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], 1e-5)


SCHEDULES = {
    "step": (lambda o: fc.optim.StepLR(o, 3, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5)),
    "cosine": (lambda o: fc.optim.CosineLR(o, 12, 0.01),
               lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12, 0.01)),
    "one-cycle": (lambda o: fc.optim.OneCycleLR(o, 0.7, 12),
                  lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.7, 12)),
    "one-cycle-late": (lambda o: fc.optim.OneCycleLR(o, 0.7, 12, pct_start=0.9, div_factor=3, final_div_factor=7),
                       lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.7, 12, pct_start=0.9, div_factor=3,
                                                                     final_div_factor=7)),
    "one-cycle-no-rise": (lambda o: fc.optim.OneCycleLR(o, 0.7, 12, pct_start=0.0),
                          lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.7, 12, pct_start=0.0)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rate_schedules(name):
    mine = fc.optim.SGD([fc.Tensor([1.0], requires_grad=True)], 0.2)
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 0.2)
    schedules = [make(o) for make, o in zip(SCHEDULES[name], (mine, theirs))]
    for _ in range(11):
        np.testing.assert_allclose(mine.lr, theirs.param_groups[0]["lr"], 1e-9)
        theirs.step()
        for s in schedules:
            s.step()
    resumed = SCHEDULES[name][0](fc.optim.SGD([fc.Tensor([1.0], requires_grad=True)], 0.9))
    resumed.load_state_dict(schedules[0].state_dict())
    assert resumed.optimizer.lr == mine.lr


def test_one_cycle_that_peaks_at_its_first_step():
    optimizer = fc.optim.SGD([fc.Tensor([1.0], requires_grad=True)], 0.2)
    fc.optim.OneCycleLR(optimizer, 0.7, 10, pct_start=0.1)
    assert optimizer.lr == 0.7


# --- elementwise, broadcasting, reductions ---------------------------------------------------

def anywhere(rng, shape):
    return rng.uniform(-3, 3, shape)


def positive(rng, shape):
    return rng.uniform(0.2, 3, shape)


def with_ties(rng, shape):
    return rng.integers(-2, 3, shape).astype(float)


UNARY = {
    "negative": (lambda x: -x, torch.neg, anywhere),
    "exp": (fc.ops.exp, torch.exp, anywhere),
    "log": (fc.ops.log, torch.log, positive),
    "sqrt": (fc.ops.sqrt, torch.sqrt, positive),
    "tanh": (fc.ops.tanh, torch.tanh, anywhere),
    "sigmoid": (fc.ops.sigmoid, torch.sigmoid, anywhere),
    "relu": (fc.ops.relu, torch.relu, with_ties),
    "abs": (fc.ops.abs, torch.abs, with_ties),
    "silu": (fc.ops.silu, F.silu, anywhere),
    "clip": (lambda x: fc.ops.clip(x, -1, 1.5), lambda x: torch.clamp(x, -1, 1.5), with_ties),
    "square": (lambda x: x ** 2, lambda x: x ** 2, anywhere),
    "cube": (lambda x: x ** 3, lambda x: x ** 3, anywhere),
    "power-0": (lambda x: x ** 0, lambda x: x ** 0, with_ties),
    "power-1": (lambda x: x ** 1, lambda x: x ** 1, with_ties),
    "power-half": (lambda x: x ** 0.5, lambda x: x ** 0.5, positive),
    "power-negative": (lambda x: x ** -1.5, lambda x: x ** -1.5, positive),
    "exponent": (lambda x: 2.0 ** x, lambda x: 2.0 ** x, anywhere),
    "reciprocal": (lambda x: 3 / x, lambda x: 3 / x, positive),
    "rsub": (lambda x: 1 - x, lambda x: 1 - x, anywhere),
}
BINARY = {
    "add": (lambda a, b: a + b, torch.add, anywhere),
    "subtract": (lambda a, b: a - b, torch.sub, anywhere),
    "multiply": (lambda a, b: a * b, torch.mul, anywhere),
    "divide": (lambda a, b: a / b, torch.div, positive),
    "power": (lambda a, b: a ** b, torch.pow, positive),
    "maximum": (fc.ops.maximum, torch.maximum, with_ties),
    "minimum": (fc.ops.minimum, torch.minimum, with_ties),
    "where": (lambda a, b: fc.ops.where(a > 0, a, b), lambda a, b: torch.where(a > 0, a, b), with_ties),
}


def compare(device, dtype, mine, theirs, inputs, rng, length=1):
    """mine and theirs of the same inputs: value and all gradients."""
    ts = [torch.tensor(v.astype("d"), requires_grad=True) for v in inputs]
    views = [as_view(prepare(v, "contiguous", rng), VIEWS[int(rng.integers(4))], device, rng) for v in inputs]
    fs = [fc.Tensor(v, requires_grad=True) for v in views]
    ty, fy = theirs(*ts), mine(*fs)
    g = rng.standard_normal(tuple(ty.shape)).astype(dtype)
    ty.backward(torch.tensor(g.astype("d")))
    fy.backward(fc.Tensor(g, device=device))
    assert_close(fy, ty.detach().numpy(), dtype, length, "value")
    for i, (t, f, v) in enumerate(zip(ts, fs, inputs)):
        assert_close(f.grad, t.grad.numpy(), dtype, max(length, g.size / max(v.size, 1)), f"gradient {i}")
        np.testing.assert_array_equal(f.numpy(), v, "an input was changed")


@given(name=st.sampled_from(sorted(UNARY)), shape=hnp.array_shapes(min_dims=0, max_dims=4, max_side=6),
       dtype=st.sampled_from(("float32", "float64")), seed=st.integers(0, 999))
@examples(60)
def test_unary(device, name, shape, dtype, seed):
    need(device, dtype)
    mine, theirs, draw = UNARY[name]
    rng = np.random.default_rng(seed)
    # A few digits more than one rounding: exp, pow and the like are good to some ulp.
    compare(device, dtype, mine, theirs, [draw(rng, shape).astype(dtype)], rng, length=10)


@pytest.mark.parametrize("name", BINARY)
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=5),
       dtype=st.sampled_from(("float32", "float64")), seed=st.integers(0, 999))
@examples(15)
def test_binary(device, name, shapes, dtype, seed):
    need(device, dtype)
    mine, theirs, draw = BINARY[name]
    rng = np.random.default_rng(seed)
    compare(device, dtype, mine, theirs, [draw(rng, s).astype(dtype) for s in shapes.input_shapes], rng, length=10)


REDUCTIONS = {
    "sum": (fc.ops.sum, torch.sum, anywhere),
    "mean": (fc.ops.mean, torch.mean, anywhere),
    "max": (fc.ops.max, torch.amax, with_ties),
    "min": (fc.ops.min, torch.amin, with_ties),
    "var": (fc.ops.var, lambda x, axis, keepdim: torch.var(x, axis, correction=0, keepdim=keepdim), anywhere),
    "logsumexp": (fc.ops.logsumexp, torch.logsumexp, anywhere),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@given(data=st.data(), dtype=st.sampled_from(("float32", "float64")), keepdims=st.booleans(), seed=st.integers(0, 999))
@examples(20)
def test_reductions(device, name, data, dtype, keepdims, seed):
    need(device, dtype)
    mine, theirs, draw = REDUCTIONS[name]
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=7))
    axis = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1).map(tuple) | st.none() |
                     st.integers(-len(shape), len(shape) - 1))
    their_axis = tuple(range(len(shape))) if axis is None else axis
    rng = np.random.default_rng(seed)
    compare(device, dtype, lambda x: mine(x, axis, keepdims), lambda x: theirs(x, their_axis, keepdim=keepdims),
            [draw(rng, shape).astype(dtype)], rng, length=math.prod(shape))


MATMULS = [((3, 4), (4, 5)), ((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
           ((2, 1, 3, 4), (6, 4, 5)), ((4,), (2, 4, 5)), ((2, 3, 4), (4,)), ((1, 1), (1, 1)), ((37, 65), (65, 33)),
           ((1, 3, 4), (7, 4, 2)), ((3, 4), (2, 4, 5))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shapes", MATMULS, ids=str)
def test_matmul(device, shapes, dtype):
    need(device, dtype)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        compare(device, dtype, lambda a, b: a @ b, torch.matmul, [rng.standard_normal(s).astype(dtype) for s in shapes],
                rng, length=70)


SHAPING = {
    "permute": (lambda x: x.permute(2, 0, 1), lambda x: x.permute(2, 0, 1)),
    "reshape": (lambda x: x.reshape(-1, 4), lambda x: x.reshape(-1, 4)),
    "flip": (lambda x: x.flip((0, 2)), lambda x: x.flip((0, 2))),
    "broadcast": (lambda x: x.unsqueeze(1).broadcast_to(2, 3, 3, 4), lambda x: x.unsqueeze(1).expand(2, 3, 3, 4)),
    "getitem": (lambda x: x[1, ..., None, 1:], lambda x: x[1, ..., None, 1:]),
    "getitem-step": (lambda x: x[:, ::2, ::-2], lambda x: x[:, ::2].flip(2)[..., ::2]),
    "pad": (lambda x: x.pad(((0, 0), (1, 2), (3, 0)), 5.0), lambda x: F.pad(x, (3, 0, 1, 2), value=5.0)),
    "concatenate": (lambda x: fc.ops.concatenate([x, x * 2, x[:, :1]], 1),
                    lambda x: torch.cat([x, x * 2, x[:, :1]], 1)),
    "stack": (lambda x: fc.ops.stack([x, x * x], -1), lambda x: torch.stack([x, x * x], -1)),
    "split": (lambda x: fc.ops.split(x, 2, (1, 3))[1] * 3, lambda x: x.split((1, 3), 2)[1] * 3),
    "unstack": (lambda x: fc.ops.split(x, 1)[2] + fc.ops.split(x, 1)[0], lambda x: x[:, 2] + x[:, 0]),
    "squeeze": (lambda x: x[:1].squeeze(0), lambda x: x[:1].squeeze(0)),
    "transpose": (lambda x: x.transpose(0, -1), lambda x: x.transpose(0, -1)),
    "shared": (lambda x: x * x.T.T + x.sum() * x[0, 0, 0], lambda x: x * x + x.sum() * x[0, 0, 0]),
}


@pytest.mark.parametrize("name", SHAPING)
def test_shaping(device, name):
    mine, theirs = SHAPING[name]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        compare(device, "float32", mine, theirs, [rng.standard_normal((2, 3, 4)).astype("f")], rng, length=24)


def test_gradients_keep_the_dtype_of_their_tensor(device):
    """Mixed float32 and float64 promote forward; each gradient comes back in its own tensor's dtype."""
    need(device, "float64")
    for mine, theirs in ((lambda a, b: a * b, torch.mul),
                         (lambda a, b: fc.ops.concatenate([a, b]), lambda a, b: torch.cat([a, b])),
                         (lambda a, b: fc.ops.stack([a, b]), lambda a, b: torch.stack([a, b])),
                         (lambda a, b: fc.ops.where(a > 0, a, b), lambda a, b: torch.where(a > 0, a, b)),
                         (fc.ops.maximum, torch.maximum)):
        a = fc.Tensor(np.array([1, -2, 3], "f"), device=device, requires_grad=True)
        b = fc.Tensor(np.array([2, 0.5, 1], "d"), device=device, requires_grad=True)
        ta, tb = (torch.tensor(t.numpy(), requires_grad=True) for t in (a, b))
        y = mine(a, b)
        assert y.dtype == "float64"
        (y * y).sum().backward()
        (theirs(ta, tb) ** 2).sum().backward()
        assert_close(a.grad, ta.grad.numpy(), "float32")
        assert_close(b.grad, tb.grad.numpy(), "float64")


def test_power_with_a_numpy_exponent(device):
    for exponent in (np.float32(2), np.float64(2), np.int64(2)):
        x = fc.Tensor([1.0, -3.0], device=device, requires_grad=True)
        (x ** exponent).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), np.array([2, -6], "f"))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_parameter_groups(device, name, rng):
    """Groups with a rate and a decay of their own, under a schedule, as torch has them."""
    values = [rng.normal(size=(3, 4)).astype(np.float32) for _ in range(3)]
    mine = [fc.Tensor(v, device=device, requires_grad=True) for v in values]
    theirs = [torch.tensor(v, requires_grad=True) for v in values]

    def groups(p):
        return [{"params": p[:2], "lr": 0.02, "weight_decay": 0.1}, {"params": [p[2]]}]

    a = getattr(fc.optim, name)(groups(mine), lr=0.1)
    b = getattr(torch.optim, name)(groups(theirs), lr=0.1)
    schedule, other = fc.optim.StepLR(a, 3, 0.5), torch.optim.lr_scheduler.StepLR(b, 3, 0.5)
    for _ in range(8):
        for x, y in zip(mine, theirs):
            g = rng.normal(size=(3, 4)).astype(np.float32)
            x.grad, y.grad = fc.Tensor(g, device=device), torch.tensor(g)
        a.step()
        b.step()
        schedule.step()
        other.step()
    for x, y in zip(mine, theirs):
        assert_close(x, y.detach().numpy(), "float32", 64)
    with pytest.raises(ValueError, match="group 0 sets momentum"):
        fc.optim.SGD([{"params": mine, "momentum": 0.9}], lr=0.1)
    with pytest.raises(ValueError, match="lr of group 0=nan"):
        fc.optim.SGD([{"params": mine, "lr": math.nan}], lr=0.1)
