#!/usr/bin/env python3
"""Trains the reference model by stages; each call runs one stage and goes on where it stopped.

    python train.py --checkpoint FILE --stage NAME --mix SPEC --steps N [--lr A --lr-end B] ...

The checkpoint holds weights, optimiser and step of the stage: the same command after an interruption
goes on (with fresh random draws), another stage name begins at step 0 with the weights so far. SPEC
is told in data.py. Matrices inside layers learn by Muon (Keller Jordan, 2024; update scaled as in
arXiv:2502.16982), the rest by AdamW.
"""

import argparse
import json
import math
import signal
import time
from pathlib import Path

import torch

from data import ANSWER, TEXT, Mix
from model import Config, Model, init_mimetic
from tokenizer import BOS


def orthogonalise(x):
    """Newton-Schulz steps toward the nearest orthogonal matrices; x (batch, rows, columns)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    transposed = x.shape[1] > x.shape[2]
    x = x.bfloat16()
    x = x.mT.contiguous() if transposed else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        s = x @ x.mT
        x = a * x + (b * s + c * (s @ s)) @ x
    return x.mT.float() if transposed else x.float()


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, momentum=0.95, weight_decay=0.01):
        super().__init__(parameters, dict(lr=0.0, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for p in group["params"]:
                by_shape.setdefault(p.shape, []).append(p)
            for shape, parameters in by_shape.items():
                self.update(group, shape, parameters)

    def update(self, group, shape, parameters):
        updates = []
        for p in parameters:
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - group["momentum"])
            updates.append(p.grad.lerp(state["momentum"], group["momentum"]))
        scale = 0.2 * max(shape) ** 0.5
        for p, u in zip(parameters, orthogonalise(torch.stack(updates))):
            p.mul_(1 - group["lr"] * group["weight_decay"]).add_(u, alpha=-group["lr"] * scale)


def make_optimizers(model):
    matrices = [p for layer in model.layers for p in layer.parameters() if p.ndim == 2]
    inner = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in inner]
    adam = torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.98), eps=1e-10, weight_decay=0.0)
    return [Muon(matrices), adam]


def rate(args, step):
    """Linear warm-up, then a cosine from lr to lr_end."""
    warm = min(1.0, (step + 1) / max(1, args.warmup))
    turn = 0.5 + 0.5 * math.cos(math.pi * step / args.steps)
    return warm * (args.lr_end + (args.lr - args.lr_end) * turn)


class Log:
    """Loss per source and share of right answer tokens, running means."""

    def __init__(self):
        self.means = {}

    def add(self, label, losses, weights, answer_weight):
        for kind, chosen in (("", weights != answer_weight), ("!", weights == answer_weight)):
            if chosen.any():
                mean = losses[chosen].mean().item()
                old = self.means.get(label + kind, mean)
                self.means[label + kind] = old + 0.1 * (mean - old)

    def __str__(self):
        return " ".join(f"{k} {v:.3f}" for k, v in sorted(self.means.items()))


class Trainer:
    def __init__(self, args):
        self.args = args
        self.model = Model(Config(n_layer=args.layers)).to(args.device)
        self.optimizers = make_optimizers(self.model)
        self.step, self.n_token, self.log = 0, 0, Log()
        if args.checkpoint.exists():
            self.load()
        else:
            init_mimetic(self.model, args.seed, BOS)
        self.mix = Mix(args.mix, args.seed + 7919 * self.step, args.micro, self.model.c.n_ctx,
                       args.gap_share)

    def load(self):
        saved = torch.load(self.args.checkpoint, map_location=self.args.device, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.n_token = saved["n_token"]
        for optimizer, state in zip(self.optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
        if saved["stage"] == self.args.stage:
            self.step = saved["step"]

    def save(self):
        state = {"model": self.model.state_dict(), "stage": self.args.stage, "step": self.step,
                 "n_token": self.n_token, "optimizers": [o.state_dict() for o in self.optimizers]}
        partial = self.args.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.rename(self.args.checkpoint)

    def loss_weights(self, kinds):
        """Answers count in full, text at a drawn share of its places (logits are dear)."""
        drawn = torch.rand(kinds.shape) < self.args.text_share
        has_answer = (kinds == ANSWER).any()
        text = (kinds == TEXT) & (drawn if has_answer else torch.ones_like(drawn))
        return text.float() + self.args.answer_weight * (kinds == ANSWER).float()

    def train_step(self):
        args = self.args
        for _ in range(args.accumulate):
            label, tokens, kinds, positions = self.mix.next()
            weights = self.loss_weights(kinds)
            total, weight, losses, each = self.model.loss(
                tokens.to(args.device), weights.to(args.device), positions.to(args.device))
            (total / weight / args.accumulate).backward()
            self.n_token += tokens.numel()
            self.log.add(label, losses, each, args.answer_weight)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        lr = rate(args, self.step)
        for optimizer, share in zip(self.optimizers, (1.0, args.adam_share)):
            for group in optimizer.param_groups:
                group["lr"] = lr * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def run(self):
        args, stop = self.args, []
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.append(True))
        began = saved = time.time()
        first_token = self.n_token
        while self.step < args.steps and not stop:
            self.train_step()
            now = time.time()
            if self.step % args.log_every == 0:
                speed = (self.n_token - first_token) / (now - began)
                print(json.dumps({"stage": args.stage, "step": self.step, "tokens": self.n_token,
                                  "per_s": round(speed), "loss": str(self.log)}), flush=True)
            if now - saved > args.save_every:
                self.save()
                saved = now
        self.save()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--stage", required=True)
    parser.add_argument("--mix", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--micro", type=int, default=4096, help="tokens of one batch")
    parser.add_argument("--accumulate", type=int, default=2, help="batches in a step")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--lr-end", type=float, default=2e-3)
    parser.add_argument("--adam-share", type=float, default=0.3, help="AdamW's rate over Muon's")
    parser.add_argument("--warmup", type=int, default=20)
    parser.add_argument("--gap-share", type=float, default=0.5, help="rows with gaps in positions")
    parser.add_argument("--answer-weight", type=float, default=6.0)
    parser.add_argument("--text-share", type=float, default=0.25,
                        help="share of a task's context that is trained on as text")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--log-every", type=int, default=10)
    parser.add_argument("--save-every", type=float, default=120, help="seconds")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    Trainer(args).run()


if __name__ == "__main__":
    main()
