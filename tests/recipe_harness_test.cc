// Every recipe, and recipes composed at random from the tables of parts, through the same random
// operations: prompts in chunks, generated tokens, forks and rewinds, with everything checked that
// can be known of the outcome without the method.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include "kvasir/cache/plain_list_testing.h"
#include "kvasir/codecs/registry.h"
#include "kvasir/kernels/half.h"
#include "kvasir/policy/policy_testing.h"
#include "kvasir/policy/selectors/registry.h"

namespace kvasir {
namespace {

CacheShape RandomShape(uint64_t seed) {
  constexpr int kGroups[] = {1, 2, 4, 8}, kHeadDims[] = {16, 32, 64, 80, 128, 256};
  std::mt19937_64 rng(seed);
  const int n_layer = 1 + static_cast<int>(rng() % 3), n_kv_head = 1 + static_cast<int>(rng() % 2);
  const int group = kGroups[rng() % 4];
  return {n_layer, group * n_kv_head, n_kv_head, kHeadDims[rng() % 6],
          std::vector<int32_t>(n_layer, 0)};
}

// Scores of heads as a probe would give them.
PolicyTarget TargetOf(const CacheShape& shape) {
  PolicyTarget target;
  target.shape = shape;
  target.is_special = [](TokenId id) { return id == 0; };
  GiveOutputs(shape, &target);
  target.probe_heads = [shape]() -> Result<HeadTable> {
    HeadTable table = {"", shape.n_layer, shape.n_head, shape.n_kv_head, {}, {}, {}};
    // The best are in as few groups as can be, so that others are left.
    for (int n = shape.n_layer * shape.n_head, i = n; i > 0; --i) {
      for (auto* scores : {&table.echo, &table.induction, &table.area}) {
        scores->push_back(static_cast<float>(i) / static_cast<float>(n));
      }
    }
    return table;
  };
  return target;
}

bool Has(const KvPolicy& policy, PartKind kind, std::string_view name) {
  const auto& parts = policy.recipe().parts(kind);
  return !parts.empty() && parts.front().name == name;
}

class RecipeHarness {
 public:
  static constexpr int kMaxTokens = 700;

  RecipeHarness(const std::string& recipe, uint64_t seed)
      : rng_(seed),
        shape_(RandomShape(seed)),
        layers_(RandomLayers(shape_, kMaxTokens, static_cast<uint32_t>(seed))),
        world_(shape_, recipe, layers_, 2, TargetOf(shape_)) {}

  // Returns how many tokens the recipe let go.
  int64_t Run(int n_step) {
    Feed(RunPhase::kPrefill, 120 + Below(150));
    Check();
    for (int step = 0; step < n_step && !testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE("step " + std::to_string(step) + ": " + Step());
      Check();
    }
    const int64_t n_evicted = world_.run().n_evicted();
    branches_.clear();
    PolicyWorld::Branch last;
    world_.Swap(last);
    last = {};
    EXPECT_EQ(world_.arena().used_bytes(), 0);
    EXPECT_EQ(world_.arena().mapped_bytes(), 0);
    EXPECT_EQ(world_.ledger().held(ByteKind::kIndex), 0);
    return n_evicted;
  }

 private:
  int Below(int n) { return static_cast<int>(rng_() % static_cast<uint64_t>(n)); }
  const KvPolicy& policy() { return world_.run().policy(); }
  int n_pos() { return world_.cache().n_pos(); }
  SegmentList& list(int i) {
    return world_.cache().list(i / shape_.n_kv_head, i % shape_.n_kv_head);
  }
  HeadRole role(int i) { return policy().role(i / shape_.n_kv_head, i % shape_.n_kv_head); }
  int n_list() const { return shape_.n_layer * shape_.n_kv_head; }

  std::string Step() {
    switch (Below(8)) {
      case 0: Feed(RunPhase::kPrefill, 1 + Below(120)); return "prompt";
      case 1:
      case 2: Feed(RunPhase::kDecode, 1 + Below(30)); return "decode";
      case 3: Fork(); return "fork";
      case 4:
        if (!branches_.empty()) {
          world_.Swap(branches_[Below(static_cast<int>(branches_.size()))]);
        }
        return "the other sequence";
      case 5: Rewind(); return "rewind";
      case 6: MakeRoom(); return "make room";
      default: ThereAndBack(); return "there and back";
    }
  }

  void Feed(RunPhase phase, int n) {
    n = std::min(n, kMaxTokens - 1 - n_pos());
    if (n <= 0) return;
    const int64_t evicted = world_.run().n_evicted();
    const Status status =
        phase == RunPhase::kPrefill ? world_.Prefill(n, 1 + Below(80)) : world_.Decode(n);
    // The only excuse: what always stays is more than there is room for.
    if (!status.ok()) {
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.ToString();
      EXPECT_NE(status.message().find("protected tokens do not fit a budget of"), std::string::npos)
          << status.message();
      EXPECT_TRUE(policy().recipe().has(PartKind::kProtect)) << status.message();
      EXPECT_TRUE(world_.Rewind(0).ok());
      return;
    }
    if (phase == RunPhase::kPrefill && world_.run().n_evicted() > evicted) CheckBudget();
  }

  // Right after a cut at the end of a prompt: the budgets sum to the total.
  void CheckBudget() {
    if (policy().scorer == nullptr || !policy().keep->fills_budget()) return;
    const Amount amount = policy().budget->amount();
    if (amount.tokens < 0) return;
    int64_t held = 0, total = 0, outside = 0;
    for (int i = 0; i < n_list(); ++i) {
      if (role(i) != HeadRole::kScored) continue;
      held += list(i).n_kv();
      total += amount.tokens;
    }
    if (Has(policy(), PartKind::kDisposition, "compensate")) outside = n_list();
    if (Has(policy(), PartKind::kDisposition, "demote")) return;
    EXPECT_LE(held, total + outside);
    // A cascade's first layers may have given up what its last ones leave over.
    if (!policy().schedule->each_layer()) {
      EXPECT_GE(held, total);
    }
  }

  // Sealed segments are shared, tails are copied; afterwards neither sees the other.
  void Fork() {
    int64_t tails = 0;
    for (int i = 0; i < n_list(); ++i) {
      const Tail& tail = list(i).tail();
      tails += (tail.n_kv() + kTileTokens - 1) / kTileTokens * tail.layout().tile_bytes();
    }
    const int64_t before = world_.arena().used_bytes();
    auto fork = world_.Fork();
    ASSERT_TRUE(fork.ok()) << fork.status().ToString();
    EXPECT_EQ(world_.arena().used_bytes() - before, tails);
    const auto kept = Positions();
    world_.Swap(*fork);
    EXPECT_EQ(Positions(), kept);
    Feed(RunPhase::kDecode, 1 + Below(20));
    world_.Swap(*fork);
    EXPECT_EQ(Positions(), kept);
    if (branches_.size() < 2) branches_.push_back(std::move(*fork));
  }

  std::vector<std::vector<int32_t>> Positions() {
    std::vector<std::vector<int32_t>> all;
    for (int i = 0; i < n_list(); ++i) all.push_back(list(i).AllPositions());
    return all;
  }

  void Rewind() {
    const int floor = std::max(1, static_cast<int>(world_.run().rewind_floor()));
    if (n_pos() <= floor) return;
    const int pos = floor + Below(n_pos() - floor);
    auto expected = Positions();
    ASSERT_TRUE(world_.Rewind(pos).ok());
    for (auto& held : expected) {
      std::erase_if(held, [&](int32_t p) { return p >= pos; });
    }
    EXPECT_EQ(Positions(), expected);
  }

  // The recipe's overflow rule gives up a third of every list that is long enough.
  void MakeRoom() {
    if (!policy().makes_room()) return;
    const auto before = Positions();
    const int64_t evicted = world_.run().n_evicted();
    const Result<bool> gave = world_.run().MakeRoom(world_.cache());
    ASSERT_TRUE(gave.ok()) << gave.status().ToString();
    if (!*gave) {
      for (const auto& held : before) EXPECT_LT(held.size(), 3u);
      return;
    }
    int64_t n_gone = 0;
    for (int i = 0; i < n_list(); ++i) {
      const auto n = static_cast<int64_t>(before[i].size());
      EXPECT_EQ(list(i).n_kv(), AfterMakingRoom(n));
      n_gone += n - list(i).n_kv();
    }
    EXPECT_EQ(world_.run().n_evicted() - evicted, n_gone);
    made_room_ = true;
  }

  // Tokens that are generated and taken back leave no trace.
  void ThereAndBack() {
    if (n_pos() + 12 >= kMaxTokens) return;
    const int pos = n_pos();
    const int64_t evicted = world_.run().n_evicted();
    const std::vector<float> before = world_.Attend(0, pos);
    const auto kept = Positions();
    std::vector<std::vector<std::shared_ptr<const Segment>>> sealed;
    for (int i = 0; i < n_list(); ++i) {
      sealed.emplace_back(list(i).sealed().begin(), list(i).sealed().end());
    }
    Feed(RunPhase::kDecode, 10);
    if (world_.run().n_evicted() != evicted || world_.run().rewind_floor() > pos) return;
    ASSERT_TRUE(world_.Rewind(pos).ok());
    EXPECT_EQ(Positions(), kept);
    for (int i = 0; i < n_list(); ++i) {
      if (!std::ranges::equal(list(i).sealed(), sealed[i])) return;  // some were sealed
    }
    EXPECT_EQ(world_.Attend(0, pos), before);
  }

  void Check() {
    EXPECT_EQ(world_.ledger().held(ByteKind::kKv), world_.arena().mapped_bytes());
    int64_t bytes = 0;
    for (const PolicyWorld::Branch& branch : branches_) bytes += branch.cache->bytes();
    EXPECT_LE(world_.arena().used_bytes(), bytes + world_.cache().bytes());
    for (int i = 0; i < n_list() && !testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE("list " + std::to_string(i));
      CheckTokens(PlainList::Of(list(i)), i);
    }
    if (n_pos() > 0) CheckAttention();
  }

  void CheckTokens(const PlainList& plain, int i) {
    const std::vector<int32_t> pos = plain.positions();
    const bool demotes = Has(policy(), PartKind::kDisposition, "demote");
    const bool compensates = Has(policy(), PartKind::kDisposition, "compensate");
    const std::set<int32_t> distinct(pos.begin(), pos.end());
    for (int32_t p : pos) ASSERT_TRUE(p >= 0 && p < n_pos());
    double count = 0;
    for (const PlainToken& token : plain.tokens) count += std::exp2(token.bias);
    if (compensates) {
      // What was dropped is counted by the one token that stands for it.
      EXPECT_NEAR(count, n_pos(), 1e-3 * n_pos());
      return;
    }
    EXPECT_EQ(distinct.size(), pos.size());
    if (demotes || (!policy().evicts() && !made_room_)) {
      EXPECT_EQ(static_cast<int>(pos.size()), n_pos());
    }
    if (!demotes) {
      EXPECT_TRUE(std::is_sorted(pos.begin(), pos.end()));
    }
    EXPECT_LE(count, n_pos() * (1 + 1e-3));
    const bool drops = !policy().evicts() || Has(policy(), PartKind::kDisposition, "drop") ||
                       policy().recipe().parts(PartKind::kDisposition).empty();
    if (!drops) return;
    for (const PlainToken& token : plain.tokens) {
      const int layer = i / shape_.n_kv_head, kv_head = i % shape_.n_kv_head;
      if (!policy().renumbers()) {  // else keys are turned
        CheckRow(policy().codec_k == nullptr, policy().k_format(), token.k, layers_[layer].k,
                 token.pos, kv_head);
      }
      CheckRow(policy().codec_v == nullptr, policy().v_format(), token.v, layers_[layer].v,
               token.pos, kv_head);
    }
  }

  void CheckRow(bool is_dense, TileFormat format, const std::vector<float>& got,
                const std::vector<float>& rows, int32_t pos, int kv_head) {
    const float* row = world_.Row(rows, pos, kv_head);
    double error = 0, total = 0;
    for (size_t c = 0; c < got.size(); ++c) {
      const float kept = format == TileFormat::kF16 ? HalfToFloat(FloatToHalf(row[c])) : row[c];
      if (is_dense) {
        ASSERT_EQ(got[c], kept) << "position " << pos;
      }
      error += std::pow(double{got[c]} - row[c], 2);
      total += std::pow(double{row[c]}, 2);
    }
    ASSERT_TRUE(error <= 2.6 * total) << "position " << pos;
  }

  void CheckAttention() {
    const int token = n_pos(), d = shape_.head_dim;
    // Attention on codes rounds queries and weights.
    const double tolerance = policy().codec_k != nullptr   ? 5e-4
                             : policy().codec_v != nullptr ? 1e-4
                                                           : 1e-5;
    for (int layer = 0; layer < shape_.n_layer; ++layer) {
      const std::vector<float> out = world_.Attend(layer, token);
      for (float x : out) ASSERT_TRUE(std::isfinite(x));
      if (policy().selects()) continue;  // reads a part of what is held
      for (int head = 0; head < shape_.n_head; ++head) {
        const int kv_head = head / shape_.group();
        PlainQuery query;
        const float* q = &layers_[layer].q[(size_t(token) * shape_.n_head + head) * d];
        query.q.assign(q, q + d);
        query.pos = token;
        query.scale = 1.0f / std::sqrt(static_cast<float>(d));
        if (policy().role(layer, kv_head) == HeadRole::kProtectedOnly) {
          query.window = policy().streaming_window().recent;
          query.sinks = policy().streaming_window().sinks;
        }
        const auto expected = PlainList::Of(list(layer * shape_.n_kv_head + kv_head)).Attend(query);
        for (int c = 0; c < d; ++c) {
          ASSERT_TRUE(std::abs(out[head * d + c] - expected[c]) <= tolerance)
              << "layer " << layer << " head " << head << ": " << out[head * d + c] << " for "
              << expected[c];
        }
      }
    }
  }

  std::mt19937_64 rng_;
  CacheShape shape_;
  std::vector<LayerData> layers_;
  PolicyWorld world_;
  std::vector<PolicyWorld::Branch> branches_;
  bool made_room_ = false;  // at least once, in some branch
};

// Why a recipe cannot run on the shapes of a seed; empty where it can.
std::string Refusal(const std::string& text, uint64_t seed, bool* replays) {
  const auto recipe = Recipe::Parse(text);
  if (!recipe.ok()) return recipe.status().message();
  const auto policy = KvPolicy::Compile(*recipe, TargetOf(RandomShape(seed)));
  if (!policy.ok()) return policy.status().message();
  *replays = ((*policy)->needs() & kNeedReplay) != 0;
  return "";
}

int64_t RunRecipe(const std::string& recipe, uint64_t seed, int n_step) {
  SCOPED_TRACE("'" + recipe + "' seed " + std::to_string(seed));
  return RecipeHarness(recipe, seed).Run(n_step);
}

// Presets with budgets that a few hundred tokens pass.
std::vector<std::string> TightPresets() {
  std::vector<std::string> recipes;
  for (const PresetInfo* preset : Presets()) {
    std::string args;
    for (const ParamInfo& param : preset->params) {
      const bool is_window = param.name == "window" || param.name == "recent" ||
                             param.name == "least" || param.name == "local";
      if (param.name == "budget") args += "budget=48,";
      if (is_window && param.type == ParamType::kInt && param.max >= 8) {
        args += fmt::format("{}=8,", param.name);
      }
    }
    if (!args.empty()) args = fmt::format("({})", args.substr(0, args.size() - 1));
    recipes.push_back(fmt::format("{}{}", preset->name, args));
  }
  return recipes;
}

TEST(RecipeHarness, EveryPresetGoesThroughEveryOperation) {
  uint64_t seed = 1;
  for (const std::string& recipe : TightPresets()) {
    int64_t n_evicted = 0;
    bool any_replays = false;
    for (const char* more : {"", "+q8_0", "+int4h", " select=quest(pages=4,dense=0)",
                             " select=twolevel(tokens=32,recent=8)"}) {
      bool replays = false;
      const std::string refusal = Refusal(recipe + more, ++seed, &replays);
      ASSERT_EQ(refusal, "") << recipe << more;
      any_replays = any_replays || replays;
      // A prompt is read again by a model: kvzip_test.cc.
      if (!replays && !HasFailure()) n_evicted += RunRecipe(recipe + more, seed, 12);
    }
    if (recipe != "exact" && !any_replays) {
      EXPECT_GT(n_evicted, 0) << recipe;
    }
  }
}

TEST(RecipeHarness, ABudgetForEverythingChangesNoBit) {
  uint64_t seed = 500;
  for (const PresetInfo* preset : Presets()) {
    const auto& params = preset->params;
    if (std::ranges::none_of(params, [](const ParamInfo& p) { return p.name == "budget"; })) {
      continue;
    }
    const CacheShape shape = RandomShape(++seed);
    const auto layers = RandomLayers(shape, 200, static_cast<uint32_t>(seed));
    PolicyWorld exact(shape, "exact", layers, 1);
    PolicyWorld ample(shape, std::string(preset->name) + "(budget=100000)", layers, 2,
                      TargetOf(shape));
    if ((ample.run().policy().needs() & kNeedReplay) != 0) continue;  // presets_test.cc
    ASSERT_TRUE(exact.Prefill(180, 180).ok());
    ASSERT_TRUE(ample.Prefill(150, 33).ok());
    ASSERT_TRUE(ample.Decode(30).ok());
    EXPECT_EQ(ample.run().n_evicted(), 0) << preset->name;
    for (int layer = 0; layer < shape.n_layer; ++layer) {
      EXPECT_EQ(ample.Attend(layer, 180), exact.Attend(layer, 180)) << preset->name;
    }
  }
}

// --- recipes composed at random from the tables ---

class Composer {
 public:
  explicit Composer(uint64_t seed) : rng_(seed) {}

  std::string Recipe() {
    std::string text;
    for (int kind = 0; kind < kPartKinds; ++kind) {
      const std::string part = Item(static_cast<PartKind>(kind));
      if (part.empty()) continue;
      if (!text.empty()) text += ' ';
      text += fmt::format("{}={}", PartKindName(static_cast<PartKind>(kind)), part);
    }
    return text;
  }

 private:
  bool OneIn(int n) { return rng_() % static_cast<uint64_t>(n) == 0; }
  int64_t Between(double low, double high) {
    return static_cast<int64_t>(low) + static_cast<int64_t>(rng_() % uint64_t(high - low + 1));
  }

  std::string Item(PartKind kind) {
    if (kind == PartKind::kCodecK || kind == PartKind::kCodecV) {
      if (!OneIn(3)) return "";
      return std::string(Codecs()[rng_() % Codecs().size()].info->name);
    }
    if (kind == PartKind::kSelect) {
      return OneIn(5) ? std::string(Selectors()[rng_() % Selectors().size()]->name) : "";
    }
    const bool keeps = kind == PartKind::kScore || kind == PartKind::kBudget;
    if (OneIn(keeps ? 8 : 2)) return "";
    std::vector<const PartInfo*> infos;
    for (const PartInfo* info : Parts()) {
      if (info->kind == kind) infos.push_back(info);
    }
    return infos.empty() ? "" : Part(*infos[rng_() % infos.size()]);
  }

  std::string Part(const PartInfo& info) {
    std::string args;
    for (const ParamInfo& param : info.params) {
      if (!param.default_text.empty() && OneIn(2)) continue;
      const std::string value = Value(param);
      if (value.empty()) continue;
      args += fmt::format("{}{}={}", args.empty() ? "" : ",", param.name, value);
    }
    return args.empty() ? std::string(info.name) : fmt::format("{}({})", info.name, args);
  }

  std::string Value(const ParamInfo& param) {
    switch (param.type) {
      case ParamType::kAmount:
        return OneIn(3) ? std::to_string(Between(10, 90)) + "%" : std::to_string(Between(20, 120));
      case ParamType::kInt:
      case ParamType::kFlag:
        return std::to_string(Between(param.min, std::min(param.max, param.min + 20)));
      case ParamType::kReal:
        return std::to_string(param.min + (std::min(param.max, param.min + 2) - param.min) *
                                              static_cast<double>(Between(0, 4)) / 4);
      case ParamType::kText: return param.default_text.empty() ? "q8_0" : "";
    }
    return "";
  }

  std::mt19937_64 rng_;
};

TEST(RecipeHarness, WhatIsComposedAtRandomRunsOrIsRefusedWithAReason) {
  int n_run = 0, n_refused = 0;
  for (uint64_t seed = 1000; seed < 1200 && !HasFailure(); ++seed) {
    const std::string recipe = Composer(seed).Recipe();
    bool replays = false;
    const std::string refusal = Refusal(recipe, seed, &replays);
    if (!refusal.empty()) {
      // One line that names what it is about.
      EXPECT_EQ(refusal.find('\n'), std::string::npos) << recipe;
      EXPECT_NE(refusal.find("recipe: "), std::string::npos) << recipe << ": " << refusal;
      ++n_refused;
    } else if (!replays) {
      RunRecipe(recipe, seed, 6);
      ++n_run;
    }
  }
  EXPECT_GT(n_run, 40);
  EXPECT_GT(n_refused, 20);
}

}  // namespace
}  // namespace kvasir
