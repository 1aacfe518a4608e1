"""The pages of docs/ say what is true: their code runs, their equivalents are equal."""
import re
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc

DOCS = Path(fc.__file__).parent.parent / "docs"


@pytest.mark.filterwarnings("ignore")          # torch's, of its exporter
def test_coming_from_pytorch(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "coming_from_pytorch.md").read_text(), re.DOTALL)
    assert len(blocks) == 5
    exec(compile("\n".join(blocks), "coming_from_pytorch.md", "exec"), {"__name__": "page"})


def equivalents():
    text = (DOCS / "coming_from_pytorch.md").read_text().split("## Equivalents")[1].split("\n## ")[0]
    return re.findall(r"^\| `(.+?)` \| `(.+?)` \|$", text, re.MULTILINE)


@pytest.mark.filterwarnings("ignore")
def test_equivalents(tmp_path, rng):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file
    values = {"x": rng.normal(size=(2, 2)), "image": rng.normal(size=(1, 3, 8, 8)), "weight": rng.normal(size=(4, 3, 3, 3))}
    values = {k: v.astype(np.float32) for k, v in values.items()}
    layer = torch.nn.Linear(2, 2)
    ours = fc.nn.Linear(2, 2)
    ours.load_state_dict({k: v.numpy() for k, v in layer.state_dict().items()})
    common = {"array": values["x"], "path": str(tmp_path / "file")}
    theirs = {**common, "torch": torch, "F": torch.nn.functional, "save_file": save_file, "load_file": load_file, "layer": layer,
              "labels": torch.tensor([1, 0]), **{k: torch.tensor(v) for k, v in values.items()}}
    mine = {**common, "fc": fc, "layer": ours, "labels": np.array([1, 0]), **{k: fc.Tensor(v) for k, v in values.items()}}
    rows = equivalents()
    assert len(rows) > 25
    threads = torch.get_num_threads(), fc.get_num_threads()
    try:
        for left, right in rows:
            a, b = eval(left, theirs), eval(right, mine)
            if isinstance(b, (fc.Tensor, fc.Array, np.ndarray)):
                a = a.detach().numpy() if hasattr(a, "detach") else np.asarray(a)
                np.testing.assert_allclose(np.asarray(b), a, rtol=1e-4, atol=1e-5, err_msg=right)
                assert np.asarray(b).shape == a.shape and np.asarray(b).dtype == a.dtype, right
    finally:
        torch.set_num_threads(threads[0])
        fc.set_num_threads(threads[1])
