"""Figures of chapter 6: what a step computes with and without the cache; the four choices."""

from matplotlib.patches import Rectangle

from course_lib.plotting import COLORS, new_figure, save_figure

TOKENS = ["Mia", "has", "a", "red", "kite", "."]


def cache() -> None:
    """Rows are steps, columns are tokens: computed, read from the cache, or not yet there."""
    fig, axes = new_figure(7.2, 3.3, ncols=2)
    titles = ("Without a cache: all of them, always", "With a cache: one token per step")
    for ax, title, cached in zip(axes, titles, (False, True)):
        for step in range(1, len(TOKENS) + 1):
            for token in range(step):
                new = token == step - 1 or not cached
                color = COLORS["query"] if new else COLORS["key"]
                square = {"facecolor": color, "alpha": 0.85 if new else 0.3, "edgecolor": "white"}
                ax.add_patch(Rectangle((token, len(TOKENS) - step), 1, 1, **square))
        ax.set(xlim=(0, len(TOKENS)), ylim=(0, len(TOKENS)), aspect="equal")
        ax.set_xticks([i + 0.5 for i in range(len(TOKENS))], TOKENS)
        ax.set_yticks([i + 0.5 for i in range(len(TOKENS))], range(len(TOKENS), 0, -1))
        ax.set(xlabel="token", ylabel="step")
        ax.set_title(title, fontsize=9.5)
        ax.grid(False)
        ax.tick_params(length=0)
    handles = [
        Rectangle((0, 0), 1, 1, facecolor=COLORS["query"], alpha=0.85),
        Rectangle((0, 0), 1, 1, facecolor=COLORS["key"], alpha=0.3),
    ]
    names = ["computed in this step", "keys and values read from the cache"]
    fig.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    save_figure(fig, "sampling-cache")


if __name__ == "__main__":
    cache()
