// Which recipes fit a model, a context and a byte limit, and how fast they will be: bytes from the
// forecast that admission uses, seconds from a short measurement of this machine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvasir/core/thread_team.h"
#include "kvasir/model/model.h"
#include "kvasir/policy/policy.h"
#include "kvasir/status.h"

namespace kvasir {

struct PlanOptions {
  int64_t n_token = 0;       // of the prompt
  int64_t memory_limit = 0;  // bytes; 0 = none
  int32_t n_ubatch = 512;
  std::vector<std::string> recipes = {};  // empty: PlannedRecipes()
  int64_t read_bytes = 0;                 // of the buffer of plain reads; 0 = ReadMeter's choice
  // What is under way, tokens done and in all; may be empty.
  std::function<void(std::string_view stage, int64_t done, int64_t total)> progress = {};
};

// Recipes of different kinds, exact first.
std::span<const std::string_view> PlannedRecipes();

// What a prompt takes at its peak, by kind; names as in the ledger.
struct PlanBytes {
  int64_t weights = 0;
  int64_t process = 0;  // "other": vocabulary, program, libraries
  int64_t scratch = 0;  // activations and attention states
  int64_t kv = 0;       // payload: KvPolicy::forecast_bytes
  int64_t slack = 0;  // of the last slab of every size of block: what is mapped beyond the payload
  int64_t index = 0;  // signals and scores
  int64_t total() const { return weights + process + scratch + kv + slack + index; }
};

struct PlanRow {
  std::string recipe;   // as it was asked for
  std::string refused;  // why it cannot work; the rest is then empty
  PlanBytes peak;
  int64_t kv_end = 0;          // payload once the prompt is read: keys, values, scales, positions
  double bytes_per_token = 0;  // of a kept token, once sealed
  bool fits = false;           // total() within the limit, or the recipe makes room by itself
  bool makes_room = false;
  double prefill_seconds = 0;  // a prefill= part is not counted: what it leaves out is not known
  double decode_rate = 0;      // tokens per second behind the prompt
  bool reads_less = false;     // it selects: decode_rate counts reading all that is held
};

// Measured on exact f16 caches with the threads of the team.
struct MachineSpeed {
  double read_rate = 0;      // bytes per second of plain reads
  double chunk_seconds = 0;  // a chunk of n_ubatch tokens at position 0
  double depth_seconds = 0;  // what each token in front of a chunk adds to it
  double step_seconds = 0;   // a generated token, the reading of its cache left out
};

struct Plan {
  int64_t n_token = 0, memory_limit = 0;
  int32_t n_ubatch = 0;
  int n_thread = 0;
  MachineSpeed speed;
  std::vector<PlanRow> rows;
};

// Errors: kInvalidArgument for a prompt of less than one token or a recipe of unknown parts (parts
// that cannot work together refuse a row only); those of the forward pass.
Result<Plan> MakePlan(std::shared_ptr<const Model> model, const PlanOptions& options,
                      ThreadTeam& team);

// The same figures of a run of synthetic tokens. Its process bytes are those of its own start.
struct PlanCheck {
  PlanBytes
      peak;  // of kv and slack: their sum is what the ledger held, the payload the largest seen
  int64_t ledger_peak = 0;
  int64_t kv_end = 0;
  double prefill_seconds = 0;
  double decode_rate = 0;
};
// Runs the prompt under one recipe, with the byte limit, and some steps behind it.
// Errors: as MakePlan; kOutOfMemory where the limit would be passed.
Result<PlanCheck> CheckPlan(std::shared_ptr<const Model> model, const std::string& recipe,
                            const PlanOptions& options, ThreadTeam& team);

// What n tokens take under the policy once their prompt is read, without signals and summaries.
int64_t SteadyBytes(const KvPolicy& policy, int64_t n_token);

}  // namespace kvasir
