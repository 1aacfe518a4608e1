"""Curves: time as the work grows, in batch, channels, image size, matrix size and threads."""
import os

from . import layers
from .conv import conv_case
from .gemm import gemm
from .train import image_step

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CHANNELS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
SIZES = (4, 7, 8, 14, 16, 28, 32, 56, 64, 112, 128, 224)
MATRICES = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)


TINY = {"batches": (1, 2), "channels": (2, 4), "sizes": (4, 5), "matrices": (4, 8), "width": 3, "images": 1}
FULL = {"batches": BATCHES, "channels": CHANNELS, "sizes": SIZES, "matrices": MATRICES, "width": 64, "images": 32}


def cases(tiny=False):
    size = TINY if tiny else FULL
    width, found = size["width"], []
    for passes in ("forward", "all"):
        found += [_conv(f"batch of {width}x28x28 3x3 -> {width}, {passes}", n, layers.layer(n, width, 28, width, 3), passes)
                  for n in size["batches"]]
        found += [_conv(f"channels of {size['images']}xCx14x14 3x3 -> C, {passes}", c,
                        layers.layer(size["images"], c, 14, c, 3), passes) for c in size["channels"]]
    found += [_conv(f"image size of 8x{width}xSxS 3x3 -> {width}, forward", s, layers.layer(8, width, s, width, 3), "forward")
              for s in size["sizes"]]
    found += [gemm(n, n, n, name=f"matrix size of a product, {n}", series="matrix size of a product", at=n)
              for n in size["matrices"]]
    # Not of one image: its last layers have one pixel, and PyTorch's BatchNorm wants more than one value.
    found += [image_step("resnet9", n, name=f"batch of a ResNet9 (seed) step, {n}", series="batch of a ResNet9 (seed) step", at=n)
              for n in size["batches"] if n > 1]
    return found + _threads(tiny)


def _conv(series, at, layer, passes):
    return conv_case(layer, passes, name=f"{series}, {at}", series=series, at=at)


def _threads(tiny):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= cores]
    if tiny:
        return [gemm(8, 8, 8, name=f"threads of a product, {n}", series="threads of a product", at=n, threads=n)
                for n in counts[:2]]
    found = []
    for n in counts:
        for layer, passes in ((layers.layer(32, 64, 56, 64, 3), "all"), (layers.layer(32, 512, 7, 512, 3), "all"),
                              (layers.layer(32, 3, 224, 64, 7, 2), "forward"), (layers.layer(32, 64, 56, 256, 1), "forward"),
                              (layers.layer(32, 384, 14, 384, 3, groups=384), "forward")):
            series = f"threads of {layer}, {passes}"
            found.append(conv_case(layer, passes, name=f"{series}, {n}", series=series, at=n, threads=n))
        found.append(gemm(1024, 1024, 1024, name=f"threads of a 1024 product, {n}", series="threads of a 1024 product", at=n,
                          threads=n))
        found.append(image_step("resnet9-full", 64, name=f"threads of a ResNet9 (full width) step, {n}",
                                series="threads of a ResNet9 (full width) step", at=n, threads=n))
    return found
