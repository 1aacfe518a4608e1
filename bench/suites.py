"""What is measured: for each case the same work in fastconv and in PyTorch, checked before it is timed."""
import math
from dataclasses import dataclass

import numpy as np

import fastconv as fc


@dataclass(frozen=True)
class Work:
    """One case: calls by contestant name, the floating-point operations of one call, and a check."""

    name: str
    calls: dict
    flops: float
    check: object            # () -> largest relative error against the peer, or None
    items: tuple = ()        # (how many, of what) one call processes, for a rate


def _torch():
    try:
        import torch
    except ImportError:
        raise SystemExit("--compare torch needs PyTorch: pip install torch") from None
    torch.set_num_threads(fc.get_num_threads())
    return torch


def _error(mine, theirs):
    theirs = theirs.detach().numpy()
    return float(np.linalg.norm(mine - theirs) / max(np.linalg.norm(theirs), 1e-30))


# (batch, channels in, height, width, channels out, kernel, stride, padding)
CONVOLUTIONS = [
    ("resnet9 stem", 128, 3, 32, 32, 16, 7, 4, 3),
    ("resnet9 16-32 s2", 128, 16, 8, 8, 32, 3, 2, 1),
    ("resnet9 32-32", 128, 32, 4, 4, 32, 3, 1, 1),
    ("resnet9 32-64 s2", 128, 32, 4, 4, 64, 3, 2, 1),
    ("resnet9 64-128 s2", 128, 64, 2, 2, 128, 3, 2, 1),
    ("resnet9 128-128", 128, 128, 1, 1, 128, 3, 1, 1),
    ("64x56x56 3x3", 32, 64, 56, 56, 64, 3, 1, 1),
    ("128x28x28 3x3", 32, 128, 28, 28, 128, 3, 1, 1),
    ("256x14x14 3x3", 32, 256, 14, 14, 256, 3, 1, 1),
    ("512x7x7 3x3", 32, 512, 7, 7, 512, 3, 1, 1),
    ("imagenet stem", 32, 3, 224, 224, 64, 7, 2, 3),
    ("64x56x56 1x1", 32, 64, 56, 56, 256, 1, 1, 0),
]


def conv(device, peers, passes="forward"):
    """Convolution layers; passes is "forward" or "all" (forward and both gradients)."""
    rng = np.random.default_rng(0)
    for name, n, ci, h, w, co, k, s, p in CONVOLUTIONS:
        x = rng.normal(size=(n, ci, h, w)).astype(np.float32)
        layer = fc.nn.Conv2d(ci, co, k, s, p, bias=False, device=device)
        xt = fc.Tensor(x, device=device, requires_grad=passes == "all")
        out = (n, co, (h + 2 * p - k) // s + 1, (w + 2 * p - k) // s + 1)
        gt = fc.array(rng.normal(size=out).astype(np.float32), device=device)
        flops = 2 * math.prod(out) * ci * k * k * (3 if passes == "all" else 1)

        def mine(layer=layer, xt=xt, gt=gt):
            if passes == "all":
                xt.grad = layer.weight.grad = None
                layer(xt).backward(gt)
            else:
                with fc.no_grad():
                    layer(xt)
            device.synchronize()

        calls, check = {"fastconv": mine}, None
        if "torch" in peers:
            calls["torch"], check = _torch_conv(layer, xt, x, gt.numpy(), s, p, passes)
        yield Work(f"{name} {passes}", calls, flops, check)


def _torch_conv(layer, xt, x, g, stride, padding, passes):
    torch = _torch()
    xp = torch.tensor(x, requires_grad=passes == "all")
    wp = torch.tensor(layer.weight.numpy(), requires_grad=passes == "all")
    gp = torch.tensor(g)

    def theirs():
        if passes == "all":
            xp.grad = wp.grad = None
            torch.nn.functional.conv2d(xp, wp, None, stride, padding).backward(gp)
        else:
            with torch.no_grad():
                torch.nn.functional.conv2d(xp, wp, None, stride, padding)

    def check():
        errors = [_error(layer(xt).numpy(), torch.nn.functional.conv2d(xp, wp, None, stride, padding))]
        if passes == "all":
            layer(xt).backward(fc.array(g, device=xt.device))
            theirs()
            errors += [_error(xt.grad.numpy(), xp.grad), _error(layer.weight.grad.numpy(), wp.grad)]
        return max(errors)

    return theirs, check


def gemm(device, peers):
    """Square matrix products."""
    rng = np.random.default_rng(0)
    for n in (128, 256, 512, 1024, 2048):
        a, b = (rng.normal(size=(n, n)).astype(np.float32) for _ in range(2))
        ax, bx = fc.array(a, device=device), fc.array(b, device=device)

        def mine(ax=ax, bx=bx):
            ax @ bx
            device.synchronize()

        calls, check = {"fastconv": mine}, None
        if "torch" in peers:
            torch = _torch()
            at, bt = torch.tensor(a), torch.tensor(b)
            calls["torch"] = lambda at=at, bt=bt: at @ bt
            check = lambda ax=ax, bx=bx, at=at, bt=bt: _error((ax @ bx).numpy(), at @ bt)  # noqa: E731
        if "numpy" in peers:
            calls["numpy"] = lambda a=a, b=b: a @ b
        yield Work(f"gemm {n}", calls, 2 * n ** 3, check)


def train(device, peers):
    """A whole training step of the seed ResNet9: forward, loss, backward, Adam."""
    from models import ResNet9
    rng = np.random.default_rng(0)
    batch = 128
    x = rng.random((batch, 3, 32, 32), np.float32)
    y = rng.integers(0, 10, batch)
    fc.manual_seed(0)
    model = ResNet9(device=device)
    optimizer = fc.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-3)

    def mine():
        optimizer.zero_grad()
        loss = fc.ops.cross_entropy(model(fc.Tensor(x, device=device)), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    calls, check = {"fastconv": mine}, None
    if "torch" in peers:
        calls["torch"], twin = _torch_resnet9(model, x, y)

        def check():
            with fc.no_grad():
                return _error(model(fc.Tensor(x, device=device)).numpy(), twin(_torch().tensor(x)))
    yield Work("resnet9 step, batch 128", calls, 0, check, (batch, "images"))


def _torch_resnet9(model, x, y):
    """The same network with the same weights in PyTorch, and its training step."""
    torch = _torch()
    nn = torch.nn

    class Residual(nn.Module):
        def __init__(self, fn):
            super().__init__()
            self.fn = fn

        def forward(self, x):
            return self.fn(x) + x

    def block(i, o, k, s):
        return nn.Sequential(nn.Conv2d(i, o, k, s, (k - 1) // 2), nn.BatchNorm2d(o), nn.ReLU())

    twin = nn.Sequential(block(3, 16, 7, 4), block(16, 32, 3, 2),
                         Residual(nn.Sequential(block(32, 32, 3, 1), block(32, 32, 3, 1))),
                         block(32, 64, 3, 2), block(64, 128, 3, 2),
                         Residual(nn.Sequential(block(128, 128, 3, 1), block(128, 128, 3, 1))),
                         nn.Flatten(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    with torch.no_grad():
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            theirs.copy_(torch.tensor(ours.numpy()))
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3, weight_decay=1e-3)
    xt, yt = torch.tensor(x), torch.tensor(y)

    def step():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(twin(xt), yt)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, twin


# (name, embedding, hidden, layers, steps, batch)
LANGUAGE_MODELS = [("E30 H100 L1", 30, 100, 1, 40, 16), ("E200 H200 L2", 200, 200, 2, 35, 20),
                   ("E650 H650 L2", 650, 650, 2, 35, 20)]


def language(device, peers):
    """A whole SGD step of LSTM language models with a vocabulary of 10,000."""
    from models import LanguageModel
    vocabulary = 10_000
    for name, embedding, hidden, layers, steps, batch in LANGUAGE_MODELS:
        fc.manual_seed(0)
        ids = np.random.default_rng(0).integers(0, vocabulary, (steps + 1, batch))
        x, y = ids[:-1], ids[1:].reshape(-1)
        model = LanguageModel(embedding, vocabulary, hidden, layers, "lstm", device=device)
        optimizer = fc.optim.SGD(model.parameters(), lr=0.1)

        def mine(model=model, optimizer=optimizer, x=x, y=y):
            loss = fc.ops.cross_entropy(model(x)[0], y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        calls, check = {"fastconv": mine}, None
        if "torch" in peers:
            calls["torch"], check = _torch_language(model, x, y)
        yield Work(f"LSTM LM {name}", calls, 0, check, (steps * batch, "tokens"))


def _torch_language(model, x, y):
    """The same language model with the same weights in PyTorch: its step, and the check of the outputs."""
    torch = _torch()
    lstm = model.model
    parts = torch.nn.ModuleDict({
        "embedding": torch.nn.Embedding(*model.embedding.weight.shape),
        "model": torch.nn.LSTM(lstm.input_size, lstm.hidden_size, lstm.num_layers),
        "linear": torch.nn.Linear(lstm.hidden_size, model.output_size)})
    parts.load_state_dict({k: torch.tensor(v.numpy()) for k, v in model.state_dict().items()})
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.1)
    xt, yt = torch.tensor(x), torch.tensor(y)

    def logits():
        return parts["linear"](parts["model"](parts["embedding"](xt))[0]).reshape(len(y), -1)

    def step():
        loss = torch.nn.functional.cross_entropy(logits(), yt)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def check():
        with fc.no_grad():
            return _error(model(x)[0].numpy(), logits())

    return step, check


SUITES = {"conv": lambda d, p: conv(d, p, "forward"), "conv-all": lambda d, p: conv(d, p, "all"), "gemm": gemm,
          "train": train, "language": language}
