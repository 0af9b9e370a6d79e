#include "kvasir/engine/kv_sequence.h"

#include <algorithm>

#include "kvasir/codecs/reposition.h"

namespace kvasir {
namespace {

// The policy first, then who else looks.
class BothObservers final : public LayerObserver {
 public:
  BothObservers(LayerObserver& first, LayerObserver& second) : first_(first), second_(second) {}
  bool WantsNorms(int layer) const override {
    return first_.WantsNorms(layer) || second_.WantsNorms(layer);
  }
  int NormRows(int layer) const override {
    const auto rows = [&](const LayerObserver& observer) {
      return observer.WantsNorms(layer) ? observer.NormRows(layer) : 0;
    };
    return std::max(rows(first_), rows(second_));
  }
  Status AfterAttend(int layer, const LayerQueries& queries, SequenceCache& cache) override {
    KVASIR_RETURN_IF_ERROR(first_.AfterAttend(layer, queries, cache));
    return second_.AfterAttend(layer, queries, cache);
  }
  void Attended(int layer, std::span<const float> out) override {
    first_.Attended(layer, out);
    second_.Attended(layer, out);
  }

 private:
  LayerObserver& first_;
  LayerObserver& second_;
};

int64_t SegmentBytes(const Segment& segment, const DenseLayout& layout, bool dense) {
  if (const auto* turned = dynamic_cast<const TurnedSegment*>(&segment); turned != nullptr) {
    return SegmentBytes(*turned->stored(), layout, dense) + turned->bytes() -
           turned->stored()->bytes();
  }
  constexpr auto kWord = static_cast<int64_t>(sizeof(int32_t));
  const int64_t positions = segment.pos().bytes() > 0 ? segment.n_kv() * kWord : 0;
  if (!dense) return segment.bytes() - segment.pos().bytes() + positions;
  const int64_t bias = segment.bias() != nullptr ? segment.n_kv() * kWord : 0;
  return segment.n_kv() * (layout.tile_bytes() / kTileTokens) + positions + bias;
}

}  // namespace

KvSequence::KvSequence(Runtime& runtime, std::shared_ptr<const KvPolicy> policy)
    : runtime_(runtime),
      policy_(std::move(policy)),
      cache_(CacheShapeOf(runtime.model().spec), policy_->k_format(), policy_->v_format(),
             runtime.arena()) {
  if (policy_->is_passive()) return;
  ForwardPass* forward = &runtime.forward();
  run_ = std::make_unique<PolicyRun>(
      policy_, RunResources{.team = &forward->team(),
                            .workspace = &forward->workspace(),
                            .ledger = &runtime.ledger(),
                            .rope = [forward](int layer) { return &forward->rope(layer); },
                            .replay_question = runtime.replay_question()});
}

Status KvSequence::EnsureRoom(int64_t n_token) {
  const ByteLedger& ledger = runtime_.ledger();
  if (ledger.limit() == 0 || !policy_->makes_room() || tokens_.empty()) return Status::Ok();
  const int64_t needed = policy_->forecast_bytes(n_token, n_token) + RoomSlack(ledger.limit());
  for (int round = 0; ledger.available() < needed && round < 8; ++round) {
    KVASIR_ASSIGN_OR_RETURN(const bool gave, run_->MakeRoom(cache_));
    if (!gave) break;  // the tokens may fit all the same
  }
  return Status::Ok();
}

Status KvSequence::Feed(const FeedStep& step) {
  ForwardPass& forward = runtime_.forward();
  LayerObserver* observer = step.observer;
  if (run_ != nullptr) {
    if (tokens_.empty()) KVASIR_RETURN_IF_ERROR(run_->Attach(cache_));
    KVASIR_RETURN_IF_ERROR(EnsureRoom(static_cast<int64_t>(step.tokens.size())));
    run_->BeginChunk(step.phase, step.tokens, step.last_prefill_chunk);
    observer = run_.get();
  }
  if (run_ != nullptr && step.observer != nullptr) {
    BothObservers both(*run_, *step.observer);
    KVASIR_RETURN_IF_ERROR(forward.Run(step.tokens, cache_, step.wanted, step.sink, &both));
  } else {
    KVASIR_RETURN_IF_ERROR(forward.Run(step.tokens, cache_, step.wanted, step.sink, observer));
  }
  tokens_.insert(tokens_.end(), step.tokens.begin(), step.tokens.end());
  if (step.after_run) KVASIR_RETURN_IF_ERROR(step.after_run());
  if (run_ == nullptr) return Status::Ok();
  if (run_->wants_replay()) KVASIR_RETURN_IF_ERROR(run_->Replay(tokens_, forward, cache_));
  return run_->EndChunk(cache_);
}

int64_t KvSequence::PayloadBytes(const SegmentList& list) {
  const DenseLayout& layout = list.tail().layout();
  int64_t bytes = SegmentBytes(list.tail(), layout, /*dense=*/true);
  for (const auto& segment : list.sealed()) {
    bytes += SegmentBytes(*segment, layout, segment->format() == list.tail().format());
  }
  return bytes;
}

int64_t KvSequence::payload_bytes() const {
  int64_t bytes = run_ != nullptr ? run_->bytes() : 0;
  if (const Selector* selector = const_cast<SequenceCache&>(cache_).selector()) {
    bytes += selector->bytes();
  }
  const CacheShape& shape = cache_.shape();
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    for (int h = 0; h < shape.n_kv_head; ++h) bytes += PayloadBytes(cache_.list(layer, h));
  }
  return bytes;
}

int64_t KvSequence::tokens_held() const {
  const CacheShape& shape = cache_.shape();
  int64_t n = 0;
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    for (int h = 0; h < shape.n_kv_head; ++h) n += cache_.list(layer, h).n_kv();
  }
  return n;
}

}  // namespace kvasir
