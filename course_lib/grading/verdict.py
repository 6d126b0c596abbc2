"""Judge one answer: run it on the probes, compare, and find the words for what went wrong."""

import io
import itertools
import linecache
import re
import time
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass, field

from course_lib.grading import compare, probes, runner, source
from course_lib.grading.registry import Exercise, Mistake


@dataclass
class Outcome:
    """What a function did with one input: a value, or an exception and where it came from."""

    value: object = None
    error: BaseException | None = None
    where: str = ""  # the reader's own line and the shapes there
    changed: int | None = None  # which argument was modified in place

    def __eq__(self, other) -> bool:
        if self.error is None and other.error is None:
            return compare.same(self.value, other.value)
        return type(self.error) is type(other.error) and str(self.error) == str(other.error)


@dataclass
class Verdict:
    """The judgement. `kind` is one of blanks, right, random, mistake, two, like, error, endless,
    changed, relation, value, broken; `keys` names the mistakes, the edge or the relation."""

    kind: str
    says: list[str]
    keys: tuple[str, ...] = ()
    evidence: list[tuple[str, str]] = field(default_factory=list)  # folds: (title, text)
    blanks: int = 0

    @property
    def right(self) -> bool:
        return self.kind == "right"


def judge(item: Exercise, function) -> Verdict:
    """The verdict on `function` as an answer to `item`, in the order in which a reader needs it."""
    blanks = source.count_blanks(function)
    if blanks:
        return Verdict("blanks", [], blanks=blanks)
    want, printed = reference_outcomes(item), io.StringIO()
    started = time.monotonic()
    try:
        with redirect_stdout(printed):
            got = run(item, function)
    except runner.Endless as endless:
        return _endless(endless, function)
    quick = time.monotonic() - started < 1.0  # a slow answer is not made to run twice
    verdict = (quick and _random(item, function, got)) or _compare(item, function, got, want)
    if printed.getvalue():
        verdict.evidence.append(("What your function printed", _few_lines(printed.getvalue())))
    return verdict


def run(item: Exercise, function, seconds: float | None = None) -> list[Outcome]:
    """The outcomes on all probes. runner.Endless when that takes too long."""
    inputs, untouched = item.probes(), item.probes()
    return runner.limited(
        lambda: [_one(function, a, b) for a, b in zip(inputs, untouched)], seconds
    )


def _one(function, arguments: tuple, untouched: tuple) -> Outcome:
    try:
        value = compare.plain(function(*arguments))
        pairs = enumerate(zip(arguments, untouched))
        changed = next((i for i, (a, b) in pairs if not _untouched(a, b)), None)
        return Outcome(probes.fresh(value), changed=changed)
    except runner.TimeUp:
        raise
    except BaseException as error:  # even SystemExit is only a wrong answer here
        return Outcome(error=error, where=_reader_line(error, function))


def _random(item: Exercise, function, got: list[Outcome]) -> Verdict | None:
    """Run it once more: inputs that are the same must give results that are the same."""
    try:
        with redirect_stdout(io.StringIO()):  # what it printed is known from the first time
            again = run(item, function)
    except runner.Endless:
        return None
    pairs = [(a, b) for a, b in zip(got, again) if not (a.error or b.error) and _comparable(a)]
    if all(a == b for a, b in pairs):
        return None
    return Verdict(
        "random",
        [
            "Two calls with the same input gave different results: something is drawn at random, "
            "or left over from the call before. The result must follow from the inputs alone. "
            "Where chance is needed, the random number is one of the inputs."
        ],
        ("random",),
    )


def _comparable(outcome: Outcome) -> bool:
    """Is there more to compare than identity? (Not with objects, functions, complex numbers.)"""
    value = outcome.value
    return not callable(value) and compare.same(probes.fresh(value), value)


def _untouched(a, b) -> bool:
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_untouched, a, b))
    return callable(a) or compare.same(a, b)


def reference_outcomes(item: Exercise) -> list[Outcome]:
    """What the right answer gives; computed once."""
    cache = item.cache
    if "reference" not in cache:
        cache["reference"] = run(item, item.reference)
    return cache["reference"]


def mistake_outcomes(item: Exercise) -> list[tuple[tuple[Mistake, ...], list[Outcome]]]:
    """The outcomes of every variant of every mistake; computed once."""
    cache = item.cache
    if "mistakes" not in cache:
        variants = [((m,), (v,)) for m in item.mistakes for v in m.variants]
        cache["mistakes"] = _outcomes(item, variants)
    return cache["mistakes"]


def pair_outcomes(item: Exercise) -> list[tuple[tuple[Mistake, ...], list[Outcome]]]:
    """The outcomes of two mistakes made together, for all pairs whose patches fit together."""
    cache = item.cache
    if "pairs" not in cache:
        variants = [
            ((m, n), (v, w))
            for m, n in itertools.combinations(item.mistakes, 2)
            for v in m.variants
            for w in n.variants
        ]
        cache["pairs"] = _outcomes(item, variants)
    return cache["pairs"]


def _known(item: Exercise, wrong: list[int]):
    """Single mistakes, then pairs of them; the pairs take longer and are made when needed.

    What goes wrong on one or two inputs at an edge is explained by that edge better than by two
    mistakes that happen to agree there.
    """
    yield from mistake_outcomes(item)
    if len(wrong) > 2 or _edge(item, wrong) is None:
        yield from pair_outcomes(item)


def _edge(item: Exercise, wrong: list[int]) -> probes.Edge | None:
    """The edge at which all that goes wrong lies, if there is one. (Mixed inputs do not count.)"""
    inputs = [item.probes()[i] for i in wrong]
    keys = {getattr(arguments, "key", None) for arguments in inputs} - {""}
    if len(keys) != 1 or None in keys:
        return None
    return next(arguments for arguments in inputs if arguments.key)


def _outcomes(item, variants):
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a mistake makes torch warn of is not the reader's
        for mistakes, changes in variants:
            try:
                function = item.variant(*changes)
                if function is not None:
                    found.append((mistakes, run(item, function, seconds=2.0)))
            except (runner.Endless, SyntaxError):
                continue  # a pair of patches may make an endless loop or no program at all
    return found


def _compare(item, function, got: list[Outcome], want: list[Outcome]) -> Verdict:
    wrong = [i for i, (a, b) in enumerate(zip(got, want)) if a != b]
    if not wrong:
        changed = next((i for i, outcome in enumerate(got) if outcome.changed is not None), None)
        if changed is not None:
            return _changed(item, got[changed])
        remarks = (_device, _gradient, _beyond)
        said = [line for remark in remarks for line in remark(item, function)]
        return Verdict("right", [item.insight, *said])
    seen = [_sight(item, wrong[0], got[wrong[0]], want[wrong[0]])]
    for mistakes, outcomes in _known(item, wrong):
        if outcomes == got or _match(got, outcomes, want, wrong):
            kind = "mistake" if len(mistakes) == 1 else "two"
            return Verdict(
                kind, [m.message for m in mistakes], tuple(m.key for m in mistakes), seen
            )
    likely = _likely(item, got, want, wrong)
    if likely is not None:
        return Verdict("like", [likely.message], (likely.key,), seen)
    edge = _edge(item, wrong)
    if edge is not None:
        said = [_first_line_of(got[wrong[0]]), edge.says]
        return Verdict("mistake", [s for s in said if s], (edge.key,), seen)
    broken = next((got[i] for i in wrong if got[i].error is not None), None)
    if broken is not None:
        return _error(item, broken, got)
    changed = next((outcome for outcome in got if outcome.changed is not None), None)
    if changed is not None:
        return _changed(item, changed)
    names, inputs = item.reference.__code__.co_varnames, item.probes()
    triples = [(got[i].value, want[i].value, dict(zip(names, inputs[i]))) for i in wrong]
    found = compare.to_inputs(triples) or compare.relation([t[:2] for t in triples])
    if found:
        return Verdict("relation", [found[1]], (found[0],), seen)
    return Verdict("value", [compare.worst(got[wrong[0]].value, want[wrong[0]].value)], (), seen)


def _match(got, outcomes, want, wrong) -> bool:
    """Equal, where exceptions of one type count as equal if some wrong value is equal, too."""
    values = 0
    for i, (a, b) in enumerate(zip(got, outcomes)):
        if a.error is not None and b.error is not None:
            if type(a.error) is not type(b.error):
                return False
        elif a != b:
            return False
        elif i in wrong:
            values += 1
    return values > 0


def _likely(item, got, want, wrong) -> Mistake | None:
    """The mistake that gives the same wrong value on more than half of the failing inputs.

    It must also agree on two thirds of all inputs, and on half of those where the mistake shows.
    """
    best, most = None, 0
    for mistakes, outcomes in mistake_outcomes(item):
        agreeing = sum(
            got[i].error is None and got[i] == outcomes[i] and outcomes[i] != want[i] for i in wrong
        )
        alike = sum(a == b for a, b in zip(got, outcomes))
        shows = sum(a != b for a, b in zip(outcomes, want))
        if agreeing > most and alike * 3 >= len(got) * 2 and agreeing * 2 >= shows:
            best, most = mistakes[0], agreeing
    return best if most * 2 > len(wrong) else _fails_alike(item, got, want)


def _fails_alike(item, got, want) -> Mistake | None:
    """The only mistake that raises on just the inputs where this answer raises, if there is one."""

    def pattern(outcomes):
        return [None if o.error is not None else o == w for o, w in zip(outcomes, want)]

    mine = pattern(got)
    if False in mine or True not in mine:
        return None
    alike = {m[0].key: m[0] for m, outcomes in mistake_outcomes(item) if pattern(outcomes) == mine}
    return next(iter(alike.values())) if len(alike) == 1 else None


def _sight(item: Exercise, number: int, got: Outcome, want: Outcome) -> tuple[str, str]:
    """The first input that goes wrong, with both results."""
    names = item.reference.__code__.co_varnames
    lines = []
    for name, value in zip(names, item.probes()[number]):
        text = compare.short(value)
        pad = " " * (len(name) + 3)
        lines.append(f"{name} = " + text.replace("\n", "\n" + pad))
    yours = f"{type(got.error).__name__}: {got.error}" if got.error else compare.short(got.value)
    lines += ["", "expected:", compare.short(want.value), "yours:", yours]
    return f"The first input where it goes wrong (number {number + 1})", "\n".join(lines)


def _changed(item: Exercise, outcome: Outcome) -> Verdict:
    name = item.reference.__code__.co_varnames[outcome.changed]
    return Verdict(
        "changed",
        [
            f"Your function changes its input `{name}` in place, so whoever called it finds other "
            f"numbers there afterwards. Work on a new value: `{name} = {name} + ...` makes one, "
            f"and `{name} += ...`, `{name}[...] = ...`, `.append` and methods that end in `_` do "
            "not."
        ],
        (name,),
    )


def _device(item: Exercise, function) -> list[str]:
    """A remark on a right answer that makes its new tensors on the CPU, wherever the inputs are.

    It is run once where tensors have a device of their own: a mask made on the CPU shows there.
    """
    arguments = item.probes()[0]
    if not item.meta or not probes.has_tensor(arguments):
        return []
    names = zip(item.reference.__code__.co_varnames, arguments)
    home = next((f"{name}.device" for name, value in names if compare.is_tensor(value)), "...")
    probes.warm_up()
    try:
        with redirect_stdout(io.StringIO()):
            value = runner.limited(lambda: function(*probes.to_meta(arguments)))
    except (Exception, runner.TimeUp) as error:
        if re.search(r"device.*\bcpu\b", str(error)) and "meta" in str(error):
            return [
                "One remark: on a GPU it would crash. A tensor that you make inside the function "
                "lives on the CPU, while the inputs may live elsewhere. Say where it belongs: "
                f"give it `device={home}`.",
                *filter(None, [_reader_line(error, function)]),
            ]
        return []  # .item() or a loop over numbers: fine, only not possible on `meta`
    if compare.is_tensor(value) and value.dim() and str(value.device) == "cpu":
        return [
            "One remark: the result is on the CPU even when the inputs are not. Make new tensors "
            f"where the inputs are: give them `device={home}`."
        ]
    return []


def stays_on_cpu(item: Exercise, function) -> bool:
    """Whether a right answer would crash, or leave its result on the CPU, with inputs on a GPU."""
    return bool(_device(item, function))


def _beyond(item: Exercise, function) -> list[str]:
    """Remarks where a right answer fails at an edge that the task does not demand."""
    wanted, said = item.cache.get("beyond"), []
    if wanted is None:
        wanted = item.cache["beyond"] = [_one(item.reference, e, e) for e in item.beyond()]
    for edge, want in zip(item.beyond(), wanted):
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = runner.limited(lambda edge=edge: _one(function, edge, edge))
        if got != want:
            said.append(f"One remark: {edge.says}")
    return said


def _gradient(item: Exercise, function) -> list[str]:
    """A remark where the reference passes gradients on and this right answer does not."""

    def passes(candidate) -> bool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, about float(...) of such a tensor
                value = candidate(*probes.with_gradient(item.probes()[0]))
        except Exception:
            return False
        return any(getattr(v, "requires_grad", False) for v in probes.leaves(value))

    if not (item.meta and item.gradient and passes(item.reference)):
        return []
    with redirect_stdout(io.StringIO()):
        if runner.limited(lambda: passes(function)):
            return []
    return [
        "One remark: no gradient passes through your version, because numbers leave the tensors "
        "on the way (`.item()`, `.tolist()`, `float()`, or a new tensor made of them). It computes "
        "the right thing, but nothing before it could be trained."
    ]


def _endless(endless: runner.Endless, function) -> Verdict:
    filename = function.__code__.co_filename
    line = next((n for name, n in endless.places if name == filename), None)
    says = [
        f"Stopped after {endless.seconds:g} seconds: your function does not come to an end. Does "
        "every loop have a step that brings its condition closer to false?"
    ]
    if line:
        says.append(f"It was in this line: `{linecache.getline(filename, line).strip()}`")
    if endless.alive:
        says.append("It could not be stopped. Restart the kernel before you go on.")
    return Verdict("endless", says)


def _first_line_of(outcome: Outcome) -> str:
    """What was raised, in one line, if anything was."""
    error = outcome.error
    return f"`{type(error).__name__}`: {_first_line(error)}" if error is not None else ""


# Exceptions --------------------------------------------------------------------------------------


def _error(item, outcome: Outcome, got: list[Outcome]) -> Verdict:
    error = outcome.error
    says = [_first_line_of(outcome), outcome.where, _advice(error)]
    number = next(i for i, o in enumerate(got) if o is outcome)
    if any(o.error is None for o in got):
        says.append(
            f"This happens on input number {number + 1} of {len(got)}, and not on all of them."
        )
    sight = _sight(item, number, outcome, reference_outcomes(item)[number])
    return Verdict("error", [s for s in says if s], (type(error).__name__,), [sight])


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0][:300]


def _reader_line(error: BaseException, function) -> str:
    """The reader's own line where it happened, and the shapes of what stands in it."""
    filename, here = getattr(function, "__code__", None) and function.__code__.co_filename, None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            here = trace
        trace = trace.tb_next
    if here is None:
        return ""
    line = linecache.getline(filename, here.tb_lineno).strip()
    shapes = []
    for name in dict.fromkeys(re.findall(r"\b[A-Za-z_]\w*\b", line)):
        if name in here.tb_frame.f_locals:
            said = _describe(here.tb_frame.f_locals[name])
            shapes += [f"`{name}` {said}"] if said else []
    return f"In your line: `{line}`" + (f"\nThere: {', '.join(shapes)}." if shapes else "")


def _describe(value) -> str:
    if compare.is_tensor(value):
        kind = compare.array(value).kind if value.device.type != "meta" else "float"
        return f"has shape {tuple(value.shape)}" + ("" if kind == "float" else f" ({kind})")
    if value is None or isinstance(value, (bool, int, float)):
        return f"is {compare.short(value)}"
    if isinstance(value, (list, tuple, dict, str, bytes)):
        return f"is a {type(value).__name__} of length {len(value)}"
    return ""


def _advice(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, NameError):
        name = getattr(error, "name", None) or "this name"
        if name in ("math", "torch", "F", "nn", "Counter"):
            return (
                f"`{name}` is not imported: run the cell with the imports near the top of the "
                "notebook."
            )
        return (
            f"Nothing is called `{name}` here: is it spelled differently above, or not yet defined?"
        )
    if (
        "mat1 and mat2" in text
        or "size of tensor a" in text
        or "Expected size for first two" in text
    ):
        return (
            "The shapes do not fit. For `@` the last axis of the left side must be as long as the "
            "second to last of the right side; for `+`, `*` and masks every axis must agree "
            "or be 1."
        )
    if "view size is not compatible" in text:
        return (
            "After a transpose the numbers no longer lie in order: use `.reshape`, or "
            "`.contiguous()` first."
        )
    if "NoneType" in text:
        return (
            "A value is None: a function without `return`, or a method that works in place, "
            "gave it."
        )
    if "out of range" in text or "out of bounds" in text:
        return "An index is one too large or worse: the last entry of n is number n - 1."
    if "positional argument" in text:
        return "Keep the names and the number of the parameters as they were in the stub."
    if isinstance(error, RecursionError):
        return "The function calls itself without end."
    return ""


def _few_lines(text: str, most: int = 12) -> str:
    lines = text.splitlines()
    return "\n".join(
        lines[:most] + ([f"... and {len(lines) - most} more lines"] if len(lines) > most else [])
    )
