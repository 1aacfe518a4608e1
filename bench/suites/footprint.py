"""Memory: the peak resident size of a process that does one thing, each library in a process of its own."""
from . import layers
from .conv import conv_case
from .train import image_step


def cases(tiny=False):
    if tiny:
        return [image_step("cnn", 2)]
    chosen = [layers.layer(32, 64, 56, 64, 3), layers.layer(32, 3, 224, 64, 7, 2), layers.layer(32, 64, 56, 256, 1)]
    return [image_step("resnet9-full", 64), image_step("resnet9", 128)] + [conv_case(layer, "all") for layer in chosen]
