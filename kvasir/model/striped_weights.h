// A model's weights as products like to read them: quantised matrices in stripes
// (kernels/weight_stripes.h), on huge pages.
#pragma once

#include <memory>

#include "kvasir/core/slab_arena.h"
#include "kvasir/core/thread_team.h"
#include "kvasir/model/model.h"

namespace kvasir {

// Immutable.
class StripedWeights {
 public:
  // Takes the place of the model's own matrices: pages of its files that were copied are let go, so
  // that the bytes are held once. The embeddings, of which few rows are read, stay in the file.
  // Errors: kOutOfMemory.
  static Result<std::unique_ptr<const StripedWeights>> Make(const Model& model, ThreadTeam& team);

  const Weights& weights() const { return weights_; }

 private:
  explicit StripedWeights(const Weights& weights) : weights_(weights) {}

  Weights weights_;
  ByteLedger ledger_;  // without a limit: the model's weights are accounted for by who loads them
  SlabArena arena_{ledger_, ByteKind::kWeights};
  ArenaBlock memory_;
};

}  // namespace kvasir
