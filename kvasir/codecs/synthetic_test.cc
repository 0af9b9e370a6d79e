// A fixed synthetic head on which formats have known errors, so that a codec that is wrong by a few
// percent shows. Keys: 4 outlier channels with means of +-8 to 16, the others with means of
// standard deviation 0.5; all else normal and independent, then RoPE. Attention is peaked. Figures
// are means over 8 draws.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kvasir/codecs/codec_testing.h"
#include "kvasir/codecs/group_format.h"

namespace kvasir {
namespace {

constexpr int kTokens = 1024, kDim = 128, kQueries = 32, kDraws = 8;

struct Draw {
  explicit Draw(uint32_t seed, double value_spread = 0) : fixture(kTokens, kDim, seed) {
    std::mt19937 rng(seed + 1000);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> outlier(8, 16);
    std::vector<double> mean(kDim), sigma(kDim, 1.0);
    for (double& m : mean) m = normal(rng) * 0.5;
    for (int i = 0; i < 4; ++i) {
      const int c = static_cast<int>(rng() % 32) + 32 * i;
      mean[c] = outlier(rng) * (rng() & 1 ? 1 : -1);
      sigma[c] = 1.5;
    }
    std::vector<float> raw(fixture.k.size());
    for (size_t e = 0; e < raw.size(); ++e) {
      raw[e] = static_cast<float>(mean[e % kDim] + sigma[e % kDim] * normal(rng));
    }
    for (int t = 0; t < kTokens; ++t) {
      const double norm = std::exp(value_spread * normal(rng));
      for (int c = 0; c < kDim; ++c) {
        fixture.v[t * kDim + c] = static_cast<float>(norm * normal(rng));
      }
      Rotate(&raw[t * kDim], t, &fixture.k[t * kDim]);
    }
    for (int i = 0; i < kQueries; ++i) {
      const int t = static_cast<int>(rng() % kTokens);
      std::vector<float> query(kDim), roped(kDim);
      for (int c = 0; c < kDim; ++c) {
        query[c] = static_cast<float>(0.55 * (raw[t * kDim + c] - mean[c]) + 0.6 * normal(rng));
      }
      Rotate(query.data(), t, roped.data());
      queries.insert(queries.end(), roped.begin(), roped.end());
    }
  }

  void Rotate(const float* row, int32_t pos, float* out) const {
    std::vector<float> table(kDim);
    fixture.rope.FillTable({&pos, 1}, table.data());
    std::copy_n(row, kDim, out);
    fixture.rope.Apply(out, table.data());
  }

  // Logits in f32: their rounding is far below what is measured.
  std::vector<double> Logits(const std::vector<float>& k, int query) const {
    std::vector<double> x(kTokens);
    const float* q = &queries[query * kDim];
    for (int t = 0; t < kTokens; ++t) {
      float lanes[16] = {};
      for (int c = 0; c < kDim; ++c) lanes[c % 16] += q[c] * k[t * kDim + c];
      for (float lane : lanes) x[t] += lane / std::sqrt(kDim);
    }
    return x;
  }

  static std::vector<double> Output(std::vector<double> x, const std::vector<float>& v) {
    const double max = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (double& p : x) sum += p = std::exp(p - max);
    std::vector<double> out(kDim);
    for (int t = 0; t < kTokens; ++t) {
      if (x[t] < 1e-12 * sum) continue;
      for (int c = 0; c < kDim; ++c) out[c] += x[t] / sum * v[t * kDim + c];
    }
    return out;
  }

  CodecFixture fixture;
  std::vector<float> queries;  // (kQueries, kDim) roped
};

double L2(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return std::sqrt(sum);
}

struct Errors {
  double k = 0, logit = 0, out = 0;
};

// Of encoded keys, values exact.
Errors KeyErrors(const KvCodec& codec) {
  static const auto draws = [] {
    std::vector<std::unique_ptr<Draw>> made;
    for (uint32_t seed = 0; seed < kDraws; ++seed) made.push_back(std::make_unique<Draw>(seed));
    return made;
  }();
  Errors mean;
  for (const auto& made : draws) {
    Draw& draw = *made;
    const std::vector<float>& exact = draw.fixture.k;
    const std::vector<float> got =
        DecodePart(*draw.fixture.Encode(codec, KvSide::kKey), KvSide::kKey, kDim);
    mean.k += RelativeError(got, exact) / kDraws;
    double squares = 0;
    for (int i = 0; i < kQueries; ++i) {
      const std::vector<double> x = draw.Logits(exact, i), y = draw.Logits(got, i);
      double shift = 0;
      for (int t = 0; t < kTokens; ++t) shift += (y[t] - x[t]) / kTokens;
      for (int t = 0; t < kTokens; ++t) squares += std::pow(y[t] - x[t] - shift, 2);
      std::vector<double> a = Draw::Output(x, draw.fixture.v), b = Draw::Output(y, draw.fixture.v);
      for (int c = 0; c < kDim; ++c) b[c] -= a[c];
      mean.out += L2(b) / L2(a) / kQueries / kDraws;
    }
    mean.logit += std::sqrt(squares / kQueries / kTokens) / kDraws;
  }
  return mean;
}

std::shared_ptr<const KvCodec> MakeGroup(const GroupFormat& format) {
  const TailRule tail = {.block = format.block};
  auto codec =
      MakeGroupCodec({.name = "test", .k = format, .v = format, .k_tail = tail, .v_tail = tail});
  EXPECT_TRUE(codec.ok()) << codec.status().ToString();
  return *codec;
}

GroupFormat PerToken(int bits, int group) {
  return {.quantiser = Quantiser(GridRule::kMinMax, bits), .group = group};
}
GroupFormat PerChannel(int bits, int block, bool raw) {
  return {.quantiser = Quantiser(GridRule::kMinMax, bits),
          .grouping = Grouping::kPerChannel,
          .block = block,
          .raw = raw};
}
GroupFormat Rotated(int bits) {
  GroupFormat format = PerToken(bits, 0);
  format.hadamard = true;
  return format;
}

// 128 channels of k_raw, rotated, and the range of a token cut.
std::shared_ptr<const KvCodec> RotateKv(int bits, float clip) {
  return MustMakeCodec("group", {{"bits", std::to_string(bits)},
                                 {"g", "128"},
                                 {"", "had"},
                                 {"", "raw"},
                                 {"clip", std::to_string(clip)}});
}
std::shared_ptr<const KvCodec> Bfp(int group, const char* order) {
  return MustMakeCodec("bfp", {{"g", std::to_string(group)}, {"order", order}});
}

struct Reference {
  const char* what;
  std::shared_ptr<const KvCodec> codec;
  Errors expected;
};

TEST(Synthetic, KeyErrorsAreTheKnownOnes) {
  const Reference references[] = {
      {"per token 128, 2 bits", MakeGroup(PerToken(2, 128)), {1.12, 2.22, 3.83}},
      {"per token 128, 3 bits", MakeGroup(PerToken(3, 128)), {0.415, 0.856, 0.953}},
      {"per token 128, 4 bits", MakeGroup(PerToken(4, 128)), {0.193, 0.398, 0.297}},
      {"per token 32, 2 bits", MakeGroup(PerToken(2, 32)), {0.599, 1.23, 1.59}},
      {"per token 32, 3 bits", MakeGroup(PerToken(3, 32)), {0.237, 0.487, 0.368}},
      {"per token 32, 4 bits", MakeGroup(PerToken(4, 32)), {0.111, 0.227, 0.168}},
      {"kivi(2)", MustMakeCodec("kivi", {{"", "2"}}), {0.206, 0.441, 0.328}},
      {"kivi(3)", MustMakeCodec("kivi", {{"", "3"}}), {0.087, 0.187, 0.132}},
      {"kivi(4)", MustMakeCodec("kivi", {{"", "4"}}), {0.041, 0.087, 0.063}},
      {"raw by channel 32, 2 bits", MakeGroup(PerChannel(2, 32, true)), {0.159, 0.331, 0.248}},
      {"raw by channel 32, 3 bits", MakeGroup(PerChannel(3, 32, true)), {0.068, 0.141, 0.105}},
      {"raw by channel 32, 4 bits", MakeGroup(PerChannel(4, 32, true)), {0.032, 0.066, 0.047}},
      {"raw by channel 128, 2 bits", MakeGroup(PerChannel(2, 128, true)), {0.203, 0.421, 0.316}},
      {"raw by channel 128, 4 bits", MakeGroup(PerChannel(4, 128, true)), {0.040, 0.084, 0.060}},
      {"rotated, 2 bits", MustMakeCodec("int4h", {{"", "2"}}), {0.470, 0.969, 0.762}},
      {"rotated, 3 bits", MustMakeCodec("int4h", {{"", "3"}}), {0.201, 0.414, 0.320}},
      {"rotated, 4 bits", MustMakeCodec("int4h"), {0.094, 0.193, 0.148}},
      {"turbo(2)", MustMakeCodec("turbo", {{"", "2"}}), {0.328, 0.675, 0.541}},
      {"turbo(3)", MustMakeCodec("turbo", {{"", "3"}}), {0.177, 0.364, 0.301}},
      {"turbo(4)", MustMakeCodec("turbo", {{"", "4"}}), {0.093, 0.192, 0.145}},
      {"q8_0", MustMakeCodec("q8_0"), {0.0096, 0.020, 0.015}},
      {"q4_0", MustMakeCodec("q4_0"), {0.153, 0.315, 0.236}},
      {"fp8", MustMakeCodec("fp8"), {0.0255, 0.058, 0.048}},
      {"rotated raw, clipped, 2 bits", RotateKv(2, 0.8f), {0.368, 0.758, 0.563}},
      {"rotated raw, clipped, 3 bits", RotateKv(3, 0.8f), {0.172, 0.353, 0.271}},
      {"rotated raw, clipped, 4 bits", RotateKv(4, 0.8f), {0.105, 0.213, 0.180}},
      {"bfp 128", Bfp(128, "none"), {0.272, 0.563, 0.469}},
      {"bfp 128 sorted", Bfp(128, "energy"), {0.272, 0.563, 0.469}},
      {"bfp 64", Bfp(64, "none"), {0.248, 0.513, 0.410}},
      {"bfp 64 sorted", Bfp(64, "energy"), {0.202, 0.420, 0.316}},
      {"bfp 32", Bfp(32, "none"), {0.210, 0.435, 0.339}},
      {"bfp 32 sorted", Bfp(32, "energy"), {0.151, 0.318, 0.232}},
  };
  for (const Reference& reference : references) {
    SCOPED_TRACE(reference.what);
    const Errors got = KeyErrors(*reference.codec);
    EXPECT_NEAR(got.k / reference.expected.k, 1, 0.15);
    EXPECT_NEAR(got.logit / reference.expected.logit, 1, 0.15);
    EXPECT_NEAR(got.out / reference.expected.out, 1, 0.15);
  }
}

TEST(Synthetic, FormatsStandInTheirKnownOrder) {
  double last_channel = 0, last_raw = 0;
  for (int bits : {2, 3, 4}) {
    SCOPED_TRACE(bits);
    const double token = KeyErrors(*MakeGroup(PerToken(bits, 32))).k;
    const double channel = KeyErrors(*MakeGroup(PerChannel(bits, 32, false))).k;
    const double raw = KeyErrors(*MakeGroup(PerChannel(bits, 32, true))).k;
    const double naive = KeyErrors(*MakeGroup(PerToken(bits, 128))).k;
    const double rotated = KeyErrors(*MakeGroup(Rotated(bits))).k;
    EXPECT_GE(token, 2.5 * channel);
    EXPECT_GE(channel, 1.2 * raw);
    EXPECT_GE(naive, 1.9 * rotated);
    if (bits > 2) {
      EXPECT_GE(last_channel / channel, 1.8);
      EXPECT_LE(last_channel / channel, 2.7);
      EXPECT_GE(last_raw / raw, 1.8);
      EXPECT_LE(last_raw / raw, 2.7);
    }
    last_channel = channel;
    last_raw = raw;
  }
}

TEST(Synthetic, ClippingHelpsAtTwoBitsAndHurtsAtFour) {
  EXPECT_LT(1.1 * KeyErrors(*RotateKv(2, 0.8f)).k, KeyErrors(*RotateKv(2, 1)).k);
  EXPECT_GT(KeyErrors(*RotateKv(4, 0.8f)).k, 1.05 * KeyErrors(*RotateKv(4, 1)).k);
}

TEST(Synthetic, SortingHelpsWhereGroupsAreShorterThanTheHead) {
  for (const char* name : {"q4_0", "q8_0", "q5_0", "iq4_nl"}) {
    SCOPED_TRACE(name);
    const double plain = KeyErrors(*MustMakeCodec(name)).k;
    EXPECT_LT(1.2 * KeyErrors(*MustMakeCodec(name, {{"order", "energy"}})).k, plain);
  }
  // With a stored minimum like ranges count: much before RoPE, where means are constant, and little
  // after it, where every channel has both signs.
  const auto group = [](int bits, const char* order, const char* raw) {
    return KeyErrors(
               *MustMakeCodec(
                   "group",
                   {{"bits", std::to_string(bits)}, {"g", "32"}, {"raw", raw}, {"order", order}}))
        .k;
  };
  for (int bits : {2, 3, 4}) {
    SCOPED_TRACE(bits);
    EXPECT_LT(1.2 * group(bits, "range", "1"), group(bits, "none", "1"));
    EXPECT_LT(group(bits, "range", "0"), group(bits, "none", "0"));
    EXPECT_LT(group(bits, "energy", "1"), group(bits, "none", "1"));
    EXPECT_LT(group(bits, "range", "1"), group(bits, "energy", "1"));
  }
  // Nothing to gain where the group is the head.
  EXPECT_EQ(KeyErrors(*Bfp(128, "energy")).k, KeyErrors(*Bfp(128, "none")).k);
}

// Values of tokens with different norms are hurt by sharing a range with their neighbours in time.
TEST(Synthetic, ValueErrorsAreTheKnownOnes) {
  const auto output_error = [](const KvCodec& codec) {
    double mean = 0;
    for (uint32_t seed = 0; seed < kDraws; ++seed) {
      Draw draw(seed, 0.7);
      const std::vector<float> got =
          DecodePart(*draw.fixture.Encode(codec, KvSide::kValue), KvSide::kValue, kDim);
      for (int i = 0; i < kQueries; ++i) {
        const std::vector<double> x = draw.Logits(draw.fixture.k, i);
        std::vector<double> a = Draw::Output(x, draw.fixture.v), b = Draw::Output(x, got);
        for (int c = 0; c < kDim; ++c) b[c] -= a[c];
        mean += L2(b) / L2(a) / kQueries / kDraws;
      }
    }
    return mean;
  };
  EXPECT_NEAR(output_error(*MakeGroup(PerToken(2, 32))) / 0.394, 1, 0.15);
  EXPECT_NEAR(output_error(*MakeGroup(PerChannel(2, 32, false))) / 0.844, 1, 0.15);
}

}  // namespace
}  // namespace kvasir
