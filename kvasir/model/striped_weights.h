// A model's weights as products like to read them: quantised matrices in stripes
// (kernels/weight_stripes.h), on huge pages.
#pragma once

#include <memory>
#include <utility>

#include "kvasir/core/slab_arena.h"
#include "kvasir/core/thread_team.h"
#include "kvasir/model/model.h"

namespace kvasir {

// Immutable.
class StripedWeights {
 public:
  // Takes the place of the model's own matrices: pages of its files that were copied are let go, so
  // that the bytes are held once. The embeddings, of which few rows are read, stay in the file.
  // All who ask for a model's while they are held share them. Thread-safe. Errors: kOutOfMemory.
  static Result<std::shared_ptr<const StripedWeights>> Of(std::shared_ptr<const Model> model,
                                                          ThreadTeam& team);
  // What a model's weights come to when they are striped: the bytes of its tensors, and, where the
  // output matrix is the embeddings, those of its stripes beside the rows.
  static int64_t WeightBytes(const Model& model);
  // Bytes that all models' stripes hold in this process.
  static int64_t HeldBytes();

  ~StripedWeights();
  const Weights& weights() const { return weights_; }

 private:
  explicit StripedWeights(std::shared_ptr<const Model> model)
      : model_(std::move(model)), weights_(model_->weights) {}
  Status Build(ThreadTeam& team);

  std::shared_ptr<const Model> model_;
  Weights weights_;
  ByteLedger ledger_;  // without a limit: the model's weights are accounted for by who loads them
  SlabArena arena_{ledger_, ByteKind::kWeights};
  ArenaBlock memory_;
};

}  // namespace kvasir
