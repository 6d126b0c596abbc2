"""Is it the same value? And if not, how are the two related?

Works on numbers, lists and tensors alike, in plain Python: the inputs of checks are small, and
chapters without torch need no torch here.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

RELATIVE = 1e-4  # of the number itself
ABSOLUTE = 1e-5  # of the largest number in the expected answer


@dataclass
class Array:
    """A number, a list of lists of numbers, or a tensor: its shape, its numbers, their kind."""

    shape: tuple[int, ...]
    flat: list
    kind: str  # "bool", "int" or "float"

    def at(self, *index: int):
        position = 0
        for i, size in zip(index, self.shape):
            position = position * size + i
        return self.flat[position]


def is_tensor(value) -> bool:
    """Is it a torch tensor? Asks without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def plain(value):
    """Without wrapping: iterators and numpy arrays become lists, tensors lose their history."""
    if isinstance(value, Iterator):
        return list(value)
    if is_tensor(value):
        return value.detach()
    if type(value).__module__ == "numpy":
        return value.tolist()
    return value


def array(value) -> Array | None:
    """The value as an Array, or None where it is not made of numbers of one regular shape."""
    if is_tensor(value):
        kind = str(value.dtype).removeprefix("torch.")
        if "complex" in kind:
            return None
        kind = kind if kind == "bool" else "int" if "int" in kind else "float"
        data = value.detach().to_dense().cpu()
        return Array(tuple(data.shape), data.flatten().tolist(), kind)
    if isinstance(value, (bool, int, float)):
        return Array((), [value], type(value).__name__)
    if isinstance(value, (list, tuple)) and value:
        parts = [array(plain(v)) for v in value]
        if any(p is None or p.shape != parts[0].shape for p in parts):
            return None
        kinds = {p.kind for p in parts}
        kind = kinds.pop() if len(kinds) == 1 else "float"
        return Array((len(parts), *parts[0].shape), [x for p in parts for x in p.flat], kind)
    return None


def close(a, b, size: float = 0.0) -> bool:
    """Equal to rounding; `size` is the largest number around."""
    if a == b:
        return True
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if math.isinf(a) or math.isinf(b):
        return False
    return abs(a - b) <= RELATIVE * abs(b) + ABSOLUTE * size


def largest(values) -> float:
    """The largest finite absolute value."""
    return max((abs(v) for v in values if math.isfinite(v)), default=0.0)


def all_close(a, b) -> bool:
    """Two flat lists, equal to rounding."""
    size = largest(b)
    return len(a) == len(b) and all(close(x, y, size) for x, y in zip(a, b))


def same(got, want) -> bool:
    """Would a fair judge call `got` the value `want`, whatever the style it was made in?"""
    got, want = plain(got), plain(want)
    if got is None or want is None:
        return got is want
    if isinstance(want, (str, bytes, bytearray)):
        return isinstance(got, (str, bytes, bytearray)) and got == want
    if isinstance(want, dict):
        return (
            isinstance(got, dict)
            and got.keys() == want.keys()
            and all(same(got[key], want[key]) for key in want)
        )
    if isinstance(want, set):
        return isinstance(got, (set, frozenset)) and got == want
    if is_tensor(want) or isinstance(want, (bool, int, float)):
        return same_numbers(got, want)
    if isinstance(want, (list, tuple)):
        if is_tensor(got) and got.dim() > 0:
            got = list(got)
        return (
            isinstance(got, (list, tuple)) and len(got) == len(want) and all(map(same, got, want))
        )
    return got is want


def same_numbers(got, want) -> bool:
    """Tensors and numbers: same shape, same numbers, and a kind that works in its place."""
    if isinstance(got, (list, tuple)) and is_tensor(want):
        return False  # a list in place of a tensor breaks the next line
    a, b = array(got), array(want)
    if a is None or b is None or a.shape != b.shape or not all_close(a.flat, b.flat):
        return False
    if not is_tensor(want) or not b.shape:
        return True
    return b.kind == "float" or a.kind == b.kind  # ids must be integers, masks must be bool


# Relations ---------------------------------------------------------------------------------------


def relation(pairs: list[tuple]) -> tuple[str, str] | None:
    """The first relation (key, sentence) that holds for every (got, want) pair, or None."""
    pairs = [(plain(got), plain(want)) for got, want in pairs]
    differing = (_wrong_shape, _factor, _offset, _length, _added_up, _part, _keys)
    for test in RELATIONS:  # the sentences of some name numbers, which differ between the pairs
        found = [test(got, want) for got, want in pairs]
        if all(found) and (len(set(found)) == 1 or test in differing):
            return test.__name__.removeprefix("_"), found[0]
    return None


def to_inputs(triples: list[tuple]) -> tuple[str, str] | None:
    """How (got, want) are related through one of the arguments {name: value}, or None.

    An input that is handed back, added to what is right or multiplied with it.
    """
    for name in triples[0][2]:
        found = {_to_input(got, want, name, inputs[name]) for got, want, inputs in triples}
        if len(found) == 1 and None not in found:
            return "input", found.pop()
    return None


def _to_input(got, want, name: str, value) -> str | None:
    if isinstance(want, (tuple, list)) and isinstance(got, (tuple, list)):
        wrong = [i for i, (a, b) in enumerate(zip(got, want)) if not same(a, b)]
        if len(got) != len(want) or len(wrong) != 1 or not any(map(is_tensor, want)):
            return None
        said = _to_input(got[wrong[0]], want[wrong[0]], name, value)
        return said and f"Number {wrong[0] + 1} of what you return is wrong, the rest right. {said}"
    a, b, c = array(plain(got)), array(plain(want)), array(value)
    if not (a and b and c and a.shape == b.shape == c.shape) or not is_tensor(value):
        return None
    if all_close(a.flat, c.flat):
        return f"You return `{name}` as it is."
    rows = list(zip(a.flat, b.flat, c.flat))
    if all_close([x - z for x, _, z in rows], b.flat):
        return f"Your result is the expected one *plus* `{name}`."
    if all_close([x + z for x, _, z in rows], b.flat):
        return f"Your result is the expected one *minus* `{name}`."
    if all_close(a.flat, [y * z for _, y, z in rows]):
        return f"Your result is the expected one *times* `{name}`."
    return None


def _numeric(test):
    """Turn a test on two Arrays into one on any two values."""

    def wrapped(got, want):
        a, b = array(got), array(want)
        return test(a, b) if a is not None and b is not None else None

    wrapped.__name__ = test.__name__
    return wrapped


def _nothing(got, want):
    if got is None:
        return "Your function returns nothing. Is the `return` missing?"


def _ellipsis(got, want):
    if got is ...:
        return "Your function returns `...`, which stands for code that is still to come."


def _wrong_type(got, want):
    def name(value):
        if is_tensor(value):
            return "a tensor"
        names = {
            "int": "an int",
            "float": "a float",
            "str": "a string",
            "dict": "a dict",
            "Counter": "a dict",
            "NoneType": "None",
        }
        return names.get(type(value).__name__, f"a {type(value).__name__}")

    both = (list, tuple)
    fits = isinstance(got, type(want)) or any(
        isinstance(got, kind) and isinstance(want, kind) for kind in (both, dict)
    )
    if not fits and not (array(got) and array(want) and not isinstance(got, both)):
        return f"Your function returns {name(got)}; expected is {name(want)}."


@_numeric
def _not_a_number(got, want):
    if any(map(_nan, got.flat)) and not any(map(_nan, want.flat)):
        return (
            "There are NaNs in your result: somewhere 0 is divided by 0, or inf subtracted from "
            "inf, or a softmax gets a row of nothing but -inf."
        )


def _nan(x):
    return isinstance(x, float) and math.isnan(x)


@_numeric
def _wrong_kind(got, want):
    if got.shape == want.shape and got.kind != want.kind and all_close(got.flat, want.flat):
        return (
            f"The numbers are right, but they are {_kinds[got.kind]} and must be "
            f"{_kinds[want.kind]}: {_casts[want.kind]}."
        )


_kinds = {"bool": "truth values", "int": "integers", "float": "floats"}
_casts = {"bool": "compare, or use .bool()", "int": "use .long()", "float": "use .float()"}


@_numeric
def _transposed(got, want):
    if len(want.shape) < 2 or got.shape != (*want.shape[:-2], want.shape[-1], want.shape[-2]):
        return None
    rows, columns = want.shape[-2:]
    size = rows * columns
    turned = [
        got.flat[start + j * rows + i]
        for start in range(0, len(want.flat), size)
        for i in range(rows)
        for j in range(columns)
    ]
    same_order = got.shape == want.shape and all_close(got.flat, want.flat)
    if not same_order and all_close(turned, want.flat):
        return "Your result is transposed: rows and columns have changed places."


@_numeric
def _places(got, want):
    if got.shape != want.shape[:-1] or got.kind == "bool" or not want.shape or want.shape[-1] < 2:
        return None
    rows, n = _rows_of(want), want.shape[-1]
    if all(x == max(range(n), key=row.__getitem__) for x, row in zip(got.flat, rows)):
        return (
            "You return the *places* of the largest numbers. The numbers themselves are asked for."
        )


@_numeric
def _added_up(got, want):
    for axis, stride, size in _axes(want.shape):
        if size < 2 or got.shape != want.shape[:axis] + want.shape[axis + 1 :]:
            continue
        starts = [i for i in range(len(want.flat)) if i // stride % size == 0]
        sums = [sum(want.flat[i + k * stride] for k in range(size)) for i in starts]
        for divisor, words in ((1, "You add up"), (size, "You take the mean")):
            if all_close(got.flat, [x / divisor for x in sums]):
                return f"{words} along axis {axis} in the end. That axis belongs to the result."


@_numeric
def _wrong_shape(got, want):
    if got.shape == want.shape:
        return None
    said = f"Your result has shape {got.shape}; expected is {want.shape}."
    squeezed = [tuple(n for n in shape if n != 1) for shape in (got.shape, want.shape)]
    if squeezed[0] == squeezed[1] and all_close(got.flat, want.flat):
        return said + " The numbers are right: only an axis of size 1 is too many or missing."
    if math.prod(got.shape) == math.prod(want.shape) and all_close(got.flat, want.flat):
        return said + " The numbers are right and in the right order: only the shape is not."
    if len(got.shape) > 1 and sorted(got.shape) == sorted(want.shape):
        return said + " Two axes have changed places."
    if got.shape == want.shape[1:]:
        return said + " The first axis is gone: did you add it up or pick one entry of it?"
    return said


@_numeric
def _sign(got, want):
    if got.shape == want.shape and all_close([-x for x in got.flat], want.flat):
        return "Every number has the wrong sign."


@_numeric
def _factor(got, want):
    ratios = [x / y for x, y in _finite(got, want) if y]
    if got.shape != want.shape or not ratios or not ratios[0] or not _uneven(want):
        return None
    if all_close([x / ratios[0] for x in got.flat], want.flat):
        return (
            f"Your result is {_about(ratios[0])} times the expected one: a factor is too much "
            "or missing."
        )


@_numeric
def _offset(got, want):
    steps = [x - y for x, y in _finite(got, want)]
    if got.shape != want.shape or not steps or not _uneven(want):
        return None
    if all_close([x - steps[0] for x in got.flat], want.flat):
        return f"Your result is the expected one plus {_about(steps[0])}, everywhere."


@_numeric
def _exponential(got, want):
    if got.shape == want.shape and all(0 < y < math.inf for y in got.flat) and len(want.flat) > 1:
        if all_close([math.log(x) for x in got.flat], want.flat):
            return "Your result is exp of the expected one: a log is missing."


@_numeric
def _logarithm(got, want):
    if got.shape == want.shape and all(x < 60 for x in got.flat) and len(want.flat) > 1:
        if all_close([math.exp(x) for x in got.flat], want.flat):
            return "Your result is the log of the expected one."


@_numeric
def _power(got, want):
    """A root too few or too many, or upside down."""
    if got.shape != want.shape or not all(0 < x < 1e15 for x in got.flat + want.flat):
        return None
    words = {
        2: "the square of the expected one: a root is missing",
        0.5: "the square root of the expected one: a root too many",
        -1: "1 divided by the expected one: a fraction stands upside down",
    }
    if all(close(x, 1, 1) for x in want.flat):
        return None
    for power, said in words.items():
        if all_close([x ** (1 / power) for x in got.flat], want.flat):
            return f"Your result is {said}."


@_numeric
def _absolute(got, want):
    if got.shape == want.shape and all_close(got.flat, [abs(x) for x in want.flat]):
        return "The negative numbers have lost their sign: yours are absolute values."
    if got.shape == want.shape and all_close(got.flat, [max(x, 0) for x in want.flat]):
        return "Numbers below 0 became 0. They belong to the result as they are."


@_numeric
def _rounded(got, want):
    if got.shape != want.shape or not all(map(math.isfinite, want.flat)):
        return None
    if largest(want.flat) < 2:  # 0 and 1 come from many things
        return None
    for cut in (math.floor, math.trunc, round):
        if got.flat == [cut(x) for x in want.flat]:
            return "Your numbers are cut to whole ones: `//`, `int(...)` or an integer type."


@_numeric
def _softmaxed(got, want):
    """A softmax (or its logarithm) of what is asked for: numbers that are no probabilities yet."""
    if got.shape != want.shape or not want.shape or want.shape[-1] < 2:
        return None
    for logs, words in ((False, "a softmax"), (True, "a log-softmax")):
        made = []
        for row in _rows_of(want):
            top = max(row)
            if not math.isfinite(top):
                return None
            total = sum(math.exp(x - top) for x in row)
            made += [x - top - math.log(total) if logs else math.exp(x - top) / total for x in row]
        if all_close(got.flat, made):
            return f"You took {words} of the result in the end, and it is asked for without."


@_numeric
def _shifted(got, want):
    if got.shape != want.shape or not want.shape or want.shape[-1] < 3 or not _uneven(want):
        return None
    for axis, stride, size in _axes(want.shape):
        for step, words in ((1, "late"), (-1, "early")):
            kept = [
                (got.flat[i], want.flat[i - step * stride])
                for i in range(len(want.flat))
                if 0 <= i // stride % size - step < size
            ]
            if size > 2 and all_close(*map(list, zip(*kept))):
                return (
                    f"Your result is shifted: along axis {axis} everything comes one place "
                    f"too {words}."
                )


@_numeric
def _reversed(got, want):
    if got.shape == want.shape and len(want.shape) == 1 and len(want.flat) > 2:
        if got.flat != want.flat and all_close(got.flat[::-1], want.flat):
            return "Your result is the right one backwards."


@_numeric
def _rows(got, want):
    if got.shape != want.shape or not want.shape or want.shape[-1] < 2:
        return None
    sums = [[sum(row) for row in _rows_of(a)] for a in (got, want)]
    if all(close(s, 1, 1) for s in sums[1]) and not all(close(s, 1, 1) for s in sums[0]):
        return "Each row must sum to 1, and yours do not."


@_numeric
def _order(got, want):
    if got.shape == want.shape and len(want.flat) > 3 and len(set(want.flat)) > 3:
        if all_close(sorted(got.flat), sorted(want.flat)):
            return "These are the right numbers in the wrong places."


def _length(got, want):
    if isinstance(got, (list, tuple)) and isinstance(want, (list, tuple)) and len(got) != len(want):
        said = f"Your result has {len(got)} entries; expected are {len(want)}."
        if not all(map(same, got, want)):
            return said
        if len(got) < len(want):
            return said + " They are right, and the rest is missing."
        return said + " It begins with all the right ones, and what comes then is too much."


def _part(got, want):
    """One of the things in a tuple, or all of them in the same way."""
    if not (isinstance(want, tuple) and isinstance(got, (tuple, list)) and len(got) == len(want)):
        return None
    wrong = [i for i, (a, b) in enumerate(zip(got, want)) if not same(a, b)]
    if len(want) == 2 and same(got[0], want[1]) and same(got[1], want[0]):
        return "The two things you return have changed places."
    inner = [relation([(got[i], want[i])]) or ("", "") for i in wrong]
    why = f" {inner[0][1]}".rstrip() if len({key for key, _ in inner}) == 1 else ""
    if len(wrong) < len(want):
        which = " and ".join(str(i + 1) for i in wrong)
        return (
            f"Of the {len(want)} things you return, number {which} is wrong and the rest is right."
            + why
        )
    tensors = any(map(is_tensor, want))
    return f"In each of the {len(want)} things you return:{why}" if why and tensors else None


@_numeric
def _not_infinite(got, want):
    """A large number where an infinite one is expected, and the rest right."""
    if got.shape != want.shape or not any(map(math.isinf, want.flat)):
        return None
    pairs = list(zip(got.flat, want.flat))
    if all(abs(x) >= 20 if math.isinf(y) else close(x, y, largest(want.flat)) for x, y in pairs):
        return "Where -inf is expected you have a finite number, which is not quite impossible."


def _keys(got, want):
    if isinstance(got, dict) and isinstance(want, dict) and got.keys() != want.keys():
        missing, extra = len(want.keys() - got.keys()), len(got.keys() - want.keys())
        return f"Your dict lacks {missing} of the expected keys and has {extra} that do not belong."


RELATIONS = (
    _nothing,
    _ellipsis,
    _wrong_type,
    _length,
    _part,
    _not_a_number,
    _not_infinite,
    _wrong_kind,
    _transposed,
    _places,
    _added_up,
    _wrong_shape,
    _sign,
    _factor,
    _offset,
    _shifted,
    _reversed,
    _exponential,
    _logarithm,
    _power,
    _absolute,
    _rounded,
    _softmaxed,
    _rows,
    _order,
    _keys,
)


def _finite(got, want):
    return [(x, y) for x, y in zip(got.flat, want.flat) if math.isfinite(x) and math.isfinite(y)]


def _rows_of(array: Array) -> list[list]:
    n = array.shape[-1]
    return [array.flat[i : i + n] for i in range(0, len(array.flat), n)]


def _uneven(want) -> bool:
    """More than one value: otherwise every wrong number is 'a constant factor away'."""
    return len({round(x, 9) for x in want.flat if math.isfinite(x)}) > 1


def _axes(shape):
    stride = math.prod(shape)
    for axis, size in enumerate(shape):
        stride //= size
        yield axis, stride, size


def _about(x: float) -> str:
    return f"{x:.4g}"


# The worst element -------------------------------------------------------------------------------


def worst(got, want) -> str | None:
    """One sentence on the entry that is furthest off: where, yours, expected."""
    got, want = plain(got), plain(want)
    if isinstance(want, (str, bytes)):
        at = next(
            (i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want))
        )
        return f"Up to position {at} it is right. Yours: {got!r}. Expected: {want!r}."
    if isinstance(want, dict) and isinstance(got, dict):
        wrong = (k for k in want if k not in got or not same(got[k], want[k]))
        key = next(wrong, None)
        if key is None:  # all that is expected is there, and something else, too
            key = next(k for k in got if k not in want)
            return f"At {key!r}: yours {short(got[key])}, and nothing is expected there."
        return f"At {key!r}: yours {short(got.get(key))}, expected {short(want[key])}."
    a, b = array(got), array(want)
    if a and b and a.shape == b.shape:

        def off(i):
            return (
                math.inf
                if math.isnan(a.flat[i] - b.flat[i]) and not close(a.flat[i], b.flat[i])
                else 0.0
                if a.flat[i] == b.flat[i]
                else abs(a.flat[i] - b.flat[i])
            )

        at = max(range(len(b.flat)), key=off)
        wrong = sum(not close(x, y, largest(b.flat)) for x, y in zip(a.flat, b.flat))
        index, rest = [], at
        for _, stride, size in _axes(b.shape):
            index.append(rest // stride % size)
        where = f"At {index}: yours" if index else "Yours is"
        many = f" {wrong} of {len(b.flat)} numbers are wrong." if len(b.flat) > 1 else ""
        return f"{where} {short(a.flat[at])}, expected {short(b.flat[at])}.{many}"
    if isinstance(got, (list, tuple)) and isinstance(want, (list, tuple)):
        for i, (x, y) in enumerate(zip(got, want)):
            if not same(x, y):
                return (
                    f"The first wrong entry is number {i}: yours {short(x)}, expected {short(y)}."
                )
    return f"Yours: {short(got)}. Expected: {short(want)}."


def short(value, width: int = 200) -> str:
    """A value in a few words: rounded, small arrays in full, large ones as a shape."""
    value = plain(value)
    numbers = None if isinstance(value, (bool, int, float)) else array(value)
    if is_tensor(value) and numbers is not None and numbers.shape == ():
        value, numbers = numbers.flat[0], None
    if numbers is not None and len(numbers.flat) <= 48:
        text = _nested(numbers)
    elif numbers is not None:
        text = f"numbers of shape {numbers.shape}"
    elif isinstance(value, float):
        text = f"{value + 0.0:.6g}"  # + 0.0: no -0
    elif isinstance(value, (tuple, list)):
        marks = "()" if isinstance(value, tuple) else "[]"
        text = marks[0] + ", ".join(short(v) for v in value) + marks[1]
    elif callable(value):
        text = f"the function {getattr(value, '__name__', '')}".strip()
    else:
        text = repr(value)
    return text if len(text) <= width or "\n" in text else text[: width - 4] + " ..."


def _nested(numbers: Array) -> str:
    """Numbers as nested brackets, a matrix with one row per line and its columns aligned."""
    cells = [str(x) if numbers.kind != "float" else _cell(x) for x in numbers.flat]
    if not numbers.shape:
        return cells[0]
    width = max(map(len, cells), default=0) if len(numbers.shape) > 1 else 0
    rows = [c.rjust(width) for c in cells]
    for depth, size in enumerate(reversed(numbers.shape)):
        joint = ", " if depth == 0 else ",\n "
        if not rows:
            return "[]"
        rows = [
            "[" + joint.join(rows[i : i + size]).replace("\n", "\n" + " " * (depth > 1)) + "]"
            for i in range(0, len(rows), size)
        ]
    return rows[0]


def _cell(x) -> str:
    x = float(x)
    return (
        f"{x + 0.0:.3f}".replace("-0.000", "0.000")
        if math.isfinite(x) and abs(x) < 1e4
        else f"{x:.3g}"
    )
