// MiKV, arXiv:2402.18096: no token is evicted, but only the most important keep many bits. Groups
// are half a head of one token. Each channel of the keys is first divided by the square root of its
// largest magnitude, as the paper's balancer does when nothing is known of the queries.
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "kvasir/codecs/group_format.h"
#include "kvasir/kernels/half.h"

namespace kvasir {

const CodecInfo& mikv_codec();

namespace {

constexpr int kBlock = 128;

// f16 rows, token after token.
class HalfRows final : public CodedPart {
 public:
  static Result<std::shared_ptr<const CodedPart>> Make(const CodecInput& input) {
    auto part = std::make_shared<HalfRows>();
    part->head_dim_ = input.head_dim;
    part->n_token_ = static_cast<int64_t>(input.pos.size());
    for (int64_t first = 0; first < part->n_token_; first += kTileTokens) {
      const int64_t n = std::min<int64_t>(kTileTokens, part->n_token_ - first) * input.head_dim;
      KVASIR_ASSIGN_OR_RETURN(ArenaBlock block, input.arena->Allocate(n * 2));
      ActiveAttendKernels().pack_f16(input.rows + first * input.head_dim,
                                     reinterpret_cast<uint16_t*>(block.data()), n);
      part->blocks_.push_back(std::move(block));
    }
    return std::shared_ptr<const CodedPart>(std::move(part));
  }

  int64_t n_token() const override { return n_token_; }
  int64_t bytes() const override {
    return static_cast<int64_t>(blocks_.size() - 1) * blocks_.front().bytes() +
           blocks_.back().bytes();
  }
  Status LoadTiles(int64_t first, int n, float* scratch, TileFormat* format,
                   const void** tiles) const override {
    *format = TileFormat::kF32;
    const int d_pad = PaddedDim(head_dim_);
    for (int64_t t = 0; t < int64_t{n} * kTileTokens; ++t) {
      float* row = scratch + t * d_pad;
      tiles[t / kTileTokens] = scratch + t / kTileTokens * kTileTokens * d_pad;
      std::fill_n(row, d_pad, 0.0f);
      const int64_t token = first * kTileTokens + t;
      if (token >= n_token_) continue;
      const auto* half = reinterpret_cast<const uint16_t*>(blocks_[token / kTileTokens].data());
      ActiveAttendKernels().unpack_f16(half + token % kTileTokens * head_dim_, row, head_dim_);
    }
    return Status::Ok();
  }

 private:
  int head_dim_ = 0;
  int64_t n_token_ = 0;
  std::vector<ArenaBlock> blocks_;
};

// Tokens in two parts, each in token order and laid out as values, and which token is where.
class TieredPart final : public CodedPart {
 public:
  TieredPart(const TileOrder& order, std::vector<bool> high, ArenaBlock table,
             std::shared_ptr<const CodedPart> high_part, std::shared_ptr<const CodedPart> low_part)
      : order_(order), n_token_(static_cast<int64_t>(high.size())), table_(std::move(table)) {
    parts_[0] = std::move(low_part);
    parts_[1] = std::move(high_part);
    for (size_t t = 0; t < high.size(); ++t) {
      if (high[t]) bits()[t / 64] |= uint64_t{1} << (t % 64);
    }
  }

  // Bytes of the tier bits and, for keys, the f16 scale of each channel.
  static int64_t TableBytes(const TileOrder& order, int64_t n_token) {
    return (n_token + 63) / 64 * 8 + (order.side == KvSide::kKey ? 2 * order.head_dim : 0);
  }
  uint16_t* scales() const { return reinterpret_cast<uint16_t*>(bits() + (n_token_ + 63) / 64); }

  int64_t n_token() const override { return n_token_; }
  int64_t bytes() const override {
    int64_t bytes = table_.bytes();
    for (const auto& part : parts_) bytes += part == nullptr ? 0 : part->bytes();
    return bytes;
  }

  Status LoadTiles(int64_t first, int n, float* scratch, TileFormat* format,
                   const void** tiles) const override {
    *format = TileFormat::kF32;
    std::fill_n(scratch, n * order_.floats(), 0.0f);
    for (int i = 0; i < n; ++i) tiles[i] = scratch + i * order_.floats();
    const int64_t begin = first * kTileTokens;
    const int64_t end = std::min(n_token_, begin + int64_t{n} * kTileTokens);
    for (bool high : {false, true}) KVASIR_RETURN_IF_ERROR(Scatter(high, begin, end, scratch));
    if (order_.side == KvSide::kKey) Unbalance(n, scratch);
    return Status::Ok();
  }

 private:
  uint64_t* bits() const { return reinterpret_cast<uint64_t*>(table_.data()); }
  bool IsHigh(int64_t token) const { return bits()[token / 64] >> (token % 64) & 1; }

  int64_t HighBefore(int64_t token) const {
    int64_t n = std::popcount(bits()[token / 64] & ((uint64_t{1} << (token % 64)) - 1));
    for (int64_t word = 0; word < token / 64; ++word) n += std::popcount(bits()[word]);
    return n;
  }

  // Copies the tokens of one tier among [begin, end) to their places.
  Status Scatter(bool high, int64_t begin, int64_t end, float* dst) const {
    const int64_t n_high = HighBefore(begin);
    int64_t rank = high ? n_high : begin - n_high;  // of the next token within its tier
    float tile[kTileTokens * kMaxHeadDim];
    int64_t loaded = -1;
    for (int64_t t = begin; t < end; ++t) {
      if (IsHigh(t) != high) continue;
      if (rank / kTileTokens != loaded) {
        loaded = rank / kTileTokens;
        TileFormat format;
        const void* at;
        KVASIR_RETURN_IF_ERROR(parts_[high]->LoadTiles(loaded, 1, tile, &format, &at));
      }
      const float* row = tile + rank % kTileTokens * PaddedDim(order_.head_dim);
      float* to = dst + (t - begin) / kTileTokens * order_.floats();
      for (int c = 0; c < order_.head_dim; ++c) to[order_.At(t % kTileTokens, c)] = row[c];
      ++rank;
    }
    return Status::Ok();
  }

  void Unbalance(int n_tile, float* tiles) const {
    for (int i = 0; i < n_tile; ++i) {
      float* row = tiles + i * order_.floats();
      for (int c = 0; c < order_.head_dim; ++c, row += kTileTokens) {
        const float scale = HalfToFloat(scales()[c]);
        for (int t = 0; t < kTileTokens; ++t) row[t] *= scale;
      }
    }
  }

  TileOrder order_;
  int64_t n_token_;
  ArenaBlock table_;
  std::shared_ptr<const CodedPart> parts_[2];  // low, high; null where empty
};

// c = sqrt(max |K|) of each channel, as f16 bits; 1 for channels of zeros.
std::vector<uint16_t> ChannelScales(std::span<const float> rows, int head_dim) {
  std::vector<uint16_t> scales;
  for (int c = 0; c < head_dim; ++c) {
    float max = 0;
    for (size_t e = c; e < rows.size(); e += head_dim) {
      max = std::max(max, std::fabs(rows[e]));
    }
    const uint16_t scale = FloatToHalf(std::sqrt(max));
    scales.push_back(HalfToFloat(scale) > 0 ? scale : FloatToHalf(1));
  }
  return scales;
}

class MikvCodec final : public KvCodec {
 public:
  MikvCodec(std::string name, int high_bits, int low_bits, double ratio)
      : name_(std::move(name)), high_bits_(high_bits), low_bits_(low_bits), ratio_(ratio) {}

  std::string name() const override { return name_; }
  TailRule tail(KvSide) const override { return {.block = kBlock}; }
  bool reads_importance() const override { return true; }
  bool can_gather(KvSide) const override { return false; }
  Status CheckShape(int head_dim) const override { return CheckHeadDim(name_, head_dim); }

  // Of one block. Longer runs round the count of important tokens down once, not block by block.
  double bits_per_element(KvSide side, int head_dim) const override {
    const int n_high = HighTokens(kBlock);
    const int64_t bytes = Held(TieredPart::TableBytes({side, head_dim}, kBlock)) +
                          TierBytes(high_bits_, n_high, head_dim) +
                          TierBytes(low_bits_, kBlock - n_high, head_dim);
    return BlockBitsPerElement(bytes, kBlock, head_dim);
  }

  Result<std::shared_ptr<const CodedPart>> Encode(const CodecInput& input) const override {
    KVASIR_RETURN_IF_ERROR(CheckInput(name(), input));
    if (input.importance.size() != input.pos.size()) {
      return Status::InvalidArgument(
          "mikv needs the importance of every token: give the recipe a score");
    }
    const TileOrder order = {input.side, input.head_dim};
    const auto n = static_cast<int64_t>(input.pos.size());
    std::vector<float> rows(input.rows, input.rows + n * input.head_dim);
    std::ranges::transform(rows, rows.begin(), FiniteHalfRange);
    std::vector<uint16_t> scales;
    if (input.side == KvSide::kKey) {
      scales = ChannelScales(rows, input.head_dim);
      for (size_t e = 0; e < rows.size(); ++e) rows[e] /= HalfToFloat(scales[e % input.head_dim]);
    }
    const std::vector<bool> high = PickHigh(input.importance);
    KVASIR_ASSIGN_OR_RETURN(auto low_part, EncodeTier(input, rows, high, false));
    KVASIR_ASSIGN_OR_RETURN(auto high_part, EncodeTier(input, rows, high, true));
    KVASIR_ASSIGN_OR_RETURN(ArenaBlock table,
                            input.arena->Allocate(TieredPart::TableBytes(order, n)));
    auto part = std::make_shared<TieredPart>(order, high, std::move(table), std::move(high_part),
                                             std::move(low_part));
    std::ranges::copy(scales, part->scales());
    return std::shared_ptr<const CodedPart>(std::move(part));
  }

 private:
  int HighTokens(int64_t n) const {
    return static_cast<int>(std::floor(ratio_ * static_cast<double>(n) + 1e-9));
  }

  // Half a head, in whole strips.
  GroupFormat Format(int bits, int head_dim) const {
    return {.quantiser = Quantiser(GridRule::kMinMax, bits),
            .group = PaddedDim((head_dim + 1) / 2)};
  }

  // What the arena holds for an allocation.
  static int64_t Held(int64_t bytes) { return (bytes + 63) / 64 * 64; }

  int64_t TierBytes(int bits, int n, int head_dim) const {
    const auto block_bytes = [&](int slots) {
      if (bits == 16) return Held(int64_t{2} * slots * head_dim);
      return Held(BlockLayout(Format(bits, head_dim), {KvSide::kValue, head_dim}, slots).bytes);
    };
    return n / kTileTokens * block_bytes(kTileTokens) +
           (n % kTileTokens == 0 ? 0 : block_bytes(n % kTileTokens));
  }

  // The most important tokens, newer before older where equal; what is not a number comes last.
  std::vector<bool> PickHigh(std::span<const float> importance) const {
    std::vector<std::pair<float, int>> order;
    for (float x : importance) {
      order.emplace_back(std::isnan(x) ? -std::numeric_limits<float>::infinity() : x,
                         static_cast<int>(order.size()));
    }
    std::ranges::sort(order, std::greater());
    std::vector<bool> high(importance.size());
    for (int i = 0; i < HighTokens(static_cast<int64_t>(order.size())); ++i) {
      high[order[i].second] = true;
    }
    return high;
  }

  Result<std::shared_ptr<const CodedPart>> EncodeTier(const CodecInput& input,
                                                      const std::vector<float>& rows,
                                                      const std::vector<bool>& high,
                                                      bool wanted) const {
    std::vector<float> tier_rows;
    std::vector<int32_t> tier_pos;
    for (size_t t = 0; t < high.size(); ++t) {
      if (high[t] != wanted) continue;
      const auto row = rows.begin() + static_cast<int64_t>(t) * input.head_dim;
      tier_rows.insert(tier_rows.end(), row, row + input.head_dim);
      tier_pos.push_back(input.pos[t]);
    }
    if (tier_pos.empty()) return std::shared_ptr<const CodedPart>();
    CodecInput tier = input;
    tier.side = KvSide::kValue;
    tier.rows = tier_rows.data();
    tier.pos = tier_pos;
    const int bits = wanted ? high_bits_ : low_bits_;
    if (bits == 16) return HalfRows::Make(tier);
    return EncodeGroups(Format(bits, input.head_dim), tier);
  }

  std::string name_;
  int high_bits_, low_bits_;
  double ratio_;
};

Result<std::shared_ptr<const KvCodec>> Make(CodecValues values) {
  const int high = static_cast<int>(values[0]), low = static_cast<int>(values[1]);
  if ((high > 8 && high != 16) || low > high) {
    return Status::InvalidArgument("mikv: hi must be 16 or at most 8, and lo at most hi");
  }
  return std::shared_ptr<const KvCodec>(
      std::make_shared<MikvCodec>(CodecName(mikv_codec(), values), high, low, values[2]));
}

}  // namespace

const CodecInfo& mikv_codec() {
  static constexpr CodecParam kParams[] = {
      {.name = "hi",
       .default_value = 16,
       .min = 1,
       .max = 16,
       .meaning = "bits of important tokens; 16 = f16"},
      {.name = "lo", .default_value = 2, .min = 1, .max = 8, .meaning = "bits of all others"},
      {.name = "r",
       .default_value = 0.2,
       .min = 0,
       .max = 1,
       .meaning = "share of important tokens"},
  };
  static const CodecInfo kInfo = {
      .name = "mikv",
      .summary = "important tokens keep many bits, the others few",
      .card = "arXiv:2402.18096",
      .params = kParams,
      .make = Make,
  };
  return kInfo;
}

}  // namespace kvasir
