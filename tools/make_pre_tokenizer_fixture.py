"""Makes tests/fixtures/pre_tokenizers.json: words into which the Hugging Face `tokenizers` package
(0.20 or later) splits texts, under the pre-tokenizers that model families publish.

    python tools/make_pre_tokenizer_fixture.py tests/fixtures/pre_tokenizers.json

The patterns are those of the families' own tokenizer.json files, in the spelling of that package's
engine; the engine under test has its own spelling of them.
"""

import json
import sys

from tokenizers import Regex, pre_tokenizers

ENGLISH = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
START = r"[^\r\n\p{L}\p{N}]?"
END = r"\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (START + UPPER + "*" + LOWER + "+" + ENGLISH + "?|" + START + UPPER + "+" + LOWER + "*" +
         ENGLISH + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + END)
TEKKEN = (START + UPPER + "*" + LOWER + "+|" + START + UPPER + "+" + LOWER +
          r"*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + END)
CL100K = ENGLISH + "|" + START + r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + END
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
             r"| ?[\p{P}\p{S}]+[\r\n]*|" + END)


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def gpt2():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def sequence(*steps):
    return pre_tokenizers.Sequence(list(steps))


FAMILIES = {
    "gpt-2": (gpt2(), True),
    "starcoder": (sequence(pre_tokenizers.Digits(individual_digits=True), gpt2()), True),
    "falcon": (sequence(pre_tokenizers.Punctuation("contiguous"), gpt2(),
                        split("[0-9][0-9][0-9]")), True),
    "llama-bpe": (split(CL100K), False),
    "qwen2": (split(CL100K.replace(r"\p{N}{1,3}", r"\p{N}")), False),
    "qwen35": (split(ENGLISH + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"
                     + END), False),
    "gpt-4o": (split(O200K), False),
    "tekken": (split(TEKKEN), False),
    "deepseek-v3": (sequence(split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"), split(DEEPSEEK3)), False),
    "deepseek-coder": (sequence(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"),
                                split("[一-龥ࠀ-一가-\ud7fb]+"),
                                pre_tokenizers.Digits(individual_digits=True)), False),
    "bailingmoe": (split(r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}|"
                         r" ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"), False),
    "bloom": (split(" ?[^(\\s|[.,!?…。，、।۔،])]+"), False),
}

TEXTS = [
    "Hello, world! It's 12345 o'clock; WE'LL see, they'Re off, y'all'd've known.",
    "  two  spaces\tand\t\ttabs \n\n\n lines \r\n\r\n end  ", " \n \n", "\n a", "a\u00a0b\u3000c\u2003 d",
    "x=1;y[2]+=3.5e-10; // comment\nif(a&&b||!c){return\t\"s\";}\n\n\n}\n", "path/to/file.txt//\n/",
    "CamelCaseWord HTTPServer iPhone eBay ÄÖÜber ǅ aʰb McDonald'S", "naïve café e\u0301a\u0308 ǆ",
    "Привет, мир! Как дела? 123", "猫は窓の、そばで2024年に。天气很冷，但是ＡＢＣ１２３", "고양이가 창가에서",
    "हिन्दी में १२३ संख्या। اردو، میں۔", "ไทยภาษา ภาษาไทย", "😀🚀 👩‍👩‍👧 ✅!", "½ ² Ⅷ ٣ ४ ①", "$5 €6 £7 +<=>^~|`",
    "...!!!???---=== ''' \"\"\" ```", "don't DON'T 'Tis '90s 's", "12 123 1234 12345 1,234,567.89",
    "zero\u200bwidth\ufeffmark a\u0085b\u2028c", "_under_score_ __init__ @user #tag", "",
]


def words(pre, mapped, text):
    """Lengths in bytes of the words; ByteLevel spells each byte as one character."""
    return [len(word) if mapped else len(word.encode()) for word, _ in pre.pre_tokenize_str(text)]


def main(target):
    document = {"texts": TEXTS, "families": {
        name: [words(pre, mapped, text) for text in TEXTS]
        for name, (pre, mapped) in FAMILIES.items()}}
    with open(target, "w") as file:
        json.dump(document, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
