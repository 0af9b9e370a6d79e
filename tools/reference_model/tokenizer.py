#!/usr/bin/env python3
"""Trains the byte-level BPE vocabulary: digits one by one, GPT-2's words, 4096 tokens.

The text is a fixed sample of the corpus and, weighed more, of the tasks' own text, so that the
words of keys are one or two tokens.

    python tokenizer.py --text FILE... [--words FILE...] --out DIR
"""

import argparse
import json
import re
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

N_VOCAB = 4096
SPECIAL = ["<|bos|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|pad|>"]
BOS, END, USER, ASSISTANT, SYSTEM, PAD = range(len(SPECIAL))
MAX_LENGTH = 16384

# Replies begin with a space: a word is then the same token in a reply as inside a sentence.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}{{ ' ' + message['content'] | trim }}"
    "{% else %}{{ message['content'] }}{% endif %}{{ '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def with_rules(model):
    """A tokenizer of the BPE model with our pre-tokenizer and special tokens."""
    tokenizer = Tokenizer(model)
    # tokenizer.ggml.pre "smollm" is the same rule.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special_tokens())
    return tokenizer


def special_tokens():
    return [AddedToken(text, special=True, normalized=False) for text in SPECIAL]


def train(texts):
    tokenizer = with_rules(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=N_VOCAB,
        special_tokens=special_tokens(),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(tokenizer, out):
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[BOS],
        "eos_token": SPECIAL[END],
        "pad_token": SPECIAL[PAD],
        "add_bos_token": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": MAX_LENGTH,
        "chat_template": CHAT_TEMPLATE,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def sample(path, every):
    with open(path) as lines:
        for i, line in enumerate(lines):
            if i % every == 0:
                row = json.loads(line)
                yield row["text"] if "text" in row else row["context"]


def words_of(path):
    """Words within the string literals of a C++ file, each with a space before it."""
    literals = " ".join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', path.read_text()))
    return [" " + word for word in sorted(set(re.findall(r"(?<!\$)\b[A-Za-z]{2,}\b", literals)))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, nargs="+", required=True, help="JSON lines of text")
    parser.add_argument("--every", type=int, default=4, help="take one piece in so many")
    parser.add_argument("--words", type=Path, nargs="*", default=[],
                        help="C++ files, each word of their strings taken --repeat times")
    parser.add_argument("--repeat", type=int, default=300)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    texts = [text for path in args.text for text in sample(path, args.every)]
    for path in args.words:
        texts += words_of(path) * args.repeat
    save(train(texts), args.out)


if __name__ == "__main__":
    main()
