#include "kvasir/policy/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "kvasir/cache/sparse_prefill.h"
#include "kvasir/policy/borrowed_parts.h"

namespace kvasir {
namespace {

// What is meant where a recipe evicts and leaves a kind open.
constexpr std::pair<PartKind, const char*> kDefaults[] = {
    {PartKind::kReduce, "mean"},      {PartKind::kShape, "none"},
    {PartKind::kHeads, "equal"},      {PartKind::kKeep, "topk"},
    {PartKind::kDisposition, "drop"}, {PartKind::kPosition, "original"},
    {PartKind::kSchedule, "prefill"}};

std::string Show(const Recipe& recipe, PartKind kind) {
  std::string text;
  for (const PartCall& call : recipe.parts(kind)) {
    text += text.empty() ? fmt::format("{}=", PartKindName(kind)) : ",";
    text += call.ToString();
  }
  return text;
}

PartCall CallOf(const Recipe& recipe, PartKind kind) {
  if (recipe.has(kind)) return recipe.parts(kind).front();
  for (const auto& [default_kind, name] : kDefaults) {
    if (default_kind == kind) return {name, {}};
  }
  return {};
}

// Makes a part and adds what it needs to `needs`.
template <typename T>
Status MakeOne(PartKind kind, const PartCall& call, uint32_t* needs,
               std::shared_ptr<const T>* out) {
  const PartInfo* info = FindPart(kind, call.name);
  if (info == nullptr) {
    return Status::NotFound(
        fmt::format("recipe: {} has no part '{}'", PartKindName(kind), call.name));
  }
  KVASIR_ASSIGN_OR_RETURN(
      const PartArgs args,
      PartArgs::Make(fmt::format("{}={}", PartKindName(kind), call.name), info->params, call.args));
  KVASIR_ASSIGN_OR_RETURN(std::shared_ptr<const Part> part, info->make(args));
  *out = std::dynamic_pointer_cast<const T>(std::move(part));
  assert(*out != nullptr);
  *needs |= info->needs;
  return Status::Ok();
}

}  // namespace

Result<std::shared_ptr<const KvPolicy>> KvPolicy::Compile(const Recipe& recipe,
                                                          const PolicyTarget& target) {
  std::shared_ptr<KvPolicy> policy(new KvPolicy);
  policy->recipe_ = recipe;
  policy->target_ = target;
  policy->target_.shape.window.resize(static_cast<size_t>(target.shape.n_layer), 0);
  KVASIR_RETURN_IF_ERROR(policy->MakeCodecs());
  KVASIR_RETURN_IF_ERROR(policy->MakeOverflow());
  KVASIR_RETURN_IF_ERROR(policy->MakePrefill());
  KVASIR_RETURN_IF_ERROR(policy->MakeKeeping());
  KVASIR_RETURN_IF_ERROR(policy->CheckTogether());
  if (policy->selects()) {
    KVASIR_ASSIGN_OR_RETURN(const auto selector, policy->NewSelector(nullptr));
  }
  return std::shared_ptr<const KvPolicy>(std::move(policy));
}

Status KvPolicy::MakeCodecs() {
  for (const auto& [kind, format, codec] : {std::tuple{PartKind::kCodecK, &k_format_, &codec_k},
                                            std::tuple{PartKind::kCodecV, &v_format_, &codec_v}}) {
    if (!recipe_.has(kind)) continue;
    KVASIR_ASSIGN_OR_RETURN(CodecChoice choice, MakeCodecChoice(recipe_.parts(kind).front()));
    *format = choice.dense;
    *codec = std::move(choice.codec);
    if (*codec == nullptr) continue;
    KVASIR_RETURN_IF_ERROR((*codec)->CheckShape(target_.shape.head_dim));
  }
  return Status::Ok();
}

Result<std::unique_ptr<Selector>> KvPolicy::NewSelector(SlabArena* arena) const {
  const PartCall& call = recipe_.parts(PartKind::kSelect).front();
  const CacheShape& shape = target_.shape;
  return MakeSelector(
      call.name, call.args,
      {shape.n_layer, shape.n_head, shape.n_kv_head, shape.head_dim, shape.window, arena});
}

Status KvPolicy::MakeKeeping() {
  const auto make = [&](PartKind kind, auto* out) {
    return MakeOne(kind, CallOf(recipe_, kind), &needs_, out);
  };
  roles_.assign(static_cast<size_t>(target_.shape.n_layer) * target_.shape.n_kv_head,
                HeadRole::kScored);
  const bool scores = recipe_.has(PartKind::kScore), budgets = recipe_.has(PartKind::kBudget);
  evicts_ = scores || budgets || recipe_.has(PartKind::kHeads);
  if (evicts_ || makes_room()) KVASIR_RETURN_IF_ERROR(make(PartKind::kPosition, &position));
  if (!evicts_) {
    for (const PartKind kind :
         {PartKind::kReduce, PartKind::kShape, PartKind::kProtect, PartKind::kKeep,
          PartKind::kDisposition, PartKind::kPosition, PartKind::kSchedule}) {
      if (!recipe_.has(kind) || (kind == PartKind::kPosition && makes_room())) continue;
      return Status::InvalidArgument(
          fmt::format("recipe: {} has nothing to act on: nothing is evicted without score= and "
                      "budget=, or heads=",
                      Show(recipe_, kind)));
    }
    return Status::Ok();
  }
  if (scores && !budgets) {
    return Status::InvalidArgument(
        fmt::format("recipe: {} ranks tokens, but no budget= says how many stay",
                    Show(recipe_, PartKind::kScore)));
  }
  if (budgets && !scores) {
    return Status::InvalidArgument(
        fmt::format("recipe: {} limits what is held, but no score= says which tokens stay",
                    Show(recipe_, PartKind::kBudget)));
  }
  KVASIR_RETURN_IF_ERROR(MakeRoles());
  KVASIR_RETURN_IF_ERROR(make(PartKind::kDisposition, &disposition));
  KVASIR_RETURN_IF_ERROR(disposition->CheckShape(target_.shape));
  KVASIR_RETURN_IF_ERROR(make(PartKind::kSchedule, &schedule));
  for (const PartCall& call : recipe_.parts(PartKind::kProtect)) {
    KVASIR_RETURN_IF_ERROR(MakeOne(PartKind::kProtect, call, &needs_, &protectors.emplace_back()));
  }
  const bool any_scored =
      std::find(roles_.begin(), roles_.end(), HeadRole::kScored) != roles_.end();
  if (!scores) {
    if (!any_scored) return Status::Ok();
    return Status::InvalidArgument(
        fmt::format("recipe: {} leaves heads to be scored, but there is no score=",
                    Show(recipe_, PartKind::kHeads)));
  }
  KVASIR_RETURN_IF_ERROR(make(PartKind::kScore, &scorer));
  KVASIR_RETURN_IF_ERROR(make(PartKind::kReduce, &reducer));
  KVASIR_RETURN_IF_ERROR(make(PartKind::kShape, &shaper));
  KVASIR_RETURN_IF_ERROR(make(PartKind::kBudget, &budget));
  return make(PartKind::kKeep, &keep);
}

Status KvPolicy::MakeOverflow() {
  if (!recipe_.has(PartKind::kOverflow)) return Status::Ok();
  return MakeOne(PartKind::kOverflow, recipe_.parts(PartKind::kOverflow).front(), &needs_,
                 &overflow);
}

Status KvPolicy::MakePrefill() {
  if (!recipe_.has(PartKind::kPrefill)) return Status::Ok();
  const auto& window = target_.shape.window;
  if (std::count(window.begin(), window.end(), 0) == 0) {
    return Status::InvalidArgument(
        fmt::format("recipe: {} has nothing to act on: every layer has a sliding window",
                    Show(recipe_, PartKind::kPrefill)));
  }
  // What it reads is not what scorers see: needs_ are theirs.
  uint32_t needs = kNeedNothing;
  return MakeOne(PartKind::kPrefill, recipe_.parts(PartKind::kPrefill).front(), &needs, &prefill);
}

Status KvPolicy::MakeRoles() {
  std::shared_ptr<const HeadClassifier> heads;
  KVASIR_RETURN_IF_ERROR(
      MakeOne(PartKind::kHeads, CallOf(recipe_, PartKind::kHeads), &needs_, &heads));
  streaming_window_ = heads->streaming_window();
  HeadTable table;
  if (heads->reads_table()) {
    const std::string path = heads->table_path();
    if (path.empty() && !target_.probe_heads) {
      return Status::InvalidArgument(fmt::format("recipe: {} needs a head table: give file=PATH",
                                                 Show(recipe_, PartKind::kHeads)));
    }
    KVASIR_ASSIGN_OR_RETURN(table, path.empty() ? target_.probe_heads() : ReadHeadTable(path));
    KVASIR_RETURN_IF_ERROR(CheckHeadTable(table, target_.shape, target_.fingerprint));
  }
  KVASIR_ASSIGN_OR_RETURN(roles_,
                          heads->Roles(target_.shape, heads->reads_table() ? &table : nullptr));
  return Status::Ok();
}

int64_t KvPolicy::protected_tokens() const {
  // Newest tokens are counted once, whoever names them.
  int64_t sum = 0, recent = protected_recent();
  for (size_t i = 0; i < protectors.size(); ++i) {
    const int64_t n = std::max<int64_t>(0, protectors[i]->max_tokens());
    if (protectors[i]->is_recent()) {
      recent = std::max(recent, n);
    } else {
      sum += n;
    }
  }
  return sum + recent;
}

Status KvPolicy::CheckTogether() const {
  const auto refuse = [&](PartKind a, PartKind b, std::string_view why) {
    return Status::InvalidArgument(fmt::format(
        "recipe: {} and {} cannot work together: {}", Show(recipe_, a),
        b == PartKind::kSchedule && !recipe_.has(b) ? "schedule=prefill" : Show(recipe_, b), why));
  };
  if (drops_turns() && !target_.has_turns) {
    return Status::InvalidArgument(
        fmt::format("recipe: {} needs the turns of a conversation, and there are none here: "
                    "`kvasir chat` has them",
                    Show(recipe_, PartKind::kOverflow)));
  }
  if ((needs_ & kNeedTokens) != 0 && !target_.is_special) {
    return Status::InvalidArgument(
        fmt::format("recipe: {} needs a vocabulary", Show(recipe_, PartKind::kProtect)));
  }
  if ((needs_ & kNeedOutput) != 0 && !target_.output_rows) {
    return Status::InvalidArgument(fmt::format("recipe: {} needs the output projections of a model",
                                               Show(recipe_, PartKind::kKeep)));
  }
  for (const auto& [kind, codec, side] : {std::tuple{PartKind::kCodecK, codec_k, KvSide::kKey},
                                          std::tuple{PartKind::kCodecV, codec_v, KvSide::kValue}}) {
    if (codec != nullptr && codec->reads_importance() && scorer == nullptr) {
      return Status::InvalidArgument(fmt::format(
          "recipe: {} needs to know which tokens matter: add score= and a budget=, which may be "
          "100%",
          Show(recipe_, kind)));
    }
    if (codec != nullptr && makes_room() && !codec->can_gather(side)) {
      return refuse(kind, PartKind::kOverflow,
                    "the codec encodes tokens together and cannot give up single ones later");
    }
  }
  if (!evicts_) return Status::Ok();
  if (overflow != nullptr && disposition->settles()) {
    return refuse(PartKind::kDisposition, PartKind::kOverflow,
                  "what the disposition made of evicted tokens would be dropped with them");
  }
  if (renumbers() && disposition->settles()) {
    return refuse(PartKind::kDisposition, PartKind::kPosition,
                  "what the disposition made of evicted tokens has no single position");
  }
  if (renumbers() && disposition->changes_keys()) {
    return refuse(PartKind::kDisposition, PartKind::kPosition,
                  "a mixture of keys has no single position");
  }
  if (renumbers() && schedule->each_layer()) {
    return refuse(
        PartKind::kPosition, PartKind::kSchedule,
        "the angles of a chunk are the same in all layers, and a cascade cuts within one");
  }
  const bool repeats = schedule->each_chunk() || schedule->decode_every() > 0;
  for (const auto& [kind, codec, side] : {std::tuple{PartKind::kCodecK, codec_k, KvSide::kKey},
                                          std::tuple{PartKind::kCodecV, codec_v, KvSide::kValue}}) {
    if (codec != nullptr && repeats && !codec->can_gather(side)) {
      return refuse(kind, PartKind::kSchedule,
                    "the codec encodes tokens together and cannot give up single ones later");
    }
  }
  if (scorer == nullptr) return Status::Ok();
  const Amount amount = budget->amount();
  if (amount.tokens >= 0 && amount.tokens < protected_tokens()) {
    return Status::InvalidArgument(fmt::format(
        "recipe: {} is below the {} tokens that always stay ({}{}{})",
        Show(recipe_, PartKind::kBudget), protected_tokens(), Show(recipe_, PartKind::kProtect),
        recipe_.has(PartKind::kProtect) && protected_recent() > 0 ? " " : "",
        protected_recent() > 0
            ? fmt::format("{} keeps {}", Show(recipe_, PartKind::kScore), protected_recent())
            : ""));
  }
  const bool all_layers = (needs_ & kNeedAllLayers) != 0 || keep->scope() == KeepScope::kModel;
  if (schedule->each_layer() && all_layers) {
    return refuse((needs_ & kNeedAllLayers) != 0 ? PartKind::kBudget : PartKind::kKeep,
                  PartKind::kSchedule,
                  "it compares tokens of all layers, and a cascade cuts the first ones early");
  }
  if ((needs_ & kNeedColumnSums) != 0 && schedule->each_chunk()) {
    return refuse(
        PartKind::kScore, PartKind::kSchedule,
        "sums over all queries lose their meaning when tokens go before the queries came");
  }
  if ((needs_ & kNeedColumnSums) != 0 && prefill != nullptr) {
    const auto* score = FindPart(PartKind::kScore, recipe_.parts(PartKind::kScore).front().name);
    return refuse((score->needs & kNeedColumnSums) != 0 ? PartKind::kScore : PartKind::kBudget,
                  PartKind::kPrefill,
                  "sums over all queries need every attention weight, and a prompt that is read in "
                  "part has most of them missing");
  }
  if ((needs_ & kNeedReplay) != 0 && (schedule->each_chunk() || schedule->each_layer())) {
    return refuse(PartKind::kScore, PartKind::kSchedule,
                  "the prompt is seen again only when it is complete");
  }
  if (keep->weighs_scores() && !scorer->is_share()) {
    return refuse(PartKind::kKeep, PartKind::kScore,
                  "only scores that are shares of attention can be multiplied by what values do");
  }
  if (reducer->joins_heads() && !keep->even_heads()) {
    return refuse(PartKind::kReduce, PartKind::kKeep,
                  "one set of tokens for all heads leaves no heads to tell apart");
  }
  return Status::Ok();
}

int64_t KvPolicy::forecast_bytes(int64_t n_token, int64_t chunk) const {
  const CacheShape& shape = target_.shape;
  const auto side_bytes = [&](KvSide side, const std::shared_ptr<const KvCodec>& codec,
                              TileFormat format, int64_t held) {
    const double dense_bytes = format == TileFormat::kF16 ? 2 : 4;
    int64_t n_dense = held, learnt = 0;
    if (codec != nullptr) {
      const TailRule rule = codec->tail(side);
      n_dense = std::min(held, chunk + rule.keep + std::max(rule.block, rule.first) + rule.sinks);
      learnt = codec->head_bytes(side, shape.head_dim);
    }
    return static_cast<double>(learnt) +
           shape.head_dim * (static_cast<double>(n_dense) * dense_bytes +
                             static_cast<double>(held - n_dense) * bits_per_element(side) / 8);
  };
  double bytes = 0;
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    for (int kv_head = 0; kv_head < shape.n_kv_head; ++kv_head) {
      int64_t held = n_token;
      if (shape.window[layer] > 0) {
        held = std::min<int64_t>(held, shape.window[layer] + chunk);
      } else if (evicts_ && schedule->each_chunk()) {
        const HeadRole head = role(layer, kv_head);
        if (head == HeadRole::kScored) {
          held = std::min(held, budget->amount().Of(n_token) + chunk);
        } else if (head == HeadRole::kProtectedOnly) {
          held = std::min(held, protected_tokens() + chunk);
        }
      }
      if ((needs_ & kNeedReplay) != 0) held += std::min(n_token, scorer->replay_part());
      bytes += side_bytes(KvSide::kKey, codec_k, k_format_, held) +
               side_bytes(KvSide::kValue, codec_v, v_format_, held);
    }
  }
  return static_cast<int64_t>(bytes);
}

int64_t KvPolicy::prefill_scratch_bytes(int64_t n_token) const {
  if (prefill == nullptr) return 0;
  const int64_t n_tile = (n_token + kTileTokens - 1) / kTileTokens;
  // It grows by an eighth at least.
  return PrefillBytes(target_.shape, *prefill, n_token, n_tile) * 9 / 8;
}

std::string KvPolicy::PartText(PartKind kind) const {
  if (recipe_.has(kind)) return Show(recipe_, kind);
  if (!evicts_ || (scorer == nullptr && kind < PartKind::kKeep && kind != PartKind::kHeads))
    return "";
  const PartCall call = CallOf(recipe_, kind);
  return call.name.empty() ? "" : fmt::format("{}={}", PartKindName(kind), call.name);
}

}  // namespace kvasir
