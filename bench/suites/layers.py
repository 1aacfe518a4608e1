"""Convolution layers: which networks have which."""
import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Layer:
    """One convolution. `size`, `kernel`, `stride`, `padding` and `dilation` are tuples, one entry a dimension."""

    batch: int
    channels: int
    size: tuple
    out: int
    kernel: tuple
    stride: tuple
    padding: tuple
    dilation: tuple
    groups: int = 1
    note: str = ""

    @property
    def x_shape(self):
        return (self.batch, self.channels, *self.size)

    @property
    def w_shape(self):
        return (self.out, self.channels // self.groups, *self.kernel)

    @property
    def y_shape(self):
        reach = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in
                 zip(self.size, self.kernel, self.stride, self.padding, self.dilation))
        return (self.batch, self.out, *reach)

    @property
    def flops(self):
        """Of the forward pass, taps in the padding counted."""
        return 2 * math.prod(self.y_shape) * math.prod(self.w_shape[1:])

    def __str__(self):
        def cross(values):
            return "x".join(map(str, values))
        text = f"{cross(self.x_shape)} {cross(self.kernel)}"
        for letter, values, plain in (("s", self.stride, 1), ("d", self.dilation, 1)):
            if set(values) != {plain}:
                text += f" {letter}{values[0] if len(set(values)) == 1 else cross(values)}"
        if self.groups > 1:
            text += f" g{self.groups}"
        return f"{text} -> {self.out}"


def layer(batch, channels, size, out, kernel, stride=1, padding=None, dilation=1, groups=1, note="", dims=2):
    """A Layer with "same" padding unless told otherwise; an int stands for one per dimension."""
    def each(value):
        return value if isinstance(value, tuple) else (value,) * dims
    size, kernel, stride, dilation = each(size), each(kernel), each(stride), each(dilation)
    padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation)) if padding is None else each(padding)
    return Layer(batch, channels, size, out, kernel, stride, padding, dilation, groups, note)


def audio(batch, channels, length, out, kernel, stride=1, dilation=1, padding=None, note="audio"):
    return layer(batch, channels, length, out, kernel, stride, padding, dilation, note=note, dims=1)


def resnet9_seed(batch):
    """The distinct layers of the course's ResNet9."""
    return [layer(batch, *sizes, note="resnet9 seed") for sizes in
            ((3, 32, 16, 7, 4), (16, 8, 32, 3, 2), (32, 4, 32, 3, 1), (32, 4, 64, 3, 2), (64, 2, 128, 3, 2), (128, 1, 128, 3, 1))]


def resnet9_full(batch):
    return [layer(batch, *sizes, 3, note="resnet9 full") for sizes in
            ((3, 32, 64), (64, 32, 128), (128, 16, 128), (128, 16, 256), (256, 8, 512), (512, 4, 512))]


def resnet50(batch):
    """Stride in the 3x3 layers, as in torchvision's."""
    found = [layer(batch, 3, 224, 64, 7, 2, note="resnet50")]
    channels, size = 64, 56
    for stage, width in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            found += [layer(batch, channels, size, width, 1, note="resnet50"),
                      layer(batch, width, size, width, 3, stride, note="resnet50"),
                      layer(batch, width, size // stride, 4 * width, 1, note="resnet50")]
            if not block:
                found.append(layer(batch, channels, size, 4 * width, 1, stride, note="resnet50"))
            channels, size = 4 * width, size // stride
    return _distinct(found)


def vgg16(batch):
    plan = ((3, 224, 64), (64, 224, 64), (64, 112, 128), (128, 112, 128), (128, 56, 256), (256, 56, 256), (256, 28, 512),
            (512, 28, 512), (512, 14, 512))
    return [layer(batch, *sizes, 3, note="vgg16") for sizes in plan]


def mobilenet_v2(batch):
    found = [layer(batch, 3, 224, 32, 3, 2, note="mobilenetv2")]
    channels, size = 32, 112
    for expand, width, blocks, first in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                         (6, 160, 3, 2), (6, 320, 1, 1)):
        for block in range(blocks):
            stride, hidden = first if not block else 1, channels * expand
            if expand > 1:
                found.append(layer(batch, channels, size, hidden, 1, note="mobilenetv2"))
            found.append(layer(batch, hidden, size, hidden, 3, stride, groups=hidden, note="mobilenetv2"))
            size //= stride
            found.append(layer(batch, hidden, size, width, 1, note="mobilenetv2"))
            channels = width
    return _distinct([*found, layer(batch, channels, size, 1280, 1, note="mobilenetv2")])


def others(batch):
    """What no network above has: one dimension, dilation, groups, large kernels."""
    return [
        audio(batch, 1, 16000, 64, 80, 4, padding=38),
        audio(batch, 64, 4000, 64, 3),
        audio(batch, 128, 2000, 128, 9, 2),
        audio(batch, 64, 8000, 64, 3, dilation=8),
        audio(batch, 256, 1000, 256, 1),
        layer(batch, 64, 56, 64, 3, dilation=2, note="dilated"),
        layer(batch, 256, 28, 256, 3, dilation=4, note="dilated"),
        layer(batch, 128, 56, 128, 3, groups=32, note="grouped"),
        layer(batch, 256, 28, 256, 3, groups=4, note="grouped"),
        layer(batch, 64, 56, 64, 3, groups=64, note="depthwise"),
        layer(batch, 512, 14, 512, 5, groups=512, note="depthwise"),
        layer(batch, 64, 27, 192, 5, note="5x5"),
        layer(batch, 48, 14, 128, 5, note="5x5"),
        layer(batch, 64, 28, 64, 7, note="7x7"),
        layer(batch, 3, 227, 96, 11, 4, padding=0, note="11x11"),
        layer(batch, 128, 56, 256, 3, 2, note="strided"),
        layer(batch, 256, 56, 512, 1, 2, note="strided"),
    ]


def _distinct(layers):
    return list(dict.fromkeys(layers))


def every():
    """Every distinct layer of all of these at batch 1 and 32, and the seed ResNet9 at 128."""
    found = list(resnet9_seed(128))
    for batch in (1, 32):
        for network in (resnet9_seed, resnet9_full, resnet50, vgg16, mobilenet_v2, others):
            found += network(batch)
    seen = {}
    for found_layer in found:
        seen.setdefault(replace(found_layer, note=""), found_layer)
    return list(seen.values())


def representative():
    """About fifty of them: the table of the big and the small, every kind at batch 32, some at batch 1."""
    def pick(layers, *numbers):
        return [layers[i] for i in numbers]
    found = list(resnet9_seed(128)) + resnet9_full(32)
    found += [layer(32, *sizes, note="resnet50") for sizes in
              ((64, 56, 64, 3), (128, 28, 128, 3), (256, 14, 256, 3), (512, 7, 512, 3), (3, 224, 64, 7, 2), (64, 56, 256, 1),
               (256, 56, 64, 1), (512, 28, 128, 1), (1024, 14, 256, 1), (512, 7, 2048, 1), (128, 56, 128, 3, 2),
               (512, 14, 512, 3, 2), (512, 28, 1024, 1, 2))]
    found += [layer(1, *sizes, note="resnet50") for sizes in
              ((64, 56, 64, 3), (256, 14, 256, 3), (3, 224, 64, 7, 2), (64, 56, 256, 1), (512, 7, 2048, 1))]
    found += [layer(*sizes, 3, note="vgg16") for sizes in
              ((1, 3, 224, 64), (1, 64, 224, 64), (1, 256, 56, 256), (1, 512, 14, 512), (8, 128, 112, 128))]
    found += [layer(*sizes, note="mobilenetv2") for sizes in
              ((32, 3, 224, 32, 3, 2), (32, 32, 28, 192, 1), (32, 960, 7, 160, 1), (1, 960, 7, 320, 1))]
    found += [layer(batch, channels, size, channels, 3, stride, groups=channels, note="mobilenetv2")
              for batch, channels, size, stride in ((8, 96, 112, 2), (32, 192, 28, 1), (32, 384, 14, 1), (1, 192, 28, 1))]
    found += pick(others(32), 1, 2, 3, 5, 6, 7, 8, 11, 12, 13) + pick(others(8), 0, 10, 14) + pick(others(1), 1, 9, 15)
    return _distinct(found)


def tiny():
    return [layer(2, 3, 8, 4, 3, note="tiny"), layer(2, 4, 6, 8, 3, 2, groups=2, note="tiny"), audio(2, 3, 20, 4, 3, 2)]
