"""Figures of chapter 3: one look-up, the five steps in numbers, what the heads share out."""

import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from course_lib.attention import attention_weights, causal_mask
from course_lib.plotting import COLORS, new_figure, save_figure

# The three tokens that the chapter works out by hand: "Ann kite, Tom drum; Tom", shortened.
TOKENS = ["kite", "drum", "Tom"]
Q = torch.tensor([[0.0, 2, 0, 0], [0, 0, 0, 0], [0, 2, 0, 0]])
K = torch.tensor([[4.0, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0]])
V = torch.tensor([[10.0, 0], [0, 10], [0, 0]])


def tint(color: str, share: float) -> tuple:
    """`color` mixed with the paper: 0 is paper, 1 the full colour."""
    paper, full = to_rgb(COLORS["paper"]), to_rgb(COLORS.get(color, color))
    return tuple(p + share * (f - p) for p, f in zip(paper, full, strict=True))


def clean(ax) -> None:
    ax.set_axis_off()
    ax.grid(False)
    ax.set_aspect("equal")


def matrix(ax, x: float, y: float, numbers: list, faces: list, size: float = 0.8, font=9.5) -> None:
    """Cells with numbers, the first row on top; (x, y) is the top left corner."""
    for i, row in enumerate(numbers):
        for j, text in enumerate(row):
            cell = (x + j * size, y - (i + 1) * size)
            edge = COLORS["paper"]
            ax.add_patch(Rectangle(cell, size, size, facecolor=faces[i][j], edgecolor=edge, lw=1.5))
            dark = sum(to_rgb(faces[i][j])) < 1.6
            color = "#F4F1E6" if dark else COLORS["ink"]
            middle = (cell[0] + size / 2, cell[1] + size / 2)
            ax.text(*middle, text, ha="center", va="center", fontsize=font, color=color)


def written(numbers, digits: int) -> list[list[str]]:
    """The numbers of a matrix as they stand in its cells."""
    texts = [[f"{n:.{digits}f}" for n in row] for row in numbers.tolist()]
    return [["−∞" if text == "-inf" else text for text in row] for row in texts]


def arrow(ax, start: tuple, end: tuple, color: str = "#8A8A8A", width: float = 1.3, **more) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch(start, end, color=color, lw=width, **style, **more))


def five_steps() -> None:
    """Scores, scaled, masked, softmax, mixed: every number of the example by hand."""
    from matplotlib import colormaps

    raw, scaled = Q @ K.T, Q @ K.T / 2
    mask = causal_mask(3, 3)
    weights = attention_weights(Q, K, mask)
    mixed = weights @ V
    blank = tint("#8A8A8A", 0.12)
    warm = tint("mlp", 0.45)
    plain = [[tint("key", 0.5) if value else blank for value in row] for row in raw.tolist()]
    hidden = [[plain[i][j] if mask[i, j] else warm for j in range(3)] for i in range(3)]
    shades = [[colormaps["cividis"](value)[:3] for value in row] for row in weights.tolist()]
    greens = [[tint("value", 0.12 + 0.045 * value) for value in row] for row in mixed.tolist()]

    fig, ax = new_figure(9.4, 3.3)
    clean(ax)
    masked = scaled.masked_fill(~mask, float("-inf"))
    steps = [
        ("1  score", r"$q \cdot k$", written(raw, 0), plain),
        ("2  scale", r"$\div\sqrt{d}=2$", written(scaled, 0), plain),
        ("3  mask", r"future $\to -\infty$", written(masked, 0), hidden),
        ("4  softmax", "rows sum to 1", written(weights, 2), shades),
        ("5  mix", r"$\times\, v$", written(mixed, 2), greens),
    ]
    for i, token in enumerate(TOKENS):
        ax.text(-0.15, -(i + 0.5) * 0.8, token, ha="right", va="center", color=COLORS["query"])
    x = 0.0
    for number, (name, formula, texts, faces) in enumerate(steps):
        width = 0.8 * len(texts[0])
        matrix(ax, x, 0, texts, faces)
        ax.text(x + width / 2, 1.25, name, ha="center", va="center", weight="bold", fontsize=10.5)
        ax.text(x + width / 2, 0.78, formula, ha="center", va="center", fontsize=9.5)
        if number < 4:
            for j, token in enumerate(TOKENS):
                where = (x + (j + 0.5) * 0.8, 0.1)
                ax.text(*where, token, ha="center", va="bottom", fontsize=8, color="#A56E00")
            arrow(ax, (x + width + 0.12, -1.2), (x + width + 0.5, -1.2))
        x += width + 0.62
    ax.text(-0.15, -2.75, "rows: queries", color=COLORS["query"], fontsize=9, ha="left")
    ax.text(1.9, -2.75, "columns: keys", color="#A56E00", fontsize=9, ha="left")
    ax.text(x - 0.62, -2.75, "values, mixed", color=COLORS["value"], fontsize=9, ha="right")
    ax.set(xlim=(-1.0, x - 0.4), ylim=(-2.95, 1.5))
    ax.set_title("Attention in five steps: score, scale, mask, softmax, mix")
    save_figure(fig, "attention-five-steps")


def lookup() -> None:
    """One token asks, two labels are compared, what stands under the best label is read."""
    fig, ax = new_figure(7.6, 2.9)
    clean(ax)
    words = ["Ann", "kite", ",", "Tom", "drum", ";", "Tom", "?"]
    for i, word in enumerate(words):
        asks = i == 6
        face = tint("query", 0.22) if asks else "#FFFFFF"
        edge = COLORS["query"] if asks else "#BDBAB2"
        style = "round,pad=0,rounding_size=0.12"
        ax.add_patch(
            FancyBboxPatch((i * 1.3, 0), 1.12, 0.62, boxstyle=style, fc=face, ec=edge, lw=1)
        )
        ax.text(i * 1.3 + 0.56, 0.31, word, ha="center", va="center", fontsize=11)
    ax.text(
        8.36, 0.82, "query: what\ncame after Tom?", ha="center", fontsize=9.5, color=COLORS["query"]
    )
    for i, label, share in ((1, "after Ann", 0.04), (4, "after Tom", 0.96)):
        x = i * 1.3 + 0.56
        ax.text(x, 1.0, f"key: {label}", ha="center", color="#A56E00", fontsize=9.5)
        ax.text(x, -0.55, f"value: {words[i]}", ha="center", color=COLORS["value"], fontsize=9.5)
        curve = {"connectionstyle": "arc3,rad=0.22"}
        start, end = (8.3, 1.72), (x + 0.1, 1.36)
        arrow(
            ax, start, end, COLORS["query"], 0.8 + 2.6 * share, alpha=0.35 + 0.65 * share, **curve
        )
        arrow(ax, (x, -0.75), (8.36, -0.2), COLORS["value"], 0.8 + 2.6 * share,
              alpha=0.35 + 0.65 * share, connectionstyle="arc3,rad=0.16")  # fmt: skip
    ax.set(xlim=(-0.1, 10.35), ylim=(-1.25, 2.35))
    ax.set_title("A query is compared with every key; the values are read in proportion")
    save_figure(fig, "attention-lookup")


def heads() -> None:
    """Left: features are shared out, every head sees every token. Right: the popular error."""
    fig, ax = new_figure(8.6, 3.75)
    clean(ax)
    tokens, colors = ["Ann", "kite", ";", "Ann"], ["#56B4E9", "#D55E00"]
    n, c = 4, 4
    size = 0.55
    for x0, by_features in ((0.0, True), (8.4, False)):
        faces = [
            [tint(colors[(j if by_features else i) // 2], 0.55) for j in range(c)] for i in range(n)
        ]
        matrix(ax, x0, 0, [[""] * c] * n, faces, size)
        for i, token in enumerate(tokens):
            ax.text(x0 - 0.12, -(i + 0.5) * size, token, ha="right", va="center", fontsize=9.5)
        ax.text(x0 + c * size / 2, 0.14, "C features", ha="center", fontsize=9)
        for h in range(2):
            rows, cols = (n, c // 2) if by_features else (n // 2, c)
            x, y = x0 + 4.1, 0.62 - h * 2.62 if by_features else 0.3 - h * 1.9
            matrix(ax, x, y, [[""] * cols] * rows, [[tint(colors[h], 0.55)] * cols] * rows, size)
            shown = tokens if by_features else tokens[h * rows : (h + 1) * rows]
            for i, token in enumerate(shown):
                ax.text(x - 0.12, y - (i + 0.5) * size, token, ha="right", va="center", fontsize=9)
            label = x + cols * size + 0.15, y - rows * size / 2
            ax.text(*label, f"head {h}", va="center", fontsize=9.5)
            arrow(ax, (x0 + 2.35, -1.1), (x - 0.85, y - rows * size / 2))
    ax.text(
        -0.6,
        -4.95,
        "right: split the features.\nEvery head sees every token.",
        va="bottom",
        fontsize=10,
    )
    wrong = "wrong: split the sequence.\nThe second Ann cannot see the kite."
    ax.text(8.4, -4.95, wrong, va="bottom", fontsize=10)
    ax.plot([7.35, 7.35], [-4.6, 0.7], color=COLORS["faint"], lw=1)
    ax.set(xlim=(-0.8, 15.9), ylim=(-5.05, 0.9))
    ax.set_title("Heads share out the features, never the sequence")
    save_figure(fig, "attention-heads")


if __name__ == "__main__":
    five_steps()
    lookup()
    heads()
