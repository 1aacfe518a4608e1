"""Whole training steps: zero the gradients, forward, loss, backward, optimiser, and the loss read back."""
from dataclasses import dataclass, replace

import numpy as np

from ..case import Case, Work, weights

# name -> (title, items in a batch, what they are)
IMAGES = {"resnet9": ("ResNet9 (seed)", 128, (3, 32, 32)), "resnet9-full": ("ResNet9 (full width)", 64, (3, 32, 32)),
          "cnn": ("small CNN, MNIST", 128, (1, 28, 28))}
# (embedding, hidden, layers, steps, batch)
LANGUAGE = [(30, 100, 1, 40, 16), (200, 200, 2, 35, 20), (650, 650, 2, 35, 20)]
VOCABULARY = 10_000


def cases(tiny=False):
    if tiny:
        return [image_step("cnn", 2), language_step(4, 6, 1, 3, 2, 11)]
    return [image_step(name, batch) for name, (_, batch, _) in IMAGES.items()] + [language_step(*sizes) for sizes in LANGUAGE]


def image_step(model, batch, **more):
    title, _, shape = IMAGES[model]
    return ImageStep(more.pop("name", f"{title}, batch {batch}, Adam step"), items=(batch, "images"), tolerance=1e-3,
                     model=model, shape=(batch, *shape), **more)


def language_step(embedding, hidden, layers, steps, batch, vocabulary=VOCABULARY):
    name = f"LSTM language model E{embedding} H{hidden} L{layers} T{steps} B{batch} V{vocabulary}, SGD step"
    return LanguageStep(name, items=(steps * batch, "words"), tolerance=1e-3,
                        sizes=(embedding, hidden, layers, steps, batch, vocabulary))


class Step(Case):
    """A Case of one step; subclasses say which model, with which inputs, under which optimiser."""

    def fastconv(self, device, dtype="float32"):
        import fastconv as fc
        model = self.fastconv_model(device, dtype)
        drawn = weights((n, a.shape) for n, a in model.state_dict().items())
        model.load_state_dict({n: a.astype(dtype) for n, a in drawn.items()}, strict=False)
        x, y = self.draw()
        x = x if x.dtype.kind == "i" else x.astype(dtype)
        optimizer = self.optimizer(fc.optim, model.parameters())

        def gradients():
            optimizer.zero_grad()
            out = model(x if x.dtype.kind == "i" else fc.Tensor(x, device=device))
            logits = out[0] if isinstance(out, tuple) else out
            loss = fc.ops.cross_entropy(logits, y)
            loss.backward()
            return logits, loss

        return {"": _work(gradients, optimizer, model)}

    def torch(self, torch, place, best):
        from .. import torch_models
        works = {}
        for layout in ("nchw", "channels-last") if best and self.images else ("nchw",):
            model = self.torch_model(torch_models)
            drawn = weights((n, tuple(a.shape)) for n, a in model.state_dict().items())
            model.load_state_dict({n: torch.from_numpy(a) for n, a in drawn.items()}, strict=False)
            model.to(place)
            x, y = (torch.from_numpy(a).to(place) for a in self.draw())
            if layout == "channels-last":
                model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
            optimizer = self.optimizer(torch.optim, model.parameters())

            def gradients(model=model, optimizer=optimizer, x=x, y=y):
                optimizer.zero_grad()
                logits = model(x)
                loss = torch.nn.functional.cross_entropy(logits, y)
                loss.backward()
                return logits, loss

            works[layout] = _work(gradients, optimizer, model)
        return works


def _work(gradients, optimizer, model):
    def call():
        _, loss = gradients()
        optimizer.step()
        return loss.item()

    def results():
        logits, loss = gradients()
        matrices = [p for p in model.parameters() if len(p.shape) > 1]
        found = [logits, loss, matrices[0].grad, matrices[-1].grad]
        return [np.array((a.detach().cpu() if hasattr(a, "cpu") else a).numpy()) for a in found]

    return Work(call, results)


@dataclass(frozen=True)
class ImageStep(Step):
    model: str = ""
    shape: tuple = ()
    images = True

    def draw(self):
        rng = self.rng()
        return rng.random(self.shape, np.float32), rng.integers(0, 10, self.shape[0])

    def small(self):
        return replace(self, shape=(min(self.shape[0], 4), *self.shape[1:]))

    def optimizer(self, optim, parameters):
        return optim.Adam(parameters, lr=1e-3, weight_decay=1e-3)

    def fastconv_model(self, device, dtype):
        import models
        place = {"device": device, "dtype": dtype}
        if self.model == "cnn":
            return models.SimpleCNN(**place)
        return models.ResNet9(width="full" if self.model == "resnet9-full" else "seed", **place)

    def torch_model(self, twins):
        return twins.SimpleCNN() if self.model == "cnn" else twins.ResNet9("full" if self.model == "resnet9-full" else "seed")


@dataclass(frozen=True)
class LanguageStep(Step):
    sizes: tuple = ()
    images = False

    def draw(self):
        *_, steps, batch, vocabulary = self.sizes
        ids = self.rng().integers(0, vocabulary, (steps + 1, batch))
        return ids[:-1], np.ascontiguousarray(ids[1:]).reshape(-1)

    def small(self):
        embedding, hidden, layers, steps, batch, vocabulary = self.sizes
        return replace(self, sizes=(embedding, hidden, layers, min(steps, 5), min(batch, 3), min(vocabulary, 500)))

    def optimizer(self, optim, parameters):
        return optim.SGD(parameters, lr=0.1)

    def fastconv_model(self, device, dtype):
        import models
        embedding, hidden, layers, _, _, vocabulary = self.sizes
        return models.LanguageModel(embedding, vocabulary, hidden, layers, "lstm", device=device, dtype=dtype)

    def torch_model(self, twins):
        embedding, hidden, layers, _, _, vocabulary = self.sizes
        return twins.LanguageModel(embedding, vocabulary, hidden, layers)
