"""Recurrent layers, attention and embeddings against PyTorch; text data; the language model."""
import math
import os

import numpy as np
import pytest

import fastconv as fc
from fastconv import data, nn, ops
from models import LanguageModel

KINDS = ("RNN", "LSTM", "GRU")
CONFIGURATIONS = [
    dict(), dict(num_layers=2, bidirectional=True), dict(num_layers=2, bidirectional=True, batch_first=True),
    dict(bias=False), dict(num_layers=3, batch_first=True),
]


def shared(torch, kind, device, **keywords):
    """The same layer here and in torch, with the same weights."""
    mine = getattr(nn, kind)(5, 4, device=device, **keywords)
    theirs = getattr(torch.nn, kind)(5, 4, **keywords)
    assert list(mine.state_dict()) == [name for name, _ in theirs.named_parameters()]
    mine.load_state_dict({name: p.detach().numpy() for name, p in theirs.named_parameters()})
    return mine, theirs


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("lengths", [None, [3, 6, 1]], ids=["full", "lengths"])
@pytest.mark.parametrize("keywords", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_layers(kind, keywords, lengths, device, rng):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    mine, theirs = shared(torch, kind, device, **keywords)
    batch_first, depth = mine.batch_first, mine.num_layers * mine.directions
    x = rng.normal(size=(3, 6, 5) if batch_first else (6, 3, 5)).astype(np.float32)
    states = [rng.normal(size=(depth, 3, 4)).astype(np.float32) for _ in range(mine.states)]
    xs = [fc.Tensor(a, device=device, requires_grad=True) for a in (x, *states)]
    xp = [torch.tensor(a, requires_grad=True) for a in (x, *states)]
    y, last = mine(xs[0], tuple(xs[1:]) if kind == "LSTM" else xs[1], lengths)
    packed = xp[0]
    if lengths:
        packed = torch.nn.utils.rnn.pack_padded_sequence(xp[0], torch.tensor(lengths), batch_first, enforce_sorted=False)
    z, end = theirs(packed, tuple(xp[1:]) if kind == "LSTM" else xp[1])
    if lengths:
        z = torch.nn.utils.rnn.pad_packed_sequence(z, batch_first)[0]
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-5, atol=1e-5)
    for a, b in zip(as_tuple(last), as_tuple(end), strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-5)
    weights = rng.normal(size=y.shape).astype(np.float32)
    (sum((s * s).sum() for s in as_tuple(last)) + (y * fc.array(weights, device=device)).sum()).backward()
    (sum((s * s).sum() for s in as_tuple(end)) + (z * torch.tensor(weights)).sum()).backward()
    for a, b in zip(xs + mine.parameters(), xp + list(theirs.parameters()), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=3e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_cells(kind, device, rng):
    torch = pytest.importorskip("torch")
    mine, theirs = shared(torch, kind + "Cell", device)
    x, h, c = (rng.normal(size=(3, n)).astype(np.float32) for n in (5, 4, 4))
    mine_state, their_state = ((fc.Tensor(h, device=device), fc.Tensor(c, device=device)), (torch.tensor(h), torch.tensor(c)))
    if kind != "LSTM":
        mine_state, their_state = mine_state[0], their_state[0]
    for state, other in ((mine_state, their_state), (None, None)):
        got, expected = mine(fc.Tensor(x, device=device), state), theirs(torch.tensor(x), other)
        for a, b in zip(as_tuple(got), as_tuple(expected), strict=True):
            np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)
    alone = as_tuple(mine(fc.Tensor(x[0], device=device)))[0]
    np.testing.assert_allclose(alone.numpy(), as_tuple(mine(fc.Tensor(x, device=device)))[0].numpy()[0], rtol=1e-5, atol=1e-6)


def test_rnn_with_relu(device, rng):
    torch = pytest.importorskip("torch")
    mine, theirs = shared(torch, "RNN", device, nonlinearity="relu")
    x = rng.normal(size=(6, 3, 5)).astype(np.float32)
    np.testing.assert_allclose(mine(fc.Tensor(x, device=device))[0].numpy(), theirs(torch.tensor(x))[0].detach().numpy(),
                               rtol=1e-5, atol=1e-6)


def test_a_thousand_steps(device, rng):
    layer = nn.LSTM(3, 4, device=device)
    x = fc.Tensor(rng.normal(size=(1000, 2, 3)).astype(np.float32), device=device, requires_grad=True)
    layer(x)[0].sum().backward()
    assert np.isfinite(x.grad.numpy()).all() and x.grad.numpy().any()


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_batch(kind, device, rng):
    layer = getattr(nn, kind)(3, 4, 2, device=device)
    x = rng.normal(size=(5, 3)).astype(np.float32)
    y, state = layer(fc.Tensor(x, device=device))
    batched, _ = layer(fc.Tensor(x[:, None], device=device))
    np.testing.assert_allclose(y.numpy(), batched.numpy()[:, 0], rtol=1e-6)
    assert as_tuple(state)[0].shape == (2, 4)


def test_embedding_adds_up_repeated_rows(device, rng):
    torch = pytest.importorskip("torch")
    table, ids = rng.normal(size=(50, 7)).astype(np.float32), rng.integers(0, 50, (9, 11))
    ids[0] = 3
    weight, wp = fc.Tensor(table, device=device, requires_grad=True), torch.tensor(table, requires_grad=True)
    g = rng.normal(size=(9, 11, 7)).astype(np.float32)
    y = ops.embedding(ids, weight)
    y.backward(fc.array(g, device=device))
    z = torch.nn.functional.embedding(torch.tensor(ids), wp)
    z.backward(torch.tensor(g))
    np.testing.assert_array_equal(y.numpy(), z.detach().numpy())
    np.testing.assert_allclose(weight.grad.numpy(), wp.grad.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_encoder(batch_first, norm_first, device, rng):
    torch = pytest.importorskip("torch")
    keywords = dict(dim_feedforward=16, dropout=0.0, activation="gelu", batch_first=batch_first, norm_first=norm_first)
    mine = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, device=device, **keywords), 2)
    theirs = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2, **keywords), 2, enable_nested_tensor=False)
    mine.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = rng.normal(size=(3, 5, 8)).astype(np.float32)
    steps, rows = (5, 3) if batch_first else (3, 5)
    mask = np.triu(np.ones((steps, steps), bool), 1)
    padding = rng.random((rows, steps)) < 0.3
    padding[:, 0] = False
    xs, xp = fc.Tensor(x, device=device, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = mine(xs, mask, padding), theirs(xp, torch.tensor(mask), torch.tensor(padding))
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-5, atol=1e-5)
    y.sum().backward()
    z.sum().backward()
    np.testing.assert_allclose(xs.grad.numpy(), xp.grad.numpy(), rtol=1e-4, atol=2e-5)


def test_attention_weights_and_separate_keys(device, rng):
    torch = pytest.importorskip("torch")
    mine, theirs = nn.MultiheadAttention(6, 3, device=device), torch.nn.MultiheadAttention(6, 3)
    mine.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    q, k, v = (rng.normal(size=(n, 2, 6)).astype(np.float32) for n in (4, 5, 5))
    y, w = mine(*(fc.Tensor(a, device=device) for a in (q, k, v)))
    z, u = theirs(*(torch.tensor(a) for a in (q, k, v)))
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(w.numpy(), u.detach().numpy(), rtol=1e-5, atol=1e-6)


# --- text ------------------------------------------------------------------------------------

@pytest.fixture
def corpus_folder(tmp_path):
    words = "the cat sat on the mat and the dog sat on the cat".split()
    for part, lines in (("train", 40), ("valid", 6), ("test", 6)):
        (tmp_path / f"ptb.{part}.txt").write_text("".join(" " + " ".join(words[i % 5:]) + " \n" for i in range(lines)))
    return tmp_path


def test_corpus(corpus_folder):
    corpus = data.Corpus(corpus_folder, max_lines=3)
    assert corpus.dictionary.idx2word == ["the", "cat", "sat", "on", "mat", "and", "dog", "<eos>"]
    assert corpus.train.dtype == np.int64 and len(corpus.train) == (13 + 12 + 11) + 3
    assert [corpus.dictionary.idx2word[i] for i in corpus.train[12:15]] == ["cat", "<eos>", "cat"]


def test_batchify_makes_streams():
    columns = data.batchify(np.arange(26), 4)
    np.testing.assert_array_equal(columns.T, np.arange(24).reshape(4, 6))
    x, y = data.get_batch(columns, 4, 3)
    assert x.shape == (1, 4)
    np.testing.assert_array_equal(y, [5, 11, 17, 23])


@pytest.mark.skipif(not os.environ.get("FASTCONV_DATA"), reason="FASTCONV_DATA names no folder with the real files")
def test_penn_treebank():
    corpus = data.Corpus(os.environ["FASTCONV_DATA"])
    assert (len(corpus.dictionary), len(corpus.train)) == (10_000, 929_589)


def test_bad_text(tmp_path, corpus_folder):
    with pytest.raises(FileNotFoundError, match="ptb.train.txt"):
        data.Corpus(tmp_path / "nowhere")
    (corpus_folder / "ptb.train.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match="ptb.train.txt.*UTF-8"):
        data.Corpus(corpus_folder)
    (corpus_folder / "ptb.train.txt").write_text("")
    with pytest.raises(ValueError, match="no lines"):
        data.Corpus(corpus_folder)
    for call, message in ((lambda: data.batchify(np.arange(3), 4), "3 ids into 4"),
                          (lambda: data.get_batch(np.zeros((3, 2)), 2, 5), "row 2")):
        with pytest.raises(ValueError, match=message):
            call()


def test_bad_calls(device):
    layer, embedding = nn.LSTM(3, 4, device=device), nn.Embedding(5, 3, device=device)
    x = fc.init.randn(6, 2, 3, device=device)
    bad = [(lambda: layer(fc.init.randn(6, 2, 5, device=device)), r"\(6, 2, 5\)"),
           (lambda: layer(fc.Tensor(np.zeros((0, 2, 3), np.float32), device=device)), r"\(0, 2, 3\)"),
           (lambda: layer(x, (fc.init.zeros(1, 3, 4, device=device),) * 2), r"\(1, 3, 4\).*\(1, 2, 4\)"),
           (lambda: layer(x, lengths=[6, 0]), "from 0 to 6"), (lambda: layer(x, lengths=[5, 5]), "6 steps"),
           (lambda: embedding([5]), "5 rows"), (lambda: embedding([-1]), "from -1"),
           (lambda: nn.MultiheadAttention(5, 2), "embed_dim=5"),
           (lambda: LanguageModel(4, 5, 4, seq_model="cnn"), "'cnn'")]
    for call, message in bad:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="float64"):
        embedding(np.array([0.5]))
    for kind in (nn.RNN, nn.LSTM, nn.GRU):      # kernels would read such a state as something else
        states = fc.init.zeros(1, 2, 4, device=device, dtype="float64")
        with pytest.raises(TypeError, match="float32.*float64"):
            kind(3, 4, device=device)(x, (states, states) if kind is nn.LSTM else states)
    if device is not fc.reference():
        elsewhere = fc.init.zeros(1, 2, 4, device=fc.reference())
        with pytest.raises(ValueError, match="different devices.*reference"):
            layer(x, (elsewhere, elsewhere))
    assert layer(x)[0].shape == (6, 2, 4)


# --- the language model ----------------------------------------------------------------------

@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "transformer"])
def test_language_model_learns(cell, device):
    fc.manual_seed(0)
    model = LanguageModel(8, 6, 16, 1, cell, device=device)
    optimizer = fc.optim.Adam(model.parameters(), lr=2e-2)
    ids = data.batchify(np.tile(np.arange(6), 41), 4)
    state, losses = None, []
    for i in range(0, 40, 8):
        x, y = data.get_batch(ids, i, 8)
        for _ in range(6):
            logits, new = model(x, state)
            loss = ops.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            fc.optim.clip_grad_norm(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        state = model.detach(new)
    assert losses[0] > 1 and losses[-1] < 0.3 * losses[0]


def test_training_command(corpus_folder, tmp_path, capsys):
    pytest.importorskip("safetensors")
    from models import generate, train
    arguments = ["lm", "--data", str(corpus_folder), "--hidden", "16", "--batch-size", "4", "--bptt", "8", "--lr", "2",
                 "--dropout", "0", "--out", str(tmp_path / "out")]
    assert train.main([*arguments, "--epochs", "2"]) == 0
    assert train.main([*arguments, "--epochs", "3", "--resume"]) == 0
    text = capsys.readouterr().out
    assert "vocabulary 8" in text and "epoch   3/3" in text and "test perplexity" in text
    rows = (tmp_path / "out" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 4 and float(rows[-1].split(",")[3]) < float(rows[1].split(",")[3]) < math.exp(3)
    assert (tmp_path / "out" / "curves.png").stat().st_size > 1000
    assert generate.main([str(tmp_path / "out" / "checkpoint.safetensors"), "--words", "5", "--start", "the cat"]) == 0
    assert generate.main([str(tmp_path / "out" / "checkpoint.safetensors"), "--start", "zebra"]) == 2
    assert "zebra" in capsys.readouterr().err
    (corpus_folder / "ptb.train.txt").write_text("other words here\n" * 20)
    assert train.main([*arguments, "--epochs", "4", "--resume"]) == 2
    assert "vocabulary" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--bptt", "0"), ("--clip", "nan"), ("--decay", "0"), ("--limit", "0"),
                                       ("--epochs", "0"), ("--dropout", "-1"), ("--lr", "nan")])
def test_the_command_refuses_numbers_that_make_no_sense(corpus_folder, tmp_path, capsys, monkeypatch, arguments):
    from models import train
    monkeypatch.setenv("FASTCONV_DATA", str(corpus_folder))
    with pytest.raises(SystemExit) as stopped:
        train.main(["lm", "--out", str(tmp_path / "out"), *arguments])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and arguments[0] in error and arguments[1] in error and error.count("\n") == 1


def test_the_command_finds_its_data_where_fastconv_data_says(corpus_folder, monkeypatch):
    from models.train_lm import parse_arguments
    monkeypatch.setenv("FASTCONV_DATA", str(corpus_folder))
    assert parse_arguments([]).data == str(corpus_folder)


def test_ctrl_c_in_the_first_epoch_says_that_nothing_is_saved(corpus_folder, tmp_path, capsys, monkeypatch):
    pytest.importorskip("safetensors")
    from models import train, train_lm

    def interrupted(self):
        raise KeyboardInterrupt
    monkeypatch.setattr(train_lm.LanguageTraining, "run", interrupted)
    arguments = ["lm", "--data", str(corpus_folder), "--hidden", "4", "--batch-size", "2", "--out", str(tmp_path / "out")]
    assert train.main(arguments) == 130
    assert "nothing is saved" in capsys.readouterr().out
