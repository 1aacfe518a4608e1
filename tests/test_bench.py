"""The bench itself, on sizes that take no time: every suite runs, what it writes is well-formed, bad options are named.

Nothing here asserts how long anything takes.
"""
import html.parser
import json
import math
import os
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import fastconv as fc
from bench import contest, report, run, timing
from bench.case import Case, Work, relative_error, sample
from bench.suites import SUITES, layers

SUITE_NAMES = [name for name in SUITES if name != "conv-all"]       # conv-all has conv's cases here
LINUX = os.path.exists("/proc/self/clear_refs")


def bench(tmp_path, *arguments):
    """(exit status, data) of a run."""
    out = tmp_path / "out.json"
    status = run.main(["--tiny", "--rounds", "1", "--json", str(out), *arguments])
    return status, json.loads(out.read_text())


def test_every_suite_runs_and_is_right(device, tmp_path, capsys):
    suites = [name for name in SUITE_NAMES if name != "memory-use" or LINUX]
    status, data = bench(tmp_path, "--suite", *suites, "--device", device.name, "--compare", "")
    assert status == 0, capsys.readouterr().out
    assert {row["suite"] for row in data["rows"]} == set(suites)
    assert data["device"] == device.name
    assert all(value > 0 for value in data["peaks"].values()) and bool(data["peaks"]) == (device.kind != "reference")
    for row in data["rows"]:
        measured = [t["seconds"] for t in row["times"].values()] if "times" in row else [row["memory"]["fastconv"][0]]
        assert measured and all(value > 0 and math.isfinite(value) for value in measured), row


def test_beside_peers(tmp_path, capsys):
    pytest.importorskip("torch")
    status, data = bench(tmp_path, "--suite", "conv", "gemm", "train", "infer", "overhead", "--compare", "torch,numpy",
                         "--html", str(tmp_path / "page.html"), "--report", str(tmp_path / "report.md"))
    assert status == 0, capsys.readouterr().out
    for row in data["rows"]:
        found = report.ratios(row)
        assert {"torch", "torch, best"} <= set(found) and ("numpy" in found or row["suite"] != "gemm")
    check_page((tmp_path / "page.html").read_text())
    text = (tmp_path / "report.md").read_text()
    assert "## Convolution layers" in text and "torch, best" in text
    check_tables(text)


def test_reports_from_earlier_runs(tmp_path, capsys):
    parts = [tmp_path / f"{i}.json" for i in (1, 2)]
    for i, part in enumerate(parts, start=1):
        run.main(["--tiny", "--rounds", "1", "--suite", "conv", "scaling", "--compare", "", "--part", f"{i}/2",
                  "--json", str(part)])
    page, tables = tmp_path / "page.html", tmp_path / "report.md"
    assert run.main(["--from", *map(str, parts), "--html", str(page), "--report", str(tables),
                     "--json", str(tmp_path / "all.json")]) == 0
    rows = json.loads((tmp_path / "all.json").read_text())["rows"]
    assert len(rows) == sum(len(SUITES[suite](True)) for suite in ("conv", "scaling"))
    check_page(page.read_text())
    check_tables(tables.read_text())


def check_page(text):
    """Well-formed, self-contained HTML whose pictures are XML."""
    open_tags, drawn = [], 0

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            assert not any(value and value.startswith(("http:", "https:", "//")) for name, value in attributes
                           if name in ("src", "href") or (name.endswith(":href") and tag != "svg")), (tag, attributes)
            if tag not in ("meta", "br"):
                open_tags.append(tag)

        def handle_startendtag(self, tag, attributes):
            pass

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Parser().feed(text)
    assert not open_tags
    for part in text.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + part.partition("</svg>")[0] + "</svg>")
        drawn += 1
    assert drawn


def check_tables(text):
    """Every row of a Markdown table has as many cells as its header."""
    width = None
    for line in text.splitlines():
        if not line.startswith("|"):
            width = None
            continue
        width = width or line.count("|")
        assert line.count("|") == width, line


@pytest.mark.parametrize("arguments, said", [
    (["--suite", "speed"], "invalid choice: 'speed'"),
    (["--compare", "jax"], "no peer 'jax': there are torch"),
    (["--rounds", "0"], "'0' is not a number of at least 1"),
    (["--threads", "two"], "'two' is not a number"),
    (["--part", "3/2"], "'3/2' is not like 1/8"),
    (["--only", "no such layer", "--suite", "conv"], "no case of conv matches --only 'no such layer'"),
    (["--device", "abacus", "--suite", "gemm"], "unknown device 'abacus'"),
    (["--from", "no-such-file.json"], "no-such-file.json"),
])
def test_bad_options(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        run.main(["--tiny", *arguments])
    assert said in f"{stopped.value}{capsys.readouterr().err}" and stopped.value.code != 0


def test_a_wrong_result_is_not_timed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(contest.Contestant, "ask", lie_about("error", 0.1))
    status, data = bench(tmp_path, "--suite", "gemm", "--compare", "")
    assert status == 1
    assert all("relative error 1.0e-01" in row["failed"] and "times" not in row for row in data["rows"])
    assert "FAILED" in capsys.readouterr().out


def lie_about(request, answer):
    """Contestant.ask that answers one request by itself."""
    honest = contest.Contestant.ask
    return lambda self, name, *arguments: answer if name == request else honest(self, name, *arguments)


def test_a_contestant_that_dies_is_replaced(tmp_path, monkeypatch, capsys):
    calls = []
    honest = contest.Contestant.ask

    def ask(self, request, *arguments):
        if request == "turn" and not calls:
            calls.append(self)
            self.process.kill()
        return honest(self, request, *arguments)

    monkeypatch.setattr(contest.Contestant, "ask", ask)
    status, data = bench(tmp_path, "--suite", "gemm", "--compare", "")
    assert status == 1 and calls
    assert "ended with status" in data["rows"][0]["failed"]
    assert all("times" in row for row in data["rows"][1:])


def test_errors_and_samples():
    a = np.arange(6.0).reshape(2, 3)
    assert relative_error([a], [a]) == 0 and relative_error([a * 1.1], [a]) == pytest.approx(0.1)
    assert math.isnan(relative_error([a * np.nan], [a]))
    with pytest.raises(ValueError, match=r"\(2, 3\) beside one of \(3, 2\)"):
        relative_error([a], [a.T])
    (picked,) = sample([np.arange(1_000_000)])
    assert picked[0] == 0 and 50_000 < picked.size < 140_000 and picked[-1] > 990_000


def test_timing_counts_calls():
    calls = []
    work = Work(lambda: calls.append(1), list)
    once = timing.warm_up(work.call)
    assert calls and once > 0
    assert timing.turn(work.call, once, 0.001) > 0
    assert timing.spread([1.0]) == 0 and timing.spread([1.0, 2.0, 3.0]) == pytest.approx(0.5)


def test_layers_are_those_of_the_networks():
    from models import MobileNetV2, ResNet9
    for make, network in ((layers.resnet9_seed, ResNet9(device="reference")),
                          (layers.resnet9_full, ResNet9(device="reference", width="full")),
                          (layers.mobilenet_v2, MobileNetV2(device="reference"))):
        weights = {layer.w_shape for layer in make(1)}
        assert weights == {p.shape for p in network.parameters() if len(p.shape) == 4}
    assert len(layers.resnet50(1)) == 23 and len(layers.vgg16(1)) == 9
    for layer in layers.every():
        if layer.batch == 1 and math.prod(layer.x_shape) < 20_000:
            conv = getattr(fc.ops, f"conv{len(layer.size)}d")
            x, w = (fc.array(np.zeros(shape, "float32")) for shape in (layer.x_shape, layer.w_shape))
            y = conv(x, w, None, layer.stride, layer.padding, layer.dilation, layer.groups,
                     layout="NCL" if len(layer.size) == 1 else "NCHW")
            assert y.shape == layer.y_shape, layer
    assert len({str(layer) for layer in layers.every()}) == len(layers.every())


@pytest.mark.parametrize("suite", SUITES)
def test_names_are_unique(suite):
    for tiny in (True, False):
        names = [case.name for case in SUITES[suite](tiny)]
        assert len(set(names)) == len(names)


def test_conv_has_forty_layers():
    assert len(SUITES["conv"](False)) >= 2 * 40


def test_peers_default_to_nothing():
    case = Case("nothing")
    assert case.torch(None, "cpu", False) == {} and case.numpy() == {}


# --- what a report makes of measurements ------------------------------------------------------

def row(at=1, flops=100.0, **seconds):
    times = {name.replace("_", "-"): {"seconds": s, "spread": 0.0, "turns": 1} for name, s in seconds.items()}
    return {"suite": "scaling", "case": f"curve, {at}", "flops": flops, "bytes": 0, "roof": "fma", "items": [], "series": "curve",
            "at": at, "times": times}


def test_ratios_take_the_best_of_both_sides():
    found = report.ratios({**row(), "times": {key: {"seconds": s} for key, s in {
        "fastconv/nchw": 2.0, "fastconv/channels-last": 1.0, "torch/nchw": 3.0, "torch-best/channels-last": 4.0,
        "numpy": 8.0}.items()}})
    assert found == {"torch": 1.5, "torch, best": 3.0, "numpy": 4.0}


def test_cliffs_are_steps_of_the_cost_of_work():
    measured = {1: 1.0, 2: 1.9, 4: 6.1, 8: 12.0}
    data = {"rows": [row(at, 100 * at, fastconv=seconds) for at, seconds in measured.items()]}
    (text,) = report.cliffs(data)
    assert text == "curve: from 2 to 4 the cost of a unit of work grows 1.61 times"


@pytest.mark.parametrize("seconds, text", [(1.234, "1.23 s"), (0.0123, "12.3 ms"), (123.4e-6, "123 µs"), (5e-9, "5.00 ns"),
                                           (0.9994, "999 ms"), (0.9999, "1.00 s")])
def test_times_have_three_digits(seconds, text):
    assert report.time_text(seconds) == text


def test_merging_keeps_the_last_and_refuses_other_devices():
    def part(date, device, value):
        return {"date": date, "device": device, "threads": 1, "peaks": {"fma": value}, "versions": {"fastconv": "1"},
                "rows": [row(1, 100, fastconv=value)]}
    merged = report.merge([part("2026-02", "cpu", 2.0), part("2026-01", "cpu", 3.0)])
    assert merged["peaks"]["fma"] == 3.0 and [report.seconds(r) for r in merged["rows"]] == [2.0]
    with pytest.raises(ValueError, match="cpu with 1, opencl:0 with 1"):
        report.merge([part("2026-02", "cpu", 2.0), part("2026-01", "opencl:0", 3.0)])
