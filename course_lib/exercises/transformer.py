"""Exercises of chapter 4: layer norm, GELU, the block, embeddings, counting parameters."""

import math

import torch

from course_lib.grading import Mistake, define, edge, mixed, prediction, question, wave, whole

_GAIN = "It goes wrong only where `gain` is not 1. What was normalised is multiplied by it."
_BIAS = "It goes wrong only where `bias` is not 0. It is added at the very end."
_EPS = "It goes wrong only where `eps` is large. It is added to the variance, under the root."


@define(
    level=1,
    minutes=10,
    task="""Normalise every token over its own features: subtract the mean, divide by the standard
    deviation (with `eps` under the root), then multiply by `gain` and add `bias`.""",
    hints=[
        "The statistics are taken per token, over the last axis, and keep that axis.",
        "`x.var(...)` divides by n - 1 unless you say `unbiased=False`.",
        "sqrt(var + eps): the eps stands *under* the root.",
    ],
    insight="Every token is brought to the same size before it is read, so that no token can shout "
    "the others down.",
    probes=lambda: [
        edge("gain", _GAIN, wave(2, 3, 4), wave(4, phase=1), torch.zeros(4), 1e-9),
        edge("bias", _BIAS, wave(2, 3, 4), torch.ones(4), wave(4, phase=2), 1e-9),
        mixed(wave(2, 3, 4), wave(4, phase=1), wave(4, phase=2), 1e-5),
        edge("eps", _EPS, wave(2, 3, 4), torch.ones(4), torch.zeros(4), 0.5),
        (wave(1, 2, 4, phase=2, scale=4), torch.ones(4), torch.zeros(4), 1e-9),
        mixed(wave(3, 3, 3, phase=3, scale=5), wave(3, phase=4) + 2, wave(3, phase=5), 0.5),
        edge(
            "equal_features",
            "It goes wrong only where all features of a token are equal. Its variance is 0, and "
            "`eps` under the root is there for that: the token becomes 0, and then `bias`.",
            torch.ones(1, 2, 4),
            torch.ones(4),
            wave(4, phase=6),
            1e-5,
        ),
        mixed(wave(2, 2, phase=7) + 3, wave(2, phase=8), torch.zeros(2), 0.1),
    ],
    mistakes=[
        Mistake(
            "unbiased",
            "`x.var` divides by n - 1 here. Layer norm uses the plain mean of squares: "
            "`unbiased=False`.",
            {"unbiased=False": "unbiased=True"},
        ),
        Mistake(
            "wrong_dim",
            "You normalise across the positions. Each token is normalised on its own, over its "
            "features: `dim=-1`.",
            {
                "x.mean(dim=-1": "x.mean(dim=-2",
                "x.var(dim=-1": "x.var(dim=-2",
            },
            {
                "x.mean(dim=-1": "x.mean(dim=0",
                "x.var(dim=-1": "x.var(dim=0",
            },
        ),
        Mistake(
            "whole_tensor",
            "You take one mean and one variance of everything. Each token has its own.",
            {
                "x.mean(dim=-1, keepdim=True)": "x.mean()",
                "x.var(dim=-1, keepdim=True, unbiased=False)": "x.var(unbiased=False)",
            },
        ),
        Mistake(
            "eps_outside",
            "`eps` belongs under the root: sqrt(var + eps), and not sqrt(var) + eps.",
            {"torch.sqrt(var + eps)": "(torch.sqrt(var) + eps)"},
        ),
        Mistake(
            "no_sqrt",
            "You divide by the variance. Its square root, the standard deviation, has the unit of "
            "x.",
            {"torch.sqrt(var + eps)": "(var + eps)"},
        ),
        Mistake(
            "no_gain_and_bias",
            "`gain` or `bias` is not used, or neither: what was normalised is scaled and "
            "shifted again, by numbers that are learned.",
            {" * gain + bias": ""},
            {" * gain": ""},
            {" + bias": ""},
        ),
        Mistake(
            "not_centred",
            "The mean is not subtracted. (Without it and with the mean square in place of the "
            "variance it would be RMSNorm, which later models use.)",
            {"(x - mean) /": "x /"},
            {
                "x.var(dim=-1, keepdim=True, unbiased=False)": (
                    "x.pow(2).mean(dim=-1, keepdim=True)"
                ),
                "(x - mean) /": "x /",
            },
        ),
        Mistake(
            "no_eps",
            "`eps` is not used. A token whose features are all equal has variance 0, and 0 / 0 is "
            "NaN.",
            {"var + eps": "var"},
        ),
        Mistake(
            "bias_first",
            "The order is scale, then shift: y * gain + bias. You shift first.",
            {
                "(x - mean) / torch.sqrt(var "
                "+ eps) * gain + bias": "((x - mean) / torch.sqrt(var + eps) + bias) * gain"
            },
        ),
        Mistake(
            "gain_plus_one",
            "You multiply by 1 + gain. The gain is the factor itself, and starts at 1 in a new "
            "model.",
            {"* gain +": "* (1 + gain) +"},
        ),
        Mistake(
            "range",
            "You divide by the largest number or by the range. It is the standard deviation.",
            {"torch.sqrt(var + eps)": "(x.amax(-1, True) - x.amin(-1, True) + eps)"},
            {"torch.sqrt(var + eps)": "((x - mean).abs().amax(-1, keepdim=True) + eps)"},
        ),
        Mistake(
            "length",
            "You divide by the length of the vector, which is larger by the root of C. The "
            "variance is a *mean* of squares.",
            {"x.var(dim=-1, keepdim=True, unbiased=False)": "(x - mean).pow(2).sum(-1, True)"},
        ),
        Mistake(
            "absolute_deviation",
            "This is the mean absolute deviation. The standard deviation is the root of the mean "
            "*square*.",
            {"torch.sqrt(var + eps)": "((x - mean).abs().mean(-1, keepdim=True) + eps)"},
        ),
        Mistake(
            "squares_not_centred",
            "The variance is the mean square of x *minus its mean*. You take the mean square of x "
            "itself.",
            {
                "x.var(dim=-1, keepdim=True, unbiased=False)": "(x * x).mean(dim=-1, keepdim=True)",
            },
        ),
    ],
)
def my_layer_norm(x, gain, bias, eps):
    """Normalise each token over its features: x (..., C), gain and bias (C,) -> (..., C)."""
    mean = x.mean(dim=-1, keepdim=True)  #| per token
    var = x.var(dim=-1, keepdim=True, unbiased=False)  #| per token, dividing by n
    return (x - mean) / torch.sqrt(var + eps) * gain + bias  #| normalise, scale, shift


@define(
    level=1,
    minutes=5,
    task="""Write GPT-2's gate from memory, the tanh form of GELU: 0.5 x (1 + tanh(sqrt(2 / pi) (x
    + 0.044715 x^3))).""",
    hints=[
        "For large x the result is x, for very negative x it is 0. Try 10 and -10.",
        "`math.sqrt(2 / math.pi)`: the whole fraction stands under the root.",
    ],
    insight="A gate that opens gradually: x times (nearly) the probability that a standard normal "
    "number is below x.",
    probes=lambda: [
        (wave(2, 4, scale=3),),
        (torch.tensor([-6.0, -0.75, 0.0, 0.5, 8.0]),),
        (torch.tensor(1.5),),
        (torch.tensor([-3.0, -2.5]),),
    ],
    mistakes=[
        Mistake(
            "exact",
            "This is the exact GELU, with the error function. GPT-2 was trained with the tanh "
            "form. They differ by up to 0.0005, enough to notice when weights are loaded.",
            {
                "0.5 * x * (1 + "
                "torch.tanh(math.sqrt(2 / math.pi) "
                "* (x + 0.044715 * x**3)))": "0.5 * x * (1 + torch.erf(x / math.sqrt(2)))"
            },
        ),
        Mistake(
            "no_half",
            "The factor 0.5 is missing: for large x, GELU(x) is x and not 2x.",
            {"0.5 * x * (": "x * ("},
        ),
        Mistake(
            "square",
            "The x inside is squared and must be cubed: the tanh needs an odd function.",
            {"x**3": "x**2"},
        ),
        Mistake(
            "root",
            "The constant is the root of the whole fraction: sqrt(2 / pi).",
            {"math.sqrt(2 / math.pi)": "math.sqrt(2) / math.pi"},
            {"math.sqrt(2 / math.pi)": "2 / math.pi"},
            {"2 / math.pi": "math.pi / 2"},
        ),
        Mistake(
            "relu",
            "This is ReLU. GELU is smooth, and a little negative around -0.75.",
            {
                "0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 "
                "* x**3)))": "torch.relu(x)"
            },
        ),
        Mistake(
            "sigmoid_form",
            "This is the sigmoid form, x * sigmoid(1.702 x): close to GELU, but not what GPT-2 "
            "uses.",
            {
                "0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) "
                "* (x + 0.044715 * x**3)))": "x * torch.sigmoid(1.702 * x)"
            },
        ),
        Mistake(
            "no_x",
            "This is only the gate, between 0 and 1. It multiplies x.",
            {"0.5 * x * (": "0.5 * ("},
        ),
        Mistake(
            "no_cubic",
            "The cubic term is missing.",
            {"(x + 0.044715 * x**3)": "x"},
        ),
        Mistake(
            "constant",
            "The constant is 0.044715: there is a zero behind the point.",
            {"0.044715": "0.44715"},
        ),
        Mistake(
            "brackets",
            "sqrt(2 / pi) multiplies the whole bracket, the cubic term, too.",
            {"(x + 0.044715 * x**3)": "x + 0.044715 * x**3"},
        ),
        Mistake(
            "no_one",
            "The 1 is missing: 1 + tanh goes from 0 to 2, and half of that is the gate.",
            {"(1 + torch": "(torch"},
        ),
        Mistake(
            "sign",
            "The tanh has the wrong sign: the gate opens for large x.",
            {"(1 + torch": "(1 - torch"},
        ),
        Mistake(
            "no_factor",
            "The factor sqrt(2 / pi) is missing.",
            {"math.sqrt(2 / math.pi) * ": ""},
        ),
        Mistake(
            "silu",
            "This is SiLU, x * sigmoid(x), which later models use.",
            {
                "0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))": (
                    "x * torch.sigmoid(x)"
                ),
            },
        ),
        Mistake(
            "constant_cubed",
            "You cube 0.044715 along with x. Only x is cubed: `**` binds more tightly than `*`, so "
            "no brackets are needed.",
            {"0.044715 * x**3": "(0.044715 * x) ** 3"},
        ),
        Mistake(
            "bracket_cubed",
            "You cube the whole bracket. Only the second x in it is cubed.",
            {"(x + 0.044715 * x**3)": "(x + 0.044715 * x) ** 3"},
        ),
        Mistake(
            "factor_outside",
            "sqrt(2 / pi) stands inside the tanh, and yours stands in front of it.",
            {
                "torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))": (
                    "math.sqrt(2 / math.pi) * torch.tanh(x + 0.044715 * x**3)"
                ),
            },
        ),
        Mistake(
            "sigmoid_for_tanh",
            "You use a sigmoid, from 0 to 1, in the place of tanh, from -1 to 1.",
            {"torch.tanh(": "torch.sigmoid("},
        ),
        Mistake(
            "minus_cubic",
            "The cubic term is added, and you subtract it.",
            {"x + 0.044715": "x - 0.044715"},
        ),
        Mistake(
            "one_inside",
            "The 1 stands inside the tanh. It is added to the tanh: 1 + tanh(...).",
            {
                "(1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))": (
                    "torch.tanh(1 + math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))"
                ),
            },
        ),
    ],
)
def my_gelu(x):
    """The tanh form of GELU, element by element."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))  #| by tanh


def _mix(x):
    """A stand-in for attention: each token plus half of the one before it."""
    return x + 0.5 * torch.roll(x, 1, dims=-2)


def _bend(x):
    """A stand-in for the MLP."""
    return x * x - 0.3 * x


def _norm_1(x):
    return (x - x.mean(dim=-1, keepdim=True)) * 1.5


def _norm_2(x):
    return (x - x.mean(dim=-1, keepdim=True)) * 0.5 + 0.25


@define(
    level=1,
    minutes=5,
    task="""Put a Transformer block together, the way GPT-2 does it (pre-norm). `ln_1`, `attn`,
    `ln_2` and `mlp` are functions. Each half reads the stream through its own layer norm and adds
    what it found to the stream.""",
    hints=[
        "Two lines, and both have the form x = x + ...",
        "The layer norm is applied to what a half *reads*; the stream itself is never normalised.",
    ],
    insight="Everything in a GPT writes to one shared stream, by addition. Take a block out, and "
    "the model still speaks.",
    probes=lambda: [
        (wave(1, 3, 4), _norm_1, _mix, _norm_2, _bend),
        (wave(2, 2, 3, phase=2), _norm_2, _bend, _norm_1, _mix),
        (wave(2, 4, 2, phase=4, scale=2), _norm_1, torch.tanh, _norm_2, _mix),
    ],
    mistakes=[
        Mistake(
            "post_norm",
            "You normalise after adding (post-norm, the layout of 2017). GPT-2 normalises only "
            "what a half reads and leaves the stream as it is.",
            {"x + attn(ln_1(x))": "ln_1(x + attn(x))", "x + mlp(ln_2(x))": "ln_2(x + mlp(x))"},
        ),
        Mistake(
            "no_residual",
            "The stream is replaced and not added to: `x = x + ...`.",
            {"x + attn(": "attn(", "x + mlp(": "mlp("},
        ),
        Mistake(
            "no_residual_attention",
            "What attention found replaces the stream. It is added to it.",
            {"x + attn(": "attn("},
        ),
        Mistake(
            "no_residual_mlp",
            "What the MLP found replaces the stream. It is added to it.",
            {"x + mlp(": "mlp("},
        ),
        Mistake(
            "residual_from_normed",
            "You add to the *normalised* x. The stream carries the raw x on.",
            {"x + attn(": "ln_1(x) + attn(", "x + mlp(": "ln_2(x) + mlp("},
        ),
        Mistake(
            "parallel",
            "The MLP reads what went into the block, and not what attention has added. (Some later "
            "models do that on purpose.)",
            {
                "x = x + attn(ln_1(x))": "y = attn(ln_1(x))",
                "x = x + mlp(ln_2(x))": "x = x + y + mlp(ln_2(x))",
            },
        ),
        Mistake(
            "same_norm",
            "You use one layer norm twice. Attention reads through `ln_1` and the MLP through "
            "`ln_2`.",
            {"ln_2(x)": "ln_1(x)"},
            {"ln_1(x)": "ln_2(x)"},
        ),
        Mistake(
            "mlp_first",
            "The MLP comes before attention. First gather, then think.",
            {"attn(ln_1(x))": "mlp(ln_2(x))", "mlp(ln_2(x))": "attn(ln_1(x))"},
        ),
        Mistake(
            "no_norm",
            "A layer norm is not used. Each half reads the stream through its own.",
            {"attn(ln_1(x))": "attn(x)", "mlp(ln_2(x))": "mlp(x)"},
            {"ln_1(x)": "x"},
            {"ln_2(x)": "x"},
        ),
        Mistake(
            "norm_of_output",
            "You normalise what a half *found*. Normalise what it reads.",
            {"attn(ln_1(x))": "ln_1(attn(x))", "mlp(ln_2(x))": "ln_2(mlp(x))"},
        ),
        Mistake(
            "half",
            "Half of the block is missing. It has attention *and* an MLP.",
            {"    x = x + mlp(ln_2(x))\n": ""},
            {"    x = x + attn(ln_1(x))\n": ""},
        ),
        Mistake(
            "norms_swapped",
            "The two layer norms have changed places.",
            {"ln_1(x)": "ln_2(x)", "ln_2(x)": "ln_1(x)"},
        ),
        Mistake(
            "lost",
            "What attention has added is lost: the second half adds to the block's input and "
            "not to the stream as it is then.",
            {"x = x + attn": "h = x + attn", "mlp(ln_2(x))": "mlp(ln_2(h))"},
        ),
        Mistake(
            "stream_doubled",
            "The stream is added once too often: x + (x + ...). Each half adds only what it found.",
            {"x = x + attn": "x = x + x + attn"},
            {"x = x + mlp": "x = x + x + mlp"},
        ),
        Mistake(
            "chained",
            "The MLP reads the *output* of attention alone. It reads the stream, to which that "
            "output was added.",
            lambda x, ln_1, attn, ln_2, mlp: x + mlp(ln_2(attn(ln_1(x)))),
            lambda x, ln_1, attn, ln_2, mlp: x + (a := attn(ln_1(x))) + mlp(ln_2(a)),
        ),
        Mistake(
            "norm_at_the_end",
            "You normalise the stream when the block is done. GPT-2 leaves the stream as it is, "
            "and only what is *read* is normalised.",
            lambda x, ln_1, attn, ln_2, mlp: ln_2(block(x, ln_1, attn, ln_2, mlp)),
            lambda x, ln_1, attn, ln_2, mlp: block(ln_1(x), lambda y: y, attn, ln_2, mlp),
        ),
    ],
)
def block(x, ln_1, attn, ln_2, mlp):
    """One pre-norm Transformer block: x (B, T, C) -> (B, T, C)."""
    x = x + attn(ln_1(x))  #| positions talk to each other
    x = x + mlp(ln_2(x))  #| each position thinks for itself
    return x


@define(
    level=1,
    minutes=5,
    task="""Make the vectors that go into the first block: for every token the row of `wte` with
    its id, plus the row of `wpe` with its position, counted from 0.""",
    hints=[
        "Indexing a matrix with a tensor of ids picks rows: `wte[idx]` is (B, T, C).",
        "The positions are 0 to T - 1 in every row of the batch; addition broadcasts (T, C).",
    ],
    insight="Nothing else says outright where a token stands. (The causal mask lets deep models "
    "infer order, slowly; this addition hands it to the first layer.)",
    probes=lambda: [
        (whole(2, 3, below=5), wave(5, 4), wave(6, 4, phase=1)),
        (whole(1, 4, below=3, phase=2), wave(3, 2, phase=2), wave(5, 2, phase=3)),
        (whole(3, 1, below=4, phase=1), wave(4, 3, phase=4), wave(5, 3, phase=5)),
    ],
    mistakes=[
        Mistake(
            "no_positions",
            "The positions are missing: every place in the text looks the same.",
            {" + wpe[: idx.size(1)]": ""},
        ),
        Mistake(
            "no_tokens",
            "The token vectors are missing: every text looks the same.",
            {"wte[idx] + wpe[: idx.size(1)]": "wpe[: idx.size(1)].expand(*idx.shape, -1)"},
        ),
        Mistake(
            "positions_by_token",
            "You look up the position with the token's id. Positions are 0, 1, 2, ... in every "
            "text.",
            {"wpe[: idx.size(1)]": "wpe[idx]"},
        ),
        Mistake(
            "from_one",
            "Positions start at 0, and your first token uses row 1.",
            {"wpe[: idx.size(1)]": "wpe[1 : idx.size(1) + 1]"},
        ),
        Mistake(
            "one_position",
            "Every token gets the same position. Token t gets row t.",
            {"wpe[: idx.size(1)]": "wpe[idx.size(1) - 1]"},
            {"wpe[: idx.size(1)]": "wpe[0]"},
            {"wpe[: idx.size(1)]": "wpe[idx.size(1)]"},
        ),
        Mistake(
            "by_batch",
            "You count positions along the batch. Time is the second axis: `idx.size(1)`.",
            {"wpe[: idx.size(1)]": "wpe[: idx.size(0)][:, None]"},
            {"wpe[: idx.size(1)]": "wpe[: len(idx)]"},
        ),
        Mistake(
            "concatenated",
            "You put the two vectors side by side. They are added.",
            {
                "wte[idx] + wpe[: idx.size(1)]": "torch.cat([wte[idx], wpe[: "
                "idx.size(1)].expand(*idx.shape, -1)], dim=-1)"
            },
        ),
        Mistake(
            "multiplied",
            "You multiply the two vectors. They are added.",
            {" + wpe": " * wpe"},
        ),
        Mistake(
            "scaled",
            "The token vectors are not scaled here. (The Transformer of 2017 did that.)",
            {"wte[idx]": "wte[idx] * math.sqrt(wte.size(1))"},
        ),
        Mistake(
            "last_rows",
            "You use the last rows of `wpe`. Positions count from its first row.",
            {"wpe[: idx.size(1)]": "wpe[-idx.size(1) :]"},
        ),
        Mistake(
            "run_on",
            "Your positions run on from row to row of the batch. Every row is a text of its own"
            " and begins at 0.",
            {"wpe[: idx.size(1)]": "wpe[torch.arange(idx.numel()).view(idx.shape) % len(wpe)]"},
        ),
        Mistake(
            "backwards",
            "The positions run backwards. The first token gets row 0.",
            {"wpe[: idx.size(1)]": "wpe[: idx.size(1)].flip(0)"},
        ),
        Mistake(
            "averaged",
            "You take the mean of the two vectors. They are added, and nothing is halved.",
            lambda idx, wte, wpe: embed(idx, wte, wpe) / 2,
        ),
        Mistake(
            "tables_swapped",
            "The two tables have changed places: tokens are looked up in `wte`, positions in "
            "`wpe`.",
            lambda idx, wte, wpe: wpe[idx] + wte[: idx.size(1)],
        ),
        Mistake(
            "sum_of_positions",
            "Every token gets the sum of all position vectors. Token t gets row t alone.",
            {"wpe[: idx.size(1)]": "wpe[: idx.size(1)].sum(0)"},
            {"wpe[: idx.size(1)]": "wpe[: idx.size(1)].cumsum(0)"},
        ),
    ],
)
def embed(idx, wte, wpe):
    """Token vectors plus position vectors: idx (B, T), wte (V, C), wpe (L, C) -> (B, T, C)."""
    return wte[idx] + wpe[: idx.size(1)]  #| what it is, plus where it stands


def _with_mlp_of(n):
    """The count if the MLP were n times as wide inside as the stream."""
    return lambda V, T, L, C: count_params(V, T, L, C) - L * ((8 - 2 * n) * C + (4 - n)) * C


_BLOCK = """Without blocks (L = 0) the count is right, so what one block holds is not. Go through
its layers: a linear layer from n to m has n * m weights and m biases, a layer norm has 2C."""


@define(
    level=2,
    minutes=10,
    task="""Count the parameters of a GPT-2 with vocabulary V, context T, L layers and width C:
    every linear layer of the blocks has a bias, the MLP is 4C wide inside, and the output head is
    the token embedding again. Fill in what one block holds.""",
    hints=[
        "A linear layer from n to m has n * m weights and m biases.",
        "Attention: C to 3C, and C to C. The MLP: C to 4C and back to C.",
        "All in all a block has 12 C^2 + 13 C parameters.",
    ],
    insight="For V = 50257, T = 1024, L = 12, C = 768 this is 124,439,808: GPT-2 small, from your "
    "own arithmetic.",
    probes=lambda: [
        *(edge("block", _BLOCK, *shape) for shape in [(50257, 1024, 12, 768), (65, 32, 2, 16)]),
        *(edge("block", _BLOCK, *shape) for shape in [(100, 8, 1, 4), (11, 7, 5, 3)]),
        (50, 9, 0, 6),
        (12, 5, 0, 3),
    ],
    mistakes=[
        Mistake(
            "untied",
            "You count an output head of its own. In GPT-2 it is the *same* matrix as the token "
            "embedding, which saves 38.6 million parameters.",
            {"return V * C": "return 2 * V * C"},
        ),
        Mistake(
            "no_biases",
            "Biases of the linear layers are missing, all or some of them: 3C and C in attention, "
            "4C and C in the MLP.",
            {
                "(C * 3 * C + 3 * C) + (C * C + C)": "C * 3 * C + C * C",
                "(C * 4 * C + 4 * C) + (4 * C * C + C)": "C * 4 * C + 4 * C * C",
            },
            {"(C * 4 * C + 4 * C) + (4 * C * C + C)": "C * 4 * C + 4 * C * C"},
            {"(4 * C * C + C)": "4 * C * C"},
            {"C * 3 * C + 3 * C": "C * 3 * C"},
        ),
        Mistake(
            "no_positions",
            "The position embedding, T rows of width C, is missing.",
            {" + T * C": ""},
        ),
        Mistake(
            "no_final_norm",
            "The layer norm after the last block, 2C parameters, is missing.",
            {" + L * block + 2 * C": " + L * block"},
        ),
        Mistake(
            "no_norms",
            "4C parameters per block are missing: the biases of attention (3C + C), the MLP's bias "
            "on the way out to 4C, or the two layer norms (2C each).",
            {" + 2 * 2 * C": ""},
        ),
        Mistake(
            "one_norm",
            "2C parameters per block are missing: the bias of queries, keys and values is 3C and "
            "not C, or one of the two layer norms is missing.",
            {" + 2 * 2 * C": " + 2 * C"},
        ),
        Mistake(
            "no_output_projection",
            "Attention has a second matrix, the projection from C to C after the heads.",
            {" + (C * C + C)": ""},
        ),
        Mistake(
            "one_qkv",
            "Queries, keys and values are three projections from C to C.",
            {"C * 3 * C + 3 * C": "C * C + C"},
        ),
        Mistake(
            "one_way",
            "The MLP has two matrices: C to 4C, and 4C back to C.",
            {" + (4 * C * C + C)": ""},
        ),
        Mistake(
            "one_layer",
            "There are L blocks, and you count one.",
            {"L * block": "block"},
        ),
        Mistake(
            "scores",
            "You count the T x T scores of attention. They are computed anew for every text and "
            "are no parameters.",
            {"block = attention": "scores = T * T\n    block = scores + attention"},
        ),
        Mistake(
            "gain_only",
            "A layer norm has a gain *and* a bias, 2C parameters.",
            {" + 2 * 2 * C": " + 2 * C", " + L * block + 2 * C": " + L * block + C"},
        ),
        Mistake(
            "no_tokens",
            "The token embedding, V rows of width C, is missing.",
            {"    return V * C": "    V = 0\n    return V * C"},
        ),
        Mistake(
            "mlp_width",
            "The MLP is four times as wide inside as the stream: C to 4C, and 4C back to C.",
            *map(_with_mlp_of, (1, 2, 3, 8)),
        ),
        Mistake(
            "mlp_biases",
            "A linear layer has as many biases as *outputs*. The MLP's way back goes to C numbers, "
            "so it has C of them and not 4C.",
            lambda V, T, L, C: count_params(V, T, L, C) + L * 3 * C,
        ),
        Mistake(
            "two_C_too_many",
            "2C parameters per block are too many: the projection after the heads has C biases and "
            "not 3C, or you count a third layer norm in each block.",
            lambda V, T, L, C: count_params(V, T, L, C) + L * 2 * C,
        ),
        Mistake(
            "projection_of_3C",
            "The projection after the heads goes from C to C: the heads side by side are C "
            "numbers.",
            lambda V, T, L, C: count_params(V, T, L, C) + L * 2 * C * C,
        ),
        Mistake(
            "positions_by_vocabulary",
            "The position embedding has a row of C numbers for each place in the text, T of them.",
            lambda V, T, L, C: count_params(V, T, L, C) - T * C + T * V,
            lambda V, T, L, C: count_params(V, T, L, C) - T * C + T,
        ),
        Mistake(
            "head_bias",
            "You give the output head a bias. In GPT-2 it is the token embedding and nothing more.",
            lambda V, T, L, C: count_params(V, T, L, C) + V,
        ),
    ],
)
def count_params(V, T, L, C):
    """The number of parameters of a GPT-2 of this shape."""
    attention = (C * 3 * C + 3 * C) + (C * C + C)  #| queries, keys, values; projection; biases
    mlp = (C * 4 * C + 4 * C) + (4 * C * C + C)  #| out and back, with biases
    block = attention + mlp + 2 * 2 * C
    return V * C + T * C + L * block + 2 * C


@prediction(
    "Which share of the parameters of GPT-2 small (V = 50257, T = 1024, L = 12, C = 768) is its "
    "token embedding, in percent?",
    why="Nearly a third: a large vocabulary is expensive in a small model. In GPT-2 xl, with 48 "
    "layers of width 1600, the share is 5 %.",
    tolerance=0.1,
)
def share_of_the_embedding():
    return round(100 * 50257 * 768 / count_params(50257, 1024, 12, 768), 1)


@prediction(
    "The stream starts with standard deviation 1. Each of 12 blocks adds to it twice, and "
    "everything added is independent with standard deviation 1. What is the stream's standard "
    "deviation at the end?",
    why="Variances add: 1 + 24 = 25, and the root of that is 5. Standard deviations do not add, "
    "so it is not 25. GPT-2 starts with smaller weights where it writes to the stream, to "
    "keep it at bay.",
    tolerance=0.05,
)
def growth_of_the_stream():
    generator = torch.Generator().manual_seed(0)
    stream = sum(torch.randn(20000, generator=generator) for _ in range(1 + 2 * 12))
    return round(stream.std().item(), 1)


question(
    "transformer.decoder_only",
    "An article says that GPT consists of an encoder, which understands the prompt, and a decoder, "
    "which writes the answer. What is right?",
    ("It has both, but they share their weights.", False,
     "There is only one stack. It reads the prompt and writes on by the same computation."),
    ("It has a decoder only: one stack of blocks with a causal mask.", True,
     "The Transformer of 2017 had both, for translation. GPT keeps the masked half, without "
     "cross-attention, and the prompt is simply the beginning of the text."),
    ("It has an encoder only, like BERT.", False,
     "BERT lets every position look both ways and cannot write on. GPT is masked."),
    ("The article is right.", False,
     "That is the Transformer of 2017, as T5 and translation models use it."),
)  # fmt: skip

question(
    "transformer.first_loss",
    "A fresh GPT with a vocabulary of 512 shows a loss of 9.4 on its first batch. What do you "
    "make of it?",
    ("Nothing: it has not learned anything yet.", False,
     "A model that knows nothing should *admit* it, and give every token about the same "
     "probability. That costs ln 512 = 6.2 nats."),
    ("The vocabulary is too small.", False,
     "A small vocabulary lowers the loss of ignorance."),
    ("The learning rate is too high.", False,
     "Before the first step no learning rate has been used."),
    ("Its initial logits are too large: it is confidently wrong.", True,
     "Ignorance costs ln 512 = 6.2. Anything well above means that the fresh model has strong "
     "opinions; look at the size of the logits and at the initialisation."),
)  # fmt: skip

question(
    "transformer.width_and_parameters",
    "You double the width C of a deep GPT and leave the number of layers as it is. By which "
    "factor do the parameters of its blocks grow, about?",
    ("4", True,
     "A block has 12 C^2 + 13 C parameters, and the square dominates."),
    ("2", False,
     "That is how the embeddings grow; the matrices of the blocks are C by C."),
    ("8", False,
     "No part of a block has C in the third power."),
    ("1", False,
     "Every matrix of a block has both its sides tied to the width."),
    truth=lambda: round(_block_parameters(2 * 4096) / _block_parameters(4096)),
)  # fmt: skip


def _block_parameters(C):
    return count_params(1, 1, 2, C) - count_params(1, 1, 1, C)
