"""ONNX's node tests on every device: those that docs/onnx.md does not list pass, and those that it lists do not."""
import pytest

import fastconv as fc

pytest.importorskip("onnx")
from tests.onnx_nodes import cases, listed, outcome, reason, same_version  # noqa: E402

SHARDS = 4


@pytest.mark.parametrize("shard", range(SHARDS))
def test_nodes(shard, fast_device):
    names, excused = sorted(cases())[shard::SHARDS], listed()
    wrong = []
    for name in names:
        message = outcome(name, fast_device)
        if message is not None and "no float64" in message:
            continue                                        # this device has none, and says so
        if not same_version():                              # another onnx package: the page does not know its tests
            if message is not None:
                reason(name, message)
        elif (message is None) == (name.removeprefix("test_") in excused):
            wrong.append(f"{name}: {message or 'passes, but docs/onnx.md lists it'}")
    assert not wrong, f"{len(wrong)} of {len(names)}:\n" + "\n".join(wrong)


def test_the_list_names_tests_that_exist():
    if not same_version():
        pytest.skip("docs/onnx.md was made with another onnx package")
    missing = {f"test_{name}" for name in listed()} - set(cases())
    assert not missing, "docs/onnx.md names tests that onnx does not have: python -m tests.onnx_nodes"


def test_reference_agrees():
    """A few on the reference device, which runs what stays on the host."""
    for name in sorted(cases())[::40]:
        if name.removeprefix("test_") not in listed():
            assert outcome(name, fc.reference()) is None
