"""The HTML report: one file with tables and plots, nothing to load from elsewhere."""
import html as escape
import io
import math

from bench import report

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff;
       max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 13px; }
td, th { padding: 2px 10px; text-align: right; border-bottom: 1px solid #eee; }
td:first-child, th:first-child { text-align: left; } th { background: #f6f6f4; position: sticky; top: 0; }
.slow { color: #b3261e; font-weight: 600; } .failed { color: #b3261e; } svg { max-width: 100%; height: auto; }
summary { cursor: pointer; margin: 1rem 0; } p.small { color: #666; font-size: 13px; }
"""
COLOURS = {"fastconv": "#c8452c", "torch": "#7a8aa0", "torch-best": "#33465e", "torch, best": "#33465e", "torch-cuda": "#2a7f4f",
           "numpy": "#d9a441"}
MARKERS = {"torch": "o", "torch, best": "D", "torch-cuda": "s", "numpy": "^"}


def html(data):
    """The page for the data of one run."""
    suites = report.by_suite(data)
    parts = [f"<h1>fastconv {escape.escape(data['versions']['fastconv'])} on {escape.escape(data['device'])}</h1>",
             f"<p>{'<br>'.join(escape.escape(text) for text in (data['date'], *report.heading(data).splitlines()))}</p>",
             "<p class=small>Times are medians of turns that the contestants took in one run. Ratios are the peer's time "
             "divided by fastconv's: above 1, fastconv is faster.</p>", _summary(data)]
    for suite, rows in suites.items():
        parts.append(f"<h2>{report.TITLES[suite]}</h2>")
        if suite == "scaling":
            parts.append(_curves(data))
            parts += [f"<p class=slow>{escape.escape(text)}</p>" for text in report.cliffs(data)] or ["<p>No cliffs.</p>"]
        elif suite != "memory-use":
            parts += [_rates(rows, data["peaks"]) if suite in ("conv", "conv-all", "gemm") else "", _ratios(rows)]
        parts.append(f"<details{' open' if len(rows) < 40 else ''}><summary>{len(rows)} lines</summary>"
                     f"{_memory(rows) if suite == 'memory-use' else _table(rows, data['peaks'])}</details>")
    return ("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>fastconv bench</title>"
            f"<style>{STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n")


# --- tables ----------------------------------------------------------------------------------

def _html_table(header, body):
    head = "".join(f"<th>{escape.escape(h)}</th>" for h in header)
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{''.join(row)}</tr>" for row in body) + "</table>"


def _cell(text, kind=""):
    return f"<td class=\"{kind}\">{escape.escape(text)}</td>" if kind else f"<td>{escape.escape(text)}</td>"


def _ratio_cell(value):
    return _cell("" if value is None else f"{value:.2f}", "slow" if value is not None and value < 1 else "")


def _summary(data):
    found = report.summary_rows(data)
    columns = list(dict.fromkeys(c for _, cs in found for c in cs))
    body = [[_cell(title), *(cell for c in columns for cell in (
        _ratio_cell(cs[c][0] if c in cs else None), _ratio_cell(cs[c][1] if c in cs else None),
        _cell(f"{cs[c][2]} of {cs[c][3]}" if c in cs else "")))] for title, cs in found]
    return _html_table(["suite", *(text for c in columns for text in (f"{c}: mean", "least", "under 1"))], body)


def _table(rows, peaks):
    columns = list(dict.fromkeys(c for row in rows for c in report.ratios(row)))
    body = []
    for row in rows:
        if "failed" in row:
            body.append([_cell(row["case"]), f"<td class=failed colspan={len(columns) + 4}>{escape.escape(row['failed'])}</td>"])
            continue
        first, value, found = next(iter(row["times"].values())), report.rate(row, peaks), report.ratios(row)
        body.append([_cell(row["case"]), _cell(report.time_text(first["seconds"])), _cell(f"±{first['spread'] * 50:.0f} %"),
                     _cell(f"{report.number(value[0])} {value[1]}" if value else ""),
                     _cell(f"{value[2] * 100:.0f} %" if value and value[2] is not None else ""),
                     *(_ratio_cell(found.get(c)) for c in columns)])
    return _html_table(["case", "time", "spread", "rate", "share", *columns], body)


def _memory(rows):
    names = list(dict.fromkeys(name for row in rows for name in row.get("memory", ())))
    body = []
    for row in rows:
        found = report.measured(row) if "memory" in row else {}
        sizes = [f"{found[n][0] / 2**20:.0f} (+{found[n][1] / 2**20:.0f})" if n in found else "failed" for n in names]
        body.append([_cell(row["case"]), *map(_cell, sizes)])
    return _html_table(["case", *(f"{name}: peak MiB (added by the calls)" for name in names)], body)


# --- plots -----------------------------------------------------------------------------------

def _figure(width, height):
    from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure):
    """The figure as an <svg> element, its text as text."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": "fastconv"}):
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg"):]


def _plain(axes):
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, which="major")


def _log_ticks(axis, low, high, steps):
    """Plain numbers on a log axis: powers of ten times `steps`."""
    from matplotlib.ticker import FixedLocator, NullLocator
    ticks = [s * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for s in steps]
    ticks = [t for t in ticks if low * 0.999 <= t <= high * 1.001]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def _ratios(rows):
    """A row of dots for each case: how many times faster than each peer."""
    rows = [row for row in rows if report.ratios(row)]
    if not rows:
        return ""
    figure = _figure(10, 1.0 + 0.21 * len(rows))
    axes = figure.subplots()
    columns = list(dict.fromkeys(c for row in rows for c in report.ratios(row)))
    values = [r for row in rows for r in report.ratios(row).values()]
    low, high = min([*values, 0.8]) / 1.1, max([*values, 2]) * 1.1
    axes.axvspan(low, 1, color="#b3261e", alpha=0.06, linewidth=0)
    axes.axvline(1, color="#222", linewidth=1)
    for column in columns:
        points = [(report.ratios(row)[column], i) for i, row in enumerate(rows) if column in report.ratios(row)]
        axes.scatter(*zip(*points), s=24, color=COLOURS[column], marker=MARKERS[column], label=column, zorder=3, linewidth=0)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    _log_ticks(axes.xaxis, low, high, (1, 2, 5))
    axes.set_yticks(range(len(rows)), [row["case"] for row in rows], fontsize=7.5)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("peer's time / fastconv's")
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    figure.legend(frameon=False, loc="outside upper right", ncols=len(columns), fontsize=8)
    axes.spines[["left", "right", "bottom"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.tick_params(axis="y", length=0)
    return _svg(figure)


def _rates(rows, peaks):
    """Speed against the size of the work, with the roof that the machine sets."""
    figure = _figure(10, 4.2)
    axes = figure.subplots()
    for name, marker, size in (("torch", "o", 14), ("torch-best", "D", 12), ("fastconv", "o", 22)):
        points = [(row["flops"], row["flops"] / min(found) / 1e9) for row in rows if (found := report.times(row, name))]
        if points:
            axes.scatter(*zip(*points), s=size, color=COLOURS[name], marker=marker, label=name, alpha=0.8, linewidth=0)
    if "fma" in peaks:
        axes.axhline(peaks["fma"] / 1e9, color="#222", linewidth=1, linestyle="--")
        axes.annotate(f"multiply-add peak, {peaks['fma'] / 1e9:.0f} GFLOP/s", (0.995, peaks["fma"] / 1e9), xytext=(0, 3),
                      ha="right", xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    _log_ticks(axes.yaxis, low, high, (1, 2, 5))
    axes.set_xlabel("operations of one call")
    axes.set_ylabel("GFLOP/s")
    axes.legend(frameon=False, fontsize=8)
    _plain(axes)
    return _svg(figure)


def _curves(data):
    """Time against size on log axes, with the ideal line, for every curve."""
    found = list(report.curves(data).items())
    if not found:
        return ""
    across = 3
    down = math.ceil(len(found) / across)
    figure = _figure(11.5, 3.1 * down)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid[len(found):]:
        axes.set_visible(False)
    for axes, (series, rows) in zip(grid, found):
        _curve(axes, series, rows)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9)
    return _svg(figure)


def _curve(axes, series, rows):
    at = [row["at"] for row in rows]
    for name in ("torch", "torch-best", "torch-cuda", "fastconv"):
        points = [(row["at"], 1e3 * min(found)) for row in rows if (found := report.times(row, name, "first"))]
        if points:
            axes.plot(*zip(*points), color=COLOURS[name], marker="o", markersize=3, linewidth=1.5, label=name)
    mine = [1e3 * report.seconds(row) for row in rows]
    # Through the point where a unit of work costs least; one thread, for threads.
    cost = mine[0] / report.work(rows[0]) if series.startswith("threads") else min(m / report.work(r) for m, r in zip(mine, rows))
    axes.plot(at, [cost * report.work(row) for row in rows], color="#222", linewidth=1, linestyle="--", label="ideal")
    jumps = [b for _, b, jump in report.steps(rows) if jump > report.CLIFF and not series.startswith("threads")]
    if jumps:
        axes.scatter([b["at"] for b in jumps], [1e3 * report.seconds(b) for b in jumps], s=90, facecolors="none",
                     edgecolors="#b3261e", linewidth=1.4, zorder=4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = at if len(at) <= 6 else at[::2]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks], fontsize=7)
    axes.xaxis.minorticks_off()
    low, high = axes.get_ylim()
    _log_ticks(axes.yaxis, low, high, (1,) if high / low > 30 else (1, 2, 5))
    axes.tick_params(axis="y", labelsize=7)
    title, _, rest = series.partition(" of ")
    axes.set_xlabel(title, fontsize=8)
    axes.set_title(rest, fontsize=8.5)
    axes.set_ylabel("ms", fontsize=8)
    _plain(axes)
