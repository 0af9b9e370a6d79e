// When cuts happen, and the remaining kinds that are settings more than arithmetic.
#pragma once

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/policy/part.h"

namespace kvasir {

class Schedule : public Part {
 public:
  virtual bool at_prefill_end() const { return true; }
  // After every chunk of the prompt: what is held never passes the budget plus one chunk.
  virtual bool each_chunk() const { return false; }
  // In the last chunk, as soon as a layer's attention is done.
  virtual bool each_layer() const { return false; }
  // Every so many generated tokens; 0 = never.
  virtual int decode_every() const { return 0; }
};

class PositionPolicy : public Part {};

// A selector for one sequence.
class SelectPart : public Part {
 public:
  virtual Result<std::unique_ptr<Selector>> NewSelector(const CacheShape& shape) const = 0;
};

}  // namespace kvasir
