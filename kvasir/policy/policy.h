// A recipe compiled for a model: all parts made, all needs checked.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/codecs/codec.h"
#include "kvasir/policy/budget.h"
#include "kvasir/policy/disposition.h"
#include "kvasir/policy/keep.h"
#include "kvasir/policy/overflow.h"
#include "kvasir/policy/prefill_rule.h"
#include "kvasir/policy/recipe.h"
#include "kvasir/policy/schedule.h"
#include "kvasir/policy/scorer.h"

namespace kvasir {

// What a policy must know of a model.
struct PolicyTarget {
  CacheShape shape;
  std::function<bool(TokenId)> is_special = {};  // may be empty
  bool has_turns = false;  // whether sequences are conversations that tell their turns
  // The model's heads, for recipes that tell them apart: ModelFingerprint, and the probe that makes
  // a table where no file is given; may be empty.
  std::string fingerprint = {};
  std::function<Result<HeadTable>()> probe_heads = {};
  // Output projections, (n_embd, n_head * head_dim) a layer, for recipes that look at what a value
  // does to the hidden state: rows [first, first + n) of one as f32. Called from several threads at
  // once; may be empty.
  int64_t n_embd = 0;
  std::function<void(int layer, int64_t first, int64_t n, float* rows)> output_rows = {};
};

// Immutable; safe to share between sequences.
class KvPolicy {
 public:
  // Errors: kInvalidArgument for parts that cannot work together (both are named, with the reason);
  // kUnsupported for a shape that a part cannot take.
  static Result<std::shared_ptr<const KvPolicy>> Compile(const Recipe& recipe,
                                                         const PolicyTarget& target);

  const Recipe& recipe() const { return recipe_; }
  const PolicyTarget& target() const { return target_; }
  // What happens when, a line each, in order.
  std::vector<std::string> Explain() const;
  // The part of a kind as it is used, defaults included; empty where there is none.
  std::string PartText(PartKind kind) const;
  // All bits stored per element of what is kept, once sealed.
  double bits_per_element(KvSide side) const;
  // Bytes of one kept token in all layers, once sealed.
  double bytes_per_token() const;
  // Bytes of signals and scores that a held token needs in all layers.
  double index_bytes_per_token() const;

  // Largest bytes of keys and values while a sequence of n tokens is read in chunks, before any
  // overflow: payloads, without the slack of slabs.
  int64_t forecast_bytes(int64_t n_token, int64_t chunk) const;

  // Scratch of one thread in which `prefill` chooses; 0 without it.
  int64_t prefill_scratch_bytes(int64_t n_token) const;

  // Formats of the dense tail.
  TileFormat k_format() const { return k_format_; }
  TileFormat v_format() const { return v_format_; }
  // Whether tokens are ever evicted; the parts below are set only then.
  bool evicts() const { return evicts_; }
  // Whether a sequence needs a PolicyRun at all.
  bool is_passive() const {
    return !evicts_ && !seals() && !selects() && !makes_room() && prefill == nullptr;
  }
  // Whether cuts close the holes that they leave: PositionPolicy::renumbers.
  bool renumbers() const { return position != nullptr && position->renumbers(); }
  bool drops_turns() const { return overflow != nullptr && overflow->drops_turns(); }
  bool makes_room() const { return overflow != nullptr && overflow->makes_room(); }
  bool selects() const { return recipe_.has(PartKind::kSelect); }
  // For one sequence whose cache lives in `arena`; selects() only.
  Result<std::unique_ptr<Selector>> NewSelector(SlabArena* arena) const;
  bool seals() const { return codec_k != nullptr || codec_v != nullptr; }
  // Whether a codec must be told which tokens matter.
  bool seals_by_importance() const {
    return (codec_k != nullptr && codec_k->reads_importance()) ||
           (codec_v != nullptr && codec_v->reads_importance());
  }
  HeadRole role(int layer, int kv_head) const {
    return roles_[static_cast<size_t>(layer) * target_.shape.n_kv_head + kv_head];
  }
  // What heads with the role kProtectedOnly see; recent = 0: everything that is held.
  HeadWindow streaming_window() const { return streaming_window_; }
  uint32_t needs() const { return needs_; }
  // Tokens that stay in every head, as far as that is known before the text is.
  int64_t protected_tokens() const;
  // Newest tokens that stay because the scorer cannot judge them.
  int32_t protected_recent() const { return scorer == nullptr ? 0 : scorer->unjudged_recent(); }

  std::shared_ptr<const Scorer> scorer;  // null: heads alone decide
  std::shared_ptr<const GroupReducer> reducer;
  std::shared_ptr<const Shaper> shaper;
  std::shared_ptr<const BudgetAllocator> budget;
  std::vector<std::shared_ptr<const Protector>> protectors;
  std::shared_ptr<const KeepRule> keep;
  std::shared_ptr<const Disposition> disposition;
  std::shared_ptr<const PositionPolicy> position;
  std::shared_ptr<const Schedule> schedule;
  std::shared_ptr<const KvCodec> codec_k, codec_v;  // null = dense
  std::shared_ptr<const OverflowRule> overflow;     // null = refuse
  std::shared_ptr<const PrefillRule> prefill;       // null = prompts read everything

 private:
  KvPolicy() = default;
  Status MakeCodecs();
  Status MakeKeeping();
  Status MakeOverflow();
  Status MakePrefill();
  Status MakeRoles();
  Status CheckTogether() const;

  Recipe recipe_;
  PolicyTarget target_;
  TileFormat k_format_ = TileFormat::kF16, v_format_ = TileFormat::kF16;
  bool evicts_ = false;
  uint32_t needs_ = 0;
  std::vector<HeadRole> roles_;
  HeadWindow streaming_window_;
};

}  // namespace kvasir
