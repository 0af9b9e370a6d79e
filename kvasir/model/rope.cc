#include "kvasir/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kvasir/kernels/elementwise.h"

namespace kvasir {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

// Channel (as a real number) whose wave turns `n_turn` times over the original context.
double YarnChannel(const RopeSpec& spec, double n_turn) {
  return spec.n_rot * std::log(spec.original_context / (n_turn * kTwoPi)) /
         (2 * std::log(spec.freq_base));
}

void ScaleYarn(const RopeSpec& spec, std::vector<double>& frequency) {
  const double low = std::max(0.0, std::floor(YarnChannel(spec, spec.beta_fast)));
  double high = std::min(spec.n_rot - 1.0, std::ceil(YarnChannel(spec, spec.beta_slow)));
  if (high <= low) high = low + 0.001;
  for (size_t i = 0; i < frequency.size(); ++i) {
    // 0 where the wave is short and kept, 1 where it is long and interpolated.
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequency[i] *= (1 - ramp) + ramp / spec.factor;
  }
}

void ScaleLlama3(const RopeSpec& spec, std::vector<double>& frequency) {
  for (double& f : frequency) {
    const double turns = spec.original_context * f / kTwoPi;
    const double keep = std::clamp(
        (turns - spec.low_freq_factor) / (spec.high_freq_factor - spec.low_freq_factor), 0.0, 1.0);
    f = keep * f + (1 - keep) * f / spec.factor;
  }
}

double Magnitude(const RopeSpec& spec) {
  if (spec.scaling == RopeScaling::kYarn) {
    if (spec.attn_factor > 0) return spec.attn_factor;
    return spec.factor > 1 ? 0.1 * std::log(spec.factor) + 1 : 1;
  }
  if (spec.scaling == RopeScaling::kLongRope) {
    if (spec.attn_factor > 0) return spec.attn_factor;
    return spec.factor > 1 ? std::sqrt(1 + std::log(spec.factor) / std::log(spec.original_context))
                           : 1;
  }
  return 1;
}

}  // namespace

Rope::Rope(const RopeSpec& spec, int32_t n_ctx)
    : pairing_(spec.pairing), magnitude_(static_cast<float>(Magnitude(spec))) {
  frequency_.resize(spec.n_rot / 2);
  for (size_t i = 0; i < frequency_.size(); ++i) {
    frequency_[i] = std::pow(spec.freq_base, -2.0 * static_cast<double>(i) / spec.n_rot);
    if (!spec.freq_divisors.empty()) frequency_[i] /= spec.freq_divisors[i];
  }
  switch (spec.scaling) {
    case RopeScaling::kNone: break;
    case RopeScaling::kLinear:
      for (double& f : frequency_) f /= spec.factor;
      break;
    case RopeScaling::kYarn: ScaleYarn(spec, frequency_); break;
    case RopeScaling::kLlama3: ScaleLlama3(spec, frequency_); break;
    case RopeScaling::kLongRope: {
      const std::vector<float>& factors =
          n_ctx > spec.original_context ? spec.long_factors : spec.short_factors;
      for (size_t i = 0; i < frequency_.size(); ++i) frequency_[i] /= factors[i];
      break;
    }
  }
}

void Rope::FillTable(std::span<const int32_t> pos, float* table) const {
  const size_t half = frequency_.size();
  for (size_t t = 0; t < pos.size(); ++t) {
    float* row = table + t * 2 * half;
    for (size_t i = 0; i < half; ++i) {
      const double angle = pos[t] * frequency_[i];
      row[i] = static_cast<float>(std::cos(angle)) * magnitude_;
      row[half + i] = static_cast<float>(std::sin(angle)) * magnitude_;
    }
  }
}

void Rope::Apply(float* head, const float* table_row) const {
  const int half = static_cast<int>(frequency_.size());
  if (pairing_ == RopePairing::kHalves) {
    ActiveElementwiseKernels().rope_halves(head, half, table_row);
    return;
  }
  for (int i = 0; i < half; ++i) {
    const float a = head[2 * i], b = head[2 * i + 1];
    const float c = table_row[i], s = table_row[half + i];
    head[2 * i] = a * c - b * s;
    head[2 * i + 1] = b * c + a * s;
  }
}

}  // namespace kvasir
