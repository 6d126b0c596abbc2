"""Exercises of chapter 3: averages of the past, scores, the causal mask, heads."""

import math

import torch

from course_lib.grading import Mistake, define, edge, prediction, question, wave


@define(
    level=1,
    minutes=5,
    task="""Make the matrix `w` (T, T), of floats, for which row t of `w @ x` is the plain average
    of `x[0]` to `x[t]`. It is attention before anything is learned: every position treats its
    whole past alike.""",
    hints=[
        "Write the matrix down for T = 3. Which entries of row 1 are not zero, and what do they "
        "sum to?",
        "`torch.tril` keeps the lower triangle. Then divide every row by its own sum.",
    ],
    insight="softmax of 0 where looking is allowed and -inf elsewhere gives the same matrix. "
    "Attention only replaces those zeros with learned scores.",
    probes=lambda: [(1,), (2,), (3,), (5,)],
    mistakes=[
        Mistake(
            "future",
            "Position t averages over t and everything *after* it: that is the upper triangle. "
            "The past is the lower one, `torch.tril`.",
            {"tril": "triu"},
        ),
        Mistake(
            "unnormalized",
            "The rows are sums and not averages: divide each row by the number of ones in it.",
            {" / w.sum(dim=1, keepdim=True)": ""},
        ),
        Mistake(
            "divide_by_T",
            "You divide every row by T, but row t has only t + 1 ones. The first row must be 1, "
            "0, 0, ...",
            {"w.sum(dim=1, keepdim=True)": "T"},
        ),
        Mistake(
            "not_self",
            "A position may look at itself, too: the diagonal belongs to the past. Without it "
            "nothing is left for row 0 to average.",
            {"torch.ones(T, T)": "torch.ones(T, T), diagonal=-1"},
            {
                "torch.ones(T, T)": "torch.ones(T, T), diagonal=-1",
                "return w": "w[0, 0] = 1\n    return w",
            },
            {
                "torch.ones(T, T)": "torch.ones(T, T), diagonal=-1",
                "w.sum(dim=1, keepdim=True)": "w.sum(dim=1, keepdim=True).clamp(min=1)",
            },
        ),
        Mistake(
            "columns",
            "You divide by the sums of the columns. Row t holds the weights that position t "
            "uses, so each *row* sums to 1: `dim=1`.",
            {"dim=1": "dim=0"},
        ),
        Mistake(
            "no_keepdim",
            "`keepdim=True` is missing. The row sums then have shape (T,) and are laid along the "
            "columns: no error, because the matrix is square, and wrong weights.",
            {"dim=1, keepdim=True": "dim=1"},
        ),
        Mistake(
            "all_positions",
            "Every position averages over all T positions. Position t must not see beyond t.",
            {"torch.tril(torch.ones(T, T))": "torch.ones(T, T)"},
        ),
        Mistake(
            "softmax_of_ones",
            "You take a softmax of ones and zeros, and exp(0) is 1: the future keeps a share. "
            "Divide by the sum of the row, or put -inf where looking is forbidden.",
            {"w / w.sum(dim=1, keepdim=True)": "torch.softmax(w, dim=1)"},
        ),
        Mistake(
            "off_by_one",
            "You divide row t by t. It has t + 1 entries, x[0] to x[t].",
            {"w.sum(dim=1, keepdim=True)": "torch.arange(T).clamp(min=1)[:, None]"},
            {"w.sum(dim=1, keepdim=True)": "torch.arange(T)[:, None]"},
            {"w.sum(dim=1, keepdim=True)": "(torch.arange(T)[:, None] + 2)"},
        ),
        Mistake(
            "window",
            "Each row averages over the last few tokens only. Row t averages over all of its past, "
            "`x[0]` to `x[t]`.",
            {"torch.ones(T, T)": "torch.ones(T, T).triu(-1)"},
        ),
        Mistake(
            "itself_only",
            "Every position looks at itself alone, and the past is not used.",
            {"torch.tril(torch.ones(T, T))": "torch.eye(T)"},
        ),
        Mistake(
            "recent_more",
            "Near tokens count more than far ones. In a plain average all of the past counts "
            "alike.",
            lambda T: (
                (w := torch.arange(1.0, T + 1).expand(T, T).tril()) / w.sum(dim=1, keepdim=True)
            ),
        ),
        Mistake(
            "root",
            "You divide by the square root of the number of entries. An average divides by the "
            "number.",
            {"w.sum(dim=1, keepdim=True)": "w.sum(dim=1, keepdim=True).sqrt()"},
        ),
    ],
)
def average_of_the_past(T):
    """The weights (T, T) of a plain average over the past, each position included."""
    w = torch.tril(torch.ones(T, T))  #| 1 where row t may look at column s
    return w / w.sum(dim=1, keepdim=True)  #| make every row an average


@define(
    level=1,
    minutes=5,
    task="""Score every query against every key: entry (i, j) is the dot product of query i with
    key j, divided by the square root of the number of features. The same line must serve `(T,
    d)`, `(B, T, d)` and `(B, H, T, d)`, and there may be more keys than queries.""",
    hints=[
        "The product of (T, d) and (d, S) has one entry per query and key. Which two axes of `k` "
        "change places?",
        "Counted from the end, the axes are the same with and without a batch: `k.transpose(-2, "
        "-1)`.",
        "How many features are there? `q.size(-1)`.",
    ],
    insight="Every entry answers one question: how well does what this token looks for match what "
    "that token offers?",
    probes=lambda: [
        (wave(2, 3), wave(2, 3, phase=1)),
        (wave(3, 3, 3, phase=2), wave(3, 3, 3, phase=3)),
        (wave(2, 2, 4, phase=4), wave(2, 5, 4, phase=5)),
        (wave(1, 2, 3, 5, phase=6), wave(1, 2, 3, 5, phase=7)),
    ],
    mistakes=[
        Mistake(
            "no_scale",
            "The scores are not divided by the square root of d. A sum of d products has "
            "variance d, so with many features the softmax picks one token and lets hardly any "
            "gradient through.",
            {" / math.sqrt(q.size(-1))": ""},
        ),
        Mistake(
            "scale_d",
            "You divide by d. The *variance* of the scores is d; what brings their spread back "
            "to 1 is the standard deviation, the square root of d.",
            {"math.sqrt(q.size(-1))": "q.size(-1)"},
        ),
        Mistake(
            "scale_T",
            "You divide by the square root of the number of positions. The scale comes from the "
            "number of features, the last axis.",
            {"q.size(-1)": "q.size(-2)"},
            {"q.size(-1)": "k.size(-2)"},
        ),
        Mistake(
            "multiplied",
            "You multiply by the square root of d. Divide: the point is to bring the scores down.",
            {"/ math": "* math"},
        ),
        Mistake(
            "transposed",
            "Rows and columns have changed places: row i belongs to query i, so it is `q @ k^T` "
            "and not `k @ q^T`.",
            {"q @ k.transpose(-2, -1)": "k @ q.transpose(-2, -1)"},
        ),
        Mistake(
            "axes_from_front",
            "You count the axes from the front, which fits one number of axes only. From the "
            "end, the two that change places are always -2 and -1.",
            {"k.transpose(-2, -1)": "k.transpose(0, 1)"},
            {"k.transpose(-2, -1)": "k.transpose(1, 2)"},
            {"k.transpose(-2, -1)": "k.permute(*range(k.dim() - 1, -1, -1))"},
        ),
        Mistake(
            "softmax",
            "You took the softmax, too. The scores are what goes into it.",
            {
                "q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))": (
                    "torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.size(-1)), dim=-1)"
                ),
            },
        ),
        Mistake(
            "size_from_front",
            "You take the number of features from an axis counted from the front. With a batch or "
            "heads another axis stands there: the features are always the last one, -1.",
            {"q.size(-1)": "q.size(1)"},
            {"q.size(-1)": "k.size(1)"},
            {"q.size(-1)": "q.size(0)"},
            {"q.size(-1)": "len(k)"},
        ),
        Mistake(
            "cosine",
            "You divide by the lengths of both vectors, which gives the cosine of their angle. "
            "Here the plain dot product is divided by the root of d: long vectors may score high.",
            lambda q, k: (
                (q / q.norm(dim=-1, keepdim=True))
                @ (k / k.norm(dim=-1, keepdim=True)).transpose(-2, -1)
            ),
        ),
        Mistake(
            "distance",
            "You measure how far apart query and key are. A score is their dot product.",
            lambda q, k: -(q[..., :, None, :] - k[..., None, :, :]).pow(2).sum(dim=-1),
            lambda q, k: (q[..., :, None, :] - k[..., None, :, :]).norm(dim=-1),
            lambda q, k: -(q[..., :, None, :] - k[..., None, :, :]).norm(dim=-1),
        ),
        Mistake(
            "masked",
            "You hide the future already. That is the next step; here every query meets every key.",
            lambda q, k: attention_scores(q, k).masked_fill(
                torch.ones(q.size(-2), k.size(-2)).triu(diagonal=1).bool(), -math.inf
            ),
        ),
    ],
)
def attention_scores(q, k):
    """The scaled scores (..., T, S) of queries q (..., T, d) with keys k (..., S, d)."""
    return q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  #| every query with every key, scaled


@define(
    level=2,
    minutes=10,
    task="""Write causal attention from its five steps. The leading axes may be anything (a batch,
    or a batch and heads), so count axes from the end. If you solve this, chapter 5 trains a GPT
    with *your* attention in it.""",
    hints=[
        "Say the five steps aloud: score, scale, mask, softmax, mix.",
        "The softmax turns a score s into exp(s) / sum. Which score makes exp(s) exactly 0?",
        "`torch.ones(T, T, device=q.device).triu(diagonal=1).bool()` is True where the column "
        "lies after the row.",
    ],
    insight="Change token 4 and the outputs 0 to 3 do not move by a single bit. That is "
    "causality, and it is what lets one forward pass train T predictions.",
    probes=lambda: [
        (wave(1, 3, 2, scale=2), wave(1, 3, 2, phase=1, scale=2), wave(1, 3, 2, phase=2)),
        (wave(2, 4, 3, phase=3), wave(2, 4, 3, phase=4), wave(2, 4, 3, phase=5)),
        (wave(3, 3, 3, phase=6), wave(3, 3, 3, phase=7), wave(3, 3, 3, phase=8)),
        (wave(2, 2, 5, 3, scale=3), wave(2, 2, 5, 3, phase=1, scale=3), wave(2, 2, 5, 3, phase=2)),
        (wave(1, 1, 2), wave(1, 1, 2, phase=1), wave(1, 1, 2, phase=2)),
        (wave(1, 4, 1, phase=3), wave(1, 4, 1, phase=1), wave(1, 4, 1, phase=2)),
        edge(
            "zero_scores",
            "It goes wrong only where a score is exactly 0. Such a score is a score like any "
            "other: what is forbidden is decided by the *places* of query and key and never by "
            "the value that stands there.",
            torch.tensor([[[0.0, 0.0], [1.0, -1.0], [2.0, 0.0]]]),
            torch.tensor([[[1.0, 0.5], [1.0, 1.0], [0.0, 2.0]]]),
            wave(1, 3, 2, phase=4),
        ),
    ],
    mistakes=[
        Mistake(
            "no_scale",
            "The scores are not divided by the square root of the number of features.",
            {" / math.sqrt(q.size(-1))": ""},
        ),
        Mistake(
            "scale_wrong",
            "You divide, but not by the square root of d, the number of *features* of one query "
            "(`q.size(-1)`).",
            {"math.sqrt(q.size(-1))": "q.size(-1)"},
            {"math.sqrt(q.size(-1))": "math.sqrt(T)"},
        ),
        Mistake(
            "mask_after_softmax",
            "You mask *after* the softmax. The future is gone from the result, but it had its "
            "share of the softmax, so the rows no longer sum to 1. Set the scores to -inf before "
            "the softmax.",
            {
                'scores = scores.masked_fill(future, float("-inf"))': "weights = "
                "torch.softmax(scores, "
                "dim=-1)",
                "weights = torch.softmax(scores, "
                "dim=-1)": "weights = weights.masked_fill(future, 0.0)",
            },
        ),
        Mistake(
            "mask_with_zero",
            "Forbidden scores are set to 0. The exponential of 0 is 1, so the future still gets "
            "weight, often a good deal of it. Only -inf becomes 0.",
            {'float("-inf")': "0.0"},
        ),
        Mistake(
            "wrong_dim",
            "The softmax runs along the wrong axis: with `dim=-2` the weights of each *key* sum "
            "to 1. Each query (each row) has 100 % to give away: `dim=-1`.",
            {"dim=-1": "dim=-2"},
        ),
        Mistake(
            "hides_self",
            "Your mask hides the diagonal, too. A position may look at itself; without that row "
            "0 has nothing left, and the softmax of nothing is NaN. The future starts one above "
            "the diagonal: `diagonal=1`.",
            {"diagonal=1": "diagonal=0"},
        ),
        Mistake(
            "mask_reversed",
            "You masked the *past*: position t sees only t and what comes later. True must stand "
            "where the column is larger than the row, the upper triangle (`triu`).",
            {".triu(diagonal=1)": ".tril(diagonal=-1)"},
        ),
        Mistake(
            "mask_inverted",
            "Allowed and forbidden have changed places: your mask leaves only the future. "
            "`masked_fill` fills where the mask is True.",
            {"future, float": "~future, float"},
        ),
        Mistake(
            "no_mask",
            "There is no causal mask, so position 0 reads the whole future. The training loss "
            "would collapse, even below the floor, and what the model then writes would be "
            "nonsense.",
            {'.masked_fill(future, float("-inf"))': ""},
        ),
        Mistake(
            "off_by_one",
            "Position t can still see t + 1, which is exactly the token it has to predict. Use "
            "`diagonal=1`.",
            {"diagonal=1": "diagonal=2"},
        ),
        Mistake(
            "transposed",
            "Queries and keys have changed places: row i of the scores belongs to query i.",
            {"q @ k.transpose(-2, -1)": "k @ q.transpose(-2, -1)"},
        ),
        Mistake(
            "axes_from_front",
            "You count the axes of `k` from the front, which fits one number of axes only. With "
            "heads there is one more in front: use -2 and -1.",
            {"k.transpose(-2, -1)": "k.transpose(1, 2)"},
            {"k.transpose(-2, -1)": "k.transpose(0, 1)"},
        ),
        Mistake(
            "mixes_keys",
            "The weights mix the keys. A key says what a token can be found by; what it hands "
            "over is its *value*.",
            {"weights @ v": "weights @ k"},
        ),
        Mistake(
            "multiplied",
            "You multiply by the square root of d. Divide: the point is to bring the scores down.",
            {
                "    scores = scores.masked": (
                    "    scores = scores * q.size(-1)\n    scores = scores.masked"
                ),
            },
        ),
        Mistake(
            "no_softmax",
            "There is no softmax: the scores themselves mix the values, and they sum to anything.",
            {
                "    weights = torch.softmax(scores, dim=-1)": (
                    "    scores = scores.masked_fill(future, 0.0)\n    weights = scores"
                ),
            },
        ),
        Mistake(
            "weights_only",
            "These are the weights. They still have to mix the values.",
            {"    return weights @ v": "    out = weights\n    return out"},
        ),
        Mistake(
            "scale_late",
            "You divide by the square root of d *after* the softmax, so the rows no longer sum "
            "to 1. It is the scores that are scaled.",
            {
                " / math.sqrt(q.size(-1))": "",
                "    return weights": (
                    "    weights = weights / math.sqrt(q.size(-1))\n    return weights"
                ),
            },
        ),
        Mistake(
            "mask_too_weak",
            "Forbidden scores are set to a number that is not small enough: exp of it is not 0, so "
            "the future still gets a share. Only -inf becomes exactly 0.",
            *(
                {
                    '    scores = scores.masked_fill(future, float("-inf"))': (
                        f"    low = -{n}.0\n    scores = scores.masked_fill(future, low)"
                    ),
                }
                for n in (1, 2, 3, 5, 10)
            ),
        ),
        Mistake(
            "uniform",
            "Every position averages its past and the scores have no say. The softmax of the "
            "masked scores makes the weights.",
            {
                "    weights = torch.softmax(scores, dim=-1)": (
                    "    scores = scores * 0.0\n"
                    "    scores = scores.masked_fill(future, float('-inf'))\n"
                    "    weights = torch.softmax(scores, dim=-1)"
                ),
            },
            lambda q, k, v: (w := torch.ones(q.size(-2), q.size(-2)).tril()) / w.sum(1, True) @ v,
        ),
        Mistake(
            "best_only",
            "Each position takes over the value with the highest score alone. The softmax mixes "
            "all of them, by weight.",
            {
                "    weights = torch.softmax(scores, dim=-1)": (
                    "    best = scores.argmax(dim=-1, keepdim=True)\n"
                    "    weights = torch.zeros_like(scores).scatter(-1, best, 1.0)"
                ),
            },
        ),
    ],
)
def causal_attention(q, k, v):
    """Each position mixes the values of itself and of its past. q, k, v: (..., T, d)."""
    T = q.size(-2)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  #| scaled scores, (..., T, T)
    future = torch.ones(T, T, device=q.device).triu(diagonal=1).bool()  #| True where column > row
    scores = scores.masked_fill(future, float("-inf"))  #| forbid the future
    weights = torch.softmax(scores, dim=-1)  #| each row sums to 1
    return weights @ v  #| mix the values


@define(
    level=2,
    minutes=5,
    task="""Cut the C features of every token into `n_head` contiguous groups and put the heads in
    front of time, so that every head is a batch of its own: (B, T, C) becomes (B, n_head, T, C //
    n_head).""",
    hints=[
        "A wrong `view` never crashes. Write out which numbers must end up in head 0.",
        "First split the last axis in two, C into (n_head, C // n_head). Then two axes change "
        "places.",
    ],
    insight="The same numbers in the right shape with the wrong meaning: this is the most common "
    "silent bug in Transformer code, and a GPT trained with it stops where a trigram "
    "model stops.",
    probes=lambda: [
        (wave(1, 3, 4), 2),
        (wave(2, 2, 6, phase=1), 3),
        (wave(2, 4, 4, phase=2), 1),
        (wave(1, 4, 4, phase=3), 4),
    ],
    mistakes=[
        Mistake(
            "view_only",
            "The shape is right and the content is not: `view(B, n_head, T, ...)` cuts up "
            "*time*, so head 0 gets the first tokens instead of the first features. Split C "
            "first, then let T and the heads change places.",
            {
                "x.view(B, T, n_head, C // "
                "n_head).transpose(1, 2)": "x.view(B, n_head, T, C // n_head)"
            },
        ),
        Mistake(
            "interleaved",
            "Head h must get the neighbouring features from h * d to (h + 1) * d - 1; yours gets "
            "every n_head-th one.",
            {
                "x.view(B, T, n_head, C "
                "// n_head).transpose(1, "
                "2)": "x.view(B, T, C // n_head, n_head).permute(0, 3, 1, 2)"
            },
        ),
        Mistake(
            "not_swapped",
            "The heads still stand behind time: (B, T, n_head, d). Move them in front of T, so "
            "that the matrix product runs once per head.",
            {".transpose(1, 2)": ""},
        ),
        Mistake(
            "sizes_swapped",
            "You made C // n_head heads of n_head features. It should be n_head heads of C // "
            "n_head features.",
            {"n_head, C // n_head": "C // n_head, n_head"},
        ),
        Mistake(
            "heads_first",
            "The heads stand in front of the batch. The order is (B, n_head, T, d).",
            {".transpose(1, 2)": ".permute(2, 0, 1, 3)"},
        ),
        Mistake(
            "features_first",
            "Time and features of a head have changed places: the order is (B, n_head, T, d).",
            {".transpose(1, 2)": ".permute(0, 2, 3, 1)"},
        ),
        Mistake(
            "transposed_first",
            "You let time and features change places before you split. First split C in two, "
            "then move the heads.",
            {
                "x.view(B, T, n_head, C // n_head).transpose(1, 2)": (
                    "x.transpose(1, 2).reshape(B, n_head, T, C // n_head)"
                ),
            },
        ),
        Mistake(
            "into_batch",
            "Batch and heads have become one axis. Keep them apart: (B, n_head, T, d).",
            lambda x, n_head: my_split_heads(x, n_head).flatten(0, 1),
        ),
        Mistake(
            "every_head_all",
            "Every head gets all C features. They are *shared out*: each head gets C // n_head of "
            "them.",
            lambda x, n_head: x[:, None].expand(-1, n_head, -1, -1),
        ),
    ],
)
def my_split_heads(x, n_head):
    """(B, T, C) -> (B, n_head, T, C // n_head)."""
    B, T, C = x.shape
    return x.view(B, T, n_head, C // n_head).transpose(1, 2)  #| (B, n_head, T, C // n_head)


@define(
    level=2,
    minutes=5,
    task="""Undo the splitting: put the heads back side by side, so that (B, H, T, d) becomes (B,
    T, H * d).""",
    hints=[
        "It must undo `split_heads` exactly: what was done last is undone first.",
        "After a `transpose` the numbers no longer lie in order in memory. `reshape` copes with "
        "that, `view` does not.",
    ],
    insight="`merge_heads(split_heads(x, h))` gives x back. Round trips are the cheapest tests "
    "there are.",
    probes=lambda: [
        (wave(1, 2, 3, 2),),
        (wave(2, 3, 2, 2, phase=1),),
        (wave(2, 1, 4, 3, phase=2),),
        (wave(1, 2, 2, 3, phase=3),),
    ],
    mistakes=[
        Mistake(
            "no_transpose",
            "You flatten without moving the heads back behind time, so features of different "
            "*tokens* get mixed. First (B, H, T, d) -> (B, T, H, d), then flatten the last two "
            "axes.",
            {".transpose(1, 2)": ""},
        ),
        Mistake(
            "wrong_axes",
            "You let the wrong axes change places. It is heads (1) and time (2) that do.",
            {"transpose(1, 2)": "transpose(2, 3)"},
            {"transpose(1, 2)": "transpose(1, 3)"},
        ),
        Mistake(
            "interleaved",
            "Features of one head must stay side by side; yours are dealt out like cards, one of "
            "each head in turn.",
            {"y.transpose(1, 2)": "y.permute(0, 2, 3, 1)"},
        ),
        Mistake(
            "summed",
            "You added the heads together, or averaged them. They are put side by side; it is the "
            "projection after them that mixes.",
            {"y.transpose(1, 2).reshape(B, T, H * d)": "y.sum(dim=1)"},
            {"y.transpose(1, 2).reshape(B, T, H * d)": "y.mean(dim=1)"},
        ),
        Mistake(
            "along_time",
            "You put the heads one after the other along *time*. Every token keeps its place, and "
            "its heads stand side by side in the last axis: (B, T, H * d).",
            {"y.transpose(1, 2).reshape(B, T, H * d)": "y.reshape(B, H * T, d)"},
            {"reshape(B, T, H * d)": "reshape(B, T * H, d)"},
        ),
        Mistake(
            "not_flattened",
            "The heads stand behind time, and are still an axis of their own: flatten the last "
            "two axes.",
            {".reshape(B, T, H * d)": ""},
        ),
        Mistake(
            "one_head",
            "You return a single head. All of them are put side by side.",
            {"y.transpose(1, 2).reshape(B, T, H * d)": "y[:, 0]"},
        ),
        Mistake(
            "flattened_too_far",
            "Time and features have become one axis. Only heads and their features do: (B, T, H * "
            "d).",
            lambda y: y.transpose(1, 2).flatten(1),
        ),
        Mistake(
            "heads_backwards",
            "The heads stand side by side in reversed order. Head 0 comes first.",
            lambda y: my_merge_heads(y.flip(1)),
        ),
    ],
)
def my_merge_heads(y):
    """(B, H, T, d) -> (B, T, H * d)."""
    B, H, T, d = y.shape
    return y.transpose(1, 2).reshape(B, T, H * d)  #| the heads side by side again


def _among_heads(x, Wqkv, Wo, n_head):
    B, T, C = x.shape
    parts = (x @ Wqkv.T).chunk(3, dim=-1)
    q, k, v = (t.view(B, T, n_head, C // n_head) for t in parts)
    weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(C // n_head), dim=-1)
    return (weights @ v).reshape(B, T, C) @ Wo.T


@define(
    level=3,
    minutes=15,
    task="""Write the whole layer with plain matrices: project `x` to queries, keys and values
    with `Wqkv` (3C, C), split them into heads, attend causally in each head, merge, and project
    with `Wo` (C, C). Both matrices are in `nn.Linear`'s layout, (out, in), so a projection is `x
    @ W.T`.""",
    hints=[
        "Split, attend in each head, merge, project. Write the shape after every line.",
        "`(x @ Wqkv.T).chunk(3, dim=-1)` gives three tensors of shape (B, T, C).",
        "A head works with C // n_head features: that is what is under the square root.",
    ],
    insight="`n_head` changes neither the number of parameters nor the number of multiplications. "
    "It changes how many different questions a token may ask at once.",
    probes=lambda: [
        (wave(1, 3, 4), wave(12, 4, phase=1), wave(4, 4, phase=2), 2),
        (wave(2, 4, 6, phase=3), wave(18, 6, phase=4), wave(6, 6, phase=5), 3),
        (wave(2, 3, 4, phase=6, scale=2), wave(12, 4, phase=7), wave(4, 4, phase=8), 1),
    ],
    mistakes=[
        Mistake(
            "not_merged_back",
            "The heads are flattened without being moved back behind time, so features of "
            "different tokens get mixed.",
            {"y.transpose(1, 2).reshape": "y.reshape"},
        ),
        Mistake(
            "scale_C",
            "You scale by the square root of C. Each head works with d = C // n_head features "
            "only.",
            {"math.sqrt(d)": "math.sqrt(C)"},
        ),
        Mistake(
            "no_scale",
            "The scores are not divided by the square root of d.",
            {" / math.sqrt(d)": ""},
        ),
        Mistake(
            "no_output_projection",
            "The output projection `Wo` is missing. It is the only place where what the heads "
            "found is put together.",
            {" @ Wo.T": ""},
        ),
        Mistake(
            "projection_transposed",
            "`Wo` is (out, in), as in `nn.Linear`: multiply by `Wo.T`. The matrix is square, so "
            "nothing crashes.",
            {"Wo.T": "Wo"},
        ),
        Mistake(
            "one_head",
            "You attend once over all C features: `n_head` is not used.",
            {"d = C // n_head": "n_head, d = 1, C"},
        ),
        Mistake(
            "order",
            "Queries, keys or values have changed places. The three parts come as q, k, v, and row "
            "i of the scores, q @ k^T, belongs to query i.",
            {"q, k, v = (": "k, q, v = ("},
            {"q, k, v = (": "q, v, k = ("},
            {"q, k, v = (": "v, k, q = ("},
            {"q, k, v = (": "v, q, k = ("},
            {"q, k, v = (": "k, v, q = ("},
        ),
        Mistake(
            "no_mask", "The causal mask is missing.", {'.masked_fill(future, float("-inf"))': ""}
        ),
        Mistake(
            "view_only",
            "You split into heads with one `view`, which cuts up time instead of the features.",
            {"t.view(B, T, n_head, d).transpose(1, 2)": "t.reshape(B, n_head, T, d)"},
        ),
        Mistake(
            "wrong_dim",
            "The softmax runs along the wrong axis: each row of the scores must sum to 1, "
            "`dim=-1`.",
            {
                "    y = torch.softmax(scores, dim=-1)": (
                    "    weights = torch.softmax(scores, dim=-2)\n    y = weights"
                ),
            },
        ),
        Mistake(
            "scale_heads",
            "You scale by the square root of the number of heads. It is the number of "
            "*features* of a head, d = C // n_head.",
            {
                "    scores = q @": "    scale = n_head\n    scores = q @",
                "math.sqrt(d)": "math.sqrt(scale)",
            },
        ),
        Mistake(
            "interleaved",
            "Each head must get neighbouring features; yours gets every n_head-th one.",
            {
                "    q, k, v = (t.view(B, T, n_head, d).transpose(1, 2) for t in parts)": (
                    "    parts = [t.view(B, T, d, n_head) for t in parts]\n"
                    "    q, k, v = (t.permute(0, 3, 1, 2) for t in parts)"
                ),
            },
        ),
        Mistake(
            "residual",
            "You add x. That is the task of the block around this layer.",
            {"    return y.transpose": "    stream = x\n    return stream + y.transpose"},
        ),
        Mistake(
            "packed_by_head",
            "You take the rows of `Wqkv` as q, k and v of head 0, then of head 1, and so on. They "
            "are all queries, then all keys, then all values: cut into three first, then into "
            "heads.",
            {
                "    q, k, v = (t.view(B, T, n_head, d).transpose(1, 2) for t in parts)": (
                    "    packed = torch.cat(parts, dim=-1).view(B, T, n_head, 3 * d)\n"
                    "    q, k, v = packed.transpose(1, 2).chunk(3, dim=-1)"
                ),
            },
        ),
        Mistake(
            "among_heads",
            "The heads still stand behind time, so the heads of one token attend to each other. "
            "Move them in front of T: tokens attend to tokens, in each head.",
            _among_heads,
        ),
        Mistake(
            "mask_with_zero",
            "Forbidden scores are set to 0, and the exponential of 0 is 1. Only -inf becomes 0.",
            {
                '    scores = scores.masked_fill(future, float("-inf"))': (
                    "    hide = 0.0\n    scores = scores.masked_fill(future, hide)"
                ),
            },
        ),
        Mistake(
            "mask_reversed",
            "You masked the past. What lies *after* a position is hidden, the upper triangle.",
            {
                "    scores = scores.masked_fill(future": (
                    "    future = future.T\n    scores = scores.masked_fill(future"
                ),
            },
        ),
        Mistake(
            "mixes_keys",
            "The weights mix the keys or the queries. They mix the *values*.",
            {
                "    y = torch.softmax(scores, dim=-1) @ v": (
                    "    v = k\n    y = torch.softmax(scores, dim=-1) @ v"
                ),
            },
            {
                "    y = torch.softmax(scores, dim=-1) @ v": (
                    "    v = q\n    y = torch.softmax(scores, dim=-1) @ v"
                ),
            },
        ),
        Mistake(
            "multiplied",
            "You multiply by the square root of d. Divide.",
            {
                "    scores = q @": "    size = math.sqrt(d)\n    scores = q @",
                "/ math.sqrt(d)": "* size",
            },
        ),
        Mistake(
            "scale_d",
            "You divide by d itself. Divide by its square root.",
            {
                "    scores = q @": "    size = d\n    scores = q @",
                "math.sqrt(d)": "size",
            },
        ),
        Mistake(
            "mask_after_softmax",
            "You mask after the softmax, when the future had its share already: the rows no longer "
            "sum to 1. Set the scores to -inf before it.",
            {
                '    scores = scores.masked_fill(future, float("-inf"))\n': "",
                "    y = torch.softmax(scores, dim=-1) @ v": (
                    "    weights = torch.softmax(scores, dim=-1)\n"
                    "    y = weights.masked_fill(future, 0.0) @ v"
                ),
            },
        ),
        Mistake(
            "heads_added",
            "You add the heads up, or average them. They stand side by side again.",
            {
                "    return y.transpose": (
                    "    y = y.sum(dim=1, keepdim=True).expand(y.shape)\n    return y.transpose"
                ),
            },
            {
                "    return y.transpose": (
                    "    y = y.mean(dim=1, keepdim=True).expand(y.shape)\n    return y.transpose"
                ),
            },
        ),
    ],
)
def multi_head_attention(x, Wqkv, Wo, n_head):
    """Causal attention with n_head heads: x (B, T, C), Wqkv (3C, C), Wo (C, C) -> (B, T, C)."""
    B, T, C = x.shape
    d = C // n_head
    parts = (x @ Wqkv.T).chunk(3, dim=-1)  # three of shape (B, T, C)
    q, k, v = (t.view(B, T, n_head, d).transpose(1, 2) for t in parts)  #| (B, n_head, T, d) each
    future = torch.ones(T, T, device=x.device).triu(diagonal=1).bool()
    scores = q @ k.transpose(-2, -1) / math.sqrt(d)  #| scaled, (B, n_head, T, T)
    scores = scores.masked_fill(future, float("-inf"))
    y = torch.softmax(scores, dim=-1) @ v
    return y.transpose(1, 2).reshape(B, T, C) @ Wo.T  #| merge the heads, project


@prediction(
    "All scores of a row are 0, the sequence has 8 tokens, and somebody masks the future by "
    "setting its scores to 0 instead of -inf. Which share of its attention does the *first* "
    "token then give to the future?",
    why="exp(0) = 1 for allowed and forbidden tokens alike: the mask does nothing at all here. A "
    "model trained like this looks brilliant and has only read ahead.",
)
def share_of_the_future():
    scores = torch.zeros(8, 8)
    future = torch.ones(8, 8).triu(diagonal=1).bool()
    weights = torch.softmax(scores.masked_fill(future, 0.0), dim=-1)
    return round(weights[0, 1:].sum().item(), 4)


@prediction(
    "The entries of a query and of eight keys are drawn from a standard normal distribution, "
    "with 64 features. *Without* dividing by the square root of 64, how large is the largest of "
    "the eight attention weights, on average?",
    why="Dot products of 64 such numbers have standard deviation 8, and a softmax over numbers "
    "that far apart picks one of them. Divided by 8, the largest weight is about 0.4 on "
    "average, and every key still gets some gradient.",
    tolerance=0.08,
)
def largest_weight_unscaled():
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(4000, 1, 64, generator=generator)
    k = torch.randn(4000, 8, 64, generator=generator)
    return round(torch.softmax((q * k).sum(dim=-1), dim=-1).amax(dim=-1).mean().item(), 2)


question(
    "attention.why_scale",
    "Why are the scores divided by the square root of d, the number of features?",
    ("So that the weights of a row sum to 1.", False,
     "The softmax sees to that, whatever the scores are."),
    ("So that their spread does not grow with d: otherwise the softmax nearly always picks "
     "one token.", True,
     "A sum of d products of independent numbers of variance 1 has variance d. Dividing by its "
     "standard deviation brings the spread back to 1, where the softmax still listens to "
     "several tokens and passes gradients to all of them."),
    ("So that longer sequences do not get larger scores.", False,
     "A score compares one query with one key; the length of the sequence does not enter it."),
    ("So that the scores lie between -1 and 1.", False,
     "That would take dividing by the lengths of both vectors (cosine similarity). Scores may "
     "be as large as they like; only their typical size is brought to 1 at the start of "
     "training."),
)  # fmt: skip

question(
    "attention.changed_token",
    "In a causal layer you change token 5 of 10 (counting from 0). Which outputs can change?",
    ("Only output 5.", False,
     "Its key and value change, too, and everything that may look at token 5 can notice that."),
    ("Outputs 0 to 5.", False,
     "That is the wrong way round: earlier positions must not see token 5 at all."),
    ("All ten.", False,
     "That would be attention without a mask. Outputs 0 to 4 stay the same to the last bit, "
     "which makes a good test."),
    ("Outputs 5 to 9.", True,
     "Token 5 is in its own past and in that of every later position, and nowhere else."),
)  # fmt: skip

question(
    "attention.heads_cost",
    "C = 768. You go from 12 heads to 24 and leave everything else as it is. How many times as "
    "many parameters does the attention layer have?",
    ("1 times", True,
     "The projections are C to 3C and C to C, whatever the number of heads: each head gets 32 "
     "features instead of 64. The heads only decide how the same features are grouped."),
    ("2 times", False,
     "More heads share the same C features; none get added."),
    ("4 times", False,
     "That is what doubling C would do."),
    ("0.5 times", False,
     "Each head becomes half as wide, but there are twice as many."),
    truth=lambda: _attention_parameters(768, 24) / _attention_parameters(768, 12),
)  # fmt: skip


def _attention_parameters(C: int, n_head: int) -> int:
    """Counted head by head: queries, keys and values of width C // n_head, then the projection."""
    d = C // n_head
    return n_head * 3 * (C * d + d) + C * C + C
