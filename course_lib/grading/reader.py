"""What a notebook imports: the exercises, as a reader uses them.

Nothing here raises because an answer is missing or wrong, so "Run All" never stops at an exercise.
"""

import hashlib

from course_lib import machine
from course_lib.grading import own, progress, registry, source, verdict
from course_lib.grading import quiz as _quiz
from course_lib.grading.registry import Exercise, Parsons, Prediction, Question, find
from course_lib.grading.show import AMBER, BLUE, GREEN, GREY, RED, Card, display


class Blank:
    """`____`: a place for the reader's own code or guess."""

    def __repr__(self) -> str:
        return source.BLANK


____ = Blank()

_session: dict = {"current": None, "functions": {}, "hints": {}}


def exercise(id: str, keep: bool = False):
    """Check the decorated function as an answer to an exercise, and show the verdict.

    A right answer is returned and kept; instead of a missing or wrong one the course's own version
    is returned, so that the cells below work. `keep=True` returns a wrong answer all the same.
    """
    item = find(id)

    def check_it(function):
        _session["functions"][id] = function
        result = _check(item, function, keep)
        return function if result.right or (keep and result.kind != "blanks") else item.reference

    return check_it


def check(id: str | None = None, function=None) -> None:
    """Check again: the function given, the last one of this session, or the saved answer."""
    item = find(_current(id))
    function = function or _session["functions"].get(item.id) or own.load(item)
    if function is None:
        display(
            Card(AMBER, f"{item.id}: nothing to check yet", "Run the cell of the exercise first.")
        )
    else:
        _check(item, function, keep=False)


def _check(item: Exercise, function, keep: bool) -> verdict.Verdict:
    """Judge, record, save, show."""
    _session["current"] = item.id
    try:
        result = verdict.judge(item, function)
    except Exception as error:  # a fault of the checker must not stop a reader
        result = verdict.Verdict(
            "broken",
            [
                f"The check itself failed (`{type(error).__name__}: {error}`). That is a fault of "
                "the course and not of your answer; please report it."
            ],
        )
    tries = _record(item, function, result)
    kept = result.right and own.save(item, function)
    display(card(item, result, tries, keep, kept))
    return result


def _record(item: Exercise, function, result: verdict.Verdict) -> int:
    """Count a try once per different text; return the number of tries."""
    if result.kind in ("blanks", "broken"):
        return progress.entry("exercises", item.id).get("tries", 0)
    try:
        text = source.function_text(function)
    except (OSError, TypeError, SyntaxError):
        text = repr(function.__code__.co_code)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    old = progress.entry("exercises", item.id)
    tries = old.get("tries", 0) + (old.get("last") != digest)
    solved = True if result.right else old.get("solved")
    progress.update("exercises", item.id, tries=tries, last=digest, solved=solved)
    return tries


_headlines = {
    "blanks": (AMBER, "not yet: {blanks} left"),
    "right": (GREEN, "right"),
    "mistake": (RED, "not right yet"),
    "two": (RED, "not right yet, two things at once"),
    "like": (RED, "not right yet; this looks like a known mistake"),
    "error": (RED, "it stops with an error"),
    "endless": (RED, "it does not end"),
    "changed": (RED, "nearly: the input is changed"),
    "random": (RED, "not the same every time"),
    "relation": (RED, "not right yet"),
    "value": (RED, "not right yet"),
    "broken": (GREY, "could not be checked"),
}


def card(
    item: Exercise,
    result: verdict.Verdict,
    tries: int = 0,
    keep: bool = False,
    kept: bool = True,
) -> Card:
    """The verdict as a card; `kept` says whether a right answer could be saved."""
    colour, words = _headlines[result.kind]
    blanks = f"{result.blanks} blank{'s' if result.blanks != 1 else ''}"
    made = Card(colour, f"{item.id}: {words.format(blanks=blanks)}")
    if result.kind == "blanks":
        return made.say(
            f"{item.effort[0].upper()}{item.effort[1:]}. Replace each `____` and run the cell "
            "again. `hint()` helps.",
            "Until then, the cells below use the course's version.",
        )
    if result.kind == "right":
        later = f', and `yours("{item.id}")` brings it into later chapters' if kept else ""
        made.say(*result.says, f"The cells below use your version{later}.")
        return _folds(made, result).fold("The course's own solution", item.solution)
    if result.kind == "two":
        made.say(*(f"{n}. {text}" for n, text in enumerate(result.says, 1)))
    elif result.kind == "like":
        made.say(
            "On most of the inputs that go wrong, your answer is the one that this mistake gives:",
            *result.says,
        )
    else:
        made.say(*result.says)
    help = (
        "`hint()` gives a hint, `solution()` shows the course's own."
        if tries >= 3
        else "`hint()` gives a hint."
    )
    used = (
        "You keep your version: watch what it does below."
        if keep
        else "Until it is right, the cells below use the course's version."
    )
    return _folds(made.say(f"{help} {used}"), result)


def _folds(made: Card, result: verdict.Verdict) -> Card:
    for title, text in result.evidence:
        made.fold(title, text)
    return made


def hint(id: str | None = None) -> None:
    """Show the next hint of this exercise (of the last one you ran)."""
    item = find(_current(id))
    number = _session["hints"].get(item.id, 0)
    _session["hints"][item.id] = number + 1
    if number >= len(item.hints):
        display(
            Card(
                BLUE,
                f"{item.id}: those were all the hints",
                *(f"{n}. {text}" for n, text in enumerate(item.hints, 1)),
                "`solution()` shows the course's own solution.",
            )
        )
        return
    display(Card(BLUE, f"{item.id}: hint {number + 1} of {len(item.hints)}", item.hints[number]))


def solution(id: str | None = None) -> None:
    """Show the course's own solution (of the last exercise you ran)."""
    item = find(_current(id))
    tries = progress.entry("exercises", item.id).get("tries", 0)
    word = (
        ""
        if tries
        else "You have not tried yet. Reading a solution feels like understanding; writing one is."
    )
    display(
        Card(BLUE, f"{item.id}: the course's own solution", word)
        .code(item.solution)
        .say(item.insight)
    )


def reset(id: str | None = None) -> None:
    """Forget the record of an exercise, put the saved answer aside, and show the stub again."""
    item = find(_current(id))
    progress.forget("exercises", item.id)
    own.remove(item)
    _session["functions"].pop(item.id, None)
    _session["hints"].pop(item.id, None)
    display(
        Card(GREY, f"{item.id}: as new", "To start over, put this back into the cell:").code(
            stub_source(item.id)
        )
    )


def _current(id: str | None) -> str:
    """The id given, or that of the exercise last run (at first: the course's first one)."""
    return id or _session["current"] or registry.exercise_ids()[0]


def yours(id: str):
    """Your own accepted answer, checked again, or the course's version; prints which it is."""
    item = find(id)
    function = own.load(item)
    if function is None:
        reason = "you have not solved it yet"
    elif not verdict.judge(item, function).right:
        reason = "your saved one no longer passes"
    elif machine.device() != "cpu" and verdict.stays_on_cpu(item, function):
        reason = "yours makes tensors on the CPU, and the model is on a GPU"
    else:
        print(f"{id}: your own version.")
        return function
    print(f"{id}: the course's version ({reason}).")
    return item.reference


def stub_source(id: str) -> str:
    """The text of the notebook cell for an exercise: the function with its blanks."""
    item = find(id)
    return f'@exercise("{item.id}")\n' + source.stub_text(item.text).rstrip("\n")


def task_text(id: str) -> str:
    """The text of the Markdown cell above it: a title, difficulty and minutes, and the task."""
    item = find(id)
    return (
        f"### Exercise · `{item.name}`\n\n*{item.effort[0].upper()}{item.effort[1:]}.* {item.task}"
    )


# Predictions and questions -----------------------------------------------------------------------


def predict(id: str, value=____) -> None:
    """Note a guess before an experiment."""
    item = find(id, Prediction)
    if isinstance(value, Blank) or value is ... or not _quiz.acceptable(item, value):
        display(_quiz.asked(item, None))
        return
    value = value if isinstance(value, (str, int)) else float(value)
    progress.update("predictions", id, value=value)
    display(_quiz.asked(item, value))


def reveal(id: str) -> None:
    """Compute the truth of a prediction and show it beside your guess."""
    item = find(id, Prediction)
    display(_quiz.revealed(item, progress.entry("predictions", id).get("value")))


def quiz(id: str, answer=____) -> None:
    """Ask a question, or give the reason that belongs to your answer (a letter)."""
    item = find(id, Question)
    if isinstance(answer, Blank) or answer is ...:
        display(_quiz.posed(item))
        return
    made, right = _quiz.answered(item, answer)
    _note(id, answer, right)
    display(made)


def find_the_bug(id: str, line=____) -> None:
    """A warm-up ("transformer.1") from mistakes of earlier chapters; answer with a line number."""
    made, right = _quiz.bug_card(id, None if isinstance(line, Blank) or line is ... else line)
    _note(f"bug {id}", line, right)
    display(made)


def order_lines(id: str, answer=____) -> None:
    """Lines to put in order; answer with their letters."""
    item = find(id, Parsons)
    made, right = _quiz.order_card(
        item, None if isinstance(answer, Blank) or answer is ... else answer
    )
    _note(id, answer, right)
    display(made)


def _note(id: str, answer, right: bool | None) -> None:
    """Record an answer; once right stays right."""
    if right is not None:
        before = progress.entry("questions", id).get("right", False)
        progress.update("questions", id, right=bool(right or before), last=str(answer))


# Progress ----------------------------------------------------------------------------------------


def progress_card() -> Card:
    """What is done: a table, and a picture of the course that fills in."""
    heads = "".join(map("{:>12}".format, ("exercises", "predictions", "questions")))
    record, rows, boxes, totals = progress.read(), [" " * 25 + heads], [], [0, 0]
    for number, chapter in enumerate(registry.CHAPTERS, 1):
        found = registry.listing(chapter)
        if not found["define"]:
            continue
        solved = [bool(record["exercises"].get(i, {}).get("solved")) for i in found["define"]]
        guessed = [i in record["predictions"] for i in found["prediction"]]
        known = [
            bool(record["questions"].get(i, {}).get("right"))
            for i in found["question"] + found["parsons"]
        ]
        totals = [totals[0] + sum(solved), totals[1] + len(solved)]
        shares = (f"{sum(done)} of {len(done)}" for done in (solved, guessed, known))
        cells = "".join("■" if done else "□" for done in solved)
        rows.append(f"{number} {chapter:<12}  {cells:<9}" + "".join(map("{:>12}".format, shares)))
        boxes.append(_box(number, chapter, solved + guessed + known))
    picture = (
        "<div style='display:flex;flex-wrap:wrap;gap:6px;margin:6px 0' aria-hidden='true'>"
        + "".join(boxes)
        + "</div>"
    )
    colour = GREEN if totals[0] == totals[1] else GREY
    return Card(
        colour, f"Your course: {totals[0]} of {totals[1]} exercises solved", picture=picture
    ).code("\n".join(rows))


def _box(number: int, chapter: str, done: list[bool]) -> str:
    """A chapter as a small box whose cells fill in."""
    cells = "".join(
        "<span style='display:inline-block;width:10px;height:10px;margin:1px;border:1px solid "
        f"{BLUE};"
        f"background:{BLUE if d else 'transparent'}'></span>"
        for d in done
    )
    return (
        f"<div style='border:1px solid rgba(127,127,127,0.5);padding:4px 6px;width:92px'>"
        f"<div style='font-size:85%'>{number} {chapter}</div>{cells}</div>"
    )


def show_progress() -> None:
    """What you have done so far, over all chapters."""
    display(progress_card())
