// Where a token's channel lies in a tile, per side; what every part shares.
#pragma once

#include <cstdint>
#include <string_view>

#include "kvasir/codecs/codec.h"

namespace kvasir {

// Keys are channel-major (head_dim, 16), values token-major (16, PaddedDim).
struct TileOrder {
  KvSide side = KvSide::kKey;
  int head_dim = 0;

  int64_t floats() const {
    return int64_t{kTileTokens} * (side == KvSide::kKey ? head_dim : PaddedDim(head_dim));
  }
  int64_t At(int64_t slot, int64_t channel) const {
    return side == KvSide::kKey ? channel * kTileTokens + slot
                                : slot * PaddedDim(head_dim) + channel;
  }
};

// Heads that fit the buffers of parts that rebuild tiles.
inline constexpr int kMaxHeadDim = 512;
Status CheckHeadDim(std::string_view codec, int head_dim);
// What every Encode checks: the head, that there are tokens, that positions ascend from 0 or more.
Status CheckInput(std::string_view codec, const CodecInput& input);

// Bits per element of arena blocks of `bytes` that hold `n_token` tokens each, arena rounding
// included.
double BlockBitsPerElement(int64_t bytes, int n_token, int head_dim);

}  // namespace kvasir
