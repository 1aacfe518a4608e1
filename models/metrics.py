"""What a training run leaves behind: metrics.csv and curves.png."""
import csv
import os

COLUMNS = ("epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds")


def write_csv(path, history, columns=COLUMNS):
    """Write one row an epoch; the file is replaced whole."""
    part = f"{path}.part"
    with open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)
    os.replace(part, path)


def plot_curves(path, history, title):
    """Loss and accuracy over the epochs, train and test, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    epochs = [row["epoch"] for row in history]
    last = 100 * history[-1]["test_accuracy"]
    for axes, quantity, scale in zip(figure.subplots(1, 2), ("loss", "accuracy"), (1, 100)):
        for split, colour in (("train", "#7a8aa0"), ("test", "#c8452c")):
            values = [scale * row[f"{split}_{quantity}"] for row in history]
            axes.plot(epochs, values, color=colour, linewidth=1.8, marker="o", markersize=3, label=split)
        axes.set_xlabel("epoch")
        axes.set_ylabel("cross-entropy" if quantity == "loss" else "accuracy (%)")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    axes.annotate(f"{last:.1f} %", (epochs[-1], last), xytext=(0, -14), textcoords="offset points", ha="center",
                  fontsize=9, color="#c8452c")
    figure.savefig(path)


def plot_perplexity(path, history, title):
    """Perplexity over the epochs on a log axis, train and valid, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, fontsize=11)
    epochs = [row["epoch"] for row in history]
    for split, colour in (("train", "#7a8aa0"), ("valid", "#c8452c")):
        axes.plot(epochs, [row[f"{split}_perplexity"] for row in history], color=colour, linewidth=1.8, marker="o",
                  markersize=3, label=split)
    axes.set_yscale("log")
    ticks = [50, 70, 100, 150, 200, 300, 500, 1000, 2000, 5000, 10000]
    axes.set_yticks(ticks, [str(t) for t in ticks])
    low = min(min(row["train_perplexity"], row["valid_perplexity"]) for row in history)
    high = max(max(row["train_perplexity"], row["valid_perplexity"]) for row in history)
    axes.set_ylim(low / 1.15, high * 1.15)
    axes.minorticks_off()
    axes.set_xlabel("epoch")
    axes.set_ylabel("perplexity")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)
