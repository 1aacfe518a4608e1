"""Every layer of the table: values and gradients on every device, first order against differences."""
import numpy as np
import pytest

import fastconv as fc
from fastconv import autograd, nn
from tests.layer_cases import LAYERS
from tests.test_ops import assert_close

ids = [c.name for c in LAYERS]


def build(case, device, dtype):
    fc.manual_seed(0)
    return case.make(device, dtype)


def run(case, device, dtype, rng):
    """[output, gradients of inputs and parameters] of a fresh layer."""
    module = build(case, device, dtype)
    values = [i.draw(rng) for i in case.inputs]
    values = [v.astype(np.float32).astype(dtype) if v.dtype.kind == "f" else v for v in values]
    for p in module.parameters():         # the same numbers in both dtypes
        p.data[...] = fc.array(p.numpy().astype(np.float32).astype(dtype), device=device)
    tensors = [fc.Tensor(v, device=device, requires_grad=i.differentiable) for v, i in zip(values, case.inputs)]
    out = module(*tensors)
    out.backward(np.random.default_rng(1).integers(1, 4, out.shape).astype(dtype))
    return [out.numpy()] + [t.grad.numpy() for t in [*tensors, *module.parameters()] if t.grad is not None]


@pytest.mark.parametrize("case", LAYERS, ids=ids)
def test_value_and_gradients(case, device, rng):
    got = run(case, device, "float32", np.random.default_rng(5))
    expected = run(case, fc.reference(), "float64", np.random.default_rng(5))
    assert all(g.dtype == np.float32 for g in got)
    assert_close(case, got, expected)


@pytest.mark.parametrize("case", LAYERS, ids=ids)
def test_parameter_gradients_against_differences(case, rng):
    if case.name == "Dropout":
        pytest.skip("draws anew in every call; its op is checked with a fixed mask")
    module = build(case, fc.reference(), "float64")
    inputs = [fc.Tensor(i.draw(rng), device="reference", requires_grad=i.differentiable) for i in case.inputs]
    parameters = module.parameters()
    assert autograd.gradcheck(lambda *args: module(*args[:len(inputs)]), inputs + parameters)


@pytest.mark.parametrize("case", LAYERS, ids=ids)
def test_second_order_along_a_direction(case, rng):
    """The derivative of <gradient, v> along u, against its central difference, for random u and v over all
    inputs and parameters: a projection of the whole second derivative."""
    if case.name == "Dropout":
        pytest.skip("draws anew in every call; its op is checked with a fixed mask")
    module = build(case, fc.reference(), "float64")
    inputs = [fc.Tensor(i.draw(rng), device="reference", requires_grad=i.differentiable) for i in case.inputs]
    leaves = [x for x in inputs if x.requires_grad] + module.parameters()
    u, v = ([fc.array(rng.normal(size=x.shape), device="reference") for x in leaves] for _ in range(2))

    def projected():
        out = module(*inputs)
        grads = autograd.grad((out * out).sum(), leaves, create_graph=True)
        return sum((g * w).sum() for g, w in zip(grads, v) if g is not None)

    exact = sum((g.data * w).sum().item() for g, w in zip(autograd.grad(projected(), leaves), u) if g is not None)
    ends, eps = [], 1e-6
    for step in (eps, -eps):
        for x, w in zip(leaves, u):
            x.data[...] = x.data + w * step
        ends.append(projected().item())
        for x, w in zip(leaves, u):
            x.data[...] = x.data - w * step
    assert exact == pytest.approx((ends[0] - ends[1]) / (2 * eps), rel=1e-4, abs=1e-4)


def test_every_layer_has_a_case():
    have = {c.name.split()[0] for c in LAYERS}
    layers = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)
              and issubclass(getattr(nn, name), nn.Module)} - {"Module"}
    assert not layers - have, f"layers without a case in tests/layer_cases.py: {sorted(layers - have)}"


def test_state_dict_round_trip(device):
    fc.manual_seed(1)
    a = nn.Sequential(nn.Conv2d(3, 4, 3, device=device), nn.BatchNorm2d(4, device=device), nn.ReLU())
    b = nn.Sequential(nn.Conv2d(3, 4, 3, device=device), nn.BatchNorm2d(4, device=device), nn.ReLU())
    x = fc.init.randn(2, 3, 6, 6, device=device)
    a(x)
    before = [p.data for p in b.parameters()]
    b.load_state_dict({k: v.numpy() for k, v in a.state_dict().items()})
    assert all(p.data is q for p, q in zip(b.parameters(), before)), "parameters are written in place"
    np.testing.assert_array_equal(a.eval()(x).numpy(), b.eval()(x).numpy())
    assert list(a.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
                                    "1.num_batches_tracked"]


def test_shared_modules_have_all_their_names_in_the_state():
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    assert len(model.parameters()) == 2
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    model.load_state_dict({name: np.full(value.shape, 3.0, np.float32) for name, value in model.state_dict().items()})
    assert shared.weight.numpy()[0, 0] == 3
    model.loop = model                     # a module inside itself ends the walk
    assert len(model.parameters()) == 2 and len(list(model.state_dict())) == 4


def test_modules_in_lists_and_dicts_are_found():
    class Model(nn.Module):
        def __init__(self):
            self.blocks = [nn.Linear(2, 2), nn.Linear(2, 2)]
            self.heads = {"a": nn.Linear(2, 1)}
            self.shared = self.blocks[0]

    assert [n for n, _ in Model().named_parameters()] == ["blocks.0.weight", "blocks.0.bias", "blocks.1.weight",
                                                          "blocks.1.bias", "heads.a.weight", "heads.a.bias"]


def test_train_and_eval_reach_everything():
    model = nn.Sequential(nn.Dropout(0.5), nn.Residual(nn.BatchNorm1d(3)))
    assert not any(m.training for m in model.eval().modules())
    assert all(m.training for m in model.train().modules())


def test_moving_a_model(fast_device):
    model = nn.Sequential(nn.Conv2d(2, 3, 3, device="reference"), nn.BatchNorm2d(3, device="reference"))
    x = np.random.default_rng(0).normal(size=(2, 2, 5, 5)).astype(np.float32)
    expected = model.eval()(fc.Tensor(x, device="reference")).numpy()
    model.to(fast_device)
    np.testing.assert_allclose(model(fc.Tensor(x, device=fast_device)).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_parameters_in_lists_and_dicts_are_found(fast_device):
    class Bag(nn.Module):
        def __init__(self):
            self.weights = [nn.Parameter(np.zeros(2, np.float32)), (nn.Parameter(np.ones(3, np.float32)),)]
            self.named = {"a": nn.Parameter(np.zeros(1, np.float32)), "deep": [[nn.Linear(1, 1, bias=False)]]}

    bag = Bag().to(fast_device)
    assert [name for name, _ in bag.named_parameters()] == ["weights.0", "weights.1.0", "named.a", "named.deep.0.0.weight"]
    assert {p.device for p in bag.parameters()} == {fast_device}
    bag.load_state_dict({name: np.full(a.shape, 7.0) for name, a in bag.state_dict().items()})
    assert bag.weights[1][0].numpy().tolist() == [7, 7, 7]


def test_the_batch_counter_is_live_and_stays_on_the_host(fast_device):
    model = nn.Sequential(nn.BatchNorm1d(2)).to(fast_device)
    state = model.state_dict()
    model(fc.Tensor(np.eye(2, dtype=np.float32), device=fast_device))
    assert state["0.num_batches_tracked"].item() == 1
    assert state["0.num_batches_tracked"].device is fc.reference()


def test_a_seed_is_one_stream_for_all_that_a_layer_draws():
    linear, rnn, drop = nn.Linear(4, 4, rng=0), nn.RNN(4, 4, rng=0), nn.Dropout(0.5, rng=0)
    assert not np.array_equal(linear.weight.numpy()[0], linear.bias.numpy())
    assert not np.array_equal(rnn.weight_ih_l0.numpy(), rnn.weight_hh_l0.numpy())
    assert np.array_equal(linear.weight.numpy(), nn.Linear(4, 4, rng=0).weight.numpy())
    x = fc.init.ones(64)
    assert not np.array_equal(drop(x).numpy(), drop(x).numpy())
