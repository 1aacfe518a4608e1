"""Every op by its public name. They take Tensors, Arrays, NumPy arrays and numbers."""
from ..autograd import broadcast_to, cast, sum_to, to_device
from .along_axis import cumprod, cumsum, put_along_axis, take_along_axis
from .attention import scaled_dot_product_attention
from .conv import (conv1d, conv2d, conv3d, conv_algorithms, conv_transpose1d, conv_transpose2d, conv_transpose3d)
from .elementwise import (abs, add, clip, divide, equal, erf, exp, gelu, greater, greater_equal, isfinite, less, less_equal, log,
                          logical_and, logical_or, maximum, minimum, multiply, negative, not_equal, power, relu,
                          sigmoid, sign, silu, softplus, sqrt, subtract, tanh, where)
from .indexing import embedding, index_select
from .integers import (bitwise_and, bitwise_not, bitwise_or, bitwise_xor, fmod, left_shift, logical_not, logical_xor, remainder,
                       right_shift, truncated_divide)
from .linalg import linear, matmul
from .logits import log_softmax, softmax
from .loss import (bce_with_logits, cross_entropy, dropout, huber_loss, l1_loss, mse_loss, nll_loss, one_hot,
                   smooth_l1_loss)
from .norm import batch_norm, group_norm, layer_norm
from .patches import fold, unfold
from .pool import (adaptive_avg_pool, avg_pool1d, avg_pool2d, avg_pool3d, max_pool1d, max_pool2d, max_pool3d)
from .recurrent import gru, lstm, rnn
from .reduce import argmax, argmin, logsumexp, max, mean, min, sum, var
from .shape import (concatenate, dilate, flip, getitem, pad, permute, reshape, split, squeeze, stack, transpose,
                    undilate, unsqueeze)
from .trigonometry import acos, acosh, asin, asinh, atan, atanh, ceil, cos, cosh, floor, round, sin, sinh, tan

__all__ = [name for name in dir() if not name.startswith("_")
           and name not in ("algorithms", "along_axis", "attention", "conv", "elementwise", "indexing", "integers", "linalg",
                            "logits", "loss", "norm", "patches", "pool", "recurrent", "reduce", "shape", "trigonometry")]
