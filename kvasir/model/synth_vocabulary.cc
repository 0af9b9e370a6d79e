#include <fmt/format.h>

#include "kvasir/model/synth.h"

namespace kvasir {
namespace {

constexpr int32_t kNormal = 1, kControl = 3;  // tokenizer.ggml.token_type

constexpr std::string_view kTemplate =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// Enough to make encoding more than a table look-up. "\u0120" stands for a space.
constexpr std::string_view kMerges[] = {
    "\u0120 t", "h e",      "i n", "r e",      "o n", "\u0120 a", "\u0120t he", "a t",
    "e r",      "\u0120 s", "n d", "\u0120 w", "o r", "e s",      "in g",       "\u0120a nd",
};

std::string Utf8(uint32_t code) {
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

// GPT-2's alphabet: bytes that are visible in Latin-1 stand for themselves, the rest take the
// characters from U+0100 on, in order.
std::vector<std::string> ByteAlphabet() {
  std::vector<std::string> alphabet;
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool visible = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    alphabet.push_back(Utf8(visible ? byte : next++));
  }
  return alphabet;
}

}  // namespace

Status AddSynthVocabulary(int32_t n_vocab, GgufWriter* writer) {
  std::vector<std::string> tokens = ByteAlphabet();
  std::vector<std::string> merges;
  for (const std::string_view merge : kMerges) {
    const size_t space = merge.find(' ');
    merges.emplace_back(merge);
    tokens.push_back(std::string(merge.substr(0, space)).append(merge.substr(space + 1)));
  }
  std::vector<int32_t> types(tokens.size(), kNormal);
  const auto first_control = static_cast<uint32_t>(tokens.size());
  for (const char* control : {"<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"}) {
    tokens.emplace_back(control);
    types.push_back(kControl);
  }
  if (n_vocab < static_cast<int32_t>(tokens.size())) {
    return Status::InvalidArgument(
        fmt::format("a vocabulary of {} tokens; the bytes, merges and control tokens alone take {}",
                    n_vocab, tokens.size()));
  }
  for (size_t i = tokens.size(); i < static_cast<size_t>(n_vocab); ++i) {
    tokens.push_back(fmt::format("\u0120w{}", i));
    types.push_back(kNormal);
  }
  writer->AddString("tokenizer.ggml.model", "gpt2");
  writer->AddString("tokenizer.ggml.pre", "gpt-2");
  writer->AddStrings("tokenizer.ggml.tokens", tokens);
  writer->AddI32s("tokenizer.ggml.token_type", types);
  writer->AddStrings("tokenizer.ggml.merges", merges);
  writer->AddU32("tokenizer.ggml.bos_token_id", first_control);
  writer->AddU32("tokenizer.ggml.eos_token_id", first_control + 1);
  writer->AddU32("tokenizer.ggml.eot_token_id", first_control + 3);
  writer->AddBool("tokenizer.ggml.add_bos_token", false);
  writer->AddString("tokenizer.chat_template", kTemplate);
  return Status::Ok();
}

}  // namespace kvasir
