"""Figures of chapter 2: UTF-8 in bits, and the merges of two tokens as trees."""

from matplotlib.patches import FancyBboxPatch

from course_lib.plotting import COLORS, new_figure, save_figure
from course_lib.tokenizer import Tokenizer, learn_merges
from course_lib.world import little_world

SIGN, CODE = COLORS["key"], COLORS["query"]


def clean(ax) -> None:
    """No axes: the drawing is a diagram."""
    ax.set_axis_off()
    ax.grid(False)


def signs(byte: int) -> int:
    """How many bits at the front of a UTF-8 byte are signs and not part of the code point."""
    return f"{byte:08b}".index("0") + 1


def draw_middle(ax, x: float, y: float, size: float) -> None:
    """U+4E2D, the character for middle, in strokes, since not every machine has a font for it."""
    w, h = 0.42 * size, 0.26 * size
    style = {"color": COLORS["ink"], "linewidth": 2.0, "solid_capstyle": "butt"}
    ax.plot([x - w, x + w, x + w, x - w, x - w], [y - h, y - h, y + h, y + h, y - h], **style)
    ax.plot([x, x], [y - 0.56 * size, y + 0.56 * size], **style)


def draw_smile(ax, x: float, y: float, size: float) -> None:
    """U+1F600, a face."""
    from matplotlib.patches import Arc, Circle

    ink = COLORS["ink"]
    ax.add_patch(Circle((x, y), 0.5 * size, fill=False, linewidth=1.6, edgecolor=ink))
    for side in (-1, 1):
        ax.add_patch(Circle((x + side * 0.17 * size, y + 0.12 * size), 0.055 * size, color=ink))
    mouth = {"theta1": 200, "theta2": 340, "linewidth": 1.6, "color": ink}
    ax.add_patch(Arc((x, y), 0.6 * size, 0.55 * size, **mouth))


def utf8_bits() -> None:
    """One character to a row: its glyph, its code point, its bytes in bits."""
    fig, ax = new_figure(8.2, 3.3)
    clean(ax)
    ax.set_aspect("equal")
    for row, character in enumerate("aé\u4e2d\U0001f600"):
        y = -1.3 * row
        if ord(character) < 256:
            ax.text(0, y, character, ha="center", va="center", fontsize=19)
        else:
            (draw_middle if ord(character) < 0x10000 else draw_smile)(ax, 0, y, 0.8)
        ax.text(0.9, y, f"U+{ord(character):04X}", va="center", fontsize=10.5)
        for place, byte in enumerate(character.encode("utf-8")):
            left = 2.9 + 2.75 * place
            box = FancyBboxPatch(
                (left, y - 0.42), 2.5, 0.84, boxstyle="round,pad=0,rounding_size=0.12"
            )
            box.set(facecolor="#FFFFFF", edgecolor="#BDBAB2", linewidth=1)
            ax.add_patch(box)
            for i, bit in enumerate(f"{byte:08b}"):
                color = SIGN if i < signs(byte) else CODE
                style = {"family": "DejaVu Sans Mono", "fontsize": 12, "weight": "bold"}
                ax.text(
                    left + 0.27 + 0.28 * i, y, bit, color=color, ha="center", va="center", **style
                )
    ax.text(2.9, 0.72, "sign", color=SIGN, fontsize=10, weight="bold")
    ax.text(3.75, 0.72, "code point", color=CODE, fontsize=10, weight="bold")
    ax.set_title("UTF-8: the first byte says how many there are, the rest says which character")
    ax.set(xlim=(-0.6, 14), ylim=(-4.6, 1.1))
    save_figure(fig, "tokenizer-bytes")


def tree(ax, tokenizer: Tokenizer, token: int, place: float, labels, colors, merge_color) -> float:
    """Draw a token over its bytes, the first of them at x = place; return the x of its top."""

    def draw(token: int, start: int) -> tuple[float, float, int]:
        if token < 256:
            x = place + start
            ax.text(x, 0, labels[start], ha="center", va="center", fontsize=11, color=colors[start],
                    family="DejaVu Sans Mono", weight="bold")
            return x, 0.32, 1
        left, right = tokenizer.merges[token - 256]
        x1, y1, n1 = draw(left, start)
        x2, y2, n2 = draw(right, start + n1)
        x, y = (x1 + x2) / 2, max(y1, y2) + 0.72
        for below_x, below_y in ((x1, y1), (x2, y2)):
            ax.plot([x, below_x], [y, below_y], color="#9A978F", linewidth=1.3, zorder=1)
        spot = {"boxstyle": "round,pad=0.25", "facecolor": "#FFFFFF", "edgecolor": merge_color}
        ax.text(x, y, str(token - 255), ha="center", va="center", fontsize=9, bbox=spot, zorder=3)
        return x, y + 0.2, n1 + n2

    return draw(token, 0)


def merge_trees() -> None:
    """An English and a Chinese token, each with the places of its merges in the learned list."""
    scenes = little_world().scenes(1000, seed=0)
    fig, axes = new_figure(8.2, 3.7, ncols=2)
    happy = "\u5f00\u5fc3"
    shades = [COLORS["query"]] * 3 + [COLORS["model"]] * 3
    cases = [
        ([s.text for s in scenes], " colour", ["\u2423", *"colour"], [COLORS["query"]] * 7,
         "\u2423colour"),
        ([s.chinese for s in scenes], happy, [f"{b:02X}" for b in happy.encode()], shades,
         "U+5F00 U+5FC3 (k\u0101ix\u012bn, happy)"),
    ]
    for ax, (texts, word, labels, colors, name) in zip(axes, cases, strict=True):
        clean(ax)
        tokenizer = Tokenizer(learn_merges(texts, 400))
        (token,) = tokenizer.encode(word)
        x, top, n = tree(ax, tokenizer, token, 0, labels, colors, COLORS["value"])
        ax.text(x, top + 0.22, name, ha="center", va="bottom", fontsize=10.5, weight="bold")
        ax.set(xlim=(-0.7, n - 0.3), ylim=(-0.4, top + 0.8))
    fig.suptitle("A token is a tree of merges; the numbers say when each was learned", x=0.02,
                 ha="left", fontsize=11.5, weight="bold")
    save_figure(fig, "tokenizer-tree")


if __name__ == "__main__":
    utf8_bits()
    merge_trees()
