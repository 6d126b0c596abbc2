"""Answers to the exercises of chapter 2."""

from collections import Counter, defaultdict
from itertools import pairwise

from answers import Answers

answers = Answers("tokenizer")
right, wrong, RIGHT, WRONG = answers.right, answers.wrong, answers.RIGHT, answers.WRONG


def merge(ids, pair, new_id):
    out = []
    for token in ids:
        if out and (out[-1], token) == pair and out[-1] is not None:
            out[-1] = new_id
        else:
            out.append(token)
    return out


@right("pair_counts")
def _(words):
    found = {}
    for word in words:
        for i in range(len(word) - 1):
            key = (word[i], word[i + 1])
            found[key] = found.get(key, 0) + 1
    return found


@right("pair_counts")
def _(words):
    return Counter(pair for word in words for pair in pairwise(word))


@right("pair_counts")
def _(words):
    found = defaultdict(int)
    for word in words:
        for pair in zip(word[:-1], word[1:]):
            found[pair] += 1
    return found


@wrong("pair_counts", "across_words")
def _(words):
    everything = sum(words, [])
    return Counter(pairwise(everything))


@wrong("pair_counts", "once_per_word")
def _(words):
    found = Counter()
    for word in words:
        for pair in {(a, b) for a, b in pairwise(word)}:
            found[pair] += 1
    return found


@wrong("pair_counts", "not_overlapping")
def _(words):
    found = Counter()
    for word in words:
        for i in range(0, len(word) - 1, 2):
            found[word[i], word[i + 1]] += 1
    return found


@wrong("pair_counts", "unordered")
def _(words):
    found = Counter()
    for word in words:
        for a, b in pairwise(word):
            found[min(a, b), max(a, b)] += 1
    return found


@wrong("pair_counts", "not_overlapping")
def _(words):
    counts = {}
    for w in words:
        for i in range(0, len(w) - 1, 2):
            counts[w[i], w[i + 1]] = counts.get((w[i], w[i + 1]), 0) + 1
    return counts


@wrong("pair_counts", "once_per_word")
def _(words):
    counts = Counter()
    for w in words:
        for pr in set(zip(w[:-1], w[1:])):
            counts[pr] += 1
    return counts


@right("pair_counts")
def _(words):
    d = defaultdict(int)
    for w in words:
        j = 1
        while j < len(w):
            d[(w[j - 1], w[j])] += 1
            j += 1
    return dict(d)


@right("merge")
def _(ids, pair, new):
    out, i = [], 0
    while i < len(ids):
        hit = i < len(ids) - 1 and ids[i] == pair[0] and ids[i + 1] == pair[1]
        out.append(new if hit else ids[i])
        i += 2 if hit else 1
    return out


@right("merge")
def _(ids, pair, new):
    out, skip = [], False
    for a, b in zip(ids, [*ids[1:], None]):
        if skip:
            skip = False
        elif (a, b) == pair:
            out.append(new)
            skip = True
        else:
            out.append(a)
    return out


@wrong("merge", "keeps_right")
def _(ids, pair, new):
    out = []
    for i in range(len(ids)):
        if ids[i : i + 2] == list(pair):
            out.append(new)
        else:
            out.append(ids[i])
    return out


@wrong("merge", "drops_last")
def _(ids, pair, new):
    out, i = [], 0
    while i + 1 < len(ids):
        if (ids[i], ids[i + 1]) == pair:
            out += [new]
            i += 1
        else:
            out += [ids[i]]
        i += 1
    return out


@wrong("merge", "first_only")
def _(ids, pair, new):
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            return ids[:i] + [new] + ids[i + 2 :]
    return list(ids)


@wrong("merge", "right_to_left")
def _(ids, pair, new):
    ids, i = list(ids), len(ids) - 2
    while i >= 0:
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new]
            i -= 1
        i -= 1
    return ids


@wrong("merge", "keeps_right")
def _(ids, pair, new_id):
    out = []
    for i, t in enumerate(ids):
        if i + 1 < len(ids) and (t, ids[i + 1]) == pair:
            out.append(new_id)
        else:
            out.append(t)
    return out


@wrong("merge", "drops_last")
def _(ids, pair, new_id):
    out = []
    i = 0
    while i < len(ids) - 1:
        if ids[i] == pair[0] and ids[i + 1] == pair[1]:
            out.append(new_id)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


@right("merge")
def _(ids, pair, new_id):
    fresh = []
    it = iter(range(len(ids)))
    for i in it:
        if list(ids[i : i + 2]) == list(pair):
            fresh += [new_id]
            next(it)
        else:
            fresh += [ids[i]]
    return fresh


@right("train_bpe")
def _(text, n):
    ids = list(text.encode())
    table = {}
    while len(table) < n:
        counts = Counter(pairwise(ids))
        most = max(counts.values())
        pair = sorted(p for p, c in counts.items() if c == most)[0]
        table[pair] = 256 + len(table)
        ids = merge(ids, pair, table[pair])
    return table


@right("train_bpe")
def _(text, n):
    ids, table = [*bytes(text, "utf8")], {}
    for new in range(256, 256 + n):
        counts = defaultdict(int)
        for pair in pairwise(ids):
            counts[pair] += 1
        best = sorted(counts, key=lambda p: (-counts[p], p[0], p[1]))[0]
        table[best] = new
        ids = merge(ids, best, new)
    return table


@wrong("train_bpe", "stale_counts")
def _(text, n):
    data = text.encode()
    counts = Counter(pairwise(data))
    best = sorted(counts, key=lambda p: (-counts[p], p))[:n]
    return {pair: 256 + i for i, pair in enumerate(best)}


@wrong("train_bpe", "ties")
def _(text, n):
    ids, table = list(text.encode()), {}
    for new in range(256, 256 + n):
        best = Counter(pairwise(ids)).most_common(1)[0][0]
        table[best] = new
        ids = merge(ids, best, new)
    return table


@wrong("train_bpe", "starts_at_255")
def _(text, n):
    ids, table = list(text.encode()), {}
    for new in range(255, 255 + n):
        counts = Counter(pairwise(ids))
        best = min(counts, key=lambda p: (-counts[p], p))
        table[best] = new
        ids = merge(ids, best, new)
    return table


@wrong("train_bpe", "never_applied")
def _(text, n):
    ids, table = list(text.encode()), {}
    for new in range(256, 256 + n):
        counts = Counter(pairwise(ids))
        best = min(counts, key=lambda p: (-counts[p], p))
        table[best] = new
        merge(ids, best, new)
    return table


@wrong("train_bpe", "stale_counts")
def _(text, n_merges):
    ids = list(text.encode("utf-8"))
    freq = Counter(zip(ids, ids[1:]))
    ranked = sorted(freq, key=lambda pr: (-freq[pr], pr))
    return {pr: 256 + i for i, pr in enumerate(ranked[:n_merges])}


@wrong("train_bpe", "ties")
def _(text, n_merges):
    ids = list(text.encode("utf-8"))
    merges = {}
    for k in range(n_merges):
        freq = Counter(zip(ids, ids[1:]))
        best = max(freq, key=lambda pr: (freq[pr], pr))
        merges[best] = 256 + k
        ids = merge(ids, best, 256 + k)
    return merges


@right("train_bpe")
def _(text, n_merges):
    seq = [*bytes(text, "utf8")]
    learned = {}
    while len(learned) < n_merges:
        freq = {}
        for a, b in zip(seq, seq[1:]):
            freq[a, b] = freq.get((a, b), 0) + 1
        top = max(freq.values())
        best = min(pr for pr, c in freq.items() if c == top)
        new = 256 + len(learned)
        learned[best] = new
        seq = merge(seq, best, new)
    return learned


@right("encode")
def _(text, merges):
    ids = list(text.encode())
    for pair, new in sorted(merges.items(), key=lambda item: item[1]):
        ids = merge(ids, pair, new)
    return ids


@right("encode")
def _(text, merges):
    ids = list(text.encode("utf-8"))
    while len(ids) > 1:
        best = min(pairwise(ids), key=lambda p: merges.get(p, float("inf")))
        if best not in merges:
            break
        i = list(pairwise(ids)).index(best)
        ids = ids[:i] + [merges[best]] + ids[i + 2 :]
    return ids


@wrong("encode", "left_to_right")
def _(text, merges):
    ids, i = list(text.encode()), 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) in merges:
            ids[i : i + 2] = [merges[ids[i], ids[i + 1]]]
            i = 0
        else:
            i += 1
    return ids


@wrong("encode", "newest_first")
def _(text, merges):
    ids = list(text.encode())
    while True:
        known = {p: merges[p] for p in pairwise(ids) if p in merges}
        if not known:
            return ids
        pair = max(known, key=known.get)
        ids = merge(ids, pair, known[pair])


@wrong("encode", "characters")
def _(text, merges):
    ids = [ord(c) for c in text]
    for pair, new in sorted(merges.items(), key=lambda item: item[1]):
        ids = merge(ids, pair, new)
    return ids


@wrong("encode", "one_merge")
def _(text, merges):
    ids = list(text.encode())
    known = [p for p in pairwise(ids) if p in merges]
    if known:
        pair = min(known, key=merges.get)
        ids = merge(ids, pair, merges[pair])
    return ids


@wrong("encode", "left_to_right")
def _(text, merges):
    ids = list(text.encode("utf-8"))
    while True:
        for pr in zip(ids, ids[1:]):
            if pr in merges:
                ids = merge(ids, pr, merges[pr])
                break
        else:
            return ids


@wrong("encode", "most_frequent")
def _(text, merges):
    ids = list(text.encode("utf-8"))
    while True:
        cand = [p for p in zip(ids, ids[1:]) if p in merges]
        if not cand:
            return ids
        pair = Counter(cand).most_common(1)[0][0]
        ids = merge(ids, pair, merges[pair])


@right("encode")
def _(text, merges):
    ids = list(text.encode("utf-8"))
    for pr, new in sorted(merges.items(), key=lambda kv: kv[1]):
        ids = merge(ids, pr, new)
    return ids


@right("decode")
def _(ids, vocab):
    data = bytearray()
    for i in ids:
        data += vocab[i]
    return str(data, "utf-8", "replace")


@right("decode")
def _(ids, vocab):
    return bytes(byte for i in ids for byte in vocab[i]).decode(errors="replace")


@wrong("decode", "per_token")
def _(ids, vocab):
    text = ""
    for i in ids:
        text += vocab[i].decode("utf-8", "replace")
    return text


@wrong("decode", "strict")
def _(ids, vocab):
    return bytes(byte for i in ids for byte in vocab[i]).decode()


@wrong("decode", "latin1")
def _(ids, vocab):
    return "".join(chr(byte) for i in ids for byte in vocab[i])


@wrong("decode", "ignore")
def _(ids, vocab):
    return b"".join(map(vocab.get, ids)).decode(errors="ignore")


@wrong("decode", "per_token")
def _(ids, vocab):
    return "".join(vocab[i].decode("utf-8", errors="replace") for i in ids)


@wrong("decode", "ignore")
def _(ids, vocab):
    blob = bytearray()
    for i in ids:
        blob.extend(vocab[i])
    return blob.decode("utf8", "ignore")


@right("decode")
def _(ids, vocab):
    blob = bytearray()
    for i in ids:
        blob += vocab[i]
    return str(blob, "utf-8", "replace")


@wrong("pair_counts", "wraps")
def _(words):
    counts = Counter()
    for ids in words:
        for i in range(len(ids)):
            counts[(ids[i - 1], ids[i])] += 1
    return counts


@wrong("merge", "any_order")
def _(ids, pair, new_id):
    out, i = [], 0
    while i < len(ids):
        if set(ids[i : i + 2]) == set(pair):
            out.append(new_id)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


@wrong("train_bpe", "largest_plus_one")
def _(text, n_merges):
    ids, merges = list(text.encode("utf-8")), {}
    for _ in range(n_merges):
        counts = Counter(pairwise(ids))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges[best] = max(ids) + 1
        ids = merge(ids, best, merges[best])
    return merges


@wrong("train_bpe", "not_overlapping")
def _(text, n_merges):
    ids, merges = list(text.encode("utf-8")), {}
    for k in range(n_merges):
        counts = Counter(zip(ids[::2], ids[1::2]))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges[best] = 256 + k
        ids = merge(ids, best, 256 + k)
    return merges


@wrong("train_bpe", "splits_at_spaces")
def _(text, n_merges):
    words, merges = [list(w.encode()) for w in text.split()], {}
    for k in range(n_merges):
        counts = Counter(pair for word in words for pair in pairwise(word))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges[best] = 256 + k
        words = [merge(w, best, 256 + k) for w in words]
    return merges


@right("encode")
def _(text, merges):
    ids = list(text.encode())
    for pair, new in merges.items():
        ids = merge(ids, pair, new)
    return ids


@right("encode")
def _(text, merges):
    ids = list(text.encode())
    while True:
        found = [(merges[p], i) for i, p in enumerate(pairwise(ids)) if p in merges]
        if not found:
            return ids
        new, at = min(found)
        ids[at : at + 2] = [new]


@wrong("decode", "all_or_nothing")
def _(ids, vocab):
    data = b"".join(vocab[i] for i in ids)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "\ufffd"


@wrong("decode", "repr")
def _(ids, vocab):
    return "".join(map(lambda i: str(vocab[i]), ids))


@wrong("decode", "per_token")
def _(ids, vocab):
    out = ""
    for i in ids:
        try:
            out += vocab[i].decode()
        except UnicodeDecodeError:
            pass
    return out


@wrong("pair_counts", "equal_neighbours")
def _(words):
    return Counter((a, b) for word in words for a, b in pairwise(word) if a != b)


@wrong("merge", "pair_at_the_end")
def _(ids, pair, new_id):
    out, i = [], 0
    while i < len(ids) - 1:
        hit = (ids[i], ids[i + 1]) == pair
        out.append(new_id if hit else ids[i])
        i += 1 + hit
    return out + ids[-1:]


@wrong("decode", "white_space")
def _(ids, vocab):
    return b"".join(vocab[i] for i in ids).decode(errors="replace").strip()
