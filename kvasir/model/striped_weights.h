// A model's weights as products like to read them: quantised matrices in stripes
// (kernels/weight_stripes.h), on huge pages. Writing them takes longer than reading the file once,
// so a matrix stays in the file's rows until later steps have moved it, a few layers each.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>

#include "kvasir/core/slab_arena.h"
#include "kvasir/core/thread_team.h"
#include "kvasir/model/model.h"

namespace kvasir {

// Thread-safe. Rows and stripes give products of the same bits, and both stay readable as long as
// this lives: who took a reference before its layer moved may go on reading there.
class StripedWeights {
 public:
  // Address space for the stripes, which takes memory only as they are written. All who ask for a
  // model's while they are held share them. Errors: kOutOfMemory.
  static Result<std::shared_ptr<StripedWeights>> Of(std::shared_ptr<const Model> model);
  // What a model's weights come to when they are striped: the bytes of its tensors, and, where the
  // output matrix is the embeddings, those of its stripes beside the rows.
  static int64_t WeightBytes(const Model& model);
  // Bytes that all models' stripes hold in this process: of what has been moved.
  static int64_t HeldBytes();

  StripedWeights(const StripedWeights&) = delete;
  StripedWeights& operator=(const StripedWeights&) = delete;
  ~StripedWeights();

  // Moves the next layers, so that kMoves calls move all; nothing while another thread moves some.
  // Pages of the file that were copied are let go, so that the bytes are held once. The embeddings,
  // of which few rows are read, stay in the file.
  static constexpr int kMoves = 12;
  void MoveSome(ThreadTeam& team);
  // Moves what is left.
  void MoveAll(ThreadTeam& team);
  bool all_moved() const { return n_moved_.load(std::memory_order_acquire) == n_part(); }

  // Where the weights are now.
  const LayerWeights& layer(int index) const { return At(index).layers[index]; }
  const Tensor& output() const { return At(n_part() - 1).output; }

 private:
  explicit StripedWeights(std::shared_ptr<const Model> model)
      : model_(std::move(model)), stripes_(model_->weights) {}
  Status Allocate();
  // Parts move in this order: the layers, then the output matrix.
  int n_part() const { return static_cast<int>(stripes_.layers.size()) + 1; }
  const Weights& At(int part) const {
    return part < n_moved_.load(std::memory_order_acquire) ? stripes_ : model_->weights;
  }
  // Calls f(rows, stripes) for every matrix of a part that stripes suit.
  template <typename F>
  void ForMatrices(int part, const F& f);
  void Move(int n, ThreadTeam& team);  // the next n parts
  void Stripe(const Tensor& rows, std::byte* to, ThreadTeam& team);

  const std::shared_ptr<const Model> model_;
  ByteLedger ledger_;  // without a limit: the model's weights are accounted for by who loads them
  SlabArena arena_{ledger_, ByteKind::kWeights};
  ArenaBlock memory_;

  std::mutex moving_;
  Weights stripes_;  // parts below n_moved_ are as they stay; who holds moving_ writes the next
  std::atomic<int> n_moved_{0};
  std::byte* next_ = nullptr;  // where in memory_ the next matrix goes
  int64_t moved_bytes_ = 0;
};

}  // namespace kvasir
