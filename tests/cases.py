"""The table of cases: every op with inputs, once, for the value, gradient and layout tests and for docs/ops.md.

A case is a function of Tensors or Arrays and the inputs to call it with. `length` is the number of
terms in the longest sum behind one output: float32 results may differ by 1.3e-6 * sqrt(length).
"""
import math
from dataclasses import dataclass

import numpy as np

import fastconv as fc

ops = fc.ops


# --- inputs ----------------------------------------------------------------------------------

@dataclass(frozen=True)
class Input:
    """How to draw one input: a kind of numbers and a shape; `differentiable` for floats that need gradients."""

    kind: str
    shape: tuple
    differentiable: bool = True

    def draw(self, rng):
        if self.kind == "normal":
            return rng.normal(size=self.shape)
        if self.kind == "positive":
            return rng.uniform(0.5, 2.0, self.shape)
        if self.kind == "apart":
            # Distinct numbers at least 0.1 from each other and from 0: no ties, no kinks within eps.
            count = math.prod(self.shape)
            return (rng.permutation(count).reshape(self.shape) - count // 2 + 0.5) * 0.2
        if self.kind == "labels":
            return rng.integers(0, 4, self.shape)
        if self.kind == "bool":
            return rng.random(self.shape) < 0.5
        raise ValueError(self.kind)

    def draw_integers(self, rng):
        """Small integers whose sums are exact in float32."""
        return self.draw(rng) if self.kind in ("labels", "bool") else rng.integers(-3, 4, self.shape).astype(float)


def normal(*shape):
    return Input("normal", shape)


def positive(*shape):
    return Input("positive", shape)


def apart(*shape):
    return Input("apart", shape)


def labels(*shape):
    return Input("labels", shape, differentiable=False)


def boolean(*shape):
    return Input("bool", shape, differentiable=False)


@dataclass(frozen=True)
class Case:
    name: str
    function: object
    inputs: tuple
    length: int = 1            # terms of the longest sum
    exact: bool = False        # small integers in, the same bits out on every device
    second: bool = True        # has second-order gradients to check
    smooth: bool = True        # has first-order gradients to check

    @property
    def differentiable(self):
        return self.smooth and any(i.differentiable for i in self.inputs)


def _unary():
    same = dict(exact=False)
    yield Case("negative", ops.negative, (normal(3, 5),), exact=True)
    for name, kind in (("exp", normal), ("log", positive), ("sqrt", positive), ("tanh", normal), ("sigmoid", normal),
                       ("silu", normal), ("softplus", normal), ("erf", normal), ("gelu", normal)):
        yield Case(name, getattr(ops, name), (kind(3, 5),), **same)
    for name in ("sin", "cos", "atan", "sinh", "cosh", "asinh"):
        yield Case(name, getattr(ops, name), (normal(3, 5),), **same)
    yield Case("tan", lambda x: ops.tan(ops.tanh(x)), (normal(3, 5),))
    for name in ("asin", "acos", "atanh"):
        yield Case(name, lambda x, f=getattr(ops, name): f(ops.tanh(x) * 0.9), (normal(3, 5),))
    yield Case("acosh", lambda x: ops.acosh(x + 1), (positive(3, 5),))
    for name in ("floor", "ceil", "round", "logical_not"):
        yield Case(name, getattr(ops, name), (apart(3, 5),), exact=True, smooth=False)
    yield Case("relu", ops.relu, (apart(3, 5),), exact=True)
    yield Case("abs", ops.abs, (apart(3, 5),), exact=True)
    yield Case("sign", ops.sign, (apart(3, 5),), exact=True, smooth=False)
    yield Case("isfinite", ops.isfinite, (normal(3, 5),), smooth=False)
    yield Case("gelu-tanh", lambda x: ops.gelu(x, "tanh"), (normal(3, 5),))
    yield Case("clip", lambda x: ops.clip(x, -0.6, 0.8), (apart(3, 5),), exact=True)
    yield Case("square", lambda x: x ** 2, (normal(3, 5),), exact=True)
    yield Case("inverse", lambda x: 2 / x, (positive(3, 5),))
    yield Case("power-scalar", lambda x: ops.power(x, 2.5), (positive(3, 5),))
    yield Case("power-base", lambda x: ops.power(1.5, x), (normal(3, 5),))
    yield Case("scalar-arithmetic", lambda x: 3 - (2 * x + 1), (normal(3, 5),), exact=True)
    yield Case("cast", lambda x: ops.cast(ops.cast(x, "float64"), x.dtype), (normal(3, 5),), exact=True)
    yield Case("to-device", lambda x: ops.to_device(ops.to_device(x, fc.reference()), x.device), (normal(3, 5),), exact=True)


def _binary():
    for name, kind in (("add", normal), ("subtract", normal), ("multiply", normal), ("maximum", apart),
                       ("minimum", apart)):
        # `apart` twice would tie; shift one.
        function = getattr(ops, name)
        if kind is apart:
            yield Case(name, lambda a, b, f=function: f(a, b + 0.05), (apart(4, 5), apart(4, 5)), exact=False)
        else:
            yield Case(name, function, (kind(4, 5), kind(4, 5)), exact=True)
            yield Case(f"{name}-broadcast", function, (kind(3, 1, 5), kind(4, 1)), exact=True, length=5)
    yield Case("divide", ops.divide, (normal(4, 5), positive(5)), length=4)
    yield Case("power", ops.power, (positive(4, 5), normal(5)), length=4)
    yield Case("where", lambda c, a, b: ops.where(c, a, b), (boolean(4, 5), normal(4, 5), normal(5)), exact=True, length=4)
    for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
        yield Case(name, getattr(ops, name), (normal(4, 5), normal(5)), exact=True, smooth=False)
    for name in ("logical_and", "logical_or"):
        yield Case(name, getattr(ops, name), (boolean(4, 5), boolean(5)), exact=True, smooth=False)


def _integers():
    def whole(f):
        return lambda a, b: f(ops.cast(a, "int64"), ops.cast(b, "int64"))
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift", "truncated_divide"):
        yield Case(name, whole(getattr(ops, name)), (apart(4, 5), labels(5)), exact=True, smooth=False)
    yield Case("bitwise_not", lambda x: ops.bitwise_not(ops.cast(x, "int32")), (apart(3, 5),), exact=True, smooth=False)
    yield Case("bitwise-bools", lambda a, b: ops.bitwise_xor(ops.bitwise_not(a), b), (boolean(4, 5), boolean(5)), exact=True,
               smooth=False)
    yield Case("logical_xor", ops.logical_xor, (boolean(4, 5), boolean(5)), exact=True, smooth=False)
    yield Case("fmod", lambda a, b: ops.fmod(a, b + 5.03), (apart(4, 5), positive(5)), length=4)
    yield Case("remainder", lambda a: ops.remainder(a, 0.77), (apart(4, 5),), exact=True)


def _along_axis():
    x, at = normal(3, 5), np.array([[0, 4, -1], [2, 2, 1]])
    yield Case("take_along_axis", lambda x: ops.take_along_axis(x, at, 1), (x,), exact=True)
    places = np.array([[0, 2, 0], [2, 1, 0]])
    for reduction, length in ((None, 1), ("add", 3), ("multiply", 3), ("maximum", 3), ("minimum", 3)):
        yield Case(f"put_along_axis-{reduction}", lambda x, v, r=reduction: ops.put_along_axis(x, places, v, 0, r),
                   (apart(3, 5), normal(2, 3)), length=length, exact=True)
    yield Case("put_along_axis-each", lambda x, v: ops.put_along_axis(x, [[2, 0], [0, 1]], v, 1),
               (normal(2, 3), normal(2, 2)), exact=True)
    yield Case("cumsum", lambda x: ops.cumsum(x, 1), (normal(3, 7),), length=7, exact=True)
    yield Case("cumsum-exclusive", lambda x: ops.cumsum(x, 0, exclusive=True, reverse=True), (normal(5, 3),), length=5,
               exact=True)
    yield Case("cumprod", lambda x: ops.cumprod(x, -1), (positive(3, 5),), length=5, exact=True)


def _shape():
    x = normal(3, 4, 5)
    for name, function in (
            ("reshape", lambda x: ops.reshape(x, (5, -1))), ("permute", lambda x: ops.permute(x, (2, 0, 1))),
            ("transpose", ops.transpose), ("transpose-axes", lambda x: ops.transpose(x, 0, 2)),
            ("broadcast_to", lambda x: ops.broadcast_to(x, (2, 3, 4, 5))),
            ("squeeze", lambda x: ops.squeeze(ops.unsqueeze(x, 1))), ("unsqueeze", lambda x: ops.unsqueeze(x, (0, -1))),
            ("flip", ops.flip), ("flip-axes", lambda x: ops.flip(x, (0, 2))),
            ("getitem", lambda x: ops.getitem(x, (slice(None, None, -2), None, 1, Ellipsis))),
            ("pad", lambda x: ops.pad(x, ((0, 1), (2, 0), (1, 1)), 3.0)),
            ("dilate", lambda x: ops.dilate(x, (0, 2), 2)), ("undilate", lambda x: ops.undilate(x, (1, 2), 1)),
            ("split", lambda x: ops.split(x, 1)[2] * ops.split(x, 1)[0]),
            ("split-sections", lambda x: ops.split(x, 1, (1, 3))[1])):
        yield Case(name, function, (x,), exact=True, length=4)
    yield Case("stack", lambda a, b: ops.stack([a, b, a], 1), (normal(3, 5), normal(3, 5)), exact=True, length=2)
    yield Case("concatenate", lambda a, b: ops.concatenate([a, b], -1), (normal(3, 5), normal(3, 2)), exact=True)


def _reductions():
    x = apart(3, 4, 5)
    for axis in (None, 0, -1, (0, 2), ()):
        for name in ("sum", "mean", "max", "min"):
            yield Case(f"{name}-{axis}", lambda x, f=getattr(ops, name), a=axis: f(x, a), (x,), length=60,
                       exact=name != "mean")
    yield Case("sum-keepdims", lambda x: ops.sum(x, 1, keepdims=True), (x,), length=4, exact=True)
    yield Case("max-ties", lambda x: ops.max(x * 0 + 1, 1), (x,), length=4, smooth=False)
    yield Case("var", lambda x: ops.var(x, (0, 1), correction=1), (normal(3, 4, 5),), length=12)
    for name in ("softmax", "log_softmax", "logsumexp"):
        yield Case(name, lambda x, f=getattr(ops, name): f(x, -1), (normal(4, 6),), length=6)
        yield Case(f"{name}-axis0", lambda x, f=getattr(ops, name): f(x, 0), (normal(4, 6),), length=4)
    for name in ("argmax", "argmin"):
        for axis in (None, 1):
            yield Case(f"{name}-{axis}", lambda x, f=getattr(ops, name), a=axis: f(x, a), (x,), exact=True, smooth=False)
    yield Case("sum-long", ops.sum, (normal(30, 400),), length=12000, second=False, smooth=False)
    yield Case("sum-columns", lambda x: ops.sum(x, 0), (normal(700, 33),), length=700, second=False, smooth=False)


def _products():
    for name, a, b in (("", (5, 7), (7, 3)), ("-batch", (2, 5, 7), (2, 7, 3)), ("-broadcast", (4, 1, 3, 5), (2, 5, 6)),
                       ("-matrix-vector", (5, 7), (7,)), ("-vector-matrix", (7,), (2, 7, 3)), ("-vectors", (7,), (7,))):
        yield Case(f"matmul{name}", ops.matmul, (normal(*a), normal(*b)), length=8 * 7, exact=True)
    yield Case("matmul-large", ops.matmul, (normal(97, 131), normal(131, 70)), length=131, exact=True,
               second=False, smooth=False)


def _convolutions():
    def conv(name, x, w, bias=False, layout="NHWC", exact=True, **keywords):
        inputs = (normal(*x), normal(*w)) + ((normal(w[-1] if layout[-1] == "C" else w[0]),) if bias else ())
        dims = len(x) - 2
        function = getattr(ops, ("conv_transpose%dd" if name.startswith("transpose") else "conv%dd") % dims)
        # Terms behind an output or a weight gradient; every image position counts for the latter.
        length = math.prod(x) * max(w)
        return Case(f"conv{dims}d-{name}", lambda x, w, b=None: function(x, w, b, layout=layout, **keywords), inputs,
                    length=length, exact=exact)
    yield conv("plain", (2, 6, 5, 3), (3, 3, 3, 4), bias=True)
    yield conv("nchw", (2, 3, 6, 5), (4, 3, 3, 3), bias=True, layout="NCHW", padding=1)
    yield conv("relu", (2, 6, 5, 3), (3, 3, 3, 4), bias=True, activation="relu")
    yield conv("relu6", (2, 3, 6, 5), (4, 3, 3, 3), layout="NCHW", padding=1, activation="relu6")
    yield conv("relu6-im2col", (2, 6, 5, 3), (3, 3, 3, 4), bias=True, activation="relu6", algorithm="im2col")
    yield conv("strided", (2, 7, 8, 3), (3, 2, 3, 4), stride=(2, 3), padding=((1, 0), (2, 1)))
    yield conv("dilated", (1, 8, 9, 2), (3, 2, 2, 3), dilation=(2, 3), padding=2)
    yield conv("strided-dilated", (1, 9, 11, 2), (3, 3, 2, 3), stride=(2, 3), dilation=(2, 2), padding=(3, 2))
    yield conv("grouped", (2, 5, 6, 4), (3, 3, 2, 6), groups=2, padding="same")
    yield conv("depthwise", (2, 5, 6, 4), (3, 3, 1, 8), groups=4, bias=True)
    yield conv("1x1", (2, 4, 5, 6), (1, 1, 6, 7))
    yield conv("wide-padding", (1, 2, 3, 2), (2, 2, 2, 3), padding=4)
    yield conv("stride-over-kernel", (1, 9, 10, 2), (2, 2, 2, 3), stride=4)
    yield conv("im2col", (2, 6, 5, 4), (3, 2, 2, 4), bias=True, stride=2, padding=1, groups=2, algorithm="im2col")
    yield conv("filter2row", (2, 6, 5, 4), (3, 2, 2, 4), bias=True, stride=2, padding=1, groups=2, algorithm="filter2row")
    yield conv("fft", (2, 6, 5, 4), (3, 2, 2, 4), bias=True, stride=(2, 1), padding=1, dilation=(1, 2), groups=2,
               algorithm="fft", exact=False)
    yield conv("1d", (2, 9, 3), (4, 3, 5), layout="NLC", stride=2, bias=True)
    yield conv("1d-ncl", (2, 3, 9), (5, 3, 4), layout="NCL", padding=3, dilation=2)
    yield conv("3d", (1, 4, 5, 3, 2), (2, 3, 2, 2, 3), layout="NDHWC", stride=(1, 2, 1), padding=1)
    yield conv("3d-ncdhw", (1, 2, 4, 5, 3), (3, 2, 2, 3, 2), layout="NCDHW", dilation=(2, 1, 1))
    yield conv("transpose", (2, 3, 4, 4), (3, 3, 2, 4), stride=2, padding=1, output_padding=1)
    yield conv("transpose-nchw", (2, 4, 3, 4), (4, 3, 2, 3), layout="NCHW", stride=(2, 3), dilation=2, groups=2)


def _normalisation_and_losses():
    yield Case("batch_norm", lambda x, w, b: ops.batch_norm(x, None, None, w, b, True),
               (normal(4, 3, 2, 5), positive(3), normal(3)), length=40)
    yield Case("batch_norm-relu", lambda x, w, b: ops.batch_norm(x, None, None, w, b, True, activation="relu"),
               (normal(4, 3, 2, 5), positive(3), normal(3)), length=40)
    yield Case("batch_norm-relu6", lambda x, w, b: ops.batch_norm(x, None, None, w, b, True, activation="relu6"),
               (normal(7, 3), positive(3), positive(3)), length=7)
    yield Case("batch_norm-plain", lambda x: ops.batch_norm(x, training=True), (normal(6, 3),), length=6)
    yield Case("batch_norm-eval", lambda x, m, v, w, b: ops.batch_norm(x, m, v, w, b),
               (normal(4, 3, 5), Input("normal", (3,), False), Input("positive", (3,), False), normal(3), normal(3)),
               length=20)
    yield Case("layer_norm", lambda x, w, b: ops.layer_norm(x, (3, 5), w, b), (normal(4, 3, 5), normal(3, 5), normal(3, 5)),
               length=15)
    yield Case("group_norm", lambda x, w, b: ops.group_norm(x, 2, w, b), (normal(2, 4, 3), normal(4), normal(4)), length=6)
    yield Case("cross_entropy", lambda x, y: ops.cross_entropy(x, y), (normal(5, 4), labels(5)), length=20)
    for name, keywords in (("smoothed", {"label_smoothing": 0.3}), ("weighted", {"weight": np.arange(1.0, 5), "ignore_index": 2}),
                           ("sum", {"reduction": "sum"}), ("none", {"reduction": "none", "label_smoothing": 1.0})):
        yield Case(f"cross_entropy-{name}", lambda x, y, k=keywords: ops.cross_entropy(x, y, **k), (normal(5, 4), labels(5)),
                   length=20)
    yield Case("cross_entropy-pixels", ops.cross_entropy, (normal(2, 4, 3, 2), labels(2, 3, 2)), length=48)
    yield Case("nll_loss", lambda x, y: ops.nll_loss(x, y, np.arange(1.0, 5)), (normal(5, 4), labels(5)), length=20)
    yield Case("mse_loss", ops.mse_loss, (normal(3, 5), normal(3, 5)), length=15)
    yield Case("l1_loss", ops.l1_loss, (apart(3, 5), positive(3, 5)), length=15)
    yield Case("huber_loss", lambda x, y: ops.huber_loss(x, y, "sum", 0.7), (normal(3, 5), normal(3, 5)), length=15)
    yield Case("smooth_l1_loss", lambda x, y: ops.smooth_l1_loss(x, y, "none", 0.3), (normal(3, 5), normal(3, 5)))
    yield Case("bce_with_logits", lambda x, y: ops.bce_with_logits(x, y, pos_weight=fc.array(
        np.arange(1.0, 6), y.dtype, y.device)), (normal(3, 5), positive(3, 5)), length=15)
    yield Case("one_hot", lambda y: ops.one_hot(y, 4), (labels(3, 2),), exact=True, smooth=False)
    yield Case("dropout", lambda x: ops.dropout(x, 0.4, rng=np.random.default_rng(0)), (normal(4, 6),))
    yield Case("chain", lambda x, w: ops.relu(ops.matmul(x, w)).sum(0).exp().mean(), (normal(5, 4), positive(4, 3)), length=60)


def _pooling():
    x = apart(2, 3, 7, 6)
    for name, keywords in (("", dict(kernel_size=2)), ("-overlap", dict(kernel_size=3, stride=(2, 1), padding=1)),
                           ("-ceil", dict(kernel_size=(3, 2), stride=2, ceil_mode=True))):
        yield Case(f"max_pool2d{name}", lambda x, k=keywords: ops.max_pool2d(x, **k), (x,), length=9, exact=True)
        yield Case(f"avg_pool2d{name}", lambda x, k=keywords: ops.avg_pool2d(x, **k), (x,), length=9)
    yield Case("max_pool2d-dilated", lambda x: ops.max_pool2d(x, 2, 1, 1, 2), (x,), length=4, exact=True)
    yield Case("avg_pool2d-no-pad", lambda x: ops.avg_pool2d(x, 3, 2, 1, count_include_pad=False), (x,), length=9)
    yield Case("max_pool1d", lambda x: ops.max_pool1d(x, 3, 1, 1), (apart(2, 3, 8),), length=3, exact=True)
    yield Case("avg_pool1d", lambda x: ops.avg_pool1d(x, 3, 2), (normal(2, 3, 8),), length=3)
    yield Case("max_pool3d", lambda x: ops.max_pool3d(x, 2, 1), (apart(1, 2, 3, 4, 3),), length=8, exact=True)
    yield Case("avg_pool3d", lambda x: ops.avg_pool3d(x, (1, 2, 3), 2), (normal(1, 2, 3, 4, 3),), length=6)
    patches = dict(kernel_size=(3, 2), stride=(2, 1), padding=1, dilation=(1, 2))
    yield Case("unfold", lambda x: ops.unfold(x, **patches), (x,), length=6, exact=True)
    yield Case("fold", lambda x: ops.fold(x, (5, 6), **patches), (normal(2, 18, 18),), length=6, exact=True)
    yield Case("adaptive_avg_pool-even", lambda x: ops.adaptive_avg_pool(x, (1, 3)), (x,), length=14)
    yield Case("adaptive_avg_pool", lambda x: ops.adaptive_avg_pool(x, (3, 4)), (x,), length=12)


def _indexing_and_recurrence():
    yield Case("linear", ops.linear, (normal(4, 3, 5), normal(6, 5), normal(6)), exact=True, length=12)
    yield Case("linear-no bias", ops.linear, (normal(5), normal(6, 5)), exact=True, length=5)
    yield Case("embedding", lambda w: ops.embedding([[1, 3, 1], [0, 1, 3]], w), (normal(5, 3),), exact=True, length=3)
    yield Case("index_select", lambda x: ops.index_select(x, [2, 0, 2, 1], 1), (normal(2, 4, 3),), exact=True, length=2)
    t, n, h = 4, 3, 2
    for label, sizes in (("", None), ("-packed", (3, 2, 2, 1))):
        yield Case(f"rnn{label}", lambda g, s, w, z=sizes: _joined(ops.rnn(g, s, w, "tanh", z)),
                   (normal(t, n, h), normal(n, h), normal(h, h)), length=24)
        yield Case(f"rnn-relu{label}", lambda g, s, w, z=sizes: _joined(ops.rnn(g, s, w, "relu", z)),
                   (apart(t, n, h), apart(n, h), positive(h, h)), length=24, second=False)
        yield Case(f"lstm{label}", lambda g, s, c, w, z=sizes: _joined(ops.lstm(g, s, c, w, z)),
                   (normal(t, n, 4 * h), normal(n, h), normal(n, h), normal(4 * h, h)), length=96)
        yield Case(f"gru{label}", lambda g, s, w, b, z=sizes: _joined(ops.gru(g, s, w, b, z)),
                   (normal(t, n, 3 * h), normal(n, h), normal(3 * h, h), normal(3 * h)), length=72)


def _attention():
    shapes = (normal(2, 4, 3), normal(2, 5, 3), normal(2, 5, 2))
    yield Case("attention", ops.scaled_dot_product_attention, shapes, length=15)
    yield Case("attention-causal", lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, is_causal=True), shapes, length=15)


def _joined(outputs):
    """Everything a recurrent op returns in one tensor, (rows, h)."""
    return ops.concatenate([ops.reshape(o, (-1, o.shape[-1])) for o in outputs], 0)


CASES = [*_unary(), *_binary(), *_integers(), *_along_axis(), *_shape(), *_reductions(), *_products(),
         *_convolutions(), *_pooling(), *_normalisation_and_losses(), *_indexing_and_recurrence(), *_attention()]
