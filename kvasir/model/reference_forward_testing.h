// The forward pass as the architectures define it, in f64 and plain loops: what fast ones are held
// against. Shares no code with them beyond reading weights.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvasir/model/model.h"

namespace kvasir {

// Logits of every token: (n_token, n_vocab), row-major.
//   n_ctx  the session's context, which decides between longrope's factors
std::vector<double> ReferenceLogits(const Model& model, std::span<const TokenId> tokens,
                                    int32_t n_ctx);

// cos and sin multiplier and one inverse frequency per pair of rotated channels.
struct ReferenceRope {
  std::vector<double> inverse_freqs;
  double magnitude = 1.0;
};
ReferenceRope ResolveReferenceRope(const RopeSpec& spec, int32_t n_ctx);

}  // namespace kvasir
