"""The vocabulary that all model fixtures share."""

N_VOCAB = 96
# llama.cpp wants the fourth in the vocabulary of whatever is called phi3.
SPECIAL_TOKENS = ["<unk>", "<s>", "</s>", "<|endoftext|>"]
N_SPECIAL = len(SPECIAL_TOKENS)


def vocabulary():
    """96 pieces in SentencePiece order: specials, one byte, then pieces by falling score."""
    single = "\u2581etaoinshrdlucmfwypvbgkjqxzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'-"
    merged = ["\u2581t", "he", "\u2581the", "in", "er", "an", "on", "re", "\u2581a", "nd", "ou"]
    merged += ["\u2581and", "en", "it", "is", "\u2581w", "or", "es", "ed", "\u2581s"]
    tokens = SPECIAL_TOKENS + ["<0x0A>"] + merged + list(single)
    assert len(tokens) == N_VOCAB and len(set(tokens)) == N_VOCAB
    return tokens
