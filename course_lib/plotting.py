"""Looks: one style for all figures, one colour per concept, pictures that come with alt text.

A notebook draws with matplotlib and ends with `show(fig, alt="...")`. A file of `figures/` draws,
calls `save_figure(fig, "attention-five-steps")`, and a notebook shows the result with `show_svg`.
Every picture stands on its own light card with round corners, so it reads the same on a light page
and on a dark one.

Importing this module imports no matplotlib; the functions that draw do.
"""

import ast
import base64
import hashlib
import html
import io
import os
import re
import tokenize
from pathlib import Path

__all__ = [
    "COLORS",
    "CYCLE",
    "STYLE",
    "figure_style",
    "new_figure",
    "fit_titles",
    "show",
    "show_svg",
    "save_figure",
    "figure_hash",
    "attention_map",
    "loss_curve",
    "bars",
    "token_strip",
]

# One colour per concept through the whole course (all but the greys from Okabe and Ito's palette,
# which people with any kind of colour blindness can tell apart).
COLORS = {
    "query": "#0072B2",
    "key": "#E69F00",
    "value": "#009E73",
    "residual": "#7F7F7F",
    "mlp": "#CC79A7",
    "model": "#D55E00",  # what our own model does, beside
    "reference": "#56B4E9",  # somebody else's, and
    "floor": "#333333",  # what nobody can beat
    "ink": "#2B2B2B",
    "faint": "#D9D7D1",
    "paper": "#FBFAF7",
}
CYCLE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F"]

STYLE = {
    "figure.figsize": (6.4, 3.6),
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.facecolor": COLORS["paper"],
    "axes.facecolor": COLORS["paper"],
    "savefig.facecolor": COLORS["paper"],
    "text.color": COLORS["ink"],
    "axes.labelcolor": COLORS["ink"],
    "axes.titlecolor": COLORS["ink"],
    "axes.edgecolor": "#8A8A8A",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E7E5DF",
    "grid.linewidth": 0.8,
    "xtick.color": "#5A5A5A",
    "ytick.color": "#5A5A5A",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 2,
    "font.size": 10,
    "font.family": ["DejaVu Sans"],
    "image.cmap": "cividis",
    "svg.fonttype": "path",
    "svg.hashsalt": "next-token",
}

# Fonts that can draw Chinese, tried after DejaVu Sans. Only those that are installed may be named:
# matplotlib complains about the others on stderr.
_CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Heiti TC",
    "Microsoft YaHei",
    "SimHei",
)


def figure_style() -> None:
    """Draw everything from here on in the course's style (matplotlib's rcParams)."""
    import matplotlib
    from matplotlib import font_manager

    matplotlib.rcParams.update(STYLE)
    matplotlib.rcParams["axes.prop_cycle"] = matplotlib.cycler(color=CYCLE)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    chinese = [name for name in _CHINESE_FONTS if name in installed]
    matplotlib.rcParams["font.family"] = ["DejaVu Sans", *chinese[:1]]


def new_figure(width: float = 6.4, height: float = 3.6, **subplots):
    """`plt.subplots` in the course's style: (figure, axes); the size is in inches."""
    import matplotlib.pyplot as plt

    figure_style()
    return plt.subplots(figsize=(width, height), **subplots)


def show(fig, alt: str) -> None:
    """Show a matplotlib figure in the notebook, with alt text, and close it.

    JupyterLab ignores alt text on an `image/png` output, so the picture goes out as HTML, `<img
    alt=...>` with the PNG inside, and the alt text a second time as plain text for places without
    HTML. The pixels depend on matplotlib's version: `tests/nbval.cfg` takes them out before nbval
    compares. The alt text stays.
    """
    import matplotlib.pyplot as plt

    fit_titles(fig)
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    width = round(fig.get_figwidth() * 100)
    plt.close(fig)
    _display_image("image/png", buffer.getvalue(), alt, width)


def fit_titles(fig) -> None:
    """Set titles that would run out of the figure in smaller letters, down to 70 %."""
    fig.canvas.draw()  # lays the figure out, so that the texts have places
    room = fig.get_window_extent().x1 - 0.02 * fig.dpi
    for ax in fig.axes:
        for title in (ax.title, ax._left_title, ax._right_title):
            box = title.get_window_extent()
            if title.get_text() and box.x1 > room:
                share = max(0.7, (room - box.x0) / box.width)
                title.set_fontsize(share * title.get_fontsize())


def show_svg(name: str, alt: str, width: int | None = None) -> None:
    """Show `figures/<name>.svg` in the notebook, with alt text; `width` is in pixels.

    The file travels inside the output as a `data:` address, so it also shows in Colab and in a
    notebook that JupyterLab does not trust. Raises FileNotFoundError, naming what to run, where
    there is no such figure.
    """
    path = figures_folder() / f"{name}.svg"
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no figure {path.name} in {path.parent.name}/: "
            f"draw it with `python -m course_lib figures {name.split('-')[0]}`."
        )
    data = drawing(path)
    if width is None:
        size = re.search(rb'<svg[^>]*?\bwidth="([\d.]+)(pt|px)?"', data)
        width = round(float(size[1]) * (4 / 3 if size[2] == b"pt" else 1)) if size else 640
    _display_image("image/svg+xml", data, alt, width)


def figures_folder() -> Path:
    """The folder with the drawn figures: `figures/` beside the library, or `COURSE_FIGURES`."""
    return Path(
        os.environ.get("COURSE_FIGURES") or Path(__file__).resolve().parent.parent / "figures"
    )


def drawing(path: Path) -> bytes:
    """An SVG file without the line that says which source it was drawn from.

    So a notebook that shows it changes only when the picture does.
    """
    data = path.read_bytes().replace(b"\r\n", b"\n")
    return re.sub(rb" <!-- source [0-9a-f]+ -->\n", b"", data, count=1)


def _display_image(mime: str, data: bytes, alt: str, width: int) -> None:
    if not alt or not alt.strip():
        raise ValueError("A picture needs alt text: say in one sentence what it shows.")
    picture = (
        f'<img alt="{html.escape(alt)}" width="{width}" '
        f'style="max-width:100%;height:auto;border-radius:10px" '
        f'src="data:{mime};base64,{base64.b64encode(data).decode()}">'
    )
    try:
        from IPython.display import display
    except ImportError:  # outside a notebook: say what would be seen
        print(alt)
        return
    display({"text/html": picture, "text/plain": alt}, raw=True)


def save_figure(fig, name: str) -> Path:
    """Write `figures/<name>.svg` and close the figure; called by the scripts in `figures/`.

    The drawing stands on a card with round corners. It carries no date, and it holds the hash of
    the source it was drawn from, so that `python -m course_lib figures --check` knows when it is
    stale.
    """
    import matplotlib
    import matplotlib.pyplot as plt

    buffer = io.StringIO()
    keys = ("svg.hashsalt", "svg.fonttype")  # also for a script that sets no style
    with matplotlib.rc_context({key: STYLE[key] for key in keys}):
        fig.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    plt.close(fig)
    word = name.split("-")[0]
    text = re.sub(r"[ \t]+\n", "\n", buffer.getvalue())
    card = (
        f"<!-- source {figure_hash(word)} -->\n"
        f' <rect width="100%" height="100%" rx="10" fill="{COLORS["paper"]}"/>\n'
    )
    text = re.sub(r"(<svg\b[^>]*>\n)", lambda match: match[1] + " " + card, text, count=1)
    path = figures_folder() / f"{name}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".svg.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)
    return path


def figure_hash(word: str) -> str:
    """A hash of everything that `figures/<word>.py` draws from.

    That is the script, the modules of the course that it imports, this style, and the functions
    that it takes from this module. Comments, docstrings and layout do not count.
    """
    library = Path(__file__).resolve().parent
    script = (library.parent / "figures" / f"{word}.py").read_text(encoding="utf-8")
    parts = [what_it_does(script), repr(COLORS), repr(CYCLE), repr(STYLE)]
    own = Path(__file__).read_text(encoding="utf-8")
    definitions = {node.name: node for node in ast.parse(own).body if hasattr(node, "name")}
    for node in ast.walk(ast.parse(script)):
        if not isinstance(node, ast.ImportFrom | ast.Import):
            continue
        module = getattr(node, "module", None) or ""
        names = [alias.name for alias in node.names]
        if module == "course_lib.plotting":
            used = [definitions[name] for name in names if name in definitions]
            parts += [what_it_does(ast.get_source_segment(own, each) or "") for each in used]
            continue
        wanted = [
            f"{module}.{name}" if module == "course_lib" else module or name for name in names
        ]
        for dotted in sorted(set(wanted)):
            path = library.joinpath(*dotted.split(".")[1:]).with_suffix(".py")
            if dotted.startswith("course_lib.") and path.is_file():
                parts.append(what_it_does(path.read_text(encoding="utf-8")))
    return hashlib.sha256("\n\0\n".join(parts).encode()).hexdigest()[:16]


def what_it_does(source: str) -> str:
    """Python text without comments, docstrings and layout: what is left can change a result."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return source
    lines = source.splitlines()
    holders = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for node in ast.walk(tree):
        if isinstance(node, holders) and ast.get_docstring(node, clean=False) is not None:
            for line in range(node.body[0].lineno - 1, node.body[0].end_lineno):
                lines[line] = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return " ".join("\n".join(lines).split())


def attention_map(weights, row_labels=None, col_labels=None, title: str = "", ax=None):
    """Draw attention weights (Tq, Tk), a row per query, a column per key. Returns the figure.

    Give `ax` to draw into a figure of your own. Labels are the tokens; spaces and line ends are
    made visible.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    weights = np.asarray(_plain(weights), dtype=float)
    if weights.ndim != 2:
        raise ValueError(
            f"An attention map has two axes, these weights have {weights.ndim}: pick one head of "
            "one text."
        )
    figure_style()
    rows, cols = weights.shape
    if ax is None:
        cell = 0.42 if max(rows, cols) <= 12 else max(0.2, 4.4 / max(rows, cols))
        _, ax = plt.subplots(figsize=(min(8, 2.2 + cell * cols), min(8, 1.5 + cell * rows)))
    image = ax.imshow(weights, vmin=0, vmax=1, cmap="cividis", aspect="equal")
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    size = 9 if max(rows, cols) <= 20 else 6.5
    for axis, labels, count in ((ax.yaxis, row_labels, rows), (ax.xaxis, col_labels, cols)):
        if labels is None:
            continue
        if len(labels) != count:
            raise ValueError(
                f"There are {count} tokens along one axis and {len(labels)} labels for it."
            )
        axis.set_ticks(range(count), [_visible(label) for label in labels], fontsize=size)
    if col_labels is not None and max(len(_visible(label)) for label in col_labels) > 2:
        ax.tick_params(axis="x", labelrotation=90 if cols > 12 else 60)
    ax.set_xlabel("key: the token that is read")
    ax.set_ylabel("query: the token that reads")
    if rows * cols <= 64:
        for i in range(rows):
            for j in np.flatnonzero(weights[i]):  # a masked place stays empty
                light = weights[i, j] < 0.55
                color = "#F4F1E6" if light else "#20242E"
                ax.text(
                    j, i, f"{weights[i, j]:.2f}", ha="center", va="center", fontsize=8, color=color
                )
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03)
    bar.set_label("weight (a row sums to 1)")
    bar.outline.set_visible(False)
    ax.set_title(title)
    return ax.figure


def loss_curve(
    curves: dict,
    floor: float | None = None,
    references: dict[str, float] | None = None,
    title: str = "",
    xlabel: str = "training step",
    ylabel: str = "loss (nats per token)",
    ax=None,
):
    """Draw losses over training. Returns the figure.

    `curves` maps a label to its losses, or to a pair (steps, losses). `floor` is the loss that
    nobody can beat; `references` maps the name of another model (the trigram) to its loss, drawn as
    a line across.
    """
    figure_style()
    if ax is None:
        _, ax = new_figure()
    palette = [COLORS["model"], *[color for color in CYCLE if color != COLORS["model"]]]
    for color, (label, curve) in zip(palette * 9, curves.items(), strict=False):
        pair = isinstance(curve, tuple) and len(curve) == 2 and hasattr(curve[0], "__len__")
        steps, losses = curve if pair else (range(len(curve)), curve)
        ax.plot(list(steps), [float(loss) for loss in losses], color=color, label=label)
    for label, value in (references or {}).items():
        ax.axhline(value, color="#8A8A8A", linewidth=1.2, linestyle=(0, (4, 3)))
        _label_line(ax, value, f"{label} {value:.2f}", "#5A5A5A")
    if floor is not None:
        ax.axhline(floor, color=COLORS["floor"], linewidth=1.6)
        low, high = ax.get_ylim()
        bottom = min(low, floor - 0.1 * (high - floor))
        ax.axhspan(bottom, floor, color="#E9E6DD", zorder=0, linewidth=0)
        ax.set_ylim(bottom, high)
        _label_line(ax, floor, f"floor {floor:.2f}", COLORS["floor"], below=True)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.set_title(title)
    if len(curves) > 1:
        ax.legend(loc="upper right", bbox_to_anchor=(0.98, 1))
    return ax.figure


def bars(
    values: dict[str, float],
    floor: float | None = None,
    title: str = "",
    xlabel: str = "loss (nats per token)",
    colors: dict[str, str] | None = None,
    ax=None,
):
    """Draw one horizontal bar per name, with its number at its end. Returns the figure.

    `colors` maps a name to a colour, or to the name of a concept in `COLORS`. `floor` draws the
    line that nobody can beat.
    """
    figure_style()
    if ax is None:
        _, ax = new_figure(6.4, 1.1 + 0.38 * len(values))
    shades = [(colors or {}).get(name, COLORS["reference"]) for name in values]
    ax.barh(
        list(values), list(values.values()), color=[COLORS.get(c, c) for c in shades], height=0.62
    )
    for row, value in enumerate(values.values()):
        ax.annotate(
            f"{value:.2f}",
            (value, row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    if floor is not None:
        ax.axvline(floor, color=COLORS["floor"], linewidth=1.6)
        ax.annotate(
            f"floor {floor:.2f}",
            (floor, 1),
            (4, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=9,
            color=COLORS["floor"],
            annotation_clip=False,
        )
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.margins(x=0.1)
    ax.set_xlabel(xlabel)
    ax.set_title(title, pad=18 if floor is not None else None)
    return ax.figure


def token_strip(
    tokens, values, title: str = "", unit: str = "nats", vmax: float | None = None
) -> None:
    """Show tokens in running text, each on a shade that grows with its value, such as its loss.

    Inline styles only, so it also works saved, in Colab and in a notebook that is not trusted.
    Point at a token to read its number; the plain-text version of the output lists them.
    """
    values = [float(value) for value in _plain(values)]
    if len(tokens) != len(values):
        raise ValueError(
            f"There are {len(tokens)} tokens and {len(values)} values: give one value per token."
        )
    top = vmax or max([value for value in values if value < float("inf")], default=1.0) or 1.0
    pieces = []
    for token, value in zip(tokens, values, strict=True):
        share = min(max(value / top, 0.0), 1.0)
        breaks = "<br>" * str(token).count("\n")
        look = f"background:rgba(213,94,0,{0.85 * share:.2f});color:{COLORS['ink']};"
        look += "padding:2px 1px;border-radius:3px;white-space:pre"
        text = html.escape(_visible(token))
        pieces.append(f'<span title="{value:.2f} {unit}" style="{look}">{text}</span>{breaks}')
    card = (
        f"background:{COLORS['paper']};color:{COLORS['ink']};border-radius:10px;padding:12px 16px"
    )
    page = (
        f'<div style="{card};line-height:1.9"><b>{html.escape(title)}</b><br>'
        f'<span style="font-family:monospace;font-size:14px">{"".join(pieces)}</span><br>'
        f'<span style="font-size:12px;color:#5A5A5A">no colour: 0 {unit}; '
        f"full colour: {top:.2f} {unit} or more</span></div>"
    )
    plain = " ".join(
        f"{_visible(token)}:{value:.2f}" for token, value in zip(tokens, values, strict=True)
    )
    try:
        from IPython.display import display
    except ImportError:
        print(plain)
        return
    display({"text/html": page, "text/plain": f"{title} ({unit})\n{plain}"}, raw=True)


def _label_line(ax, value: float, text: str, color: str, below: bool = False) -> None:
    """Write what a horizontal line means, above or below its right end."""
    ax.annotate(
        text,
        (1, value),
        (-2, -3 if below else 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="top" if below else "bottom",
        fontsize=9,
        color=color,
    )


def _plain(values):
    """A tensor, on whatever device, as a NumPy array; anything else unchanged."""
    return values.detach().float().cpu().numpy() if hasattr(values, "detach") else values


def _visible(token) -> str:
    """A token with its spaces and line ends made visible."""
    text = str(token)
    return (
        text.replace("\n", "\u21b5").replace(" ", "\u00b7")
        if text.strip() != text or not text
        else text
    )
