#include "kvasir/measure/shadow.h"

#include <algorithm>
#include <chrono>

namespace kvasir {
namespace {

constexpr int64_t kRows = 16;  // compared at a time

// Adds the time it lives to `seconds`.
class Stopwatch {
 public:
  explicit Stopwatch(double* seconds) : seconds_(seconds) {}
  ~Stopwatch() {
    *seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  double* seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

int64_t JudgedCount(const TeacherForcedText& text, int64_t n_judged) {
  return std::clamp<int64_t>(n_judged, 0, text.n_prefill);
}

// Judged positions from `begin` on that lie below `end_pos`.
size_t JudgedEnd(std::span<const int32_t> judged, size_t begin, int64_t end_pos) {
  while (begin < judged.size() && judged[begin] < end_pos) ++begin;
  return begin;
}

// The chunk's rows of some of its positions, one after the other.
void GatherRows(std::span<const float> hidden, std::span<const int32_t> positions,
                int64_t chunk_first, int64_t n_embd, float* out) {
  for (const int32_t pos : positions) {
    out = std::copy_n(hidden.begin() + (pos - chunk_first) * n_embd, n_embd, out);
  }
}

}  // namespace

ShadowTrace::ShadowTrace(const ModelSpec& spec, const TeacherForcedText& text, int64_t n_judged)
    : text_(text),
      n_embd_(spec.n_embd),
      n_layer_(spec.n_layer),
      heads_(int64_t{spec.n_head} * spec.head_dim) {
  const int64_t n = JudgedCount(text, n_judged);
  for (int64_t i = 0; i < n; ++i) {
    judged_.push_back(static_cast<int32_t>((i + 1) * text.n_prefill / n - 1));
  }
  judged_rows_.resize(static_cast<size_t>(n * n_embd_));
  decode_rows_.resize(static_cast<size_t>(text.n_decode() * n_embd_));
  q_.resize(static_cast<size_t>(text.n_decode() * n_layer_ * heads_));
  attended_.resize(q_.size());
}

int64_t ShadowTrace::Bytes(const ModelSpec& spec, const TeacherForcedText& text, int64_t n_judged) {
  const int64_t heads = int64_t{spec.n_head} * spec.head_dim;
  const int64_t judged = JudgedCount(text, n_judged);
  const int64_t n_float = (judged + text.n_decode()) * spec.n_embd +
                          2 * text.n_decode() * spec.n_layer * heads +
                          kRows * (2 * int64_t{spec.n_vocab} + spec.n_embd);
  return n_float * static_cast<int64_t>(sizeof(float)) +
         judged * static_cast<int64_t>(sizeof(int32_t));
}

// --- recording ---

Status ShadowRecorder::AfterPrefillChunk(int64_t first, int64_t n, ForwardPass& forward) {
  const auto n_embd = forward.model().spec.n_embd;
  const auto n_vocab = static_cast<size_t>(forward.model().spec.n_vocab);
  const size_t begin = next_judged_;
  next_judged_ = JudgedEnd(trace_.judged(), begin, first + n);
  for (size_t i = begin; i < next_judged_; ++i) {
    const int32_t pos = trace_.judged()[i];
    const std::span<float> row = trace_.judged_row(static_cast<int64_t>(i));
    GatherRows(forward.hidden(), {&pos, 1}, first, n_embd, row.data());
  }
  if (begin == next_judged_) return Status::Ok();
  const std::span<const float> rows(trace_.judged_row(static_cast<int64_t>(begin)).data(),
                                    (next_judged_ - begin) * static_cast<size_t>(n_embd));
  return forward.LogitsOf(rows, [&](int64_t at, int64_t count, const float* logits) {
    for (int64_t i = 0; i < count; ++i) {
      const int32_t pos = trace_.judged()[begin + static_cast<size_t>(at + i)];
      prefill_nll_.push_back(NegativeLogLikelihood(
          {logits + i * static_cast<int64_t>(n_vocab), n_vocab}, trace_.target(pos)));
    }
    return Status::Ok();
  });
}

Status ShadowRecorder::BeforeDecodeStep(int64_t i) {
  step_ = i;
  return Status::Ok();
}

Status ShadowRecorder::AfterDecodeStep(int64_t i, std::span<const float> logits,
                                       ForwardPass& forward) {
  std::ranges::copy(forward.hidden(), trace_.decode_row(i).begin());
  const TokenId target = trace_.target(trace_.text().n_prefill + i);
  if (target >= 0) decode_nll_.push_back(NegativeLogLikelihood(logits, target));
  return Status::Ok();
}

Status ShadowRecorder::AfterAttend(int layer, const LayerQueries& queries, SequenceCache&) {
  const Stopwatch watch(&observer_seconds_);
  const std::span<float> q = trace_.q(step_, layer);
  std::copy_n(queries.q, q.size(), q.begin());
  return Status::Ok();
}

void ShadowRecorder::Attended(int layer, std::span<const float> out) {
  const Stopwatch watch(&observer_seconds_);
  std::ranges::copy(out, trace_.attended(step_, layer).begin());
}

// --- comparing ---

Comparer::Comparer(ShadowTrace& trace, ThreadTeam& team, AttendWorkspace& workspace, bool isolate)
    : trace_(trace), team_(team), workspace_(workspace), isolate_(isolate) {}

void Comparer::ErrorSum::Add(double error) {
  sum += error;
  worst = std::max(worst, error);
  ++n;
}

std::vector<LayerError> Comparer::Summarized(const std::vector<ErrorSum>& sums) {
  std::vector<LayerError> errors;
  for (const ErrorSum& s : sums) {
    errors.push_back({s.n > 0 ? s.sum / static_cast<double>(s.n) : 0, s.worst});
  }
  return errors;
}

Status Comparer::CompareRows(size_t begin, size_t end, int64_t chunk_first, ForwardPass& forward) {
  const ModelSpec& spec = forward.model().spec;
  const auto n_embd = static_cast<size_t>(spec.n_embd), n_vocab = static_cast<size_t>(spec.n_vocab);
  const size_t n = end - begin;
  rows_.resize(n * n_embd);
  GatherRows(forward.hidden(), trace_.judged().subspan(begin, n), chunk_first, spec.n_embd,
             rows_.data());
  const auto gather = [&](std::vector<float>& into) {
    into.resize(n * n_vocab);
    return [&into, n_vocab](int64_t at, int64_t count, const float* logits) {
      std::copy_n(logits, static_cast<size_t>(count) * n_vocab,
                  into.begin() + at * static_cast<int64_t>(n_vocab));
      return Status::Ok();
    };
  };
  KVASIR_RETURN_IF_ERROR(forward.LogitsOf(rows_, gather(logits_)));
  const std::span<const float> reference_rows(trace_.judged_row(static_cast<int64_t>(begin)).data(),
                                              n * n_embd);
  KVASIR_RETURN_IF_ERROR(forward.LogitsOf(reference_rows, gather(reference_)));
  std::vector<RowDivergence> compared(n);
  team_.Run(static_cast<int64_t>(n), [&](int64_t i, int) {
    const auto at = static_cast<size_t>(i) * n_vocab;
    compared[static_cast<size_t>(i)] = CompareLogits(
        std::span(reference_).subspan(at, n_vocab), std::span(logits_).subspan(at, n_vocab),
        trace_.target(trace_.judged()[begin + static_cast<size_t>(i)]));
  });
  for (size_t i = 0; i < n; ++i) {
    prefill_.Add(trace_.judged()[begin + i], compared[i], /*has_target=*/true);
  }
  return Status::Ok();
}

Status Comparer::AfterPrefillChunk(int64_t first, int64_t n, ForwardPass& forward) {
  const size_t end = JudgedEnd(trace_.judged(), next_judged_, first + n);
  for (size_t i = next_judged_; i < end; i += kRows) {
    KVASIR_RETURN_IF_ERROR(
        CompareRows(i, std::min(end, i + static_cast<size_t>(kRows)), first, forward));
  }
  next_judged_ = end;
  return Status::Ok();
}

Status Comparer::BeforeDecodeStep(int64_t i) {
  step_ = i;
  return Status::Ok();
}

Status Comparer::AfterDecodeStep(int64_t i, std::span<const float> logits, ForwardPass& forward) {
  logits_.assign(logits.begin(), logits.end());
  KVASIR_RETURN_IF_ERROR(
      forward.LogitsOf(trace_.decode_row(i), [&](int64_t, int64_t, const float* row) {
        reference_.assign(row, row + logits_.size());
        return Status::Ok();
      }));
  const int64_t pos = trace_.text().n_prefill + i;
  const TokenId target = trace_.target(pos);
  decode_.Add(static_cast<int32_t>(pos), CompareLogits(reference_, logits_, target), target >= 0);
  return Status::Ok();
}

Status Comparer::AfterAttend(int layer, const LayerQueries& queries, SequenceCache& cache) {
  if (!isolate_) return Status::Ok();
  const Stopwatch watch(&observer_seconds_);
  LayerQueries exact = queries;
  exact.q = trace_.q(step_, layer).data();
  exact.norms = nullptr;
  const std::span<const float> expected = trace_.attended(step_, layer);
  probe_.resize(expected.size());
  KVASIR_RETURN_IF_ERROR(cache.Attend(layer, exact, team_, workspace_, probe_.data()));
  isolated_error_.resize(static_cast<size_t>(cache.shape().n_layer));
  isolated_error_[static_cast<size_t>(layer)].Add(RelativeL2(probe_, expected));
  return Status::Ok();
}

void Comparer::Attended(int layer, std::span<const float> out) {
  const Stopwatch watch(&observer_seconds_);
  stream_error_.resize(std::max(stream_error_.size(), static_cast<size_t>(layer) + 1));
  stream_error_[static_cast<size_t>(layer)].Add(RelativeL2(out, trace_.attended(step_, layer)));
}

}  // namespace kvasir
