"""The benchmarks' frame: fairness, arithmetic and output. What is fast is measured, not tested."""

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib import bench, training
from course_lib.bench import course, measure, recipe, train
from course_lib.bench.measure import CannotMeasure, Goal, Options, Peer, Result
from course_lib.transformer import GPT, GPTConfig, count_parameters

ROOT = Path(__file__).resolve().parent.parent


def row(**changes):
    common = {"benchmark": "train", "what": "small", "unit": "tokens/s", "ours": [30.0, 20.0]}
    return Result(**{**common, "peer": "other", "theirs": [10.0, 10.0], **changes})


def printing(text, status=0):
    """The command of a peer that prints this."""
    return f"{sys.executable} -c \"print('{text}'); raise SystemExit({status})\""


# ---- contestants -------------------------------------------------------------------------------


def test_contestants_take_turns_and_the_first_round_is_thrown_away():
    calls = []

    def contestant(name):
        return lambda: calls.append(name) or len(calls)

    figures = measure.interleave({name: contestant(name) for name in "AB"}, runs=3)
    assert "".join(calls) == "ABABABAB"
    assert figures == {"A": [3, 5, 7], "B": [4, 6, 8]}


def test_a_contestant_that_cannot_measure_drops_out_and_the_others_go_on(capsys):
    def broken():
        raise CannotMeasure("It has no wheels.")

    figures = measure.interleave({"A": lambda: 1.0, "B": broken}, runs=2)
    assert figures == {"A": [1.0, 1.0]}
    assert "no wheels" in capsys.readouterr().out


def test_a_peer_prints_its_figure_on_its_last_line():
    peer = Peer.parse(f"Other: {printing('loading {benchmark} {case}')}")
    assert peer.name == "Other"
    told = Peer("Other", printing(r"loading\ntokens/s 12.5"))
    assert told.measure("train", "small", "tokens/s") == 12.5
    own_case = Peer("Other", printing(r"\ns {case}"))
    assert own_case.measure("train", "7", "s") == 7


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (printing("12.5"), "on its last line, not '12.5'"),
        (printing("tokens/s nan"), "on its last line"),
        (printing("tokens/s -3"), "on its last line"),
        (printing("s 12.5"), "must print `tokens/s NUMBER`"),
        (printing("tokens/s 12.5", status=3), "ended with status 3"),
        (printing("tokens/s 12.5", status=77), "does not take part in small"),
        ("no-such-program --fast", "does not start"),
    ],
)
def test_a_peer_that_does_not_keep_the_form_is_told_so(command, complaint):
    with pytest.raises(CannotMeasure, match=complaint):
        Peer("Other", command).measure("train", "small", "tokens/s")


@pytest.mark.parametrize("text", ["python x.py", "Other:", ": python x.py", "http://x"])
def test_a_peer_needs_a_name_and_a_command(text):
    with pytest.raises(ValueError, match="NAME: COMMAND"):
        Peer.parse(text)


def test_ours_is_compared_with_every_contestant(capsys):
    options = Options(runs=2, peers=[Peer("Third", printing("s 4")), Peer("None", "no-such")])
    rows = measure.compare(
        "train", "small", "s", lambda: 1.0, {"Second": lambda: 2.0}, options,
        goals={"Third": Goal(5)}, more_is_better=False,
    )  # fmt: skip
    assert [(each.peer, each.measured()) for each in rows] == [("Second", 2.0), ("Third", 4.0)]
    assert rows[0].goal is None and not rows[1].goal.met(rows[1].measured())
    assert "None does not start" in capsys.readouterr().out


def test_without_anybody_else_there_is_still_a_row():
    (alone,) = measure.compare("train", "small", "s", lambda: 3.0, {}, Options(runs=2))
    assert alone.measured() == 3.0 and alone.peer == ""


# ---- arithmetic --------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_quartiles_are_numpys(values):
    wanted = np.percentile(values, [25, 50, 75])
    assert np.allclose(measure.quartiles(values), wanted, rtol=1e-9, atol=1e-6)


def test_ratio_is_the_median_of_the_rounds_and_above_1_means_better():
    # The machine was ten times as slow in the second round, for both: the ratio does not notice.
    speeds = row(ours=[30.0, 3.0, 40.0], theirs=[10.0, 1.0, 10.0])
    assert speeds.measured() == 3.0
    times = row(unit="s", ours=[2.0], theirs=[8.0], more_is_better=False)
    assert times.measured() == 4.0


def test_a_loss_is_shown_with_three_places():
    loss = row(ours=[1.8866], unit="nats", peer="", theirs=[], goal=Goal(1.886, at_least=False))
    assert loss.verdict() == "goal: at most 1.886, measured 1.887: missed by 0.0006"
    assert "1.887 nats" in measure.table([loss])


def test_a_goal_for_every_run_is_held_against_the_worst():
    losses = row(ours=[1.7, 1.5, 1.6], peer="", theirs=[], goal=Goal(1.65, at_least=False))
    assert losses.measured() == 1.6
    assert replace(losses, goal=Goal(1.65, at_least=False, worst=True)).measured() == 1.7
    assert replace(losses, goal=Goal(1.65, worst=True)).measured() == 1.5


def test_a_peer_needs_a_figure_for_each_of_ours():
    for changes in ({"theirs": [1.0]}, {"theirs": []}, {"peer": ""}):
        with pytest.raises(ValueError, match="as many figures"):
            row(**changes)


@pytest.mark.parametrize(
    ("goal", "measured", "words"),
    [
        (Goal(1.1), 1.23, "goal: at least 1.10, measured 1.23: met"),
        (Goal(1.1), 1.1, "met"),
        (Goal(1.1), 1.0, "missed by 0.10"),
        (Goal(1.1), 1.0999, "missed by 0.0001"),
        (Goal(1.65, at_least=False), 1.6, "goal: at most 1.65, measured 1.60: met"),
        (Goal(600, at_least=False), 700, "missed by 100"),
    ],
)
def test_verdict_says_what_was_asked_what_was_measured_and_by_how_much_it_is_missed(
    goal, measured, words
):
    assert goal.verdict(measured).endswith(words)


# ---- showing and saving ------------------------------------------------------------------------


def test_table_has_a_line_for_every_row():
    text = measure.table([row(goal=Goal(1.1), note="On two cores."), row(peer="", theirs=[])])
    first, second, third, note = text.splitlines()
    assert first.split() == ["ours", "beside", "theirs", "ratio"]
    assert "25.00 (22.50 to 27.50) tokens/s" in second and "other" in second
    assert second.endswith("goal: at least 1.10, measured 2.50: met")
    assert third.startswith("small") and "other" not in third
    assert note == "On two cores."


@pytest.fixture
def only_one_benchmark(monkeypatch):
    """A benchmark that measures nothing stands for `train`, and no other exists."""
    module = type(sys)("course_lib.bench.train")
    module.run = lambda options: [row(ours=[float(options.runs)] * 2)]
    monkeypatch.setitem(sys.modules, "course_lib.bench.train", module)
    monkeypatch.setattr(bench, "BENCHMARKS", {"train": "nothing", "unheard": "of"})


def test_json_and_figure_are_saved_where_it_says(only_one_benchmark, tmp_path, capsys):
    assert bench.main(["all", "--json", str(tmp_path / "new" / "a.json"), "--runs", "4"]) == 0
    told = capsys.readouterr()
    assert "unheard: this benchmark is not part" in told.err
    paths = [line.removeprefix("saved ") for line in told.out.splitlines() if "saved" in line]
    assert [Path(path).name for path in paths] == ["a.json", "a.svg"]
    content = json.loads(Path(paths[0]).read_text(encoding="utf-8"))
    assert content["results"][0]["ours"] == [4, 4] and content["runs"] == 4
    assert {"processor", "cores", "threads", "torch", "python", "date"} <= content["machine"].keys()
    assert content["machine"]["processor"] in told.out
    assert "<svg" in Path(paths[1]).read_text(encoding="utf-8")


def test_threads_are_set_for_torch_and_for_peers(only_one_benchmark, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    before = torch.get_num_threads()
    code = "import os; print('s', os.environ['OMP_NUM_THREADS'])"
    try:
        bench.main(["train", "--threads", "3"])
        assert torch.get_num_threads() == 3
        peer = Peer("Other", f'{sys.executable} -c "{code}"')
        assert peer.measure("train", "small", "s") == 3
    finally:
        torch.set_num_threads(before)


def test_without_a_name_the_figure_goes_to_the_readers_folder(
    only_one_benchmark, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    assert bench.main(["train", "--quick"]) == 0
    assert (tmp_path / "bench" / "train.svg").is_file()
    assert "A quick run" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["walk"], ["train", "--runs", "0"], ["train", "--threads", "0"],
        ["train", "--peer", "fast"],
        ["train", "--figure", "a.txt"], ["train", "--json", "a.svg"],
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_refused_before_anything_is_measured(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        bench.main(arguments)
    assert stop.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_help_needs_no_torch():
    code = (
        "import sys\ntry:\n    from course_lib import bench; bench.main(['--help'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "speedrun" in done.stdout and done.stdout.endswith("False\n"), done.stderr


# ---- training ----------------------------------------------------------------------------------

SMALL = train.Shape(2, 2, 16, 8, 3)


def gpt(**changes):
    torch.manual_seed(1)
    config = GPTConfig(train.VOCABULARY, 8, n_layer=2, n_head=2, n_embd=16)
    return GPT(replace(config, **changes))


def test_contestants_are_equally_large():
    """A peer with fewer parameters would win for the wrong reason."""

    def size(model):
        return sum(p.numel() for p in model.parameters())

    assert size(train.TorchEncoder(SMALL)) == count_parameters(gpt(bias=False).config)
    assert size(train.HuggingFace(SMALL)) == count_parameters(gpt(bias=True).config)


@pytest.mark.parametrize("contestant", [train.TorchEncoder, train.HuggingFace])
def test_a_peer_predicts_and_does_not_look_ahead(contestant):
    torch.manual_seed(1)
    model, (x, _) = contestant(SMALL), train.random_batch(SMALL)
    logits = model(x)
    assert logits.shape == (3, 8, train.VOCABULARY)
    changed = x.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % train.VOCABULARY
    torch.testing.assert_close(model(changed)[:, :5], logits[:, :5])


@pytest.mark.parametrize("options", [{}, {"kernels": True}, {"kernels": True, "short": True}])
def test_every_form_of_ours_trains(options, monkeypatch):
    losses = []

    def lm_loss(logits, y):
        losses.append(training.lm_loss(logits, y))
        return losses[-1]

    monkeypatch.setattr(train, "lm_loss", lm_loss)
    step = train.our_step(SMALL, **options)
    for _ in range(30):
        step()
    assert losses[0].item() == pytest.approx(math.log(train.VOCABULARY), abs=0.1)
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (recipe.torch_attention, recipe.TorchAttention),
        (recipe.lean_attention, recipe.LeanAttention),
    ],
)
def test_fast_attention_computes_what_chapter_3_does(change, kind):
    model, x = gpt(), torch.randint(65, (3, 8))
    wanted = model(x)
    wanted.square().sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    change(model)
    assert all(type(block.attn) is kind for block in model.blocks)
    model.zero_grad()
    logits = model(x)
    logits.square().sum().backward()
    torch.testing.assert_close(logits, wanted)
    for p, gradient in zip(model.parameters(), gradients):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="no mask and no cache"):
        model(x, n_pad=torch.tensor([1, 0, 0]))


@pytest.mark.parametrize("change", [recipe.torch_attention, recipe.lean_attention])
def test_fast_attention_drops_in_training_only(change):
    model, x = gpt(dropout=0.5), torch.randint(65, (3, 8))
    change(model)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_exact_gelu_is_x_times_the_normal_distribution_function():
    # In float32 the tanh form is too close to tell.
    model, x = gpt().double(), 9 * torch.randn(2, 3, 16).double()
    recipe.exact_gelu(model)
    mlp = model.blocks[0].mlp.double()
    h = mlp.fc(x)
    by_hand = h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))
    torch.testing.assert_close(mlp(x), mlp.proj(by_hand))


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
def test_compiled_and_plain_agree():
    model, x = gpt(n_layer=1), torch.randint(65, (3, 8))
    plain = model(x)
    compiled = torch.compile(model, options={"pattern_matcher": False})(x)
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-5)


def test_training_is_measured_beside_every_peer(monkeypatch):
    monkeypatch.setattr(train, "SHAPES", [SMALL])
    monkeypatch.setattr(train, "SECONDS", 0.01)
    monkeypatch.setattr(train, "bf16_hardware", lambda: True)
    peer = Peer("nanoGPT", printing("tokens/s 1000"))
    rows = train.run(Options(runs=1, quick=True, peers=[peer]))
    forms = [train.TAUGHT, train.KERNELS, train.SHORT]
    peers = [train.ENCODER, train.HUGGING_FACE, "nanoGPT"]
    assert [(r.what, r.peer) for r in rows] == [
        (f"2x2x16-8-3 {form}", peer) for form in forms for peer in peers
    ]
    assert all(figure > 0 for r in rows for figure in r.ours + r.theirs)
    assert [r.goal.limit for r in rows if r.peer == "nanoGPT"] == [1.0, 1.0, 1.7]


# ---- the course --------------------------------------------------------------------------------


def written(path, *cells):
    code = [nbformat.v4.new_code_cell(text) for text in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=code), path)
    return path


def test_a_chapter_is_run_and_its_first_result_is_what_a_reader_sees(tmp_path):
    cells = ("print('machine')", "x = 1", "import time; time.sleep(0.3); print(x)", "time.sleep(1)")
    chapter = course.run_chapter(written(tmp_path / "03_pear.ipynb", *cells), str(tmp_path))
    assert chapter.name == "03_pear"
    assert 0.3 < chapter.first < chapter.seconds - 1
    assert chapter.memory is None or 10 < chapter.memory < 2000


def test_a_chapter_that_fails_is_no_measurement(tmp_path):
    with pytest.raises(CannotMeasure, match="04_plum.ipynb does not run: ZeroDivisionError"):
        course.run_chapter(written(tmp_path / "04_plum.ipynb", "1 / 0"), str(tmp_path))


def test_the_course_is_held_against_its_budgets():
    chapters = [course.Chapter("00_a", 200.0, 1.0, 900.0), course.Chapter("01_b", 20.0, 6.0, None)]
    rows = course.results([0.05, 0.01, 0.02], chapters)
    verdicts = {row.what: row.verdict() for row in rows if row.goal}
    assert verdicts == {
        "import course_lib": "goal: at most 0.10, measured 0.02: met",
        "first result of every chapter": "goal: at most 5.00, measured 6.00: missed by 1.00",
        "every chapter": "goal: at most 180, measured 200: missed by 20.00",
        "all chapters": "goal: at most 600, measured 220: met",
        "memory of every chapter": "goal: at most 2,000, measured 900: met",
    }
    lines = course.table(rows).splitlines()
    assert lines[1].split() == ["00_a", "200.0", "1.0", "s", "900", "MB"]
    assert lines[2].split() == ["01_b", "20.0", "6.0", "s", "-"]
    assert len(lines) == 3 + len(course.BUDGETS)


def test_the_import_is_timed_in_a_python_of_its_own():
    assert 0 < course.import_time() < 60
