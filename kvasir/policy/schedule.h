// When cuts happen, and the angle of what is kept.
#pragma once

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

class PositionPolicy : public Part {
 public:
  // Whether a cut closes its holes: kept keys are turned to angles without gaps that end where the
  // next token's begins. Positions, and so masks, stay.
  virtual bool renumbers() const { return false; }
};

}  // namespace kvasir
