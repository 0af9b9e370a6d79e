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

}  // namespace

Result<std::shared_ptr<StripedWeights>> StripedWeights::Of(std::shared_ptr<const Model> model) {
  // An entry's stripes keep its model alive, so that no other model can have its address.
  static std::mutex mutex;
  static std::map<const Model*, std::weak_ptr<StripedWeights>> held;
  std::lock_guard lock(mutex);
  std::erase_if(held, [](const auto& entry) { return entry.second.expired(); });
  if (const auto found = held.find(model.get()); found != held.end()) {
    if (auto shared = found->second.lock()) return shared;
  }
  const std::shared_ptr<StripedWeights> made(new StripedWeights(std::move(model)));
  KVASIR_RETURN_IF_ERROR(made->Allocate());
  held[made->model_.get()] = made;
  return made;
}

int64_t StripedWeights::WeightBytes(const Model& model) {
  const auto bytes = static_cast<int64_t>(model.weight_bytes);
  const Tensor& output = model.weights.output;
  const bool twice = output.data == model.weights.token_embd.data && IsStriped(output);
  return bytes + (twice ? Bytes(output) : 0);
}

int64_t StripedWeights::HeldBytes() { return held_bytes.load(); }

StripedWeights::~StripedWeights() { held_bytes -= moved_bytes_; }

template <typename F>
void StripedWeights::ForMatrices(int part, const F& f) {
  const auto visit = [&](const Tensor& rows, Tensor& stripes) {
    if (IsStriped(rows)) f(rows, stripes);
  };
  if (part == n_part() - 1) return visit(model_->weights.output, stripes_.output);
  const LayerWeights& rows = model_->weights.layers[part];
  using L = LayerWeights;
  for (Tensor L::*matrix : {&L::wq, &L::wk, &L::wv, &L::wo, &L::w_gate, &L::w_up, &L::w_down}) {
    visit(rows.*matrix, stripes_.layers[part].*matrix);
  }
}

Status StripedWeights::Allocate() {
  int64_t bytes = 0;
  for (int part = 0; part < n_part(); ++part) {
    ForMatrices(part, [&](const Tensor& rows, Tensor&) { bytes += Bytes(rows); });
  }
  if (bytes == 0) {
    n_moved_ = n_part();
    return Status::Ok();
  }
  KVASIR_ASSIGN_OR_RETURN(memory_, arena_.Allocate(bytes));
  next_ = memory_.data();
  return Status::Ok();
}

void StripedWeights::MoveSome(ThreadTeam& team) {
  if (all_moved()) return;
  const std::unique_lock lock(moving_, std::try_to_lock);
  if (lock.owns_lock()) Move((n_part() + kMoves - 1) / kMoves, team);
}

void StripedWeights::MoveAll(ThreadTeam& team) {
  const std::lock_guard lock(moving_);
  Move(n_part(), team);
}

void StripedWeights::Move(int n, ThreadTeam& team) {
  const int begin = n_moved_.load(std::memory_order_relaxed), end = std::min(begin + n, n_part());
  for (int part = begin; part < end; ++part) {
    ForMatrices(part, [&](const Tensor& rows, Tensor& stripes) {
      Stripe(rows, next_, team);
      stripes.data = next_;
      stripes.striped = true;
      next_ += Bytes(rows);
    });
    n_moved_.store(part + 1, std::memory_order_release);
  }
}

// A few megabytes at a time, so that no more than these are held twice.
void StripedWeights::Stripe(const Tensor& rows, std::byte* to, ThreadTeam& team) {
  const int64_t row_bytes = static_cast<int64_t>(rows.row_bytes);
  const int64_t n_task = std::max<int64_t>(1, kStepBytes / (kTaskRows * row_bytes));
  for (int64_t row = 0; row < rows.rows; row += n_task * kTaskRows) {
    const int64_t n_row = std::min(n_task * kTaskRows, rows.rows - row);
    team.Run((n_row + kTaskRows - 1) / kTaskRows, [&](int64_t task, int) {
      const int64_t begin = row + task * kTaskRows;
      StripeRows(rows, begin, std::min(row + n_row, begin + kTaskRows), to);
    });
    moved_bytes_ += n_row * row_bytes;
    held_bytes += n_row * row_bytes;
    const std::span<const std::byte> done(rows.data + row * row_bytes,
                                          static_cast<size_t>(n_row * row_bytes));
    for (const auto& file : model_->files) file->ReleasePages(done);
  }
}

}  // namespace kvasir
