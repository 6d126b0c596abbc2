"""Exercises of chapter 2: counting pairs, merging them, encoding and decoding."""

from collections import Counter

from course_lib.grading import Mistake, define, edge, prediction, question


def _equals_once(words):
    """Counts as a merge would replace: from left to right, without overlap."""
    counts = Counter()
    for ids in words:
        for pair in set(zip(ids, ids[1:])):
            i = 0
            while i < len(ids) - 1:
                hit = (ids[i], ids[i + 1]) == pair
                counts[pair] += hit
                i += 1 + hit
    return counts


@define(
    level=1,
    minutes=5,
    task="""Count how often each pair of neighbours occurs. `words` is a list of lists of token
    ids; a pair never reaches from one word into the next. Return a dict from (left, right) to a
    number.""",
    hints=[
        "A word of n tokens has n - 1 pairs, also when they overlap.",
        "`zip(ids, ids[1:])` walks over the neighbours of one word.",
    ],
    insight="Training a byte-pair tokenizer is this count, over and over.",
    probes=lambda: [
        ([[1, 2, 3], [3, 1, 2]],),
        edge(
            "equal_neighbours",
            "It goes wrong only where a token stands beside its like. Such neighbours are a pair "
            "as well: a a a a has three of them.",
            [[5, 5, 5, 5], [2, 1]],
        ),
        ([[6, 5, 6, 5], [2, 1]],),
        ([[1, 2, 1, 2, 1], [2, 1], [7]],),
        edge(
            "empty_word",
            "It goes wrong only where a word has no tokens. Such a word has no pairs, and is no "
            "reason to stop.",
            [[], [4, 9]],
        ),
        edge(
            "equal_neighbours",
            "It goes wrong only where a token stands beside its like. Such neighbours are a pair "
            "as well: a a a has two of them.",
            [[1, 2], [3, 3, 3], [1, 2]],
        ),
        ([[1, 2], [3, 4, 3], [1, 2]],),
    ],
    mistakes=[
        Mistake(
            "across_words",
            "You also count pairs that straddle two words. Each word is on its own.",
            {
                "    for ids in words:": "    for ids in [[i for word in words for i in word]]:",
            },
        ),
        Mistake(
            "unordered",
            "(1, 2) and (2, 1) are different pairs, and you count them as one.",
            {"zip(ids, ids[1:])": "(tuple(sorted(pair)) for pair in zip(ids, ids[1:]))"},
        ),
        Mistake(
            "reversed",
            "Your pairs are (right, left). The left neighbour comes first.",
            {"zip(ids, ids[1:])": "zip(ids[1:], ids)"},
        ),
        Mistake(
            "not_overlapping",
            "You walk in steps of two. Each token but the last begins a pair, so pairs overlap.",
            {"zip(ids, ids[1:])": "zip(ids[::2], ids[1::2])"},
        ),
        Mistake(
            "once_per_word",
            "A pair that occurs several times in a word is counted once for that word.",
            {"zip(ids, ids[1:])": "set(zip(ids, ids[1:]))"},
        ),
        Mistake(
            "skips",
            "You pair each token with the one two places on.",
            {"zip(ids, ids[1:])": "zip(ids, ids[2:])"},
        ),
        Mistake(
            "tokens",
            "You count single tokens. Count pairs of neighbours.",
            {"zip(ids, ids[1:])": "ids"},
        ),
        Mistake(
            "all_in_word",
            "You pair every token with all later ones of its word. Only neighbours count.",
            {"zip(ids, ids[1:])": "[(a, b) for i, a in enumerate(ids) for b in ids[i + 1 :]]"},
        ),
        Mistake(
            "presence",
            "Every count is 1. A pair that occurs again must be counted again.",
            {"    return counts": "    counts = dict.fromkeys(counts, 1)\n    return counts"},
        ),
        Mistake(
            "misses_last",
            "The last pair of every word is missing: n tokens have n - 1 pairs.",
            {"zip(ids, ids[1:])": "zip(ids[:-1], ids[1:-1])"},
        ),
        Mistake(
            "first_word",
            "You return inside the loop, so only the first word is counted.",
            {"    return counts": "        return counts"},
        ),
        Mistake(
            "last_word",
            "You start anew with every word, so only the last one is counted.",
            {"        counts.update": "        counts = Counter()\n        counts.update"},
        ),
        Mistake(
            "wraps",
            "You also count the pair (last token, first token), because `ids[-1]` is the last "
            "token. A word does not bite its own tail: n tokens have n - 1 pairs.",
            {"zip(ids, ids[1:])": "zip(ids[-1:] + ids[:-1], ids)"},
        ),
        Mistake(
            "each_word_once",
            "A word that occurs again is left out. Its pairs count again, too.",
            {"    counts = Counter()": "    counts, words = Counter(), set(map(tuple, words))"},
        ),
        Mistake(
            "equals_once",
            "In a a a there are *two* pairs (a, a), and you count one. Pairs overlap; only a merge "
            "uses its tokens up.",
            _equals_once,
        ),
    ],
)
def my_pair_counts(words):
    """How often each pair of neighbours stands in the words: {(left, right): count}."""
    counts = Counter()
    for ids in words:
        counts.update(zip(ids, ids[1:]))  #| add every pair of neighbours in this word
    return counts


_AT_THE_END = """It goes wrong only where the pair stands at the very end. Both of its tokens are
used up there, and nothing comes after the new one."""
_ITSELF = """It goes wrong only where the two tokens of the pair are the same. From left to right,
each token belongs to one pair at most: a a a becomes one new token and an a."""


@define(
    level=2,
    minutes=10,
    task="""Replace every occurrence of `pair` in the list `ids` by `new_id`, from left to right.
    In a a a the *left* pair is merged. Return a new list.""",
    hints=[
        "What goes into the output when the pair is found, and how far do you move on?",
        "Both old tokens are used up by a merge.",
    ],
    insight="Encoding is nothing but this function, applied once for each merge that was learned.",
    probes=lambda: [
        edge("pair_at_the_end", _AT_THE_END, [1, 2, 3, 1, 2], (1, 2), 256),
        edge("pair_at_the_end", _AT_THE_END, [9, 1, 2], (1, 2), 256),
        edge("itself", _ITSELF, [7, 7, 7], (7, 7), 300),
        ([5, 1, 2], (2, 1), 256),
        ([1, 2, 2, 1, 2, 9], (1, 2), 400),
        edge(
            "one_token",
            "It goes wrong only where there is a single token. It has no right neighbour, so it "
            "stays as it is.",
            [4],
            (4, 4),
            256,
        ),
        edge("itself", _ITSELF, [3, 3, 3, 3, 8], (3, 3), 257),
        edge("itself", _ITSELF, [3, 3, 3, 8], (3, 3), 257),
    ],
    mistakes=[
        Mistake(
            "keeps_right",
            "After a merge you move on by one, so the right half of the pair is in the output, "
            "too. Both halves are used up: move on by two.",
            {"i += 2": "i += 1"},
        ),
        Mistake(
            "drops_last",
            "The last token is lost when it is not part of a pair. The loop must reach it, "
            "although it has no right neighbour.",
            {"while i < len(ids):": "while i < len(ids) - 1:"},
        ),
        Mistake(
            "first_only",
            "You replace the first occurrence only.",
            {"out.append(new_id)": "return out + [new_id] + ids[i + 2 :]"},
        ),
        Mistake(
            "right_to_left",
            "You merge from the right. In a a a the left pair becomes one token: aa, a.",
            {
                "    out, i = [], 0": "    out, i, ids, pair = [], 0, ids[::-1], pair[::-1]",
                "    return out": "    return out[::-1]",
            },
        ),
        Mistake(
            "keeps_left",
            "The left half of the pair stays in the output next to the new token.",
            {"out.append(new_id)": "out.extend([ids[i], new_id])"},
        ),
        Mistake(
            "deletes",
            "The pair is taken out and nothing is put in its place.",
            {"out.append(new_id)": "pass"},
        ),
        Mistake(
            "any_order",
            "You also merge (right, left). The pair has an order.",
            {"tuple(ids[i : i + 2]) == pair": "tuple(ids[i : i + 2]) in (pair, pair[::-1])"},
            {"tuple(ids[i : i + 2]) == pair": "set(ids[i : i + 2]) == set(pair)"},
        ),
        Mistake(
            "left_only",
            "You look at the left token only. Both must fit.",
            {
                "        if tuple(ids[i : i + 2]) == pair:": (
                    "        left = ids[i]\n        if left == pair[0]:"
                ),
            },
        ),
        Mistake(
            "others_dropped",
            "Tokens that are no part of a pair are lost. They stay as they are.",
            {"            out.append(ids[i])\n": ""},
        ),
        Mistake(
            "unchanged",
            "Nothing is replaced.",
            {"    return out": "    out = list(ids)\n    return out"},
        ),
        Mistake(
            "twice",
            "A pair becomes one new token, and you put in two.",
            {"out.append(new_id)": "out.append(new_id)\n            out.append(new_id)"},
        ),
        Mistake(
            "right_only",
            "You look at the right token only. Both must fit.",
            {
                "        if tuple(ids[i : i + 2]) == pair:": (
                    "        right = ids[i + 1 : i + 2]\n        if right == [pair[1]]:"
                ),
            },
        ),
        Mistake(
            "jumps",
            "After a merge you move on too far and skip a token. The two halves of the pair are "
            "used up: move on by two.",
            {"            i += 2": "            out += []\n            i += 3"},
        ),
        Mistake(
            "replaces_tokens",
            "You replace the two tokens wherever they stand. Only where they stand side by side, "
            "left and right, do they make the pair.",
            lambda ids, pair, new_id: [new_id if i in pair else i for i in ids],
        ),
    ],
)
def my_merge(ids, pair, new_id):
    """`ids` with every (left, right) replaced by new_id, scanned from left to right."""
    out, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            out.append(new_id)  #| what goes into the output?
            i += 2  #| how far do we move on?
        else:
            out.append(ids[i])
            i += 1
    return out


merge = my_merge  # the name under which the lesson has it


def _within_words(text, n_merges):
    words, merges = [list(word.encode()) for word in text.split()], {}
    for k in range(n_merges):
        counts = Counter(pair for ids in words for pair in zip(ids, ids[1:]))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges[best] = 256 + k
        words = [merge(ids, best, 256 + k) for ids in words]
    return merges


def _pairs_of_bytes(text, n_merges):
    names = {i: bytes([i]) for i in range(256)}
    merges = {}
    for (a, b), new in train_bpe(text, n_merges).items():
        names[new] = names[a] + names[b]
        merges[names[a], names[b]] = new
    return merges


@define(
    level=2,
    minutes=10,
    task="""Learn `n_merges` merges from a text. Start from its UTF-8 bytes; in every round find
    the most frequent pair (of equally frequent ones the smallest, as Python compares pairs of
    ids), give it the next id, which is 256 in the first round, and replace it everywhere with
    `merge`. Return {pair: id}. The text is long enough for all rounds.""",
    hints=[
        "Three steps per round: count, pick, replace.",
        "`min(pairs, key=lambda pair: (-pairs.count(pair), pair))` prefers many, then small.",
        "Byte values take the ids 0 to 255. Round k therefore makes id 256 + k.",
    ],
    insight="Frequent words end as one token, rare ones fall apart into pieces, and nothing is "
    "ever out of vocabulary.",
    probes=lambda: [
        ("aaabdaaabac", 3),
        ("low lower lowest low", 5),
        ("h\u00e9 h\u00e9h\u00e9, h\u00e9!", 4),
        ("abcabcabc", 1),
        ("zyzyxwxw", 3),
        ("xaxbxcxd", 2),
        ("to be or not to be", 6),
    ],
    mistakes=[
        Mistake(
            "stale_counts",
            "You pick all merges from the first count. After every merge there are new pairs, and "
            "old ones are rarer: count again.",
            {
                "list(zip(ids, ids[1:]))": '[p for p in zip(text.encode("utf-8"), '
                'text.encode("utf-8")[1:]) if p not in merges]'
            },
        ),
        Mistake(
            "starts_at_255",
            "The first new token must be 256: the bytes use 0 to 255, and you overwrite one.",
            {"256 + k": "255 + k"},
        ),
        Mistake(
            "skips_256",
            "The first new token must be 256, right after the bytes; you leave a gap.",
            {"256 + k": "257 + k"},
        ),
        Mistake(
            "rarest",
            "You merge the rarest pair.",
            {"-pairs.count": "pairs.count"},
        ),
        Mistake(
            "never_applied",
            "The merges are noted but never applied to the text, so the same pair wins again.",
            {"        ids = merge(ids, best, merges[best])": "        pass"},
        ),
        Mistake(
            "ties",
            "Of equally frequent pairs the *smallest* one must win, so that everybody who trains "
            "on this text learns the same merges.",
            {"(-pairs.count(pair), pair)": "-pairs.count(pair)"},
            {"min(pairs, key=lambda pair: (-": "max(pairs, key=lambda pair: ("},
        ),
        Mistake(
            "characters",
            "You start from characters. Start from bytes: there are only 256 of them, so nothing "
            "can be missing.",
            {'list(text.encode("utf-8"))': "[ord(c) for c in text]"},
        ),
        Mistake(
            "reversed_dict",
            "Your dict goes from id to pair. It goes from pair to id.",
            {
                "    return merges": (
                    "    merges = {new: pair for pair, new in merges.items()}\n    return merges"
                ),
            },
        ),
        Mistake(
            "ranks",
            "Your ids count from 0, and there the bytes are. The first new id is 256.",
            {
                "    return merges": (
                    "    merges = {pair: new - 256 for pair, new in merges.items()}\n"
                    "    return merges"
                ),
            },
        ),
        Mistake(
            "one_too_few",
            "One merge is missing: there are `n_merges` rounds.",
            {"    for k in range": "    n_merges = n_merges - 1\n    for k in range"},
        ),
        Mistake(
            "smallest",
            "You merge the smallest pair. The *most frequent* goes first; being small decides "
            "ties only.",
            {
                "        best = min(pairs, key=lambda pair: (-pairs.count(pair), pair))": (
                    "        pairs = set(pairs)\n        best = min(pairs)"
                ),
            },
        ),
        Mistake(
            "largest_plus_one",
            "You number on from the largest id in the text. The ids 0 to 255 all belong to bytes, "
            "also to those that do not occur here: the first new id is 256.",
            {"256 + k": "max(ids) + 1"},
            {"256 + k": "max(list(text.encode()) + list(merges.values())) + 1"},
            {"256 + k": "len(set(text.encode())) + k"},
        ),
        Mistake(
            "not_overlapping",
            "You count every second pair only. Each token but the last is the left half of a pair.",
            {"list(zip(ids, ids[1:]))": "list(zip(ids[::2], ids[1::2]))"},
        ),
        Mistake(
            "splits_at_spaces",
            "You cut the text at its spaces first, and the spaces are lost. Here the text is one "
            "sequence of bytes, and pairs may contain a space.",
            _within_words,
        ),
        Mistake(
            "texts_for_ids",
            "The keys of your dict are pieces of text or bytes. A pair is two *ids*, such as (97, "
            "98).",
            _pairs_of_bytes,
        ),
        Mistake(
            "each_pair_once",
            "A pair can be learned again: you leave out ids that are new. New ids take part in "
            "later rounds like all others.",
            {
                "        best = min(pairs, key": (
                    "        pairs = [p for p in pairs if max(p) < 256] or pairs\n"
                    "        best = min(pairs, key"
                ),
            },
        ),
    ],
)
def train_bpe(text, n_merges):
    """Learn byte-pair merges from one text: {(left id, right id): new id}."""
    ids, merges = list(text.encode("utf-8")), {}
    for k in range(n_merges):
        pairs = list(zip(ids, ids[1:]))  #| all pairs of neighbours in the ids as they are now
        best = min(pairs, key=lambda pair: (-pairs.count(pair), pair))  #| most frequent, smallest
        merges[best] = 256 + k  #| its new id
        ids = merge(ids, best, merges[best])  #| replace it everywhere
    return merges


@define(
    level=2,
    minutes=10,
    task="""Encode a text with learned merges {pair: id}: start from its UTF-8 bytes, and as long
    as some pair of neighbours is in `merges`, apply the one that was learned *first*, with
    `merge`.""",
    hints=[
        "Ids were given out in the order of learning. Which of the candidates has the lowest?",
        "`min(candidates, key=lambda pair: merges[pair])`",
    ],
    insight="A tokenizer is a fixed little program. What the model gets to see of a word is "
    "decided here, and the model never sees its letters.",
    probes=lambda: [
        ("abcab", {(97, 98): 256, (256, 99): 257}),
        ("abc", {(98, 99): 256, (97, 98): 257}),
        ("h\u00e9h\u00e9", {(195, 169): 256, (104, 256): 257, (257, 257): 258}),
        ("xyz", {}),
        ("aaaa b", {(97, 97): 256, (256, 256): 257, (32, 98): 258}),
        ("cabab", {(97, 98): 256, (99, 97): 257, (256, 256): 258}),
        ("abc bcd", {(98, 99): 256, (97, 98): 257, (99, 100): 258}),
        ("bcd", {(98, 99): 256, (97, 98): 257, (99, 100): 258}),
        ("cab", {(99, 97): 256, (97, 98): 257}),
        ("bc abc ab ab", {(98, 99): 256, (97, 98): 257}),
        ("abc", {(97, 98): 256, (98, 99): 257, (97, 257): 258}),
    ],
    mistakes=[
        Mistake(
            "left_to_right",
            "You merge the first pair from the left that can be merged. The merge that was "
            "*learned* first goes first, wherever it stands.",
            {"min(candidates, key=lambda pair: merges[pair])": "candidates[0]"},
            {
                "min(candidates, key=lambda pair: merges[pair])": "candidates[0]",
                "ids = merge(ids, pair, merges[pair])": (
                    "i = list(zip(ids, ids[1:])).index(pair)\n"
                    "        ids = ids[:i] + [merges[pair]] + ids[i + 2 :]"
                ),
            },
        ),
        Mistake(
            "right_to_left",
            "You merge the last pair that can be merged. The merge that was *learned* first goes "
            "first, wherever it stands.",
            {"min(candidates, key=lambda pair: merges[pair])": "candidates[-1]"},
        ),
        Mistake(
            "newest_first",
            "You apply the newest merge first. Merges are applied in the order in which they "
            "were learned: lowest id first.",
            {"min(": "max("},
        ),
        Mistake(
            "one_merge",
            "You stop after one merge. Go on until no pair of neighbours is in `merges`.",
            {"ids = merge(": "return merge("},
        ),
        Mistake(
            "smallest_pair",
            "You compare the pairs themselves. What counts is when a pair was learned, which is "
            "its *id* in `merges`.",
            {"min(candidates, key=lambda pair: merges[pair])": "min(candidates)"},
        ),
        Mistake(
            "most_frequent",
            "You merge the pair that is most frequent in *this* text. Counting was for training; "
            "now the pair that was *learned* first goes first.",
            {
                "pair = min(candidates, key=lambda pair: merges[pair])": (
                    "often = candidates.count\n        pair = max(candidates, key=often)"
                )
            },
        ),
        Mistake(
            "characters",
            "You start from characters. Start from the UTF-8 bytes: \u00e9 is two of them.",
            {'list(text.encode("utf-8"))': "[ord(c) for c in text]"},
        ),
        Mistake(
            "no_merges",
            "These are the bytes of the text: no merge was applied.",
            {"if not candidates": "if True"},
        ),
        Mistake(
            "longest_match",
            "You look for the longest token from the left. Byte-pair encoding replays the "
            "merges in the order of learning, and that may give other tokens.",
            {
                "    while True:\n": (
                    "    names = {i: bytes([i]) for i in range(256)}\n"
                    "    for (a, b), i in merges.items():\n"
                    "        names[i] = names[a] + names[b]\n"
                    "    rest, out = bytes(ids), []\n"
                    "    while rest:\n"
                    "        out.append(max((i for i in names if rest.startswith(names[i])), "
                    "key=lambda i: len(names[i])))\n"
                    "        rest = rest[len(names[out[-1]]) :]\n"
                    "    return out\n"
                    "    while True:\n"
                ),
            },
        ),
    ],
)
def encode(text, merges):
    """Text to token ids, with merges {(left id, right id): new id} in the order of learning."""
    ids = list(text.encode("utf-8"))
    while True:
        candidates = [pair for pair in zip(ids, ids[1:]) if pair in merges]
        if not candidates:
            return ids
        pair = min(candidates, key=lambda pair: merges[pair])  #| which pair is merged next?
        ids = merge(ids, pair, merges[pair])  #| apply it


def _or_else(ids, vocab, otherwise):
    """All of the text if every byte of it is sound, and else nothing of it."""
    try:
        return b"".join(vocab[i] for i in ids).decode()
    except UnicodeDecodeError:
        return otherwise


@define(
    level=1,
    minutes=5,
    task="""Turn token ids back into text. `vocab` maps an id to its bytes. Bytes that are no
    whole character (yet) must show as \ufffd and never raise.""",
    hints=[
        "A character can be spread over several tokens. What must be joined first?",
        'Join the bytes with `b"".join(...)`, then decode once, with `errors="replace"`.',
    ],
    insight="This is why a chatbot that streams its answer sometimes shows \ufffd for an instant.",
    probes=lambda: [
        ([0, 1, 0], {0: b"a", 1: b" b"}),
        ([2, 3, 1], {1: b"!", 2: b"\xe4\xbd", 3: b"\xa0"}),
        ([0, 2], {0: b"ok ", 2: b"\xe4\xbd"}),
        edge(
            "nothing",
            "It goes wrong only where there are no tokens at all: their text is the empty string.",
            [],
            {0: b"a"},
        ),
        ([5, 6], {5: b"caf", 6: "\u00e9".encode()}),
        edge(
            "white_space",
            "It goes wrong only where white space stands at an end of the text. It belongs to the "
            "text.",
            [1, 0, 1],
            {0: b"a", 1: b" \n"},
        ),
    ],
    mistakes=[
        Mistake(
            "per_token",
            "You decode every token on its own. A character can be spread over two tokens: join "
            "the *bytes* first, then decode once.",
            {
                'b"".join(vocab[i] for i in ids).decode("utf-8", errors="replace")': (
                    '"".join(vocab[i].decode("utf-8", errors="replace") for i in ids)'
                )
            },
            lambda ids, vocab: "".join(vocab[i].decode() for i in ids),
            lambda ids, vocab: "".join(vocab[i].decode(errors="ignore") for i in ids),
        ),
        Mistake(
            "strict",
            "Half a character raises an exception. What a model has written so far may end in the "
            'middle of one: decode with `errors="replace"`.',
            {', errors="replace"': ""},
        ),
        Mistake(
            "ignore",
            'Broken bytes vanish without a trace. With `errors="replace"` one can see them.',
            {"replace": "ignore"},
        ),
        Mistake(
            "latin1",
            "You turn every byte into a character of its own. In UTF-8 a character takes one to "
            "four bytes.",
            {"utf-8": "latin-1"},
        ),
        Mistake(
            "spaces",
            "You put spaces between the tokens. The spaces of the text are inside the tokens.",
            {'b"".join': 'b" ".join'},
        ),
        Mistake(
            "bytes",
            "You return bytes. Decode them into a string.",
            {'.decode("utf-8", errors="replace")': ""},
        ),
        Mistake(
            "all_or_nothing",
            "One broken byte, and the whole text is gone. Only what is broken becomes \ufffd; the "
            'rest can be read: `errors="replace"`.',
            lambda ids, vocab: _or_else(ids, vocab, "\ufffd"),
            lambda ids, vocab: _or_else(ids, vocab, ""),
        ),
        Mistake(
            "repr",
            "`str(...)` of bytes shows how Python writes them down, with b and quotation marks. "
            "`.decode` reads them as text.",
            lambda ids, vocab: "".join(str(vocab[i]) for i in ids),
            lambda ids, vocab: str(b"".join(vocab[i] for i in ids)),
        ),
        Mistake(
            "escapes",
            'Broken bytes show as an escape with a backslash. Show \ufffd: `errors="replace"`.',
            {'"replace"': '"backslashreplace"'},
        ),
        Mistake(
            "ids_as_characters",
            "You turn the ids themselves into characters. Look up in `vocab` which bytes an id "
            "stands for.",
            lambda ids, vocab: "".join(map(chr, ids)),
        ),
    ],
)
def decode(ids, vocab):
    """Token ids to text; vocab is {id: bytes}. Never raises on broken UTF-8."""
    return b"".join(vocab[i] for i in ids).decode("utf-8", errors="replace")  #| bytes, then text


@prediction(
    "How many bytes is the text `Caf\u00e9 \u4f60\u597d!` in UTF-8?",
    why="ASCII characters take one byte each, \u00e9 takes two, and a Chinese character three: 5 "
    "ASCII characters, 2 and twice 3. A tokenizer that starts from bytes starts from these.",
    tolerance=0.0,
)
def bytes_of_a_text():
    return len("Caf\u00e9 \u4f60\u597d!".encode())


@prediction(
    "A text is the letter a, nine times. You merge (a, a) into A, and then (A, A) into B. How many "
    "tokens are left?",
    why="Nine letters become A A A A a, and then B B a. Merges go from left to right, and what is "
    "left over at the end stays as it is.",
    tolerance=0.0,
)
def tokens_after_two_merges():
    ids = merge(list(b"a" * 9), (97, 97), 256)
    return len(merge(ids, (256, 256), 257))


question(
    "tokenizer.unknown_text",
    "A byte-level tokenizer was trained on English only. What happens to a Chinese sentence?",
    ("Each character becomes an \"unknown\" token.", False,
     "There is no such token: every text is a sequence of bytes, and all 256 bytes are tokens."),
    ("It is encoded without loss, into many tokens.", True,
     "Every byte has a token, so nothing is lost. But no merges fit, so each character costs up to "
     "three tokens: correct, expensive, and a shorter context in effect."),
    ("Encoding raises an error.", False,
     "It never does: that is the point of starting from bytes."),
    ("It is translated into English tokens.", False,
     "A tokenizer knows nothing of meaning. It joins bytes."),
)  # fmt: skip

question(
    "tokenizer.order_of_merges",
    "Two people have learned the same set of merges, in different orders. Both encode the same "
    "text. What follows?",
    ("They get the same ids: the set of merges is the same.", False,
     "The order decides which of two overlapping merges comes first, and the ids themselves are "
     "numbered in that order."),
    ("They get the same pieces, with other numbers.", False,
     "Not in general: in abc, (a, b) learned first gives ab c, and (b, c) learned first gives a "
     "bc."),
    ("One of them cannot decode the text.", False,
     "Each of them can decode what they encoded themselves."),
    ("They may get different pieces and different ids.", True,
     "Encoding applies the merge learned first. Where merges overlap, another order gives other "
     "pieces. A tokenizer is its merges *in their order*."),
)  # fmt: skip

question(
    "tokenizer.vocabulary_size",
    "A tokenizer has the 256 bytes, 5,000 merges and one special token. How many rows does the "
    "model's embedding table need?",
    ("5,001", False, "The single bytes are tokens, too: they are needed for rare words."),
    ("5,256", False, "The special token needs a row of its own."),
    ("5,257", True, "256 bytes, one token per merge, and the special token."),
    ("10,256", False, "A merge joins two tokens into *one* new token; both old ones stay."),
    truth=lambda: 256 + len({(0, k): 256 + k for k in range(5000)}) + len(["<end>"]),
)  # fmt: skip
