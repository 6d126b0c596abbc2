"""Exercises of chapter 7: the published GPT-2 weights in our own model."""

import torch

from course_lib.grading import Mistake, define, edge, prediction, question, wave


def _state():
    return {
        "h.0.attn.c_attn.weight": wave(2, 6),
        "h.0.attn.c_proj.weight": wave(2, 2, phase=1),
        "h.0.mlp.c_fc.weight": wave(2, 8, phase=2),
        "h.0.mlp.c_proj.weight": wave(8, 2, phase=3),
        "h.0.attn.c_attn.bias": wave(6, phase=4),
        "h.0.ln_1.weight": wave(2, phase=5),
        "wte.weight": wave(5, 2, phase=6),
        "wpe.weight": wave(2, 2, phase=7),
    }


@define(
    level=2,
    minutes=10,
    task="""GPT-2's published linear layers are stored as (in, out), and `nn.Linear` wants (out,
    in). Return a dict with the same names in which exactly those weights are transposed.""",
    hints=[
        "Which tensors are used as `x @ W`, and which are looked up or multiplied one by one?",
        "`name.endswith(conv)` takes a tuple.",
    ],
    insight="Multiplied or looked up: that decides, and not the shape.",
    probes=lambda: [(_state(),), ({"h.11.attn.c_proj.weight": wave(3, 3), "ln_f.bias": wave(3)},)],
    mistakes=[
        Mistake(
            "no_transpose",
            "Nothing is transposed. c_attn, c_fc and the two c_proj are stored as (in, out).",
            {"t.T if name.endswith(conv) else t": "t"},
        ),
        Mistake(
            "all",
            "You transpose every matrix, embeddings included. Only the linear layers are stored "
            "the other way round.",
            {"name.endswith(conv)": "t.dim() == 2"},
        ),
        Mistake(
            "not_square",
            "You transpose only what is not square. attn.c_proj *is* square: nothing crashes, and "
            "the model talks nonsense.",
            {"name.endswith(conv)": "name.endswith(conv) and t.size(0) != t.size(1)"},
        ),
        Mistake(
            "reshaped",
            "`reshape` (or `view`) changes the shape and leaves the numbers in their order. "
            "Transpose: `.T`.",
            {"t.T if": "t.reshape(t.shape[::-1]) if"},
        ),
        Mistake(
            "attention_only",
            "The MLP's two weights are stored as (in, out), too.",
            {'"c_proj.weight", "c_fc.weight"': '"attn.c_proj.weight"'},
        ),
        Mistake(
            "some_missing",
            "Some of the linear layers are left as they were: c_attn, c_fc and *both* c_proj are "
            "stored as (in, out).",
            *(
                {'("c_attn.weight", "c_proj.weight", "c_fc.weight")': names}
                for names in (
                    '("c_attn.weight",)',
                    '("c_fc.weight", "mlp.c_proj.weight")',
                    '("c_attn.weight", "c_proj.weight")',
                    '("c_attn.weight", "c_fc.weight")',
                )
            ),
        ),
        Mistake(
            "dropped",
            "Your dict holds the transposed weights only. The others belong to the model, too.",
            {"in state.items()}": "in state.items() if name.endswith(conv)}"},
        ),
        Mistake(
            "the_others",
            "You transpose the embeddings and leave the linear layers as they are. It is the other "
            "way round.",
            lambda state: {
                name: t if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else t.T
                for name, t in state.items()
            },
        ),
        Mistake(
            "embeddings_too",
            "You transpose an embedding, too. Its rows are looked up by id, and it is stored as we "
            "need it.",
            lambda state: {
                name: t.T if name.startswith("wpe") else t for name, t in to_linear(state).items()
            },
            lambda state: {
                name: t.T if name.startswith("wte") else t for name, t in to_linear(state).items()
            },
        ),
        Mistake(
            "renamed",
            "You change the names, too. Here they stay as they are; renaming comes later.",
            lambda state: {name.removesuffix(".weight"): t for name, t in to_linear(state).items()},
            lambda state: {
                name.removeprefix("h.").replace("c_", ""): t for name, t in to_linear(state).items()
            },
        ),
    ],
)
def to_linear(state):
    """GPT-2's weights in nn.Linear's layout: {name: tensor} -> {name: tensor}."""
    conv = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  #| whose weights are multiplied with?
    return {name: (t.T if name.endswith(conv) else t) for name, t in state.items()}  #| all names


@define(
    level=1,
    minutes=5,
    task="""Cut the packed projection (weight (3C, C) in `nn.Linear`'s layout, bias (3C,)) into
    queries, keys and values. Return three pairs (weight, bias), in this order.""",
    hints=[
        "(3C, C) becomes three (C, C), one below the other.",
        "`W.chunk(3, dim=0)`, and the same for the bias; `zip` pairs them.",
    ],
    insight="One large matrix product is faster than three. The price is that somebody must "
    "remember the order.",
    probes=lambda: [
        (wave(6, 2), wave(6, phase=1)),
        (wave(9, 3, phase=2), wave(9, phase=3)),
        (wave(15, 5, phase=4), wave(15, phase=5)),
    ],
    mistakes=[
        Mistake(
            "order",
            "The order is queries, keys, values.",
            {
                "list(zip(W.chunk(3, dim=0), b.chunk(3)))": "[list(zip(W.chunk(3, dim=0), "
                "b.chunk(3)))[i] for i in (1, 0, 2)]"
            },
            {
                "list(zip(W.chunk(3, dim=0), b.chunk(3)))": "[list(zip(W.chunk(3, dim=0), "
                "b.chunk(3)))[i] for i in (2, 1, 0)]"
            },
            {
                "list(zip(W.chunk(3, dim=0), b.chunk(3)))": "[list(zip(W.chunk(3, dim=0), "
                "b.chunk(3)))[i] for i in (1, 2, 0)]"
            },
            lambda W, b: [split_qkv(W, b)[i] for i in (0, 2, 1)],
            lambda W, b: [split_qkv(W, b)[i] for i in (2, 0, 1)],
        ),
        Mistake(
            "wrong_axis",
            "You cut the *inputs*. In (out, in) the three parts lie along axis 0.",
            {"dim=0": "dim=1"},
        ),
        Mistake(
            "interleaved",
            "The three parts are blocks, and not every third row.",
            {
                "W.chunk(3, dim=0), "
                "b.chunk(3)": "[W[i::3] for i in range(3)], [b[i::3] for i in range(3)]"
            },
        ),
        Mistake(
            "whole_bias",
            "The bias is packed, too: cut it into three.",
            {"b.chunk(3)": "[b, b, b]"},
        ),
        Mistake(
            "transposed",
            "The weights are in nn.Linear's layout already; do not transpose them.",
            {"W.chunk(3, dim=0)": "[w.T for w in W.chunk(3, dim=0)]"},
        ),
        Mistake(
            "two_lists",
            "You return all weights and then all biases. Pair each weight with its bias.",
            {"list(zip(W.chunk(3, dim=0), b.chunk(3)))": "(W.chunk(3, dim=0), b.chunk(3))"},
        ),
        Mistake(
            "pieces_of_three",
            "`split(3)` cuts pieces of size 3. You want three pieces: of size C, or `chunk(3)`.",
            lambda W, b: list(zip(W.split(3), b.split(3))),
        ),
        Mistake(
            "two_parts",
            "One of the three is missing.",
            lambda W, b: split_qkv(W, b)[:2],
            lambda W, b: split_qkv(W, b)[1:],
        ),
        Mistake(
            "bias_first",
            "In each pair the weight comes first, then the bias.",
            lambda W, b: [(bias, weight) for weight, bias in split_qkv(W, b)],
        ),
        Mistake(
            "bias_order",
            "The biases stand in another order than the weights.",
            {"b.chunk(3)": "b.chunk(3)[::-1]"},
            {"b.chunk(3)": "[b[i::3] for i in range(3)]"},
        ),
        Mistake(
            "same_part",
            "You return one of the three parts three times.",
            lambda W, b: [split_qkv(W, b)[0]] * 3,
        ),
        Mistake(
            "no_bias",
            "The biases are missing: each weight comes with its own.",
            lambda W, b: list(W.chunk(3)),
        ),
    ],
)
def split_qkv(W, b):
    """(3C, C) and (3C,) -> [(Wq, bq), (Wk, bk), (Wv, bv)]."""
    return list(zip(W.chunk(3, dim=0), b.chunk(3)))  #| three pairs


_PROJ = ("h.11.attn.c_proj.weight", "h.3.mlp.c_proj.bias")
_WHOLE = "It goes wrong only for names outside the blocks. Those stay as they are."
_PACKED = "It goes wrong only for `c_attn`, which is called `qkv` in our model."
_PROJECTIONS = "It goes wrong only for `c_proj`. Both of them are called `proj` in our model."
_C_FC = "It goes wrong only for `c_fc`, which is called `fc` in our model."
_MASKS = "It goes wrong only for the mask buffers. They are no parameters: return None for them."


@define(
    level=2,
    minutes=10,
    meta=False,
    task="""Translate a name from the published file into ours: `h.3.attn.c_attn.weight` is our
    `blocks.3.attn.qkv.weight`, c_fc is `fc`, and both c_proj are `proj`. The mask buffers (names
    that end in `attn.bias` or `attn.masked_bias`) are no parameters: return None for them.""",
    hints=[
        "Look out: `h.0.attn.bias` is a mask, and `h.0.attn.c_attn.bias` is a bias.",
        "Replace whole parts between dots, so that nothing is hit by accident: `.c_fc.` by `.fc.`.",
    ],
    insight="Most of the work of loading somebody else's weights is a table of names. A name that "
    "is left over is a bug that shows; a name that is wrong and fits is one that does not.",
    probes=lambda: [
        *(edge("whole_names", _WHOLE, name) for name in ("wte.weight", "ln_f.bias")),
        *(edge("packed", _PACKED, f"h.0.attn.c_attn.{kind}") for kind in ("weight", "bias")),
        *(edge("projections", _PROJECTIONS, name) for name in _PROJ),
        *(edge("c_fc", _C_FC, f"h.3.mlp.c_fc.{kind}") for kind in ("weight", "bias")),
        ("h.2.ln_1.weight",),
        *(edge("masks", _MASKS, name) for name in ("h.0.attn.bias", "h.7.attn.masked_bias")),
    ],
    mistakes=[
        Mistake(
            "keeps_masks",
            "The mask buffers are kept. They are not learned, and our model makes its mask itself.",
            {"return None": "pass"},
        ),
        Mistake(
            "drops_biases",
            "You drop real biases. Only names that end in `.attn.bias` or `.attn.masked_bias` are "
            "masks; `c_attn.bias` is a bias.",
            {'name.endswith((".attn.bias", ".attn.masked_bias"))': 'name.endswith("bias")'},
            {'(".attn.bias", ".attn.masked_bias")': '("attn.bias", "attn.masked_bias")'},
        ),
        Mistake(
            "keeps_h",
            "Our blocks are called `blocks.0`, not `h.0`.",
            {'("h.", "blocks."), ': ""},
        ),
        Mistake(
            "keeps_c_proj",
            "Both `c_proj` are called `proj` in our model.",
            {', (".c_proj.", ".proj.")': ""},
        ),
        Mistake(
            "keeps_c_fc",
            "`c_fc` is called `fc` in our model.",
            {', (".c_fc.", ".fc.")': ""},
        ),
        Mistake(
            "attn",
            "`c_attn` becomes `qkv`: it makes queries, keys and values.",
            {'".qkv."': '".attn."'},
        ),
        Mistake(
            "one_mask",
            "There are two mask buffers per layer, `attn.bias` and `attn.masked_bias`.",
            {'(".attn.bias", ".attn.masked_bias")': '(".attn.bias",)'},
        ),
        Mistake(
            "one_rule",
            "You stop after the first rule that fits. A name in a block needs two of them: `h.` "
            "and the part of the layer.",
            {
                "        name = name.replace(old, new)": (
                    "        if old in name:\n            return name.replace(old, new)"
                )
            },
        ),
        Mistake(
            "last_rule",
            "Every rule starts again from the *original* name, so only the last one shows. Apply "
            "each to the result of the one before.",
            lambda name: name.replace(".c_proj.", ".proj.") if rename(name) else None,
        ),
        Mistake(
            "letter_h",
            "The letter h occurs in other words, too, such as *weight*. Replace a whole part of "
            "the name, with its dot: `h.`.",
            lambda name: n.replace("weight", "weigblockst") if (n := rename(name)) else n,
        ),
        Mistake(
            "no_prefix",
            "The prefix is dropped. In our model it is `blocks.`.",
            {'"blocks."': '""'},
            {'"blocks."': '"block."'},
            {'"blocks."': '"transformer.blocks."'},
        ),
        Mistake(
            "part_only",
            "You return a part of the name. All of it is asked for.",
            lambda name: n.rsplit(".", 1)[-1] if (n := rename(name)) else n,
            lambda name: n.rsplit(".", 1)[0] if (n := rename(name)) else n,
        ),
        Mistake(
            "text_for_none",
            "For a mask you return a text. Return None: there is nothing to load.",
            lambda name: "" if rename(name) is None else rename(name),
            lambda name: "None" if rename(name) is None else rename(name),
        ),
    ],
)
def rename(name):
    """A name of the published GPT-2 -> the name in our model, or None for a mask."""
    if name.endswith((".attn.bias", ".attn.masked_bias")):  #| which names are masks?
        return None
    table = [("h.", "blocks."), (".c_attn.", ".qkv."), (".c_fc.", ".fc."), (".c_proj.", ".proj.")]
    for old, new in table:
        name = name.replace(old, new)  #| one part after the other
    return name


@define(
    level=1,
    minutes=5,
    task="""GPT-2 has no output matrix of its own: it reads logits off with the token embedding.
    Given the last layer norm's output `h` (B, T, C) and `wte` (V, C), compute the logits of the
    *last* position, (B, V).""",
    hints=[
        "Only the last position predicts a token that is not there yet.",
        "A logit is the dot product of the position's vector with the token's row of wte.",
    ],
    insight="The same matrix turns tokens into vectors and vectors into tokens. A token is likely "
    "when its embedding points where the stream points.",
    probes=lambda: [
        (wave(2, 3, 4), wave(5, 4, phase=1)),
        (wave(3, 3, 3, phase=2), wave(3, 3, phase=3)),
        (wave(1, 1, 2, phase=4), wave(4, 2, phase=5)),
    ],
    mistakes=[
        Mistake(
            "not_transposed",
            "`wte` is (V, C): to get from C to V, multiply by its transpose. Where it is square, "
            "nothing crashes.",
            {"wte.T": "wte"},
        ),
        Mistake(
            "all_positions",
            "You compute the logits of every position. The last one is asked for.",
            {"h[:, -1]": "h"},
        ),
        Mistake(
            "first_position",
            "You read the first position, which has seen one token only.",
            {"h[:, -1]": "h[:, 0]"},
        ),
        Mistake(
            "last_row",
            "You take one text of the batch, the first or the last. The position is the *second* "
            "axis.",
            {"h[:, -1]": "h[-1]"},
            {"h[:, -1]": "h[0]"},
        ),
        Mistake(
            "probabilities",
            "These are probabilities. Logits are asked for, before any softmax.",
            {"h[:, -1] @ wte.T": "torch.softmax(h[:, -1] @ wte.T, dim=-1)"},
        ),
        Mistake(
            "mean",
            "You average over the positions. In a causal model the last one has read everything.",
            {"h[:, -1]": "h.mean(dim=1)"},
        ),
        Mistake(
            "scaled",
            "You divide by the root of C. That belongs to attention; logits are plain dot "
            "products.",
            {"h[:, -1] @ wte.T": "h[:, -1] @ wte.T / h.size(-1) ** 0.5"},
        ),
        Mistake(
            "second_to_last",
            "You read the last position but one. The very last one has read everything.",
            {"h[:, -1]": "h[:, -2 if h.size(1) > 1 else -1]"},
        ),
        Mistake(
            "normalised",
            "You normalise once more. `h` comes out of the last layer norm already.",
            lambda h, wte: torch.nn.functional.layer_norm(h[:, -1], h.shape[-1:]) @ wte.T,
        ),
        Mistake(
            "cosine",
            "You divide by the lengths of the vectors. Logits are plain dot products.",
            lambda h, wte: torch.nn.functional.cosine_similarity(h[:, -1, None], wte[None], dim=-1),
        ),
        Mistake(
            "sum",
            "You add up over the positions. Only the last one is asked for.",
            {"h[:, -1]": "h.sum(dim=1)"},
        ),
        Mistake(
            "one_axis",
            "The result keeps an axis for the position. There is one position: (B, V).",
            lambda h, wte: h[:, -1:] @ wte.T,
        ),
    ],
)
def last_logits(h, wte):
    """Logits of the next token with a tied head: h (B, T, C), wte (V, C) -> (B, V)."""
    return h[:, -1] @ wte.T  #| the last position against every token


_OVERLAP = """Windows that lie side by side come out right, and those that overlap do not. The
starts are `stride` apart, and a window scores what lies behind the end of the one before it."""


@define(
    level=3,
    minutes=15,
    meta=False,
    task="""A text is longer than the context. Score it in windows of at most `window` tokens
    whose starts lie `stride` apart, and score every token once: of each window only the tokens
    that no earlier window has scored. Return a list of (start, end, n_scored), where `end` is not
    included, as in a slice; stop at the end of the text.""",
    hints=[
        "The first window scores all its tokens; each later one only what lies behind the last "
        "end.",
        "n_scored is this end minus the previous one.",
    ],
    insight="With a small stride every token is predicted from a long past: a fairer and slower "
    "measurement. Published perplexities differ by whole points for this reason alone.",
    probes=lambda: [
        edge("overlap", _OVERLAP, 10, 4, 2),
        (10, 4, 4),
        (8, 4, 4),
        edge("overlap", _OVERLAP, 9, 5, 3),
        edge(
            "short_text",
            "It goes wrong only where the text is shorter than one window. Then one window holds "
            "all of it and ends where the text ends.",
            3,
            8,
            4,
        ),
        edge("overlap", _OVERLAP, 8, 4, 1),
        edge("overlap", _OVERLAP, 11, 5, 4),
    ],
    mistakes=[
        Mistake(
            "scored_twice",
            "Tokens in the overlap are scored again. Count only what lies behind the previous end.",
            {"end - scored)": "end - start)"},
        ),
        Mistake(
            "never_stops",
            "You go on after a window has reached the end of the text; such windows score nothing.",
            {"        if end == n_tokens:\n            break\n": ""},
        ),
        Mistake(
            "past_the_end",
            "The last window reaches past the end of the text.",
            {
                "min(start + window, n_tokens)": "start + window",
                "end == n_tokens": "end >= n_tokens",
            },
        ),
        Mistake(
            "no_overlap",
            "The windows lie side by side. Their starts are `stride` apart.",
            {"range(0, n_tokens, stride)": "range(0, n_tokens, window)"},
        ),
        Mistake(
            "stride_scored",
            "You say that every window scores `stride` tokens. The first one scores all of its "
            "own, and the last one may have fewer left.",
            {"end - scored)": "stride)"},
        ),
        Mistake(
            "stops_early",
            "The last tokens are never scored: a shorter window at the end is needed, too.",
            {"range(0, n_tokens, stride)": "range(0, max(1, n_tokens - window), stride)"},
            {"range(0, n_tokens, stride)": "range(0, n_tokens - window + 1, stride)"},
            {"range(0, n_tokens, stride)": "range(0, max(1, n_tokens - window + 1), stride)"},
        ),
        Mistake(
            "length_for_end",
            "The second entry is the *end* of the window, and not its length.",
            {"append((start, end, ": "append((start, end - start, "},
        ),
        Mistake(
            "stride_after_the_first",
            "After the first window you score `stride` tokens each. The last window may have fewer "
            "new ones: score what lies behind the previous end.",
            {"end - scored)": "end if start == 0 else stride)"},
            {"end - scored)": "end if start == 0 else min(stride, end - start))"},
        ),
        Mistake(
            "first_scores_stride",
            "Your first window scores only `stride` tokens. Nothing was scored before it, so all "
            "of its tokens are new.",
            {"end - scored)": "min(stride, end - start))"},
            {"end - scored)": "end - scored if start else min(stride, end))"},
        ),
        Mistake(
            "stride_is_overlap",
            "You take `stride` for the overlap. It is the distance from one start to the next.",
            lambda n, window, stride: strided_windows(n, window, max(1, window - stride)),
        ),
        Mistake(
            "inclusive_end",
            "Your ends are the last token of each window. `end` is the place behind it, as in a "
            "slice.",
            {"append((start, end, ": "append((start, end - 1, "},
        ),
        Mistake(
            "overlap_counted",
            "You say how many tokens overlap, and not how many are newly scored.",
            {"end - scored)": "max(0, scored - start))"},
        ),
        Mistake(
            "one_less",
            "One token of each window is left out. Every token is scored once.",
            {"end - scored)": "end - scored - 1)"},
            {"end - scored)": "end - scored - (start == 0))"},
        ),
        Mistake(
            "starts_only",
            "Your windows are pairs. Three numbers belong to each: start, end, and how many are "
            "scored.",
            lambda *sizes: [window[:2] for window in strided_windows(*sizes)],
        ),
    ],
)
def strided_windows(n_tokens, window, stride):
    """Windows that score every token once: [(start, end, n_scored), ...]."""
    windows, scored = [], 0
    for start in range(0, n_tokens, stride):  #| where the windows start
        end = min(start + window, n_tokens)  #| never past the end of the text
        windows.append((start, end, end - scored))  #| score what no window has scored
        scored = end
        if end == n_tokens:
            break
    return windows


@prediction(
    "GPT-2 small has 124,439,808 parameters. How many megabytes (millions of bytes) do they take "
    "in float32?",
    why="Four bytes per parameter: about 498 MB. In float16 it is half of that. The published "
    "file is larger by a tenth, because it stores the masks of all layers, too.",
    tolerance=0.05,
)
def megabytes_of_gpt2():
    return round(124_439_808 * torch.finfo(torch.float32).bits // 8 / 1e6, 1)


@prediction(
    "A text of 2,048 tokens is scored with windows of 1,024 and a stride of 512. How many tokens "
    "does the model read in all, counting those it reads twice?",
    why="Three windows: 0 to 1024, 512 to 1536, 1024 to 2048. Half as much reading again buys at "
    "least 512 tokens of past for every token but the first ones.",
    tolerance=0.0,
)
def tokens_read_with_overlap():
    return sum(end - start for start, end, _ in strided_windows(2048, 1024, 512))


question(
    "pretrained.square_matrix",
    "You forget to transpose one of GPT-2's weights, attn.c_proj, which is (768, 768). What do you "
    "see?",
    ("A RuntimeError about shapes.", False,
     "A square matrix has the same shape either way."),
    ("Fluent text that is a little worse.", False,
     "The transpose of a learned matrix is a wholly different map, and twelve of them break "
     "everything."),
    ("No error, and nonsense as output.", True,
     "That is why loading is tested by comparing outputs with another implementation, never by "
     "shapes."),
    ("NaN.", False,
     "All numbers stay finite and of ordinary size."),
)  # fmt: skip

question(
    "pretrained.gelu",
    "You load GPT-2's weights into a model with the exact GELU where GPT-2 uses the tanh form. "
    "What do you see?",
    ("Nothing: they are the same function.", False,
     "They differ by up to 0.0005 per number."),
    ("Text that looks right, and logits that differ from the reference in the third decimal "
     "or so.", True,
     "Small differences pass through twelve layers. The text hides it; a comparison of logits "
     "with a tolerance of 0.0001 does not."),
    ("Nonsense.", False,
     "The two gates are very close, so the model keeps working."),
    ("An error when the weights are loaded.", False,
     "The gate has no parameters: there is nothing to load."),
)  # fmt: skip

# The programs that these three questions are about stand in the notebook, above each question.

question(
    "pretrained.five_texts",
    "The first program stops with a ValueError. Which line must change?",
    ("Line 1", False,
     "The prompt becomes ids and an attention mask, both tensors of shape (1, T). That is right."),
    ("Line 2", True,
     "Without `do_sample=True` this is greedy decoding: every step takes the likeliest token, so "
     "five texts would be five copies of one. The library refuses. (Five beams, `num_beams=5`, "
     "would also give five different texts.)"),
    ("Line 3", False,
     "`outputs` has five rows, and `batch_decode` turns each of them into a text. Decoding only "
     "`outputs[0]` would throw four of them away."),
    ("Line 4", False,
     "Printing is harmless; the program does not get that far."),
)  # fmt: skip

question(
    "pretrained.next_token_of_outputs",
    "The second program prints nothing, or something that has nothing to do with the prompt, or "
    "fails. Which line is wrong?",
    ("Line 1", False,
     "A forward pass needs no gradients here, and leaving them out saves memory."),
    ("Line 2", False,
     "`**batch` hands over ids and attention mask. The answer holds logits of shape (1, T, V)."),
    ("Line 3", True,
     "`outputs[0]` is the logits, and its last *entry* is the last text of the batch: a matrix "
     "(T, V) with a row for every position. The next token is `outputs.logits[0, -1].argmax()`."),
    ("Line 4", False,
     "`decode` takes an id. It can only be as right as the id."),
)  # fmt: skip

question(
    "pretrained.logits_as_probabilities",
    "The third program prints percentages that may lie below 0 or far above 100. Which line is "
    "wrong?",
    ("Line 1", True,
     "These are logits: any real numbers, on no particular scale. Only "
     "`torch.softmax(logits, dim=-1)` makes probabilities of them."),
    ("Line 2", False,
     "The ten largest logits are also the ten largest probabilities, because softmax keeps the "
     "order. That is why the mistake is so easy to overlook."),
    ("Line 3", False,
     "`topk` gives values and indices, in step with each other."),
    ("Line 4", False,
     "A probability printed as a percentage would be fine here."),
)  # fmt: skip
