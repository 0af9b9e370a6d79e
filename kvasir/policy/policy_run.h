// A policy at work on one sequence. The session tells it where it stands:
//
//   run.BeginChunk(phase, tokens, last);
//   forward.Run(tokens, cache, ..., &run);
//   run.EndChunk(cache);
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kvasir/model/forward.h"
#include "kvasir/policy/policy.h"
#include "kvasir/policy/renumber.h"
#include "kvasir/policy/replay_question.h"
#include "kvasir/policy/signal_tap.h"

namespace kvasir {

enum class RunPhase : uint8_t {
  kPrefill,
  kDecode,
  kReplay,  // the prompt seen again for its scores; nothing is cut or sealed
};

// What the engine lends; all of it outlives the run.
struct RunResources {
  ThreadTeam* team = nullptr;
  AttendWorkspace* workspace = nullptr;
  ByteLedger* ledger = nullptr;
  std::function<const Rope*(int layer)> rope = {};  // for codecs that store k_raw; may be empty
  ReplayQuestion replay_question = {};              // what a replayed prompt begins with
};

// What the signals of a sequence take that holds n_kv tokens in every list.
int64_t SignalBytes(const KvPolicy& policy, int64_t n_kv);

// Branch state: signals, scores, what dispositions remember. Not thread-safe.
class PolicyRun final : public LayerObserver {
 public:
  PolicyRun(std::shared_ptr<const KvPolicy> policy, const RunResources& resources);

  // Puts the selector in place, and the windows of streaming heads. Call once, before the first
  // token.
  Status Attach(SequenceCache& cache);
  void BeginChunk(RunPhase phase, std::span<const TokenId> tokens, bool last_prefill_chunk);
  bool WantsNorms(int layer) const override;
  int NormRows(int layer) const override;
  Status AfterAttend(int layer, const LayerQueries& queries, SequenceCache& cache) override;
  // Cuts and seals what is due. Errors: kInvalidArgument when protected tokens alone pass the
  // budget; kOutOfMemory, and then every list is whole, cut or not.
  Status EndChunk(SequenceCache& cache);

  // Lets tokens go by the recipe's overflow rule, in every full layer; false when lists are too
  // short to give anything. Errors: kOutOfMemory when what stays cannot be copied.
  Result<bool> MakeRoom(SequenceCache& cache);

  // Lets the tokens at positions [begin, end) go in every full layer: whole turns of a
  // conversation. The rest is not judged by it, so rewinding to any of it stays possible. Errors:
  // kOutOfMemory when what stays cannot be copied.
  Status Forget(int32_t begin, int32_t end, SequenceCache& cache);

  // Whether Replay must run between the last chunk of the prompt and its EndChunk.
  bool wants_replay() const;
  // Reads the prompt, all of which the cache holds, a second time for its scores; the cache is left
  // as it was. Errors: of ForwardPass::Run; kInvalidArgument where the context has no room left.
  Status Replay(std::span<const TokenId> prompt, ForwardPass& forward, SequenceCache& cache);

  // Tokens at positions below this stand in a cache that was cut when later tokens were known: a
  // rewind to below it is not what a shorter prompt would have left.
  int32_t rewind_floor() const;
  // After cache.Truncate(pos). pos = 0, or >= rewind_floor().
  void Truncate(const SequenceCache& cache, int32_t pos);
  Result<std::unique_ptr<PolicyRun>> Fork() const;

  const KvPolicy& policy() const { return *policy_; }
  const SignalTap& tap() const { return tap_; }
  int64_t n_evicted() const { return n_evicted_; }  // over all (layer, kv head)
  int64_t bytes() const { return tap_.bytes() + replay_.bytes(); }

 private:
  PolicyRun(const PolicyRun& other, SignalTap tap);
  // Whether a layer takes part: sliding windows bound themselves.
  bool Watched(int layer) const { return policy_->target().shape.window[layer] == 0; }
  std::vector<uint8_t> Protected(const SegmentList& list) const;
  // Reduced and shaped scores of a layer, and its statistic.
  Status ScoreLayer(int layer, const SequenceCache& cache);
  // Fills HeadScores::output.
  Status MeasureOutputs(int layer, const SequenceCache& cache, LayerScores* scores);
  // Whether the budget leaves nothing to do.
  bool Fits(const SequenceCache& cache, int first_pending) const;
  void DropScores();
  Result<ByteCharge> ChargeScratch(int64_t bytes) const {
    return ByteCharge::Take(*resources_.ledger, ByteKind::kScratch, bytes);
  }
  bool CutIsDue() const;
  // Cuts layers [0, n_layer), all scored.
  Status Cut(int n_layer, SequenceCache& cache);
  struct Cell;  // one (layer, kv head) of a cut
  std::vector<Cell> Cells(int n_layer, const SequenceCache& cache) const;
  Status Allot(int n_layer, std::vector<Cell>* cells) const;
  void Choose(std::vector<Cell>* cells) const;
  Status Dispose(Cell& cell, SequenceCache& cache);
  // Closes the holes of a cut. `plan` is null where the recipe leaves them.
  // Tokens of a list that stay; all of them: it is left alone.
  using ChooseKept = std::function<Status(const SegmentList& list, std::vector<int32_t>* kept)>;
  // Whether any list gave up tokens.
  Result<bool> GiveUp(const ChooseKept& choose, SequenceCache& cache);
  Status KeepOnly(int layer, int kv_head, std::span<const int32_t> kept, Renumbering* renumbering,
                  SequenceCache& cache);
  Status CloseHoles(std::optional<Renumbering> plan, SequenceCache& cache);
  Result<std::optional<Renumbering>> PlanRenumbering(const SequenceCache& cache) const;
  Status Seal(SequenceCache& cache);
  // Runs tokens behind those the cache holds, chunk by chunk, and forgets them.
  Status ReplayPart(std::span<const TokenId> tokens, ForwardPass& forward, SequenceCache& cache);
  size_t ListIndex(int layer, int kv_head) const {
    return static_cast<size_t>(layer) * policy_->target().shape.n_kv_head + kv_head;
  }
  // Leading tokens of a list that are no longer judged.
  int64_t Settled(int layer, int kv_head) const {
    return policy_->disposition->n_settled(disposition_state_[ListIndex(layer, kv_head)]);
  }

  std::shared_ptr<const KvPolicy> policy_;
  RunResources resources_;
  SignalTap tap_;
  ReplayTap replay_;
  std::vector<LayerScores> scores_;                    // by layer; of layers not yet final
  std::vector<ByteCharge> score_charges_;              // of scores_
  std::vector<double> statistics_;                     // by layer
  std::vector<std::vector<float>> disposition_state_;  // by (layer, kv head)
  std::vector<TokenId> tokens_;                        // by position, for kNeedTokens
  RunPhase phase_ = RunPhase::kPrefill;
  bool last_chunk_ = false;
  int32_t n_pos_ = 0;     // positions seen, the chunk under way included
  int n_chunk_ = 0;       // tokens of the chunk under way
  int decode_steps_ = 0;  // since the last cut
  int32_t cut_pos_ = 0;   // positions seen at the last cut
  int64_t n_evicted_ = 0;
};

}  // namespace kvasir
