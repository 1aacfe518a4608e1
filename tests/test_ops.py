"""Every case of the table: values, gradients, layouts and exactness on every device; rules against differences."""
import itertools
import math

import numpy as np
import pytest

import fastconv as fc
from fastconv import autograd
from tests.cases import CASES

REFERENCE = fc.reference()
LAYOUTS = ("contiguous", "transposed", "offset", "negative", "broadcast")
case_ids = [c.name for c in CASES]


def as_layout(values, layout, device):
    """An Array of these values that lies in memory as `layout` says (broadcast repeats the first slice)."""
    ndim = values.ndim
    if layout == "transposed" and ndim > 1:
        return fc.array(values.T, device=device).permute(tuple(range(ndim))[::-1])
    if layout == "offset" and ndim:
        padded = np.pad(values, [(1, 2)] * ndim)
        return fc.array(padded, device=device)[tuple(slice(1, 1 + n) for n in values.shape)]
    if layout == "negative":
        return fc.array(np.flip(values).copy(), device=device).flip()
    if layout == "broadcast" and ndim:
        return fc.array(values[:1], device=device).broadcast_to(values.shape)
    return fc.array(values, device=device)


def draw(case, rng, layout="contiguous", exact=False):
    """NumPy inputs of a case, float32 where floating."""
    values = [i.draw_integers(rng) if exact else i.draw(rng) for i in case.inputs]
    values = [v.astype(np.float32) if v.dtype.kind == "f" else v for v in values]
    if layout == "broadcast":
        values = [np.broadcast_to(v[:1], v.shape) if v.ndim else v for v in values]
    return values


def run(case, arrays, gradients=False):
    """Output values of a case and, when asked, the gradients of its inputs for fixed output weights."""
    tensors = [fc.Tensor(a, requires_grad=gradients and i.differentiable) for a, i in zip(arrays, case.inputs)]
    out = case.function(*tensors)
    if not gradients:
        return [out.numpy()]
    weights = np.random.default_rng(1).integers(1, 4, out.shape).astype(out.dtype)
    out.backward(fc.array(weights, device=out.device))
    return [out.numpy()] + [t.grad.numpy() for t in tensors if t.grad is not None]


def in_float64(values):
    return [fc.array(v.astype(np.float64) if v.dtype.kind == "f" else v, device=REFERENCE) for v in values]


def assert_close(case, got, expected):
    for g, e in zip(got, expected, strict=True):
        assert g.shape == e.shape
        assert g.any() or not e.any(), "an output of only zeros"
        rtol = 1.3e-6 * math.sqrt(case.length)
        scale = max(1.0, float(np.abs(e).max(initial=0))) if g.dtype.kind == "f" else 0
        np.testing.assert_allclose(g, e, rtol=rtol, atol=1e-5 * scale)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES, ids=case_ids)
def test_value_and_gradients(case, layout, device, rng):
    values = draw(case, rng, layout)
    arrays = [as_layout(v, layout, device) for v in values]
    got = run(case, arrays, case.differentiable)
    expected = run(case, in_float64(values), case.differentiable)
    assert got[0].dtype == np.float32 or got[0].dtype == expected[0].dtype
    assert_close(case, got, expected)
    for array, value in zip(arrays, values):
        np.testing.assert_array_equal(array.numpy(), value, err_msg="an input was changed")


@pytest.mark.parametrize("case", [c for c in CASES if c.exact], ids=[c.name for c in CASES if c.exact])
def test_small_integers_match_bit_for_bit(case, fast_device, rng):
    values = draw(case, rng, exact=True)
    got = run(case, [fc.array(v, device=fast_device) for v in values], case.differentiable)
    expected = run(case, [fc.array(v, device=REFERENCE) for v in values], case.differentiable)
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_array_equal(g, e)


def _differentiable(case, rng):
    arrays = in_float64([i.draw(rng) for i in case.inputs])
    return [fc.Tensor(a, requires_grad=i.differentiable) for a, i in zip(arrays, case.inputs)]


@pytest.mark.parametrize("case", [c for c in CASES if c.differentiable], ids=[c.name for c in CASES if c.differentiable])
def test_rule_against_differences(case, rng):
    inputs = _differentiable(case, rng)
    assert autograd.gradcheck(case.function, inputs)
    if case.second:
        assert autograd.gradgradcheck(case.function, inputs)


@pytest.mark.parametrize("case", [c for c in CASES if c.differentiable], ids=[c.name for c in CASES if c.differentiable])
def test_differentiable_gradients_are_the_plain_ones(case, rng):
    """create_graph goes through the composites of fused ops, a plain walk through their kernels."""
    inputs = _differentiable(case, rng)
    leaves = [x for x in inputs if x.requires_grad]
    found = []
    for create_graph in (False, True):
        out = case.function(*inputs)
        weights = fc.Tensor(np.random.default_rng(1).uniform(0.5, 1.5, out.shape), device=REFERENCE)
        found.append(autograd.grad(out, leaves, weights, create_graph=create_graph))
    for plain, recorded in zip(*found):
        np.testing.assert_allclose(recorded.numpy(), plain.numpy(), rtol=1e-9, atol=1e-12)


def test_every_op_has_a_case(monkeypatch, rng):
    reached = set()

    def recording(name, forward):
        def call(*args, **kwargs):
            reached.add(name)
            return forward(*args, **kwargs)
        return call

    for name, made in autograd.REGISTRY.items():
        monkeypatch.setattr(made, "forward", recording(name, made.forward))
    for case in CASES:
        inputs = _differentiable(case, rng)
        out = case.function(*inputs)
        if case.differentiable:
            weights = fc.Tensor(np.ones(out.shape), device=REFERENCE, requires_grad=case.second)
            grads = autograd.grad(out, [x for x in inputs if x.requires_grad], weights, create_graph=True)
            for g in grads if case.second else ():
                g.backward(np.ones(g.shape), retain_graph=True)
    missing = set(autograd.REGISTRY) - reached
    assert not missing, f"ops without a case in tests/cases.py: {sorted(missing)}"


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kernel, dilation", [((1, 1), (1, 2)), ((1, 3), (1, 2)), ((3, 3), (1, 1))])
def test_convolutions_of_images_that_repeat(fast_device, kernel, dilation, batch):
    """Every set of stride-0 dimensions in x and in the gradient of y, against the same values laid out."""
    rng = np.random.default_rng(0)
    w = rng.integers(-2, 3, (*kernel, 2, 3)).astype(np.float32)

    def image(shape, repeated):
        held = tuple(1 if r else n for r, n in zip(repeated, shape))
        return fc.array(rng.integers(-3, 4, held).astype(np.float32), device=fast_device).broadcast_to(shape)

    for repeated in itertools.product((False, True), repeat=4):
        x = image((batch, 5, 6, 2), repeated)
        g = image(fc.ops.conv2d(x, fc.array(w, device=fast_device), dilation=dilation).shape, repeated)
        results = []
        for lay_out in (lambda a: a, lambda a: fc.array(a.numpy(), device=fast_device)):
            xt = fc.Tensor(lay_out(x), requires_grad=True)
            wt = fc.Tensor(w, device=fast_device, requires_grad=True)
            y = fc.ops.conv2d(xt, wt, dilation=dilation)
            y.backward(lay_out(g))
            results.append((y, xt.grad, wt.grad))
        for got, expected in zip(*results):
            np.testing.assert_array_equal(got.numpy(), expected.numpy(), err_msg=f"repeated {repeated}")


@pytest.mark.parametrize("rows, inputs, outputs", [(2, 0, 4), (0, 3, 4), (2, 3, 0)])
def test_linear_of_nothing(fast_device, rows, inputs, outputs):
    """An empty product is the bias; its gradients have the operands' shapes, those that add nothing are 0."""
    shapes = (rows, inputs), (outputs, inputs), (outputs,)
    x, w, b = (fc.Tensor(np.ones(s, np.float32), device=fast_device, requires_grad=True) for s in shapes)
    y = fc.ops.linear(x, w, b)
    np.testing.assert_array_equal(y.numpy(), np.ones((rows, inputs)) @ np.ones((inputs, outputs)) + 1)
    y.backward(fc.Tensor(np.ones(y.shape, np.float32), device=fast_device))
    assert [t.grad.shape for t in (x, w, b)] == list(shapes)
    np.testing.assert_array_equal(b.grad.numpy(), np.full(outputs, rows))
    assert not x.grad.numpy().any() and not w.grad.numpy().any()


def test_numbers_in_front_of_integer_ops(fast_device):
    """They promote as in arithmetic: floats widen integers, and bits of floats are refused."""
    b = fc.array([3, -4], device=fast_device)
    for op, a, expected in ((fc.ops.fmod, -7, [-1, -3]), (fc.ops.remainder, -7, [2, -3]), (fc.ops.fmod, 7.5, [1.5, 3.5]),
                            (fc.ops.remainder, 7.5, [1.5, -0.5]), (fc.ops.bitwise_and, 6, [2, 4]),
                            (fc.ops.logical_xor, True, [False, False])):
        y = op(a, b)
        np.testing.assert_array_equal(y.numpy(), expected)
        assert y.dtype == ("bool" if a is True else "float32" if a == 7.5 else "int64")
    with pytest.raises(TypeError, match="integers only"):
        fc.ops.bitwise_and(3.5, b)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_put_along_axis_of_integers(fast_device, dtype):
    x, values = (fc.array(np.array(v).astype(dtype), device=fast_device) for v in ([[1, 0, 3], [4, 5, 0]], [[9, 0], [8, 2]]))
    places = [[0, 0], [1, 2]]
    y = fc.ops.put_along_axis(x, places, values, 1)
    np.testing.assert_array_equal(y.numpy(), np.array([[0, 0, 3], [4, 8, 2]]).astype(dtype))
    y = fc.ops.put_along_axis(x, places, values, 1, "maximum")
    np.testing.assert_array_equal(y.numpy(), np.array([[9, 0, 3], [4, 8, 2]]).astype(dtype))
    if dtype != "bool":
        y = fc.ops.put_along_axis(x, places, values, 1, "add")
        np.testing.assert_array_equal(y.numpy(), np.array([[10, 0, 3], [4, 13, 2]]).astype(dtype))
