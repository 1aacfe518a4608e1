"""Classifying images: ResNet-18 and MobileNetV2 in eval mode, without a graph."""
from dataclasses import dataclass, replace

import numpy as np

from ..case import Case, Work, weights

NETWORKS = {"resnet18": "ResNet18", "mobilenetv2": "MobileNetV2"}


def cases(tiny=False):
    if tiny:
        return [inference(network, 1, 32) for network in NETWORKS]
    return [inference(network, batch, 224) for network in NETWORKS for batch in (1, 16)]


def inference(network, batch, size):
    return Inference(f"{NETWORKS[network]} at {size}x{size}, batch {batch}", items=(batch, "images"), tolerance=1e-3,
                     network=network, batch=batch, size=size)


@dataclass(frozen=True)
class Inference(Case):
    """BatchNorm is folded into the convolutions in fastconv (`fc.nn.fuse`) and in PyTorch at its best."""

    network: str = ""
    batch: int = 1
    size: int = 224

    def draw(self):
        return self.rng().random((self.batch, 3, self.size, self.size), np.float32)

    def small(self):
        return replace(self, batch=1)

    def fastconv(self, device, dtype="float32"):
        import fastconv as fc
        import models
        model = getattr(models, NETWORKS[self.network])(image_size=self.size, device=device, dtype=dtype)
        drawn = weights((n, a.shape) for n, a in model.state_dict().items())
        model.load_state_dict({n: a.astype(dtype) for n, a in drawn.items()}, strict=False)
        model = fc.nn.fuse(model.eval())
        x = fc.Tensor(self.draw().astype(dtype), device=device)

        def call():
            with fc.no_grad():
                y = model(x)
            device.synchronize()
            return y

        return {"": Work(call, lambda: [call().numpy()])}

    def torch(self, torch, place, best):
        from .. import torch_models
        wait = torch.cuda.synchronize if place == "cuda" else lambda: None
        works = {}
        for variant in ("nchw", "nchw, folded", "channels-last, folded") if best else ("nchw",):
            model = getattr(torch_models, NETWORKS[self.network])(image_size=self.size)
            drawn = weights((n, tuple(a.shape)) for n, a in model.state_dict().items())
            model.load_state_dict({n: torch.from_numpy(a) for n, a in drawn.items()}, strict=False)
            model.to(place).eval()
            x = torch.from_numpy(self.draw()).to(place)
            if "folded" in variant:
                torch_models.fold(model)
            if "channels-last" in variant:
                model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)

            def call(model=model, x=x):
                with torch.inference_mode():
                    y = model(x)
                wait()
                return y

            works[variant] = Work(call, lambda call=call: [call().cpu().numpy()])
        return works
