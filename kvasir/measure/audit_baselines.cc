#include "kvasir/measure/audit_baselines.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kvasir/engine/kv_sequence.h"

namespace kvasir {
namespace {

// One kv head of one layer that reads rows of zeros: what is kept depends on positions alone.
class Simulation {
 public:
  static Result<int64_t> Run(const Recipe& recipe, int head_dim, const ReadingPlan& plan);

 private:
  explicit Simulation(int head_dim)
      : shape_{1, 1, 1, head_dim, {0}}, arena_(ledger_, ByteKind::kKv) {}
  Status Feed(RunPhase phase, int64_t n, bool last, PolicyRun& run, SequenceCache& cache);

  CacheShape shape_;
  ByteLedger ledger_;
  SlabArena arena_;
  ThreadTeam team_{1};
};

Status Simulation::Feed(RunPhase phase, int64_t n, bool last, PolicyRun& run,
                        SequenceCache& cache) {
  const std::vector<TokenId> tokens(static_cast<size_t>(n));
  std::vector<int32_t> pos(tokens.size());
  std::iota(pos.begin(), pos.end(), cache.n_pos());
  const std::vector<float> rows(tokens.size() * static_cast<size_t>(shape_.head_dim));
  run.BeginChunk(phase, tokens, last);
  KVASIR_RETURN_IF_ERROR(cache.Append(0, pos, rows.data(), rows.data(), team_));
  cache.Advance(pos.back() + 1);
  return run.EndChunk(cache);
}

Result<int64_t> Simulation::Run(const Recipe& recipe, int head_dim, const ReadingPlan& plan) {
  Simulation s(head_dim);
  KVASIR_ASSIGN_OR_RETURN(
      const auto policy,
      KvPolicy::Compile(recipe, {.shape = s.shape_, .is_special = [](TokenId) { return false; }}));
  KVASIR_ASSIGN_OR_RETURN(const auto workspace, AttendWorkspace::Create(s.shape_, 1, s.ledger_));
  SequenceCache cache(s.shape_, policy->k_format(), policy->v_format(), s.arena_);
  RopeSpec angles;
  angles.n_rot = head_dim;
  const Rope rope(angles, static_cast<int32_t>(plan.n_prefill + plan.n_decode));
  PolicyRun run(policy, {.team = &s.team_,
                         .workspace = workspace.get(),
                         .ledger = &s.ledger_,
                         .rope = [&](int) { return &rope; }});
  KVASIR_RETURN_IF_ERROR(run.Attach(cache));
  for (int64_t done = 0; done < plan.n_prefill; done += plan.n_ubatch) {
    const int64_t n = std::min<int64_t>(plan.n_ubatch, plan.n_prefill - done);
    KVASIR_RETURN_IF_ERROR(s.Feed(RunPhase::kPrefill, n, done + n == plan.n_prefill, run, cache));
  }
  for (int64_t i = 0; i < plan.n_decode; ++i) {
    KVASIR_RETURN_IF_ERROR(s.Feed(RunPhase::kDecode, 1, false, run, cache));
  }
  return KvSequence::PayloadBytes(cache.list(0, 0)) + run.bytes();
}

struct Solution {
  std::string recipe;
  double head_bytes = 0;
};

// The N in place of {} whose bytes are nearest.
Result<Solution> Solve(std::string_view pattern, int head_dim, const ReadingPlan& plan,
                       double head_bytes) {
  const auto text_of = [&](int64_t n) {
    std::string text(pattern);
    return text.replace(text.find("{}"), 2, std::to_string(n));
  };
  const auto bytes_of = [&](int64_t n) -> Result<double> {
    KVASIR_ASSIGN_OR_RETURN(const Recipe recipe, Recipe::Parse(text_of(n)));
    KVASIR_ASSIGN_OR_RETURN(const int64_t bytes, Simulation::Run(recipe, head_dim, plan));
    return static_cast<double>(bytes);
  };
  // The smallest budget that holds at least as much. Budgets below what always stays are refused.
  int64_t low = 1, high = plan.n_prefill + plan.n_decode;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    const Result<double> bytes = bytes_of(middle);
    if (!bytes.ok() || *bytes < head_bytes) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  KVASIR_ASSIGN_OR_RETURN(const double above, bytes_of(low));
  if (const Result<double> below = bytes_of(low - 1);
      below.ok() && head_bytes - *below < above - head_bytes) {
    return Solution{text_of(low - 1), *below};
  }
  return Solution{text_of(low), above};
}

}  // namespace

Result<int64_t> SimulatedHeadBytes(std::string_view recipe, int head_dim, const ReadingPlan& plan) {
  KVASIR_ASSIGN_OR_RETURN(const Recipe parsed, Recipe::Parse(recipe));
  return Simulation::Run(parsed, head_dim, plan);
}

Result<std::vector<std::string>> SolveBaselines(int head_dim, const ReadingPlan& plan,
                                                double head_bytes, bool cuts_in_decode) {
  constexpr std::string_view kCutting = "random:{}+schedule=steps";
  KVASIR_ASSIGN_OR_RETURN(const Solution streaming,
                          Solve("streaming({},position=original)", head_dim, plan, head_bytes));
  KVASIR_ASSIGN_OR_RETURN(
      Solution random, Solve(cuts_in_decode ? kCutting : "random:{}", head_dim, plan, head_bytes));
  if (random.head_bytes > head_bytes * 1.01 && !cuts_in_decode) {
    KVASIR_ASSIGN_OR_RETURN(random, Solve(kCutting, head_dim, plan, head_bytes));
  }
  return std::vector<std::string>{streaming.recipe, random.recipe};
}

std::vector<std::string> FixedBaselines() { return {"codec=q8_0(had)", "codec=q4_0(had)"}; }

}  // namespace kvasir
