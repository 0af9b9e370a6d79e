#include "kvasir/kernels/kv_unpack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace kvasir {
namespace {

struct Case {
  std::vector<uint8_t> codes;   // one byte each
  std::vector<uint8_t> packed;  // one byte too many in front: misaligned
  std::vector<float> scale, offset, table;

  Case(int bits, int n_row, uint32_t seed) : packed(1 + n_row * StripBytes(bits)), table(16) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal;
    for (int i = 0; i < n_row * kStripCodes; ++i) {
      codes.push_back(static_cast<uint8_t>(rng() & ((1u << bits) - 1)));
    }
    for (int r = 0; r < n_row; ++r) {
      uint8_t* strip = packed.data() + 1 + r * StripBytes(bits);
      PackStrip(&codes[r * kStripCodes], bits, strip);
      for (int i = 0; i < kStripCodes; ++i) {
        EXPECT_EQ(GetStripCode(strip, bits, i), codes[r * kStripCodes + i]);
      }
    }
    for (float& x : table) x = normal(rng);
    for (int i = 0; i < std::max(n_row, kStripCodes); ++i) {
      scale.push_back(normal(rng));
      offset.push_back(normal(rng));
    }
  }
};

void ExpectSameBits(const std::vector<float>& a, const std::vector<float>& b, Isa isa) {
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0) << IsaName(isa);
}

TEST(KvUnpack, EveryVariantFollowsTheFormula) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (int n_row : {1, 2, 3, 7, 16, 33}) {
      const Case c(bits, n_row, static_cast<uint32_t>(bits * 100 + n_row));
      for (CodeKind kind : {CodeKind::kInteger, CodeKind::kTable}) {
        if (kind == CodeKind::kTable && bits > 4) continue;
        constexpr int kStride = 19;
        std::vector<float> by_row(n_row * kStride, -7), by_lane = by_row;
        for (int i = 0; i < n_row * kStripCodes; ++i) {
          const int r = i / kStripCodes, lane = i % kStripCodes;
          const float value =
              kind == CodeKind::kTable ? c.table[c.codes[i]] : static_cast<float>(c.codes[i]);
          by_row[r * kStride + lane] = std::fma(value, c.scale[r], c.offset[r]);
          by_lane[r * kStride + lane] = std::fma(value, c.scale[lane], c.offset[lane]);
        }
        for (Isa isa : RunnableIsas()) {
          SCOPED_TRACE(testing::Message() << bits << " bits, " << n_row << " rows");
          std::vector<float> got(n_row * kStride, -7);
          const KvStrips strips = {kind,  bits,       c.table.data(), c.packed.data() + 1,
                                   n_row, got.data(), kStride};
          GetKvUnpackKernels(isa).by_row(strips, c.scale.data(), c.offset.data());
          ExpectSameBits(got, by_row, isa);
          GetKvUnpackKernels(isa).by_lane(strips, c.scale.data(), c.offset.data());
          ExpectSameBits(got, by_lane, isa);
        }
      }
    }
  }
}

TEST(KvUnpack, E4m3HasItsKnownValues) {
  const uint8_t codes[16] = {0x00, 0x01, 0x07, 0x08, 0x38, 0x39, 0x40, 0x7e,
                             0x81, 0x87, 0x88, 0xb8, 0xc0, 0xfe, 0x30, 0x77};
  const float values[16] = {0,        0x1p-9f,      7 * 0x1p-9f, 0x1p-6f, 1,  1.125f, 2,    448,
                            -0x1p-9f, -7 * 0x1p-9f, -0x1p-6f,    -1,      -2, -448,   0.5f, 240};
  const float scale[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, zero[16] = {};
  for (Isa isa : RunnableIsas()) {
    float got[16];
    const KvStrips strips = {CodeKind::kE4m3, 8, nullptr, codes, 1, got, 16};
    GetKvUnpackKernels(isa).by_lane(strips, scale, zero);
    for (int i = 0; i < 16; ++i) EXPECT_EQ(got[i], values[i]) << IsaName(isa) << " code " << i;
  }
}

TEST(KvUnpack, E4m3VariantsAgreeOnEveryCode) {
  std::vector<uint8_t> codes;
  for (int c = 0; c < 256; ++c) codes.push_back((c & 0x7f) == 0x7f ? 0 : static_cast<uint8_t>(c));
  std::vector<float> scale(16, 0.37f), offset(16, 0.0f), expected(256), got(256);
  const auto run = [&](Isa isa, std::vector<float>& out) {
    GetKvUnpackKernels(isa).by_row({CodeKind::kE4m3, 8, nullptr, codes.data(), 16, out.data(), 16},
                                   scale.data(), offset.data());
  };
  run(Isa::kScalar, expected);
  for (Isa isa : RunnableIsas()) {
    run(isa, got);
    ExpectSameBits(got, expected, isa);
  }
}

}  // namespace
}  // namespace kvasir
