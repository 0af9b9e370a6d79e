// Rounding of activations, compiled once for each instruction set. Everything here has internal
// linkage, since the same text becomes different code in each of them.
#pragma once

#include <bit>
#include <cstring>
#include <limits>

#include "kvasir/kernels/activations.h"

namespace kvasir {
namespace {

struct BlockScale {
  float d;
  float inverse;
};

// The largest magnitude as an integer maximum over bits: order-free, and not-a-numbers win.
template <int kElements>
BlockScale ScaleOf(const float* x) {
  uint32_t max = 0;
  for (int i = 0; i < kElements; ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(x[i]) & 0x7fffffff;
    max = magnitude > max ? magnitude : max;
  }
  if (max >= 0x7f800000) return {std::numeric_limits<float>::quiet_NaN(), 0.0f};
  const float value = std::bit_cast<float>(max);
  if (value < 0x1p-100f) return {0.0f, 0.0f};
  return {value / 127.0f, 127.0f / value};
}

// Adding 1.5 * 2^23 leaves the nearest-even integer in the low bits, in any instruction set.
template <int kElements>
void RoundBlock(const float* x, BlockScale scale, int8_t* q) {
  if (scale.inverse == 0.0f) {
    std::memset(q, 0, kElements);
    return;
  }
  for (int i = 0; i < kElements; ++i) {
    const int32_t bits = std::bit_cast<int32_t>(x[i] * scale.inverse + 12582912.0f);
    q[i] = static_cast<int8_t>(bits - 0x4b400000);
  }
}

template <int kRun>
int SumOf(const int8_t* q) {
  int sum = 0;
  for (int i = 0; i < kRun; ++i) sum += q[i];
  return sum;
}

template <typename T>
void Put(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof(value));
}

void PutBlock32(const float* x, int nt, int t, std::byte* record) {
  const Record32 layout{nt};
  const BlockScale scale = ScaleOf<32>(x);
  auto* q = reinterpret_cast<int8_t*>(record + layout.Q(t));
  RoundBlock<32>(x, scale, q);
  const int sum = SumOf<32>(q);
  Put(record + layout.D(t), scale.d);
  Put(record + layout.S(t), scale.d * static_cast<float>(sum));
  Put(record + layout.NegativeSum(t), -sum);
}

void PutBlock256(const float* x, int nt, int t, std::byte* record) {
  const Record256 layout{nt};
  const BlockScale scale = ScaleOf<256>(x);
  auto* q = reinterpret_cast<int8_t*>(record + layout.Q(t));
  RoundBlock<256>(x, scale, q);
  for (int s = 0; s < 8; ++s) {
    const int low = SumOf<16>(q + 32 * s);
    const int high = SumOf<16>(q + 32 * s + 16);
    Put(record + layout.Sum16(t) + 4 * s, static_cast<int16_t>(low));
    Put(record + layout.Sum16(t) + 4 * s + 2, static_cast<int16_t>(high));
    Put(record + layout.Sum32(t) + 2 * s, static_cast<int16_t>(low + high));
  }
  Put(record + layout.D(t), scale.d);
}

// One tile: `nt` rows of x, `x_stride` floats apart.
void PrepareTile(Preparation preparation, const float* x, int64_t x_stride, int nt, int64_t cols,
                 std::byte* tile) {
  for (int t = 0; t < nt; ++t) {
    const float* row = x + t * x_stride;
    switch (preparation) {
      case Preparation::kFloat:
        for (int64_t k = 0; k < cols; ++k) Put(tile + (k * nt + t) * 4, row[k]);
        break;
      case Preparation::kQ8x32:
        for (int64_t b = 0; b < cols / 32; ++b) {
          PutBlock32(row + 32 * b, nt, t, tile + b * static_cast<int64_t>(kRecord32) * nt);
        }
        break;
      case Preparation::kQ8x256:
        for (int64_t b = 0; b < cols / 256; ++b) {
          PutBlock256(row + 256 * b, nt, t, tile + b * static_cast<int64_t>(kRecord256) * nt);
        }
        break;
    }
  }
}

}  // namespace
}  // namespace kvasir
