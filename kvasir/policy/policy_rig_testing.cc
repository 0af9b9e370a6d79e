#include "kvasir/policy/policy_rig_testing.h"

#include <gtest/gtest.h>

#include <random>

#include "kvasir/model/gguf_model.h"
#include "kvasir/model/gguf_testing.h"

namespace kvasir::testing_policy {

std::vector<float> RandomRows(int64_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> rows(static_cast<size_t>(n));
  for (float& x : rows) x = normal(random);
  return rows;
}

int64_t RigSequence::TokensHeld() const {
  int64_t n = 0;
  for (int layer = 0; layer < cache->shape().n_layer; ++layer) {
    for (int h = 0; h < cache->shape().n_kv_head; ++h) n += cache->list(layer, h).n_kv();
  }
  return n;
}

PolicyRig::PolicyRig(std::string_view shape, int32_t n_ctx, int32_t max_chunk, int n_thread)
    : team(n_thread), bytes_(testing_gguf::TinyModel(shape)) {
  auto file = GgufFile::FromMemory(testing_gguf::Bytes(bytes_), "memory");
  auto built = BuildGgufModel(*file);
  EXPECT_TRUE(built.ok()) << built.status().ToString();
  model = *built;
  auto pass = ForwardPass::Create(model, n_ctx, max_chunk, team, ledger);
  EXPECT_TRUE(pass.ok()) << pass.status().ToString();
  forward = std::move(*pass);
  target.shape = CacheShapeOf(model->spec);
  target.is_special = [](TokenId id) { return id < 2; };
  target.fingerprint = ModelFingerprint(*model);
  target.n_embd = model->spec.n_embd;
  target.output_rows = [this](int layer, int64_t first, int64_t n, float* rows) {
    forward->OutputRows(layer, first, n, rows);
  };
  target.probe_heads = [this] {
    return ProbeHeads(*forward, arena, {.period = 32, .text = {}, .is_special = {}});
  };
}

Result<std::shared_ptr<const KvPolicy>> PolicyRig::Compile(std::string_view recipe) const {
  KVASIR_ASSIGN_OR_RETURN(const Recipe parsed, Recipe::Parse(recipe));
  return KvPolicy::Compile(parsed, target);
}

RigSequence PolicyRig::Start(std::string_view recipe) {
  RigSequence s;
  auto policy = Compile(recipe);
  EXPECT_TRUE(policy.ok()) << recipe << ": " << policy.status().ToString();
  s.policy = *policy;
  s.cache = std::make_unique<SequenceCache>(target.shape, s.policy->k_format(),
                                            s.policy->v_format(), arena);
  RunResources resources;
  resources.team = &team;
  resources.workspace = &forward->workspace();
  resources.ledger = &ledger;
  resources.rope = [this](int layer) { return &forward->rope(layer); };
  s.run = std::make_unique<PolicyRun>(s.policy, resources);
  EXPECT_TRUE(s.run->Attach(*s.cache).ok());
  return s;
}

Status PolicyRig::Prefill(RigSequence& s, std::span<const TokenId> tokens, int64_t chunk) {
  for (size_t first = 0; first < tokens.size(); first += static_cast<size_t>(chunk)) {
    const auto part =
        tokens.subspan(first, std::min(static_cast<size_t>(chunk), tokens.size() - first));
    const bool last = first + part.size() == tokens.size();
    s.run->BeginChunk(RunPhase::kPrefill, part, last);
    KVASIR_RETURN_IF_ERROR(forward->Run(
        part, *s.cache, last ? LogitsWanted::kLast : LogitsWanted::kNone,
        [&](int64_t, int64_t, const float* logits) {
          s.logits.assign(logits, logits + model->spec.n_vocab);
          return Status::Ok();
        },
        s.run.get()));
    if (s.run->wants_replay()) {
      KVASIR_RETURN_IF_ERROR(s.run->Replay(tokens, *forward, *s.cache));
    }
    KVASIR_RETURN_IF_ERROR(s.run->EndChunk(*s.cache));
    if (s.after_chunk) s.after_chunk(*s.cache);
  }
  return Status::Ok();
}

Status PolicyRig::Decode(RigSequence& s, std::span<const TokenId> tokens) {
  for (const TokenId& token : tokens) {
    s.run->BeginChunk(RunPhase::kDecode, {&token, 1}, false);
    KVASIR_RETURN_IF_ERROR(forward->Run(
        {&token, 1}, *s.cache, LogitsWanted::kLast,
        [&](int64_t, int64_t, const float* logits) {
          s.logits.assign(logits, logits + model->spec.n_vocab);
          return Status::Ok();
        },
        s.run.get()));
    KVASIR_RETURN_IF_ERROR(s.run->EndChunk(*s.cache));
    if (s.after_chunk) s.after_chunk(*s.cache);
  }
  return Status::Ok();
}

std::vector<TokenId> PolicyRig::Tokens(int n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<TokenId> tokens;
  for (int i = 0; i < n; ++i) tokens.push_back(static_cast<TokenId>(2 + random() % 250));
  return tokens;
}

}  // namespace kvasir::testing_policy
