"""The structure: imports point one way, import is quick and quiet, docstring examples run."""
import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fastconv as fc

ROOT = Path(fc.__file__).parent
# Each may import only what stands before it.
ORDER = ["reference", "random", "view", "modes", "_cy", "cl", "device", "array", "row_gradient", "autograd", "ops", "tensor",
         "interop", "init", "nn", "optim", "io", "profile", "data", "onnx", "selftest", "__main__"]


def imported_rooms(path):
    """Top-level rooms of fastconv that a file imports when it is imported itself."""
    depth = len(path.relative_to(ROOT).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            yield from [node.module.split(".")[0]] if node.module else [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("fastconv"):
            yield (node.module.split(".") + [""])[1]


def test_imports_point_one_way():
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        assert room in ORDER, f"{path}: give {room} its place in ORDER"
        for other in imported_rooms(path):
            # device.py opens _cy and cl on demand: the one place where the devices are chosen.
            assert ORDER.index(other) < ORDER.index(room), f"{path} imports {other}"


def test_import_is_quiet_and_opens_nothing():
    code = "import sys, fastconv; assert 'pyopencl' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == done.stdout == ""


def test_the_example_of_contributing_is_the_code():
    text = (ROOT.parent / "CONTRIBUTING.md").read_text()
    for number, file in enumerate(["fastconv/scalar_ops.h", "fastconv/reference.py", "fastconv/ops/elementwise.py",
                                   "tests/cases.py"], start=1):
        step = text.split(f"\n{number}. `{file}`")[1]
        code = textwrap.dedent(step.split("```")[1].partition("\n")[2]).strip()
        assert code in textwrap.dedent((ROOT.parent / file).read_text()) or code in "\n".join(
            line.strip() for line in (ROOT.parent / file).read_text().splitlines()), f"{file} has no\n{code}"


def modules():
    names = ["fastconv"] + [m.name for m in pkgutil.walk_packages(fc.__path__, "fastconv.")]
    return [n for n in names if not n.split(".")[-1].startswith("_") and "._cy" not in n]


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings(name):
    module = sys.modules.get(name) or importlib.import_module(name)
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in finder.find(module, name):
        runner.run(test)
    # Ops are instances, which doctest does not look into.
    for key, value in vars(module).items():
        if isinstance(value, fc.autograd.Op) and value.__module__ == name:
            example = doctest.DocTestParser().get_doctest(value.__doc__ or "", vars(module), f"{name}.{key}", None, 0)
            runner.run(example)
    assert not runner.failures, f"{runner.failures} examples of {name} failed"
