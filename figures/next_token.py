"""Figures of chapter 1: the chain rule, the ladder of losses, what models see, the timeline."""

import math

from course_lib.next_token import split_words
from course_lib.plotting import COLORS, new_figure, save_figure
from course_lib.world import little_world

# Printed by notebooks/01_next_token.ipynb; tests/test_next_token.py compares them with it.
FLOOR = 0.56
LADDER = {
    "knowing nothing: ln V": 5.77,
    "unigram": 4.51,
    "bigram": 2.03,
    "10-gram": 1.71,
    "trigram": 1.43,
    "4-gram, the best count": 1.35,
    "network on 8 words": 1.08,
}


def clean(ax) -> None:
    """No axes: the drawing is a diagram."""
    ax.set_axis_off()
    ax.grid(False)


def box(ax, x: float, y: float, width: float, height: float, face: str, edge: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=0.09"
    ax.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle=style, facecolor=face, edgecolor=edge, linewidth=1
        )
    )


def chain() -> None:
    """One sentence, the surprise of every word under it, and their sum."""
    words = split_words("On Monday, Mia is in the garden with Tom.")
    nats = [value for value, _ in little_world().pieces("".join(words), words)]
    fig, ax = new_figure(8.2, 2.9)
    clean(ax)
    x = 0.0
    for word, value in zip(words, nats, strict=True):
        width = 0.34 + 0.115 * len(word.strip())
        free = value > 0
        box(
            ax,
            x,
            0,
            width,
            0.5,
            "#FBE9DD" if free else "#FFFFFF",
            COLORS["model"] if free else "#BDBAB2",
        )
        ax.text(x + width / 2, 0.25, word.strip(), ha="center", va="center", fontsize=10.5)
        if free:
            ax.bar(x + width / 2, -0.45 * value, bottom=-0.12, width=0.42, color=COLORS["model"])
            ax.text(
                x + width / 2,
                -0.2 - 0.45 * value,
                f"{value:.2f}",
                ha="center",
                va="top",
                fontsize=9.5,
            )
        else:
            ax.text(x + width / 2, -0.2, "0", ha="center", va="top", fontsize=9.5, color="#8A8A8A")
        x += width + 0.1
    ax.text(
        x + 0.05,
        -0.9,
        f"sum\n{sum(nats):.2f} nats",
        ha="left",
        va="center",
        fontsize=10,
        weight="bold",
    )
    ax.text(
        x + 0.05,
        0.25,
        f"p = {math.exp(-sum(nats)):.2g}",
        ha="left",
        va="center",
        fontsize=10,
        weight="bold",
    )
    ax.set_title("The surprise of a sentence is the sum of the surprises of its words")
    ax.set(xlim=(-0.1, x + 1.25), ylim=(-2.2, 0.7))
    save_figure(fig, "next_token-chain")


def ladder() -> None:
    """Loss of each model of the chapter on fresh scenes, beside the floor."""
    fig, ax = new_figure(7.2, 3.5)
    colors = [COLORS["residual"]] + [COLORS["query"]] * 5 + [COLORS["mlp"]]
    ax.barh(list(LADDER), list(LADDER.values()), color=colors, height=0.6)
    for row, value in enumerate(LADDER.values()):
        ax.annotate(
            f"{value:.2f}",
            (value, row),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
        )
    ax.axvspan(0, FLOOR, color="#E9E6DD", zorder=3, linewidth=0)
    ax.axvline(FLOOR, color=COLORS["floor"], linewidth=1.8, zorder=4)
    label = f"floor {FLOOR:.2f}: below it, something leaks"
    ax.annotate(
        label,
        (FLOOR, 1),
        (3, 4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        fontsize=9,
    )
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.set(xlim=(0, 6.3), xlabel="loss on fresh scenes of Little World (nats per word)")
    ax.set_title("Counting gets far, and stops far above the floor", pad=20)
    save_figure(fig, "next_token-ladder")


def reach() -> None:
    """What each model sees of a scene when it must answer the question at its end."""
    words = "Mia has a red kite . Tom has a blue drum . Mia walks to the park .".split()
    words += "Who has the kite ?".split()
    rows = [
        ("unigram", 0),
        ("bigram", 1),
        ("trigram", 2),
        ("network on 8 words", 8),
        ("GPT (chapters 3 to 5)", 99),
    ]
    fig, ax = new_figure(8.6, 2.9)
    clean(ax)
    widths = [0.3 + 0.13 * len(word) for word in words]
    for row, (name, size) in enumerate(rows):
        x, y = 0.0, -0.62 * row
        ax.text(-0.25, y + 0.2, name, ha="right", va="center", fontsize=9.5)
        for place, (word, width) in enumerate(zip(words, widths, strict=True)):
            seen = len(words) - place <= size
            fact = place == 0 and seen
            face = COLORS["value"] if fact else "#D7E6F2" if seen else "#F1EFE9"
            box(ax, x, y, width, 0.4, face, "none")
            color = "#FFFFFF" if fact else COLORS["ink"] if seen else "#B9B6AE"
            ax.text(x + width / 2, y + 0.2, word, ha="center", va="center", fontsize=8, color=color)
            x += width + 0.05
        ax.text(
            x + 0.1,
            y + 0.2,
            "Mia" if size == 99 else "?",
            va="center",
            fontsize=10.5,
            weight="bold",
        )
    ax.set(xlim=(-3.4, x + 0.7), ylim=(-0.62 * len(rows) + 0.5, 0.62))
    ax.set_title("Who has the kite? Only a model that sees the whole scene can know")
    save_figure(fig, "next_token-reach")


def timeline() -> None:
    """Who bet on the next token, from 1948 to 2025."""
    events = [
        (1948, "Shannon: entropy, n-grams", "counting"),
        (1951, "Shannon: people guess letters", "counting"),
        (1991, "Witten and Bell: the zero-frequency problem", "counting"),
        (2003, "Bengio et al.: embeddings, a window", "network"),
        (2010, "Mikolov et al.: a recurrent state", "network"),
        (2014, "Sutskever et al.; Bahdanau et al.: attention", "network"),
        (2015, "Sennrich et al.: subword tokens", "network"),
        (2017, "Vaswani et al.: the Transformer", "gpt"),
        (2018, "GPT-1, 117 million parameters", "gpt"),
        (2019, "GPT-2, 1.5 billion", "gpt"),
        (2020, "GPT-3, 175 billion", "gpt"),
        (2022, "InstructGPT, ChatGPT", "gpt"),
        (2023, "GPT-4", "gpt"),
        (2024, "GPT-4o, o1", "gpt"),
        (2025, "gpt-oss: open weights", "gpt"),
    ]
    shades = {"counting": COLORS["query"], "network": COLORS["mlp"], "gpt": COLORS["model"]}
    names = {"counting": "counting and guessing", "network": "networks", "gpt": "Transformers"}
    fig, ax = new_figure(7.4, 5.4)
    clean(ax)
    for row, (year, what, era) in enumerate(events):
        y = -row
        ax.plot([0], [y], "o", markersize=8, color=shades[era], zorder=3)
        ax.text(-0.35, y, str(year), ha="right", va="center", fontsize=10, weight="bold")
        ax.text(0.35, y, what, ha="left", va="center", fontsize=10)
    for era, shade in shades.items():
        rows = [-row for row, event in enumerate(events) if event[2] == era]
        ax.plot(
            [0, 0],
            [max(rows) + 0.5, min(rows) - 0.5],
            color=shade,
            linewidth=3,
            solid_capstyle="butt",
        )
        ax.text(
            6.6,
            sum(rows) / len(rows),
            names[era],
            ha="left",
            va="center",
            fontsize=10.5,
            color=shade,
            weight="bold",
        )
    ax.set(xlim=(-1.3, 8.9), ylim=(-len(events) + 0.3, 0.8))
    ax.set_title("Who has bet on the next token, from Shannon to gpt-oss")
    save_figure(fig, "next_token-timeline")


if __name__ == "__main__":
    chain()
    ladder()
    reach()
    timeline()
