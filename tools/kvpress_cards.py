"""What the cards of token-keeping methods say they keep, in f64 from attention and keys.

Shares nothing with kvpress: a second opinion for make_kvpress_fixtures.py. Where published code is
known to differ from the method, the card wins, and the reason is told:

- budgets are integers that sum exactly, protected tokens counted inside;
- average pooling at the ends is over the tokens that are there;
- equal scores: the lower position first.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Observed:
    """By layer: attention (n_head, T, T), keys (n_kv, T, head_dim)."""

    attention: list
    keys: list

    @property
    def n_token(self):
        return self.keys[0].shape[1]


def grouped(x, n_kv):
    """(n_head, T) -> (n_kv, group, T)"""
    return x.reshape(n_kv, -1, x.shape[-1])


def average_pool(x, size):
    """Mean over the neighbours that exist."""
    reach = size // 2
    padded = np.pad(x, ((0, 0), (reach, reach)))
    there = np.pad(np.ones(x.shape[-1]), reach)
    windows = [slice(i, i + x.shape[-1]) for i in range(2 * reach + 1)]
    return sum(padded[:, w] for w in windows) / sum(there[w] for w in windows)


def window_scores(seen, layer, rows, pool=1):
    """(n_kv, T - rows): attention of the last `rows` queries to what lies before them."""
    a = seen.attention[layer][:, -rows:, :-rows].mean(axis=1)
    return average_pool(grouped(a, len(seen.keys[layer])).mean(axis=1), pool)


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
    share = np.clip(b * weights, low, high) + 1e-9
    whole = np.floor(share).astype(int)
    for i in np.argsort(whole - share, kind="stable")[: total - whole.sum()]:
        whole[i] += 1
    assert whole.sum() == total
    return whole


def pyramid_budgets(seen, n, window, beta):
    """(n_layer, n_kv), n on average: window + a line from 2r - r/beta to r/beta, r = n - window."""
    n_layer, n_kv = len(seen.keys), len(seen.keys[0])
    rest = n - window
    line = window + np.linspace(2 * rest - rest / beta, rest / beta, n_layer)
    flat = apportion(np.repeat(line, n_kv), n * n_layer * n_kv, window, seen.n_token)
    return flat.reshape(n_layer, n_kv)


def pooled(scores, n, floor):
    """One layer: each head its own best and what is protected, then the best of all heads."""
    own = [set(best(head, max(int(n * floor), np.isinf(head).sum()))) for head in scores]
    rest = [(-s, t, h) for h, head in enumerate(scores) for t, s in enumerate(head)
            if t not in own[h]]
    n_more = n * len(scores) - sum(map(len, own))
    for _, t, h in sorted(rest)[:n_more]:
        own[h].add(t)
    return [sorted(kept) for kept in own]


def knorm(seen, n, press):
    return "", uniform([-np.linalg.norm(k, axis=-1) for k in seen.keys], n)


def streaming(seen, n, press):
    kept = list(range(press.n_sink)) + list(range(seen.n_token - n + press.n_sink, seen.n_token))
    return "", [[kept for _ in k] for k in seen.keys]


def tova(seen, n, press):
    rows = [a[:, -1, :-1].mean(axis=0) for a in seen.attention]
    shared = [[row] * len(k) for row, k in zip(rows, seen.keys)]
    return "", uniform([protect(np.array(s), last=1) for s in shared], n)


def h2o(seen, n, press):
    """Half of the budget for the newest, the rest by raw sums."""
    recent = n // 2
    scores = [grouped(a.sum(axis=1), len(k)).mean(axis=1)[:, : seen.n_token - recent]
              for a, k in zip(seen.attention, seen.keys)]
    reason = "H2O ranks by summed, not mean, attention and gives half of the budget to the newest"
    return reason, uniform([protect(s, last=recent) for s in scores], n)


NO_PADDING = "the zeros of average pooling at the ends count there, not in the card"


def snapkv_scores(seen, press):
    return [protect(window_scores(seen, i, press.window_size, press.kernel_size),
                    last=press.window_size) for i in range(len(seen.keys))]


def snapkv(seen, n, press):
    return NO_PADDING, uniform(snapkv_scores(seen, press), n)


def pyramidkv(seen, n, press):
    budgets = pyramid_budgets(seen, n, press.window_size, press.beta)
    scores = snapkv_scores(seen, press)
    reason = ("the window is not counted when layer budgets are made, which therefore differ, do "
              "not sum to the total and are equal where the last would be below the window")
    return reason, [[best(head, m) for head, m in zip(layer, row)]
                    for layer, row in zip(scores, budgets)]


def adakv(seen, n, press):
    if hasattr(press.press, "window_size"):
        scores = snapkv_scores(seen, press.press)
    else:
        scores = [-np.linalg.norm(k, axis=-1) for k in seen.keys]
    return NO_PADDING, [pooled(layer, n, press.alpha_safeguard) for layer in scores]


def keydiff(seen, n, press):
    units = [k / np.linalg.norm(k, axis=-1, keepdims=True) for k in seen.keys]
    means = [u.mean(axis=1) for u in units]
    cosines = [np.einsum("htd,hd->ht", u, m / np.linalg.norm(m, axis=-1, keepdims=True))
               for u, m in zip(units, means)]
    return "", uniform([-c for c in cosines], n)


CARDS = {
    "KnormPress": knorm,
    "StreamingLLMPress": streaming,
    "TOVAPress": tova,
    "ObservedAttentionPress": h2o,
    "SnapKVPress": snapkv,
    "PyramidKVPress": pyramidkv,
    "AdaKVPress": adakv,
    "KeyDiffPress": keydiff,
}


def kept_by_card(press, ratio, seen):
    """(reason why it may differ, kept by layer and kv head), or None without a card."""
    card = CARDS.get(type(press).__name__)
    return card and card(seen, int(seen.n_token * (1 - ratio)), press)
