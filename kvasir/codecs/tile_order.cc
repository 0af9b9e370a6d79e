#include "kvasir/codecs/tile_order.h"

#include <fmt/format.h>

namespace kvasir {

Status CheckHeadDim(std::string_view codec, int head_dim) {
  if (head_dim > 0 && head_dim <= kMaxHeadDim) return Status::Ok();
  return Status::Unsupported(
      fmt::format("{} takes a head_dim from 1 to {}, not {}", codec, kMaxHeadDim, head_dim));
}

Status CheckInput(std::string_view codec, const CodecInput& input) {
  KVASIR_RETURN_IF_ERROR(CheckHeadDim(codec, input.head_dim));
  if (input.pos.empty()) return Status::InvalidArgument(fmt::format("{}: no tokens", codec));
  for (size_t t = 0; t < input.pos.size(); ++t) {
    const int32_t above = t == 0 ? -1 : input.pos[t - 1];
    if (input.pos[t] > above) continue;
    return Status::InvalidArgument(fmt::format("{}: token {} must have a position above {}, not {}",
                                               codec, t, above, input.pos[t]));
  }
  return Status::Ok();
}

double BlockBitsPerElement(int64_t bytes, int n_token, int head_dim) {
  const int64_t held = (bytes + 63) / 64 * 64;
  return static_cast<double>(held * 8) / (static_cast<double>(n_token) * head_dim);
}

}  // namespace kvasir
