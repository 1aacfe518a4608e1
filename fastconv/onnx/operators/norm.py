"""Normalisation."""
from ... import ops
from .registry import OnnxError, axis_of, operator


@operator("BatchNormalization")
def _(node, context, x, scale, bias, mean, var):
    eps, momentum = node.get("epsilon"), node.get("momentum")
    if node.get("training_mode"):       # the file asks for the batch's statistics, and for the running ones as outputs
        axes = (0, *range(2, x.ndim))
        batch = ops.mean(x, axes), ops.var(x, axes)
        follow = [running * momentum + now * (1 - momentum) for running, now in zip((mean, var), batch)]
        return ops.batch_norm(x, None, None, scale, bias, True, eps=eps), *follow
    if context.training:
        return ops.batch_norm(x, mean, var, scale, bias, True, 1 - momentum, eps)
    return ops.batch_norm(x, mean, var, scale, bias, False, eps=eps)


@operator("InstanceNormalization")
def _(node, context, x, scale, bias):
    if not scale.shape == bias.shape == x.shape[1:2]:
        raise OnnxError(f"scale {scale.shape}, bias {bias.shape} for x {x.shape}")
    return ops.group_norm(x, x.shape[1], scale, bias, node.get("epsilon"))


@operator("GroupNormalization")
def _(node, context, x, scale, bias):
    groups, channels = node.get("num_groups"), x.shape[1]
    if node.version < 21 and scale.shape == (groups,) != (channels,):        # one value for each group then
        if channels % groups:
            raise OnnxError(f"{channels} channels in {groups} groups")
        scale, bias = (ops.reshape(ops.broadcast_to(ops.unsqueeze(p, 1), (groups, channels // groups)), (channels,))
                       for p in (scale, bias))
    return ops.group_norm(x, groups, scale, bias, node.get("epsilon"))


@operator("LayerNormalization")
def _(node, context, x, scale, bias=None):
    axis, eps = axis_of(node, x.ndim), node.get("epsilon")
    axes = tuple(range(axis, x.ndim))
    if len(node.outputs) > 1:
        mean = ops.mean(x, axes, keepdims=True)
        rstd = (ops.var(x, axes, keepdims=True) + eps) ** -0.5
        y = (x - mean) * rstd * scale
        return y if bias is None else y + bias, mean, rstd
    if scale.shape == x.shape[axis:] and (bias is None or bias.shape == scale.shape):
        return ops.layer_norm(x, x.shape[axis:], scale, bias, eps)
    y = ops.layer_norm(x, x.shape[axis:], None, None, eps) * scale
    return y if bias is None else y + bias


@operator("RMSNormalization")
def _(node, context, x, scale):
    axes = tuple(range(axis_of(node, x.ndim), x.ndim))
    return x * (ops.mean(x * x, axes, keepdims=True) + node.get("epsilon")) ** -0.5 * scale


@operator("MeanVarianceNormalization")
def _(node, context, x):
    axes = tuple(a % x.ndim for a in node.get("axes"))
    centred = x - ops.mean(x, axes, keepdims=True)
    return centred / (ops.sqrt(ops.mean(centred * centred, axes, keepdims=True)) + 1e-9)
