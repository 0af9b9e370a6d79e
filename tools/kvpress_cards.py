"""What the cards of token-keeping methods say they keep, in f64 from attention and keys.

Shares nothing with kvpress: a second opinion for make_kvpress_fixtures.py. Where published code is
known to differ from the method, the card wins, and the reason is told:

- budgets are integers that sum exactly, protected tokens counted inside;
- average pooling at the ends is over the tokens that are there;
- equal scores: the lower position first.

With `published` the same functions do what kvpress does. That its sets come out then shows that the
reason told is the whole difference.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Observed:
    """By layer: attention (n_head, T, T), keys and values (n_kv, T, head_dim), output projections
    (n_embd, n_head * head_dim); and, by part that was read again, its begin and end and, by layer,
    the attention of what was read (n_head, n, T + n)."""

    attention: list
    keys: list
    values: list
    outputs: list
    replays: list = ()

    @property
    def n_token(self):
        return self.keys[0].shape[1]


def grouped(x, n_kv):
    """(n_head, T) -> (n_kv, group, T)"""
    return x.reshape(n_kv, -1, x.shape[-1])


def average_pool(x, size, zeros):
    """Mean over the neighbours that exist, or with zeros beyond the ends."""
    reach = size // 2
    padded = np.pad(x, ((0, 0), (reach, reach)))
    there = np.pad(np.ones(x.shape[-1]), reach, constant_values=float(zeros))
    windows = [slice(i, i + x.shape[-1]) for i in range(2 * reach + 1)]
    return sum(padded[:, w] for w in windows) / sum(there[w] for w in windows)


def window_scores(seen, layer, press, published):
    """(n_kv, T - window): attention of the last queries to what lies before them."""
    rows = press.window_size
    a = seen.attention[layer][:, -rows:, :-rows].mean(axis=1)
    heads = grouped(a, len(seen.keys[layer])).mean(axis=1)
    return average_pool(heads, press.kernel_size, zeros=published)


def protect(scores, first=0, last=0):
    """Adds columns of protected tokens at the ends."""
    return np.pad(scores, ((0, 0), (first, last)), constant_values=np.inf)


def best(scores, n):
    """Ascending indices of the n largest, the lower index first among equals."""
    return sorted(np.lexsort((np.arange(len(scores)), -scores))[:n].tolist())


def uniform(scores_of_layer, n):
    return [[best(head, n) for head in layer] for layer in scores_of_layer]


def apportion(weights, total, low, high):
    """Integers in proportion to `weights` within [low, high] that sum to `total`: the multiple of
    the weights whose clipped sum is right, then largest remainders."""
    weights, a, b = np.asarray(weights), 0.0, 1e6
    for _ in range(200):
        middle = (a + b) / 2
        a, b = (middle, b) if np.clip(middle * weights, low, high).sum() < total else (a, middle)
    share = np.round(np.clip(b * weights, low, high), 6)  # so that equal remainders are equal
    whole = np.floor(share).astype(int)
    for i in np.argsort(np.round(whole - share, 6), kind="stable")[: total - whole.sum()]:
        whole[i] += 1
    assert whole.sum() == total
    return whole


def pyramid_budgets(seen, n, press):
    """(n_layer, n_kv), n on average: window + a line from 2r - r/beta to r/beta, r = n - window."""
    n_layer, n_kv, window = len(seen.keys), len(seen.keys[0]), press.window_size
    rest = n - window
    line = window + np.linspace(2 * rest - rest / press.beta, rest / press.beta, n_layer)
    flat = apportion(np.repeat(line, n_kv), n * n_layer * n_kv, window, seen.n_token)
    return flat.reshape(n_layer, n_kv)


def published_pyramid_budgets(seen, press):
    """The window is not taken off first, and each layer is rounded by itself."""
    n_layer, n_kv, window = len(seen.keys), len(seen.keys[0]), press.window_size
    mean = seen.n_token * (1 - press.compression_ratio)
    high = min(2 * mean - mean / press.beta, seen.n_token - window)
    low = 2 * mean - high
    layers = np.linspace(high, low, n_layer) if high >= low >= window else np.full(n_layer, mean)
    return np.repeat(np.rint(layers).astype(int), n_kv).reshape(n_layer, n_kv)


def pooled(scores, n, floor):
    """One layer: each head its own best and what is protected, then the best of all heads."""
    own = [set(best(head, max(int(n * floor), np.isinf(head).sum()))) for head in scores]
    rest = [(-s, t, h) for h, head in enumerate(scores) for t, s in enumerate(head)
            if t not in own[h]]
    n_more = n * len(scores) - sum(map(len, own))
    for _, t, h in sorted(rest)[:n_more]:
        own[h].add(t)
    return [sorted(kept) for kept in own]


def knorm(seen, n, press, published):
    return uniform([-np.linalg.norm(k, axis=-1) for k in seen.keys], n)


def streaming(seen, n, press, published):
    kept = list(range(press.n_sink)) + list(range(seen.n_token - n + press.n_sink, seen.n_token))
    return [[kept for _ in k] for k in seen.keys]


def tova(seen, n, press, published):
    rows = [a[:, -1, :-1].mean(axis=0) for a in seen.attention]
    shared = [[row] * len(k) for row, k in zip(rows, seen.keys)]
    return uniform([protect(np.array(s), last=1) for s in shared], n)


def h2o(seen, n, press, published):
    """Half of the budget for the newest, the rest by raw sums."""
    recent, n_seen = (0, np.arange(seen.n_token, 0, -1)) if published else (n // 2, 1)
    sums = [a.sum(axis=1) / n_seen for a in seen.attention]
    scores = [grouped(a, len(k)).mean(axis=1)[:, : seen.n_token - recent]
              for a, k in zip(sums, seen.keys)]
    return uniform([protect(s, last=recent) for s in scores], n)


def snapkv_scores(seen, press, published):
    return [protect(window_scores(seen, i, press, published), last=press.window_size)
            for i in range(len(seen.keys))]


def snapkv(seen, n, press, published):
    return uniform(snapkv_scores(seen, press, published), n)


def pyramidkv(seen, n, press, published):
    budgets = (published_pyramid_budgets(seen, press) if published
               else pyramid_budgets(seen, n, press))
    scores = snapkv_scores(seen, press, published)
    return [[best(head, m) for head, m in zip(*rows)] for rows in zip(scores, budgets)]


def adakv(seen, n, press, published):
    if hasattr(press.press, "window_size"):
        scores = snapkv_scores(seen, press.press, published)
    else:
        scores = [-np.linalg.norm(k, axis=-1) for k in seen.keys]
    return [pooled(layer, n, press.alpha_safeguard) for layer in scores]


def keydiff(seen, n, press, published):
    units = [k / np.linalg.norm(k, axis=-1, keepdims=True) for k in seen.keys]
    means = [u.mean(axis=1) for u in units]
    cosines = [np.einsum("htd,hd->ht", u, m / np.linalg.norm(m, axis=-1, keepdims=True))
               for u, m in zip(units, means)]
    return uniform([-c for c in cosines], n)


def chunkkv(seen, n, press, published):
    """Whole chunks by mean score; the last one taken is cut to the budget."""
    size, window, kept = press.chunk_length, press.press.window_size, []
    for layer, keys in enumerate(seen.keys):
        scores = window_scores(seen, layer, press.press, published)
        if published:
            scores = np.pad(scores, ((0, 0), (0, window)), constant_values=scores.max() + 1)
        starts = range(0, scores.shape[1], size)
        means = np.array([scores[:, i : i + size].mean() for i in starts])
        if published:
            chunks = best(means, max(1, int(len(means) * (1 - press.compression_ratio))))
            one = [t for c in chunks for t in range(c * size, min((c + 1) * size, seen.n_token))]
        else:
            spread = np.repeat(means, size)[None, : scores.shape[1]]
            one = best(protect(spread, last=window)[0], n)
        kept.append([one] * len(keys))
    return kept


def output_lengths(seen, layer):
    """(n_kv, T): the L1 length of W_O v, mean over the heads that share v."""
    n_kv, _, d = seen.values[layer].shape
    heads = seen.outputs[layer].reshape(seen.outputs[layer].shape[0], n_kv, -1, d)
    products = np.einsum("ekgd,ktd->kgte", heads, seen.values[layer])
    return np.abs(products).sum(axis=-1).mean(axis=1)


def criticalkv(seen, n, press, published):
    """Half by score, the rest by score times what the value adds to the hidden state."""
    n_first = int(n * press.first_stage_ratio)
    kept = []
    for layer, scores in enumerate(snapkv_scores(seen, press.press, published)):
        effects = (scores + press.epsilon) * output_lengths(seen, layer)
        for head, effect in zip(scores, effects):
            effect[best(head, n_first)] = np.inf
        kept.append([best(effect, n) for effect in effects])
    return kept


def kvzip(seen, n, press, published):
    """The largest weight that a query of the repetition pays to a token, in a softmax over the
    sinks, the part that is repeated and the repetition; all heads of all layers compete."""
    n_layer, n_kv, n_token = len(seen.keys), len(seen.keys[0]), seen.n_token
    scores = np.zeros((n_layer, n_kv, n_token))
    for begin, end, attention in seen.replays:
        for layer, weights in enumerate(attention):
            share = weights.copy()
            share[..., min(press.n_sink, begin) : begin] = 0
            share[..., end:n_token] = 0
            share /= share.sum(axis=-1, keepdims=True)
            most = share[..., begin:end].max(axis=1)
            scores[layer, :, begin:end] = grouped(most, n_kv).max(axis=1)
    scores[..., : press.n_sink] = np.inf
    n_kept = n * n_layer * n_kv
    if published:
        n_kept = scores.size - int(scores.size * press.compression_ratio)
    stays = np.zeros(scores.size, bool)
    stays[best(scores.reshape(-1), n_kept)] = True
    return [[np.flatnonzero(head).tolist() for head in layer]
            for layer in stays.reshape(scores.shape)]


PADDING = "zeros beyond the ends count in average pooling and lower the first tokens"
# Press -> (card, why kvpress may differ)
CARDS = {
    "KnormPress": (knorm, ""),
    "StreamingLLMPress": (streaming, ""),
    "TOVAPress": (tova, ""),
    "ObservedAttentionPress": (
        h2o, "tokens rank by mean attention, H2O's by its sum, with half of the budget for the "
             "newest"),
    "SnapKVPress": (snapkv, PADDING),
    "PyramidKVPress": (
        pyramidkv, "layer budgets are made without setting the window aside, rounded one by one, "
                   "and equal where the last would be below the window; " + PADDING),
    "AdaKVPress": (adakv, PADDING),
    "KeyDiffPress": (keydiff, ""),
    "CriticalKVPress": (criticalkv, PADDING),
    "KVzipPress": (
        kvzip, "the share removed is of all heads together, where each head's budget is a whole "
               "number of tokens"),
    "ChunkKVPress": (
        chunkkv, "the budget counts chunks instead of tokens, and the window, which scores above "
                 "all, lifts the chunks it lies in instead of being kept as such"),
}


def kept_by_card(press, ratio, seen, published=False):
    """Kept by layer and kv head, or None without a card."""
    card, _ = CARDS.get(type(press).__name__, (None, None))
    return card and card(seen, int(seen.n_token * (1 - ratio)), press, published)


def reason(press):
    return CARDS[type(press).__name__][1]
