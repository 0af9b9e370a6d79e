// Speed of prefill and decode at chosen depths, with the bytes that each must move.
//
// A depth costs one fill: the cache is filled once per recipe, grown from one depth to the
// next, and taken back to the depth after every repetition. Plain reads of memory take turns with
// the repetitions, so that a rate and its ceiling meet the same machine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/model/model.h"
#include "kvasir/status.h"

namespace kvasir {

// One row: n_prompt tokens in chunks of n_ubatch, or n_gen tokens one at a time, at positions from
// `depth` on. The other count is 0.
struct BenchCase {
  int64_t n_prompt = 0;
  int64_t n_gen = 0;
  int64_t depth = 0;
  int64_t n_thread = 0;
  int64_t n_ubatch = 512;
  std::string kv = "exact";  // a recipe; the types are added to it
  std::string type_k = "f16", type_v = "f16";

  int64_t n_token() const { return n_prompt + n_gen; }
};

// llama-bench's names: "pp512", "tg128", "tg32 @ d16384".
std::string BenchCaseName(const BenchCase& bench_case);

// Lists multiply. Counts of 0 in n_prompt and n_gen are left out.
struct BenchGrid {
  std::vector<int64_t> n_prompt = {512};
  std::vector<int64_t> n_gen = {128};
  std::vector<int64_t> depth = {0};
  std::vector<int64_t> n_thread = {0};  // 0 = the CPUs of this process
  std::vector<int64_t> n_ubatch = {512};
  std::vector<std::string> kv = {"exact"};
  std::vector<std::string> type_k = {"f16"}, type_v = {"f16"};
};

// Prompts before generation, depths outside threads and chunks, recipes and formats outermost.
std::vector<BenchCase> ExpandGrid(const BenchGrid& grid);

enum class BenchFill {
  kPrefill,  // what a session would hold
  kRandom,   // uniform keys and values, written straight into the cache
};
std::string_view BenchFillName(BenchFill fill);  // "prefill", "random"

struct BenchResult {
  BenchCase bench_case = {};  // n_thread resolved
  BenchFill fill = BenchFill::kPrefill;
  std::vector<double> seconds = {};  // per repetition
  // Per repetition: the matrices, and once a chunk what is read of the cache as it is held in the
  // middle. Summaries that a selector looks through are left out.
  double moved_bytes = 0;
  double kv_bytes = 0;   // of the cache and its summaries, as held in the middle
  double read_rate = 0;  // bytes per second of plain reads with the same threads; median
  // Of the tokens that a prefill= part may leave out, what was read; 1 without it.
  double prefill_share = 1;
  double step_share = 1;  // of the tokens held, what generation read; 1 without select=

  std::vector<double> TokenRates() const;  // tokens per second of each repetition
  double MovedRate() const;                // bytes per second at the median time
};

struct BenchOptions {
  int repetitions = 5;
  BenchFill fill = BenchFill::kPrefill;
  int64_t read_bytes = 0;  // of the buffer that plain reads go over; 0 = ReadMeter's choice
  // What is under way ("fill 4096", "tg128"), tokens done and in all. May be empty.
  std::function<void(std::string_view stage, int64_t done, int64_t total)> progress = {};
};

// Runs the cases in order and hands over each result as it is known.
// Errors: those of the recipe; kInvalidArgument for positions past 2^31, and for a random fill
// under a recipe that evicts tokens; those of the forward pass and of `sink`.
Status RunBench(std::shared_ptr<const Model> model, const std::vector<BenchCase>& cases,
                const BenchOptions& options, const std::function<Status(const BenchResult&)>& sink);

// Bytes of the matrices that a repetition of the case reads: layers once a chunk, the output matrix
// where logits are made.
double MatrixBytes(const Model& model, const BenchCase& bench_case);

}  // namespace kvasir
