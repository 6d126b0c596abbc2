"""Blind mutants that the checks let pass, each with the reason why it may.

The keys are what `course_lib.grading.mutants` prints: the line before and after. A test demands
that exactly these survive. Lines are longer than elsewhere because they are quoted.
"""

# ruff: noqa: E501

SURVIVORS = {
    "next_token.bigram_counts": {
        "ones = torch.ones(len(previous))  ->  ones = torch.ones(len(following))": "both halves have the same length",
    },
    "next_token.nll": {
        "picked = probs[torch.arange(len(targets)), targets]  ->  picked = probs[torch.arange(len(probs)), targets]": "there are as many rows as targets",
    },
    "tokenizer.train_bpe": {
        "ids, merges = (list(text.encode('utf-8')), {})  ->  ids, merges = (text.encode('utf-8'), {})": "bytes are walked over like a list of numbers",
    },
    "attention.attention_scores": {
        "return q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  ->  return q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))": "transposing is symmetric in its two axes",
        "return q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  ->  return q @ k.transpose(-2, -1) / math.sqrt(k.size(-1))": "queries and keys have the same size here",
    },
    "attention.causal_attention": {
        "T = q.size(-2)  ->  T = k.size(-2)": "queries and keys have the same size here",
        "scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  ->  scores = q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))": "transposing is symmetric in its two axes",
        "scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  ->  scores = q @ k.transpose(-2, -1) / math.sqrt(k.size(-1))": "queries and keys have the same size here",
        "future = torch.ones(T, T, device=q.device).triu(diagonal=1).bool()  ->  future = torch.ones(T, T, device=k.device).triu(diagonal=1).bool()": "all inputs are on one device",
        "future = torch.ones(T, T, device=q.device).triu(diagonal=1).bool()  ->  future = torch.ones(T, T).triu(diagonal=1).bool()": "right on the CPU, and a remark says so",
    },
    "attention.split_heads": {
        "return x.view(B, T, n_head, C // n_head).transpose(1, 2)  ->  return x.view(B, T, n_head, C // n_head).transpose(2, 1)": "transposing is symmetric in its two axes",
    },
    "attention.merge_heads": {
        "return y.transpose(1, 2).reshape(B, T, H * d)  ->  return y.transpose(2, 1).reshape(B, T, H * d)": "transposing is symmetric in its two axes",
    },
    "attention.multi_head_attention": {
        "q, k, v = (t.view(B, T, n_head, d).transpose(1, 2) for t in parts)  ->  q, k, v = (t.view(B, T, n_head, d).transpose(2, 1) for t in parts)": "transposing is symmetric in its two axes",
        "scores = q @ k.transpose(-2, -1) / math.sqrt(d)  ->  scores = q @ k.transpose(-1, -2) / math.sqrt(d)": "transposing is symmetric in its two axes",
        "scores = q @ k.transpose(-2, -1) / math.sqrt(d)  ->  scores = q @ k.transpose(2, -1) / math.sqrt(d)": "with four axes, axis 2 is axis -2",
        "return y.transpose(1, 2).reshape(B, T, C) @ Wo.T  ->  return y.transpose(2, 1).reshape(B, T, C) @ Wo.T": "transposing is symmetric in its two axes",
        "future = torch.ones(T, T, device=x.device).triu(diagonal=1).bool()  ->  future = torch.ones(T, T, device=Wqkv.device).triu(diagonal=1).bool()": "all inputs are on one device",
        "future = torch.ones(T, T, device=x.device).triu(diagonal=1).bool()  ->  future = torch.ones(T, T).triu(diagonal=1).bool()": "right on the CPU, and a remark says so",
    },
    "transformer.count_params": {
        "block = attention + mlp + 2 * 2 * C  ->  block = attention + mlp + (2 + 2) * C": "2 + 2 = 2 * 2",
    },
    "training.lr_at": {
        "if step >= total:  ->  if step > total:": "at step == total the cosine gives min_lr, too",
        "progress = (step - warmup) / (total - warmup)  ->  progress = (warmup - step) / (total - warmup)": "the cosine is even: the sign of progress does not matter",
        "progress = (step - warmup) / (total - warmup)  ->  progress = (step - warmup) / (warmup - total)": "the cosine is even: the sign of progress does not matter",
    },
    "training.clip_gradients": {
        "scale = min(1.0, max_norm / total)  ->  scale = min(max_norm / total, 1.0)": "a minimum does not depend on the order",
    },
    "training.accumulated_gradient": {
        "g = 2 * x.T @ (x @ w - y) / len(x)  ->  g = 2 * x.T @ (x @ w - y) / len(y)": "x and y have as many rows, xs and ys as many entries",
        "total = total + g / len(xs)  ->  total = total + g / len(ys)": "x and y have as many rows, xs and ys as many entries",
    },
    "sampling.nucleus": {
        "return torch.zeros_like(probs).scatter(0, order, kept / kept.sum())  ->  return torch.zeros_like(probs).scatter(-1, order, kept / kept.sum())": "a vector has one axis: 0 is -1",
        "cumulative = torch.cumsum(sorted_p, dim=0)  ->  cumulative = torch.cumsum(sorted_p, dim=-1)": "a vector has one axis: 0 is -1",
        "return torch.zeros_like(probs).scatter(0, order, kept / kept.sum())  ->  return probs.scatter(0, order, kept / kept.sum())": "every entry is overwritten, so what was there does not matter",
        "return torch.zeros_like(probs).scatter(0, order, kept / kept.sum())  ->  return torch.ones_like(probs).scatter(0, order, kept / kept.sum())": "every entry is overwritten, so what was there does not matter",
    },
    "sampling.sample": {
        "return int((torch.cumsum(probs, dim=0) <= u).sum())  ->  return (torch.cumsum(probs, dim=0) <= u).sum()": "a tensor with one number serves as an index, too",
        "return int((torch.cumsum(probs, dim=0) <= u).sum())  ->  return int((torch.cumsum(probs, dim=-1) <= u).sum())": "a vector has one axis: 0 is -1",
    },
    "sampling.greedy": {
        "following = logits[:, -1].argmax(dim=-1, keepdim=True)  ->  following = logits[:, -1].argmax(dim=1, keepdim=True)": "with two axes, axis 1 is axis -1",
    },
    "sampling.repetition_penalty": {
        "seen = sorted(set(seen))  ->  pass": "writing the same value to a place twice changes nothing",
        "seen = sorted(set(seen))  ->  seen = sorted(seen)": "writing the same value to a place twice changes nothing",
        "out[seen] = torch.where(old > 0, old / penalty, old * penalty)  ->  out[seen] = torch.where(old >= 0, old / penalty, old * penalty)": "0 divided and 0 multiplied are both 0",
    },
    "sampling.attend_with_cache": {
        "scores = q_new @ k.transpose(-2, -1) / math.sqrt(q_new.size(-1))  ->  scores = q_new @ k.transpose(-1, -2) / math.sqrt(q_new.size(-1))": "transposing is symmetric in its two axes",
        "scores = q_new @ k.transpose(-2, -1) / math.sqrt(q_new.size(-1))  ->  scores = q_new @ k.transpose(2, -1) / math.sqrt(q_new.size(-1))": "with four axes, axis 2 is axis -2",
        "scores = q_new @ k.transpose(-2, -1) / math.sqrt(q_new.size(-1))  ->  scores = q_new @ k.transpose(-2, -1) / math.sqrt(k_new.size(-1))": "queries and keys have the same size here",
    },
    "pretrained.to_linear": {
        "conv = ('c_attn.weight', 'c_proj.weight', 'c_fc.weight')  ->  conv = ('c_proj.weight', 'c_attn.weight', 'c_fc.weight')": "endswith does not care for the order of its endings",
    },
    "pretrained.split_qkv": {
        "return list(zip(W.chunk(3, dim=0), b.chunk(3)))  ->  return zip(W.chunk(3, dim=0), b.chunk(3))": "an iterator over the same pairs",
        "return list(zip(W.chunk(3, dim=0), b.chunk(3)))  ->  return list(zip(W.chunk(3), b.chunk(3)))": "0 is the default axis of chunk",
    },
    "pretrained.rename": {
        "if name.endswith(('.attn.bias', '.attn.masked_bias')):  ->  if name.endswith(('.attn.masked_bias', '.attn.bias')):": "endswith does not care for the order of its endings",
    },
    "pretrained.strided_windows": {
        "end = min(start + window, n_tokens)  ->  end = min(n_tokens, start + window)": "a minimum does not depend on the order",
        "if end == n_tokens:  ->  if scored == n_tokens:": "scored has just been set to end",
    },
}
