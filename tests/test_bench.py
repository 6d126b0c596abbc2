"""The benchmarks' frame: fairness, arithmetic and output. What is fast is measured, not tested."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib import bench
from course_lib.bench import measure
from course_lib.bench.measure import CannotMeasure, Goal, Options, Peer, Result

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
        ["walk"], ["train", "--runs", "0"], ["train", "--peer", "fast"],
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
