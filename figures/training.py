"""Figures of chapter 5: one training step, rows and their targets, an atomic save."""

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from course_lib.plotting import COLORS, new_figure, save_figure

GREY = "#8A8A8A"


def blank(width: float, height: float, xlim: float, ylim: float):
    """A figure without axes whose units are equal in both directions."""
    fig, ax = new_figure(width, height)
    ax.set(xlim=(0, xlim), ylim=(0, ylim))
    ax.set_axis_off()
    ax.grid(False)
    return fig, ax


def box(ax, x, y, width: float, height: float, text: str, color: str, small: str = "") -> None:
    """A rounded box with a bold line and, below it, a small one; (x, y) is its middle."""
    corner = (x - width / 2, y - height / 2)
    style = "round,pad=0,rounding_size=0.12"
    face = {"facecolor": color + "26", "edgecolor": color, "linewidth": 1.4}
    ax.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, **face))
    lift = 0.16 if small else 0.0
    ax.text(x, y + lift, text, ha="center", va="center", fontsize=10, weight="bold")
    if small:
        ax.text(x, y - 0.24, small, ha="center", va="center", fontsize=8, color="#5A5A5A")


def arrow(ax, start: tuple, end: tuple, color: str = GREY, bend: float = 0.0, **more) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0}
    curve = f"arc3,rad={bend}"
    ax.add_patch(
        FancyArrowPatch(start, end, color=color, lw=1.5, connectionstyle=curve, **style, **more)
    )


def step() -> None:
    """A step as a loop of six stations, and what a checkpoint keeps of it."""
    fig, ax = blank(7.4, 3.9, 11.4, 6)
    stations = [
        (1.5, 4.9, "batch", "x, y (B, T)", COLORS["reference"]),
        (4.6, 4.9, "model", "logits (B, T, V)", COLORS["query"]),
        (7.7, 4.9, "loss", "nats per token", COLORS["model"]),
        (7.7, 2.5, "gradient", "backward", COLORS["mlp"]),
        (4.6, 2.5, "clip", "norm at most 1", COLORS["key"]),
        (1.5, 2.5, "AdamW", "m, v, learning rate", COLORS["value"]),
    ]
    for x, y, text, small, color in stations:
        box(ax, x, y, 2.2, 1.1, text, color, small)
    for (x1, y1, *_), (x2, y2, *_) in zip(stations, stations[1:]):
        across = (x2 > x1) - (x2 < x1)
        down = 0 if across else 0.6
        arrow(ax, (x1 + 1.15 * across, y1 - down), (x2 - 1.15 * across, y2 + down))
    arrow(ax, (1.5, 3.1), (1.5, 4.3), linestyle=(0, (3, 2)))
    ax.text(1.68, 3.7, "next step", fontsize=8.5, va="center", color="#5A5A5A")
    arrow(ax, (2.3, 3.08), (3.9, 4.32), color=COLORS["value"])
    ax.text(3.35, 3.55, "new weights", fontsize=8.5, va="center", color="#5A5A5A")
    ax.text(9.35, 5.45, "a checkpoint keeps", fontsize=9, weight="bold", va="center")
    kept = [
        ("weights", COLORS["query"]),
        ("m, v and step", COLORS["value"]),
        ("epoch, position", COLORS["reference"]),
        ("random state", GREY),
        ("history", COLORS["model"]),
    ]
    for i, (text, color) in enumerate(kept):
        y = 4.85 - 0.52 * i
        ax.add_patch(Rectangle((9.35, y - 0.13), 0.26, 0.26, facecolor=color, edgecolor="none"))
        ax.text(9.75, y, text, fontsize=9, va="center")
    ax.text(0.4, 0.95, "One training step", fontsize=11.5, weight="bold", va="center")
    note = "Repeat a thousand times; measure on text never seen; save so that nothing is lost."
    ax.text(0.4, 0.45, note, fontsize=9, va="center", color="#5A5A5A")
    save_figure(fig, "training-step")


def rows() -> None:
    """Inputs and targets of two scenes; padding is crossed out."""
    fig, ax = blank(7.0, 3.3, 10.6, 5.2)
    scenes = [["5", "6", "7", "0"], ["8", "0"]]
    blue, orange = COLORS["query"], COLORS["model"]
    for n, scene in enumerate(scenes):
        top = 4.3 - 2.35 * n
        inputs = ["0", *scene[:-1]] + ["0"] * (4 - len(scene))
        targets = scene + [""] * (4 - len(scene))
        for label, tokens, color, y in (
            ("input x", inputs, blue, top),
            ("target y", targets, orange, top - 1),
        ):
            ax.text(0.3, y, label, va="center", fontsize=10, weight="bold", color=color)
            for t, token in enumerate(tokens):
                x, padding = 2.6 + 1.75 * t, t >= len(scene)
                face = "#ECEAE4" if padding else color + "2E"
                edge = "#C9C6BE" if padding else color
                cell = {"facecolor": face, "edgecolor": edge, "linewidth": 1.2}
                ax.add_patch(Rectangle((x - 0.55, y - 0.36), 1.1, 0.72, **cell))
                if padding and not token:
                    ax.plot([x - 0.45, x + 0.45], [y - 0.28, y + 0.28], color=GREY, lw=1.2)
                    ax.text(x, y, "-100", ha="center", va="center", fontsize=9, color="#5A5A5A")
                else:
                    shade = GREY if padding else COLORS["ink"]
                    ax.text(x, y, token, ha="center", va="center", fontsize=11, color=shade)
                if not padding:
                    arrow(ax, (x, top - 0.4), (x, top - 0.6))
    ax.text(0.3, 0.25, "0 is the end token: it stands before every scene and closes it", fontsize=9,
            color="#5A5A5A", va="center")  # fmt: skip
    save_figure(fig, "training-rows")


def checkpoint() -> None:
    """Three moments of an atomic save."""
    fig, ax = blank(7.2, 2.9, 10.8, 4.4)
    old, new = COLORS["residual"], COLORS["value"]
    moments = [
        ("1  write beside it", ("old, whole", old), ("half of the new", new), 0.5),
        ("2  push to the disk", ("old, whole", old), ("new, whole", new), 1.0),
        ("3  take the name", ("new, whole", new), None, 0.0),
    ]
    for i, (title, named, temporary, share) in enumerate(moments):
        x = 0.5 + 3.5 * i
        ax.text(x, 4.1, title, fontsize=10.5, weight="bold", va="center")
        for y, name, content in ((2.8, "run.safetensors", named), (1.15, ".run-x7", temporary)):
            if content is None:
                continue
            text, color = content
            width = 2.7 if (y > 2 or share == 1.0) else 1.35
            ax.add_patch(Rectangle((x, y - 0.38), 2.7, 0.76, facecolor="none", edgecolor="#C9C6BE"))
            ax.add_patch(
                Rectangle((x, y - 0.38), width, 0.76, facecolor=color + "40", edgecolor=color)
            )
            ax.text(x + 1.35, y, text, ha="center", va="center", fontsize=9)
            style = {"fontsize": 8.5, "family": "monospace", "color": "#5A5A5A"}
            ax.text(x, y + 0.58, name, va="center", **style)
        if i:
            ax.plot([x - 0.4, x - 0.4], [0.4, 4.2], color="#D9D7D1", lw=1)
    arrow(ax, (9.9, 1.15), (9.2, 2.35), bend=0.3)
    ax.text(0.5, 0.25, "At every moment a whole file has the name.", fontsize=9, color="#5A5A5A",
            va="center")  # fmt: skip
    save_figure(fig, "training-checkpoint")


if __name__ == "__main__":
    step()
    rows()
    checkpoint()
