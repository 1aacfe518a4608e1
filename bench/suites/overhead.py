"""What a call costs when there is nothing to compute."""
from dataclasses import dataclass, replace

import numpy as np

from ..case import Case, Work, weights
from .memory import optimiser

WIDTH = 8


def cases(tiny=False):
    kinds = {"array": "a + b of 16 elements, arrays", "tensor": "a + b of 16 elements, tensors",
             "recorded": "a + b of 16 elements, recorded", "backward": "(a + b).sum() of 16 elements, forward and backward",
             "mlp": f"3-layer MLP of width {WIDTH}, forward",
             "mlp-backward": f"3-layer MLP of width {WIDTH}, forward and backward"}
    found = [Overhead(name, tolerance=1e-5, kind=kind) for kind, name in kinds.items()]
    shapes = tuple(shape for _ in range(3) for shape in ((WIDTH, WIDTH), (WIDTH,)))
    return found + [replace(optimiser(kind, shapes, f"{title} step of a 3-layer MLP of width {WIDTH}"), bytes=0, roof="")
                    for kind, title in (("adam", "Adam"), ("sgd", "SGD"))]


def _mlp(nn, **place):
    return nn.Sequential(nn.Linear(WIDTH, WIDTH, **place), nn.ReLU(), nn.Linear(WIDTH, WIDTH, **place), nn.ReLU(),
                         nn.Linear(WIDTH, WIDTH, **place))


@dataclass(frozen=True)
class Overhead(Case):
    kind: str = ""

    def draw(self):
        return self.rng().standard_normal((2, 16), np.float32)

    def fastconv(self, device, dtype="float32"):
        import fastconv as fc
        arrays = [fc.array(a.astype(dtype), device=device) for a in self.draw()]
        if self.kind == "array":
            return {"": _work(lambda: arrays[0] + arrays[1], device.synchronize, lambda y: [y])}
        model = None
        if self.kind.startswith("mlp"):
            model = _mlp(fc.nn, device=device, dtype=dtype)
            drawn = weights((n, a.shape) for n, a in model.state_dict().items())
            model.load_state_dict({n: a.astype(dtype) for n, a in drawn.items()})
            arrays = [arrays[0].reshape(2, WIDTH)]
        tensors = [fc.Tensor(a, requires_grad=self.kind in ("recorded", "backward")) for a in arrays]
        return {"": self._tensors(tensors, model, device.synchronize, fc.no_grad)}

    def torch(self, torch, place, best):
        tensors = [torch.from_numpy(a).to(place) for a in self.draw()]
        wait = torch.cuda.synchronize if place == "cuda" else lambda: None
        model = None
        if self.kind.startswith("mlp"):
            model = _mlp(torch.nn)
            drawn = weights((n, tuple(a.shape)) for n, a in model.state_dict().items())
            model.load_state_dict({n: torch.from_numpy(a) for n, a in drawn.items()})
            model.to(place)
            tensors = [tensors[0].reshape(2, WIDTH)]
        for t in tensors:
            t.requires_grad_(self.kind in ("recorded", "backward"))
        return {"": self._tensors(tensors, model, wait, torch.no_grad)}

    def numpy(self):
        if self.kind != "array":
            return {}
        a, b = self.draw()
        return {"": Work(lambda: a + b, lambda: [a + b])}

    def _tensors(self, tensors, model, wait, no_grad):
        if self.kind == "mlp":
            def forward():
                with no_grad():
                    return model(tensors[0])
            return _work(forward, wait, lambda y: [y])
        if self.kind == "mlp-backward":
            parameters = list(model.parameters())

            def both():
                for p in parameters:
                    p.grad = None
                loss = model(tensors[0]).sum()
                loss.backward()
                return loss
            return _work(both, wait, lambda loss: [loss, *(p.grad for p in parameters)])
        a, b = tensors
        if self.kind == "backward":
            def backward():
                a.grad = b.grad = None
                y = (a + b).sum()
                y.backward()
                return y
            return _work(backward, wait, lambda y: [y, a.grad, b.grad])
        return _work(lambda: a + b, wait, lambda y: [y])


def _work(compute, wait, pick):
    def call():
        y = compute()
        wait()
        return y

    def results():
        return [np.array((a.detach().cpu() if hasattr(a, "cpu") else a).numpy()) for a in pick(call())]

    return Work(call, results)
