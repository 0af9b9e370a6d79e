// The exact shadow: what the model made of a text with its whole cache, kept so that any number of
// recipes can be held against it. No logits are kept, but the rows they are made of.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvasir/measure/divergence.h"
#include "kvasir/measure/teacher_forced.h"

namespace kvasir {

class ShadowTrace {
 public:
  // At most `n_judged` positions of the prompt are kept, spread evenly; all decode steps are.
  ShadowTrace(const ModelSpec& spec, const TeacherForcedText& text, int64_t n_judged);
  ShadowTrace(const ShadowTrace&) = delete;
  ShadowTrace& operator=(const ShadowTrace&) = delete;

  // What an object of this shape takes, with what a Comparer adds.
  static int64_t Bytes(const ModelSpec& spec, const TeacherForcedText& text, int64_t n_judged);

  // Positions of the prompt that are compared, ascending.
  std::span<const int32_t> judged() const { return judged_; }
  // Rows of the residual stream behind the last layer, (n, n_embd).
  std::span<float> judged_row(int64_t i) { return Row(judged_rows_, i, n_embd_); }
  std::span<float> decode_row(int64_t step) { return Row(decode_rows_, step, n_embd_); }
  // Rotated queries of a decode step and what attention gave them, (n_head, head_dim).
  std::span<float> q(int64_t step, int layer) { return Row(q_, step * n_layer_ + layer, heads_); }
  std::span<float> attended(int64_t step, int layer) {
    return Row(attended_, step * n_layer_ + layer, heads_);
  }
  const TeacherForcedText& text() const { return text_; }
  // The token to be predicted at a position; -1 at the last.
  TokenId target(int64_t pos) const {
    return pos + 1 < text_.n_token() ? text_.tokens[static_cast<size_t>(pos) + 1] : -1;
  }

 private:
  static std::span<float> Row(std::vector<float>& rows, int64_t i, int64_t width) {
    return std::span(rows).subspan(static_cast<size_t>(i * width), static_cast<size_t>(width));
  }

  TeacherForcedText text_;
  int64_t n_embd_, n_layer_, heads_;
  std::vector<int32_t> judged_;
  std::vector<float> judged_rows_, decode_rows_, q_, attended_;
};

// Fills a trace while the exact recipe reads the text, and judges the text by it.
class ShadowRecorder final : public StreamListener, private LayerObserver {
 public:
  explicit ShadowRecorder(ShadowTrace& trace) : trace_(trace) {}

  Status AfterPrefillChunk(int64_t first, int64_t n, ForwardPass& forward) override;
  Status BeforeDecodeStep(int64_t i) override;
  Status AfterDecodeStep(int64_t i, std::span<const float> logits, ForwardPass& forward) override;
  LayerObserver* decode_observer() override { return this; }
  double observer_seconds() const override { return observer_seconds_; }

  // Negative log-likelihoods of judged positions and of decode steps that have a next token.
  const std::vector<double>& prefill_nll() const { return prefill_nll_; }
  const std::vector<double>& decode_nll() const { return decode_nll_; }

 private:
  bool WantsNorms(int) const override { return false; }
  Status AfterAttend(int layer, const LayerQueries& queries, SequenceCache& cache) override;
  void Attended(int layer, std::span<const float> out) override;

  ShadowTrace& trace_;
  int64_t step_ = 0;
  size_t next_judged_ = 0;
  double observer_seconds_ = 0;
  std::vector<double> prefill_nll_, decode_nll_;
};

struct LayerError {
  double mean = 0;
  double worst = 0;
};

// Holds a recipe's stream against a trace.
class Comparer final : public StreamListener, private LayerObserver {
 public:
  // `isolate`: the shadow's queries are also put to the recipe's cache, layer by layer. Not for
  // recipes whose reading has a state of its own.
  Comparer(ShadowTrace& trace, ThreadTeam& team, AttendWorkspace& workspace, bool isolate);

  Status AfterPrefillChunk(int64_t first, int64_t n, ForwardPass& forward) override;
  Status BeforeDecodeStep(int64_t i) override;
  Status AfterDecodeStep(int64_t i, std::span<const float> logits, ForwardPass& forward) override;
  LayerObserver* decode_observer() override { return this; }
  double observer_seconds() const override { return observer_seconds_; }

  const PositionErrors& prefill() const { return prefill_; }
  const PositionErrors& decode() const { return decode_; }
  // Relative L2 error of what attention gives, before the output projection, by layer over the
  // decode steps. Each stream goes its own way: its hidden states carry the errors of all layers
  // and steps before.
  std::vector<LayerError> stream_error() const { return Summarized(stream_error_); }
  // The same for the shadow's queries put to the recipe's cache: what this layer's cache answers
  // wrongly by itself. Its keys and values are still those that the recipe's stream made. Empty
  // unless `isolate`.
  std::vector<LayerError> isolated_error() const { return Summarized(isolated_error_); }

 private:
  struct ErrorSum {
    double sum = 0, worst = 0;
    int64_t n = 0;
    void Add(double error);
  };
  static std::vector<LayerError> Summarized(const std::vector<ErrorSum>& sums);
  bool WantsNorms(int) const override { return false; }
  Status AfterAttend(int layer, const LayerQueries& queries, SequenceCache& cache) override;
  void Attended(int layer, std::span<const float> out) override;
  // Compares judged positions [begin, end) of one chunk, a few rows at a time.
  Status CompareRows(size_t begin, size_t end, int64_t chunk_first, ForwardPass& forward);

  ShadowTrace& trace_;
  ThreadTeam& team_;
  AttendWorkspace& workspace_;
  bool isolate_;
  int64_t step_ = 0;
  size_t next_judged_ = 0;
  double observer_seconds_ = 0;
  std::vector<float> reference_, logits_, rows_, probe_;
  std::vector<ErrorSum> stream_error_, isolated_error_;
  PositionErrors prefill_, decode_;
};

}  // namespace kvasir
