"""fuse: a model for inference, with BatchNorm and activations folded into the convolutions before them."""
import copy

from .conv import Conv1d, Conv2d, Conv3d
from .layers import ReLU
from .module import Identity, Module, Parameter
from .norm import BatchNorm1d, BatchNorm2d, BatchNorm3d

_CONVOLUTIONS = (Conv1d, Conv2d, Conv3d)
_NORMS = (BatchNorm1d, BatchNorm2d, BatchNorm3d)


def fuse(model):
    """A copy of `model` in eval mode in which convolution, BatchNorm and ReLU or ReLU6 are one call.

    Which layers stand behind one another a Module says in `chains` (Sequential knows by itself):
    BatchNorm goes into the weight and bias of the convolution before it, by its running statistics,
    an activation becomes the convolution's own, and Identity takes their places. Outputs are those
    of model.eval() but for rounding. `model` is left as it is, in its mode; parameters that are not
    folded are shared with it, folded ones are fixed: fuse again after training on.

    >>> import fastconv as fc
    >>> fc.nn.fuse(fc.nn.Sequential(fc.nn.Conv2d(3, 8, 3), fc.nn.BatchNorm2d(8), fc.nn.ReLU()))
    Sequential(
      (0): Conv2d(3, 8, kernel_size=(3, 3), stride=1, activation='relu')
      (1): Identity()
      (2): Identity()
    )
    """
    if not isinstance(model, Module):
        raise TypeError(f"fuse takes a Module, not {type(model).__name__}")
    return _copied(model, {}).eval()


def _copied(value, known):
    """A copy of a Module with all below it, containers opened; anything else is shared."""
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(v, known) for v in value)
    if isinstance(value, dict):
        return {key: _copied(v, known) for key, v in value.items()}
    if not isinstance(value, Module):
        return value
    if id(value) not in known:
        made = known[id(value)] = copy.copy(value)
        made.__dict__ = {name: _copied(v, known) for name, v in value.__dict__.items()}
        for chain in value.chains:
            _fold(made, chain, [getattr(value, name) for name in chain])
    return known[id(value)]


def _fold(owner, names, layers):
    """Put one convolution in the place of the first of these layers, as far as they fold into it."""
    if not isinstance(layers[0], _CONVOLUTIONS):
        return
    conv = copy.copy(layers[0])
    for name, layer in zip(names[1:], layers[1:]):
        if not _absorbs(conv, layer):
            break
        if isinstance(layer, _NORMS):
            conv.weight, conv.bias = _folded(conv, layer)
            conv.activation = layer.activation
        elif isinstance(layer, ReLU):
            conv.activation = "relu"
        setattr(owner, names[0], conv)
        setattr(owner, name, Identity())


def _absorbs(conv, layer):
    if isinstance(layer, Identity):
        return True
    if conv.activation is not None:
        return False
    if isinstance(layer, _NORMS):
        return layer.num_features == conv.out_channels and layer.running_mean is not None
    return isinstance(layer, ReLU)


def _folded(conv, norm):
    """(weight, bias) of the convolution that does what `conv` and then `norm` in eval mode do."""
    scale = (norm.running_var + norm.eps) ** -0.5
    if norm.weight is not None:
        scale = scale * norm.weight.data
    shift = -norm.running_mean if conv.bias is None else conv.bias.data - norm.running_mean
    bias = shift * scale
    if norm.bias is not None:
        bias = bias + norm.bias.data
    weight = conv.weight.data * scale.reshape((-1,) + (1,) * (conv.weight.ndim - 1))
    return Parameter(weight, requires_grad=False), Parameter(bias, requires_grad=False)
