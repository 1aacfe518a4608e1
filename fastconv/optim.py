"""Optimisers: SGD, Adam, AdamW with the semantics of torch.optim, one fused device kernel a step."""
import math

import numpy as np

from .array import Array, array, empty
from .tensor import Tensor


class Optimizer:
    """Base class: parameters, hyperparameters checked, per-parameter state.

    params   Tensors (any iterable); those without a gradient are left alone by step()
    lr       the learning rate; may be changed between steps (`optimizer.lr = ...`)
    """

    state_names = ()

    def __init__(self, params, **hyperparameters):
        self.params = list(params)
        if not self.params:
            raise ValueError("an optimiser needs at least one parameter")
        for p in self.params:
            if not isinstance(p, Tensor):
                raise TypeError(f"an optimiser takes Tensors, not {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(f"an optimiser takes leaves, not the result of an op (shape {p.shape})")
        for name, value in hyperparameters.items():
            setattr(self, name, value)
        self._hyperparameters = tuple(hyperparameters)
        self.steps = [0] * len(self.params)
        self.state = [None] * len(self.params)

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for p in self.params:
            p.grad = None

    def step(self):
        """Change the parameters in place by their gradients."""
        groups = {}
        for i, p in enumerate(self.params):
            if p.grad is not None:
                if self.state[i] is None or self.state[i] and self.state[i][0].device is not p.device:
                    self.state[i] = self._fresh_state(p.data, self.state[i])
                self.steps[i] += 1
                groups.setdefault((p.device, p.dtype, self.steps[i]), []).append(i)
        for (device, _, step), members in groups.items():
            params = [self.params[i].data for i in members]
            grads = [self.params[i].grad.data for i in members]
            self._update(device, params, grads, [self.state[i] for i in members], step)

    def _fresh_state(self, p, old):
        if old:
            return [s.to(p.device) for s in old]
        state = []
        for _ in self.state_names:
            zeros = empty(p.shape, p.dtype, p.device, p.strides if p.size and 0 not in p.strides else None)
            zeros._fill(0)
            state.append(zeros)
        return state

    def state_dict(self):
        """Everything needed to go on: hyperparameters, step counts, and the state Arrays by "<index>.<name>"."""
        state = {name: getattr(self, name) for name in self._hyperparameters}
        state["steps"] = list(self.steps)
        for i, arrays in enumerate(self.state):
            for name, value in zip(self.state_names, arrays or ()):
                state[f"{i}.{name}"] = value
        return state

    def load_state_dict(self, state):
        """Restore what state_dict gave; ValueError when it does not fit these parameters."""
        if len(state.get("steps", ())) != len(self.params):
            raise ValueError(f"a state of {len(state.get('steps', ()))} parameters for {len(self.params)}")
        restored = []
        for i, p in enumerate(self.params):
            found = [state.get(f"{i}.{name}") for name in self.state_names]
            if any(s is not None and np.shape(s) != p.shape for s in found):
                raise ValueError(f"state of shape {[np.shape(s) for s in found]} for parameter {i} of shape {p.shape}")
            fresh = None if any(s is None for s in found) else self._fresh_state(p.data, None)
            for target, source in zip(fresh or (), found):
                target[...] = source.to(p.device) if isinstance(source, Array) else array(source, device=p.device)
            restored.append(fresh)
        for name in self._hyperparameters:
            value = state[name]
            setattr(self, name, tuple(value) if isinstance(value, list) else value)
        self.steps, self.state = list(state["steps"]), restored


def _check(what, value, low=0.0, high=math.inf):
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{what}={value!r} is not a number")
    if not low <= value < high:
        raise ValueError(f"{what}={value} is not in [{low}, {high})")
    return value


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (torch.optim.SGD; Sutskever et al. 2013).

        g = g + weight_decay * p;  buf = momentum * buf + g;  p = p - lr * buf

    With nesterov=True the step is along g + momentum * buf.
    """

    def __init__(self, params, lr=0.01, momentum=0.0, weight_decay=0.0, nesterov=False):
        if nesterov and not momentum:
            raise ValueError("nesterov needs a momentum")
        super().__init__(params, lr=_check("lr", lr), momentum=_check("momentum", momentum),
                         weight_decay=_check("weight_decay", weight_decay), nesterov=bool(nesterov))
        self.state_names = ("momentum_buffer",) if momentum else ()

    def _update(self, device, params, grads, state, step):
        buffers = [s[0] if s else None for s in state]
        device.sgd_step(params, grads, buffers, self.lr, self.momentum, self.weight_decay, self.nesterov, step == 1)


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015); weight_decay is added to the gradient, as in torch.optim.Adam."""

    state_names = ("exp_avg", "exp_avg_sq")
    decoupled = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        beta1, beta2 = betas
        super().__init__(params, lr=_check("lr", lr), betas=(_check("beta1", beta1, high=1), _check("beta2", beta2, high=1)),
                         eps=_check("eps", eps), weight_decay=_check("weight_decay", weight_decay))

    def _update(self, device, params, grads, state, step):
        device.adam_step(params, grads, [s[0] for s in state], [s[1] for s in state], self.lr, *self.betas,
                         self.eps, self.weight_decay, self.decoupled, step)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW."""

    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr, betas, eps, weight_decay)


def clip_grad_norm(params, max_norm):
    """Scale the gradients so that their joint 2-norm is at most max_norm; returns the norm before (a 0-d Tensor).

    Stays on the device: nothing is read back.
    """
    _check("max_norm", max_norm)
    grads = [p.grad for p in params if p.grad is not None]
    if not grads:
        return Tensor(0.0)
    squares = [(g.data * g.data).sum() for g in grads]
    total = squares[0]
    for s in squares[1:]:
        total = total + s
    norm = total.sqrt()
    factor = (float(max_norm) / (norm + 1e-6)).minimum(1.0)
    for g in grads:
        g.data = g.data * factor
    return Tensor(norm)
