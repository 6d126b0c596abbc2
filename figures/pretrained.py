"""Figures of chapter 7: where the parameters of the four published GPT-2 are."""

from course_lib.plotting import COLORS, new_figure, save_figure
from course_lib.transformer import GPTConfig, count_parameters

SIZES = ("small", "medium", "large", "xl")


def share() -> None:
    """One bar per size, cut into token embedding, attention, MLP and the rest, in per cent."""
    fig, ax = new_figure(6.8, 3.2)
    parts = {"token embedding": "key", "attention": "query", "MLP": "mlp", "rest": "residual"}
    for size in SIZES:
        config = GPTConfig.gpt2(size)
        c, total = config.n_embd, count_parameters(config)
        counts = {
            "token embedding": config.vocab_size * c,
            "attention": config.n_layer * (4 * c * c + 4 * c),
            "MLP": config.n_layer * (8 * c * c + 5 * c),
        }
        counts["rest"] = total - sum(counts.values())
        left = 0.0
        for part, color in parts.items():
            width = 100 * counts[part] / total
            label = f"{size}\n{total / 1e6:,.0f} M"
            ax.barh(label, width, left=left, color=COLORS[color], label=part)
            if width > 4:
                readable = "white" if part == "attention" else COLORS["ink"]  # on blue, or lighter
                ax.text(left + width / 2, label, f"{width:.0f}", ha="center", va="center",
                        color=readable, fontsize=9)  # fmt: skip
            left += width
    handles, names = ax.get_legend_handles_labels()
    fig.legend(handles[:4], names[:4], loc="outside lower center", ncols=4, frameon=False)
    ax.invert_yaxis()
    ax.set(xlabel="share of the parameters (%)", xlim=(0, 100))
    ax.set_title("The larger the model, the smaller the share of its vocabulary")
    ax.grid(False)
    save_figure(fig, "pretrained-share")


if __name__ == "__main__":
    share()
