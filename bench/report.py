"""What the measurements say: lines for the terminal, tables in Markdown, curves and their cliffs."""
import fnmatch
import math
import re
from collections import defaultdict
from pathlib import Path

from bench.suites import SUITES

NOTES = Path(__file__).with_name("notes.md")
PEERS = ("*torch* is PyTorch as it comes, on NCHW memory, beside fastconv on NCHW memory. *torch, best* is the faster of that "
         "and of PyTorch with huge pages (`THP_MEM_ALLOC_ENABLE=1`), channels_last where that helps, and in inference BatchNorm "
         "folded into the convolutions; beside the faster of fastconv on NCHW and on channels-last memory. Shares are of the "
         "machine's multiply-add peak (operations counted as the direct algorithm's, so that Winograd may pass 100 %), or of its "
         "bandwidth where memory bounds.")
CLIFF = 1.5             # a step that costs this many times more for its work than the one before
IN_CACHE = 4 << 20      # bytes; below this the bandwidth of the caches is the roof
TITLES = {"conv": "Convolution layers", "conv-all": "Every convolution layer of the networks", "gemm": "Matrix products",
          "memory": "Memory-bound operations", "train": "Training steps", "infer": "Inference",
          "overhead": "Overhead of a call", "memory-use": "Memory", "scaling": "Curves"}


# --- one row ---------------------------------------------------------------------------------

def times(row, name, variants="all"):
    """Seconds of each variant of a contestant; `variants="first"`: of what is compared with the defaults."""
    found = [t["seconds"] for key, t in row.get("times", {}).items() if key.partition("/")[0] == name]
    return found[:1] if variants == "first" else found


def seconds(row):
    """Of fastconv's first variant; None where it was not timed."""
    return next(iter(times(row, "fastconv")), None)


def ratios(row):
    """{column: a peer's time / fastconv's}; "torch, best" takes the best of both sides."""
    mine = times(row, "fastconv")
    if not mine:
        return {}
    found = {}
    for peer in ("torch", "torch-cuda", "numpy"):
        theirs = times(row, peer, "first")
        if theirs:
            found[peer] = theirs[0] / mine[0]
    best = times(row, "torch-best")
    if best:
        found["torch, best"] = min(best + times(row, "torch")) / min(mine)
    order = ["torch", "torch, best", "torch-cuda", "numpy"]
    return {column: found[column] for column in order if column in found}


def rate(row, peaks):
    """(amount per second, unit, share of the roof or None)."""
    mine = seconds(row)
    if not mine:
        return None
    if row["roof"] == "fma" and not _bound_by_memory(row, peaks):
        return row["flops"] / mine / 1e9, "GFLOP/s", _share(row["flops"] / mine, peaks.get("fma"))
    if row["bytes"]:
        roof = row["roof"] if row["roof"] in ("read", "copy") else "copy"
        near = f"L2 {roof}"
        roof = peaks.get(near, peaks.get(roof)) if row["bytes"] < IN_CACHE else peaks.get(roof)
        return row["bytes"] / mine / 1e9, "GB/s", _share(row["bytes"] / mine, roof)
    if row["items"]:
        return row["items"][0] / mine, f"{row['items'][1]}/s", None
    return None


def _share(value, roof):
    return value / roof if roof else None


def _bound_by_memory(row, peaks):
    """Whether moving a layer's operands through memory, not multiplying, is what takes the time."""
    return (row["bytes"] >= 16 * IN_CACHE and "copy" in peaks and "fma" in peaks
            and row["bytes"] / peaks["copy"] > row["flops"] / peaks["fma"])


def behind(row):
    """The columns in which fastconv is slower."""
    return [column for column, ratio in ratios(row).items() if ratio < 1]


def time_text(value):
    """Seconds with a unit and three digits."""
    unit, factor = next((u for u in (("s", 1), ("ms", 1e3), ("µs", 1e6)) if value * u[1] >= 0.9995), ("ns", 1e9))
    value *= factor
    return f"{value:.{max(0, 2 - int(math.log10(max(value, 1))))}f} {unit}"


def number(value):
    """Three digits, no more."""
    return f"{value:,.{max(0, 2 - int(math.log10(max(abs(value), 1))))}f}"


def heading(data):
    lines = [f"fastconv {data['versions']['fastconv']} on {data['device']}, {data['threads']} threads, {data['machine']['cpu']}"]
    peers = [f"{name} {version}" for name, version in data["versions"].items() if name != "fastconv"]
    if peers:
        lines.append("beside " + ", ".join(peers))
    if data["peaks"]:
        lines.append("this machine at best: " + peak_text(data["peaks"]))
    return "\n".join(lines)


def peak_text(peaks):
    parts = [f"{peaks['fma'] / 1e9:.0f} GFLOP/s in float32 multiply-adds"]
    for name, title in (("read", "memory read"), ("copy", "memory copied"), ("L2 read", "L2 read"), ("L2 copy", "L2 copied")):
        if name in peaks:
            parts.append(f"{peaks[name] / 1e9:.0f} GB/s {title}")
    return ", ".join(parts)


def line(row, peaks):
    """A row for the terminal."""
    name = f"  {row['case']:<52}"
    if "failed" in row:
        return f"{name} FAILED  {row['failed']}"
    if "memory" in row:
        parts = [f"{who} {peak / 2**20:.0f} MiB (+{added / 2**20:.0f})" for who, (peak, added, _) in measured(row).items()]
        return f"{name} {'  '.join(parts)}"
    first = next(iter(row["times"].values()))
    parts = [f"{time_text(first['seconds']):>9} ±{first['spread'] * 50:3.0f} %"]
    speed = rate(row, peaks)
    if speed:
        value, unit, share = speed
        parts.append(f"{number(value):>6} {unit:<8}" + (f"{share * 100:4.0f} %" if share is not None else "      "))
    parts += [f"{column} {ratio:5.2f}" for column, ratio in ratios(row).items()]
    return f"{name} {'  '.join(parts)}"


def measured(row):
    """{contestant: (peak, added, kept)} of a memory row, without those that had nothing to measure."""
    return {who: value for who, value in row["memory"].items() if value}


# --- all rows --------------------------------------------------------------------------------

def merge(parts):
    """One run from several of the same device: a case's last measurement counts; roofs are the highest."""
    if len({(p["device"], p["threads"]) for p in parts}) > 1:
        raise ValueError("these files are of different devices or numbers of threads: " +
                         ", ".join(f"{p['device']} with {p['threads']}" for p in parts))
    parts = sorted(parts, key=lambda p: p["date"])
    rows, peaks, versions = {}, {}, {}
    for part in parts:
        for name, value in part["peaks"].items():
            peaks[name] = max(value, peaks.get(name, 0))
        versions.update(part["versions"])
        for row in part["rows"]:
            rows[row["suite"], row["case"]] = row
    return {**parts[-1], "peaks": peaks, "versions": versions, "rows": _in_order(rows)}


def _in_order(rows):
    """Rows as their suites list them; cases that are no more come last."""
    place = {}
    for suite, make in SUITES.items():
        for case in make(False):
            place.setdefault((suite, case.name), len(place))
    return [rows[key] for key in sorted(rows, key=lambda key: place.get(key, len(place)))]


def by_suite(data):
    found = defaultdict(list)
    for row in data["rows"]:
        found[row["suite"]].append(row)
    return found


def groups(suite, rows):
    """[(title, rows)] whose ratios are averaged together."""
    if not suite.startswith("conv"):
        return [(suite, rows)]
    return [(f"{suite}, forward", [r for r in rows if " forward" in r["case"]]),
            (f"{suite}, forward and both gradients", [r for r in rows if " all" in r["case"]])]


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def summary_rows(data):
    """[(title, {column: (mean, least, how many below 1, how many)})]"""
    found = []
    for suite, rows in by_suite(data).items():
        for title, some in groups(suite, rows):
            columns = defaultdict(list)
            for row in some:
                for column, ratio in ratios(row).items():
                    columns[column].append(ratio)
            if columns:
                found.append((title, {c: (geometric_mean(v), min(v), sum(r < 1 for r in v), len(v)) for c, v in columns.items()}))
    return found


def summary(data):
    """The means for the terminal."""
    lines = ["", "peer's time / fastconv's: geometric mean (least; lines under 1)"]
    for title, columns in summary_rows(data):
        lines.append(f"  {title:<38}" + "  ".join(f"{c} {mean:.2f} ({least:.2f}; {under} of {count})"
                                                  for c, (mean, least, under, count) in columns.items()))
    found = cliffs(data)
    if found:
        lines += ["cliffs:", *(f"  {text}" for text in found)]
    failed = [row for row in data["rows"] if "failed" in row]
    if failed:
        lines += [f"{len(failed)} FAILED:", *(f"  {row['suite']}: {row['case']}: {row['failed']}" for row in failed)]
    return "\n".join(lines)


# --- curves ----------------------------------------------------------------------------------

def curves(data):
    """{series: rows in order of `at`}"""
    found = defaultdict(list)
    for row in data["rows"]:
        if row.get("series") and "times" in row:
            found[row["series"]].append(row)
    return {series: sorted(rows, key=lambda r: r["at"]) for series, rows in found.items() if len(rows) > 1}


def work(row):
    """What an ideal time is proportional to: operations, else items; for threads, their inverse."""
    if row["series"].startswith("threads"):
        return 1 / row["at"]
    return row["flops"] or row["items"][0]


def steps(rows):
    """[(row before, row, how much more a unit of work costs)] along one curve of fastconv's."""
    return [(a, b, seconds(b) / work(b) / (seconds(a) / work(a))) for a, b in zip(rows, rows[1:])]


def cliffs(data):
    """A line for each step along a curve that costs more than CLIFF times the trend."""
    return [f"{series}: from {a['at']:g} to {b['at']:g} the cost of a unit of work grows {jump:.2f} times"
            for series, rows in curves(data).items() if not series.startswith("threads")
            for a, b, jump in steps(rows) if jump > CLIFF]


# --- Markdown --------------------------------------------------------------------------------

def notes():
    """{suite: (text, [(pattern, text)])} of notes.md: what its hand-written lines say about each suite."""
    found = {}
    for section in re.split(r"^## ", NOTES.read_text(), flags=re.MULTILINE)[1:]:
        suite, _, body = section.partition("\n")
        text, *items = re.split(r"^- `", body, flags=re.MULTILINE)
        remarks = [item.split("`:", 1) for item in items]
        found[suite.strip()] = " ".join(text.split()), [(pattern, " ".join(remark.split())) for pattern, remark in remarks]
    return found


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(" --- " if i == 0 else " ---: " for i in range(len(header))) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def markdown(data):
    """docs/performance.md: what was measured, on what, when, and why some lines are behind."""
    info = data["machine"]
    parts = [
        "# Performance",
        "Generated by `python -m bench --report`; the remarks come from `bench/notes.md`. Times are medians of one run in which "
        "the contestants took turns, each in a process of its own with the same number of threads; every result had been "
        "checked against NumPy in float64. Ratios are the peer's time divided by fastconv's: above 1, fastconv is faster.",
        table(("", ""), [
            ("date", data["date"][:10]), ("machine", f"{info['cpu']}, {info['cores']} cores, {info['memory']} GiB"),
            ("device", f"{data['device']}, {data['threads']} threads" + (f", {data['isa']}" if "isa" in data else "")),
            ("system", f"{info['system']}, Python {info['python']}, compiler {data['compiler']}"),
            ("versions", ", ".join(f"{n} {v}" for n, v in data["versions"].items() if n != "torch-best")),
            ("at best", peak_text(data["peaks"]) if data["peaks"] else "not measured")])]
    if "torch-best" in data["versions"]:
        parts.append(PEERS)
    parts.append(_summary_table(data))
    remarks = notes()
    for suite, rows in by_suite(data).items():
        text, items = remarks.get(suite, ("", []))
        parts += [f"## {TITLES[suite]}", f"`python -m bench --suite {suite}`"]
        parts += [text] if text else []
        if suite == "memory-use":
            parts.append(_memory_table(rows))
        elif suite == "scaling":
            parts += _curve_tables(data)
        else:
            parts.append(_time_table(rows, data["peaks"]))
        parts += _behind(rows, items)
    return "\n\n".join(parts) + "\n"


def _summary_table(data):
    found = summary_rows(data)
    columns = list(dict.fromkeys(c for _, cs in found for c in cs))
    def cell(values):
        return "" if values is None else f"{values[0]:.2f} ({values[1]:.2f}; {values[2]} of {values[3]})"
    return "## Summary\n\nGeometric mean (least ratio; lines under 1).\n\n" + table(
        ("suite", *columns), [(title, *(cell(cs.get(c)) for c in columns)) for title, cs in found])


def _time_table(rows, peaks):
    columns = list(dict.fromkeys(c for row in rows for c in ratios(row)))
    body = []
    for row in rows:
        if "failed" in row:
            body.append((row["case"], "failed", "", "", *[""] * len(columns)))
            continue
        value = rate(row, peaks)
        found = ratios(row)
        body.append((row["case"], time_text(seconds(row)), f"{number(value[0])} {value[1]}" if value else "",
                     f"{value[2] * 100:.0f} %" if value and value[2] is not None else "",
                     *(f"{found[c]:.2f}" if c in found else "" for c in columns)))
    return table(("case", "time", "rate", "share", *columns), body)


def _memory_table(rows):
    names = list(dict.fromkeys(name for row in rows for name in row.get("memory", ())))
    header = ["case", *(f"{name}, peak MiB" for name in names), *(f"{name}, beyond results MiB" for name in names)]
    body = []
    for row in rows:
        found = measured(row) if "memory" in row else {}
        body.append((row["case"], *(f"{found[n][0] / 2**20:.0f}" if n in found else "failed" for n in names),
                     *(f"{max(0, found[n][1] - found[n][2]) / 2**20:.0f}" if n in found and found[n][2] else "" for n in names)))
    return table(header, body)


def _curve_tables(data):
    """Each curve in a line: how its cost per unit of work moves, and where it jumps; then the gain of threads."""
    sizes, threads = [], []
    for series, rows in curves(data).items():
        first, last = rows[0], rows[-1]
        ends = time_text(seconds(first)), time_text(seconds(last))
        if series.startswith("threads"):
            threads.append((series, *ends, f"{last['at']:g}", f"{seconds(first) / seconds(last):.2f}"))
            continue
        jumps = [f"{jump:.2f} at {b['at']:g}" for _, b, jump in steps(rows) if jump > CLIFF]
        cheaper = seconds(first) / work(first) / (seconds(last) / work(last))
        sizes.append((series, f"{first['at']:g} to {last['at']:g}", *ends, f"{cheaper:.2f}", ", ".join(jumps) or "none"))
    header = "curve", "range", "first", "last", "cost of a unit of work, first / last", f"steps over {CLIFF}"
    return ([table(header, sizes)] if sizes else []) + (
        [table(("threads", "one", "all", "how many", "times faster"), threads)] if threads else [])


def _behind(rows, items):
    """The lines that are not ahead, each under the remark whose pattern fits it first."""
    grouped = defaultdict(list)
    for row in rows:
        slow = behind(row)
        if slow:
            text = next((text for pattern, text in items if fnmatch.fnmatch(row["case"], pattern)), "No remark yet.")
            found = ratios(row)
            grouped[text].append(f"{row['case']} (" + ", ".join(f"{c} {found[c]:.2f}" for c in slow) + ")")
    if not grouped:
        return []
    return ["Not yet ahead:", *(f"{text} — {'; '.join(cases)}." for text, cases in grouped.items())]
