"""ONNX: models from PyTorch and onnxruntime's answers, export and back, training, memory, the command line, bad files."""
import io
import subprocess
import sys

import numpy as np
import pytest

import fastconv as fc
import models
from fastconv import nn, optim
from models import LanguageModel, MobileNetV2, ResNet9, ResNet18, SimpleCNN

onnx = pytest.importorskip("onnx")
helper, FLOAT, INT64 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def flat(values):
    """Everything a model returns, as NumPy arrays."""
    if isinstance(values, (tuple, list)):
        return [a for v in values for a in flat(v)]
    return [np.asarray(values)]


def model_of(nodes, inputs, outputs, initializers=(), opset=18, **extra):
    """The bytes of a model; inputs and outputs are (name, element type, shape)."""
    infos = [[helper.make_tensor_value_info(*v) for v in vs] for vs in (inputs, outputs)]
    tensors = [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in initializers]
    graph = helper.make_graph(nodes, "test", *infos, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **extra).SerializeToString()


def run(data, *inputs, device=None):
    with fc.no_grad():
        return flat(fc.onnx.load(data, device=device)(*inputs))


def onnxruntime_run(data, inputs):
    session = pytest.importorskip("onnxruntime").InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: x for i, x in zip(session.get_inputs(), inputs)})


def assert_equal(got, expected):
    assert len(got) == len(expected)
    for g, e in zip(got, expected):
        assert g.shape == e.shape and g.dtype == e.dtype
        np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-5)


# --- from PyTorch ----------------------------------------------------------------------------

@pytest.mark.filterwarnings("ignore")          # torch's, of its exporter
@pytest.mark.parametrize("name, shape", [("ResNet18", (2, 3, 32, 32)), ("MobileNetV2", (2, 3, 32, 32))])
def test_models_exported_by_torch(name, shape, fast_device, rng, tmp_path):
    torch = pytest.importorskip("torch")
    from bench import torch_models
    fc.manual_seed(0)
    ours, theirs = getattr(models, name)(10, 32).eval(), getattr(torch_models, name)(10, 32)
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    x = rng.random(shape, np.float32)
    torch.onnx.export(theirs.eval(), (torch.tensor(x),), tmp_path / "model.onnx", dynamo=False)
    model = fc.onnx.load(tmp_path / "model.onnx", device=fast_device)
    assert {k for k in ours.state_dict() if k.startswith(("fc.", "classifier."))} <= set(model.state_dict())
    with fc.no_grad(), torch.no_grad():
        y, z = model(x).numpy(), theirs(torch.tensor(x)).numpy()
        ours.to(fast_device)
        again = ours(fc.Tensor(x, device=fast_device)).numpy()
    assert np.linalg.norm(y - z) < 1e-4 * np.linalg.norm(z) and np.linalg.norm(y - again) < 1e-5 * np.linalg.norm(z)


@pytest.mark.filterwarnings("ignore")
def test_layers_exported_by_torch(fast_device, rng, tmp_path):
    torch = pytest.importorskip("torch")
    tn = torch.nn

    class Mixed(tn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.up = tn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3), tn.ConvTranspose2d(6, 4, 4, 2, 1)
            self.norm, self.group = tn.LayerNorm(8), tn.GroupNorm(2, 4)
            self.lstm, self.gru = tn.LSTM(8, 5, bidirectional=True, batch_first=True), tn.GRU(10, 3)
            self.attention = tn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

        def forward(self, x):
            x = self.group(tn.functional.gelu(self.up(self.conv(x))))
            x = tn.functional.interpolate(x, scale_factor=2, mode="bilinear").mean(1)[:, ::2, :8]
            x = self.attention(self.norm(x))
            y, _ = self.gru(self.lstm(x)[0].transpose(0, 1))
            return y.softmax(-1), x.flatten(1).topk(3).values, x.masked_fill(x > 0.5, -1.0)

    model, x = Mixed().eval(), normal(rng, 2, 3, 8, 8)
    torch.onnx.export(model, (torch.tensor(x),), tmp_path / "model.onnx", dynamo=False, opset_version=17)
    with torch.no_grad():
        expected = flat(model(torch.tensor(x)))
    assert_equal(run(str(tmp_path / "model.onnx"), x, device=fast_device), expected)


# --- there and back --------------------------------------------------------------------------

EXPORTS = {
    "resnet18": (lambda: ResNet18(10, 32), lambda rng: (normal(rng, 2, 3, 32, 32),)),
    "mobilenetv2": (lambda: MobileNetV2(10, 32), lambda rng: (normal(rng, 1, 3, 32, 32),)),
    "resnet9": (ResNet9, lambda rng: (normal(rng, 2, 3, 32, 32),)),
    "simple-cnn": (SimpleCNN, lambda rng: (normal(rng, 2, 1, 28, 28),)),
    "language-model": (lambda: LanguageModel(6, 20, 8, 2, "lstm"), lambda rng: (rng.integers(0, 20, (7, 3)),)),
    "gru": (lambda: nn.GRU(4, 5, 2, bidirectional=True), lambda rng: (normal(rng, 6, 3, 4), normal(rng, 4, 3, 5))),
    "rnn": (lambda: nn.RNN(4, 5, nonlinearity="relu", batch_first=True), lambda rng: (normal(rng, 3, 6, 4),)),
    "lstm": (lambda: nn.LSTM(4, 5, bias=False, bidirectional=True), lambda rng: (normal(rng, 6, 3, 4),)),
    "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 16), lambda rng: (normal(rng, 5, 3, 8),)),
    "up": (lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), nn.GroupNorm(2, 4),
                                 nn.GELU(), nn.AvgPool2d(3, 2, 1), nn.Conv2d(4, 2, 3, stride=2), nn.BatchNorm2d(2, affine=False)),
           lambda rng: (normal(rng, 2, 3, 9, 8),)),
    "course": (lambda: nn.Sequential(nn.Conv(3, 4, 3, stride=2), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5),
                                     nn.Residual(nn.Linear(16, 16)), nn.LayerNorm(16), nn.Softmax()),
               lambda rng: (normal(rng, 2, 3, 8, 8),)),
    "audio": (lambda: nn.Sequential(nn.Conv1d(2, 4, 5, dilation=2, padding=4), nn.SiLU(), nn.BatchNorm1d(4),
                                    nn.AdaptiveAvgPool1d(3)), lambda rng: (normal(rng, 2, 2, 12),)),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_export(name, fast_device, rng):
    """onnxruntime and the loaded graph give what the module gives; the weights keep their names and values."""
    fc.manual_seed(0)
    make, draw = EXPORTS[name]
    model, inputs, file = make().train(), draw(rng), io.BytesIO()
    fc.onnx.export(model, inputs, file)
    assert all(m.training for m in model.modules())
    with fc.no_grad():
        expected = flat(model.eval()(*map(fc.Tensor, inputs)))
    data = file.getvalue()
    assert_equal(onnxruntime_run(data, inputs), expected)
    assert_equal(run(data, *inputs, device=fast_device), expected)
    kept = {k: v.numpy() for k, v in fc.onnx.load(data).state_dict().items()}
    for key, value in model.state_dict().items():
        if "num_batches" not in key:
            np.testing.assert_array_equal(kept[key], value.numpy())


class Traced(nn.Module):
    """Ops that no layer uses, and control flow."""

    def forward(self, x, y):
        ops = fc.ops
        z = ops.flip(ops.pad(x, ((0, 0), (1, 2)), 3.0), 1)[:, ::-2]
        parts = ops.split(ops.where(ops.not_equal(y, 0), ops.remainder(y, 0.7), 1.5), 1, 2)
        total = ops.stack([parts[0], parts[1] * 2], 0).max((0, 2))
        for i in range(3):
            total = ops.maximum(total, i) if i % 2 else total + ops.cast(ops.argmax(x, 1), "float32")
        return z, ops.concatenate([total, ops.logsumexp(y, 0)]), ops.softmax(y, (0, 1)), ops.erf(x).var(1), x.T @ y


def test_export_of_ops(fast_device, rng):
    x, y, file = normal(rng, 3, 5), normal(rng, 3, 4), io.BytesIO()
    fc.onnx.export(Traced(), (x, y), file, ["a", "b"], list("vwxyz"))
    with fc.no_grad():
        expected = flat(Traced()(fc.Tensor(x), fc.Tensor(y)))
    assert_equal(onnxruntime_run(file.getvalue(), (x, y)), expected)
    assert_equal(run(file.getvalue(), x, y, device=fast_device), expected)
    loaded = fc.onnx.load(file.getvalue())
    assert [v.name for v in loaded.inputs] == ["a", "b"] and [v.name for v in loaded.outputs] == list("vwxyz")


def test_export_refuses_what_a_trace_cannot_hold(tmp_path):
    class Picks(nn.Module):
        def forward(self, x, i):
            return fc.ops.index_select(x, i.data)

    class Loss(nn.Module):
        def forward(self, x):
            return fc.ops.cross_entropy(x, np.array([0, 1]))

    with pytest.raises(fc.onnx.OnnxError, match="nn.Embedding"):
        fc.onnx.export(Picks(), (np.ones((3, 2), np.float32), np.array([1])), tmp_path / "a.onnx")
    with pytest.raises(fc.onnx.OnnxError, match="cross_entropy"):
        fc.onnx.export(Loss(), np.ones((2, 3), np.float32), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_a_loaded_graph_trains(fast_device, rng):
    """The gradients and steps of the module it came from, batch normalisation and all."""
    fc.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, device=fast_device), nn.BatchNorm2d(4, device=fast_device), nn.ReLU(), nn.Flatten(),
                          nn.Linear(64, 3, device=fast_device))
    x, labels, file = normal(rng, 5, 2, 6, 6), rng.integers(0, 3, 5), io.BytesIO()
    fc.onnx.export(model, x, file)
    loaded = fc.onnx.load(file.getvalue(), device=fast_device)
    losses = []
    for m in (model, loaded):
        m.train()
        optimizer = optim.SGD(m.parameters(), lr=0.1, momentum=0.9)
        for _ in range(4):
            loss = fc.ops.cross_entropy(m(fc.Tensor(x, device=fast_device)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    np.testing.assert_allclose(losses[:4], losses[4:], rtol=1e-5)
    assert losses[3] < losses[0]
    state = model.state_dict()
    for name, value in loaded.state_dict().items():
        np.testing.assert_allclose(value.numpy(), state[name].numpy(), rtol=1e-4, atol=1e-5, err_msg=name)
    loaded.to("reference")
    assert_equal(flat(loaded.eval()(x)), flat(model.eval()(fc.Tensor(x, device=fast_device))))


# --- memory ----------------------------------------------------------------------------------

def test_values_are_freed_after_their_last_use(fast_device):
    """A long chain needs the memory of two values, and what is written over itself of one."""
    size = 1 << 20
    for op, most in (("Relu", 2), ("Tanh", 3)):
        nodes = [helper.make_node("Neg", ["x"], ["v0"]), helper.make_node("Mul", ["v0", "v0"], ["v1"])]
        nodes += [helper.make_node(op, [f"v{i}"], [f"v{i + 1}"]) for i in range(1, 30)]
        data = model_of(nodes, [("x", FLOAT, [size])], [("v30", FLOAT, [size])])
        model, x = fc.onnx.load(data, device=fast_device), fc.Tensor(np.ones(size, np.float32), device=fast_device)
        with fc.no_grad():
            model(x)
            fast_device.empty_cache()
            before = fast_device.memory_stats()["allocated"]
            y = model(x)
            assert y.numpy()[0] > 0
        stats = fast_device.memory_stats()
        assert stats["allocated"] + stats["cached"] - before <= (most + 1) * 4 * size


def test_nothing_is_overwritten_that_is_used(fast_device, rng):
    nodes = [helper.make_node("Mul", ["x", "x"], ["a"]), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("Add", ["a", "b"], ["c"]), helper.make_node("Identity", ["c"], ["d"]),
             helper.make_node("Relu", ["d"], ["e"]), helper.make_node("Add", ["c", "e"], ["y"])]
    data, x = model_of(nodes, [("x", FLOAT, [7])], [("y", FLOAT, [7]), ("b", FLOAT, [7])]), normal(rng, 7)
    y, b = run(data, x, device=fast_device)
    np.testing.assert_allclose(b, x * x, rtol=1e-6)
    np.testing.assert_allclose(y, 4 * x * x, rtol=1e-6)


# --- graphs in graphs ------------------------------------------------------------------------

def with_functions(functions, *nodes):
    graph = helper.make_graph(list(nodes), "g", [helper.make_tensor_value_info("x", FLOAT, ["n"])],
                              [helper.make_tensor_value_info("y", FLOAT, ["n"])])
    return helper.make_model(graph, functions=functions, opset_imports=OPSETS).SerializeToString()


OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]


def test_functions_of_the_file(fast_device):
    scale = helper.make_function("own", "Scaled", ["X"], ["Y"], [
        helper.make_node("Constant", [], ["s"]), helper.make_node("Mul", ["X", "s"], ["Y"])],
        [helper.make_opsetid("", 18)], ["by"])
    reference = scale.node[0].attribute.add()
    reference.name, reference.ref_attr_name, reference.type = "value_float", "by", onnx.AttributeProto.FLOAT
    calls = [helper.make_node("Scaled", [a], [b], domain="own", by=by) for a, b, by in (("x", "h", 3.0), ("h", "y", 0.5))]
    data = with_functions([scale], *calls)
    np.testing.assert_array_equal(run(data, np.array([2.0, 4.0], np.float32), device=fast_device)[0], [3, 6])
    scale.node.append(helper.make_node("Scaled", ["X"], ["Z"], domain="own"))
    with pytest.raises(fc.onnx.OnnxError, match="'Scaled' calls itself"):
        fc.onnx.load(with_functions([scale], *calls))


def test_functions_that_double_do_not_explode():
    """Each of 30 functions calls the next one twice: 2^30 nodes if somebody wrote them all out."""
    functions = []
    for i in range(30):
        call = [helper.make_node(f"F{i + 1}", ["X"], [f"t{k}"], domain="own") for k in range(2)]
        both = helper.make_node("Add", ["t0", "t1"], ["Y"])
        functions.append(helper.make_function("own", f"F{i}", ["X"], ["Y"], [*call, both], OPSETS))
    functions.append(helper.make_function("own", "F30", ["X"], ["Y"], [helper.make_node("Neg", ["X"], ["Y"])], OPSETS))
    data = with_functions(functions, helper.make_node("F0", ["x"], ["y"], domain="own"))
    with pytest.raises(fc.onnx.OnnxError, match="more than 200000 nodes"):
        fc.onnx.load(data)


def test_shapes_stay_on_the_host(fast_device, rng):
    """x reshaped by its own shape: nothing is read back from the device."""
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "zero"], ["n"]),
             helper.make_node("Unsqueeze", ["n", "zero"], ["n1"]), helper.make_node("Concat", ["n1", "minus"], ["t"], axis=0),
             helper.make_node("Reshape", ["x", "t"], ["y"])]
    data = model_of(nodes, [("x", FLOAT, ["n", 3, 4])], [("y", FLOAT, ["n", 12])],
                    [("zero", np.array(0)), ("minus", np.array([-1]))])
    model, x = fc.onnx.load(data, device=fast_device), normal(rng, 2, 3, 4)
    given = fc.Tensor(x, device=fast_device)
    seen, download = [], fast_device.download
    fast_device.download = lambda a: seen.append(a) or download(a)
    try:
        y = model(given)
    finally:
        fast_device.download = download
    assert not seen and y.shape == (2, 12)


# --- bad files -------------------------------------------------------------------------------

def simple(*nodes, initializers=(), opset=18, output="y"):
    return model_of(list(nodes), [("x", FLOAT, [2])], [(output, FLOAT, None)], initializers, opset)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, name="culprit", **attributes)


def lying(name="w", dims=(1 << 40,), data=b"1234"):
    """An initializer that declares more than it brings."""
    model = onnx.load_model_from_string(simple(node("Add", ["x", name], ["y"]), initializers=[(name, np.ones(1, np.float32))]))
    model.graph.initializer[0].raw_data = data
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    return model.SerializeToString()


BAD = {
    "empty": (lambda: b"", "not an ONNX model"),
    "foreign": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "not an ONNX model"),
    "truncated": (lambda: simple(node("Relu", ["x"], ["y"]))[:-20], "."),
    "opset too new": (lambda: simple(node("Relu", ["x"], ["y"]), opset=999), "opset 999"),
    "opset too old": (lambda: simple(node("Softmax", ["x"], ["y"]), opset=11), "culprit.*opset 11"),
    "cycle": (lambda: simple(node("Relu", ["b"], ["a"]), helper.make_node("Relu", ["a"], ["b"]), output="b"), "culprit.*cycle"),
    "self": (lambda: simple(node("Add", ["x", "y"], ["y"])), "culprit.*cycle"),
    "undefined": (lambda: simple(node("Relu", ["nowhere"], ["y"])), "culprit.*'nowhere'"),
    "twice": (lambda: simple(node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])), "culprit.*'y'"),
    "no output": (lambda: simple(node("Relu", ["x"], ["z"])), "output 'y'"),
    "operator": (lambda: simple(node("Explode", ["x"], ["y"])), "culprit.*Explode"),
    "domain": (lambda: simple(node("Relu", ["x"], ["y"], domain="com.example")), "culprit.*com.example"),
    "unsupported": (lambda: simple(node("Det", ["x"], ["y"])), "culprit.*Det.*not supported"),
    "attribute": (lambda: simple(node("Relu", ["x"], ["y"], colour="red")), "culprit.*'colour'"),
    "attribute type": (lambda: simple(node("Softmax", ["x"], ["y"], axis="last")), "culprit.*'axis'"),
    "no attribute": (lambda: simple(node("Concat", ["x"], ["y"])), "culprit.*'axis'"),
    "inputs": (lambda: simple(node("Relu", ["x", "x"], ["y"])), "culprit.*2 inputs"),
    "float16": (lambda: simple(node("Add", ["x", "w"], ["y"]), initializers=[("w", np.ones(2, np.float16))]), "'w'.*float16"),
    "declares a TiB": (lying, "'w'.*bytes"),
    "negative shape": (lambda: lying(dims=(-1,)), "'w'.*shape"),
    "overflowing shape": (lambda: lying(dims=(1 << 62, 1 << 62, 4)), "'w'.*bytes"),
    "cast": (lambda: simple(node("Cast", ["x"], ["y"], to=10)), "culprit.*float16"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name):
    make, message = BAD[name]
    with pytest.raises(fc.onnx.OnnxError, match=f"(?s){message}"):
        fc.onnx.load(make())(np.ones(2, np.float32))


HUGE = np.array([1 << 20, 1 << 20])


@pytest.mark.parametrize("culprit", [
    node("Expand", ["x1", "n"], ["y"]), node("ConstantOfShape", ["n"], ["y"]), node("Tile", ["x2", "n"], ["y"]),
    node("Pad", ["x2", "n4"], ["y"]), node("Resize", ["x2", "", "", "n"], ["y"]), node("OneHot", ["i", "n1", "v"], ["y"]),
    node("Range", ["zero", "n1", "one"], ["y"]), node("EyeLike", ["big"], ["y"])], ids=lambda n: n.op_type)
def test_absurd_sizes_are_not_allocated(culprit):
    nodes = [helper.make_node("Reshape", ["x", "two"], ["x2"]), helper.make_node("Slice", ["x", "one1", "two1"], ["x1"]), culprit]
    if culprit.op_type == "EyeLike":
        nodes.insert(0, helper.make_node("Expand", ["zero", "n"], ["big"]))
    data = simple(*nodes, initializers=[
        ("n", HUGE), ("n4", np.tile(HUGE, 2)), ("n1", np.array(1 << 40)), ("two", np.array([1, 2])), ("one1", np.array([1])),
        ("two1", np.array([2])), ("i", np.array([1])), ("v", np.array([0.0, 1.0], np.float32)), ("zero", np.array(0)),
        ("one", np.array(1))])
    with pytest.raises(fc.onnx.OnnxError, match="bytes"):
        fc.onnx.load(data)(np.ones(2, np.float32))


def external(tmp_path, location, offset=0, length=8):
    model = onnx.load_model_from_string(simple(node("Add", ["x", "w"], ["y"]), initializers=[("w", np.ones(2, np.float32))]))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path = tmp_path / "folder" / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data(tmp_path):
    values = np.array([3, 4, 5], np.float32)
    path = external(tmp_path, "weights.bin", offset=4)
    (path.parent / "weights.bin").write_bytes(values.tobytes())
    (tmp_path / "outside.bin").write_bytes(values.tobytes())
    (path.parent / "link.bin").symlink_to(tmp_path / "outside.bin")
    np.testing.assert_array_equal(run(path, np.zeros(2, np.float32))[0], [4, 5])
    with pytest.raises(fc.onnx.OnnxError, match="'w'.*not loaded from a path"):
        fc.onnx.load(path.read_bytes())
    for location in ("../outside.bin", str(tmp_path / "outside.bin"), "link.bin", "missing.bin", "", ".", "/dev/zero"):
        with pytest.raises(fc.onnx.OnnxError, match="'w'.*external data"):
            fc.onnx.load(external(tmp_path, location))
    for offset, length in ((8, 8), (-4, 8), (0, 1 << 40), (0, 4), ("x", 8)):
        with pytest.raises(fc.onnx.OnnxError, match="'w'"):
            fc.onnx.load(external(tmp_path, "weights.bin", offset, length))


def test_mutated_bytes_raise_what_is_documented():
    """A few thousand files one to eight bytes away from a good one: they run, or raise OnnxError."""
    import random
    out = [helper.make_tensor_value_info("k2", FLOAT, None)]
    body = helper.make_graph([helper.make_node("Add", ["k", "x"], ["k2"])], "body", [], out)
    good = simple(helper.make_node("Conv", ["img", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["r"]),
                  helper.make_node("Reshape", ["r", "s"], ["k"]),
                  helper.make_node("If", ["t"], ["y"], then_branch=body, else_branch=body),
                  initializers=[("img", np.ones((1, 1, 4, 4), np.float32)), ("w", np.ones((1, 1, 3, 3), np.float32)),
                                ("s", np.array([8, 2])), ("t", np.array(True))])
    x, rng = np.ones(2, np.float32), random.Random(0)
    assert run(good, x)[0].shape == (8, 2)
    loaded = 0
    for _ in range(1500):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.1:
            del data[rng.randrange(len(data)):]
        try:
            model = fc.onnx.load(bytes(data), max_bytes=1 << 20)
            loaded += 1
            with fc.no_grad():
                model(x)
        except fc.onnx.OnnxError:
            pass
    assert loaded > 100


def test_inputs_that_do_not_fit():
    inputs = [("x", FLOAT, ["n", 2]), ("z", FLOAT, ["n", 2])]
    data = model_of([helper.make_node("Add", ["x", "z"], ["y"])], inputs, [("y", FLOAT, None)])
    model, x = fc.onnx.load(data), np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(model(x, z=x).numpy(), x + x)
    for inputs, named, message in (((x,), {}, "missing.*'z'"), ((x, x, x), {}, "3 inputs"), ((x, x), {"q": x}, "'q'"),
                                   ((x, x), {"x": x}, "'x'"), ((x, x[:2]), {}, "'z'.*shape"),
                                   ((x, x.astype(np.float64)), {}, "'z'.*float64"),
                                   ((x, x[0]), {}, "'z'.*shape"), ((x, "text"), {}, "'z'")):
        with pytest.raises(fc.onnx.OnnxError, match=message):
            model(*inputs, **named)


# --- the command line ------------------------------------------------------------------------

def fastconv(*arguments):
    return subprocess.run([sys.executable, "-m", "fastconv", "onnx", *map(str, arguments)], capture_output=True, text=True)


def test_commands(fast_device, rng, tmp_path):
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), normal(rng, 2, 3)
    fc.onnx.export(model, x, tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", x)
    done = fastconv("run", tmp_path / "model.onnx", "--input", tmp_path / "x.npy", "--device", fast_device.name,
                    "--output", tmp_path / "y.npy")
    assert done.returncode == 0 and done.stdout.startswith("output  float32 [2, 4]"), done
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(fc.Tensor(x)).numpy(), rtol=1e-5)


def test_show(tmp_path):
    fc.onnx.export(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), np.ones((2, 3), np.float32), tmp_path / "model.onnx")
    shown = fastconv("show", tmp_path / "model.onnx")
    for text in ("opset 18", "input  float32 [2, 3]", "0.weight  float32 [4, 3]", "16 numbers", "Gemm  1", "cpu  ok"):
        assert text in shown.stdout, shown
    (tmp_path / "bad.onnx").write_bytes(simple(node("Det", ["x"], ["y"])))
    shown = fastconv("show", tmp_path / "bad.onnx")
    assert shown.returncode == 1 and "'culprit' (Det): the operator is not supported" in shown.stdout
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    shown = fastconv("show", tmp_path / "bad.onnx")
    assert shown.returncode == 2 and "not an ONNX model" in shown.stderr and "Traceback" not in shown.stderr
