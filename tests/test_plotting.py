"""Figures: alt text, one style, files that know what they were drawn from."""

import base64
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mini_course
import pytest

from course_lib import plotting

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def displayed(monkeypatch):
    """What cells would show: the list of MIME bundles given to IPython's `display`."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda data, raw: shown.append(data))
    return shown


def test_importing_brings_no_matplotlib():
    code = "import sys, course_lib.plotting; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_show_carries_alt_text_and_closes(displayed):
    import matplotlib.pyplot as plt

    fig, ax = plotting.new_figure()
    ax.plot([1, 2])
    plotting.show(fig, alt='A "line" < a curve & more')
    (bundle,) = displayed
    assert bundle["text/plain"] == 'A "line" < a curve & more'
    assert 'alt="A &quot;line&quot; &lt; a curve &amp; more"' in bundle["text/html"]
    data = re.search(r'src="data:image/png;base64,([^"]+)"', bundle["text/html"])[1]
    assert base64.b64decode(data).startswith(b"\x89PNG")
    assert not plt.fignum_exists(fig.number)


def test_nbval_does_not_compare_the_pixels(displayed):
    config = (ROOT / "tests" / "nbval.cfg").read_text(encoding="utf-8")
    regex, replace = re.findall(r"regex: (.*)\nreplace: (.*)", config)[0]
    texts = []
    for heights in ([1, 2], [2, 1]):
        fig, ax = plotting.new_figure()
        ax.plot(heights)
        plotting.show(fig, alt="A line.")
        texts.append(displayed[-1]["text/html"])
    assert texts[0] != texts[1]
    assert re.sub(regex, replace, texts[0]) == re.sub(regex, replace, texts[1])
    assert 'alt="A line."' in re.sub(regex, replace, texts[0])


def test_a_long_title_is_made_to_fit(displayed):
    fig, ax = plotting.new_figure(5, 2)
    ax.set_title("A title that would run out of its figure at its usual size")
    title = ax._left_title
    fig.canvas.draw()
    before = title.get_fontsize()
    assert title.get_window_extent().x1 > fig.get_window_extent().x1
    plotting.fit_titles(fig)
    fig.canvas.draw()
    assert title.get_window_extent().x1 <= fig.get_window_extent().x1
    title.set_fontsize(before)
    plotting.show(fig, alt="Nothing.")
    assert title.get_fontsize() < before


@pytest.mark.parametrize("alt", ["", "  "])
def test_a_picture_without_alt_text_is_refused(displayed, alt):
    fig, _ = plotting.new_figure()
    with pytest.raises(ValueError, match="A picture needs alt text"):
        plotting.show(fig, alt=alt)


def test_show_svg(displayed, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_FIGURES", str(tmp_path))
    plain = '<svg xmlns="x" width="300pt" height="9pt">\n</svg>'
    marked = plain.replace("\n", "\n <!-- source 0123456789abcdef -->\n")
    for text in (plain, marked):
        (tmp_path / "a-b.svg").write_text(text, encoding="utf-8")
        plotting.show_svg("a-b", alt="A box.")
    assert 'alt="A box." width="400"' in displayed[0]["text/html"]
    assert displayed[0] == displayed[1]  # a new mark alone changes no notebook
    with pytest.raises(FileNotFoundError, match="python -m course_lib figures nothing"):
        plotting.show_svg("nothing-here", alt="A box.")


def test_saved_figure_is_the_same_each_time_and_carries_no_date(mini):
    path = mini / "figures" / "apple-line.svg"
    before = path.read_bytes()
    assert mini_course.tool(mini, "figures", "apple").returncode == 0
    assert path.read_bytes() == before
    text = before.decode()
    assert re.search(r"<!-- source [0-9a-f]{16} -->", text)
    assert "date" not in text and 'rx="10"' in text
    assert not list((mini / "figures").glob("*.partial"))


@pytest.mark.parametrize(
    ("path", "old", "new", "stale"),
    [
        ("figures/apple.py", "[1, 2], [1, 2]", "[1, 2], [2, 1]", True),
        ("figures/apple.py", "\nfig, ax", "\n\n# Why?\nfig, ax", False),
        ("figures/apple.py", "ax.plot(", "ax.plot(", False),
        ("course_lib/plotting.py", '"query": "#0072B2"', '"query": "#0072B3"', True),
        ("course_lib/plotting.py", "path.parent.mkdir(", "path.parent.mkdir(mode=0o755, ", True),
        ("course_lib/plotting.py", 'vmin=0, vmax=1, cmap="cividis"', "vmin=0, vmax=2", False),
        ("course_lib/apple.py", "/ 1000", "/ 100", False),
    ],
)
def test_staleness_follows_what_is_drawn_from(mini, path, old, new, stale):
    mini_course.edit(mini, path, old, new)
    done = mini_course.tool(mini, "figures", "--check", "apple")
    assert done.returncode == stale, done.stdout


def test_staleness_follows_the_module_that_is_drawn(mini):
    script = "from course_lib.apple import GRAMS\n" + mini_course.FIGURE.replace("WORD", "apple")
    (mini / "figures" / "apple.py").write_text(script, encoding="utf-8")
    assert mini_course.tool(mini, "figures", "apple").returncode == 0
    assert mini_course.tool(mini, "figures", "--check").returncode == 0
    mini_course.edit(mini, "course_lib/apple.py", "/ 1000", "/ 100")
    assert mini_course.tool(mini, "figures", "--check").returncode == 1


def test_figure_without_script_and_script_without_figure(mini):
    shutil.copy(mini / "figures" / "apple-line.svg", mini / "figures" / "pear-line.svg")
    (mini / "figures" / "basket-line.svg").unlink()
    done = mini_course.tool(mini, "figures", "--check")
    assert "figures/pear-line.svg has no script" in done.stdout
    assert "figures/basket.py has drawn no" in done.stdout
    assert mini_course.tool(mini, "figures", "pear").returncode == 2


def test_failing_script_is_told(mini):
    (mini / "figures" / "apple.py").write_text("1 / 0\n")
    done = mini_course.tool(mini, "figures", "apple")
    assert done.returncode == 1 and "figures/apple.py failed" in done.stdout


def test_helpers_draw(displayed):
    import matplotlib.pyplot as plt

    weights = [[1.0, 0.0], [0.25, 0.75]]
    fig = plotting.attention_map(weights, ["a", " b"], ["a", " b"], "One message")
    ax = fig.axes[0]
    assert ax.get_title(loc="left") == "One message"
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "·b"]
    assert {"1.00", "0.75"} <= {text.get_text() for text in ax.texts}

    curves = {"model": ([0, 10], [3.0, 1.0]), "other": [2.0, 1.5]}
    fig = plotting.loss_curve(curves, floor=0.9, references={"trigram": 1.8}, title="Lands")
    assert {"floor 0.90", "trigram 1.80"} <= {text.get_text() for text in fig.axes[0].texts}
    assert fig.axes[0].get_ylabel() == "loss (nats per token)"

    fig = plotting.bars({"bigram": 2.6, "GPT": 1.2}, floor=1.1, title="Bars")
    assert {"2.60", "1.20", "floor 1.10"} <= {text.get_text() for text in fig.axes[0].texts}
    plt.close("all")


def test_helpers_take_tensors(displayed):
    torch = pytest.importorskip("torch")
    import matplotlib.pyplot as plt

    plotting.attention_map(torch.eye(3, requires_grad=True))
    plotting.token_strip(["a", "b"], torch.tensor([0.5, 1.0]))
    assert "a:0.50 b:1.00" in displayed[0]["text/plain"]
    plt.close("all")


def test_token_strip(displayed):
    plotting.token_strip(["<a>", " b", "\n"], [0.0, 1.0, float("inf")], "Loss", vmax=2)
    (bundle,) = displayed
    assert "&lt;a&gt;" in bundle["text/html"] and "·b" in bundle["text/html"]
    assert "<script" not in bundle["text/html"] and " id=" not in bundle["text/html"]
    assert bundle["text/plain"] == "Loss (nats)\n<a>:0.00 ·b:1.00 ↵:inf"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plotting.attention_map([1.0, 2.0]), "have 1: pick one head"),
        (
            lambda: plotting.attention_map([[1.0]], ["a", "b"]),
            "1 tokens along one axis and 2 labels",
        ),
        (lambda: plotting.token_strip(["a"], [1.0, 2.0]), "1 tokens and 2 values"),
    ],
)
def test_bad_input(displayed, call, message):
    import matplotlib.pyplot as plt

    with pytest.raises(ValueError, match=message):
        call()
    plt.close("all")


def test_concept_colours_are_the_design():
    wanted = {"query": "#0072B2", "key": "#E69F00", "value": "#009E73", "mlp": "#CC79A7"}
    assert wanted.items() <= plotting.COLORS.items()
    assert len(set(plotting.CYCLE)) == len(plotting.CYCLE)
