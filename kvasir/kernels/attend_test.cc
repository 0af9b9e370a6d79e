#include "kvasir/kernels/attend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace kvasir {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Case {
  int n_row, d, n_tile;
  bool half, hidden, bias;
  float softcap;
  int lane;
  float spread;  // of the logits
};

// All that one run of the kernels produces, for comparison to the bit.
struct Outcome {
  std::vector<float> x, p, weights, exponent, sum, acc;
};

class AttendCase {
 public:
  AttendCase(const Case& c, uint32_t seed) : c_(c), d_pad_(PaddedDim(c.d)), rng_(seed) {
    Fill(q_, static_cast<size_t>(c.n_row) * c.d, c.spread);
    Fill(k_, static_cast<size_t>(c.n_tile) * c.d * 16, 1);
    Fill(v_, static_cast<size_t>(c.n_tile) * d_pad_ * 16, 1);
    Fill(bias_, static_cast<size_t>(c.n_tile) * 16, 1);
    const AttendKernels& scalar = GetAttendKernels(Isa::kScalar);
    k16_.resize(k_.size());
    v16_.resize(v_.size());
    scalar.pack_f16(k_.data(), k16_.data(), static_cast<int64_t>(k_.size()));
    scalar.pack_f16(v_.data(), v16_.data(), static_cast<int64_t>(v_.size()));
    if (c.half) {
      scalar.unpack_f16(k16_.data(), k_.data(), static_cast<int64_t>(k_.size()));
      scalar.unpack_f16(v16_.data(), v_.data(), static_cast<int64_t>(v_.size()));
    }
    visible_.resize(static_cast<size_t>(c.n_row) * c.n_tile, 0xffff);
    if (c.hidden) {
      for (uint16_t& mask : visible_) mask = rng_() % 3 == 0 ? 0 : static_cast<uint16_t>(rng_());
    }
  }

  Outcome Run(Isa isa) const {
    const AttendKernels& kernels = GetAttendKernels(isa);
    std::vector<const void*> k_tiles, v_tiles;
    for (int i = 0; i < c_.n_tile; ++i) {
      k_tiles.push_back(c_.half
                            ? static_cast<const void*>(&k16_[static_cast<size_t>(i) * c_.d * 16])
                            : &k_[static_cast<size_t>(i) * c_.d * 16]);
      v_tiles.push_back(c_.half
                            ? static_cast<const void*>(&v16_[static_cast<size_t>(i) * d_pad_ * 16])
                            : &v_[static_cast<size_t>(i) * d_pad_ * 16]);
    }
    const int stride = c_.n_tile * 16;
    Outcome out;
    out.x.resize(static_cast<size_t>(c_.n_row) * stride);
    out.exponent.assign(c_.n_row, -kInf);
    out.sum.assign(static_cast<size_t>(c_.n_row) * 16, 0);
    out.acc.assign(static_cast<size_t>(c_.n_row) * d_pad_, 0);
    (c_.half ? kernels.logits_f16 : kernels.logits_f32)(
        q_.data(), c_.n_row, c_.d, k_tiles.data(), c_.n_tile, v_tiles.data(), out.x.data(), stride);
    out.p = out.weights = out.x;
    const float* bias = c_.bias ? bias_.data() : nullptr;
    for (int r = 0; r < c_.n_row; ++r) {
      const uint16_t* visible = c_.hidden ? &visible_[static_cast<size_t>(r) * c_.n_tile] : nullptr;
      float* x = &out.x[static_cast<size_t>(r) * stride];
      float* p = &out.p[static_cast<size_t>(r) * stride];
      float* weights = &out.weights[static_cast<size_t>(r) * stride];
      kernels.shape_row(x, c_.n_tile, bias, c_.softcap);
      std::copy_n(x, stride, p);
      std::copy_n(x, stride, weights);
      const float max = kernels.max_row(x, c_.n_tile, visible);
      if (max > -kInf) out.exponent[r] = std::ceil(max) - kExponentHeadroom;
      kernels.weigh_row(p, c_.n_tile, visible, c_.lane, out.exponent[r], &out.sum[r * 16]);
      kernels.normalise_row(weights, c_.n_tile, visible, out.exponent[r],
                            1.0f / (1 + Sum(&out.sum[r * 16])));
    }
    (c_.half ? kernels.values_f16 : kernels.values_f32)(
        out.p.data(), stride, c_.n_row, v_tiles.data(), c_.n_tile,
        c_.bias ? k_tiles.data() : nullptr, d_pad_, out.acc.data());
    return out;
  }

  // Largest error of acc / sum against f64 attention over the same inputs, over all channels.
  double ErrorAgainstF64(const Outcome& out) const {
    double worst = 0;
    const int n = c_.n_tile * 16;
    for (int r = 0; r < c_.n_row; ++r) {
      std::vector<double> logit(n, -kInf);
      double max = -kInf;
      for (int t = 0; t < n; ++t) {
        if (c_.hidden && !(visible_[r * c_.n_tile + t / 16] >> (t % 16) & 1)) continue;
        double dot = 0;
        for (int j = 0; j < c_.d; ++j) {
          dot += double{q_[r * c_.d + j]} * k_[(t / 16) * c_.d * 16 + j * 16 + t % 16];
        }
        if (c_.softcap > 0) dot = c_.softcap * std::tanh(dot / c_.softcap) * 1.4426950408889634;
        logit[t] = dot + (c_.bias ? bias_[t] : 0.0);
        max = std::max(max, logit[t]);
      }
      double sum = 0;
      std::vector<double> o(d_pad_, 0.0);
      for (int t = 0; t < n; ++t) {
        if (logit[t] == -kInf) continue;
        const double p = std::exp2(logit[t] - max);
        sum += p;
        for (int c = 0; c < d_pad_; ++c) o[c] += p * v_[t * d_pad_ + c];
      }
      for (int c = 0; c < d_pad_; ++c) {
        const double expected = sum > 0 ? o[c] / sum : 0;
        const float total = Sum(&out.sum[r * 16]);
        const double actual = total > 0 ? out.acc[r * d_pad_ + c] / total : 0;
        const double error = std::fabs(actual - expected);
        if (!(error <= worst)) worst = error;
      }
    }
    return worst;
  }

 private:
  static float Sum(const float* lanes) {
    float sum = 0;
    for (int i = 0; i < 16; ++i) sum += lanes[i];
    return sum;
  }
  void Fill(std::vector<float>& v, size_t n, float scale) {
    std::normal_distribution<float> normal(0, scale);
    v.resize(n);
    for (float& x : v) x = normal(rng_);
  }

  Case c_;
  int d_pad_;
  std::mt19937 rng_;
  std::vector<float> q_, k_, v_, bias_;
  std::vector<uint16_t> k16_, v16_, visible_;
};

template <typename T>
void ExpectSameBits(const std::vector<T>& a, const std::vector<T>& b, const char* what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(std::memcmp(&a[i], &b[i], sizeof(T)), 0)
        << what << "[" << i << "] " << a[i] << " against " << b[i];
  }
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  std::mt19937 rng(7);
  const int dims[] = {8, 16, 40, 64, 72, 80, 96, 128, 256};
  for (int i = 0; i < 120; ++i) {
    cases.push_back({.n_row = 1 + static_cast<int>(rng() % 17),
                     .d = dims[rng() % std::size(dims)],
                     .n_tile = 1 + static_cast<int>(rng() % 9),
                     .half = rng() % 2 == 0,
                     .hidden = rng() % 2 == 0,
                     .bias = rng() % 3 == 0,
                     .softcap = rng() % 4 == 0 ? 30.0f : 0.0f,
                     .lane = static_cast<int>(rng() % 2 * (rng() % 16)),
                     .spread = rng() % 5 == 0 ? 1e4f : 0.3f});
  }
  return cases;
}

TEST(AttendKernels, EveryIsaGivesTheBitsOfTheScalarOne) {
  uint32_t seed = 0;
  for (const Case& c : Cases()) {
    const AttendCase attend(c, ++seed);
    const Outcome expected = attend.Run(Isa::kScalar);
    for (Isa isa : RunnableIsas()) {
      SCOPED_TRACE(testing::Message() << IsaName(isa) << " seed " << seed << " rows " << c.n_row
                                      << " d " << c.d << " tiles " << c.n_tile);
      const Outcome actual = attend.Run(isa);
      ExpectSameBits(expected.x, actual.x, "logit");
      ExpectSameBits(expected.p, actual.p, "p");
      ExpectSameBits(expected.weights, actual.weights, "weight");
      ExpectSameBits(expected.exponent, actual.exponent, "exponent");
      ExpectSameBits(expected.sum, actual.sum, "sum");
      ExpectSameBits(expected.acc, actual.acc, "acc");
    }
  }
}

TEST(AttendKernels, AgreesWithF64Attention) {
  uint32_t seed = 0;
  for (const Case& c : Cases()) {
    const AttendCase attend(c, ++seed);
    // A chain of d products knows a logit of magnitude m to about m * 2^-23 * sqrt(d).
    const double logit = c.softcap > 0 ? c.softcap : 4.0 * c.spread * std::sqrt(c.d);
    const double bound = 2e-6 + logit * std::sqrt(c.d) * 4e-7;
    const double error = attend.ErrorAgainstF64(attend.Run(Isa::kScalar));
    EXPECT_TRUE(error <= bound) << error << " > " << bound << " at seed " << seed << " d " << c.d;
  }
}

TEST(AttendKernels, HalfConversionMatchesRoundToNearestEven) {
  std::mt19937 rng(3);
  std::vector<float> values = {0.0f, -0.0f, 1.0f, 65504.0f, 65520.0f, 1e6f, 6e-8f, 2.9e-8f, kInf};
  for (int i = 0; i < 1000; ++i) {
    values.push_back(
        std::ldexp(static_cast<float>(rng()) / 1e9f, static_cast<int>(rng() % 40) - 25));
  }
  std::vector<uint16_t> expected(values.size()), actual(values.size());
  std::vector<float> back(values.size()), back_expected(values.size());
  const int64_t n = static_cast<int64_t>(values.size());
  GetAttendKernels(Isa::kScalar).pack_f16(values.data(), expected.data(), n);
  GetAttendKernels(Isa::kScalar).unpack_f16(expected.data(), back_expected.data(), n);
  for (Isa isa : RunnableIsas()) {
    GetAttendKernels(isa).pack_f16(values.data(), actual.data(), n);
    GetAttendKernels(isa).unpack_f16(actual.data(), back.data(), n);
    ExpectSameBits(expected, actual, "half");
    ExpectSameBits(back_expected, back, "float");
  }
}

TEST(AttendKernels, AFullyHiddenRowStaysEmpty) {
  for (Isa isa : RunnableIsas()) {
    const AttendKernels& kernels = GetAttendKernels(isa);
    std::vector<float> x(32, 5.0f), sum(16, 0.0f);
    const uint16_t visible[2] = {0, 0};
    EXPECT_EQ(kernels.max_row(x.data(), 2, visible), -kInf);
    kernels.weigh_row(x.data(), 2, visible, 3, -kInf, sum.data());
    for (float p : x) EXPECT_EQ(p, 0.0f);
    for (float s : sum) EXPECT_EQ(s, 0.0f);
  }
}

TEST(AttendKernels, ScalingByPowersOfTwoMatchesTheScalarOne) {
  std::mt19937 rng(9);
  for (float shift : {-1.0f, -32.0f, -100.0f, -126.0f, -127.0f, -500.0f, -kInf}) {
    std::vector<float> values(64);
    for (float& v : values)
      v = std::ldexp(static_cast<float>(rng()), static_cast<int>(rng() % 150) - 140);
    std::vector<float> expected = values;
    GetAttendKernels(Isa::kScalar).scale(expected.data(), 64, shift);
    EXPECT_EQ(expected[5], shift < -126 ? 0.0f : std::ldexp(values[5], static_cast<int>(shift)));
    for (Isa isa : RunnableIsas()) {
      std::vector<float> actual = values;
      GetAttendKernels(isa).scale(actual.data(), 64, shift);
      ExpectSameBits(expected, actual, "scaled");
    }
  }
}

}  // namespace
}  // namespace kvasir
