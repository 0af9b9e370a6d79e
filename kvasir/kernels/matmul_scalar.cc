// The definition of the matrix product. For an output element, w_b and a_b being block b of the
// weight row and of the token's activations (activations.h), every type is one chain of fused
// multiply-adds over ascending blocks; int(...) is an exact integer sum, turned to f32 once:
//
//   f32, f16, bf16   y = fma(w[k], x[k], y)                                    for each column k
//   q8_0 q4_0 q5_0   y = fma(w.d * a.d, int(sum (code - offset) * a.q), y)     offset 0, 8, 16
//   q4_1 q5_1        y = fma(w.d * a.d, int(sum code * a.q), y)
//                    y = fma(w.m, a.s, y)
//   q4_k q5_k        y = fma(w.d * a.d, int(sum_s scale[s] * sum code * a.q), y)
//                    y = fma(-(w.dmin * a.d), int(sum_s min[s] * sum a.q), y)
//   q6_k             y = fma(w.d * a.d, int(sum_s scale[s] * sum (code - 32) * a.q), y)
//
// The chain starts from 0. The integers stay below 2^31: the largest is q6_k's with
// 16 groups * 128 * 16 * 63 * 127.
#include <cmath>
#include <vector>

#include "kvasir/kernels/activations-inl.h"
#include "kvasir/kernels/half.h"
#include "kvasir/kernels/matmul_kernels.h"
#include "kvasir/kernels/quants.h"
#include "kvasir/kernels/weight_stripes.h"

namespace kvasir {
namespace {

template <typename T>
T Get(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

// One token's column of a tile.
struct TokenColumn {
  const std::byte* tile;
  int nt;
  int t;
};

template <int kElements, typename Code>
int Dot(const Code* w, int offset, const int8_t* a) {
  int sum = 0;
  for (int i = 0; i < kElements; ++i) sum += (w[i] - offset) * a[i];
  return sum;
}

float Widen(float value) { return value; }
float Widen(uint16_t half) { return HalfToFloat(half); }
struct Bf16 {
  uint16_t bits;
};
float Widen(Bf16 value) { return Bf16ToFloat(value.bits); }

template <typename Float>
float DotFloats(const std::byte* row, int64_t cols, TokenColumn a) {
  float y = 0.0f;
  for (int64_t k = 0; k < cols; ++k) {
    y = std::fma(Widen(LoadBlock<Float>(row, k)), Get<float>(a.tile + (k * a.nt + a.t) * 4), y);
  }
  return y;
}

// The integer part of a product of 32-element blocks.
int DotBlock(const BlockQ8_0& w, const int8_t* a) { return Dot<32>(w.qs, 0, a); }
template <typename Block>
int DotBlock(const Block& w, const int8_t* a) {
  uint8_t codes[32];
  UnpackCodes(w, codes);
  constexpr bool kHasMin = requires { w.m; };
  return Dot<32>(codes, kHasMin ? 0 : sizeof(w) == sizeof(BlockQ4_0) ? 8 : 16, a);
}

template <typename Block>
float DotBlocks32(const std::byte* row, int64_t cols, TokenColumn a) {
  const Record32 layout{a.nt};
  float y = 0.0f;
  for (int64_t b = 0; b < cols / 32; ++b) {
    const auto w = LoadBlock<Block>(row, b);
    const std::byte* record = a.tile + static_cast<size_t>(b) * layout.bytes();
    const int sum = DotBlock(w, reinterpret_cast<const int8_t*>(record + layout.Q(a.t)));
    const float scale = HalfToFloat(w.d) * Get<float>(record + layout.D(a.t));
    y = std::fma(scale, static_cast<float>(sum), y);
    if constexpr (requires { w.m; }) {
      y = std::fma(HalfToFloat(w.m), Get<float>(record + layout.S(a.t)), y);
    }
  }
  return y;
}

template <typename Block>
float DotScaledRanges(const std::byte* row, int64_t cols, TokenColumn a) {
  const Record256 layout{a.nt};
  float y = 0.0f;
  for (int64_t b = 0; b < cols / 256; ++b) {
    const auto w = LoadBlock<Block>(row, b);
    const std::byte* record = a.tile + static_cast<size_t>(b) * layout.bytes();
    const auto* q = reinterpret_cast<const int8_t*>(record + layout.Q(a.t));
    uint8_t codes[256];
    UnpackCodes(w, codes);
    const SuperScales scales = UnpackScales(w.scales);
    int sum = 0;
    int min_sum = 0;
    for (int s = 0; s < 8; ++s) {
      sum += scales.scale[s] * Dot<32>(codes + 32 * s, 0, q + 32 * s);
      min_sum += scales.min[s] * Get<int16_t>(record + layout.Sum32(a.t) + 2 * s);
    }
    const float d = Get<float>(record + layout.D(a.t));
    y = std::fma(HalfToFloat(w.d) * d, static_cast<float>(sum), y);
    y = std::fma(-(HalfToFloat(w.dmin) * d), static_cast<float>(min_sum), y);
  }
  return y;
}

float DotQ6_K(const std::byte* row, int64_t cols, TokenColumn a) {
  const Record256 layout{a.nt};
  float y = 0.0f;
  for (int64_t b = 0; b < cols / 256; ++b) {
    const auto w = LoadBlock<BlockQ6_K>(row, b);
    const std::byte* record = a.tile + static_cast<size_t>(b) * layout.bytes();
    const auto* q = reinterpret_cast<const int8_t*>(record + layout.Q(a.t));
    uint8_t codes[256];
    UnpackCodes(w, codes);
    int sum = 0;
    for (int s = 0; s < 16; ++s) sum += w.scales[s] * Dot<16>(codes + 16 * s, 32, q + 16 * s);
    const float scale = HalfToFloat(w.d) * Get<float>(record + layout.D(a.t));
    y = std::fma(scale, static_cast<float>(sum), y);
  }
  return y;
}

using DotRow = float (*)(const std::byte* row, int64_t cols, TokenColumn a);

DotRow DotRowOf(TensorType type) {
  switch (type) {
    case TensorType::kF32: return DotFloats<float>;
    case TensorType::kF16: return DotFloats<uint16_t>;
    case TensorType::kBF16: return DotFloats<Bf16>;
    case TensorType::kQ4_0: return DotBlocks32<BlockQ4_0>;
    case TensorType::kQ4_1: return DotBlocks32<BlockQ4_1>;
    case TensorType::kQ5_0: return DotBlocks32<BlockQ5_0>;
    case TensorType::kQ5_1: return DotBlocks32<BlockQ5_1>;
    case TensorType::kQ8_0: return DotBlocks32<BlockQ8_0>;
    case TensorType::kQ4_K: return DotScaledRanges<BlockQ4_K>;
    case TensorType::kQ5_K: return DotScaledRanges<BlockQ5_K>;
    case TensorType::kQ6_K: return DotQ6_K;
  }
  return nullptr;
}

void RowsScalar(const MatMulCall& call, int64_t row_begin, int64_t row_end, int64_t token_begin,
                int64_t token_end) {
  const DotRow dot = DotRowOf(call.w.type);
  std::vector<std::byte> copy(call.w.striped ? call.w.row_bytes : 0);
  for (int64_t row = row_begin; row < row_end; ++row) {
    const std::byte* weights = call.w.data + static_cast<size_t>(row) * call.w.row_bytes;
    if (call.w.striped) {
      CopyRow(call.w, row, copy.data());
      weights = copy.data();
    }
    for (int64_t token = token_begin; token < token_end; ++token) {
      const int64_t t0 = token / kTokenTile * kTokenTile;
      const TokenColumn a{call.Tile(t0), call.TileTokens(t0), static_cast<int>(token - t0)};
      call.y[token * call.y_stride + row] = dot(weights, call.w.cols, a);
    }
  }
}

}  // namespace

const MatMulKernels kMatMulScalar = {RowsScalar, PrepareTile};

}  // namespace kvasir
