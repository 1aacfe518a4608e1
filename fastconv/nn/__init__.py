"""Layers and models: named, shaped and ordered like torch.nn, so that weights carry over."""
from .attention import MultiheadAttention, TransformerEncoder, TransformerEncoderLayer
from .conv import Conv, Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .fuse import fuse
from .layers import GELU, Dropout, Flatten, Linear, ReLU, Sigmoid, SiLU, Softmax, Tanh
from .loss import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss, NLLLoss, SmoothL1Loss, SoftmaxLoss
from .module import Identity, Module, Parameter, Residual, Sequential
from .norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, LayerNorm
from .pool import (
                   AdaptiveAvgPool1d,
                   AdaptiveAvgPool2d,
                   AdaptiveAvgPool3d,
                   AvgPool1d,
                   AvgPool2d,
                   AvgPool3d,
                   MaxPool1d,
                   MaxPool2d,
                   MaxPool3d,
)
from .recurrent import GRU, LSTM, RNN, Embedding, GRUCell, LSTMCell, RNNCell

__all__ = ["fuse"] + [name for name in dir() if name[0].isupper()]
