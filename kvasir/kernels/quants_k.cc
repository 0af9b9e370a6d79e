// Super-blocks of 256. Rounding searches a few scales per group and keeps the one of least squared
// error, weighted towards large values, with the scale and offset that best fit the chosen codes.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "kvasir/kernels/half.h"
#include "kvasir/kernels/quants.h"

namespace kvasir {
namespace {

int RoundTo(float value, int low, int high) {
  if (!(value > static_cast<float>(low))) return low;  // also what is not a number
  return static_cast<int>(std::nearbyint(std::min(value, static_cast<float>(high))));
}

float Divide(float a, float b) { return b != 0.0f ? a / b : 0.0f; }

// value ~ scale * code - min, min >= 0.
struct RangeFit {
  float scale = 0.0f;
  float min = 0.0f;
};

// Least squares for scale and min with the codes that `inverse` gives; returns the weighted error.
float FitRange(const float* x, float low, float inverse, int top, RangeFit& fit) {
  float sw = 0, sq = 0, sqq = 0, sx = 0, sqx = 0;
  float codes[32], weights[32];
  for (int j = 0; j < 32; ++j) {
    const float q = static_cast<float>(RoundTo((x[j] - low) * inverse, 0, top));
    const float w = std::fabs(x[j]) + 1e-12f;
    codes[j] = q;
    weights[j] = w;
    sw += w;
    sq += w * q;
    sqq += w * q * q;
    sx += w * x[j];
    sqx += w * q * x[j];
  }
  fit.scale = Divide(sw * sqx - sq * sx, sw * sqq - sq * sq);
  fit.min = Divide(fit.scale * sq - sx, sw);
  if (fit.min < 0.0f) {
    fit.min = 0.0f;
    fit.scale = Divide(sqx, sqq);
  }
  float error = 0;
  for (int j = 0; j < 32; ++j) {
    const float difference = fit.scale * codes[j] - fit.min - x[j];
    error += weights[j] * difference * difference;
  }
  return error;
}

RangeFit BestRange(const float* x, int top) {
  const auto [low_at, high_at] = std::minmax_element(x, x + 32);
  const float low = std::min(*low_at, 0.0f);
  const float high = *high_at;
  if (!(high > low)) return {0.0f, -low};
  RangeFit best;
  float best_error = INFINITY;
  for (int step = -8; step <= 8; ++step) {
    const float inverse =
        (static_cast<float>(top) + 0.1f * static_cast<float>(step)) / (high - low);
    RangeFit fit;
    const float error = FitRange(x, low, inverse, top, fit);
    if (error < best_error && fit.scale > 0.0f) {
      best_error = error;
      best = fit;
    }
  }
  return best;
}

void PackScales(const SuperScales& s, uint8_t (&packed)[12]) {
  for (int i = 0; i < 4; ++i) {
    packed[i] = static_cast<uint8_t>(s.scale[i] | s.scale[4 + i] >> 4 << 6);
    packed[4 + i] = static_cast<uint8_t>(s.min[i] | s.min[4 + i] >> 4 << 6);
    packed[8 + i] = static_cast<uint8_t>((s.scale[4 + i] & 15) | (s.min[4 + i] & 15) << 4);
  }
}

// Fills d, dmin and scales, and gives the codes.
template <typename Block>
void EncodeScaledRange(const float* x, int top, Block& block, uint8_t* q) {
  RangeFit fits[8];
  float max_scale = 0.0f, max_min = 0.0f;
  for (int s = 0; s < 8; ++s) {
    fits[s] = BestRange(x + 32 * s, top);
    max_scale = std::max(max_scale, fits[s].scale);
    max_min = std::max(max_min, fits[s].min);
  }
  block.d = FloatToHalf(max_scale / 63.0f);
  block.dmin = FloatToHalf(max_min / 63.0f);
  const float d = HalfToFloat(block.d);
  const float dmin = HalfToFloat(block.dmin);
  SuperScales scales;
  for (int s = 0; s < 8; ++s) {
    scales.scale[s] = static_cast<uint8_t>(RoundTo(Divide(fits[s].scale, d), 0, 63));
    scales.min[s] = static_cast<uint8_t>(RoundTo(Divide(fits[s].min, dmin), 0, 63));
    const float scale = d * static_cast<float>(scales.scale[s]);
    const float min = dmin * static_cast<float>(scales.min[s]);
    for (int j = 32 * s; j < 32 * s + 32; ++j) {
      q[j] = static_cast<uint8_t>(RoundTo(Divide(x[j] + min, scale), 0, top));
    }
  }
  PackScales(scales, block.scales);
}

// Best scale for value ~ scale * code with codes in [-32, 31].
float BestSymmetric(const float* x) {
  float extreme = 0.0f;
  for (int j = 0; j < 16; ++j) {
    if (std::fabs(x[j]) > std::fabs(extreme)) extreme = x[j];
  }
  if (extreme == 0.0f) return 0.0f;
  float best = 0.0f, best_gain = 0.0f;
  for (int step = -9; step <= 9; ++step) {
    const float inverse = -(32.0f + 0.1f * static_cast<float>(step)) / extreme;
    float sqx = 0, sqq = 0;
    for (int j = 0; j < 16; ++j) {
      const float q = static_cast<float>(RoundTo(x[j] * inverse, -32, 31));
      const float w = x[j] * x[j];
      sqx += w * q * x[j];
      sqq += w * q * q;
    }
    const float gain = Divide(sqx * sqx, sqq);  // what the best scale takes off the error
    if (gain > best_gain) {
      best_gain = gain;
      best = sqx / sqq;
    }
  }
  return best;
}

template <typename Block>
void PackHalves(const uint8_t* q, Block& block) {
  for (int c = 0; c < 4; ++c) {
    for (int l = 0; l < 32; ++l) {
      const uint8_t low = q[64 * c + l], high = q[64 * c + 32 + l];
      block.qs[32 * c + l] = static_cast<uint8_t>((low & 15) | (high & 15) << 4);
    }
  }
}

template <typename Block>
void UnpackHalves(const Block& block, uint8_t* q) {
  for (int c = 0; c < 4; ++c) {
    for (int l = 0; l < 32; ++l) {
      q[64 * c + l] = block.qs[32 * c + l] & 15;
      q[64 * c + 32 + l] = block.qs[32 * c + l] >> 4;
    }
  }
}

}  // namespace

SuperScales UnpackScales(const uint8_t (&packed)[12]) {
  SuperScales s;
  for (int i = 0; i < 4; ++i) {
    s.scale[i] = packed[i] & 63;
    s.min[i] = packed[4 + i] & 63;
    s.scale[4 + i] = static_cast<uint8_t>((packed[8 + i] & 15) | packed[i] >> 6 << 4);
    s.min[4 + i] = static_cast<uint8_t>(packed[8 + i] >> 4 | packed[4 + i] >> 6 << 4);
  }
  return s;
}

void UnpackCodes(const BlockQ4_K& block, uint8_t* q) { UnpackHalves(block, q); }

void UnpackCodes(const BlockQ5_K& block, uint8_t* q) {
  UnpackHalves(block, q);
  for (int j = 0; j < 256; ++j) {
    q[j] |= static_cast<uint8_t>((block.qh[j % 32] >> (j / 32) & 1) << 4);
  }
}

void UnpackCodes(const BlockQ6_K& block, uint8_t* q) {
  for (int j = 0; j < 256; ++j) {
    const int half = j / 128, k = j / 32 % 4, l = j % 32;
    const int low = block.ql[64 * half + 32 * (k & 1) + l] >> (k < 2 ? 0 : 4) & 15;
    const int high = block.qh[32 * half + l] >> (2 * k) & 3;
    q[j] = static_cast<uint8_t>(low | high << 4);
  }
}

void EncodeBlock(const float* x, BlockQ4_K& block) {
  uint8_t q[256];
  EncodeScaledRange(x, 15, block, q);
  PackHalves(q, block);
}

void EncodeBlock(const float* x, BlockQ5_K& block) {
  uint8_t q[256];
  EncodeScaledRange(x, 31, block, q);
  PackHalves(q, block);
  std::fill(std::begin(block.qh), std::end(block.qh), uint8_t{0});
  for (int j = 0; j < 256; ++j) {
    block.qh[j % 32] |= static_cast<uint8_t>((q[j] >> 4 & 1) << (j / 32));
  }
}

void EncodeBlock(const float* x, BlockQ6_K& block) {
  float scales[16];
  float extreme = 0.0f;
  for (int s = 0; s < 16; ++s) {
    scales[s] = BestSymmetric(x + 16 * s);
    if (std::fabs(scales[s]) > std::fabs(extreme)) extreme = scales[s];
  }
  block.d = FloatToHalf(extreme / -128.0f);
  const float d = HalfToFloat(block.d);
  std::fill(std::begin(block.ql), std::end(block.ql), uint8_t{0});
  std::fill(std::begin(block.qh), std::end(block.qh), uint8_t{0});
  for (int s = 0; s < 16; ++s) {
    block.scales[s] = static_cast<int8_t>(RoundTo(Divide(scales[s], d), -128, 127));
    const float scale = d * static_cast<float>(block.scales[s]);
    for (int j = 16 * s; j < 16 * s + 16; ++j) {
      const int code = RoundTo(Divide(x[j], scale), -32, 31) + 32;
      const int half = j / 128, k = j / 32 % 4, l = j % 32;
      block.ql[64 * half + 32 * (k & 1) + l] |=
          static_cast<uint8_t>((code & 15) << (k < 2 ? 0 : 4));
      block.qh[32 * half + l] |= static_cast<uint8_t>((code >> 4) << (2 * k));
    }
  }
}

}  // namespace kvasir
