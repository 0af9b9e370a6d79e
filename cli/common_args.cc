#include "cli/common_args.h"

#include <fmt/core.h>

#include <charconv>
#include <random>

#include "kvasir/policy/borrowed_parts.h"

namespace kvasir::cli {

std::vector<std::string> CacheTypeNames() {
  const auto names = BorrowedNames(PartKind::kCodecK);
  return {names.begin(), names.end()};
}

std::vector<Option> ModelOptions(ModelArgs& args) {
  return {
      {.names = {"-m", "--model"},
       .metavar = "PATH",
       .help = "GGUF file (the first of a split) or Hugging Face folder",
       .target = &args.model,
       .llama_env = "MODEL"},
      {.names = {"-t", "--threads"},
       .metavar = "N",
       .help = "threads; 0 takes the CPUs this process may use",
       .target = &args.n_thread,
       .min = -1,
       .max = 1024,
       .llama_env = "THREADS"},
      {.names = {"-v", "--verbose"}, .help = "tell more on stderr", .target = &args.verbose},
  };
}

std::vector<Option> ContextOptions(ContextArgs& args) {
  return {
      {.names = {"-c", "--ctx-size"},
       .metavar = "N",
       .help = "tokens the context may hold; 0 takes the model's own. Nothing is allocated by it",
       .target = &args.n_ctx,
       .min = 0,
       .llama_env = "CTX_SIZE"},
      {.names = {"-ub", "--ubatch-size"},
       .metavar = "N",
       .help = "tokens computed together during prefill",
       .target = &args.n_ubatch,
       .min = 1,
       .llama_env = "UBATCH"},
  };
}

std::vector<Option> HadamardOptions(bool* keys, bool* values) {
  return {
      {.names = {"-khad", "--k-cache-hadamard"},
       .help = "rotate keys by a Hadamard matrix before they are coded: k=TYPE(had)",
       .target = keys},
      {.names = {"-vhad", "--v-cache-hadamard"},
       .help = "rotate values by a Hadamard matrix before they are coded: v=TYPE(had)",
       .target = values},
  };
}

std::vector<Option> KvOptions(KvArgs& args) {
  std::vector<Option> options = {
      {.names = {"--kv"},
       .metavar = "RECIPE",
       .help = "how the KV cache is kept, stored and read: exact, q8_0, snapkv:1024, "
               "streaming:512+q8_0, ...; `kvasir recipes` lists them",
       .target = &args.recipe},
      {.names = {"-ctk", "--cache-type-k"},
       .metavar = "TYPE",
       .help = "number format of cached keys",
       .target = &args.type_k,
       .choices = CacheTypeNames(),
       .llama_env = "CACHE_TYPE_K"},
      {.names = {"-ctv", "--cache-type-v"},
       .metavar = "TYPE",
       .help = "number format of cached values",
       .target = &args.type_v,
       .choices = CacheTypeNames(),
       .llama_env = "CACHE_TYPE_V"},
      {.names = {"--mem"},
       .metavar = "BYTES",
       .help = "limit on weights, KV, indexes and scratch together: 512M, 4G; 0 = none",
       .target = ByteSize{&args.memory}},
  };
  for (Option& option : HadamardOptions(&args.hadamard_k, &args.hadamard_v)) {
    options.push_back(std::move(option));
  }
  return options;
}

std::vector<Option> SamplingOptions(SamplingArgs& args) {
  SamplerOptions& sampler = args.options;
  return {
      {.names = {"-s", "--seed"},
       .metavar = "SEED",
       .help = "seed of the random choice; -1 takes one from the system",
       .target = &args.seed,
       .min = -1},
      {.names = {"--temp", "--temperature"},
       .metavar = "T",
       .help = "temperature; 0 takes the most likely token",
       .target = &sampler.temperature},
      {.names = {"--top-k"},
       .metavar = "N",
       .help = "keep the N most likely tokens; 0 = all",
       .target = &sampler.top_k,
       .llama_env = "TOP_K"},
      {.names = {"--top-p"},
       .metavar = "P",
       .help = "keep the likeliest tokens that sum to P; 1 = all",
       .target = &sampler.top_p,
       .min = 0},
      {.names = {"--min-p"},
       .metavar = "P",
       .help = "drop tokens below P times the best one's probability; 0 = none",
       .target = &sampler.min_p,
       .min = 0,
       .max = 1},
      {.names = {"--repeat-penalty"},
       .metavar = "X",
       .help = "makes seen tokens less likely; 1 = off",
       .target = &sampler.repeat_penalty,
       .min = 0},
      {.names = {"--repeat-last-n"},
       .metavar = "N",
       .help = "tokens that the penalties look back; 0 = off, -1 = all",
       .target = &sampler.repeat_last_n,
       .min = -1},
      {.names = {"--presence-penalty"},
       .metavar = "X",
       .help = "subtracted from the logit of a seen token",
       .target = &sampler.presence_penalty},
      {.names = {"--frequency-penalty"},
       .metavar = "X",
       .help = "subtracted from the logit each time a token was seen",
       .target = &sampler.frequency_penalty},
      {.names = {"-l", "--logit-bias"},
       .metavar = "ID+BIAS",
       .help = "adds to a token's logit, for example 15043+1 or 15043-inf; may be repeated",
       .target = &args.logit_bias},
      {.names = {"--ignore-eos"},
       .help = "go on after the model's end-of-text token",
       .target = &args.ignore_eos},
      {.names = {"--logprobs"},
       .metavar = "N",
       .help = "show each token's log-probability and the N likeliest beside it",
       .target = &args.n_logprobs,
       .min = 0,
       .max = 100},
  };
}

std::vector<Option> PromptOptions(PromptArgs& args) {
  return {
      {.names = {"-p", "--prompt"},
       .metavar = "TEXT",
       .help = "prompt; without -p and -f it is read from stdin",
       .target = &args.prompt},
      {.names = {"-f", "--file"},
       .metavar = "FILE",
       .help = "file that holds the prompt; '-' is stdin",
       .target = &args.file},
      {.names = {"-n", "--predict", "--n-predict"},
       .metavar = "N",
       .help = "tokens to generate; -1 = until the model ends or the context is full",
       .target = &args.n_predict,
       .min = -1,
       .llama_env = "N_PREDICT"},
      {.names = {"-e", "--escape"},
       .help = "turn \\n, \\t, \\\\ and the like in -p into characters",
       .target = &args.escape},
      {.names = {"-r", "--reverse-prompt", "--stop"},
       .metavar = "TEXT",
       .help = "stop before this text would appear; may be repeated",
       .target = &args.stop},
      {.names = {"--display-prompt"},
       .help = "print the prompt before the generated text",
       .target = &args.display_prompt},
  };
}

std::vector<Option> ChatOptions(ChatArgs& args) {
  return {
      {.names = {"-cnv", "--conversation"},
       .help = "talk in turns with the model's chat template",
       .target = &args.conversation,
       .negative = {"-no-cnv"}},
      {.names = {"-sys", "--system-prompt"},
       .metavar = "TEXT",
       .help = "system message of the conversation",
       .target = &args.system_prompt},
      {.names = {"--chat-template"},
       .metavar = "JINJA",
       .help = "chat template to use instead of the model's",
       .target = &args.chat_template,
       .llama_env = "CHAT_TEMPLATE"},
      {.names = {"--chat-template-file"},
       .metavar = "FILE",
       .help = "file that holds the chat template",
       .target = &args.chat_template_file,
       .llama_env = "CHAT_TEMPLATE_FILE"},
  };
}

std::vector<Option> CompatibilityOptions() {
  constexpr std::string_view kCpu = "accepted without effect: weights and cache stay on the CPU";
  constexpr std::string_view kAlways = "accepted without effect: this is always on";
  constexpr std::string_view kOwn = "accepted without effect: the engine decides this itself";
  return {
      {.names = {"-fa", "--flash-attn"},
       .metavar = "on|off|auto",
       .help = "online softmax is always on",
       .target = Ignored{true},
       .choices = {"on", "off", "auto", "1", "0"},
       .implied = "on",
       .notice = kAlways},
      {.names = {"-ngl", "--gpu-layers", "--n-gpu-layers"},
       .metavar = "N",
       .help = "weights stay on the CPU",
       .target = Ignored{true},
       .notice = kCpu},
      {.names = {"-kvo", "--kv-offload", "-nkvo", "--no-kv-offload"},
       .help = "the cache stays on the CPU",
       .notice = kCpu},
      {.names = {"-b", "--batch-size"},
       .metavar = "N",
       .help = "prompts are cut by -ub alone",
       .target = Ignored{true},
       .notice = kOwn},
      {.names = {"--keep"},
       .metavar = "N",
       .help = "nothing is evicted: a full context ends the text",
       .target = Ignored{true},
       .notice = kOwn},
      {.names = {"--jinja", "--no-jinja"}, .help = "templates are always Jinja", .notice = kAlways},
      {.names = {"--mmap", "--no-mmap"}, .help = "files are always mapped", .notice = kAlways},
      {.names = {"--mlock"}, .help = "pages are left to the system", .notice = kOwn},
      {.names = {"-tb", "--threads-batch"},
       .metavar = "N",
       .help = "prefill uses the threads of -t",
       .target = Ignored{true},
       .notice = kOwn},
      {.names = {"--numa"},
       .metavar = "TYPE",
       .help = "placement is left to the system",
       .target = Ignored{true},
       .notice = kOwn},
  };
}

Result<SamplerOptions> ResolveSampling(const SamplingArgs& args) {
  SamplerOptions options = args.options;
  options.seed = args.seed < 0 ? std::random_device{}() : static_cast<uint64_t>(args.seed);
  for (const std::string& text : args.logit_bias) {
    TokenId id = 0;
    float bias = 0;
    const char* const end = text.data() + text.size();
    const auto [sign, id_error] = std::from_chars(text.data(), end, id);
    const bool signed_bias =
        id_error == std::errc() && sign != end && (*sign == '+' || *sign == '-');
    const char* const digits = signed_bias && *sign == '+' ? sign + 1 : sign;
    const auto [rest, bias_error] = std::from_chars(digits, end, bias);
    if (!signed_bias || bias_error != std::errc() || rest != end) {
      return Status::InvalidArgument(
          fmt::format("--logit-bias: expected ID+BIAS or ID-BIAS, found '{}'", text));
    }
    options.logit_bias.emplace_back(id, bias);
  }
  return options;
}

namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string ProcessEscapes(const std::string& text) {
  constexpr std::string_view kLetters = "ntr\"'\\0";
  constexpr std::string_view kMeanings("\n\t\r\"'\\\0", 7);
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
    } else if (const size_t k = kLetters.find(text[i + 1]); k != std::string_view::npos) {
      out += kMeanings[k];
      ++i;
    } else if (text[i + 1] == 'x' && i + 3 < text.size() && HexDigit(text[i + 2]) >= 0 &&
               HexDigit(text[i + 3]) >= 0) {
      out += static_cast<char>(HexDigit(text[i + 2]) * 16 + HexDigit(text[i + 3]));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace kvasir::cli
