#include "kvasir/kernels/quants.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <iterator>

#include "kvasir/kernels/half.h"
#include "kvasir/kernels/matmul.h"

namespace kvasir {
namespace {

void UnpackNibbles(const uint8_t (&qs)[16], uint8_t* q) {
  for (int j = 0; j < 16; ++j) {
    q[j] = qs[j] & 15;
    q[j + 16] = qs[j] >> 4;
  }
}

void UnpackFiveBits(const uint8_t (&qs)[16], const uint8_t (&qh)[4], uint8_t* q) {
  UnpackNibbles(qs, q);
  for (int j = 0; j < 32; ++j) q[j] |= static_cast<uint8_t>((qh[j / 8] >> (j % 8) & 1) << 4);
}

void PackNibbles(const uint8_t* q, uint8_t (&qs)[16]) {
  for (int j = 0; j < 16; ++j) {
    qs[j] = static_cast<uint8_t>((q[j] & 15) | (q[j + 16] & 15) << 4);
  }
}

void PackFiveBits(const uint8_t* q, uint8_t (&qs)[16], uint8_t (&qh)[4]) {
  PackNibbles(q, qs);
  std::fill(std::begin(qh), std::end(qh), uint8_t{0});
  for (int j = 0; j < 32; ++j) qh[j / 8] |= static_cast<uint8_t>((q[j] >> 4 & 1) << (j % 8));
}

// Truncates to a code in [0, top]; what is not a number becomes 0.
uint8_t Code(float value, int top) {
  if (!(value > 0.0f)) return 0;
  return static_cast<uint8_t>(std::min(value, static_cast<float>(top)));
}

float Inverse(float d) { return d != 0.0f ? 1.0f / d : 0.0f; }

// Codes around a zero point of half the range: the value of largest magnitude gets code 0.
uint16_t EncodeSymmetric(const float* x, int zero_point, uint8_t* q) {
  float extreme = 0.0f;
  for (int j = 0; j < 32; ++j) {
    if (std::fabs(x[j]) > std::fabs(extreme)) extreme = x[j];
  }
  const float d = extreme / static_cast<float>(-zero_point);
  const float inverse = Inverse(d);
  const float shift = static_cast<float>(zero_point) + 0.5f;
  for (int j = 0; j < 32; ++j) q[j] = Code(x[j] * inverse + shift, 2 * zero_point - 1);
  return FloatToHalf(d);
}

// Codes from the smallest value, code 0, to the largest, code `top`.
void EncodeRange(const float* x, int top, uint8_t* q, uint16_t& d_bits, uint16_t& m_bits) {
  const auto [low, high] = std::minmax_element(x, x + 32);
  const float min = *low;
  const float d = (*high - min) / static_cast<float>(top);
  const float inverse = Inverse(d);
  for (int j = 0; j < 32; ++j) q[j] = Code((x[j] - min) * inverse + 0.5f, top);
  d_bits = FloatToHalf(d);
  m_bits = FloatToHalf(min);
}

void DecodeBlock(const BlockQ8_0& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(block.qs[j]);
}

template <typename Block>
void DecodeSymmetric(const Block& block, int zero_point, float* out) {
  uint8_t q[32];
  UnpackCodes(block, q);
  const float d = HalfToFloat(block.d);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(q[j] - zero_point);
}
void DecodeBlock(const BlockQ4_0& block, float* out) { DecodeSymmetric(block, 8, out); }
void DecodeBlock(const BlockQ5_0& block, float* out) { DecodeSymmetric(block, 16, out); }

template <typename Block>
void DecodeRange(const Block& block, float* out) {
  uint8_t q[32];
  UnpackCodes(block, q);
  const float d = HalfToFloat(block.d);
  const float m = HalfToFloat(block.m);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(q[j]) + m;
}
void DecodeBlock(const BlockQ4_1& block, float* out) { DecodeRange(block, out); }
void DecodeBlock(const BlockQ5_1& block, float* out) { DecodeRange(block, out); }

template <typename Block>
void DecodeScaledRange(const Block& block, float* out) {
  uint8_t q[256];
  UnpackCodes(block, q);
  const SuperScales scales = UnpackScales(block.scales);
  const float d = HalfToFloat(block.d);
  const float dmin = HalfToFloat(block.dmin);
  for (int j = 0; j < 256; ++j) {
    const float scale = d * static_cast<float>(scales.scale[j / 32]);
    const float min = dmin * static_cast<float>(scales.min[j / 32]);
    out[j] = scale * static_cast<float>(q[j]) - min;
  }
}
void DecodeBlock(const BlockQ4_K& block, float* out) { DecodeScaledRange(block, out); }
void DecodeBlock(const BlockQ5_K& block, float* out) { DecodeScaledRange(block, out); }

void DecodeBlock(const BlockQ6_K& block, float* out) {
  uint8_t q[256];
  UnpackCodes(block, q);
  const float d = HalfToFloat(block.d);
  for (int j = 0; j < 256; ++j) {
    const float scale = d * static_cast<float>(block.scales[j / 16]);
    out[j] = scale * static_cast<float>(q[j] - 32);
  }
}

template <typename Block, int kElements>
void DecodeRow(const void* src, float* dst, int64_t n) {
  for (int64_t i = 0; i < n / kElements; ++i) {
    DecodeBlock(LoadBlock<Block>(src, i), dst + i * kElements);
  }
}

template <typename Block, int kElements>
void EncodeRow(const float* src, void* dst, int64_t n) {
  for (int64_t i = 0; i < n / kElements; ++i) {
    Block block;
    EncodeBlock(src + i * kElements, block);
    std::memcpy(static_cast<std::byte*>(dst) + i * sizeof(Block), &block, sizeof(Block));
  }
}

template <float (*kConvert)(uint16_t)>
void WidenRow(const void* src, float* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] = kConvert(LoadBlock<uint16_t>(src, i));
}

template <uint16_t (*kConvert)(float)>
void NarrowRow(const float* src, void* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t bits = kConvert(src[i]);
    std::memcpy(static_cast<std::byte*>(dst) + i * sizeof(bits), &bits, sizeof(bits));
  }
}

}  // namespace

void UnpackCodes(const BlockQ4_0& block, uint8_t* q) { UnpackNibbles(block.qs, q); }
void UnpackCodes(const BlockQ4_1& block, uint8_t* q) { UnpackNibbles(block.qs, q); }
void UnpackCodes(const BlockQ5_0& block, uint8_t* q) { UnpackFiveBits(block.qs, block.qh, q); }
void UnpackCodes(const BlockQ5_1& block, uint8_t* q) { UnpackFiveBits(block.qs, block.qh, q); }

void EncodeBlock(const float* x, BlockQ4_0& block) {
  uint8_t q[32];
  block.d = EncodeSymmetric(x, 8, q);
  PackNibbles(q, block.qs);
}

void EncodeBlock(const float* x, BlockQ5_0& block) {
  uint8_t q[32];
  block.d = EncodeSymmetric(x, 16, q);
  PackFiveBits(q, block.qs, block.qh);
}

void EncodeBlock(const float* x, BlockQ4_1& block) {
  uint8_t q[32];
  EncodeRange(x, 15, q, block.d, block.m);
  PackNibbles(q, block.qs);
}

void EncodeBlock(const float* x, BlockQ5_1& block) {
  uint8_t q[32];
  EncodeRange(x, 31, q, block.d, block.m);
  PackFiveBits(q, block.qs, block.qh);
}

void EncodeBlock(const float* x, BlockQ8_0& block) {
  float max = 0.0f;
  for (int j = 0; j < 32; ++j) max = std::max(max, std::fabs(x[j]));
  const float d = max / 127.0f;
  const float inverse = Inverse(d);
  for (int j = 0; j < 32; ++j) {
    const int code = Code(std::round(std::fabs(x[j] * inverse)), 127);
    block.qs[j] = static_cast<int8_t>(x[j] < 0.0f ? -code : code);
  }
  block.d = FloatToHalf(d);
}

void DequantizeRow(TensorType type, const void* src, float* dst, int64_t n) {
  assert(n % static_cast<int64_t>(InfoOf(type).block_elements) == 0);
  switch (type) {
    case TensorType::kF32: std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(float)); return;
    case TensorType::kF16: WidenRow<HalfToFloat>(src, dst, n); return;
    case TensorType::kBF16: WidenRow<Bf16ToFloat>(src, dst, n); return;
    case TensorType::kQ4_0: DecodeRow<BlockQ4_0, 32>(src, dst, n); return;
    case TensorType::kQ4_1: DecodeRow<BlockQ4_1, 32>(src, dst, n); return;
    case TensorType::kQ5_0: DecodeRow<BlockQ5_0, 32>(src, dst, n); return;
    case TensorType::kQ5_1: DecodeRow<BlockQ5_1, 32>(src, dst, n); return;
    case TensorType::kQ8_0: DecodeRow<BlockQ8_0, 32>(src, dst, n); return;
    case TensorType::kQ4_K: DecodeRow<BlockQ4_K, 256>(src, dst, n); return;
    case TensorType::kQ5_K: DecodeRow<BlockQ5_K, 256>(src, dst, n); return;
    case TensorType::kQ6_K: DecodeRow<BlockQ6_K, 256>(src, dst, n); return;
  }
}

void QuantizeRow(TensorType type, const float* src, void* dst, int64_t n) {
  assert(n % static_cast<int64_t>(InfoOf(type).block_elements) == 0);
  switch (type) {
    case TensorType::kF32: std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(float)); return;
    case TensorType::kF16: NarrowRow<FloatToHalf>(src, dst, n); return;
    case TensorType::kBF16: NarrowRow<FloatToBf16>(src, dst, n); return;
    case TensorType::kQ4_0: EncodeRow<BlockQ4_0, 32>(src, dst, n); return;
    case TensorType::kQ4_1: EncodeRow<BlockQ4_1, 32>(src, dst, n); return;
    case TensorType::kQ5_0: EncodeRow<BlockQ5_0, 32>(src, dst, n); return;
    case TensorType::kQ5_1: EncodeRow<BlockQ5_1, 32>(src, dst, n); return;
    case TensorType::kQ8_0: EncodeRow<BlockQ8_0, 32>(src, dst, n); return;
    case TensorType::kQ4_K: EncodeRow<BlockQ4_K, 256>(src, dst, n); return;
    case TensorType::kQ5_K: EncodeRow<BlockQ5_K, 256>(src, dst, n); return;
    case TensorType::kQ6_K: EncodeRow<BlockQ6_K, 256>(src, dst, n); return;
  }
}

}  // namespace kvasir
