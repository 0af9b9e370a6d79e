#include "kvasir/codecs/codec_testing.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "kvasir/codecs/tile_order.h"
#include "kvasir/kernels/half.h"

namespace kvasir {
namespace {

RopeSpec PlainRope(int head_dim) {
  RopeSpec spec;
  spec.n_rot = head_dim / 2 * 2;
  return spec;
}

}  // namespace

CodecFixture::CodecFixture(int n_token, int head_dim, uint32_t seed, int first_pos)
    : n_token(n_token),
      head_dim(head_dim),
      pos(n_token),
      k(static_cast<size_t>(n_token) * head_dim),
      v(k.size()),
      importance(n_token),
      rope(PlainRope(head_dim), 4096),
      arena(ledger, ByteKind::kKv) {
  std::iota(pos.begin(), pos.end(), first_pos);
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < k.size(); ++i) {
    k[i] = normal(rng) + (i % head_dim % 23 == 5 ? 6.0f : 0.0f);
    v[i] = normal(rng);
  }
  for (float& x : importance) x = normal(rng);
}

CodecInput CodecFixture::Input(KvSide side, std::span<const float> rows) {
  CodecInput input;
  input.side = side;
  input.head_dim = head_dim;
  input.pos = std::span(pos).first(rows.size() / head_dim);
  input.rows = rows.data();
  input.rope = &rope;
  input.importance = std::span(importance).first(input.pos.size());
  input.arena = &arena;
  return input;
}

std::shared_ptr<const CodedPart> CodecFixture::Encode(const KvCodec& codec, KvSide side) {
  auto part = codec.Encode(Input(side, side == KvSide::kKey ? k : v));
  EXPECT_TRUE(part.ok()) << codec.name() << ": " << part.status().ToString();
  return *part;
}

std::shared_ptr<const KvCodec> MustMakeCodec(std::string_view name, const CodecArgs& args) {
  auto codec = MakeCodec(name, args);
  EXPECT_TRUE(codec.ok()) << codec.status().ToString();
  return *codec;
}

std::vector<std::shared_ptr<const KvCodec>> TestedCodecs() {
  std::vector<std::shared_ptr<const KvCodec>> codecs;
  for (const CodecEntry& entry : Codecs()) {
    codecs.push_back(MustMakeCodec(entry.info->name));
    for (const CodecParam& param : entry.info->params) {
      if (param.is_flag()) {
        codecs.push_back(MustMakeCodec(entry.info->name, {{"", std::string(param.name)}}));
      }
      if (!param.choices.empty()) {
        const size_t choice = 1 + entry.id % (param.choices.size() - 1);
        codecs.push_back(MustMakeCodec(
            entry.info->name, {{std::string(param.name), std::string(param.choices[choice])}}));
      }
      if (param.name != "bits") continue;
      for (int bits = static_cast<int>(param.min); bits <= param.max; ++bits) {
        codecs.push_back(MustMakeCodec(entry.info->name, {{"", std::to_string(bits)}}));
      }
    }
  }
  return codecs;
}

std::vector<float> DecodePart(const CodedPart& part, KvSide side, int head_dim) {
  const TileOrder order = {side, head_dim};
  std::vector<float> scratch(order.floats(), 123.0f), rows(part.n_token() * head_dim);
  for (int64_t first = 0; first < part.n_token(); first += kTileTokens) {
    TileFormat format;
    const void* tile;
    EXPECT_TRUE(part.LoadTiles(first / kTileTokens, 1, scratch.data(), &format, &tile).ok());
    std::vector<bool> used(order.floats());
    const auto value = [&](int64_t e) {
      return format == TileFormat::kF32 ? static_cast<const float*>(tile)[e]
                                        : HalfToFloat(static_cast<const uint16_t*>(tile)[e]);
    };
    for (int64_t t = first; t < std::min(first + kTileTokens, part.n_token()); ++t) {
      for (int c = 0; c < head_dim; ++c) {
        const int64_t e = order.At(t - first, c);
        rows[t * head_dim + c] = value(e);
        used[e] = true;
      }
    }
    for (int64_t e = 0; e < order.floats(); ++e) {
      EXPECT_TRUE(used[e] || value(e) == 0.0f) << "unused element " << e;
    }
  }
  return rows;
}

double RelativeError(std::span<const float> got, std::span<const float> expected) {
  double error = 0, total = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    error += std::pow(double{got[i]} - expected[i], 2);
    total += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(error / total);
}

}  // namespace kvasir
