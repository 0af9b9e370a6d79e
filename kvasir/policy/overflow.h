// What happens when the next tokens would pass the byte limit.
#pragma once

#include <cstdint>
#include <vector>

#include "kvasir/cache/segment_list.h"
#include "kvasir/policy/part.h"

namespace kvasir {

class OverflowRule : public Part {
 public:
  // False: the engine refuses with both numbers.
  virtual bool makes_room() const { return true; }
  // True: whole turns go, oldest first, and Choose is not asked. The engine knows the turns.
  virtual bool drops_turns() const { return false; }
  // Which tokens of a full list stay: ascending indices, a third fewer than are held unless they
  // are too few for that.
  virtual Status Choose(const SegmentList& list, std::vector<int32_t>* kept) const = 0;
};

// How many of n tokens stay when room is made.
constexpr int64_t AfterMakingRoom(int64_t n) { return n - n / 3; }

}  // namespace kvasir
