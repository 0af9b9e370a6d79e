#include "kvasir/model/striped_weights.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <vector>

#include "kvasir/kernels/weight_stripes.h"

namespace kvasir {
namespace {

std::atomic<int64_t> held_bytes{0};

constexpr int64_t kTaskRows = 8 * kStripeRows;
constexpr int64_t kStepBytes = int64_t{8} << 20;

int64_t Bytes(const Tensor& w) {
  const int64_t bytes = w.rows * static_cast<int64_t>(w.row_bytes);
  return (bytes + 63) / 64 * 64;
}

bool IsStriped(const Tensor& w) {
  return !w.empty() && w.rows >= kStripeRows && HasStripes(w.type);
}

std::vector<Tensor*> Quantised(Weights& weights) {
  std::vector<Tensor*> all;
  const auto add = [&](Tensor& w) {
    if (IsStriped(w)) all.push_back(&w);
  };
  for (LayerWeights& w : weights.layers) {
    for (Tensor* t : {&w.wq, &w.wk, &w.wv, &w.wo, &w.w_gate, &w.w_up, &w.w_down}) add(*t);
  }
  add(weights.output);
  return all;
}

// Writes `w` to `to`, a few megabytes at a time, whose pages in the file are then let go.
void Stripe(const Model& model, const Tensor& w, std::byte* to, ThreadTeam& team) {
  const int64_t row_bytes = static_cast<int64_t>(w.row_bytes);
  const int64_t n_task = std::max<int64_t>(1, kStepBytes / (kTaskRows * row_bytes));
  for (int64_t row = 0; row < w.rows; row += n_task * kTaskRows) {
    const int64_t n_row = std::min(n_task * kTaskRows, w.rows - row);
    team.Run((n_row + kTaskRows - 1) / kTaskRows, [&](int64_t task, int) {
      const int64_t begin = row + task * kTaskRows;
      StripeRows(w, begin, std::min(row + n_row, begin + kTaskRows), to);
    });
    const std::span<const std::byte> done(w.data + row * row_bytes,
                                          static_cast<size_t>(n_row * row_bytes));
    for (const auto& file : model.files) file->ReleasePages(done);
  }
}

}  // namespace

Result<std::shared_ptr<const StripedWeights>> StripedWeights::Of(std::shared_ptr<const Model> model,
                                                                 ThreadTeam& team) {
  // An entry's stripes keep its model alive, so that no other model can have its address.
  static std::mutex mutex;
  static std::map<const Model*, std::weak_ptr<const StripedWeights>> held;
  std::lock_guard lock(mutex);
  std::erase_if(held, [](const auto& entry) { return entry.second.expired(); });
  if (const auto found = held.find(model.get()); found != held.end()) {
    if (auto shared = found->second.lock()) return shared;
  }
  const std::shared_ptr<StripedWeights> made(new StripedWeights(std::move(model)));
  KVASIR_RETURN_IF_ERROR(made->Build(team));
  held[made->model_.get()] = made;
  return std::shared_ptr<const StripedWeights>(made);
}

int64_t StripedWeights::WeightBytes(const Model& model) {
  const auto bytes = static_cast<int64_t>(model.weight_bytes);
  const Tensor& output = model.weights.output;
  const bool twice = output.data == model.weights.token_embd.data && IsStriped(output);
  return bytes + (twice ? Bytes(output) : 0);
}

int64_t StripedWeights::HeldBytes() { return held_bytes.load(); }

StripedWeights::~StripedWeights() { held_bytes -= memory_.bytes(); }

Status StripedWeights::Build(ThreadTeam& team) {
  const std::vector<Tensor*> matrices = Quantised(weights_);
  int64_t bytes = 0;
  for (const Tensor* w : matrices) bytes += Bytes(*w);
  if (bytes == 0) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(memory_, arena_.Allocate(bytes));
  held_bytes += memory_.bytes();
  std::byte* to = memory_.data();
  for (Tensor* w : matrices) {
    Stripe(*model_, *w, to, team);
    w->data = to;
    w->striped = true;
    to += Bytes(*w);
  }
  return Status::Ok();
}

}  // namespace kvasir
