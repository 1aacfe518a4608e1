"""Module: parameters, buffers and submodules by name; and the containers."""
import numpy as np

from .. import ops
from ..array import Array, array
from ..tensor import Tensor


class Parameter(Tensor):
    """A Tensor that a Module lists among its parameters."""

    __slots__ = ()

    def __init__(self, obj, dtype=None, device=None, requires_grad=True):
        super().__init__(obj, dtype, device, requires_grad)


class Module:
    """Base class of layers and models.

    Parameters, buffers (Arrays registered with `register_buffer`) and Modules assigned as attributes
    are found by name, those in lists, tuples and dicts too. Subclasses define `forward`.

    >>> import fastconv as fc
    >>> model = fc.nn.Sequential(fc.nn.Linear(3, 2), fc.nn.ReLU())
    >>> [name for name, _ in model.named_parameters()]
    ['0.weight', '0.bias']
    """

    training = True
    chains: tuple = ()          # names of attributes that forward calls one behind the other, nothing between: for `fuse`

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    def forward(self, *args, **kwargs):
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    # --- what is inside

    def register_buffer(self, name, value):
        """Keep `value` (an Array or None) as attribute `name` and in state_dict, but not among the parameters."""
        self.__dict__.setdefault("_buffers", []).append(name)
        setattr(self, name, value)

    def _entries(self):
        """(name, value) of every attribute; lists, tuples and dicts are opened, at any depth."""
        for name, value in self.__dict__.items():
            yield from _opened(name, value)

    def named_children(self):
        """(name, Module) for each direct submodule."""
        return ((name, value) for name, value in self._entries() if isinstance(value, Module))

    def named_modules(self, prefix="", remove_duplicate=True):
        """(dotted name, Module) for this module ("") and every one below it, each once; or under each of its names."""
        seen, stack = set(), [(prefix, self, ())]
        while stack:
            name, module, above = stack.pop()
            if module in above or (remove_duplicate and id(module) in seen):
                continue
            seen.add(id(module))
            yield name, module
            children = [(f"{name}.{child}" if name else child, m, (*above, module)) for child, m in module.named_children()]
            stack += reversed(children)

    def modules(self):
        """This module and every one below it."""
        return [m for _, m in self.named_modules()]

    def named_parameters(self, remove_duplicate=True):
        """(dotted name, Parameter) in order of definition, a shared one once; or under each of its names."""
        seen = set()
        for prefix, module in self.named_modules("", remove_duplicate):
            for name, value in module._entries():
                if isinstance(value, Parameter) and not (remove_duplicate and id(value) in seen):
                    seen.add(id(value))
                    yield (f"{prefix}.{name}" if prefix else name), value

    def parameters(self):
        """The Parameters, as a list."""
        return [p for _, p in self.named_parameters()]

    def named_buffers(self, remove_duplicate=True):
        """(dotted name, Array) of the registered buffers."""
        for prefix, module in self.named_modules("", remove_duplicate):
            for name in module.__dict__.get("_buffers", ()):
                value = getattr(module, name)
                if value is not None:
                    yield (f"{prefix}.{name}" if prefix else name), value

    # --- state

    def state_dict(self):
        """dict of dotted name -> Array: parameters and buffers, live (not copies), shared ones under each name."""
        state = {name: p.data for name, p in self.named_parameters(remove_duplicate=False)}
        state.update(self.named_buffers(remove_duplicate=False))
        return state

    def load_state_dict(self, state, strict=True):
        """Write the values of `state` (Tensors, Arrays or NumPy arrays by name) into this module, in place.

        Raises one ValueError that lists every misshapen entry and, with strict=True, every missing
        and unexpected one; nothing is written then.
        """
        mine, values, problems = self.state_dict(), {}, []
        for name, target in mine.items():
            if name in state:
                try:
                    values[name] = _as_array(state[name], target.device)
                except (TypeError, ValueError) as error:
                    problems.append(f"{name}: {error}")
                else:
                    if values[name].shape != target.shape:
                        problems.append(f"{name}: shape {values[name].shape} does not fit {target.shape}")
        if strict:
            problems += [f"{name}: missing" for name in mine if name not in state]
            problems += [f"{name}: unexpected" for name in state if name not in mine]
        if problems:
            raise ValueError("load_state_dict: " + "; ".join(problems))
        for name, value in values.items():
            mine[name][...] = value

    def train(self, mode=True):
        """Training mode for this module and all below (Dropout drops, BatchNorm uses the batch)."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Evaluation mode for this module and all below."""
        return self.train(False)

    def to(self, device):
        """Move every parameter and buffer to `device`, in place."""
        for module in self.modules():
            module._move(device)
        return self

    def _move(self, device):
        """Move what this module itself holds."""
        for _, value in self._entries():
            if isinstance(value, Parameter):
                value.data = value.data.to(device)
                value.grad = None
        for name in self.__dict__.get("_buffers", ()):
            if getattr(self, name) is not None:
                setattr(self, name, getattr(self, name).to(device))

    def zero_grad(self):
        """Forget the gradients."""
        for p in self.parameters():
            p.grad = None

    # --- how it looks

    def extra_repr(self):
        """What stands between the parentheses of the repr of a layer without children."""
        return ""

    def __repr__(self):
        children = [f"({name}): {module!r}".replace("\n", "\n  ") for name, module in self.named_children()]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(children) + "\n)"


def _opened(name, value):
    """(name, value), or the same of everything inside a list, tuple or dict."""
    if isinstance(value, (list, tuple, dict)):
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _opened(f"{name}.{key}", inside)
    else:
        yield name, value


def _as_array(value, device):
    value = value.data if isinstance(value, Tensor) else value
    return (value if isinstance(value, Array) else array(np.asarray(value), device=device)).to(device)


class Sequential(Module):
    """Modules applied one after the other; indexable, iterable."""

    def __init__(self, *modules):
        for module in modules:
            if not callable(module):
                raise TypeError(f"Sequential takes modules, not {module!r}")
        for i, module in enumerate(modules):
            setattr(self, str(i), module)
        self.count = len(modules)
        # A convolution, BatchNorm and an activation, perhaps, from each layer on.
        self.chains = tuple(tuple(map(str, range(i, min(i + 3, self.count)))) for i in range(self.count - 1))

    def forward(self, x):
        for module in self:
            x = module(x)
        return x

    def __len__(self):
        return self.count

    def __iter__(self):
        return (getattr(self, str(i)) for i in range(self.count))

    def __getitem__(self, i):
        return list(self)[i]


class Residual(Module):
    """fn(x) + x."""

    def __init__(self, fn):
        self.fn = fn

    def forward(self, x):
        return ops.add(self.fn(x), x)


class Identity(Module):
    """x itself; takes and ignores any arguments."""

    def __init__(self, *args, **kwargs):
        pass

    def forward(self, x):
        return x
