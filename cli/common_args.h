// Flags that several commands share, declared once. A command owns the structs, hands them to the
// option groups it wants and adds its own flags beside them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/args.h"
#include "kvasir/model/sampler.h"
#include "kvasir/status.h"

namespace kvasir::cli {

struct ModelArgs {
  std::string model;
  int32_t n_thread = 0;  // 0 = the CPUs of this process
  bool verbose = false;
};

struct ContextArgs {
  int32_t n_ctx = 0;  // 0 = from the model
  int32_t n_ubatch = 512;
};

struct KvArgs {
  std::string recipe = "exact";  // --kv
  std::string type_k = "f16";    // -ctk
  std::string type_v = "f16";
  bool hadamard_k = false;  // -khad
  bool hadamard_v = false;
  int64_t memory = 0;  // --mem, bytes; 0 = no limit
};

struct SamplingArgs {
  SamplerOptions options;
  int64_t seed = -1;  // -1 = from the clock
  bool ignore_eos = false;
  int32_t n_logprobs = 0;
  std::vector<std::string> logit_bias;  // "ID+BIAS" or "ID-BIAS"
};

struct PromptArgs {
  std::string prompt;
  std::string file;
  int32_t n_predict = -1;  // -1 = until the model ends or the context is full
  bool escape = true;      // \n and friends in -p
  bool display_prompt = false;
  std::vector<std::string> stop;
};

struct ChatArgs {
  bool conversation = false;
  std::string system_prompt;
  std::string chat_template;
  std::string chat_template_file;
};

std::vector<Option> ModelOptions(ModelArgs& args);
std::vector<Option> ContextOptions(ContextArgs& args);
std::vector<Option> KvOptions(KvArgs& args);
// -khad and -vhad.
std::vector<Option> HadamardOptions(bool* keys, bool* values);
std::vector<Option> SamplingOptions(SamplingArgs& args);
std::vector<Option> PromptOptions(PromptArgs& args);
std::vector<Option> ChatOptions(ChatArgs& args);
// Flags of llama.cpp about things this engine decides itself; accepted with a notice.
std::vector<Option> CompatibilityOptions();

// What -ctk and -ctv take, in llama.cpp's spelling.
std::vector<std::string> CacheTypeNames();

// `args.options` with the seed resolved and the biases parsed.
// Errors: kInvalidArgument names the bias that is not ID+BIAS or ID-BIAS.
Result<SamplerOptions> ResolveSampling(const SamplingArgs& args);

// Replaces \n \t \r \" \' \\ \0 and \xHH; other backslashes stay.
std::string ProcessEscapes(const std::string& text);

}  // namespace kvasir::cli
