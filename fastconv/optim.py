"""Optimisers: SGD, Adam, AdamW with the semantics of torch.optim, one fused device kernel a step."""
import math
import numbers

import numpy as np

from .array import Array, array, empty, full
from .row_gradient import RowGradient, take
from .tensor import Tensor


class Optimizer:
    """Base class: parameters, hyperparameters checked, per-parameter state.

    params   Tensors (any iterable); those without a gradient are left alone by step(). Or groups with
             settings of their own: [{"params": [...], "lr": 1e-4}, {"params": [...]}]
    lr       the learning rate; may be changed between steps (`optimizer.lr = ...`, and schedules do);
             a group's own keeps its proportion to it
    """

    state_names: tuple = ()
    group_settings: tuple = ("lr", "weight_decay")

    def __init__(self, params, **hyperparameters):
        if isinstance(params, Tensor):
            raise TypeError(f"an optimiser takes a list of Tensors, not one of shape {params.shape}")
        self.params, self._group_of, self._groups = self._split_groups(params, hyperparameters["lr"])
        if not self.params:
            raise ValueError("an optimiser needs at least one parameter")
        for p in self.params:
            if not isinstance(p, Tensor):
                raise TypeError(f"an optimiser takes Tensors, not {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(f"an optimiser takes leaves, not the result of an op (shape {p.shape})")
        if len(set(map(id, self.params))) < len(self.params):
            raise ValueError("an optimiser takes each parameter once: one step would change it twice")
        for name, value in hyperparameters.items():
            setattr(self, name, value)
        self._hyperparameters = tuple(hyperparameters)
        self.steps = [0] * len(self.params)
        self.state = [None] * len(self.params)

    def _split_groups(self, params, lr):
        """(all Tensors, the group of each, the settings of each group); lr as a factor of the optimiser's."""
        params, flat, group_of, groups = list(params), [], [], []
        if not any(isinstance(p, dict) for p in params):
            params = [{"params": params}]
        for number, group in enumerate(params):
            if not isinstance(group, dict) or "params" not in group:
                raise TypeError(f"parameter group {number} is no dict with 'params': {type(group).__name__}")
            settings = {name: value for name, value in group.items() if name != "params"}
            unknown = sorted(set(settings) - set(self.group_settings))
            if unknown:
                raise ValueError(f"parameter group {number} sets {', '.join(unknown)}; a group can set "
                                 f"{', '.join(self.group_settings)}")
            for name, value in settings.items():
                if name == "betas":
                    _check_betas(value)
                else:
                    _check(f"{name} of group {number}", value)
            if "lr" in settings:
                if not lr:
                    raise ValueError("groups with an lr of their own need an optimiser whose lr is not 0")
                settings["lr"] = settings["lr"] / lr
            members = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
            flat += members
            group_of += [number] * len(members)
            groups.append(settings)
        return flat, group_of, groups

    def _settings_of(self, group):
        """The hyperparameters of a group, by name."""
        settings = {name: getattr(self, name) for name in self._hyperparameters}
        own = dict(self._groups[group])
        own["lr"] = self.lr * own.get("lr", 1.0)
        return {**settings, **own}

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for p in self.params:
            p.grad = None

    def step(self):
        """Change the parameters in place by their gradients."""
        _check("lr", self.lr)
        groups = {}
        for i, p in enumerate(self.params):
            if p._grad is not None:
                if self.state[i] is None or self.state[i] and self.state[i][0].device is not p.device:
                    self.state[i] = self._fresh_state(p.data, self.state[i])
                self.steps[i] += 1
                groups.setdefault((p.device, p.dtype, self.steps[i], self._group_of[i]), []).append(i)
        for (device, _, step, group), members in groups.items():
            settings, work, tables = self._settings_of(group), [], []
            for i in members:
                p, g, state = self.params[i].data, self.params[i]._grad, self.state[i]
                if not isinstance(g, RowGradient):
                    work.append((p, g.data, state))
                    continue
                if g.values.size:
                    tables.append(_Rows(g, p, *state))
                    work.append(tables[-1].work)
                if not self._rests_on_zero(settings):
                    work.append((p, full((1, p.shape[1]), 0, p.dtype, p.device).broadcast_to(p.shape), state))
            if work:
                self._update(device, *map(list, zip(*work)), step, **settings)
            for table in tables:
                table.put_back()

    def _rests_on_zero(self, settings):
        """Whether a gradient of 0 changes nothing, so that a table's untouched rows need no step."""
        return False

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
        lacking = [name for name in self._hyperparameters if name not in state]
        if lacking:
            raise ValueError(f"a state without {', '.join(lacking)}: it is not of {type(self).__name__}")
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


class _Rows:
    """Of a table and its state the rows that a RowGradient names, taken out to be stepped on their own."""

    def __init__(self, g, *tables):
        self.tables, self.index = tables, g.index
        self.taken = [take(table, self.index) for table in tables]
        self.work = (self.taken[0], g.values, self.taken[1:])

    def put_back(self):
        for table, rows in zip(self.tables, self.taken):
            table.device.put(table, rows, self.index)


def _check(what, value, low=0.0, high=math.inf):
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{what}={value!r} is not a number")
    if not low <= value < high:
        raise ValueError(f"{what}={value} is not in [{low}, {high})")
    return value


def _check_betas(betas):
    try:
        beta1, beta2 = betas
    except (TypeError, ValueError):
        raise TypeError(f"betas={betas!r} is not a pair of numbers") from None
    return _check("beta1", beta1, high=1), _check("beta2", beta2, high=1)


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

    def _rests_on_zero(self, settings):
        return not settings["momentum"] and not settings["weight_decay"]

    def _update(self, device, params, grads, state, step, lr, momentum, weight_decay, nesterov):
        buffers = [s[0] if s else None for s in state]
        device.sgd_step(params, grads, buffers, lr, momentum, weight_decay, nesterov, step == 1)


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015); weight_decay is added to the gradient, as in torch.optim.Adam."""

    state_names = ("exp_avg", "exp_avg_sq")
    group_settings = ("lr", "weight_decay", "betas", "eps")
    decoupled = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, lr=_check("lr", lr), betas=_check_betas(betas), eps=_check("eps", eps),
                         weight_decay=_check("weight_decay", weight_decay))

    def _update(self, device, params, grads, state, step, lr, betas, eps, weight_decay):
        device.adam_step(params, grads, [s[0] for s in state], [s[1] for s in state], lr, *betas, eps, weight_decay,
                         self.decoupled, step)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW."""

    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr, betas, eps, weight_decay)


def clip_grad_norm(params, max_norm):
    """Scale the gradients so that their joint 2-norm is at most max_norm; returns the norm before (a 0-d Tensor).

    params: Tensors, or one.
    Stays on the device: nothing is read back.
    """
    _check("max_norm", max_norm)
    params = [p for p in ([params] if isinstance(params, Tensor) else params) if p._grad is not None]
    if not params:
        return Tensor(0.0)
    values = [p._grad.values if isinstance(p._grad, RowGradient) else p._grad.data for p in params]
    squares = [(v * v).sum() for v in values]
    total = squares[0]
    for s in squares[1:]:
        total = total + s
    norm = total.sqrt()
    factor = (float(max_norm) / (norm + 1e-6)).minimum(1.0)
    for v in values:
        if v.size:
            v.device.map("multiply", v, v, factor.broadcast_to(v.shape))
    return Tensor(norm)


# --- learning-rate schedules -----------------------------------------------------------------

class _Schedule:
    """Sets optimizer.lr after every step(); steps are whatever the caller counts, epochs or batches."""

    def __init__(self, optimizer):
        self.optimizer, self.base_lr, self.count = optimizer, optimizer.lr, 0
        optimizer.lr = self.lr_at(0)

    def step(self):
        """One more epoch or batch is done."""
        self.count += 1
        self.optimizer.lr = self.lr_at(self.count)

    def state_dict(self):
        """What load_state_dict needs to go on."""
        return {"count": self.count, "base_lr": self.base_lr}

    def load_state_dict(self, state):
        """Go on where `state` was taken."""
        self.count, self.base_lr = int(state["count"]), float(state["base_lr"])
        self.optimizer.lr = self.lr_at(self.count)


def _whole(what, value):
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{what}={value!r} is not a positive int")
    return value


class StepLR(_Schedule):
    """lr * gamma ** (steps // step_size)."""

    def __init__(self, optimizer, step_size, gamma=0.1):
        self.step_size, self.gamma = _whole("step_size", step_size), _check("gamma", gamma)
        super().__init__(optimizer)

    def lr_at(self, count):
        return self.base_lr * self.gamma ** (count // self.step_size)


class CosineLR(_Schedule):
    """From lr down to min_lr along half a cosine over total_steps (Loshchilov and Hutter 2017), then flat."""

    def __init__(self, optimizer, total_steps, min_lr=0.0):
        self.total_steps, self.min_lr = _whole("total_steps", total_steps), _check("min_lr", min_lr)
        super().__init__(optimizer)

    def lr_at(self, count):
        return _anneal(self.base_lr, self.min_lr, min(count / self.total_steps, 1.0))


class OneCycleLR(_Schedule):
    """Up to max_lr over the first part of total_steps, then down to almost nothing (Smith and Topin 2018).

    Starts at max_lr / div_factor, peaks after pct_start of the steps, ends at start / final_div_factor;
    both ways along half a cosine, as torch.optim.lr_scheduler.OneCycleLR without momentum cycling.
    """

    def __init__(self, optimizer, max_lr, total_steps, pct_start=0.3, div_factor=25.0, final_div_factor=1e4):
        self.max_lr, self.total_steps = _check("max_lr", max_lr), _whole("total_steps", total_steps)
        self.pct_start = _check("pct_start", pct_start, high=1)
        self.start, self.end = max_lr / div_factor, max_lr / div_factor / final_div_factor
        super().__init__(optimizer)

    def lr_at(self, count):
        peak, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        if count < peak:
            return _anneal(self.start, self.max_lr, count / peak)
        return _anneal(self.max_lr, self.end, min((count - peak) / max(last - peak, 1), 1.0))


def _anneal(start, end, fraction):
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2
