"""fc.save and fc.load: weights in safetensors files, to and from PyTorch."""
import os

import numpy as np
import pytest

import fastconv as fc

pytest.importorskip("safetensors")


def test_round_trip(device, rng, tmp_path):
    """Strided weights, every dtype, 0-d and empty tensors: the same values come back."""
    path = tmp_path / "weights.safetensors"
    model = fc.nn.Sequential(fc.nn.Conv2d(3, 4, 3, device=device), fc.nn.BatchNorm2d(4, device=device))
    fc.save(model, path)
    found = fc.load(path, device)
    assert set(found) == set(model.state_dict())
    for name, value in model.state_dict().items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name].numpy(), value.numpy())
    tensors = {"a": fc.array(rng.normal(size=(3, 4)), device=device).T, "b": np.arange(6, dtype=np.int32).reshape(2, 3)[:, ::-1],
               "c": fc.Tensor(2.5, device=device), "d": np.zeros((0, 3), np.uint8), "e": np.array([True, False])}
    fc.save(tensors, path)
    for name, value in fc.load(path).items():
        expected = np.asarray(tensors[name])
        assert value.dtype == expected.dtype
        np.testing.assert_array_equal(value.numpy(), expected)


def test_a_file_may_be_saved_over_what_was_loaded_from_it(tmp_path):
    path = str(tmp_path / "weights.safetensors")
    fc.save({"w": np.arange(1000.0)}, path)
    loaded = fc.load(path)
    fc.save({"w": loaded["w"] * 2, "old": loaded["w"]}, path)
    again = fc.load(path)
    np.testing.assert_array_equal(again["old"].numpy() * 2, again["w"].numpy())
    assert os.listdir(tmp_path) == ["weights.safetensors"]


def test_what_cannot_be_saved_leaves_the_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    fc.save({"w": np.ones(3)}, path)
    for bad in ({"w": [1, 2]}, {1: np.ones(2)}, [np.ones(2)], {"w": None}):
        with pytest.raises(TypeError):
            fc.save(bad, path)
    assert fc.load(path)["w"].shape == (3,)


def test_files_that_are_none(tmp_path):
    path = tmp_path / "weights.safetensors"
    fc.save({"w": np.ones(300)}, path)
    whole = path.read_bytes()
    for data in (b"", b"nonsense", whole[:100], whole[:-8], (1 << 60).to_bytes(8, "little") + whole[8:]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="weights.safetensors"):
            fc.load(path)
    with pytest.raises(FileNotFoundError):
        fc.load(tmp_path / "nothing")


def test_between_torch_and_fastconv(rng, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file
    path = str(tmp_path / "weights.safetensors")
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(16, 2))
    ours = fc.nn.Sequential(fc.nn.Conv2d(3, 4, 3), fc.nn.BatchNorm2d(4), fc.nn.Flatten(), fc.nn.Linear(16, 2))
    x = rng.normal(size=(2, 3, 4, 4)).astype(np.float32)
    save_file(theirs.state_dict(), path)
    ours.load_state_dict(fc.load(path))
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours.eval()(fc.Tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)
    fc.save(fc.nn.Sequential(*ours), path)
    theirs.load_state_dict(load_file(path))
    save_file({"half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16), "short": torch.tensor([0.25], dtype=torch.float16)}, path)
    half = fc.load(path)
    assert half["half"].dtype == np.float32 and half["half"].numpy().tolist() == [1.5, -2.0]
    assert half["short"].numpy().tolist() == [0.25]
    save_file({"odd": torch.zeros(2, dtype=torch.complex64)}, path)
    with pytest.raises(ValueError, match="odd has dtype C64"):
        fc.load(path)
