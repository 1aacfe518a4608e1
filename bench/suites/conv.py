"""Convolution layers, each forward and forward with both gradients."""
import math
from dataclasses import dataclass

import numpy as np

from ..case import Case, Work, relative_error
from . import layers


def representative(tiny=False):
    return _cases(layers.tiny() if tiny else layers.representative())


def every(tiny=False):
    return _cases(layers.tiny() if tiny else layers.every())


def _cases(chosen):
    return [conv_case(layer, passes) for layer in chosen for passes in ("forward", "all")]


def conv_case(layer, passes, **more):
    """The Case of a Layer; `passes` is "forward", or "all" for forward and the gradients of x and w."""
    flops = layer.flops * (3 if passes == "all" else 1)
    name = more.pop("name", f"{layer} {passes}" + (f" ({layer.note})" if layer.note else ""))
    return Conv(name, flops=flops, bytes=_bytes(layer, passes), roof="fma", layer=layer, passes=passes,
                keeps=_keeps(layer, passes), **more)


def _bytes(layer, passes):
    """Forward reads x and w and writes y; each gradient reads two of them and writes the third."""
    return 4 * sum(map(math.prod, (layer.x_shape, layer.w_shape, layer.y_shape))) * (3 if passes == "all" else 1)


def _keeps(layer, passes):
    """The output, and with `all` the gradients of x and w."""
    return 4 * sum(map(math.prod, (layer.y_shape, layer.x_shape, layer.w_shape)[:3 if passes == "all" else 1]))


@dataclass(frozen=True)
class Conv(Case):
    """Both libraries get x and the output's gradient in NCHW memory, and in a second variant channels-last.

    fastconv's own layers hand on channels-last memory behind an NCHW shape, as PyTorch's do once their input
    is channels_last; the first layer of a network sees NCHW.
    """

    layer: layers.Layer = None
    passes: str = "forward"

    def draw(self):
        rng = self.rng()
        return [rng.standard_normal(shape, np.float32) for shape in
                (self.layer.x_shape, self.layer.w_shape, self.layer.y_shape)]

    def fastconv(self, device, dtype="float32"):
        x, w, g = self.draw()
        works = {"nchw": _fastconv_work(self, device, dtype, x, w, g, False)}
        if len(self.layer.size) == 2:
            works["channels-last"] = _fastconv_work(self, device, dtype, x, w, g, True)
        return works

    def torch(self, torch, place, best):
        x, w, g = self.draw()
        works = {"nchw": _torch_work(self, torch, place, x, w, g, False)}
        if best and len(self.layer.size) == 2:
            works["channels-last"] = _torch_work(self, torch, place, x, w, g, True)
        return works

    def error(self, device):
        """At the timed size, against float64 for some channels and images, the first and the last among them.

        An output channel needs one filter, an input gradient its channel of the filters, a weight gradient
        one channel of x and of g: small convolutions, which the reference device computes.
        """
        import fastconv as fc
        works = self.fastconv(device)
        x, w, g = (a.astype(np.float64) for a in self.draw())
        per_group, outs = self.layer.channels // self.layer.groups, self.layer.out // self.layer.groups
        images = sorted({0, self.layer.batch - 1})
        worst = 0.0
        for work in works.values():
            results = work.results()
            for group in sorted({0, self.layer.groups - 1}):
                xs, ws = slice(group * per_group, (group + 1) * per_group), slice(group * outs, (group + 1) * outs)
                xg, wg, gg = x[:, xs], w[ws], g[:, ws]
                o, c = sorted({0, outs // 2, outs - 1}), sorted({0, per_group // 2, per_group - 1})
                parts = [(self._reference(fc, xg[images], wg[o])[0], results[0][images][:, ws][:, o])]
                if self.passes == "all":
                    parts.append((self._reference(fc, xg[images][:, c], wg[:, c], gg[images])[1],
                                  results[1][images][:, xs][:, c]))
                    parts.append((self._reference(fc, xg[:, c], wg[o][:, c], gg[:, o])[2], results[2][ws][o][:, c]))
                worst = max(worst, *(relative_error([mine], [truth]) for truth, mine in parts))
        return worst

    def _reference(self, fc, x, w, g=None):
        """(y, dx, dw) of one group in float64, the gradients only where g is given."""
        x, w = (fc.Tensor(np.ascontiguousarray(a), device=fc.reference(), requires_grad=g is not None) for a in (x, w))
        layer = self.layer
        function = getattr(fc.ops, f"conv{len(layer.size)}d")
        y = function(x, w, None, layer.stride, layer.padding, layer.dilation, layout="NCL" if len(layer.size) == 1 else "NCHW")
        if g is None:
            return [y.numpy()]
        y.backward(np.ascontiguousarray(g))
        return [a.numpy() for a in (y, x.grad, w.grad)]


def _fastconv_work(case, device, dtype, x, w, g, channels_last):
    import fastconv as fc
    layer, both = case.layer, case.passes == "all"
    dims = len(layer.size)

    def put(a):
        """On the device, laid out as asked."""
        if not channels_last:
            return fc.array(a, dtype, device)
        return fc.array(np.ascontiguousarray(np.moveaxis(a, 1, -1)), dtype, device).permute(0, dims + 1, *range(1, dims + 1))

    module = getattr(fc.nn, f"Conv{dims}d")(layer.channels, layer.out, layer.kernel, layer.stride, layer.padding,
                                            layer.dilation, layer.groups, bias=False, device=device, dtype=dtype)
    module.weight.data[...] = fc.array(w, dtype, device)
    module.weight.requires_grad = both
    xt, gt = fc.Tensor(put(x), requires_grad=both), put(g) if both else None

    def forward():
        with fc.no_grad():
            y = module(xt)
        device.synchronize()
        return y

    def forward_and_gradients():
        xt.grad = module.weight.grad = None
        y = module(xt)
        y.backward(gt)
        device.synchronize()
        return y

    call = forward_and_gradients if both else forward

    def results():
        found = [call(), xt.grad, module.weight.grad]
        return [a.numpy() for a in found[:3 if both else 1]]

    return Work(call, results)


def _torch_work(case, torch, place, x, w, g, channels_last):
    layer, both = case.layer, case.passes == "all"
    convolve = getattr(torch.nn.functional, f"conv{len(layer.size)}d")
    wait = torch.cuda.synchronize if place == "cuda" else _nothing

    def put(a):
        a = torch.from_numpy(a).to(place)
        return a.to(memory_format=torch.channels_last) if channels_last else a

    xt, wt, gt = put(x).requires_grad_(both), put(w).requires_grad_(both), put(g)

    def forward():
        with torch.no_grad():
            y = convolve(xt, wt, None, layer.stride, layer.padding, layer.dilation, layer.groups)
        wait()
        return y

    def forward_and_gradients():
        xt.grad = wt.grad = None
        y = convolve(xt, wt, None, layer.stride, layer.padding, layer.dilation, layer.groups)
        y.backward(gt)
        wait()
        return y

    call = forward_and_gradients if both else forward

    def results():
        found = [call(), xt.grad, wt.grad]
        return [a.detach().cpu().numpy() for a in found[:3 if both else 1]]

    return Work(call, results)


def _nothing():
    pass
