// What it takes to run sequences of one model under one byte limit: the ledger with what is charged
// from the start, the arena, and the forward pass. Measurements make one for each recipe, so that
// limits and peaks are those of a run on its own.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kvasir/core/byte_ledger.h"
#include "kvasir/core/slab_arena.h"
#include "kvasir/core/thread_team.h"
#include "kvasir/model/forward.h"
#include "kvasir/policy/policy.h"
#include "kvasir/policy/replay_question.h"

namespace kvasir {

struct RuntimeOptions {
  int32_t n_ctx = 0;  // positions; > 0
  int32_t n_ubatch = 512;
  int64_t memory_limit = 0;   // bytes; 0 = none
  int64_t process_bytes = 0;  // of ProcessBytesBeside
};

// What the process holds beside weights, cache and scratch: vocabulary, program, libraries, and the
// few megabytes that text handling comes to need. Of `weight_bytes`, what is mapped is left out.
int64_t ProcessBytesBeside(const Model& model);

// What stays free beside the next chunk's own bytes before a rule that makes room acts: slabs grow
// by up to 2 MiB at a time, for every size of block, and small limits bear less.
int64_t RoomSlack(int64_t memory_limit);

// Not thread-safe.
class Runtime {
 public:
  // Errors: kOutOfMemory when weights and process alone pass the limit; those of ForwardPass.
  static Result<std::unique_ptr<Runtime>> Create(std::shared_ptr<const Model> model,
                                                 const RuntimeOptions& options, ThreadTeam& team);

  const Model& model() const { return *model_; }
  const RuntimeOptions& options() const { return options_; }
  ByteLedger& ledger() { return ledger_; }
  SlabArena& arena() { return arena_; }
  ForwardPass& forward() { return *forward_; }
  ThreadTeam& team() { return forward_->team(); }
  // What recipes ask of the model. Its probe borrows this object, the rest outlives it.
  PolicyTarget Target();
  // What a replayed prompt is asked.
  const ReplayQuestion& replay_question() const { return replay_question_; }

 private:
  Runtime(std::shared_ptr<const Model> model, const RuntimeOptions& options)
      : model_(std::move(model)),
        options_(options),
        ledger_(options.memory_limit),
        arena_(ledger_, ByteKind::kKv) {}

  std::shared_ptr<const Model> model_;
  RuntimeOptions options_;
  ByteLedger ledger_;
  ByteCharge weights_, process_;
  SlabArena arena_;
  std::unique_ptr<ForwardPass> forward_;
  ReplayQuestion replay_question_;
};

}  // namespace kvasir
