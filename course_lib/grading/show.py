"""One object with two faces: complete plain text, and HTML without script or style sheet.

The HTML uses inline styles and `<details>` only, takes its text colour from the page, and tints
with half-transparent grey, so that it is readable in light and in dark, in JupyterLab, VS Code and
Colab, also in a notebook that is not trusted.
"""

import html
import re
import sys
import textwrap

GREEN, AMBER, RED, BLUE, GREY = "#009E73", "#E69F00", "#D55E00", "#0072B2", "#7F7F7F"
MARKS = {GREEN: "✓", AMBER: "○", RED: "✗", BLUE: "?", GREY: "·"}
EMPHASIS = re.compile(r"(\*\*|\*)(?=[^\s*])([^*`\n]*?[^\s*])\1(?![\w*])")


class Card:
    """A title, paragraphs with `code` and *stress*, blocks of code, and folds."""

    def __init__(self, colour: str, title: str, *paragraphs: str, picture: str = ""):
        self.colour, self.title = colour, title
        self.parts: list[tuple[str, str, str]] = [("text", "", p) for p in paragraphs if p]
        self.picture = picture  # HTML only; the text says the same

    def say(self, *paragraphs: str) -> "Card":
        self.parts += [("text", "", p) for p in paragraphs if p]
        return self

    def code(self, text: str) -> "Card":
        self.parts.append(("code", "", text.rstrip()))
        return self

    def fold(self, title: str, text: str) -> "Card":
        """Code or numbers behind a triangle; in plain text they simply stand there."""
        if text:
            self.parts.append(("fold", title, text.rstrip()))
        return self

    def __repr__(self) -> str:
        lines = [f"{MARKS[self.colour]} {self.title}"]
        for kind, title, text in self.parts:
            if kind == "text":
                for line in EMPHASIS.sub(r"\2", text).splitlines():
                    lines += textwrap.wrap(
                        line,
                        92,
                        initial_indent="  ",
                        subsequent_indent="  ",
                        break_on_hyphens=False,
                    )
            else:
                lines += [f"  {title}:"] if title else []
                lines += [("    " + line).rstrip() for line in text.splitlines()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        out = [
            f"<div style='border-left:4px solid {self.colour};padding:6px 12px;margin:4px 0;"
            f"background:rgba(127,127,127,0.08);max-width:60em;line-height:1.45'>"
            f"<div style='font-weight:600'>{MARKS[self.colour]} {_inline(self.title)}</div>"
        ]
        block = (
            "<pre style='margin:4px 0;padding:4px 8px;background:rgba(127,127,127,0.10);"
            "color:inherit;font-family:monospace;"
            "white-space:pre;overflow-x:auto;line-height:1.35'>{}</pre>"
        )
        for kind, title, text in self.parts:
            if kind == "text":
                body = "<br>".join(_inline(line) for line in text.splitlines())
                out.append(f"<div style='margin:4px 0'>{body}</div>")
            elif kind == "code":
                out.append(block.format(html.escape(text)))
            else:
                out.append(
                    "<details style='margin:4px 0'>"
                    f"<summary style='cursor:pointer'>{_inline(title)}"
                    f"</summary>{block.format(html.escape(text))}</details>"
                )
        return "".join(out) + self.picture + "</div>"


def _inline(text: str) -> str:
    """Escape, then turn `code`, **strong** and *stressed* into HTML."""
    text = html.escape(text, quote=False)
    text = EMPHASIS.sub(lambda m: f"<b>{m[2]}</b>" if m[1] == "**" else f"<i>{m[2]}</i>", text)
    return re.sub(
        r"`([^`]+)`",
        r"<code style='background:rgba(127,127,127,0.12);color:inherit'>\1</code>",
        text,
    )


def display(card: Card) -> None:
    """Show a card: in a notebook with both faces, elsewhere as text."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        print(card)
        return
    from IPython.display import display as show

    show(card)
