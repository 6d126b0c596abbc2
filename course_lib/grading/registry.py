"""What an exercise is, and where the exercises are found."""

import ast
import difflib
import functools
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.grading import source

CHAPTERS = (
    "next_token",
    "tokenizer",
    "attention",
    "transformer",
    "training",
    "sampling",
    "pretrained",
)
FOLDER = Path(__file__).parent.parent / "exercises"


class Mistake:
    """A wrong answer that people give: its key, what to say about it, and how to make it.

    Each variant is a dict of patches (old text -> new text) of the reference, comments left out,
    or a plain wrong function where no patch would be short. Several variants are several ways of
    making the same mistake. Patches can meet in one answer, and then both mistakes are named.
    """

    def __init__(self, key: str, message: str, *variants: dict[str, str] | Callable):
        self.key, self.message, self.variants = key, message, variants


@dataclass(frozen=True)
class Exercise:
    """One exercise; everything that is not given here is derived from `reference`."""

    reference: Callable
    task: str  # what to write, in Markdown
    hints: tuple[str, ...]  # from a nudge to nearly the answer
    insight: str  # what a right answer shows
    probes: Callable[[], list[tuple]]  # inputs, made anew on each call, never random
    mistakes: tuple[Mistake, ...]
    level: int  # 1 to 3
    minutes: int
    meta: bool  # may the check run it on torch's `meta` device?
    gradient: bool = True  # is it worth a remark when no gradient passes through the answer?
    beyond: Callable[[], list[tuple]] = list  # more edges: a right answer that fails is told so
    cache: dict = field(default_factory=dict, compare=False, repr=False)

    @property
    def chapter(self) -> str:
        return self.reference.__module__.rsplit(".", 1)[-1]

    @property
    def function_name(self) -> str:
        return self.reference.__name__

    @property
    def name(self) -> str:
        """The function's name; `my_top_k` is called `top_k`, the library's name for it."""
        return self.function_name.removeprefix("my_")

    @property
    def id(self) -> str:
        return f"{self.chapter}.{self.name}"

    @functools.cached_property
    def text(self) -> str:
        return source.function_text(self.reference)

    @property
    def solution(self) -> str:
        return source.solution_text(self.text)

    @property
    def bare(self) -> str:
        return source.bare(self.solution)

    @property
    def namespace(self) -> dict:
        return vars(sys.modules[self.reference.__module__])

    def variant(self, *changes: dict[str, str] | Callable) -> Callable | None:
        """The reference with these patches, as a function; None where they exclude each other."""
        if any(map(callable, changes)):
            return changes[0] if len(changes) == 1 else None
        text = source.patched(self.bare, *changes)
        return None if text is None else source.build(text, self.namespace, "variant")

    @property
    def effort(self) -> str:
        return f"difficulty {'●' * self.level}{'○' * (3 - self.level)}, about {self.minutes} min"


@dataclass(frozen=True)
class Prediction:
    """A guess to make before an experiment; the truth is computed, never typed in."""

    truth: Callable[[], float | str]
    question: str
    why: str
    tolerance: float  # relative; counts as right
    choices: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.truth.__module__.rsplit('.', 1)[-1]}.{self.truth.__name__}"


@dataclass(frozen=True)
class Question:
    """A question with a reason on every choice: (text, right or not, reason)."""

    id: str
    question: str
    choices: tuple[tuple[str, bool, str], ...]
    truth: Callable[[], float] | None  # for a numeric answer: the number in the right choice


@dataclass(frozen=True)
class Parsons:
    """Lines to put in order. A rule is (test, reason): the test gets the place of each line."""

    id: str
    question: str
    lines: tuple[str, ...]  # in one right order
    rules: tuple[tuple[Callable, str], ...]
    shuffled: tuple[int, ...]  # the order in which the reader sees them


_items: dict[tuple[type, str], Exercise | Prediction | Question | Parsons] = {}


def define(
    *,
    task,
    hints,
    insight,
    probes,
    mistakes,
    level=1,
    minutes=5,
    meta=True,
    gradient=True,
    beyond=list,
):
    """Make an exercise of the decorated reference function, which stays an ordinary function."""

    def register(reference):
        item = Exercise(
            reference,
            " ".join(task.split()),
            tuple(hints),
            insight,
            probes,
            tuple(mistakes),
            level,
            minutes,
            meta,
            gradient,
            beyond,
        )
        _items[Exercise, item.id] = item
        return reference

    return register


def prediction(question: str, why: str, tolerance: float = 0.05, choices: tuple[str, ...] = ()):
    """Make a prediction of the decorated function, which computes the truth."""

    def register(truth):
        item = Prediction(truth, question, why, tolerance, tuple(choices))
        _items[Prediction, item.id] = item
        return truth

    return register


def question(id: str, question: str, *choices: tuple[str, bool, str], truth=None) -> None:
    """Register a question with its choices, in the order in which they are shown."""
    _items[Question, id] = Question(id, question, choices, truth)


def parsons(id: str, question: str, lines, rules, shuffled) -> None:
    """Register a problem of putting lines in order."""
    _items[Parsons, id] = Parsons(id, question, tuple(lines), tuple(rules), tuple(shuffled))


@functools.cache
def listing(chapter: str) -> dict[str, tuple[str, ...]]:
    """The ids of a chapter by kind, read from the file without running it (so: without torch)."""
    found = {"define": [], "prediction": [], "question": [], "parsons": []}
    path = FOLDER / f"{chapter}.py"
    body = ast.parse(path.read_text(encoding="utf-8")).body if path.exists() else []
    for node in body:
        calls = getattr(node, "decorator_list", []) or [getattr(node, "value", None)]
        for call in calls:
            kind = getattr(getattr(call, "func", None), "id", None)
            if kind in ("define", "prediction"):
                name = node.name.removeprefix("my_") if kind == "define" else node.name
                found[kind].append(f"{chapter}.{name}")
            elif kind in ("question", "parsons"):
                found[kind].append(call.args[0].value)
    return {kind: tuple(ids) for kind, ids in found.items()}


def ids(kind: str = "define", chapter: str | None = None) -> list[str]:
    """All ids of one kind, in the order of the course."""
    return [i for name in CHAPTERS if chapter in (None, name) for i in listing(name)[kind]]


def exercise_ids(chapter: str | None = None) -> list[str]:
    """The ids of the exercises of one chapter or of all, in the order of the file."""
    return ids("define", chapter)


def find(id: str, kind: type = Exercise):
    """The exercise (prediction, question ...) with this id; its chapter is imported on demand."""
    chapter = str(id).partition(".")[0]
    if chapter in CHAPTERS and (FOLDER / f"{chapter}.py").exists():
        importlib.import_module(f"course_lib.exercises.{chapter}")
    if (kind, id) in _items:
        return _items[kind, id]
    name = {Exercise: "define", Prediction: "prediction", Question: "question"}.get(kind, "parsons")
    close = difflib.get_close_matches(str(id), ids(name), n=1, cutoff=0)
    raise ValueError(
        f"There is no {kind.__name__.lower()} called {id!r}. Did you mean {close[0]!r}?"
        if close
        else f"There is no {kind.__name__.lower()} called {id!r}."
    )
