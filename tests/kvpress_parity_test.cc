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
  std::string recipe;                  // {budget}: the share kept, {half}: half of the tokens kept
  KeepScope scope = KeepScope::kHead;  // what competes for a budget
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
  std::vector<std::vector<TokenId>> replay;  // what kvpress reads after the prompt, part by part
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
    if (listed.contains("replay")) c.replay = listed.at("replay").get<decltype(c.replay)>();
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
  ByteLedger ledger;
  ThreadTeam team(1);
  SlabArena arena(ledger, ByteKind::kKv);
  const auto n_token = static_cast<int32_t>(c.tokens.size());
  // Room for the prompt, and for all of it and a question once more.
  KVASIR_ASSIGN_OR_RETURN(const auto pass,
                          ForwardPass::Create(model, 2 * n_token + 128, n_token, team, ledger));
  PolicyTarget target = {.shape = shape, .is_special = [](TokenId) { return false; }};
  target.n_embd = model->spec.n_embd;
  target.output_rows = [&](int layer, int64_t first, int64_t n, float* rows) {
    pass->OutputRows(layer, first, n, rows);
  };
  KVASIR_ASSIGN_OR_RETURN(const auto policy, KvPolicy::Compile(recipe, target));
  SequenceCache cache(shape, TileFormat::kF32, TileFormat::kF32, arena);
  PolicyRun run(policy, {.team = &team,
                         .workspace = &pass->workspace(),
                         .ledger = &ledger,
                         .replay_question = MakeReplayQuestion(*model->tokenizer)});
  KVASIR_RETURN_IF_ERROR(run.Attach(cache));
  for (std::span<const TokenId> left = c.tokens; !left.empty();) {
    const auto now = left.first(std::min(chunk, left.size()));
    left = left.subspan(now.size());
    run.BeginChunk(RunPhase::kPrefill, now, left.empty());
    KVASIR_RETURN_IF_ERROR(pass->Run(now, cache, LogitsWanted::kNone, {}, &run));
    if (run.wants_replay()) KVASIR_RETURN_IF_ERROR(run.Replay(c.tokens, *pass, cache));
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
  // Compares all heads of the layers [first, last), or one of them, which may only differ in tokens
  // that tie.
  void Compare(const Case& c, const Kept& actual, size_t first, size_t last, int only = -1) {
    std::vector<float> gone, come;
    std::string named;
    for (size_t layer = first; layer < last; ++layer) {
      ASSERT_EQ(actual[layer].size(), c.kept[layer].size());
      for (size_t head = 0; head < c.kept[layer].size(); ++head) {
        if (only >= 0 && static_cast<int>(head) != only) continue;
        const auto& a = actual[layer][head];
        const auto& e = c.kept[layer][head];
        std::vector<int32_t> missing, added;
        std::set_difference(e.begin(), e.end(), a.begin(), a.end(), std::back_inserter(missing));
        std::set_difference(a.begin(), a.end(), e.begin(), e.end(), std::back_inserter(added));
        if (missing.empty() && added.empty()) continue;
        named += fmt::format("layer {} kv head {}: without {}, with {}\n", layer, head,
                             testing::PrintToString(missing), testing::PrintToString(added));
        for (const int32_t t : missing) gone.push_back(c.score(layer, head, t));
        for (const int32_t t : added) come.push_back(c.score(layer, head, t));
      }
    }
    n_flip_ += static_cast<int64_t>(gone.size());
    std::sort(gone.begin(), gone.end());
    std::sort(come.begin(), come.end());
    const auto ties = [](float x, float y) { return std::abs(x - y) <= kTie * std::abs(x); };
    EXPECT_TRUE(std::equal(gone.begin(), gone.end(), come.begin(), come.end(), ties))
        << named << "scores " << testing::PrintToString(gone) << " gave way to "
        << testing::PrintToString(come);
  }

  void CompareAll(const Case& c, const Kept& actual) {
    const KeepScope scope = GetParam().scope;
    if (scope == KeepScope::kModel) return Compare(c, actual, 0, c.kept.size());
    for (size_t layer = 0; layer < c.kept.size(); ++layer) {
      EXPECT_EQ(CountOf(actual[layer]), CountOf(c.kept[layer])) << "layer " << layer;
      if (scope == KeepScope::kLayer) Compare(c, actual, layer, layer + 1);
      for (size_t head = 0; scope == KeepScope::kHead && head < c.kept[layer].size(); ++head) {
        Compare(c, actual, layer, layer + 1, static_cast<int>(head));
      }
    }
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
    int64_t n_actual = 0, n_expected = 0;
    for (size_t layer = 0; layer < c.kept.size(); ++layer) {
      n_actual += CountOf((*actual)[layer]);
      n_expected += CountOf(c.kept[layer]);
    }
    EXPECT_EQ(n_actual, n_expected);
    n_kept_ += n_expected;
    if (GetParam().side != Side::kHowMany) CompareAll(c, *actual);
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
    {"adakv_k1", Side::kKvpress, "adakv({budget},window=8,pool=1,floor=0.3)", KeepScope::kLayer},
    {"adakv_k5", Side::kCard,
     "score=window(8) reduce=mean shape=avgpool(5) budget=uniform({budget}) keep=pooled(0.2)",
     KeepScope::kLayer},
    {"adakv_knorm", Side::kKvpress, "score=knorm budget=uniform({budget}) keep=pooled(0.6)",
     KeepScope::kLayer},
    {"criticalkv", Side::kCard,
     "score=window(8) reduce=mean shape=avgpool(5) budget=uniform({budget}) keep=critical"},
    {"kvzip", Side::kCard, "kvzip({budget},system=4,floor=0)", KeepScope::kModel},
    {"kvzip_c64", Side::kCard, "kvzip({budget},system=4,floor=0,part=64)", KeepScope::kModel},
};

// Presses with fixtures whose score or keep rule is no part of the registry.
const std::pair<std::string, std::string> kWithoutPart[] = {
    {"expected_attention", "expected"},
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

// Both ask for the same tokens in the same words, so that scores can be compared at all.
TEST(KvpressFixtures, ThePromptIsReadAgainAsKvpressReadsIt) {
  for (const auto& [fixture, part] : {std::pair{"kvzip", size_t{2048}}, {"kvzip_c64", 64}}) {
    for (const Case& c : CasesOf({fixture, Side::kKvpress, ""})) {
      const auto model = LoadModel(kFixtures + c.model, {});
      ASSERT_TRUE(model.ok()) << model.status().ToString();
      const ReplayQuestion question = MakeReplayQuestion(*(*model)->tokenizer);
      std::vector<std::vector<TokenId>> replay;
      for (size_t begin = 0; begin < c.tokens.size(); begin += part) {
        const size_t end = std::min(begin + part, c.tokens.size());
        replay.push_back(ReplayText(question, c.tokens, begin, end));
      }
      EXPECT_EQ(replay, c.replay) << fixture << " " << c.model;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, KvpressParity, testing::ValuesIn(kMethods), [](const auto& info) {
  const std::string suffix = info.param.side == Side::kCard ? "_by_card" : "";
  return fmt::format("{}{}_{}", info.param.fixture, suffix, info.index);
});

}  // namespace
}  // namespace kvasir
