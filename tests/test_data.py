"""Data sets read what the official files hold and refuse the rest; loaders are reproducible and resumable."""
import functools
import gzip
import hashlib
import http.server
import io
import json
import os
import pickle
import struct
import tarfile
import threading
import time

import numpy as np
import pytest

import fastconv as fc
from fastconv.data import (
    ArrayDataset,
    CIFAR10Dataset,
    Compose,
    DataLoader,
    Dataset,
    DigitsDataset,
    MNISTDataset,
    Normalize,
    RandomCrop,
    RandomFlipHorizontal,
)
from fastconv.data.cifar import RECORD_BYTES, RECORDS

real_files = pytest.mark.skipif(not os.environ.get("FASTCONV_DATA"),
                                reason="FASTCONV_DATA names no folder with the real CIFAR-10 and MNIST files")


# --- CIFAR-10 --------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def records():
    """10,000 made-up records of the binary version: (10000, 3073) uint8."""
    out = np.random.default_rng(0).integers(0, 256, (RECORDS, RECORD_BYTES), np.uint8)
    out[:, 0] %= 10
    return out


@pytest.fixture
def binary(tmp_path, records):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    records.tofile(folder / "test_batch.bin")
    return tmp_path


@pytest.mark.parametrize("inside", [False, True])
def test_cifar_binary(binary, records, inside):
    ds = CIFAR10Dataset(binary / "cifar-10-batches-bin" if inside else binary, train=False)
    assert len(ds) == 10000
    image, label = ds[7]
    assert image.shape == (3, 32, 32) and image.dtype == np.float32 and type(label) is int
    np.testing.assert_array_equal(image.ravel(), records[7, 1:].astype(np.float32) / np.float32(255))
    assert label == records[7, 0] and ds[-1][1] == records[-1, 0]
    images, labels = ds.batch([7, 3])
    assert images.dtype == np.float32 and labels.dtype == np.int64
    np.testing.assert_array_equal(images[0], image)
    with pytest.raises(IndexError, match="10000"):
        ds[10000]


def test_cifar_train_joins_five_files(tmp_path, records):
    for k in range(1, 6):
        part = records.copy()
        part[:, 0] = k
        part.tofile(tmp_path / f"data_batch_{k}.bin")
    ds = CIFAR10Dataset(str(tmp_path))
    assert len(ds) == 50000 and [ds[10000 * k][1] for k in range(5)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("damage", [lambda r: r[:-1], lambda r: r.ravel()[:-1], lambda r: r[:0],
                                    lambda r: np.concatenate([r.ravel(), r[0]])])
def test_cifar_wrong_size_names_the_file(binary, records, damage):
    damage(records).tofile(binary / "cifar-10-batches-bin" / "test_batch.bin")
    with pytest.raises(ValueError, match=r"test_batch\.bin.*30730000"):
        CIFAR10Dataset(binary, train=False)


def test_cifar_label_out_of_range(binary, records):
    records = records.copy()
    records[4321, 0] = 10
    records.tofile(binary / "cifar-10-batches-bin" / "test_batch.bin")
    with pytest.raises(ValueError, match=r"test_batch\.bin.*label 10 of record 4321"):
        CIFAR10Dataset(binary, train=False)


def test_missing_files_say_how_to_get_them(tmp_path):
    for kind in (CIFAR10Dataset, MNISTDataset):
        with pytest.raises(FileNotFoundError, match="download=True") as e:
            kind(tmp_path / "nowhere")
        assert "nowhere" in str(e.value)


@pytest.mark.parametrize("protocol", range(2, 5))
def test_cifar_python_version(tmp_path, records, protocol):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    batch = {b"batch_label": b"testing batch 1 of 1", b"labels": records[:, 0].tolist(),
             b"data": records[:, 1:].copy(), b"filenames": [b"a.png"] * RECORDS}
    (folder / "test_batch").write_bytes(pickle.dumps(batch, protocol))
    ds = CIFAR10Dataset(tmp_path, train=False)
    image, label = ds[9]
    np.testing.assert_array_equal(image.ravel(), records[9, 1:].astype(np.float32) / np.float32(255))
    assert label == records[9, 0]


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function, name", [(os.system, "system"), (eval, "eval"), (getattr, "getattr"),
                                            (np.load, "load"), (functools.partial, "partial")])
def test_cifar_python_version_runs_no_foreign_code(tmp_path, records, function, name):
    trap = tmp_path / "trap"
    batch = {b"labels": records[:, 0].tolist(), b"data": Calls(function, f"touch {trap}")}
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch))
    with pytest.raises(ValueError, match=f"test_batch.*{name}"):
        CIFAR10Dataset(tmp_path, train=False)
    assert not trap.exists()


@pytest.mark.parametrize("content", [
    b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps({b"labels": [0]}), b"cos\nsystem\n(S'true'\ntR.",
    pickle.dumps({b"labels": [0], b"data": np.zeros((1, 3072), np.uint8)}),
    pickle.dumps({b"labels": [0] * RECORDS, b"data": np.zeros((RECORDS, 10), np.uint8)}),
    pickle.dumps({b"labels": [0] * RECORDS, b"data": np.zeros((RECORDS, 384), np.float64)}),
    pickle.dumps({b"labels": [77] * RECORDS, b"data": np.zeros((RECORDS, 3072), np.uint8)})])
def test_cifar_python_version_refuses_what_it_is_not(tmp_path, content):
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(ValueError, match="test_batch"):
        CIFAR10Dataset(tmp_path, train=False)


# --- downloads, from a server on this machine ------------------------------------------------

class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path_factory):
    """(folder, url) of an HTTP server on 127.0.0.1."""
    folder = tmp_path_factory.mktemp("served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder)) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


@pytest.fixture
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def pack(path, members):
    """A tar.gz of {name: bytes}, a symbolic link for a str."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


def batches(**others):
    """The members of an archive whose images are all black (it compresses well)."""
    content = (b"\x07" + bytes(RECORD_BYTES - 1)) * RECORDS
    names = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
    return {**{f"cifar-10-batches-bin/{n}.bin": content for n in names}, **others}


def test_cifar_download(tmp_path, server, monkeypatch, no_proxy):
    pytest.importorskip("pooch")
    served, url = server
    members = batches(**{"../escaped": b"x", "/tmp/escaped": b"x", "cifar-10-batches-bin/readme.html": b"x"})
    monkeypatch.setattr(CIFAR10Dataset, "md5", pack(served / "cifar-10-binary.tar.gz", members))
    folder = tmp_path / "a" / "b"
    ds = CIFAR10Dataset(folder, train=False, download=True, url=url)
    assert ds[0][1] == 7
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == \
        ["cifar-10-binary.tar.gz", *(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
    (served / "cifar-10-binary.tar.gz").unlink()      # nothing is fetched a second time
    assert len(CIFAR10Dataset(folder, download=True, url=url)) == 50000


def test_cifar_download_with_the_wrong_hash(tmp_path, server, no_proxy):
    pytest.importorskip("pooch")
    served, url = server
    pack(served / "cifar-10-binary.tar.gz", {"cifar-10-batches-bin/test_batch.bin": b"changed on the way"})
    with pytest.raises(ValueError, match="hash"):
        CIFAR10Dataset(tmp_path / "data", train=False, download=True, url=url)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_cifar_archive_without_its_files(tmp_path, server, monkeypatch, no_proxy):
    pytest.importorskip("pooch")
    served, url = server
    members = batches()
    members["cifar-10-batches-bin/test_batch.bin"] = "/etc/passwd"
    monkeypatch.setattr(CIFAR10Dataset, "md5", pack(served / "cifar-10-binary.tar.gz", members))
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz.*test_batch\.bin"):
        CIFAR10Dataset(tmp_path, train=False, download=True, url=url)
    monkeypatch.setattr(CIFAR10Dataset, "md5", "0" * 32)
    with pytest.raises(ValueError, match="hash"):
        CIFAR10Dataset(tmp_path / "other", train=False, download=True, url=url)


def test_mnist_download(tmp_path, server, monkeypatch, no_proxy):
    pytest.importorskip("pooch")
    served, url = server
    images, labels = made_up_mnist()
    hashes = {}
    for name, content in (("t10k-images-idx3-ubyte.gz", images), ("t10k-labels-idx1-ubyte.gz", labels)):
        (served / name).write_bytes(gzip.compress(content))
        hashes[name] = hashlib.md5((served / name).read_bytes()).hexdigest()
    monkeypatch.setattr(MNISTDataset, "md5", hashes)
    assert len(MNISTDataset(tmp_path, train=False, download=True, url=url)) == 20


# --- MNIST -----------------------------------------------------------------------------------

def made_up_mnist(n=20, side=28):
    pixels = np.random.default_rng(1).integers(0, 256, (n, side, side), np.uint8)
    labels = bytes(i % 10 for i in range(n))
    return (struct.pack(">BBBBIII", 0, 0, 8, 3, n, side, side) + pixels.tobytes(),
            struct.pack(">BBBBI", 0, 0, 8, 1, n) + labels)


def write_mnist(folder, images, labels, zipped=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)):
        path = folder / (name + ".gz" * zipped)
        path.write_bytes(gzip.compress(content) if zipped else content)


@pytest.mark.parametrize("below", [".", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("zipped", [False, True])
def test_mnist(tmp_path, below, zipped):
    images, labels = made_up_mnist()
    write_mnist(tmp_path / below, images, labels, zipped)
    ds = MNISTDataset(tmp_path, train=False)
    image, label = ds[13]
    assert len(ds) == 20 and image.shape == (1, 28, 28) and image.dtype == np.float32 and label == 3
    expected = np.frombuffer(images[16 + 13 * 784:][:784], np.uint8).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(image.ravel(), expected)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("damage, word", [
    (lambda i, l: (i[:-1], l), "promises"), (lambda i, l: (i + b"x", l), "promises"), (lambda i, l: (l, l), "starts"),
    (lambda i, l: (i, l[:5]), "promises"), (lambda i, l: (b"", l), "starts"),
    (lambda i, l: (b"\0\0\x08\x03" + b"\xff" * 12, l), "promises"),
    (lambda i, l: (i, l[:-1] + b"\x0a"), "label 10 of record 19"),
    (lambda i, l: (i, made_up_mnist(19)[1]), "19 labels"), (lambda i, l: (made_up_mnist(20, 27)[0], l), "27")])
def test_mnist_damaged_files_are_named(tmp_path, damage, word, zipped):
    write_mnist(tmp_path, *damage(*made_up_mnist()), zipped)
    with pytest.raises(ValueError, match=f"idx[13]-ubyte.*{word}"):
        MNISTDataset(tmp_path, train=False)


def test_mnist_damaged_gzip(tmp_path):
    images, labels = made_up_mnist()
    write_mnist(tmp_path, images, labels, zipped=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.gz.*gzip"):
        MNISTDataset(tmp_path, train=False)
    path.write_bytes(b"not gzip at all")
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.gz.*gzip"):
        MNISTDataset(tmp_path, train=False)


# --- the real files --------------------------------------------------------------------------

@real_files
def test_real_cifar():
    folder = os.environ["FASTCONV_DATA"]
    train, test = CIFAR10Dataset(folder), CIFAR10Dataset(folder, train=False)
    assert len(train) == 50000 and len(test) == 10000
    assert [train.classes[train[i][1]] for i in range(3)] == ["frog", "truck", "truck"]
    assert np.bincount(train.arrays[1]).tolist() == [5000] * 10 and np.bincount(test.arrays[1]).tolist() == [1000] * 10
    np.testing.assert_allclose(train.arrays[0].mean((0, 2, 3)) / 255, [0.4914, 0.4822, 0.4465], atol=1e-4)


@real_files
def test_real_mnist():
    folder = os.environ["FASTCONV_DATA"]
    train, test = MNISTDataset(folder), MNISTDataset(folder, train=False)
    assert (len(train), len(test)) == (60000, 10000)
    assert [train[i][1] for i in range(5)] == [5, 0, 4, 1, 9] and test[0][1] == 7
    np.testing.assert_allclose(train.arrays[0].mean() / 255, 0.1307, atol=1e-4)


def test_digits():
    pytest.importorskip("sklearn")
    train, test = DigitsDataset(), DigitsDataset(train=False)
    assert (len(train), len(test)) == (1438, 359)
    image, label = test[0]
    assert image.shape == (1, 8, 8) and image.dtype == np.float32 and 0 <= image.min() <= image.max() == 1
    assert type(label) is int
    np.testing.assert_array_equal(DigitsDataset().arrays[1], train.arrays[1])


# --- ArrayDataset ----------------------------------------------------------------------------

def test_array_dataset():
    x, y = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([3, 2, 1, 0], np.int32)
    ds = ArrayDataset(x, y, transform=lambda row: row * 2)
    assert ds[1][0].tolist() == [6, 8, 10] and ds[1][1] == 2
    xs, ys = ds.batch([0, 3])
    assert xs.tolist() == [[0, 2, 4], [18, 20, 22]] and ys.tolist() == [3, 0] and ys.dtype == np.int64
    ds[0][0][:] = 99
    assert x[0, 0] == 0, "a sample is a copy"
    for bad in ((), (x, y[:3]), (np.float32(1),)):
        with pytest.raises(ValueError):
            ArrayDataset(*bad)
    with pytest.raises(TypeError, match="'crop'"):
        ArrayDataset(x, transform="crop")
    with pytest.raises(TypeError, match="1.5"):
        ds[1.5]


# --- transforms ------------------------------------------------------------------------------

def windows(image, size, padding):
    """All crops of `image` as a set of bytes."""
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    return {padded[:, i:i + size, j:j + size].tobytes()
            for i in range(padded.shape[1] - size + 1) for j in range(padded.shape[2] - size + 1)}


def test_random_crop_gives_every_window_and_no_other():
    images = np.random.default_rng(0).random((400, 2, 5, 5)).astype(np.float32)
    images[:] = images[0]
    out = RandomCrop(5, padding=1).batch(images, np.random.default_rng(1))
    assert out.shape == images.shape and out.dtype == np.float32 and out.flags.c_contiguous
    assert {o.tobytes() for o in out} == windows(images[0], 5, 1)
    one = RandomCrop((4, 3), padding=0)(images[0], np.random.default_rng(1))
    assert one.shape == (2, 4, 3)


def test_random_flip():
    images = np.random.default_rng(0).random((1000, 1, 2, 3))
    before = images.copy()
    out = RandomFlipHorizontal(0.25).batch(images, np.random.default_rng(0))
    flipped = (out == images[..., ::-1]).all((1, 2, 3))
    assert ((out == images).all((1, 2, 3)) != flipped).all() and 200 < flipped.sum() < 300
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(RandomFlipHorizontal(1)(images[0]), images[0, ..., ::-1])
    np.testing.assert_array_equal(RandomFlipHorizontal(0)(images[0]), images[0])


def test_normalize_and_compose():
    images = np.random.default_rng(0).random((4, 3, 2, 2)).astype(np.float32)
    mean, std = [0.1, 0.2, 0.3], [1, 2, 4]
    expected = (images - np.float32(mean).reshape(3, 1, 1)) / np.float32(std).reshape(3, 1, 1)
    np.testing.assert_array_equal(Normalize(mean, std).batch(images), expected)
    np.testing.assert_array_equal(Normalize(mean, std)(images[1]), expected[1])
    both = Compose(RandomFlipHorizontal(1), lambda image: image + 1, Normalize(0, 2))
    np.testing.assert_array_equal(both.batch(images), (images[..., ::-1] + 1) / 2)
    np.testing.assert_array_equal(both(images[0]), (images[0, ..., ::-1] + 1) / 2)
    assert len(Compose([Normalize(0, 1)]).transforms) == 1


def test_transforms_are_reproducible():
    images = np.random.default_rng(0).random((8, 3, 8, 8))
    def make(rng=None):
        return Compose(RandomCrop(8, 2, rng=rng), RandomFlipHorizontal(rng=rng))
    a, b = (make().batch(images, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    a, b = (make(np.random.default_rng(5)).batch(images) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    results = []
    for _ in range(2):
        fc.manual_seed(3)
        results.append(make()(images[0]))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("make, value", [
    (lambda: RandomCrop(0), "0"), (lambda: RandomCrop(8.5), "8.5"), (lambda: RandomCrop((1, 2, 3)), "(1, 2, 3)"),
    (lambda: RandomCrop(8, padding=-1), "-1"), (lambda: RandomFlipHorizontal(1.5), "1.5"),
    (lambda: RandomFlipHorizontal(float("nan")), "nan"), (lambda: RandomFlipHorizontal("x"), "x"),
    (lambda: Normalize(0, 0), "0"), (lambda: Normalize([1, float("inf")], 1), "inf"), (lambda: Normalize("a", 1), "a"),
    (lambda: Compose(3), "3"), (lambda: RandomFlipHorizontal(rng="seed"), "seed"),
    (lambda: RandomCrop(9, padding=0)(np.zeros((1, 8, 8))), "9"), (lambda: RandomCrop(2)(np.zeros((8, 8))), "(8, 8)"),
    (lambda: Normalize([0, 0], 1)(np.zeros((3, 2, 2))), "3 channels")])
def test_transforms_refuse_and_show_the_value(make, value):
    with pytest.raises((ValueError, TypeError)) as e:
        make()
    assert value in str(e.value)


# --- DataLoader ------------------------------------------------------------------------------

class Squares:
    """Nothing but `len` and `[i]`."""

    def __len__(self):
        return 23

    def __getitem__(self, i):
        return np.full((2,), i, np.float32), i * i


def first_columns(loader):
    return [x[:, 0].astype(int).tolist() for x, _ in loader]


def test_loader_batches():
    loader = DataLoader(Squares(), batch_size=5)
    xs, ys = zip(*loader)
    assert len(loader) == 5 and [len(x) for x in xs] == [5, 5, 5, 5, 3]
    assert xs[0].dtype == np.float32 and ys[0].dtype == np.int64 and ys[1].tolist() == [25, 36, 49, 64, 81]
    dropped = DataLoader(Squares(), batch_size=5, drop_last=True)
    assert len(dropped) == 4 and len(list(dropped)) == 4
    assert len(list(DataLoader([], batch_size=5))) == 0
    (x, y), = DataLoader([(0.5, True), (1.5, False)], batch_size=2)
    assert x.dtype == np.float32 and y.dtype == np.bool_


@pytest.mark.parametrize("options", [{}, {"prefetch": 0}, {"num_workers": 3}, {"num_workers": 1, "prefetch": 7}])
def test_loader_order_is_seeded_and_new_each_epoch(options):
    loader = DataLoader(Squares(), batch_size=4, shuffle=True, rng=7, **options)
    first, second = first_columns(loader), first_columns(loader)
    assert first != second and sorted(sum(first, [])) == list(range(23)) == sorted(sum(second, []))
    again = DataLoader(Squares(), batch_size=4, shuffle=True, rng=np.random.default_rng(7))
    assert [first_columns(again), first_columns(again)] == [first, second]


def test_loader_follows_manual_seed():
    loader = DataLoader(Squares(), batch_size=4, shuffle=True)
    orders = []
    for seed in (1, 1, 2):
        fc.manual_seed(seed)
        orders.append(first_columns(loader))
    assert orders[0] == orders[1] != orders[2]


def test_a_data_set_with_random_batches_of_its_own_gets_a_new_seed_each_epoch():
    class Noise(Dataset):
        def __len__(self):
            return 4

        def batch(self, indices, rng=None):
            return (rng.random(len(indices)),)

    loader = DataLoader(Noise(), batch_size=2, rng=0)
    first, second = (np.concatenate([x for x, in loader]) for _ in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("options", [{}, {"prefetch": 0}, {"num_workers": 3}])
def test_random_transforms_do_not_depend_on_threads(options):
    images = np.random.default_rng(0).random((30, 1, 8, 8)).astype(np.float32)
    def epochs(**options):
        ds = ArrayDataset(images, np.arange(30), transform=Compose(RandomCrop(8, 2), RandomFlipHorizontal()))
        loader = DataLoader(ds, batch_size=7, shuffle=True, rng=0, **options)
        return [np.concatenate([x for x, _ in loader]) for _ in range(2)]
    for a, b in zip(epochs(prefetch=1), epochs(**options)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rng", [3, None])
@pytest.mark.parametrize("stop_after", [0, 1, 5, 6, 9])
def test_loader_resumes(stop_after, rng):
    """State taken while working on a batch, stored as JSON: what follows is what would have followed."""
    def make():
        images = np.random.default_rng(0).random((23, 1, 4, 4))
        return DataLoader(ArrayDataset(images, transform=RandomCrop(4, 1)), batch_size=4, shuffle=True, rng=rng)

    def batches(loader):
        while True:
            for x, in loader:
                yield x

    fc.manual_seed(11)
    loader = make()
    stream = batches(loader)
    for _ in range(stop_after):
        next(stream)
    state = json.loads(json.dumps(loader.state_dict()))
    expected = [next(stream) for _ in range(12)]
    resumed = make()
    resumed.load_state_dict(state)
    for a, b in zip(expected, batches(resumed)):
        np.testing.assert_array_equal(a, b)


def test_loader_restart_forgets_the_epoch_under_way():
    loader = DataLoader(Squares(), batch_size=4)
    next(iter(loader))
    state = loader.state_dict()
    assert state["position"] == 1
    loader.load_state_dict(state)
    loader.restart()
    assert first_columns(loader)[0] == [0, 1, 2, 3] and loader.state_dict()["position"] == 0


def test_loader_refuses_a_foreign_state():
    state = DataLoader(Squares(), batch_size=4).state_dict()
    with pytest.raises(ValueError, match="'batch_size': 4"):
        DataLoader(Squares(), batch_size=5).load_state_dict(state)
    other = DataLoader(Squares(), batch_size=4, rng=np.random.Generator(np.random.MT19937(0)))
    with pytest.raises(ValueError, match="PCG64"):
        other.load_state_dict(state)
    other.load_state_dict(json.loads(json.dumps(other.state_dict())))


@pytest.mark.parametrize("options", [{}, {"prefetch": 0}, {"num_workers": 2}])
def test_errors_of_the_data_set_reach_the_consumer(options):
    class Broken(Squares):
        def __getitem__(self, i):
            if i == 9:
                raise RuntimeError("sample 9 is broken")
            return super().__getitem__(i)
    seen = []
    with pytest.raises(RuntimeError, match="sample 9 is broken"):
        for _, y in DataLoader(Broken(), batch_size=4, **options):
            seen.append(len(y))
    assert seen == [4, 4]


def loader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("fastconv-data")]


@pytest.mark.parametrize("num_workers", [0, 3])
def test_leaving_early_stops_the_threads(num_workers):
    class Endless(Dataset):
        made = 0

        def __len__(self):
            return 10 ** 6

        def __getitem__(self, i):
            self.made += 1
            return (i,)
    ds = Endless()
    for _ in DataLoader(ds, batch_size=2, num_workers=num_workers):
        break
    deadline = time.monotonic() + 5
    while loader_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not loader_threads() and ds.made < 50


def test_batches_are_made_ahead():
    ds = ArrayDataset(np.arange(100))
    made = []
    ds.batch = lambda indices, rng=None: made.append(indices) or (indices,)
    iterator = iter(DataLoader(ds, batch_size=1, prefetch=4))
    next(iterator)
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 4 <= len(made) <= 5
    iterator.close()


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": 2.0}, {"batch_size": True}, {"prefetch": -1},
                                     {"num_workers": "two"}])
def test_loader_refuses_and_shows_the_value(options):
    (name, value), = options.items()
    with pytest.raises(ValueError, match=name) as e:
        DataLoader(Squares(), **options)
    assert repr(value) in str(e.value)


def test_loader_refuses_what_is_no_data_set():
    with pytest.raises(TypeError, match="generator"):
        DataLoader(i for i in range(3))
    with pytest.raises(TypeError, match="tuple"):
        list(DataLoader([1, 2, 3]))
    with pytest.raises(ValueError, match=r"\(1,\).*\(2,\)"):
        list(DataLoader([(np.zeros(1),), (np.zeros(2),)], batch_size=2))
    with pytest.raises(TypeError, match="rng"):
        DataLoader(Squares(), rng="seed")


