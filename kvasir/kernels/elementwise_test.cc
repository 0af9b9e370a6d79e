#include "kvasir/kernels/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

namespace kvasir {
namespace {

constexpr int kLengths[] = {1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 577};

std::vector<float> Random(int n, uint32_t seed, float spread) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> v(n);
  for (float& x : v) x = normal(rng);
  return v;
}

// Runs f on copies of x with every ISA, expects equal bits, returns the scalar result.
template <typename F>
std::vector<float> SameEverywhere(const std::vector<float>& x, const F& f) {
  std::vector<float> expected = x;
  f(GetElementwiseKernels(Isa::kScalar), expected);
  for (Isa isa : RunnableIsas()) {
    std::vector<float> actual = x;
    f(GetElementwiseKernels(isa), actual);
    EXPECT_EQ(std::memcmp(actual.data(), expected.data(), x.size() * sizeof(float)), 0)
        << IsaName(isa) << " length " << x.size();
  }
  return expected;
}

template <typename F>
void ExpectNear(const std::vector<float>& got, const std::vector<float>& x, double tolerance,
                const F& formula) {
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = formula(double{x[i]}, i);
    EXPECT_TRUE(std::fabs(got[i] - expected) <= tolerance * (1 + std::fabs(expected)))
        << "x " << x[i] << ": " << got[i] << " against " << expected;
  }
}

TEST(Elementwise, GatesFollowTheirFormulas) {
  for (int n : kLengths) {
    for (float spread : {0.5f, 5.0f, 100.0f}) {
      const auto x = Random(n, n, spread), up = Random(n, n + 1, 1);
      const auto silu =
          SameEverywhere(x, [&](const auto& k, auto& v) { k.silu_mul(v.data(), up.data(), n); });
      ExpectNear(silu, x, 1e-6, [&](double g, size_t i) { return g / (1 + std::exp(-g)) * up[i]; });
      const auto gelu =
          SameEverywhere(x, [&](const auto& k, auto& v) { k.gelu_mul(v.data(), up.data(), n); });
      ExpectNear(gelu, x, 2e-6, [&](double g, size_t i) {
        return g / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g))) * up[i];
      });
      const auto capped =
          SameEverywhere(x, [&](const auto& k, auto& v) { k.softcap(v.data(), n, 30.0f); });
      ExpectNear(capped, x, 5e-6, [&](double v, size_t) { return 30 * std::tanh(v / 30); });
      const auto sum =
          SameEverywhere(x, [&](const auto& k, auto& v) { k.add(v.data(), up.data(), n); });
      ExpectNear(sum, x, 1e-6, [&](double v, size_t i) { return v + up[i]; });
    }
  }
}

TEST(Elementwise, RmsNormFollowsItsFormula) {
  for (int n : kLengths) {
    const auto x = Random(n, n, 3), weight = Random(n, n + 2, 1);
    double squares = 0;
    for (float v : x) squares += double{v} * v;
    const auto got = SameEverywhere(x, [&](const auto& k, auto& v) {
      k.rms_norm(x.data(), weight.data(), n, 1e-5f, v.data());
    });
    ExpectNear(got, x, 1e-6,
               [&](double v, size_t i) { return v / std::sqrt(squares / n + 1e-5) * weight[i]; });
  }
}

TEST(Elementwise, RopeRotatesHalves) {
  for (int half : {4, 8, 16, 20, 32, 64, 128}) {
    const auto x = Random(2 * half, half, 1);
    std::vector<float> cos_sin(2 * half);
    for (int i = 0; i < half; ++i) {
      cos_sin[i] = std::cos(0.1f * i);
      cos_sin[half + i] = std::sin(0.1f * i);
    }
    const auto got = SameEverywhere(
        x, [&](const auto& k, auto& v) { k.rope_halves(v.data(), half, cos_sin.data()); });
    for (int i = 0; i < half; ++i) {
      EXPECT_NEAR(got[i], x[i] * cos_sin[i] - x[i + half] * cos_sin[half + i], 1e-6);
      EXPECT_NEAR(got[i + half], x[i + half] * cos_sin[i] + x[i] * cos_sin[half + i], 1e-6);
    }
  }
}

}  // namespace
}  // namespace kvasir
