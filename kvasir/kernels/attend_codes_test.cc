#include "kvasir/kernels/attend_codes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kvasir/kernels/half.h"

namespace kvasir {
namespace {

struct Case {
  int n_row, d, n_tile, bits, group;
  bool has_offset;
  bool is_positive;
};

struct Outcome {
  std::vector<float> unit, x, acc;
  std::vector<int32_t> n_sum;
};

class CodesCase {
 public:
  CodesCase(const Case& c, uint32_t seed) : c_(c), rng_(seed) {
    format_ = {.bits = c.bits,
               .group = c.group,
               .zero = c.has_offset ? 0 : 1 << (c.bits - 1),
               .has_offset = c.has_offset,
               .is_positive = c.is_positive};
    n_group_ = format_.n_group(c.d);
    FillCodes(k_codes_, k_strips_);
    FillCodes(v_codes_, v_strips_);
    for (auto* words : {&k_scale_, &v_scale_, &k_offset_, &v_offset_}) {
      words->resize(static_cast<size_t>(c.n_tile) * n_group_ * 16);
      for (uint16_t& word : *words) word = FloatToHalf(0.02f * normal_(rng_));
    }
    for (auto* scales : {&k_scale_, &v_scale_}) {
      for (uint16_t& word : *scales) word &= c.is_positive ? 0x7fff : 0xffff;
    }
    q_.resize(static_cast<size_t>(c.n_row) * c.d);
    p_.resize(static_cast<size_t>(c.n_row) * c.n_tile * 16);
    for (float& q : q_) q = normal_(rng_);
    for (float& p : p_) p = std::exp2(4 * normal_(rng_));
    if (c.n_row > 2) std::fill_n(q_.begin(), c.d, 0.0f);  // a row without a largest value
  }

  // Rows [first, first + n) and the tiles in calls of `step`.
  Outcome Run(Isa isa, int first, int n, int step) const {
    const AttendCodeKernels& kernels = GetAttendCodeKernels(isa);
    const auto k = Tiles(k_strips_, k_scale_, k_offset_), v = Tiles(v_strips_, v_scale_, v_offset_);
    const int stride = 16 * c_.n_tile;
    Outcome out;
    std::vector<std::byte> levels(2 * static_cast<size_t>(n) * c_.d);
    out.unit.resize(static_cast<size_t>(n) * n_group_);
    out.n_sum.resize(out.unit.size());
    out.x.resize(static_cast<size_t>(n) * stride);
    out.acc.assign(static_cast<size_t>(n) * c_.d, 0.5f);
    const RoundedQueries rounded = {levels.data(), out.unit.data(), out.n_sum.data()};
    kernels.round_queries(format_, &q_[static_cast<size_t>(first) * c_.d], n, c_.d, rounded);
    for (int i = 0; i < c_.n_tile; i += step) {
      const int n_tile = std::min(step, c_.n_tile - i);
      // What is asked for ahead changes nothing: none, fewer tiles, as many, more.
      const int shares[] = {0, 1, n_tile, kMaxFetch * n_tile, 2 * n_tile - 1};
      const int n_ahead = std::min(c_.n_tile, shares[(first + i) % 5]);
      kernels.logits(format_, rounded, n, c_.d, &k[i], n_tile, v.data(), n_ahead, &out.x[16 * i],
                     stride);
      kernels.values(format_, &p_[static_cast<size_t>(first) * stride + 16 * i], stride, n, c_.d,
                     &v[i], n_tile, k.data(), n_ahead, out.acc.data());
    }
    return out;
  }

  double KeyAt(int token, int j) const {
    const int grid = Grid(token, j);
    return KeyCode(token, j) * HalfToFloat(k_scale_[grid]) + Offset(k_offset_[grid]);
  }
  double ValueAt(int token, int c) const {
    return ValueCode(token, c) * ValueScale(token, c) + Offset(v_offset_[Grid(token, c)]);
  }
  double ValueCode(int token, int c) const {
    const int strip = token / 16 * c_.d + c / 16 * 16 + token % 16;
    return v_codes_[strip * 16 + c % 16] - format_.zero;
  }
  double ValueScale(int token, int c) const { return HalfToFloat(v_scale_[Grid(token, c)]); }
  float q(int r, int j) const { return q_[r * c_.d + j]; }
  float p(int r, int t) const { return p_[r * c_.n_tile * 16 + t]; }

 private:
  void FillCodes(std::vector<uint8_t>& codes, std::vector<uint8_t>& strips) {
    const int n_strip = c_.n_tile * c_.d;
    codes.resize(static_cast<size_t>(n_strip) * 16);
    strips.resize(static_cast<size_t>(n_strip) * StripBytes(c_.bits) + 1);  // misaligned
    for (uint8_t& code : codes) code = static_cast<uint8_t>(rng_() & ((1u << c_.bits) - 1));
    for (int s = 0; s < n_strip; ++s) {
      PackStrip(&codes[s * 16], c_.bits, &strips[1 + s * StripBytes(c_.bits)]);
    }
  }
  std::vector<CodeTile> Tiles(const std::vector<uint8_t>& strips,
                              const std::vector<uint16_t>& scale,
                              const std::vector<uint16_t>& offset) const {
    std::vector<CodeTile> tiles;
    for (int i = 0; i < c_.n_tile; ++i) {
      const int grid = i * n_group_ * 16;
      tiles.push_back({&strips[1 + i * c_.d * StripBytes(c_.bits)], &scale[grid], &offset[grid]});
    }
    return tiles;
  }
  double KeyCode(int token, int j) const {
    return k_codes_[(token / 16 * c_.d + j) * 16 + token % 16] - format_.zero;
  }
  int Grid(int token, int channel) const {
    return (token / 16 * n_group_ + channel / c_.group) * 16 + token % 16;
  }
  double Offset(uint16_t half) const { return c_.has_offset ? HalfToFloat(half) : 0.0; }

  Case c_;
  CodeFormat format_;
  int n_group_ = 0;
  std::mt19937 rng_;
  std::normal_distribution<float> normal_;
  std::vector<uint8_t> k_codes_, v_codes_, k_strips_, v_strips_;
  std::vector<uint16_t> k_scale_, v_scale_, k_offset_, v_offset_;
  std::vector<float> q_, p_;
};

template <typename T>
void ExpectSameBits(const std::vector<T>& got, const std::vector<T>& expected, const char* what) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(std::memcmp(&got[i], &expected[i], sizeof(T)), 0)
        << what << "[" << i << "]: expected " << +expected[i] << ", got " << +got[i];
  }
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  int turn = 0;
  for (int bits : {4, 8}) {
    for (int d : {16, 32, 48, 64, 80, 128, 256}) {
      for (int group : {16, 32, 64, 256}) {
        for (int n_row : {1, 2, 3, 4, 5, 6, 7, 13}) {
          cases.push_back({n_row, d, 1 + turn % 9, bits, group, turn % 2 == 0, turn / 2 % 2 == 0});
          ++turn;
        }
      }
    }
  }
  return cases;
}

std::string Where(const Case& c, Isa isa) {
  return std::string(IsaName(isa)) + " rows " + std::to_string(c.n_row) + " d " +
         std::to_string(c.d) + " tiles " + std::to_string(c.n_tile) + " bits " +
         std::to_string(c.bits) + " group " + std::to_string(c.group) +
         (c.has_offset ? " offsets" : "") + (c.is_positive ? " positive" : "");
}

TEST(AttendCodes, EveryIsaGivesTheBitsOfTheScalarOne) {
  uint32_t seed = 1;
  for (const Case& c : Cases()) {
    const CodesCase data(c, seed++);
    const Outcome expected = data.Run(Isa::kScalar, 0, c.n_row, c.n_tile);
    for (Isa isa : RunnableIsas()) {
      SCOPED_TRACE(Where(c, isa));
      const Outcome got = data.Run(isa, 0, c.n_row, c.n_tile);
      ExpectSameBits(got.unit, expected.unit, "unit");
      ExpectSameBits(got.n_sum, expected.n_sum, "n_sum");
      ExpectSameBits(got.x, expected.x, "x");
      ExpectSameBits(got.acc, expected.acc, "acc");
    }
  }
}

TEST(AttendCodes, NeighbouringRowsAndTheCutIntoCallsChangeNoBit) {
  const Case c = {7, 80, 6, 4, 32, true, true};
  for (int bits : {4, 8}) {
    for (Isa isa : RunnableIsas()) {
      Case widths = c;
      widths.bits = bits;
      SCOPED_TRACE(Where(widths, isa));
      const CodesCase data(widths, 7);
      const Outcome whole = data.Run(isa, 0, c.n_row, c.n_tile);
      for (int r = 0; r < c.n_row; ++r) {
        const Outcome one = data.Run(isa, r, 1, 1 + r % 3);
        const auto row = [&](const std::vector<float>& rows, int n) {
          return std::vector<float>(rows.begin() + r * n, rows.begin() + (r + 1) * n);
        };
        ExpectSameBits(one.x, row(whole.x, 16 * c.n_tile), "x");
        ExpectSameBits(one.acc, row(whole.acc, c.d), "acc");
      }
    }
  }
}

// Beside the rounding of queries and weights, 2^-15 and 2^-16 of the largest of a group, there is
// only that of f32.
TEST(AttendCodes, LogitsAndValuesAreCloseToF64) {
  const std::vector<Case> cases = Cases();
  for (size_t at = 0; at < cases.size(); at += 11) {
    const Case& c = cases[at];
    const CodesCase data(c, static_cast<uint32_t>(1000 + at));
    for (Isa isa : RunnableIsas()) {
      SCOPED_TRACE(Where(c, isa));
      const Outcome got = data.Run(isa, 0, c.n_row, c.n_tile);
      const int n = 16 * c.n_tile;
      for (int r = 0; r < c.n_row; ++r) {
        for (int t = 0; t < n; ++t) {
          double dot = 0, bound = 0;
          for (int j = 0; j < c.d; ++j) {
            const int begin = j / c.group * c.group, end = std::min(c.d, begin + c.group);
            double largest = 0;
            for (int i = begin; i < end; ++i) largest = std::fmax(largest, std::fabs(data.q(r, i)));
            dot += data.q(r, j) * data.KeyAt(t, j);
            bound += largest * std::fabs(data.KeyAt(t, j)) * 0x1p-14;
          }
          ASSERT_LE(std::fabs(got.x[r * n + t] - dot), bound + 1e-4) << "row " << r << " t " << t;
        }
        for (int ch = 0; ch < c.d; ++ch) {
          double sum = 0.5, size = 0.5, rounding = 0;
          for (int i = 0; i < c.n_tile; ++i) {
            double largest = 0, codes = 0;
            for (int t = 16 * i; t < 16 * i + 16; ++t) {
              sum += data.p(r, t) * data.ValueAt(t, ch);
              size += data.p(r, t) * (std::fabs(data.ValueAt(t, ch)) + 0.1);
              largest = std::fmax(largest, std::fabs(data.p(r, t) * data.ValueScale(t, ch)));
              codes += std::fabs(data.ValueCode(t, ch) - (c.has_offset ? 1 << (c.bits - 1) : 0));
            }
            rounding += largest * codes / (2 * kWeightLevels);
          }
          ASSERT_LE(std::fabs(got.acc[r * c.d + ch] - sum), rounding + size * 0x1p-18 * c.n_tile)
              << "row " << r << " channel " << ch;
        }
      }
    }
  }
}

TEST(AttendCodes, QueriesThatAreNotFiniteGiveNoNumber) {
  for (float strange :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    for (Isa isa : RunnableIsas()) {
      std::vector<float> q(32, 1.0f);
      q[17] = strange;
      std::vector<std::byte> levels(64, std::byte{5});
      float unit = 0;
      int32_t sum = 1;
      GetAttendCodeKernels(isa).round_queries({}, q.data(), 1, 32, {levels.data(), &unit, &sum});
      EXPECT_TRUE(std::isnan(unit)) << IsaName(isa) << " " << strange;
      EXPECT_EQ(sum, 0);
      for (std::byte level : levels) EXPECT_EQ(level, std::byte{0});
    }
  }
}

}  // namespace
}  // namespace kvasir
