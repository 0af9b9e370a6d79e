#include "kvasir/measure/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "kvasir/codecs/rope_table.h"
#include "kvasir/core/random.h"
#include "kvasir/engine/kv_sequence.h"
#include "kvasir/measure/bandwidth.h"
#include "kvasir/measure/statistics.h"
#include "kvasir/measure/teacher_forced.h"

namespace kvasir {
namespace {

constexpr int kSteps = 8;  // generated tokens of a measurement
constexpr int kMeasuredChunks = 3;

double SecondsOf(const std::function<Status()>& run, Status* status) {
  const auto start = std::chrono::steady_clock::now();
  *status = run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<TokenId> SyntheticTokens(int64_t n, int32_t n_vocab) {
  std::vector<TokenId> tokens(static_cast<size_t>(n));
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<TokenId>(Mix64(i) % static_cast<uint64_t>(n_vocab));
  }
  return tokens;
}

// Tokens that a list holds after the prompt.
int64_t HeldAtEnd(const KvPolicy& policy, int layer, int kv_head, int64_t n_token) {
  const int32_t window = policy.target().shape.window[layer];
  if (window > 0) return std::min<int64_t>(n_token, window);
  if (!policy.evicts()) return n_token;
  switch (policy.role(layer, kv_head)) {
    case HeadRole::kWhole: return n_token;
    case HeadRole::kProtectedOnly: return std::min(n_token, policy.protected_tokens());
    default: return std::min(n_token, policy.budget->amount().Of(n_token));
  }
}

// What one side of a list takes. Both sides seal the same blocks, each when its own tail allows.
double SideBytes(const KvPolicy& policy, KvSide side, int64_t held, bool seals) {
  int64_t block = 1, sinks = 0;
  for (const auto& [codec, of] :
       {std::pair{policy.codec_k.get(), KvSide::kKey}, {policy.codec_v.get(), KvSide::kValue}}) {
    if (codec == nullptr) continue;
    block = std::lcm(block, int64_t{codec->tail(of).block});
    sinks = std::max(sinks, int64_t{codec->tail(of).sinks});
  }
  sinks = (sinks + kTileTokens - 1) / kTileTokens * kTileTokens;
  const bool is_key = side == KvSide::kKey;
  const KvCodec* codec = (is_key ? policy.codec_k : policy.codec_v).get();
  int64_t n_sealed = 0, learnt = 0;
  if (seals && codec != nullptr) {
    n_sealed = std::max<int64_t>(0, held - sinks - codec->tail(side).keep) / block * block;
    learnt = codec->head_bytes(side, policy.target().shape.head_dim);
    if (learnt > 0 && n_sealed < codec->tail(side).first) n_sealed = learnt = 0;
  }
  const int dense_bytes =
      (is_key ? policy.k_format() : policy.v_format()) == TileFormat::kF16 ? 2 : 4;
  return static_cast<double>(learnt) +
         policy.target().shape.head_dim *
             (static_cast<double>(held - n_sealed) * dense_bytes +
              static_cast<double>(n_sealed) * policy.bits_per_element(side) / 8);
}

// Slabs start small and grow to this; of every size of block one may be almost empty.
constexpr int64_t kLargestSlab = int64_t{2} << 20;

int64_t SlackOf(const KvPolicy& policy, int64_t payload, int64_t summaries) {
  const int n_size = 1 + (policy.codec_k != nullptr ? 1 : 0) + (policy.codec_v != nullptr ? 1 : 0);
  const int n_array = policy.selects() ? 3 : 0;  // sizes of arrays in which summaries come, at most
  // The first slabs of a size double, so no more is mapped ahead than is used, from 64 KiB on.
  const auto slab = [](int64_t used) { return std::min(kLargestSlab, used + (int64_t{64} << 10)); };
  return n_size * slab(payload) + n_array * slab(summaries);
}

// A runtime with its weights and scratch in memory, and a sequence of one recipe.
struct Rig {
  std::unique_ptr<Runtime> runtime;
  std::shared_ptr<const KvPolicy> policy;
  std::vector<TokenId> tokens;

  static Result<Rig> Create(std::shared_ptr<const Model> model, const std::string& recipe,
                            const PlanOptions& options, int64_t n_prompt, ThreadTeam& team) {
    Rig rig;
    const int64_t n_token = n_prompt + kSteps;
    KVASIR_ASSIGN_OR_RETURN(const Recipe parsed, Recipe::Parse(recipe));
    KVASIR_ASSIGN_OR_RETURN(
        rig.runtime,
        Runtime::Create(model,
                        {.n_ctx = static_cast<int32_t>(std::max(n_token, options.n_token + kSteps)),
                         .n_ubatch = options.n_ubatch,
                         .memory_limit = options.memory_limit,
                         .process_bytes = ProcessBytesBeside(*model)},
                        team));
    rig.tokens = SyntheticTokens(n_token, model->spec.n_vocab);
    KVASIR_RETURN_IF_ERROR(
        WarmUp(*rig.runtime, std::span(rig.tokens).first(static_cast<size_t>(n_prompt))));
    KVASIR_ASSIGN_OR_RETURN(rig.policy, KvPolicy::Compile(parsed, rig.runtime->Target()));
    return rig;
  }

  // Seconds of every chunk of the prompt, and then of kSteps steps.
  Status Run(KvSequence& sequence, const PlanOptions& options, std::vector<double>* chunks,
             std::vector<double>* steps, const std::function<void()>& after_each = {}) {
    const auto all = std::span<const TokenId>(tokens);
    const size_t n_prompt = tokens.size() - kSteps;
    for (size_t done = 0; done < tokens.size();) {
      const bool is_step = done >= n_prompt;
      const size_t n =
          is_step ? 1 : std::min<size_t>(static_cast<size_t>(options.n_ubatch), n_prompt - done);
      FeedStep step;
      step.phase = is_step ? RunPhase::kDecode : RunPhase::kPrefill;
      step.tokens = all.subspan(done, n);
      step.last_prefill_chunk = !is_step && done + n == n_prompt;
      step.wanted = is_step || step.last_prefill_chunk ? LogitsWanted::kLast : LogitsWanted::kNone;
      step.sink = [](int64_t, int64_t, const float*) { return Status::Ok(); };
      Status status;
      (is_step ? steps : chunks)
          ->push_back(SecondsOf([&] { return sequence.Feed(step); }, &status));
      KVASIR_RETURN_IF_ERROR(status);
      done += n;
      if (after_each) after_each();
      if (options.progress) {
        options.progress("measuring", static_cast<int64_t>(done),
                         static_cast<int64_t>(tokens.size()));
      }
    }
    return Status::Ok();
  }
};

// What does not depend on the recipe.
PlanBytes FixedBytes(const ByteLedger& ledger) {
  PlanBytes bytes;
  bytes.weights = ledger.held(ByteKind::kWeights);
  bytes.process = ledger.held(ByteKind::kOther);
  bytes.scratch = ledger.held(ByteKind::kScratch);
  return bytes;
}

// The line through the chunks' seconds over their positions, rising.
void FitChunks(const std::vector<double>& seconds, int64_t n_ubatch, MachineSpeed* speed) {
  const double mean = Summarize(seconds).mean,
               center = (static_cast<double>(seconds.size()) - 1) / 2;
  double covariance = 0, variance = 0;
  for (size_t i = 0; i < seconds.size(); ++i) {
    const double x = static_cast<double>(i) - center;
    covariance += x * (seconds[i] - mean);
    variance += x * x;
  }
  const double slope = variance > 0 ? std::max(0.0, covariance / variance) : 0;
  speed->depth_seconds = slope / static_cast<double>(n_ubatch);
  speed->chunk_seconds = std::max(mean - slope * center, mean / 8);
}

Result<MachineSpeed> MeasureSpeed(const std::shared_ptr<const Model>& model,
                                  const PlanOptions& options, ThreadTeam& team, PlanBytes* fixed) {
  PlanOptions free = options;
  free.memory_limit = 0;
  KVASIR_ASSIGN_OR_RETURN(
      Rig rig, Rig::Create(model, "exact", free, kMeasuredChunks * options.n_ubatch, team));
  KvSequence sequence(*rig.runtime, rig.policy);
  std::vector<double> chunks, steps;
  KVASIR_RETURN_IF_ERROR(rig.Run(sequence, free, &chunks, &steps, [&] {
    if (steps.empty()) *fixed = FixedBytes(rig.runtime->ledger());
  }));
  MachineSpeed speed;
  KVASIR_ASSIGN_OR_RETURN(const auto meter, ReadMeter::Create(options.read_bytes));
  speed.read_rate = meter->MedianRate(team);
  FitChunks(chunks, options.n_ubatch, &speed);
  const double step = Summarize(steps).median;
  const double reading = static_cast<double>(sequence.payload_bytes()) / speed.read_rate;
  speed.step_seconds = std::max(step - reading, step / 8);
  return speed;
}

// Tokens of a list after the prompt, on average.
int64_t MeanHeld(const KvPolicy& policy, int64_t n_token) {
  const CacheShape& shape = policy.target().shape;
  int64_t held = 0;
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    for (int h = 0; h < shape.n_kv_head; ++h) held += HeldAtEnd(policy, layer, h, n_token);
  }
  return held / (int64_t{shape.n_layer} * shape.n_kv_head);
}

// Tokens in front of a chunk that a recipe which cuts every chunk still holds; of others, all.
int64_t DepthCap(const KvPolicy& policy, int64_t n_token) {
  if (!policy.evicts() || !policy.schedule->each_chunk()) return n_token;
  return MeanHeld(policy, n_token);
}

double PrefillSeconds(const KvPolicy& policy, const MachineSpeed& speed,
                      const PlanOptions& options) {
  const int64_t cap = DepthCap(policy, options.n_token);
  double seconds = 0;
  for (int64_t first = 0; first < options.n_token; first += options.n_ubatch) {
    const double share =
        static_cast<double>(std::min<int64_t>(options.n_ubatch, options.n_token - first)) /
        options.n_ubatch;
    seconds += share * (speed.chunk_seconds +
                        speed.depth_seconds * static_cast<double>(std::min(first, cap)));
  }
  return seconds;
}

// Page summaries of a selector, which grow with the tokens: those of a short prompt, stretched.
Result<int64_t> SummaryBytes(const std::shared_ptr<const Model>& model, const std::string& recipe,
                             const PlanOptions& options, ThreadTeam& team) {
  PlanOptions free = options;
  free.memory_limit = 0;
  const int64_t n_short = kMeasuredChunks * options.n_ubatch;
  KVASIR_ASSIGN_OR_RETURN(Rig rig, Rig::Create(model, recipe, free, n_short, team));
  KvSequence sequence(*rig.runtime, rig.policy);
  std::vector<double> chunks, steps;
  int64_t summaries = 0;
  KVASIR_RETURN_IF_ERROR(rig.Run(sequence, free, &chunks, &steps, [&] {
    if (steps.empty()) summaries = sequence.cache().selector()->bytes();
  }));
  return static_cast<int64_t>(static_cast<double>(summaries) * options.n_token / n_short);
}

PlanRow PlanRecipe(const KvPolicy& policy, const PlanBytes& fixed, int64_t summaries,
                   const MachineSpeed& speed, const PlanOptions& options, int n_thread) {
  PlanRow row;
  row.peak = fixed;
  row.peak.scratch += policy.prefill_scratch_bytes(options.n_token) * n_thread;
  row.peak.kv = policy.forecast_bytes(options.n_token, options.n_ubatch);
  row.peak.slack = SlackOf(policy, row.peak.kv, summaries);
  const int64_t cap = DepthCap(policy, options.n_token);
  row.peak.index =
      SignalBytes(policy, std::min(options.n_token, cap + options.n_ubatch)) + summaries;
  if (policy.renumbers()) {
    row.peak.index +=
        RopeTable::Bytes(policy.target().shape.head_dim / 2, static_cast<int32_t>(options.n_token));
  }
  row.kv_end = SteadyBytes(policy, options.n_token) +
               SignalBytes(policy, MeanHeld(policy, options.n_token)) + summaries;
  row.bytes_per_token = policy.bytes_per_token();
  row.makes_room = policy.makes_room();
  row.fits =
      options.memory_limit == 0 || row.makes_room || row.peak.total() <= options.memory_limit;
  row.prefill_seconds = PrefillSeconds(policy, speed, options);
  row.decode_rate = 1 / (speed.step_seconds + static_cast<double>(row.kv_end) / speed.read_rate);
  row.reads_less = policy.selects();
  return row;
}

Status CheckOptions(const PlanOptions& options) {
  constexpr int64_t kMost = INT32_MAX - kSteps;
  if (options.n_token >= 1 && options.n_token <= kMost) return Status::Ok();
  return Status::InvalidArgument(
      fmt::format("plan: tokens: expected 1 to {}, found {}", kMost, options.n_token));
}

}  // namespace

std::span<const std::string_view> PlannedRecipes() {
  static constexpr std::string_view kRecipes[] = {
      "exact",          "q8_0",        "int4h",        "kivi:2",
      "streaming:1024", "snapkv:1024", "keydiff:1024", "keydiff:1024+int4h",
      "quest:64"};
  return kRecipes;
}

int64_t SteadyBytes(const KvPolicy& policy, int64_t n_token) {
  const CacheShape& shape = policy.target().shape;
  double bytes = 0;
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    for (int h = 0; h < shape.n_kv_head; ++h) {
      const int64_t held = HeldAtEnd(policy, layer, h, n_token);
      const bool seals = policy.seals() && shape.window[layer] == 0;
      bytes += SideBytes(policy, KvSide::kKey, held, seals) +
               SideBytes(policy, KvSide::kValue, held, seals);
      // Positions with holes are written out; turned keys have them twice, and by how much they
      // turn.
      if (shape.window[layer] == 0 && held < n_token) {
        bytes += static_cast<double>(held) * sizeof(int32_t) * (policy.renumbers() ? 3 : 1);
      }
    }
  }
  return static_cast<int64_t>(bytes);
}

Result<Plan> MakePlan(std::shared_ptr<const Model> model, const PlanOptions& options,
                      ThreadTeam& team) {
  KVASIR_RETURN_IF_ERROR(CheckOptions(options));
  std::vector<std::string> names = options.recipes;
  if (names.empty()) names.assign(PlannedRecipes().begin(), PlannedRecipes().end());
  std::vector<Recipe> recipes;
  for (const std::string& name : names) {
    KVASIR_ASSIGN_OR_RETURN(Recipe recipe, Recipe::Parse(name));
    recipes.push_back(std::move(recipe));
  }
  Plan plan = {.n_token = options.n_token,
               .memory_limit = options.memory_limit,
               .n_ubatch = options.n_ubatch,
               .n_thread = team.size(),
               .speed = {},
               .rows = {}};
  PlanBytes fixed;
  KVASIR_ASSIGN_OR_RETURN(plan.speed, MeasureSpeed(model, options, team, &fixed));
  KVASIR_ASSIGN_OR_RETURN(
      const auto runtime,
      Runtime::Create(model, {.n_ctx = static_cast<int32_t>(options.n_token)}, team));
  for (size_t i = 0; i < names.size(); ++i) {
    const auto policy = KvPolicy::Compile(recipes[i], runtime->Target());
    PlanRow row;
    if (policy.ok()) {
      int64_t summaries = 0;
      if ((*policy)->selects()) {
        KVASIR_ASSIGN_OR_RETURN(summaries, SummaryBytes(model, names[i], options, team));
      }
      row = PlanRecipe(**policy, fixed, summaries, plan.speed, options, team.size());
    } else {
      row.refused = policy.status().message();
    }
    row.recipe = names[i];
    plan.rows.push_back(std::move(row));
  }
  return plan;
}

Result<PlanCheck> CheckPlan(std::shared_ptr<const Model> model, const std::string& recipe,
                            const PlanOptions& options, ThreadTeam& team) {
  KVASIR_RETURN_IF_ERROR(CheckOptions(options));
  KVASIR_ASSIGN_OR_RETURN(Rig rig,
                          Rig::Create(std::move(model), recipe, options, options.n_token, team));
  KvSequence sequence(*rig.runtime, rig.policy);
  const ByteLedger& ledger = rig.runtime->ledger();
  PlanCheck check;
  std::vector<double> chunks, steps;
  const SlabArena& arena = rig.runtime->arena();
  int64_t mapped = 0, max_index = 0, index_slack = 0;
  KVASIR_RETURN_IF_ERROR(rig.Run(sequence, options, &chunks, &steps, [&] {
    if (!steps.empty()) return;
    check.kv_end = sequence.payload_bytes();
    const int64_t slack = arena.mapped_bytes(ByteKind::kIndex) - arena.used_bytes(ByteKind::kIndex);
    const int64_t index = ledger.held(ByteKind::kIndex) - slack;
    const int64_t kv = std::max(check.peak.kv, check.kv_end - index);
    check.peak = FixedBytes(ledger);
    check.peak.kv = kv;
    max_index = std::max(max_index, index);
    index_slack = std::max(index_slack, slack);
    mapped = std::max(mapped, ledger.held(ByteKind::kKv));
  }));
  check.peak.index = max_index;
  check.peak.slack = std::max<int64_t>(0, mapped - check.peak.kv) + index_slack;
  check.ledger_peak = ledger.peak();
  check.prefill_seconds = std::accumulate(chunks.begin(), chunks.end(), 0.0);
  check.decode_rate = 1 / Summarize(steps).median;
  return check;
}

}  // namespace kvasir
