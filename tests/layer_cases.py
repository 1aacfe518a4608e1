"""The table of layers: every class of fastconv.nn with an input, for tests and for docs/ops.md."""
from dataclasses import dataclass

import numpy as np

import fastconv as fc
from tests.cases import Input, apart, labels, normal

nn = fc.nn


@dataclass(frozen=True)
class LayerCase:
    name: str
    make: object             # (device, dtype) -> Module
    inputs: tuple
    length: int = 64         # terms of the longest sum, as in cases.py


def layer(name, make, *inputs, label="", **keywords):
    return LayerCase(name + label, make, inputs, **keywords)


class _Fixed(nn.Module):
    """A layer of fixed indices: nothing is differentiable but its parameters."""

    def __init__(self, module, *args):
        self.module, self.args = module, args

    def forward(self):
        return self.module(*self.args)


class _Self(nn.Module):
    """Attention of a tensor to itself."""

    def __init__(self, module, **keywords):
        self.module, self.keywords = module, keywords

    def forward(self, x):
        return self.module(x, x, x, **self.keywords)[0]


class _First(nn.Module):
    """The first output of a layer that returns a tuple."""

    def __init__(self, module, **keywords):
        self.module, self.keywords = module, keywords

    def forward(self, *args):
        out = self.module(*args, **self.keywords)
        return out[0] if isinstance(out, tuple) else out


def _place(d, t):
    return {"device": d, "dtype": t}


def plain(name, *args, inputs=(normal(2, 3, 6, 5),), label="", **keywords):
    """A layer that has no parameters, so no device or dtype either."""
    return layer(name, lambda d, t: getattr(nn, name)(*args, **keywords), *inputs, label=label)


def placed(name, *args, inputs=(normal(2, 4, 6, 5),), label="", length=64, **keywords):
    """A layer whose parameters live on a device."""
    return layer(name, lambda d, t: getattr(nn, name)(*args, **keywords, **_place(d, t)), *inputs, label=label, length=length)


image1, image2, image3 = normal(2, 4, 9), normal(2, 4, 6, 5), normal(2, 4, 3, 4, 3)

LAYERS = [
    placed("Linear", 5, 3, inputs=(normal(2, 4, 5),)),
    placed("Linear", 5, 3, inputs=(normal(4, 5),), bias=False, label=" no bias"),
    placed("Conv1d", 4, 6, 3, inputs=(image1,), stride=2, padding=1),
    placed("Conv2d", 4, 6, 3, inputs=(image2,), stride=(2, 1), padding=1, groups=2, length=256),
    placed("Conv2d", 4, 6, (3, 2), inputs=(image2,), dilation=2, padding="same", bias=False, label=" dilated", length=256),
    placed("Conv2d", 4, 6, 3, inputs=(image2,), activation="relu6", label=" and ReLU6", length=256),
    placed("Conv3d", 4, 2, 2, inputs=(image3,), length=256),
    placed("ConvTranspose1d", 4, 2, 3, inputs=(image1,), stride=2),
    placed("ConvTranspose2d", 4, 2, 3, inputs=(image2,), stride=2, padding=1, output_padding=1, length=256),
    placed("ConvTranspose3d", 4, 2, 2, inputs=(image3,), length=256),
    placed("Conv", 4, 6, 3, inputs=(image2,), stride=2, length=256),
    placed("BatchNorm1d", 4, inputs=(normal(8, 4),)),
    placed("BatchNorm1d", 4, inputs=(image1,), label=" of sequences"),
    placed("BatchNorm2d", 4, inputs=(image2,)),
    placed("BatchNorm2d", 4, inputs=(image2,), affine=False, label=" not affine"),
    placed("BatchNorm2d", 4, inputs=(image2,), activation="relu", label=" and ReLU"),
    placed("BatchNorm3d", 4, inputs=(image3,)),
    placed("LayerNorm", (6, 5), inputs=(image2,)),
    placed("GroupNorm", 2, 4, inputs=(image2,)),
    *(plain(name) for name in ("ReLU", "Tanh", "Sigmoid", "GELU", "SiLU", "Softmax", "Flatten", "Identity")),
    layer("Dropout", lambda d, t: nn.Dropout(0.3, np.random.default_rng(0)), image2),
    *(plain(f"{kind}Pool{n}d", 2, inputs=(apart(*x.shape),)) for kind in ("Max", "Avg")
      for n, x in ((1, image1), (2, image2), (3, image3))),
    *(plain(f"AdaptiveAvgPool{n}d", 2, inputs=(x,)) for n, x in ((1, image1), (2, image2), (3, image3))),
    layer("Sequential", lambda d, t: nn.Sequential(nn.Linear(5, 4, **_place(d, t)), nn.Tanh()), normal(3, 5)),
    layer("Residual", lambda d, t: nn.Residual(nn.Linear(5, 5, **_place(d, t))), normal(3, 5)),
    layer("Embedding", lambda d, t: _Fixed(nn.Embedding(5, 3, **_place(d, t)), [[1, 4], [4, 0]])),
    *(layer(f"{kind}Cell", lambda d, t, k=kind: _First(getattr(nn, k + "Cell")(5, 3, **_place(d, t))), normal(4, 5))
      for kind in ("RNN", "LSTM", "GRU")),
    *(layer(kind, lambda d, t, k=kind: _First(getattr(nn, k)(5, 3, 2, bidirectional=True, **_place(d, t))), normal(4, 2, 5))
      for kind in ("RNN", "LSTM", "GRU")),
    *(layer(kind, lambda d, t, k=kind: _First(getattr(nn, k)(5, 3, batch_first=True, **_place(d, t)), lengths=[2, 4]),
            normal(2, 4, 5), label=" of lengths") for kind in ("RNN", "LSTM", "GRU")),
    layer("MultiheadAttention", lambda d, t: _Self(nn.MultiheadAttention(6, 2, **_place(d, t))), normal(4, 2, 6)),
    layer("MultiheadAttention", lambda d, t: _Self(nn.MultiheadAttention(6, 2, batch_first=True, **_place(d, t)), is_causal=True),
          normal(2, 4, 6), label=" causal"),
    placed("TransformerEncoderLayer", 6, 2, 8, 0.0, inputs=(normal(4, 2, 6),)),
    placed("TransformerEncoderLayer", 6, 2, 8, 0.0, "gelu", norm_first=True, inputs=(normal(4, 2, 6),), label=" norm first"),
    layer("TransformerEncoder", lambda d, t: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(6, 3, 8, 0.0, **_place(d, t)), 2), normal(4, 2, 6), length=256),
    plain("CrossEntropyLoss", inputs=(normal(5, 4), labels(5))),
    plain("SoftmaxLoss", inputs=(normal(5, 4), labels(5))),
    plain("NLLLoss", inputs=(normal(5, 4), labels(5))),
    *(plain(name, inputs=(normal(3, 5), Input("normal", (3, 5), False))) for name in (
        "L1Loss", "HuberLoss", "SmoothL1Loss", "BCEWithLogitsLoss")),
    plain("MSELoss", inputs=(normal(3, 5), Input("normal", (3, 5), False))),
]
