#include "kvasir/cache/partial_state.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace kvasir {
namespace {

constexpr float kEmpty = -std::numeric_limits<float>::infinity();

// 2^n for integer-valued n <= 0; zero below the normal range, as in the kernels.
float PowerOfTwo(float n) {
  if (!(n >= -126)) return 0;
  return std::bit_cast<float>(static_cast<uint32_t>(127 + static_cast<int>(n)) << 23);
}

}  // namespace

StateView MakeStateView(float* memory, int n_row, int d_pad) {
  return {n_row, d_pad, memory, memory + n_row, memory + static_cast<int64_t>(n_row) * 17};
}

void ResetStates(const StateView& states) {
  std::fill_n(states.exponent, states.n_row, kEmpty);
  std::fill_n(states.sum, states.n_row * 16, 0.0f);
  std::fill_n(states.acc, static_cast<int64_t>(states.n_row) * states.d_pad, 0.0f);
}

void MergeStates(const StateView& into, const StateView& from) {
  for (int r = 0; r < into.n_row; ++r) {
    if (from.exponent[r] == kEmpty) continue;
    const float exponent = std::max(into.exponent[r], from.exponent[r]);
    const float a = PowerOfTwo(into.exponent[r] - exponent);
    const float b = PowerOfTwo(from.exponent[r] - exponent);
    into.exponent[r] = exponent;
    for (int i = r * 16; i < (r + 1) * 16; ++i) into.sum[i] = into.sum[i] * a + from.sum[i] * b;
    const int64_t begin = static_cast<int64_t>(r) * into.d_pad;
    for (int64_t i = begin; i < begin + into.d_pad; ++i) {
      into.acc[i] = into.acc[i] * a + from.acc[i] * b;
    }
  }
}

float TotalWeight(const float* sum) {
  float pair[8];
  for (int i = 0; i < 8; ++i) pair[i] = sum[i] + sum[i + 8];
  for (int i = 0; i < 4; ++i) pair[i] += pair[i + 4];
  return (pair[0] + pair[2]) + (pair[1] + pair[3]);
}

void FinishStates(const StateView& states, int head_dim, float* out, int64_t out_stride) {
  for (int r = 0; r < states.n_row; ++r) {
    const float total = TotalWeight(states.sum + r * 16);
    const float scale = total > 0 ? 1.0f / total : 0.0f;
    const float* acc = states.acc + static_cast<int64_t>(r) * states.d_pad;
    // Adding zero turns -0, which hidden tokens may or may not have cleared, into +0.
    for (int c = 0; c < head_dim; ++c) out[r * out_stride + c] = acc[c] * scale + 0.0f;
  }
}

float LogSumExp(const StateView& states, int row) {
  if (states.exponent[row] == kEmpty) return kEmpty;
  return (states.exponent[row] + std::log2(TotalWeight(states.sum + row * 16))) * kLn2;
}

}  // namespace kvasir
