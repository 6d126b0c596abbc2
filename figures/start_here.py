"""The map of the course: which chapter builds which part of the finished GPT."""

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from course_lib.plotting import COLORS, new_figure, save_figure


def part(
    ax, x: float, y: float, width: float, height: float, number: str, name: str, color: str
) -> None:
    """A chapter's box: its number in a disc, its name beside."""
    style = "round,pad=0,rounding_size=0.12"
    ax.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle=style, facecolor="#FFFFFF", edgecolor=color, linewidth=2
        )
    )
    ax.plot([x + 0.3], [y + height - 0.3], "o", markersize=19, color=color, zorder=3)
    ax.text(
        x + 0.3,
        y + height - 0.31,
        number,
        ha="center",
        va="center",
        color="#FFFFFF",
        fontsize=11,
        weight="bold",
        zorder=4,
    )
    ax.text(x + 0.62, y + height - 0.3, name, ha="left", va="center", fontsize=11, weight="bold")


def note(ax, x: float, y: float, text: str, **more) -> None:
    ax.text(x, y, text, fontsize=9, color="#5A5A5A", va="center", **{"ha": "left", **more})


def arrow(ax, start, end, color=COLORS["ink"], **more) -> None:
    style = {
        "arrowstyle": "-|>",
        "mutation_scale": 14,
        "linewidth": 1.6,
        "shrinkA": 0,
        "shrinkB": 0,
        **more,
    }
    ax.add_patch(FancyArrowPatch(start, end, color=color, **style))


def course_map() -> None:
    fig, ax = new_figure(9.2, 4.6)
    ax.set_axis_off()
    ax.grid(False)
    blue, orange, green = COLORS["query"], COLORS["model"], COLORS["value"]
    # the way of a token, left to right
    note(ax, 0.0, 3.45, "Mia has\na red", ha="center")
    arrow(ax, (0.45, 3.45), (0.85, 3.45))
    part(ax, 0.85, 2.75, 2.0, 1.4, "2", "tokenizer", blue)
    note(ax, 1.05, 3.2, "text to numbers\nand back")
    arrow(ax, (2.85, 3.45), (3.25, 3.45))
    part(ax, 3.25, 2.2, 3.15, 2.5, "4", "transformer", blue)
    note(ax, 3.45, 3.83, "blocks of layers, one on another")
    part(ax, 3.5, 2.4, 2.65, 1.15, "3", "attention", blue)
    note(ax, 3.7, 2.72, "looks back at what matters")
    arrow(ax, (6.4, 3.45), (6.82, 3.45))
    part(ax, 6.8, 2.75, 2.0, 1.4, "6", "sampling", orange)
    note(ax, 7.0, 3.2, "from chances\nto a choice")
    arrow(ax, (8.8, 3.45), (9.2, 3.45))
    note(ax, 9.55, 3.45, "kite", ha="center", weight="bold")
    # the next token joins the text
    ax.plot([9.55, 9.55, 0.0], [3.7, 5.0, 5.0], color="#B9B6AE", linewidth=1.6)
    arrow(ax, (0.0, 5.0), (0.0, 3.85), color="#B9B6AE")
    note(ax, 4.82, 5.2, "the new token joins the text, and the next one is asked for", ha="center")
    # learning
    part(ax, 5.2, 0.15, 2.9, 1.3, "1", "next token", green)
    note(ax, 5.4, 0.62, "how good was the guess?\nthe loss, beside its floor")
    part(ax, 1.3, 0.15, 2.9, 1.3, "5", "training", green)
    note(ax, 1.5, 0.62, "change every weight a little,\nso that the loss falls")
    ax.plot([6.57], [3.45], "o", markersize=6, color=green, zorder=4)
    arrow(ax, (6.57, 3.45), (6.57, 1.48), color=green)
    arrow(ax, (5.18, 0.8), (4.24, 0.8), color=green)
    arrow(ax, (3.5, 1.47), (4.1, 2.17), color=green)
    part(ax, 8.4, 0.15, 1.9, 1.3, "7", "pretrained", COLORS["residual"])
    note(ax, 8.6, 0.62, "the published\nGPT-2 weights")
    ax.set(xlim=(-0.5, 10.4), ylim=(0, 5.4))
    ax.set_title("Seven chapters, one machine")
    save_figure(fig, "start_here-map")


if __name__ == "__main__":
    course_map()
