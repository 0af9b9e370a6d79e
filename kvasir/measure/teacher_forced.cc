#include "kvasir/measure/teacher_forced.h"

#include <algorithm>
#include <chrono>

#include "kvasir/core/process_memory.h"

namespace kvasir {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Stream {
 public:
  Stream(Runtime& runtime, std::shared_ptr<const KvPolicy> policy, const TeacherForcedText& text,
         StreamListener& listener, const StreamOptions& options)
      : runtime_(runtime),
        text_(text),
        listener_(listener),
        options_(options),
        sequence_(runtime, std::move(policy)) {}

  Status Prefill();
  Status Decode();
  StreamCost Finish(bool knows_process_peak);

 private:
  // Feeds one chunk; adds to `seconds` what it took beside the listener.
  Status Feed(FeedStep step, const std::function<Status()>& listen, double* seconds);
  void Sample();

  Runtime& runtime_;
  const TeacherForcedText& text_;
  StreamListener& listener_;
  const StreamOptions& options_;
  KvSequence sequence_;
  StreamCost cost_;
};

Status Stream::Feed(FeedStep step, const std::function<Status()>& listen, double* seconds) {
  double listening = -listener_.observer_seconds();
  step.after_run = [&]() -> Status {
    const auto start = Clock::now();
    Status status = listen();
    listening += SecondsSince(start);
    return status;
  };
  const auto start = Clock::now();
  KVASIR_RETURN_IF_ERROR(sequence_.Feed(step));
  *seconds += SecondsSince(start) - listening - listener_.observer_seconds();
  Sample();
  if (options_.progress) options_.progress(cost_.memory.back().n_token, text_.n_token());
  return Status::Ok();
}

void Stream::Sample() {
  cost_.memory.push_back({static_cast<int64_t>(sequence_.tokens().size()),
                          sequence_.payload_bytes(),
                          runtime_.ledger().held() - options_.foreign_bytes});
}

Status Stream::Prefill() {
  const int64_t n_chunk = runtime_.forward().max_chunk();
  for (int64_t first = 0; first < text_.n_prefill; first += n_chunk) {
    const int64_t n = std::min(n_chunk, text_.n_prefill - first);
    FeedStep step;
    step.tokens = text_.tokens.subspan(static_cast<size_t>(first), static_cast<size_t>(n));
    step.last_prefill_chunk = first + n == text_.n_prefill;
    // A session needs the last row to go on from.
    if (step.last_prefill_chunk) step.wanted = LogitsWanted::kLast;
    step.sink = [](int64_t, int64_t, const float*) { return Status::Ok(); };
    KVASIR_RETURN_IF_ERROR(Feed(
        std::move(step), [&] { return listener_.AfterPrefillChunk(first, n, runtime_.forward()); },
        &cost_.prefill_seconds));
  }
  return Status::Ok();
}

Status Stream::Decode() {
  const auto n_vocab = static_cast<size_t>(runtime_.model().spec.n_vocab);
  std::span<const float> logits;
  for (int64_t i = 0; i < text_.n_decode(); ++i) {
    KVASIR_RETURN_IF_ERROR(listener_.BeforeDecodeStep(i));
    FeedStep step;
    step.phase = RunPhase::kDecode;
    step.tokens = text_.tokens.subspan(static_cast<size_t>(text_.n_prefill + i), 1);
    step.wanted = LogitsWanted::kLast;
    step.sink = [&](int64_t, int64_t, const float* row) {
      logits = {row, n_vocab};
      return Status::Ok();
    };
    step.observer = listener_.decode_observer();
    KVASIR_RETURN_IF_ERROR(Feed(
        std::move(step), [&] { return listener_.AfterDecodeStep(i, logits, runtime_.forward()); },
        &cost_.decode_seconds));
  }
  return Status::Ok();
}

StreamCost Stream::Finish(bool knows_process_peak) {
  const CacheShape& shape = sequence_.cache().shape();
  cost_.kv_bytes = cost_.full_layer_bytes = sequence_.payload_bytes();
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    for (int h = 0; shape.window[layer] > 0 && h < shape.n_kv_head; ++h) {
      cost_.full_layer_bytes -= KvSequence::PayloadBytes(sequence_.cache().list(layer, h));
    }
  }
  cost_.tokens_held = sequence_.tokens_held();
  cost_.peak_bytes = runtime_.ledger().peak() - options_.foreign_bytes;
  if (const auto now = ReadProcessMemory(); knows_process_peak && now.ok()) {
    cost_.process_peak_bytes = now->peak - options_.foreign_bytes;
  }
  return std::move(cost_);
}

}  // namespace

Status WarmUp(Runtime& runtime, std::span<const TokenId> tokens) {
  ForwardPass& forward = runtime.forward();
  const size_t n = std::min(tokens.size(), static_cast<size_t>(forward.max_chunk()));
  SequenceCache cache(CacheShapeOf(runtime.model().spec), TileFormat::kF16, TileFormat::kF16,
                      runtime.arena());
  return forward.Run(tokens.first(n), cache, LogitsWanted::kLast,
                     [](int64_t, int64_t, const float*) { return Status::Ok(); });
}

Result<StreamCost> RunTeacherForced(Runtime& runtime, std::shared_ptr<const KvPolicy> policy,
                                    const TeacherForcedText& text, StreamListener& listener,
                                    const StreamOptions& options) {
  const Status reset = ResetProcessPeak();
  Stream stream(runtime, std::move(policy), text, listener, options);
  KVASIR_RETURN_IF_ERROR(stream.Prefill());
  KVASIR_RETURN_IF_ERROR(stream.Decode());
  return stream.Finish(reset.ok());
}

}  // namespace kvasir
