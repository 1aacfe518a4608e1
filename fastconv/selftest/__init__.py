"""Does every kernel compute right on this device? `python -m fastconv selftest`.

Every kernel of the contract runs on small inputs, dense and in an awkward layout (axes reversed, negative
strides, an offset), twice; the results have to be those of the reference device, bit for bit for whole
numbers and within rounding for floats, the same in both runs, and nothing beside them may change.
"""
import contextlib
import dataclasses
import math
import zlib

import numpy as np

from ..array import Array, array
from ..device import reference
from ..reference import KERNELS
from .cases import CASES, LENGTHS, Maker, Operand

MARGIN = 5          # elements before and after an operand in the awkward layout
FILLER = 113        # what they hold
FORMS = ("dense", "awkward")
RTOL = {"float32": 1.3e-6, "float64": 1e-13}        # of a sum of one term
ATOL = {"float32": 1e-5, "float64": 1e-12}          # of results around 1, or in proportion of larger ones


@dataclasses.dataclass
class Result:
    """What became of one case in one layout."""

    kernel: str
    case: str
    dtype: str
    kind: str               # exact or float
    form: str
    status: str             # ok, failed, or unsupported: a kernel, or float64, where the device has none
    message: str = ""
    arguments: str = ""
    launches: tuple = ()    # what OpenCL ran: kernels with the defines they were built with

    def __str__(self):
        lines = [f"{self.kernel} {self.dtype} {self.kind} {self.form}: {self.case}", f"  {self.message}"]
        if self.arguments:
            lines.append(f"  called as {self.kernel}({self.arguments})")
        return "\n".join(lines + [f"  launched {launch}" for launch in self.launches])


class Placed:
    """An operand in the memory of a device: `array` is what a kernel gets."""

    def __init__(self, operand, device, form):
        values = operand.values
        # What is broadcast stays so: those axes have one element.
        real = values[tuple(slice(None) if step else slice(1) for step in values.strides)]
        margin = 0 if form == "dense" or operand.compact else MARGIN
        self.before = np.full(real.size + 2 * margin, FILLER, values.dtype)
        view = self.before[margin:margin + real.size]
        if margin:
            view = view.reshape(real.shape[::-1]).transpose()[..., ::-1] if real.shape else view.reshape(())
        else:
            view = view.reshape(real.shape)
        view[...] = real
        view = np.broadcast_to(view, values.shape)
        self.operand, self.strides = operand, view.strides
        self.start = view.ctypes.data - self.before.ctypes.data
        self.storage = array(self.before, device=device)
        size = values.itemsize
        self.array = Array(self.storage.buffer, values.shape, tuple(s // size for s in view.strides), self.start // size,
                           values.dtype, device)

    def view(self, storage):
        """The operand's elements of its whole memory."""
        return np.ndarray(self.operand.values.shape, storage.dtype, storage, self.start, self.strides)

    def result(self):
        """(the values after the kernel, whether it changed anything that it may not)"""
        after = self.storage.numpy()
        expected = self.before.copy()
        if self.operand.written:
            self.view(expected)[...] = self.view(after)
        return self.view(after), after.tobytes() != expected.tobytes()


def _placed(arguments, device, form):
    """The arguments of a kernel call, and the Placed operands among them in their order."""
    found = []

    def place(argument):
        if isinstance(argument, list):
            return [place(a) for a in argument]
        if not isinstance(argument, Operand):
            return argument
        found.append(Placed(argument, device, form))
        return found[-1].array
    return [place(a) for a in arguments], found


def _compute(device, kernel, arguments, form):
    """The written operands' values after the kernel; AssertionError when it wrote anything else."""
    call, placed = _placed(arguments, device, form)
    getattr(device, kernel)(*call)
    results = []
    for number, p in enumerate(placed):
        values, spoilt = p.result()
        if spoilt:
            raise AssertionError(f"array {number} was changed " + ("outside of its elements" if p.operand.written else
                                                                   "though it is only read"))
        if p.operand.written:
            results.append(values)
    return results


def _difference(got, want, exact, length):
    """Where and how `got` is not `want`, or None."""
    with np.errstate(invalid="ignore"):
        right = (got == want) | ((got != got) & (want != want))
        if want.dtype.kind == "f" and not exact:
            rtol = RTOL[want.dtype.name] * math.sqrt(length)
            finite = np.isfinite(want)
            usual = math.sqrt(np.square(want, where=finite, out=np.zeros_like(want)).mean())
            right |= finite & (abs(got - want) <= ATOL[want.dtype.name] * max(1, usual) + rtol * abs(want))
    if right.all():
        return None
    at = tuple(int(i) for i in np.argwhere(~right)[0])
    return f"{(~right).sum()} of {right.size} elements are wrong; at {at} {got[at]} instead of {want[at]}"


def _check(device, kernel, arguments, exact, form, wanted):
    """What is wrong with this call, or None."""
    first = _compute(device, kernel, arguments, form)
    length = LENGTHS.get(kernel, lambda _: 1)(arguments)
    for number, (got, want) in enumerate(zip(first, wanted)):
        wrong = _difference(got, want, exact, length)
        if wrong:
            return f"result {number}: {wrong}"
    for number, (got, before) in enumerate(zip(_compute(device, kernel, arguments, form), first)):
        if got.tobytes() != before.tobytes():
            return f"result {number}: a second run gave other bits"
    return None


@contextlib.contextmanager
def _launches(device):
    """A list that fills with what OpenCL launches."""
    seen = []
    if device.kind != "opencl":
        yield seen
        return
    runtime, launch = device.implementation.runtime, device.implementation.runtime.launch

    def noting_launch(kernel, size, *rest):
        seen.append(f"{kernel.about}, {size} items")
        launch(kernel, size, *rest)
    runtime.launch = noting_launch
    try:
        yield seen
    finally:
        del runtime.launch


def _describe(arguments, form, device):
    """The arguments of a call as a person reads them."""
    def text(argument):
        if isinstance(argument, Array):
            return f"{argument.dtype} {argument.shape} strides {argument.strides} offset {argument.offset}"
        return f"[{', '.join(map(text, argument))}]" if isinstance(argument, list) else repr(argument)
    return ", ".join(map(text, _placed(arguments, device, form)[0]))


def all_cases(tiny=False, only=None):
    """(kernel, name, dtype, kind, arguments) of every case."""
    for kernel in KERNELS:
        if only and kernel not in only:
            continue
        dtypes, kinds, function = CASES[kernel]
        for dtype in dtypes:
            for kind in kinds:
                if kind == "float" and not dtype.startswith("float"):
                    continue
                make = Maker(dtype, kind == "exact", tiny, zlib.crc32(f"{kernel} {dtype} {kind}".encode()))
                for name, arguments in function(make):
                    yield kernel, name, dtype, kind, arguments


def run(device, tiny=False, only=None, progress=None):
    """The Results of every case on `device`, in every layout.

    tiny      the smallest shapes, for simulators
    only      names of kernels, instead of all
    progress  called with (kernel, cases done, cases in all) before every case
    """
    found = list(all_cases(tiny, only))
    results = []
    for done, (kernel, name, dtype, kind, arguments) in enumerate(found):
        if progress:
            progress(kernel, done, len(found))
        wanted = _compute(reference(), kernel, arguments, "dense")
        for form in FORMS:
            results.append(_one(device, kernel, name, dtype, kind, form, arguments, wanted))
    return results


def _one(device, kernel, name, dtype, kind, form, arguments, wanted):
    """The Result of one case in one layout; what a kernel raises is a failure too."""
    result = Result(kernel, name, dtype, kind, form, "ok")
    try:
        wrong = _check(device, kernel, arguments, kind == "exact", form, wanted)
    except NotImplementedError as error:
        result.status, result.message = "failed", str(error)
        if kernel in device.lacks or "float64" in str(error):
            result.status = "unsupported"
        return result
    except Exception as error:      # a driver's errors are of any kind, and the other kernels are to be tried all the same
        wrong = f"{type(error).__name__}: {error}"
    if wrong:
        result.status, result.message = "failed", wrong
        with contextlib.suppress(Exception), _launches(device) as seen:
            result.arguments = _describe(arguments, form, device)
            _compute(device, kernel, arguments, form)
        result.launches = tuple(seen)
    return result


def summary(results):
    """Counts in all and by kernel, and the failures as dicts."""
    kernels = {}
    for r in results:
        counts = kernels.setdefault(r.kernel, {})
        counts[r.status] = counts.get(r.status, 0) + 1
    totals = {status: sum(r.status == status for r in results) for status in ("ok", "failed", "unsupported")}
    return {**totals, "kernels": kernels, "failures": [dataclasses.asdict(r) for r in results if r.status == "failed"]}
