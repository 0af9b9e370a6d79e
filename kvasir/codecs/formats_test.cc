// What single formats promise beyond the conformance tests.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "kvasir/codecs/calibration.h"
#include "kvasir/codecs/codec_testing.h"
#include "kvasir/codecs/rope_table.h"
#include "kvasir/kernels/half.h"
#include "kvasir/kernels/matmul.h"
#include "kvasir/kernels/quants.h"

namespace kvasir {
namespace {

double Bits(std::string_view name, const CodecArgs& args, KvSide side, int head_dim = 128) {
  return MustMakeCodec(name, args)->bits_per_element(side, head_dim);
}

TEST(Formats, BitsAreThePublishedOnes) {
  for (KvSide side : {KvSide::kKey, KvSide::kValue}) {
    EXPECT_EQ(Bits("f32", {}, side), 32);
    EXPECT_EQ(Bits("f16", {}, side), 16);
    EXPECT_EQ(Bits("bf16", {}, side), 16);
    EXPECT_EQ(Bits("q8_0", {}, side), 8.5);
    EXPECT_EQ(Bits("q4_0", {}, side), 4.5);
    EXPECT_EQ(Bits("q4_1", {}, side), 5.0);
    EXPECT_EQ(Bits("q5_0", {}, side), 5.5);
    EXPECT_EQ(Bits("q5_1", {}, side), 6.0);
    EXPECT_EQ(Bits("iq4_nl", {}, side), 4.5);
    EXPECT_EQ(Bits("bfp", {}, side), 4.5);
    EXPECT_EQ(Bits("bfp", {{"bits", "8"}, {"g", "64"}}, side), 8.25);
    EXPECT_EQ(Bits("q4_0", {{"order", "energy"}}, side), 4.5);  // 256 bytes a head beside it
    EXPECT_EQ(MustMakeCodec("q4_0", {{"order", "energy"}})->head_bytes(side, 128), 256);
    EXPECT_EQ(Bits("fp8", {}, side), 8.0);
    EXPECT_EQ(Bits("kivi", {}, side), 3.0);
    EXPECT_EQ(Bits("kivi", {{"", "4"}}, side), 5.0);
    EXPECT_EQ(Bits("kivi", {{"", "2"}, {"g", "64"}}, side), 2.5);
    EXPECT_EQ(Bits("int4h", {}, side), 4.25);
    EXPECT_EQ(Bits("turbo", {{"", "4"}}, side), 4.25);  // 4.125, rounded up by the arena
    // 3 bits, 1% outliers of 32 bits, a range of 32 bits for 128 values, 8 table entries a block.
    EXPECT_NEAR(Bits("kvquant", {}, side), 3 + 0.32 + 0.25 + 0.01, 0.03);
    // 0.2 * 16 + 0.8 * (2 + 32/64) = 5.2, less a fraction of a token, plus scales and tiers.
    EXPECT_NEAR(Bits("mikv", {}, side), 5.2, 0.2);
  }
}

// ggml's own rounding and decoding of the same rows (kernels/quants.h), block by block.
TEST(Formats, GgmlNamesRoundAsGgml) {
  const std::pair<const char*, TensorType> formats[] = {
      {"q8_0", TensorType::kQ8_0}, {"q4_0", TensorType::kQ4_0}, {"q5_0", TensorType::kQ5_0}};
  for (const auto& [name, type] : formats) {
    CodecFixture f(64, 128, 7);
    std::vector<std::byte> row(RowBytes(type, 128));
    std::vector<float> expected(f.k.size());
    for (int t = 0; t < 64; ++t) {
      QuantizeRow(type, &f.k[t * 128], row.data(), 128);
      DequantizeRow(type, row.data(), &expected[t * 128], 128);
    }
    f.v = f.k;
    const auto codec = MustMakeCodec(name);
    for (KvSide side : {KvSide::kKey, KvSide::kValue}) {
      EXPECT_EQ(DecodePart(*f.Encode(*codec, side), side, 128), expected) << name;
    }
  }
}

// Written out from the format's description: the nearest of 16 values, counted in the extreme's
// share of -127, then the scale that minimises sum x^2 (x - s q)^2.
TEST(Formats, Iq4nlIsThatOfGgml) {
  constexpr int kValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                               1,    13,   25,  38,  53,  69,  89,  113};
  for (int head_dim : {32, 64, 80, 128}) {
    CodecFixture f(48, head_dim, 31);
    std::vector<float> expected(f.v.size());
    for (int t = 0; t < 48; ++t) {
      for (int c = 0; c < head_dim; c += 32) {
        const int n = std::min(32, head_dim - c);
        const float* x = &f.v[t * head_dim + c];
        float extreme = 0;
        for (int i = 0; i < n; ++i) extreme = std::fabs(x[i]) > std::fabs(extreme) ? x[i] : extreme;
        const float first = extreme / -127;
        std::vector<int> q(n);
        double product = 0, squares = 0;
        for (int i = 0; i < n; ++i) {
          q[i] = *std::ranges::min_element(
              kValues, {}, [&](int value) { return std::fabs(x[i] / first - float(value)); });
          product += std::pow(double{x[i]}, 3) * q[i];
          squares += std::pow(double{x[i]} * q[i], 2);
        }
        const float scale = HalfToFloat(FloatToHalf(static_cast<float>(product / squares)));
        for (int i = 0; i < n; ++i) {
          expected[t * head_dim + c + i] = scale * static_cast<float>(q[i]);
        }
      }
    }
    EXPECT_EQ(
        DecodePart(*f.Encode(*MustMakeCodec("iq4_nl"), KvSide::kValue), KvSide::kValue, head_dim),
        expected);
    const double of_nl = RelativeError(expected, f.v);
    const double of_q4 = RelativeError(
        DecodePart(*f.Encode(*MustMakeCodec("q4_0"), KvSide::kValue), KvSide::kValue, head_dim),
        f.v);
    EXPECT_LT(of_nl, of_q4);  // what the table is for
  }
}

// The largest value of a block keeps its sign and its exponent, and zeros stay zeros.
TEST(Formats, BlockFloatingPointKeepsTheExponent) {
  for (int bits : {4, 8}) {
    const auto codec = MustMakeCodec("bfp", {{"bits", std::to_string(bits)}});
    CodecFixture f(32, 96, 32);
    for (int c = 32; c < 64; ++c) f.k[5 * 96 + c] = 0;
    const std::vector<float> got = DecodePart(*f.Encode(*codec, KvSide::kKey), KvSide::kKey, 96);
    for (int first = 0; first < 32 * 96; first += 32) {
      float largest = 0, decoded = 0;
      for (int i = first; i < first + 32; ++i) {
        if (std::fabs(f.k[i]) > std::fabs(largest)) largest = f.k[i], decoded = got[i];
      }
      if (first == 5 * 96 + 32) {
        for (int i = first; i < first + 32; ++i) EXPECT_EQ(got[i], 0.0f);
        continue;
      }
      EXPECT_EQ(std::ilogb(decoded), std::ilogb(largest));
      EXPECT_EQ(std::signbit(decoded), std::signbit(largest));
      const double step = std::ldexp(1.0, std::ilogb(largest) + 2 - bits);
      for (int i = first; i < first + 32; ++i) EXPECT_LE(std::fabs(got[i] - f.k[i]), step);
    }
  }
}

TEST(Formats, DenseTypesRoundToTheNearest) {
  CodecFixture f(32, 80, 8);
  const std::vector<float> f32 =
      DecodePart(*f.Encode(*MustMakeCodec("f32"), KvSide::kKey), KvSide::kKey, 80);
  const std::vector<float> f16 =
      DecodePart(*f.Encode(*MustMakeCodec("f16"), KvSide::kKey), KvSide::kKey, 80);
  const std::vector<float> bf16 =
      DecodePart(*f.Encode(*MustMakeCodec("bf16"), KvSide::kKey), KvSide::kKey, 80);
  EXPECT_EQ(f32, f.k);
  for (size_t i = 0; i < f.k.size(); ++i) {
    EXPECT_EQ(f16[i], HalfToFloat(FloatToHalf(f.k[i])));
    EXPECT_EQ(bf16[i], Bf16ToFloat(FloatToBf16(f.k[i])));
  }
}

TEST(Formats, KiviSealsTheSameBytesHoweverTokensArrive) {
  const auto codec = MustMakeCodec("kivi");
  for (KvSide side : {KvSide::kKey, KvSide::kValue}) {
    CodecFixture f(256, 64, 9);
    const auto& rows = side == KvSide::kKey ? f.k : f.v;
    const std::vector<float> whole = DecodePart(*f.Encode(*codec, side), side, 64);
    for (int first : {0, 128}) {
      CodecInput input = f.Input(side, std::span(rows).subspan(first * 64, 128 * 64));
      input.pos = std::span(f.pos).subspan(first, 128);
      const auto part = codec->Encode(input);
      ASSERT_TRUE(part.ok());
      const std::vector<float> half = DecodePart(**part, side, 64);
      EXPECT_TRUE(std::equal(half.begin(), half.end(), whole.begin() + first * 64));
    }
  }
}

TEST(Formats, KiviTailsAreThePapers) {
  const auto codec = MustMakeCodec("kivi", {{"tail", "64"}});
  EXPECT_EQ(codec->tail(KvSide::kKey).block, 64);
  EXPECT_EQ(codec->tail(KvSide::kKey).keep, 0);
  EXPECT_EQ(codec->tail(KvSide::kValue).keep, 64);
  EXPECT_EQ(MakeCodec("kivi", {{"tail", "80"}}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(MakeCodec("kivi", {{"g", "24"}}).status().code(), StatusCode::kInvalidArgument);
}

TEST(Formats, KvquantKeepsOutliers) {
  CodecFixture f(128, 64, 10);
  std::mt19937 rng(10);
  std::vector<int> planted;
  for (int i = 0; i < 40; ++i) planted.push_back(static_cast<int>(rng() % f.v.size()));
  for (int e : planted) f.v[e] = f.k[e] = 50.0f + static_cast<float>(e % 7);
  for (KvSide side : {KvSide::kKey, KvSide::kValue}) {
    const auto error = [&](const char* percent, bool outlier) {
      const auto codec = MustMakeCodec("kvquant", {{"outliers", percent}});
      const std::vector<float> got = DecodePart(*f.Encode(*codec, side), side, 64);
      double worst = 0;
      for (size_t e = 0; e < got.size(); ++e) {
        if ((std::ranges::count(planted, static_cast<int>(e)) > 0) != outlier) continue;
        const float exact = side == KvSide::kKey ? f.k[e] : f.v[e];
        worst = std::max(worst, double{std::fabs(got[e] - exact)});
      }
      return worst;
    };
    // Keys turn with their partners, so the planted ones are exact before RoPE only.
    if (side == KvSide::kValue) {
      EXPECT_LE(error("1", true), 0.04);
    }
    EXPECT_LE(3 * error("1", false), error("0", false));
  }
}

TEST(Formats, KvquantNeedsTheAnglesOfKeys) {
  CodecFixture f(128, 64, 11);
  CodecInput input = f.Input(KvSide::kKey, f.k);
  input.rope = nullptr;
  EXPECT_EQ(MustMakeCodec("kvquant")->Encode(input).status().code(), StatusCode::kInvalidArgument);
}

TEST(Formats, KvquantUsesACalibration) {
  constexpr int kDim = 64;
  CodecFixture seen(512, kDim, 20), f(256, kDim, 21);
  std::vector<float> raw = seen.k;
  const auto table = *GetRopeTable(seen.rope, 511, seen.ledger);
  for (int t = 0; t < 512; ++t) table->Turn(&raw[t * kDim], -t);
  auto calibration = std::make_shared<KvCalibration>();
  KvCalibration::Layer layer;
  layer.heads = {CalibrateKeys(raw, kDim, 0.01)};
  layer.k_table = CalibrateKeyTable(raw, layer.heads[0], 3);
  calibration->layers = {layer};
  // Outliers beyond the known ranges are found and kept.
  for (int t = 0; t < 256; t += 64) f.k[t * kDim + 9] += 40;
  const auto fitted = MustMakeCodec("kvquant");
  const auto known = *MakeKvquantCodec("kvquant", 3, 0.01, 1, calibration);
  const auto error = [&](const KvCodec& codec) {
    return RelativeError(DecodePart(*f.Encode(codec, KvSide::kKey), KvSide::kKey, kDim), f.k);
  };
  EXPECT_LE(error(*known), 1.25 * error(*fitted));
  EXPECT_EQ(known->bits_per_element(KvSide::kKey, kDim),
            fitted->bits_per_element(KvSide::kKey, kDim));

  CodecInput input = f.Input(KvSide::kKey, f.k);
  input.kv_head = 1;
  EXPECT_NE(known->Encode(input).status().message().find("kv head 1"), std::string::npos);
  const auto other = *MakeKvquantCodec("kvquant", 2, 0.01, 1, calibration);
  EXPECT_NE(other->Encode(f.Input(KvSide::kKey, f.k)).status().message().find("4 codes"),
            std::string::npos);
}

TEST(Formats, MikvKeepsTheImportantTokens) {
  CodecFixture f(256, 64, 12);
  const auto codec = MustMakeCodec("mikv", {{"r", "0.25"}});
  std::vector<float> sorted = f.importance;
  std::ranges::sort(sorted, std::greater());
  for (KvSide side : {KvSide::kKey, KvSide::kValue}) {
    const auto& exact = side == KvSide::kKey ? f.k : f.v;
    const std::vector<float> got = DecodePart(*f.Encode(*codec, side), side, 64);
    int n_high = 0;
    for (int t = 0; t < 256; ++t) {
      const double error =
          RelativeError(std::span(got).subspan(t * 64, 64), std::span(exact).subspan(t * 64, 64));
      EXPECT_EQ(error < 2e-3, f.importance[t] >= sorted[63]) << "token " << t << ": " << error;
      n_high += error < 2e-3;
    }
    EXPECT_EQ(n_high, 64);
  }
  CodecInput input = f.Input(KvSide::kKey, f.k);
  input.importance = {};
  EXPECT_NE(codec->Encode(input).status().message().find("importance"), std::string::npos);
}

TEST(Formats, MikvChannelScalesTameOutlierChannels) {
  // Against plain groups of the same width and size.
  CodecFixture f(128, 128, 13);
  for (size_t e = 0; e < f.k.size(); ++e) f.k[e] *= e % 128 == 17 ? 40.0f : 1.0f;
  const auto error = [&](const KvCodec& codec) {
    const std::vector<float> got = DecodePart(*f.Encode(codec, KvSide::kKey), KvSide::kKey, 128);
    double sum = 0;
    for (size_t e = 0; e < got.size(); ++e) {
      if (e % 128 != 17) sum += std::pow(got[e] - f.k[e], 2);
    }
    return sum;
  };
  EXPECT_LT(2 * error(*MustMakeCodec("mikv", {{"r", "0"}})),
            error(*MustMakeCodec("group", {{"bits", "2"}, {"g", "64"}})));
}

TEST(Formats, RawKeysMayBeRotatedToo) {
  // The rotation is undone before RoPE is applied, so attention cannot leave it to the queries.
  CodecFixture f(32, 64, 14, 300);
  const auto codec = MustMakeCodec("group", {{"bits", "8"}, {"", "raw"}, {"", "had"}});
  const auto part = f.Encode(*codec, KvSide::kKey);
  EXPECT_EQ(part->rotation(), nullptr);
  EXPECT_LE(RelativeError(DecodePart(*part, KvSide::kKey, 64), f.k), 0.01);
}

TEST(RopeTable, TurnsAsRopeDoes) {
  for (RopePairing pairing : {RopePairing::kHalves, RopePairing::kAdjacent}) {
    RopeSpec spec;
    spec.pairing = pairing;
    spec.n_rot = 48;  // of 64 channels
    const Rope rope(spec, 4096);
    ByteLedger ledger;
    const auto table = *GetRopeTable(rope, 9000, ledger);
    EXPECT_EQ(*GetRopeTable(rope, 100, ledger), table);
    std::mt19937 rng(1);
    std::normal_distribution<float> normal;
    std::vector<int32_t> pos = {0, 1, 17, 255, 256, 257, 1000, 4095, 4096, 8191, 9000};
    std::vector<float> tile(64 * 16);
    std::vector<std::vector<float>> rows;
    for (size_t t = 0; t < pos.size(); ++t) {
      std::vector<float> row(64), turned, angles(48);
      for (float& x : row) x = normal(rng);
      turned = row;
      rope.FillTable({&pos[t], 1}, angles.data());
      rope.Apply(turned.data(), angles.data());
      for (int c = 0; c < 64; ++c) tile[c * 16 + t] = row[c];
      rows.push_back(turned);
      table->Turn(turned.data(), -pos[t]);
      for (int c = 0; c < 64; ++c) EXPECT_NEAR(turned[c], row[c], 2e-6) << pos[t];
    }
    table->TurnTile(tile.data(), pos);
    for (size_t t = 0; t < pos.size(); ++t) {
      for (int c = 0; c < 64; ++c) EXPECT_NEAR(tile[c * 16 + t], rows[t][c], 2e-6) << pos[t];
    }
  }
}

TEST(RopeTable, IsChargedWhileItIsHeldAndSharedByNobodyElse) {
  RopeSpec spec;
  spec.n_rot = 64;
  const Rope rope(spec, 4096);
  ByteLedger ledger, other, small(1000);
  {
    const auto table = *GetRopeTable(rope, 5000, ledger);
    EXPECT_EQ(ledger.held(), 2 * 32 * (256 + 8192 / 256) * 4);
    EXPECT_EQ(other.held(), 0);
    EXPECT_NE(*GetRopeTable(rope, 5000, other), table);
    EXPECT_EQ(GetRopeTable(rope, 5000, small).status().code(), StatusCode::kOutOfMemory);
  }
  EXPECT_EQ(ledger.held(), 0);
}

}  // namespace
}  // namespace kvasir
