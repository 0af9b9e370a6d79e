// Tokens that stay, against NVIDIA/kvpress: the same model, tokens and share, both in f32.
// tools/make_kvpress_fixtures.py made the fixtures. Where kvpress departs from what the method's
// card says, the fixture holds the card's choice too, computed from f64 attention, and a recipe
// says which of the two it means.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/core/mapped_file.h"
#include "kvasir/model/forward.h"
#include "kvasir/model/model.h"
#include "kvasir/policy/policy_run.h"

namespace kvasir {
namespace {

const std::string kFixtures = KVASIR_SOURCE_DIR "/tests/fixtures/kvpress/";

// Tokens whose scores are so near, relatively, may take each other's place: equal tokens have keys
// of equal norms, and sums are rounded in another order.
constexpr float kTie = 1e-5f;

enum class Side {
  kKvpress,
  kCard,     // where the fixture has a card's choice; kvpress's elsewhere
  kHowMany,  // kvpress's numbers of tokens, not which ones
};

struct Method {
  std::string fixture;
  Side side;
  std::string recipe;   // {budget}: the share kept, {half}: half of the tokens kept
  bool pooled = false;  // heads of a layer compete
};

void PrintTo(const Method& method, std::ostream* out) {
  *out << method.fixture << " as " << method.recipe;
}

using Kept = std::vector<std::vector<std::vector<int32_t>>>;  // by layer and kv head, ascending

struct Case {
  std::string model;
  std::vector<TokenId> tokens;
  double ratio = 0;  // share evicted
  Kept kept;
  std::vector<float> scores;  // (n_layer, n_kv_head, n_token); empty where there is nothing to tie
  bool by_card = false;

  // NaN, which ties with nothing, where there are no scores.
  float score(size_t layer, size_t kv_head, size_t token) const {
    if (scores.empty()) return std::numeric_limits<float>::quiet_NaN();
    return scores[(layer * kept[0].size() + kv_head) * tokens.size() + token];
  }
};

nlohmann::json ReadJson(const std::string& name) {
  return nlohmann::json::parse(ReadFile(kFixtures + name).value());
}

std::vector<float> ReadFloats(const std::string& name) {
  const std::string bytes = ReadFile(kFixtures + name).value();
  std::vector<float> floats(bytes.size() / sizeof(float));
  std::memcpy(floats.data(), bytes.data(), bytes.size());
  return floats;
}

std::vector<Case> CasesOf(const Method& method) {
  const auto fixture = ReadJson(method.fixture + ".json");
  const auto tokens = ReadJson("tokens.json");
  std::vector<float> scores;
  if (fixture.contains("scores")) scores = ReadFloats(fixture.at("scores"));
  std::vector<Case> cases;
  for (const auto& listed : fixture.at("cases")) {
    Case c;
    c.model = listed.at("model");
    c.ratio = listed.at("ratio");
    c.tokens = tokens.at(c.model).get<std::vector<TokenId>>();
    c.by_card = method.side == Side::kCard && listed.contains("card");
    c.kept = (c.by_card ? listed.at("card") : listed).at("kept").get<Kept>();
    if (!c.by_card && listed.contains("scores_at")) {
      const auto first = scores.begin() + listed.at("scores_at").get<int64_t>();
      c.scores.assign(first, first + c.kept.size() * c.kept[0].size() * c.tokens.size());
    }
    cases.push_back(std::move(c));
  }
  return cases;
}

std::string RecipeOf(const Method& method, const Case& c) {
  const double share = 1 - c.ratio;
  return fmt::format(fmt::runtime(method.recipe),
                     fmt::arg("budget", fmt::format("{}%", share * 100)),
                     fmt::arg("half", static_cast<int64_t>(c.tokens.size() * share) / 2));
}

// What the engine holds after a prompt that was read in calls of `chunk` tokens.
Result<Kept> EngineKept(const Case& c, const std::string& text, size_t chunk) {
  KVASIR_ASSIGN_OR_RETURN(const auto model, LoadModel(kFixtures + c.model, {}));
  KVASIR_ASSIGN_OR_RETURN(const Recipe recipe, Recipe::Parse(text));
  const CacheShape shape = CacheShapeOf(model->spec);
  KVASIR_ASSIGN_OR_RETURN(const auto policy, KvPolicy::Compile(recipe, {.shape = shape}));
  ByteLedger ledger;
  ThreadTeam team(1);
  SlabArena arena(ledger, ByteKind::kKv);
  const auto n_token = static_cast<int32_t>(c.tokens.size());
  KVASIR_ASSIGN_OR_RETURN(const auto pass,
                          ForwardPass::Create(model, n_token, n_token, team, ledger));
  SequenceCache cache(shape, TileFormat::kF32, TileFormat::kF32, arena);
  PolicyRun run(policy, {.team = &team, .workspace = &pass->workspace(), .ledger = &ledger});
  KVASIR_RETURN_IF_ERROR(run.Attach(cache));
  for (std::span<const TokenId> left = c.tokens; !left.empty();) {
    const auto now = left.first(std::min(chunk, left.size()));
    left = left.subspan(now.size());
    run.BeginChunk(RunPhase::kPrefill, now, left.empty());
    KVASIR_RETURN_IF_ERROR(pass->Run(now, cache, LogitsWanted::kNone, {}, &run));
    KVASIR_RETURN_IF_ERROR(run.EndChunk(cache));
  }
  Kept kept(shape.n_layer);
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    for (int head = 0; head < shape.n_kv_head; ++head) {
      kept[layer].push_back(cache.list(layer, head).AllPositions());
    }
  }
  return kept;
}

int64_t CountOf(const std::vector<std::vector<int32_t>>& heads) {
  int64_t n = 0;
  for (const auto& head : heads) n += static_cast<int64_t>(head.size());
  return n;
}

class KvpressParity : public testing::TestWithParam<Method> {
 protected:
  // Compares the heads [first, last) of a layer, which may only differ in tokens that tie.
  void Compare(const Case& c, const Kept& actual, size_t layer, size_t first, size_t last) {
    std::vector<float> gone, come;
    std::string named;
    for (size_t head = first; head < last; ++head) {
      const auto& a = actual[layer][head];
      const auto& e = c.kept[layer][head];
      std::vector<int32_t> missing, added;
      std::set_difference(e.begin(), e.end(), a.begin(), a.end(), std::back_inserter(missing));
      std::set_difference(a.begin(), a.end(), e.begin(), e.end(), std::back_inserter(added));
      if (missing.empty() && added.empty()) continue;
      named += fmt::format("kv head {}: without {}, with {}\n", head,
                           testing::PrintToString(missing), testing::PrintToString(added));
      for (const int32_t t : missing) gone.push_back(c.score(layer, head, t));
      for (const int32_t t : added) come.push_back(c.score(layer, head, t));
    }
    n_flip_ += static_cast<int64_t>(gone.size());
    std::sort(gone.begin(), gone.end());
    std::sort(come.begin(), come.end());
    const auto ties = [](float x, float y) { return std::abs(x - y) <= kTie * std::abs(x); };
    EXPECT_TRUE(std::equal(gone.begin(), gone.end(), come.begin(), come.end(), ties))
        << "layer " << layer << "\n"
        << named << "scores " << testing::PrintToString(gone) << " gave way to "
        << testing::PrintToString(come);
  }

  void CompareLayer(const Case& c, const Kept& actual, size_t layer) {
    const size_t n_head = c.kept[layer].size();
    ASSERT_EQ(actual[layer].size(), n_head);
    if (GetParam().pooled) return Compare(c, actual, layer, 0, n_head);
    for (size_t head = 0; head < n_head; ++head) Compare(c, actual, layer, head, head + 1);
  }

  int64_t n_kept_ = 0, n_flip_ = 0;
};

TEST_P(KvpressParity, SameTokensStay) {
  for (const Case& c : CasesOf(GetParam())) {
    const std::string recipe = RecipeOf(GetParam(), c);
    SCOPED_TRACE(fmt::format("{} ratio {} {}", c.model, c.ratio, recipe));
    const auto actual = EngineKept(c, recipe, c.tokens.size());
    ASSERT_TRUE(actual.ok()) << actual.status().ToString();
    ASSERT_EQ(actual->size(), c.kept.size());
    for (size_t layer = 0; layer < c.kept.size(); ++layer) {
      EXPECT_EQ(CountOf((*actual)[layer]), CountOf(c.kept[layer])) << "layer " << layer;
      n_kept_ += CountOf(c.kept[layer]);
      if (GetParam().side != Side::kHowMany) CompareLayer(c, *actual, layer);
    }
  }
  RecordProperty("flips", fmt::format("{}", n_flip_));
  fmt::print("{:18} {:7} {:6} tokens kept, {} at ties\n", GetParam().fixture,
             GetParam().side == Side::kCard ? "card" : "kvpress", n_kept_, n_flip_);
}

TEST_P(KvpressParity, SameTokensStayWhenThePromptIsReadInChunks) {
  for (const Case& c : CasesOf(GetParam())) {
    const std::string recipe = RecipeOf(GetParam(), c);
    SCOPED_TRACE(fmt::format("{} ratio {} {}", c.model, c.ratio, recipe));
    const auto whole = EngineKept(c, recipe, c.tokens.size());
    const auto chunked = EngineKept(c, recipe, 37);
    ASSERT_TRUE(whole.ok() && chunked.ok());
    EXPECT_EQ(*whole, *chunked);
  }
}

// Presets are used where they protect nothing that the press does not.
const Method kMethods[] = {
    {"random", Side::kHowMany, "score=random budget=uniform({budget})"},
    {"streaming", Side::kKvpress, "score=recency protect=sinks(4) budget=uniform({budget})"},
    {"streaming", Side::kKvpress, "streaming({budget},sinks=4,position=original)"},
    {"knorm", Side::kKvpress, "score=knorm budget=uniform({budget})"},
    {"keydiff", Side::kKvpress, "score=keydiff budget=uniform({budget})"},
    {"tova", Side::kKvpress,
     "score=window(1) reduce=all protect=recent(1) budget=uniform({budget})"},
    {"observed", Side::kKvpress, "score=columns(mean) reduce=mean budget=uniform({budget})"},
    {"observed", Side::kCard, "h2o({budget},recent={half})"},
    {"snapkv_w8_k1", Side::kKvpress, "score=window(8) reduce=mean budget=uniform({budget})"},
    {"snapkv_w64_k1", Side::kKvpress, "snapkv({budget},window=64,pool=1)"},
    {"snapkv_w64_k5", Side::kCard,
     "score=window(64) reduce=mean shape=avgpool(5) budget=uniform({budget})"},
    {"snapkv_w16_k7", Side::kCard,
     "score=window(16) reduce=mean shape=avgpool(7) budget=uniform({budget})"},
    {"pyramidkv_w8_b20", Side::kCard,
     "score=window(8) reduce=mean shape=avgpool(5) budget=pyramid({budget},20)"},
    {"pyramidkv_w8_b4", Side::kCard,
     "score=window(8) reduce=mean shape=avgpool(5) budget=pyramid({budget},4)"},
    {"chunkkv_c10", Side::kCard,
     "score=window(8) reduce=all shape=chunks(10) budget=uniform({budget})"},
    {"adakv_k1", Side::kKvpress, "adakv({budget},window=8,pool=1,floor=0.3)", true},
    {"adakv_k5", Side::kCard,
     "score=window(8) reduce=mean shape=avgpool(5) budget=uniform({budget}) keep=pooled(0.2)",
     true},
    {"adakv_knorm", Side::kKvpress, "score=knorm budget=uniform({budget}) keep=pooled(0.6)", true},
};

// Presses with fixtures whose score or keep rule is no part of the registry.
const std::pair<std::string, std::string> kWithoutPart[] = {
    {"criticalkv", "critical"},
    {"expected_attention", "expected"},
    {"kvzip", "kvzip"},
    {"lagkv", "lagkv"},
};

TEST(KvpressFixtures, AreComparedWhereThePartExists) {
  std::set<std::string> seen;
  for (const Method& method : kMethods) seen.insert(method.fixture);
  for (const auto& [fixture, part] : kWithoutPart) {
    for (int kind = 0; kind < kPartKinds; ++kind) {
      EXPECT_EQ(FindPart(static_cast<PartKind>(kind), part), nullptr)
          << part << " exists: compare it with " << fixture << ".json";
    }
    seen.insert(fixture);
  }
  for (const auto& entry : std::filesystem::directory_iterator(kFixtures)) {
    const auto& path = entry.path();
    if (path.extension() != ".json" || path.stem() == "tokens") continue;
    EXPECT_TRUE(seen.contains(path.stem())) << path << " is compared with nothing";
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, KvpressParity, testing::ValuesIn(kMethods), [](const auto& info) {
  const std::string suffix = info.param.side == Side::kCard ? "_by_card" : "";
  return fmt::format("{}{}_{}", info.param.fixture, suffix, info.index);
});

}  // namespace
}  // namespace kvasir
