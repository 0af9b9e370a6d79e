"""Makes tests/fixtures/tokenizers: four small vocabularies and the ids that the Hugging Face
`tokenizers` package (0.20 or later) gives for a list of texts.

    python tools/make_tokenizer_fixtures.py tests/fixtures/tokenizers

The vocabularies are trained on the text below, which was written for this purpose. Each folder has
a tokenizer.json of the shape that a model family ships, the configuration files beside it, and
cases.json: texts, ids with special tokens parsed, and the decoded text.
"""

import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers import models, processors, trainers

CORPUS = """
The engine reads a page of keys and a page of values, then it answers with a weighted sum.
A cache that is kept whole is exact; a cache that is cut short must be measured. We measure it.
When the window slides, old tokens leave and new tokens enter; the sinks at the start stay.
Numbers such as 7, 42, 128, 1024, 65536 and 3.14159 are split in one way or another.
She's here, they're there, I'll stay, we've gone, don't wait, he'd know, I'm sure. IT'S LOUD.
def attend(query, keys, values):
    scores = [dot(query, key) / sqrt(len(query)) for key in keys]
    return sum(weight * value for weight, value in zip(softmax(scores), values))
if (x != 0 && y >= 10) { return x->next; }  // a comment, then  two  spaces
Die Katze schläft auf der Heizung, während draußen der Schnee fällt. Größe, Übung, Äpfel.
Le café est très chaud, où êtes-vous ? Ça va, Noël approche. El niño comió piñas.
Кот спит на печи, а за окном падает снег. Мороз и солнце, день чудесный.
猫は窓のそばで眠っています。雪が静かに降っている。 天气很冷，但是屋子里很暖和。
고양이가 창가에서 잔다. 😀 😃 🚀 🎉 ✅ naïve façade
https://example.org/path?query=1&page=2#top  user@example.org
"""

TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n ", "a", " a", "a ", "  a  b   c",
    "Hello, world!", " Hello", "The engine reads a page of keys.",
    "She's they're I'll we've don't he'd I'm IT'S WE'RE", "'s 't 'RE 'x '",
    "1", "12", "123", "1234", "1234567890", "3.14159 and 65,536", "x1y22z333",
    "def f(x):\n    return x + 1\n\n\n# end\n", "a\n\n\nb\n \n c", "tab\tand  two\t\ttabs",
    "Größe ÄÖÜ ß schläft", "naïve café Noël", "cafe\u0301 Noe\u0308l A\u030a", "Кот спит на печи",
    "猫は窓のそばで眠っています。", "天气很冷，但是", "고양이가 창가에서", "ไทย हिन्दी עברית عربى",
    "😀🚀🎉", "👩‍👩‍👧‍👦 family", "✅ done", "\u00a0nbsp\u3000wide\u2003em", "zero\u200bwidth",
    "a\u0000b", "\u0085next\u2028line", "½ ² Ⅷ ٣ ४", "∑ ∫ ≠ → €5 £6", "...!!!???---===",
    "(a) [b] {c} <d> \"e\" 'f' `g`", "https://example.org/a?b=1&c=2#d", "A" * 70, "ab" * 40,
    "unseen: \U0001f9ff \U00012000 \ue000", "▁already▁escaped", "▁", "x▁ y", "_underscore_",
    "<|bos|>Hello<|end|>", "<|user|>\n Hi <|end|>  <|assistant|>", "a<|end|><|end|>b", "<|en",
    "<|end|> ", " <|end|>", "plain <mark> text", "<mark><mark>", "  <mark>  b", "<markup>",
    "<0x41>", "<unk>", "x<unk>y", "<s>", "e\u0301<mark>e\u0301", "fi ﬁ ﬀ Ⅳ ①",
    "mixed: größe12345度 ok?\n\tЁж — №7 …  end ",
]

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
MARK = AddedToken("<mark>", special=False, normalized=False)
BYTES = ["<0x%02X>" % byte for byte in range(256)]


def special(*texts):
    return [AddedToken(text, special=True, normalized=False) for text in texts]


def starts_with(tokenizer, token):
    return processors.TemplateProcessing(single=f"{token} $A", pair=f"{token} $A {token} $B",
                                         special_tokens=[(token, tokenizer.token_to_id(token))])


def byte_level(pattern, normalizer, ignore_merges):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([CORPUS], trainer)
    return tokenizer


def llama3():
    tokenizer = byte_level(LLAMA3, None, True)
    tokenizer.add_special_tokens(special("<|bos|>", "<|end|>", "<|user|>", "<|assistant|>"))
    tokenizer.add_tokens([MARK])
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), starts_with(tokenizer, "<|bos|>")])
    return tokenizer, {"bos_token": "<|bos|>", "eos_token": "<|end|>"}, {"eos_token_id": [600, 601]}


def qwen2():
    tokenizer = byte_level(QWEN2, normalizers.NFC(), False)
    tokenizer.add_special_tokens(special("<|end|>", "<|user|>", "<|assistant|>"))
    tokenizer.add_tokens([AddedToken("<mark>", special=False, normalized=True)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer, {"bos_token": None, "add_bos_token": False,
                       "eos_token": {"content": "<|end|>"}}, {"eos_token_id": 600}


def metaspace_vocabulary(first, split_pattern):
    """A BPE over characters with byte fallback, trained on words that start with U+2581."""
    trained = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=split_pattern)
    trainer = trainers.BpeTrainer(vocab_size=800, show_progress=False, limit_alphabet=120,
                                  special_tokens=first + BYTES)
    trained.train_from_iterator(CORPUS.split("\n"), trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return Tokenizer(models.BPE(vocab=model["vocab"], merges=merges, byte_fallback=True,
                                unk_token="<unk>", fuse_unk=True))


def llama2():
    tokenizer = metaspace_vocabulary(["<unk>", "<s>", "</s>"], True)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(special("<unk>", "<s>", "</s>"))
    tokenizer.add_special_tokens([
        AddedToken("<|end|>", special=True, normalized=False, rstrip=True),
        AddedToken("<|user|>", special=True, normalized=False, rstrip=True),
        AddedToken("<|assistant|>", special=True, normalized=False, lstrip=True)])
    tokenizer.add_tokens([MARK])
    tokenizer.post_processor = starts_with(tokenizer, "<s>")
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}, {}


def gemma():
    tokenizer = metaspace_vocabulary(["<pad>", "<eos>", "<bos>", "<unk>"], False)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(special("<pad>", "<eos>", "<bos>", "<unk>"))
    tokenizer.add_special_tokens(special("<|user|>", "<|end|>"))
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False)
                          for text in ("<mark>", "\n\n", "\n\n\n")])
    tokenizer.post_processor = starts_with(tokenizer, "<bos>")
    return tokenizer, {"bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": True}, \
        {"eos_token_id": [1, tokenizer.token_to_id("<|end|>")]}


def phi3():
    """A Metaspace pre-tokenizer in place of normalisation, prefix on the first word only."""
    tokenizer = metaspace_vocabulary(["<unk>", "<s>", "</s>"], True)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(special("<unk>", "<s>", "</s>", "<|end|>"))
    tokenizer.add_tokens([MARK])
    return tokenizer, {"bos_token": "<s>", "eos_token": "<|end|>", "add_bos_token": False}, {}


def falcon():
    """Punctuation, ByteLevel, Digits and a Split one after another."""
    tokenizer = byte_level(LLAMA3, None, False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])
    tokenizer.add_special_tokens(special("<|end|>"))
    return tokenizer, {"eos_token": "<|end|>"}, {}


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def main(target):
    for make in (llama3, qwen2, llama2, gemma, phi3, falcon):
        tokenizer, config, generation = make()
        folder = pathlib.Path(target) / make.__name__
        folder.mkdir(parents=True, exist_ok=True)
        document = json.loads(tokenizer.to_str())
        write(folder / "tokenizer.json", document)
        # What is measured is the file, not the object it was written from.
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        write(folder / "tokenizer_config.json", config)
        if generation:
            write(folder / "generation_config.json", generation)
        cases = []
        for text in TEXTS:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            cases.append({"text": text, "ids": ids})
        write(folder / "cases.json", cases)


if __name__ == "__main__":
    main(sys.argv[1])
