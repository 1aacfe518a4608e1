"""The training command: what it reaches, what it leaves behind, how it is interrupted and resumed."""
import csv
import functools
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, optim
from models import ResNet9, SimpleCNN

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
pytest.importorskip("matplotlib", reason="the training command draws its curves with matplotlib")
pytest.importorskip("tqdm", reason="the training command shows a tqdm progress bar")

from models import train  # noqa: E402
from models.metrics import plot_curves  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
real_files = pytest.mark.skipif(not os.environ.get("FASTCONV_DATA"),
                                reason="FASTCONV_DATA names no folder with the real CIFAR-10 files")


def command(*arguments):
    return [sys.executable, "-m", "models.train", *map(str, arguments)]


def run(*arguments):
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=300)


def metrics(folder):
    """The rows of metrics.csv as numbers, without the seconds."""
    with open(folder / "metrics.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(folder):
    model = SimpleCNN(1, image_size=8, device="reference")
    fc.load_checkpoint(folder / "checkpoint.safetensors", model=model)
    return {name: np.asarray(value) for name, value in model.state_dict().items()}


def same_run(a, b):
    assert metrics(a) == metrics(b)
    for name, value in (there := weights(b)).items():
        np.testing.assert_array_equal(weights(a)[name], value, err_msg=name)
    assert there


# --- the models ------------------------------------------------------------------------------

def test_resnet9_is_the_course_network():
    model = ResNet9(device="reference")
    assert sum(p.size for p in model.parameters()) == 431946
    convolutions = [tuple(p.shape) for _, p in model.named_parameters() if p.ndim == 4]
    assert convolutions == [(16, 3, 7, 7), (32, 16, 3, 3), (32, 32, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3),
                            (128, 64, 3, 3), (128, 128, 3, 3), (128, 128, 3, 3)]
    assert model(fc.Tensor(np.zeros((2, 3, 32, 32), np.float32), device="reference")).shape == (2, 10)
    assert ResNet9(device="reference", dtype="float64").parameters()[0].dtype == "float64"


@pytest.mark.parametrize("channels, size", [(1, 8), (1, 28), (3, 32), (2, 5)])
def test_simple_cnn_fits_the_image(channels, size):
    model = SimpleCNN(channels, classes=7, image_size=size, device="reference")
    x = fc.Tensor(np.zeros((3, channels, size, size), np.float32), device="reference")
    assert model(x).shape == (3, 7)
    with pytest.raises(ValueError, match="0"):
        SimpleCNN(channels, image_size=0)


# --- the command -----------------------------------------------------------------------------

def test_without_arguments_it_learns_the_digits(tmp_path):
    start = time.monotonic()
    result = run("--out", tmp_path / "x")
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - start < 30
    rows = metrics(tmp_path / "x")
    assert len(rows) == 20 and rows[-1]["test_accuracy"] >= 0.97
    assert len(re.findall(r"^epoch +\d+/20  train loss .* test loss .* s$", result.stdout, re.M)) == 20
    assert "images/s" in result.stderr
    assert (tmp_path / "x" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "x" / "checkpoint.safetensors").stat().st_size > 26090 * 4


def test_ctrl_c_saves_and_resume_goes_on_as_if_nothing_had_happened(tmp_path):
    options = ("cnn", "--dataset", "digits", "--epochs", 3, "--batch-size", 8, "--augment", "--out")
    assert run(*options, tmp_path / "whole").returncode == 0

    cut = tmp_path / "cut"
    process = subprocess.Popen(command(*options, cut), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    while "epoch   1/3" not in process.stdout.readline():
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "--resume" in stdout and "Traceback" not in stderr
    assert len(metrics(cut)) < 3

    assert run(*options, cut, "--resume").returncode == 0
    same_run(cut, tmp_path / "whole")


@pytest.mark.parametrize("stop_at", [1, 7, 12, "evaluation"])
def test_resume_from_the_middle_of_an_epoch(tmp_path, monkeypatch, stop_at):
    """--limit 12 and three epochs: stopped in the second at a batch, at its last batch, in the evaluation."""
    def arguments(folder, *more):
        return train.parse_arguments(["--limit", "12", "--epochs", "3", "--optimizer", "sgd", "--lr", "0.05",
                                      "--out", str(tmp_path / folder), *more])
    assert train.Training(arguments("whole")).run()

    training = train.Training(arguments("cut"))
    method = "_evaluate" if stop_at == "evaluation" else "_train_step"
    original = getattr(training, method)

    def interrupted(*args):
        if training.epoch == 1 and stop_at in (training.done + 1, "evaluation"):
            training.stop = True
        return original(*args)
    monkeypatch.setattr(training, method, interrupted)
    assert not training.run() and len(metrics(tmp_path / "cut")) == 1
    resumed = train.Training(arguments("cut", "--resume"))
    assert resumed.done == (12 if stop_at == "evaluation" else stop_at)
    assert resumed.run()
    same_run(tmp_path / "cut", tmp_path / "whole")


def test_more_epochs_and_finished_runs(tmp_path, capsys):
    options = ["--limit", "3", "--out", str(tmp_path)]
    assert train.main([*options, "--epochs", "1"]) == 0
    assert train.main([*options, "--epochs", "2", "--resume"]) == 0
    assert len(metrics(tmp_path)) == 2
    assert train.main([*options, "--epochs", "2", "--resume"]) == 0      # nothing left to do
    assert len(metrics(tmp_path)) == 2
    capsys.readouterr()
    assert train.main([*options, "--resume", "--seed", "1", "--batch-size", "8"]) == 2
    error = capsys.readouterr().err
    assert "seed was 0, is 1" in error and "batch_size was 32, is 8" in error


@pytest.mark.parametrize("arguments, words", [
    (["--lr", "nan"], "nan"), (["--lr=-0.1"], "-0.1"), (["--lr", "0"], "'0'"), (["--lr", "fast"], "fast"),
    (["--weight-decay", "-1"], "-1"), (["--epochs", "0"], "'0'"), (["--batch-size", "1.5"], "1.5"),
    (["--seed", "-3"], "-3"), (["--limit", "0"], "'0'"), (["--device", "abacus"], "abacus"),
    (["--dataset", "imagenet"], "imagenet"), (["vgg"], "vgg"), (["resnet9", "--data", "/nowhere"], "/nowhere"),
    (["--dataset", "mnist", "--data", "/nowhere"], "/nowhere"), (["resnet9", "--dataset", "digits"], "1 x 8 x 8"),
    (["--resume"], "checkpoint")])
def test_mistakes_get_one_line_and_exit_code_2(tmp_path, capsys, arguments, words):
    try:
        code = train.main([*arguments, "--out", str(tmp_path / "x")])
    except SystemExit as e:
        code = e.code
    error = capsys.readouterr().err
    assert code == 2 and words in error and error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_a_file_that_is_no_checkpoint(tmp_path, capsys):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"something else")
    assert train.main(["--resume", "--out", str(tmp_path)]) == 2
    assert "checkpoint.safetensors" in capsys.readouterr().err


def test_a_diverging_run_stops_and_says_so(tmp_path, capsys):
    assert train.main(["--lr", "1e30", "--optimizer", "sgd", "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert re.search(r"the loss became (nan|inf) in epoch 1, batch \d+", error) and "1e+30" in error


def test_the_schedule_rises_over_an_epoch_and_falls_to_zero(tmp_path):
    training = train.Training(train.parse_arguments(["--schedule", "cosine", "--epochs", "4", "--lr", "0.5",
                                                     "--out", str(tmp_path)]))
    rates = []
    steps = training.steps
    for step in range(4 * steps):
        training.epoch, training.done = divmod(step, steps)
        rates.append(training._learning_rate())
    assert rates[0] == pytest.approx(0.5 / steps) and rates[steps - 1] == 0.5 and 0 < rates[-1] < 1e-3
    assert rates[:steps] == sorted(rates[:steps]) and rates[steps:] == sorted(rates[steps:], reverse=True)
    assert rates[5 * steps // 2] == pytest.approx(0.25, rel=0.05)


def test_the_picture_of_one_epoch(tmp_path):
    row = {"epoch": 1, "train_loss": 2.0, "train_accuracy": 0.2, "test_loss": 1.9, "test_accuracy": 0.3, "seconds": 1}
    plot_curves(tmp_path / "curves.png", [row], "one epoch")
    assert (tmp_path / "curves.png").stat().st_size > 1000


# --- the same training on every device -------------------------------------------------------

def first_losses(make, device, dtype, images, labels, steps, batch):
    fc.manual_seed(0)
    model = make(device=device, dtype=dtype)
    optimizer = optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-3)
    losses = []
    for i in range(steps):
        rows = slice(i * batch, (i + 1) * batch)
        x = fc.Tensor(images[rows].astype(dtype), device=device)
        loss = nn.CrossEntropyLoss()(model(x), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# In float32 a pre-activation beside 0 soon falls on the other side of a ReLU on one of two devices that
# round differently, and Adam magnifies that; in float64 it does not happen within so few steps.
@pytest.mark.parametrize("dtype, steps, rtol", [("float64", 40, 1e-9), ("float32", 2, 1e-5)])
def test_digits_training_agrees_with_the_reference(fast_device, dtype, steps, rtol):
    images, labels = fc.data.DigitsDataset().batch(range(1280))
    make = functools.partial(SimpleCNN, 1, image_size=8)
    try:
        losses = first_losses(make, fast_device, dtype, images, labels, steps, 32)
    except TypeError as e:
        assert dtype == "float64" and "float64" in str(e)
        pytest.skip(str(e))
    expected = first_losses(make, fc.reference(), dtype, images, labels, steps, 32)
    np.testing.assert_allclose(losses, expected, rtol=rtol)


@real_files
def test_the_first_fifty_losses_of_resnet9_agree_with_the_cpu(fast_device):
    if fast_device.kind == "cpu":
        pytest.skip("the CPU is what the others are compared with")
    dataset = fc.data.CIFAR10Dataset(os.environ["FASTCONV_DATA"])
    images, labels = dataset.batch(np.random.default_rng(0).permutation(50000)[:6400])
    expected = first_losses(ResNet9, fc.cpu(), "float32", images, labels, 50, 128)
    assert expected[-1] < expected[0]
    losses = first_losses(ResNet9, fast_device, "float32", images, labels, 50, 128)
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
