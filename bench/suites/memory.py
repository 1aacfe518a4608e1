"""What memory bounds: elementwise functions, reductions, copies between layouts, normalisations, optimiser steps.

Each at two sizes: one that fits the second-level caches, and one that no cache holds.
"""
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..case import Case, Work

SIDES = {"tiny": 4, "L2": 256, "large": 4096}       # of a square; other shapes hold as many elements


@dataclass(frozen=True)
class Entry:
    """A line of the table.

    shapes     of the inputs, as functions of the side of a square with as many elements; an input whose
               shape is preceded by "bool" holds truth values
    fastconv, torch, numpy   the function, given the library (fastconv's `ops`, torch, numpy) and the inputs
    passes     the main array's sizes that must move at least: one for each time it is read or written
    gradients  also compute the gradients of all inputs
    """

    name: str
    shapes: tuple
    fastconv: Callable
    torch: Callable
    numpy: Callable | None
    passes: float
    gradients: bool = False
    roof: str = "copy"


def square(n):
    return (n, n)


def row(n):
    return (n,)


def column(n):
    return (n, 1)


def cube(n):
    """(a, b, c) with a middle axis worth reducing."""
    return (max(n // 32, 1), 32, n)


def image(n):
    """(batch, channels, h, w)"""
    channels = max(n // 64, 1)
    return (max(n // 64, 1), channels, n * n // channels // max(n // 64, 1) // min(n, 64), min(n, 64))


def per_channel(n):
    return (image(n)[1],)


def boolean(shape):
    return lambda n: ("bool", *shape(n))


def _same(name, shapes, function, passes, **more):
    """An entry whose text is the same in all three libraries."""
    return Entry(name, shapes, function, function, function, passes, **more)


def _elementwise():
    yield _same("add", (square, square), lambda m, a, b: a + b, 3)
    yield _same("multiply by a number", (square,), lambda m, a: a * 1.5, 2)
    yield _same("add a row", (square, row), lambda m, a, b: a + b, 2)
    yield _same("add a column", (square, column), lambda m, a, b: a + b, 2)
    yield _same("compare", (square, square), lambda m, a, b: a < b, 2.25)
    yield _same("maximum", (square, square), lambda m, a, b: m.maximum(a, b), 3)
    yield _same("where", (boolean(square), square, square), lambda m, c, a, b: m.where(c, a, b), 3.25)
    yield _same("exp", (square,), lambda m, a: m.exp(a), 2)
    yield _same("tanh", (square,), lambda m, a: m.tanh(a), 2)
    yield Entry("sigmoid", (square,), lambda m, a: m.sigmoid(a), lambda m, a: m.sigmoid(a), lambda m, a: 1 / (1 + m.exp(-a)), 2)
    yield Entry("relu", (square,), lambda m, a: m.relu(a), lambda m, a: m.relu(a), lambda m, a: m.maximum(a, 0), 2)
    yield Entry("gelu", (square,), lambda m, a: m.gelu(a), lambda m, a: m.nn.functional.gelu(a), None, 2)
    yield Entry("relu and gradient", (square,), lambda m, a: m.relu(a), lambda m, a: m.relu(a), None, 5, gradients=True)


def _reductions():
    read = dict(passes=1, roof="read")
    yield _same("sum of all", (square,), lambda m, a: a.sum(), **read)
    for axis in (0, 1):
        yield _same(f"sum over axis {axis}", (square,), lambda m, a, d=axis: a.sum(d), **read)
    yield _same("sum over the middle axis", (cube,), lambda m, a: a.sum(1), **read)
    yield _same("sum over all but channels", (image,), lambda m, a: a.sum((0, 2, 3)), **read)
    yield Entry("max of all", (square,), lambda m, a: a.max(), lambda m, a: a.amax(), lambda m, a: a.max(), **read)
    for axis in (0, 1):
        yield Entry(f"max over axis {axis}", (square,), lambda m, a, d=axis: a.max(d), lambda m, a, d=axis: a.amax(d),
                    lambda m, a, d=axis: a.max(d), **read)
    for axis in (0, 1):
        yield _same(f"argmax over axis {axis}", (square,), lambda m, a, d=axis: a.argmax(d), **read)
    yield Entry("variance over axis 0", (square,), lambda m, a: m.var(a, 0), lambda m, a: a.var(0, correction=0),
                lambda m, a: a.var(0), **read)


def _layouts():
    def compact(permute):
        return (lambda m, a: permute(a).compact(), lambda m, a: permute(a).contiguous(),
                lambda m, a: np.ascontiguousarray(permute(a)))

    def axes(*order):
        return lambda a: a.permute(order) if hasattr(a, "permute") else a.transpose(order)

    yield Entry("transpose", (square,), *compact(axes(1, 0)), 2)
    yield Entry("NCHW to NHWC", (image,), *compact(axes(0, 2, 3, 1)), 2)
    yield Entry("NHWC to NCHW", (image,), *compact(axes(0, 3, 1, 2)), 2)
    yield Entry("every second column", (square,), *compact(lambda a: a[:, ::2]), 1.5)
    yield Entry("flip", (square,), lambda m, a: a.flip(1).compact(), lambda m, a: a.flip(1),
                lambda m, a: np.ascontiguousarray(a[:, ::-1]), 2)
    yield Entry("pad images by 1", (image,), lambda m, a: m.pad(a, ((0, 0), (0, 0), (1, 1), (1, 1))),
                lambda m, a: m.nn.functional.pad(a, (1, 1, 1, 1)), lambda m, a: m.pad(a, ((0, 0), (0, 0), (1, 1), (1, 1))), 2)
    yield Entry("concatenate", (square, square), lambda m, a, b: m.concatenate([a, b], 1), lambda m, a, b: m.cat([a, b], 1),
                lambda m, a, b: m.concatenate([a, b], 1), 4)


def _networks():
    def numpy_softmax(m, a):
        e = m.exp(a - a.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    def norm(library, kind):
        functional = library if hasattr(library, "batch_norm") and not hasattr(library, "nn") else library.nn.functional
        return getattr(functional, kind)

    def batch_norm(m, x, w, b):
        return norm(m, "batch_norm")(x, None, None, w, b, True)

    def batch_norm_eval(m, x, mean, var, w, b):
        return norm(m, "batch_norm")(x, mean, var * var, w, b)

    def layer_norm(m, x, w, b):
        return norm(m, "layer_norm")(x, (x.shape[-1],), w, b)

    affine = (image, per_channel, per_channel)
    yield Entry("BatchNorm, training", affine, batch_norm, batch_norm, None, 3)
    yield Entry("BatchNorm, training, and gradients", affine, batch_norm, batch_norm, None, 8, gradients=True)
    yield Entry("BatchNorm, eval", (image, *[per_channel] * 4), batch_norm_eval, batch_norm_eval, None, 2)
    yield Entry("softmax", (square,), lambda m, a: m.softmax(a, 1), lambda m, a: m.softmax(a, 1), numpy_softmax, 2)
    yield Entry("softmax and gradient", (square,), lambda m, a: m.softmax(a, 1), lambda m, a: m.softmax(a, 1), None, 5,
                gradients=True)
    yield Entry("log_softmax", (square,), lambda m, a: m.log_softmax(a, 1), lambda m, a: m.log_softmax(a, 1), None, 2)
    yield Entry("LayerNorm and gradients", (square, row, row), layer_norm, layer_norm, None, 5, gradients=True)
    yield Entry("max_pool2d 2", (image,), lambda m, a: m.max_pool2d(a, 2),
                lambda m, a: m.nn.functional.max_pool2d(a, 2), None, 1.25)
    yield Entry("max_pool2d 2 and gradient", (image,), lambda m, a: m.max_pool2d(a, 2),
                lambda m, a: m.nn.functional.max_pool2d(a, 2), None, 2.5, gradients=True)


def cases(tiny=False):
    found = []
    for size in ("tiny",) if tiny else ("L2", "large"):
        for part in (_elementwise, _reductions, _layouts, _networks):
            found += [_case(entry, size) for entry in part()]
        found += [optimiser(kind, (SIDES[size],) * 2, f"{title}, {size}") for kind, title in
                  (("adam", "Adam step"), ("sgd", "SGD step with momentum"))]
    return found


def _case(entry, size):
    n = SIDES[size]
    main = max(math.prod(_shape(shape(n))) for shape in entry.shapes)
    return Memory(f"{entry.name}, {size}", bytes=4 * main * entry.passes, roof=entry.roof, entry=entry, n=n)


def _shape(shape):
    return shape[1:] if shape and shape[0] == "bool" else shape


@dataclass(frozen=True)
class Memory(Case):
    entry: Entry | None = None
    n: int = 0

    def draw(self):
        rng, drawn = self.rng(), []
        for shape in (make(self.n) for make in self.entry.shapes):
            values = rng.standard_normal(_shape(shape), np.float32)
            drawn.append(values > 0 if shape != _shape(shape) else values)
        return drawn

    def small(self):
        """Every shape at a thousandth of the large size is large enough for several blocks and edges."""
        return replace(self, n=min(self.n, 512)) if self.n % 64 == 0 else self

    def fastconv(self, device, dtype="float32"):
        import fastconv as fc
        arrays = [fc.array(a if a.dtype == bool else a.astype(dtype), device=device) for a in self.draw()]
        if self.entry.gradients:
            tensors = [fc.Tensor(a, requires_grad=True) for a in arrays]
            return {"": self._with_gradients(lambda: self.entry.fastconv(fc.ops, *tensors), tensors, device.synchronize,
                                             lambda g: fc.array(g.astype(dtype), device=device))}

        def call():
            y = self.entry.fastconv(fc.ops, *arrays)
            device.synchronize()
            return y

        return {"": Work(call, lambda: [call().numpy()])}

    def torch(self, torch, place, best):
        tensors = [torch.from_numpy(a).to(place) for a in self.draw()]
        wait = torch.cuda.synchronize if place == "cuda" else lambda: None
        if self.entry.gradients:
            for t in tensors:
                t.requires_grad_()
            return {"": self._with_gradients(lambda: self.entry.torch(torch, *tensors), tensors, wait,
                                             lambda g: torch.from_numpy(g).to(place))}

        def call():
            with torch.no_grad():
                y = self.entry.torch(torch, *tensors)
            wait()
            return y

        return {"": Work(call, lambda: [call().cpu().numpy()])}

    def numpy(self):
        if self.entry.numpy is None:
            return {}
        arrays = self.draw()

        def call():
            return np.asarray(self.entry.numpy(np, *arrays))

        return {"": Work(call, lambda: [call()])}

    def _with_gradients(self, forward, tensors, wait, put):
        g = put(np.random.default_rng(1).standard_normal(tuple(forward().shape), np.float32))

        def call():
            for t in tensors:
                t.grad = None
            y = forward()
            y.backward(g)
            wait()
            return y

        def results():
            y = call()
            return [np.asarray((a.detach() if hasattr(a, "detach") else a).numpy()) for a in [y, *(t.grad for t in tensors)]]

        return Work(call, results)


def optimiser(kind, shape, name, **more):
    """One step for a list of parameters of `shape` (or of several shapes)."""
    shapes = shape if isinstance(shape[0], tuple) else (shape,)
    passes = {"adam": 7, "sgd": 5}[kind]        # p, its state, read and written; g read
    return Optimiser(name, bytes=4 * passes * sum(map(math.prod, shapes)), roof="copy", kind=kind, shapes=shapes, **more)


@dataclass(frozen=True)
class Optimiser(Case):
    kind: str = "adam"
    shapes: tuple = ()

    def draw(self):
        rng = self.rng()
        return [[rng.standard_normal(shape, np.float32) for shape in self.shapes] for _ in range(2)]

    def small(self):
        return replace(self, shapes=tuple(tuple(min(n, 512) for n in shape) for shape in self.shapes))

    def fastconv(self, device, dtype="float32"):
        import fastconv as fc
        values, gradients = self.draw()
        parameters = [fc.Tensor(v.astype(dtype), device=device, requires_grad=True) for v in values]
        for p, g in zip(parameters, gradients):
            p.grad = fc.Tensor(g.astype(dtype), device=device)
        step = self._make(fc.optim, parameters).step

        def call():
            step()
            device.synchronize()

        return {"": self._work(call, parameters)}

    def torch(self, torch, place, best):
        values, gradients = self.draw()
        parameters = [torch.from_numpy(v).to(place).requires_grad_() for v in values]
        for p, g in zip(parameters, gradients):
            p.grad = torch.from_numpy(g).to(place)
        step = self._make(torch.optim, parameters).step
        wait = torch.cuda.synchronize if place == "cuda" else lambda: None

        def call():
            step()
            wait()

        return {"": self._work(call, parameters)}

    def _make(self, optim, parameters):
        if self.kind == "adam":
            return optim.Adam(parameters, lr=1e-3, weight_decay=1e-3)
        return optim.SGD(parameters, lr=1e-3, momentum=0.9)

    def _work(self, call, parameters):
        def results():
            call()
            return [np.array((p.detach() if hasattr(p, "detach") else p).numpy()) for p in parameters]
        return Work(call, results)
