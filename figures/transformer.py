"""Figures of chapter 4: the architecture from its own modules, the stream, the family."""

import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from course_lib.attention import causal_mask
from course_lib.plotting import COLORS, new_figure, save_figure
from course_lib.transformer import GPT, GPTConfig

# The colour of a part, by the class of its module.
KIND = {
    "Embedding": "value",
    "LayerNorm": "faint",
    "CausalSelfAttention": "query",
    "MLP": "mlp",
    "Linear": "key",
}
TITLE = {
    "wte": "token embedding  wte",
    "wpe": "position embedding  wpe",
    "ln_1": "layer norm  ln_1",
    "attn": "attention  attn",
    "ln_2": "layer norm  ln_2",
    "mlp": "MLP  mlp",
    "ln_f": "layer norm  ln_f",
    "head": "head",
}


def clean(ax) -> None:
    ax.set_axis_off()
    ax.grid(False)


def box(ax, x: float, y: float, w: float, h: float, text: str, color: str, note="") -> None:
    """A part, centred on (x, y); `note` stands beside it."""
    dark = color not in ("faint", "key")
    style = "round,pad=0,rounding_size=0.12"
    ax.add_patch(FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle=style, lw=0,
                                facecolor=COLORS[color], zorder=3))  # fmt: skip
    ax.text(x, y, text, ha="center", va="center", fontsize=9.5, zorder=4,
            color="white" if dark else COLORS["ink"])  # fmt: skip
    ax.text(x + w / 2 + 0.12, y, note, ha="left", va="center", fontsize=8.5, color="#5A5A5A")


def arrow(ax, start: tuple, end: tuple, color: str = "#8A8A8A", **more) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0, "lw": 1.4}
    ax.add_patch(FancyArrowPatch(start, end, color=color, zorder=2, **style, **more))


def plus(ax, x: float, y: float) -> None:
    ax.scatter([x], [y], s=150, color=COLORS["paper"], edgecolor=COLORS["residual"], lw=1.6,
               zorder=4)  # fmt: skip
    ax.text(x, y - 0.01, "+", ha="center", va="center", fontsize=12, color=COLORS["ink"], zorder=5)


def stream(ax, x: float, bottom: float, top: float, width: float = 0.16) -> None:
    ax.add_patch(Rectangle((x - width / 2, bottom), width, top - bottom, lw=0, zorder=1,
                           facecolor=COLORS["residual"], alpha=0.45))  # fmt: skip


def size(module) -> str:
    count = sum(parameter.numel() for parameter in module.parameters())
    return f"{count / 1e6:.1f} M" if count > 1e5 else f"{count:,}"


def architecture() -> None:
    """Every box is a module of the model, found by walking through it; none is typed in."""
    config = GPTConfig.gpt2("small")
    with torch.device("meta"):
        model = GPT(config)
    fig, ax = new_figure(7.6, 7.4)
    clean(ax)
    ax.set(xlim=(-3.3, 5.3), ylim=(-0.75, 10.35))
    x, w, h = 1.6, 2.9, 0.52
    own = dict(model.named_children())

    def part(name, module, px, py, pw=w, note=None):
        kind = KIND[type(module).__name__]
        box(ax, px, py, pw, h, TITLE[name], kind, size(module) if note is None else note)

    # bottom: ids, two tables, one sum
    ax.text(0, -0.55, "token ids (B, T)", ha="center", va="center", fontsize=9.5)
    arrow(ax, (0, -0.35), (0, 0.14))
    part("wte", own["wte"], 0, 0.4)
    part("wpe", own["wpe"], -1.75, 1.35, note="")
    ax.text(-1.75, 1.85, size(own["wpe"]), ha="center", va="center", fontsize=8.5, color="#5A5A5A")
    arrow(ax, (0, 0.66), (0, 1.2))
    arrow(ax, (-0.3, 1.35), (-0.14, 1.35))
    stream(ax, 0, 1.35, 8.35)
    plus(ax, 0, 1.35)

    # the block, once, with its children in their order
    y0, y = 2.15, 2.75
    block = model.blocks[0]
    ax.add_patch(FancyBboxPatch((-0.75, y0), 5.55, 5.0, boxstyle="round,pad=0,rounding_size=0.2",
                                facecolor="#EFECE4", lw=0, zorder=0))  # fmt: skip
    for name, module in block.named_children():
        part(name, module, x + 0.65, y)
        if name.startswith("ln"):
            arrow(ax, (0.08, y), (x + 0.65 - w / 2, y))
        else:
            arrow(ax, (x + 0.65, y - 1.1 + h / 2), (x + 0.65, y - h / 2))
            arrow(ax, (x + 0.65 - w / 2, y), (0.14, y))
            plus(ax, 0, y)
        y += 1.1 if name.startswith("ln") else 1.35
    ax.text(-0.95, y0 + 2.5, f"× {len(model.blocks)}", ha="right", va="center", fontsize=17,
            weight="bold", color=COLORS["residual"])  # fmt: skip
    ax.text(-0.95, y0 + 2.05, f"{size(block)} each", ha="right", va="center", fontsize=8.5,
            color="#5A5A5A")  # fmt: skip
    ax.text(-0.2, 7.75, "residual stream", ha="right", va="center", fontsize=9.5,
            color="#5A5A5A")  # fmt: skip

    # top: last norm, head
    part("ln_f", own["ln_f"], 0, 8.35)
    arrow(ax, (0, 8.61), (0, 9.04))
    tied = "same matrix as wte" if own["head"].weight is own["wte"].weight else size(own["head"])
    part("head", own["head"], 0, 9.3, note=tied)
    arrow(ax, (0, 9.56), (0, 9.98))
    ax.text(0, 10.15, f"logits (B, T, {config.vocab_size:,})", ha="center", va="center",
            fontsize=9.5)  # fmt: skip
    ax.set_title(f"GPT-2 small: one stream, {size(model)} parameters")
    save_figure(fig, "transformer-architecture")


def residual_stream() -> None:
    """Four parts read from the band and add to it."""
    fig, ax = new_figure(8.6, 2.9)
    clean(ax)
    ax.set(xlim=(-0.4, 12.6), ylim=(-0.7, 3.0))
    ax.add_patch(Rectangle((0.7, 0.05), 10.9, 0.5, facecolor=COLORS["residual"], alpha=0.45, lw=0))
    box(ax, 0.5, 0.3, 0.95, 0.8, "wte\n+ wpe", "value")
    box(ax, 11.75, 0.3, 1.0, 0.8, "ln_f\nhead", "key")
    for i in range(4):
        x, kind = 1.6 + 2.5 * i, ("query", "mlp")[i % 2]
        box(ax, x + 0.7, 2.2, 1.35, 0.6, ("attn", "mlp")[i % 2], kind)
        box(ax, x + 0.05, 1.25, 0.6, 0.42, "norm", "faint")
        arrow(ax, (x + 0.05, 0.55), (x + 0.05, 1.03))
        arrow(ax, (x + 0.05, 1.47), (x + 0.3, 1.9))
        arrow(ax, (x + 1.15, 1.9), (x + 1.5, 0.48), COLORS[kind])
        plus(ax, x + 1.5, 0.3)
    for i, name in enumerate(("block 0", "block 1")):
        ax.text(3.55 + 5 * i, -0.45, name, ha="center", va="center", fontsize=9.5, color="#5A5A5A")
    ax.set_title("Every part reads the stream and adds to it; none replaces it")
    save_figure(fig, "transformer-stream")


def grid(ax, x: float, y: float, mask, color: str, cell: float = 0.34) -> None:
    """A mask as squares, the first query on top; (x, y) is the top left corner."""
    for i, row in enumerate(mask.tolist()):
        for j, look in enumerate(row):
            face = COLORS[color] if look else COLORS["faint"]
            ax.add_patch(Rectangle((x + j * cell, y - (i + 1) * cell), cell, cell, lw=1.2,
                                   facecolor=face, edgecolor=COLORS["paper"]))  # fmt: skip


def family() -> None:
    """Who may look at whom in the three members of the family."""
    fig, ax = new_figure(8.8, 4.0)
    clean(ax)
    ax.set(xlim=(-0.5, 13.0), ylim=(-1.75, 4.3))
    ax.set_aspect("equal", anchor="W")
    n, cell = 5, 0.34
    full, causal = torch.ones(n, n, dtype=torch.bool), causal_mask(n, n)
    side = n * cell
    grid(ax, 0.6, 2.5, full, "value")
    grid(ax, 4.7, 2.5, causal, "query")
    grid(ax, 8.6, 3.4, full, "value")
    grid(ax, 8.6, 1.3, full, "key")
    grid(ax, 10.7, 1.3, causal, "query")
    for x, name, who in ((0.6, "encoder-only", "BERT"), (4.7, "decoder-only", "GPT"),
                         (9.65, "encoder-decoder", "Transformer 2017, T5, BART")):  # fmt: skip
        ax.text(x + side / 2, 4.05, name, ha="center", va="center", weight="bold", fontsize=10.5)
        ax.text(x + side / 2, -1.5, who, ha="center", va="center", fontsize=9.5, color="#5A5A5A")
    ax.text(0.6 + side / 2, 0.35, "everybody sees\neverybody", ha="center", va="center", fontsize=9)
    ax.text(4.7 + side / 2, 0.35, "each sees itself\nand the past", ha="center", va="center",
            fontsize=9)  # fmt: skip
    ax.text(10.7, 2.55, "source\nreads itself", ha="left", va="center", fontsize=9)
    ax.text(8.6 + side / 2, -0.82, "target reads\nsource", ha="center", va="center", fontsize=9)
    ax.text(10.7 + side / 2, -0.82, "target reads\nits past", ha="center", va="center", fontsize=9)
    ax.text(0.45, 2.5 - side / 2, "query", ha="right", va="center", rotation=90, fontsize=8.5,
            color="#5A5A5A")  # fmt: skip
    ax.text(0.6 + side / 2, 2.68, "key", ha="center", va="center", fontsize=8.5, color="#5A5A5A")
    ax.set_title("The family differs in who may look at whom")
    save_figure(fig, "transformer-family")


if __name__ == "__main__":
    architecture()
    residual_stream()
    family()
