// A text read by one recipe as a session would read it: its first part as a prompt in chunks, the
// rest as if it had been generated, one token at a time. Who wants to know what the model made of
// it listens; time that listeners take is not counted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kvasir/engine/kv_sequence.h"

namespace kvasir {

struct TeacherForcedText {
  std::span<const TokenId> tokens;
  int64_t n_prefill = 0;  // in [1, tokens.size())

  int64_t n_token() const { return static_cast<int64_t>(tokens.size()); }
  int64_t n_decode() const { return n_token() - n_prefill; }
};

class StreamListener {
 public:
  virtual ~StreamListener() = default;
  // Tokens [first, first + n) of the prompt were run; forward.hidden() holds their last rows.
  virtual Status AfterPrefillChunk(int64_t first, int64_t n, ForwardPass& forward) = 0;
  // Step i, of token n_prefill + i. `logits` (n_vocab) may be overwritten by the forward pass, once
  // it is used.
  virtual Status BeforeDecodeStep(int64_t i) = 0;
  virtual Status AfterDecodeStep(int64_t i, std::span<const float> logits,
                                 ForwardPass& forward) = 0;
  // What looks at the layers of decode steps; null = nothing.
  virtual LayerObserver* decode_observer() = 0;
  // Spent inside the observer.
  virtual double observer_seconds() const = 0;
};

struct MemorySample {
  int64_t n_token = 0;  // read so far
  int64_t payload = 0;  // KvSequence::payload_bytes
  int64_t ledger = 0;   // all that is held, the listener's own left out
};

struct StreamCost {
  double prefill_seconds = 0;
  double decode_seconds = 0;
  int64_t kv_bytes = 0;          // KvSequence::payload_bytes at the end
  int64_t full_layer_bytes = 0;  // of these, what layers without a window and the indexes hold
  int64_t tokens_held = 0;       // at the end, over all (layer, kv head)
  int64_t peak_bytes = 0;  // largest of the ledger: weights, process, scratch and the sequence
  int64_t process_peak_bytes = 0;         // the system's own figure; 0 where it cannot be had
  std::vector<MemorySample> memory = {};  // after every chunk and step
};

struct StreamOptions {
  int64_t foreign_bytes = 0;  // of the ledger, what is not the recipe's: left out of peaks
  // Tokens read and in all; may be empty.
  std::function<void(int64_t done, int64_t total)> progress = {};
};

// Brings weights and scratch into memory and into the ledger, by a chunk that is forgotten again,
// so that what follows is neither slower nor larger for it.
Status WarmUp(Runtime& runtime, std::span<const TokenId> tokens);

// After WarmUp. Errors: those of KvSequence::Feed and of the listener.
Result<StreamCost> RunTeacherForced(Runtime& runtime, std::shared_ptr<const KvPolicy> policy,
                                    const TeacherForcedText& text, StreamListener& listener,
                                    const StreamOptions& options);

}  // namespace kvasir
