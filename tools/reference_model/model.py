"""The reference model: a small llama whose first weights already look back and copy.

Training a transformer from noise spends most of its tokens until heads that attend to the previous
token and heads that continue a repeated pattern have formed. Here they are there from the start, as
an initialisation in the manner of mimetic initialisation (Trockman and Kolter, arXiv:2305.09828):

- the residual stream starts with parts of its own: [0, 128) the token, [128] a constant, [129] the
  mark of the first token, then four slots of 31 channels;
- the heads of layer 0 attend 1, 2, 3 and 4 tokens back and put a code of what they see in slots;
- heads of the later layers match the query's token and slots with the slots one step further back
  (an induction head over up to four tokens), rest on the first token when nothing matches, and
  write the token they find in the direction that the output matrix reads;
- everything else starts small and random.

Nothing is frozen: training moves all of it. Content is matched only in channels whose rotation over
16384 tokens stays below a radian, hence the large RoPE base.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    n_vocab: int = 4096
    n_layer: int = 4
    n_embd: int = 256
    n_head: int = 4
    n_kv_head: int = 2
    head_dim: int = 64
    n_ff: int = 512
    n_ctx: int = 16384
    rope_base: float = 2.0**40
    norm_eps: float = 1e-5


class BlockedAttention(torch.autograd.Function):
    """Causal attention by blocks of queries; several times faster on a CPU than torch's own.

    q, k, v: (batch, n_head, n, head_dim), q already scaled.
    """

    BLOCK = 256

    @staticmethod
    def spans(n):
        return [(i, min(i + BlockedAttention.BLOCK, n)) for i in range(0, n, BlockedAttention.BLOCK)]

    @staticmethod
    def forward(ctx, q, k, v):
        n = q.shape[2]
        size = min(n, BlockedAttention.BLOCK)
        mask = torch.full((size, size), float("-inf"), dtype=q.dtype, device=q.device).triu_(1)
        out = torch.empty_like(q)
        weights = []
        for b in range(q.shape[0]):
            for start, end in BlockedAttention.spans(n):
                w = torch.bmm(q[b, :, start:end], k[b, :, :end].transpose(1, 2))
                w[:, :, start:] += mask[: end - start, : end - start]
                w = torch.softmax(w, -1)
                torch.bmm(w, v[b, :, :end], out=out[b, :, start:end])
                weights.append(w)
        ctx.save_for_backward(q, k, v)
        ctx.weights = weights
        return out

    @staticmethod
    def backward(ctx, grad):
        q, k, v = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        weights = iter(ctx.weights)
        for b in range(q.shape[0]):
            for start, end in BlockedAttention.spans(q.shape[2]):
                w, g = next(weights), grad[b, :, start:end]
                dw = torch.bmm(g, v[b, :, :end].transpose(1, 2))
                dw = torch._softmax_backward_data(dw, w, -1, w.dtype)
                dq[b, :, start:end] = torch.bmm(dw, k[b, :, :end])
                dk[b, :, :end] += torch.bmm(dw.transpose(1, 2), q[b, :, start:end])
                dv[b, :, :end] += torch.bmm(w.transpose(1, 2), g)
        ctx.weights = None
        return dq, dk, dv


class BlockedCrossEntropy(torch.autograd.Function):
    """Cross-entropies of rows, by blocks that stay in the cache.

    h (n, n_embd), output (n_vocab, n_embd), target (n), weight (n); gives their weighted sum and,
    without a gradient, each row's own loss.
    """

    BLOCK = 512

    @staticmethod
    def forward(ctx, h, output, target, weight):
        dh, dw = torch.empty_like(h), torch.zeros(output.shape, device=h.device)
        losses = []
        for block in torch.arange(len(h), device=h.device).split(BlockedCrossEntropy.BLOCK):
            rows, rows_target = h[block], target[block][:, None]
            logits = F.linear(rows, output).float()
            log_sum = logits.logsumexp(-1, keepdim=True)
            losses.append((log_sum - logits.gather(1, rows_target))[:, 0])
            grad = logits.sub_(log_sum).exp_()
            grad.scatter_add_(1, rows_target, -torch.ones_like(log_sum))
            grad = grad.mul_(weight[block][:, None]).to(h.dtype)
            dh[block] = grad @ output
            dw += grad.T @ rows
        ctx.save_for_backward(dh, dw)
        losses = torch.cat(losses)
        ctx.mark_non_differentiable(losses)
        return (losses * weight).sum(), losses

    @staticmethod
    def backward(ctx, grad, _):
        dh, dw = ctx.saved_tensors
        return (dh * grad).to(dh.dtype), dw * grad, None, None


def attend(q, k, v):
    """q (batch, n_head, n, head_dim); k, v (batch, n_kv_head, n, head_dim)."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    if q.is_cuda or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return BlockedAttention.apply((q * q.shape[-1] ** -0.5).contiguous(), k, v)


def rms_norm(x, weight, eps):
    scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + eps)
    return (x * scale).to(x.dtype) * weight.to(x.dtype)


def rotate(x, cos, sin):
    """Pairs channel i with i + head_dim / 2. x (batch, n_head, n, head_dim); cos (batch, 1, n, .)."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.attn_norm = nn.Parameter(torch.ones(c.n_embd))
        self.ffn_norm = nn.Parameter(torch.ones(c.n_embd))
        kv = c.n_kv_head * c.head_dim
        self.q = nn.Parameter(torch.randn(c.n_head * c.head_dim, c.n_embd) * 0.02)
        self.k = nn.Parameter(torch.randn(kv, c.n_embd) * 0.02)
        self.v = nn.Parameter(torch.randn(kv, c.n_embd) * 0.02)
        self.o = nn.Parameter(torch.randn(c.n_embd, c.n_head * c.head_dim) * 0.004)
        self.gate = nn.Parameter(torch.randn(c.n_ff, c.n_embd) * 0.04)
        self.up = nn.Parameter(torch.randn(c.n_ff, c.n_embd) * 0.04)
        self.down = nn.Parameter(torch.randn(c.n_embd, c.n_ff) * 0.004)

    def forward(self, x, cos, sin):
        c, t = self.c, x.dtype
        b, n, _ = x.shape
        h = rms_norm(x, self.attn_norm, c.norm_eps)
        qkv = F.linear(h, torch.cat((self.q, self.k, self.v)).to(t))
        qkv = qkv.view(b, n, c.n_head + 2 * c.n_kv_head, c.head_dim).transpose(1, 2)
        qk, v = qkv.split([c.n_head + c.n_kv_head, c.n_kv_head], 1)
        q, k = rotate(qk, cos, sin).split([c.n_head, c.n_kv_head], 1)
        a = attend(q, k, v).transpose(1, 2).reshape(b, n, c.n_head * c.head_dim)
        x = x + F.linear(a, self.o.to(t))
        h = rms_norm(x, self.ffn_norm, c.norm_eps)
        gate, up = F.linear(h, torch.cat((self.gate, self.up)).to(t)).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.down.to(t))


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed = nn.Parameter(torch.randn(c.n_vocab, c.n_embd) * 0.06)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.n_layer))
        self.norm = nn.Parameter(torch.ones(c.n_embd))
        self.output = nn.Parameter(torch.randn(c.n_vocab, c.n_embd) * 0.06)
        rates = c.rope_base ** (-torch.arange(0, c.head_dim, 2, dtype=torch.float64) / c.head_dim)
        angles = torch.outer(torch.arange(c.n_ctx, dtype=torch.float64), rates)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def hidden(self, tokens, positions=None, dtype=torch.float32):
        """Final normed states (batch, n, n_embd). positions (batch, n); none: 0, 1, 2, ..."""
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        cos = self.cos[positions][:, None].to(dtype)
        sin = self.sin[positions][:, None].to(dtype)
        x = F.embedding(tokens, self.embed).to(dtype)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return rms_norm(x, self.norm, self.c.norm_eps)

    def forward(self, tokens, positions=None, dtype=torch.float32):
        return F.linear(self.hidden(tokens, positions, dtype), self.output.to(dtype))

    def loss(self, tokens, weights, positions=None, dtype=torch.bfloat16):
        """Sum of weighted cross-entropies of each next token, the sum of weights, and both per
        token without a gradient.

        weights (batch, n): what predicting that token is worth; the first column is not used.
        """
        h = self.hidden(tokens, positions, dtype)[:, :-1]
        keep = weights[:, 1:] > 0
        h, target, w = h[keep], tokens[:, 1:][keep], weights[:, 1:][keep]
        total, losses = BlockedCrossEntropy.apply(h, self.output.to(dtype), target, w)
        return total, w.sum(), losses, w


# --- First weights ---

TOKEN = slice(0, 128)
ONE, FIRST = 128, 129
SLOT_SIZE = 31
SLOTS = [slice(130 + i * SLOT_SIZE, 130 + (i + 1) * SLOT_SIZE) for i in range(4)]
N_LOCAL_PAIRS = 10  # rotation rates used to look a fixed number of tokens back
VALUE = 0.27  # size of value weights; those of the output balance it


def orthonormal(n_row, n_column):
    """Rows (or, where there are more, columns) of unit length at right angles."""
    q, _ = torch.linalg.qr(torch.randn(max(n_row, n_column), min(n_row, n_column)))
    return q if n_row >= n_column else q.T


def flat_channels(c):
    """Channels of a head whose rotation stays below a radian over the whole context."""
    rates = c.rope_base ** (-torch.arange(0, c.head_dim, 2, dtype=torch.float64) / c.head_dim)
    pairs = torch.nonzero(rates * c.n_ctx < 1)[:, 0]
    return torch.cat((pairs, pairs + c.head_dim // 2))


def head_rows(c, head):
    return slice(head * c.head_dim, (head + 1) * c.head_dim)


def look_back(layer, head, distance, strength):
    """Query and key see the constant alone; their rotations agree `distance` tokens apart."""
    c = layer.c
    i = torch.arange(N_LOCAL_PAIRS)
    angle = -distance * c.rope_base ** (-2.0 * i / c.head_dim)
    q, k = layer.q[head_rows(c, head)], layer.k[head_rows(c, head * c.n_kv_head // c.n_head)]
    q[:] = 0
    k[:] = 0
    q[i, ONE], q[i + c.head_dim // 2, ONE] = strength * angle.cos(), strength * angle.sin()
    k[i, ONE] = strength


def init_look_back_layer(layer, code):
    c = layer.c
    for kv_head in range(c.n_kv_head):
        v = layer.v[head_rows(c, kv_head)]
        v[:] = 0
        v[:SLOT_SIZE, TOKEN] = code / 11
    for head in range(c.n_head):
        look_back(layer, head, head + 1, 1.1)
        o = layer.o[:, head_rows(c, head)]
        o[:] = 0
        o[SLOTS[head], :SLOT_SIZE] = torch.eye(SLOT_SIZE)


def init_induction_head(layer, head, code, first_head_of_group):
    """Matches token and slots 0..2 of the query with slots 0..3 of the key."""
    c = layer.c
    flat = flat_channels(c)
    match, rest = flat[:-1], flat[-1]
    q, k = layer.q[head_rows(c, head)], layer.k[head_rows(c, head * c.n_kv_head // c.n_head)]
    torch.manual_seed(1000 + head * c.n_kv_head // c.n_head)
    mixes = [orthonormal(len(match), SLOT_SIZE) for _ in SLOTS]
    q[:] *= 0.1
    q[rest, ONE] = 0.94
    for i, mix in enumerate(mixes):
        q[match, TOKEN if i == 0 else SLOTS[i - 1]] += 1.15 * (mix @ code if i == 0 else mix)
    if not first_head_of_group:
        return
    k[:] *= 0.1
    k[rest, FIRST] = 0.94
    for i, mix in enumerate(mixes):
        k[match, SLOTS[i]] += 1.15 * mix


def init_induction_layer(layer, code, to_output, kv_heads):
    c = layer.c
    group = c.n_head // c.n_kv_head
    for kv_head in kv_heads:
        half = slice(kv_head * c.head_dim, (kv_head + 1) * c.head_dim)
        v = layer.v[half]
        v[:] = 0
        v[:, TOKEN] = torch.eye(128)[half] * VALUE
        for head in range(kv_head * group, (kv_head + 1) * group):
            init_induction_head(layer, head, code, head == kv_head * group)
            layer.o[:, head_rows(c, head)] = to_output[:, half] * (0.075 / VALUE)


@torch.no_grad()
def init_mimetic(model, seed, bos):
    torch.manual_seed(seed)
    c = model.c
    token = F.normalize(torch.randn(c.n_vocab, 128), dim=1)
    token[bos] = 0
    model.embed[:] = 0
    model.embed[:, TOKEN] = token
    model.embed[:, ONE] = 1
    model.embed[bos, FIRST] = 1.5
    to_output = torch.zeros(c.n_embd, 128)
    to_output[TOKEN] = orthonormal(128, 128)
    model.output[:] = token @ to_output.T + 0.01 * torch.randn_like(model.output)
    code = orthonormal(SLOT_SIZE, 128)
    init_look_back_layer(model.layers[0], code * (128 / SLOT_SIZE) ** 0.5)
    for i, layer in enumerate(model.layers[1:]):
        init_induction_layer(layer, code * (128 / SLOT_SIZE) ** 0.5, to_output,
                             range(c.n_kv_head) if i == 1 else [i % c.n_kv_head])
