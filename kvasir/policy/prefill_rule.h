// What a block of a prompt reads of the tokens before it, as a part of a recipe.
#pragma once

#include <cmath>
#include <limits>
#include <span>

#include "kvasir/cache/prefill_mask.h"
#include "kvasir/policy/part.h"

namespace kvasir {

class PrefillRule : public Part, public PrefillMask {};

// Softmax kernels give no weight to what is no number: rules look first.
inline bool AllFinite(std::span<const float> values) {
  bool finite = true;
  for (const float x : values) finite &= std::fabs(x) <= std::numeric_limits<float>::max();
  return finite;
}

}  // namespace kvasir
