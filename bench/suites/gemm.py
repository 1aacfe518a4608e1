"""Matrix products: squares, thin and small ones, batched, transposed operands."""
from dataclasses import dataclass

import numpy as np

from ..case import Case, Work, relative_error

SQUARES = (512, 1024, 2048, 4096)
# (m, n, k)
THIN = [(32, 1024, 1024), (64, 1024, 1024), (128, 1024, 1024), (1024, 32, 1024), (1024, 64, 1024), (1024, 128, 1024),
        (1024, 1024, 32), (1024, 1024, 64), (1024, 1024, 128), (64, 4096, 64), (128, 128, 128), (64, 64, 64), (32, 32, 32),
        (128, 10, 128), (1, 1024, 1024)]
BATCHED = [(64, 64, 64, 64), (16, 256, 256, 256), (256, 32, 32, 64), (8, 512, 64, 512)]      # (batch, m, n, k)


def cases(tiny=False):
    if tiny:
        return [gemm(8, 8, 8), gemm(4, 3, 5, batch=2), gemm(6, 6, 6, transposed="a")]
    found = [gemm(n, n, n) for n in SQUARES] + [gemm(*sizes) for sizes in THIN]
    found += [gemm(m, n, k, batch=batch) for batch, m, n, k in BATCHED]
    found += [gemm(1024, 1024, 1024, transposed=which) for which in ("a", "b", "ab")]
    return [*found, gemm(128, 512, 1024, transposed="b")]


def gemm(m, n, k, batch=0, transposed="", **more):
    """Operands in `transposed` lie in memory with rows and columns exchanged."""
    name = more.pop("name", f"{f'{batch} x ' if batch else ''}{m}x{k} @ {k}x{n}" +
                    (f", {' and '.join(transposed)} transposed" if transposed else ""))
    count = batch or 1
    return Gemm(name, flops=2 * count * m * n * k, bytes=4 * count * (m * k + k * n + m * n), roof="fma",
                sizes=(batch, m, n, k), transposed=transposed, **more)


@dataclass(frozen=True)
class Gemm(Case):
    sizes: tuple = ()
    transposed: str = ""

    def draw(self):
        batch, m, n, k = self.sizes
        rng, front = self.rng(), (batch,) if batch else ()
        return [self._lay(rng.standard_normal((*front, *shape), np.float32), which)
                for which, shape in (("a", (m, k)), ("b", (k, n)))]

    def _lay(self, x, which):
        return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2) if which in self.transposed else x

    def fastconv(self, device, dtype="float32"):
        import fastconv as fc

        def put(x, which):
            if which not in self.transposed:
                return fc.array(x, dtype, device)
            return fc.array(np.ascontiguousarray(x.swapaxes(-1, -2)), dtype, device).transpose(-1, -2)

        a, b = (put(x, which) for x, which in zip(self.draw(), "ab"))

        def call():
            a @ b
            device.synchronize()

        return {"": Work(call, lambda: [(a @ b).numpy()])}

    def torch(self, torch, place, best):
        a, b = (torch.from_numpy(x).to(place) for x in self.draw())
        wait = torch.cuda.synchronize if place == "cuda" else lambda: None

        def call():
            torch.matmul(a, b)
            wait()

        return {"": Work(call, lambda: [(a @ b).cpu().numpy()])}

    def numpy(self):
        a, b = self.draw()
        return {"": Work(lambda: a @ b, lambda: [a @ b])}

    def error(self, device):
        """Against float64, for some rows."""
        a, b = self.draw()
        (mine,) = self.fastconv(device)[""].results()
        rows = sorted({0, a.shape[-2] // 2, a.shape[-2] - 1})
        return relative_error([mine[..., rows, :]], [a[..., rows, :].astype(np.float64) @ b.astype(np.float64)])
