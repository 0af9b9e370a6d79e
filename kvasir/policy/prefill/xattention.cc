// XAttention: the mass of a block of keys is estimated from sums along anti-diagonals of Q K^T.
//
// With stride S, the logits of S queries and S keys that follow each other are estimated by the
// mean along their anti-diagonal, (q_0 k_{S-1} + ... + q_{S-1} k_0) / S, which touches every query
// and every key once. A softmax over these means, causal by groups of S, gives every group of
// queries a mass for every group of keys; summed over the queries of a block and the keys of a
// block of 128, it says what to read.
//
// The paper forces the first block and the queries' own. Here the block in front is read as well
// (local=0 leaves it to its mass): the first queries of a block look at the tokens just before
// them, which is little of the mass of 128 queries, and go far astray without.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kvasir/cache/key_tiles.h"
#include "kvasir/kernels/tile_dot.h"
#include "kvasir/policy/prefill_rule.h"

namespace kvasir {
namespace {

constexpr int kHalves = 2 * TileRun::kMaxTiles;  // sums of one call and row

// Working memory. A row is a group of queries of a head, a column a group of keys that hold a
// token.
struct Work {
  int n_row = 0;
  int64_t n_column = 0;         // so far
  int64_t stride = 0;           // of x, whole vectors
  std::span<float> rows;        // (n_row, head_dim, 16) groups as tiles, newest token first
  std::span<float> partial;     // (head_dim, 16)
  std::span<float> halves;      // (n_row, kHalves)
  std::span<float> x;           // (n_row, stride)
  std::span<float> bias;        // (stride) mean of a column's
  std::span<int32_t> first;     // (stride + 1) index in the list of a column's first token
  std::span<uint16_t> visible;  // (stride / 16)
  std::span<double> mass;       // (n_unit + 1) of a head; the last is that of the block itself
  std::span<int32_t> order;     // (n_unit)
};

class XAttention final : public PrefillRule {
 public:
  explicit XAttention(const PartArgs& args)
      : tau_(args.Real("tau")),
        most_(args.AmountOf("most")),
        stride_(static_cast<int>(args.Int("stride"))),
        n_local_((args.Int("local") + kPrefillBlock - 1) / kPrefillBlock) {}

  int unit_tokens() const override { return kPrefillBlock; }
  int64_t RoomBytes(const PrefillSize& size) const override {
    PrefillRoom room;
    Lay(size, kPrefillBlock / stride_, &room);
    return room.bytes();
  }
  Status Choose(const PrefillQueries& queries, const SegmentList& list, AttendScratch& scratch,
                PrefillRoom room, std::span<uint8_t> chosen) const override;

 private:
  Work Lay(const PrefillSize& size, int n_group, PrefillRoom* room) const;
  void FillRows(const PrefillQueries& queries, int first_group, int n_group, Work* work) const;
  Status Score(const PrefillQueries& queries, const SegmentList& list, AttendScratch& scratch,
               Work* work) const;
  void AddColumns(const KeyTiles& tiles, Work* work) const;
  // Adds the masses that one row gives to the units.
  void AddMass(const PrefillQueries& queries, int64_t newest, float* x, Work& work) const;
  void Pick(Work& work, std::span<uint8_t> chosen) const;

  double tau_;
  Amount most_;
  int stride_;
  int64_t n_local_;  // blocks
};

Work XAttention::Lay(const PrefillSize& size, int n_group, PrefillRoom* room) const {
  Work work;
  work.n_row = size.n_head * n_group;
  work.stride = (size.n_tile * (kTileTokens / stride_) + 15) / 16 * 16;
  const int64_t tile = int64_t{size.head_dim} * kTileTokens, n_unit = size.n_kv / kPrefillBlock;
  work.rows = room->Take<float>(work.n_row * tile);
  work.partial = room->Take<float>(tile);
  work.halves = room->Take<float>(int64_t{work.n_row} * kHalves);
  work.x = room->Take<float>(work.n_row * work.stride);
  work.bias = room->Take<float>(work.stride);
  work.first = room->Take<int32_t>(work.stride + 1);
  work.visible = room->Take<uint16_t>(work.stride / 16);
  work.mass = room->Take<double>(n_unit + 1);
  work.order = room->Take<int32_t>(n_unit);
  return work;
}

// A group that is not full repeats its tokens, so that every key still meets a query.
void XAttention::FillRows(const PrefillQueries& queries, int first_group, int n_group,
                          Work* work) const {
  const float scale = queries.RowScale() / static_cast<float>(stride_);
  float* out = work->rows.data();
  for (int head = 0; head < queries.n_head; ++head) {
    for (int g = 0; g < n_group; ++g) {
      const int begin = std::max(0, (first_group + g) * stride_ - queries.pos);
      const int end = std::min(queries.n_token, (first_group + g + 1) * stride_ - queries.pos);
      for (int t = 0; t < kTileTokens; ++t) {
        const int back = t % stride_ % (end - begin);
        const float* q = queries.Row(end - 1 - back, head);
        for (int j = 0; j < queries.head_dim; ++j) out[j * kTileTokens + t] = q[j] * scale;
      }
      out += int64_t{queries.head_dim} * kTileTokens;
    }
  }
}

void XAttention::AddColumns(const KeyTiles& tiles, Work* work) const {
  const int per_tile = kTileTokens / stride_;
  for (int i = 0; i < tiles.n_tile; ++i) {
    for (int half = 0; half < per_tile; ++half) {
      const int begin = i * kTileTokens + half * stride_;
      const int end = std::min(begin + stride_, tiles.n_token);
      if (begin >= end) continue;
      const int64_t column = work->n_column++;
      work->first[column] = static_cast<int32_t>(tiles.first + begin);
      work->first[column + 1] = static_cast<int32_t>(tiles.first + end);
      float bias = 0;
      for (int t = begin; tiles.bias != nullptr && t < end; ++t) bias += tiles.bias[t];
      work->bias[column] = bias / static_cast<float>(end - begin);
      for (int r = 0; r < work->n_row; ++r) {
        const float* sums = &work->halves[static_cast<size_t>(r) * kHalves + 2 * i];
        work->x[r * work->stride + column] = per_tile == 1 ? sums[0] + sums[1] : sums[half];
      }
    }
  }
}

Status XAttention::Score(const PrefillQueries& queries, const SegmentList& list,
                         AttendScratch& scratch, Work* work) const {
  const TileDotKernels& kernels = ActiveTileDotKernels();
  return ForKeyTiles(list, queries.end(), scratch, work->partial, [&](const KeyTiles& tiles) {
    const auto dot = tiles.format == TileFormat::kF16 ? kernels.dot_f16 : kernels.dot_f32;
    dot(work->rows.data(), work->n_row, queries.head_dim, tiles.tiles, tiles.n_tile,
        work->halves.data(), kHalves);
    AddColumns(tiles, work);
    return Status::Ok();
  });
}

void XAttention::AddMass(const PrefillQueries& queries, int64_t newest, float* x,
                         Work& work) const {
  const AttendKernels& kernels = ActiveAttendKernels();
  const auto columns = work.first.first(static_cast<size_t>(work.n_column));
  const auto n = std::upper_bound(columns.begin(), columns.end(), newest) - columns.begin();
  const int n_vector = static_cast<int>((n + 15) / 16);
  if (!AllFinite({x, static_cast<size_t>(n)})) {
    work.mass[0] = std::numeric_limits<double>::quiet_NaN();
    return;
  }
  std::fill(x + n, x + n_vector * 16, 0.0f);
  std::fill_n(work.visible.begin(), n_vector, uint16_t{0xffff});
  if (n % 16 != 0) work.visible[n_vector - 1] = static_cast<uint16_t>((1u << n % 16) - 1);
  kernels.shape_row(x, n_vector, work.bias.data(), queries.softcap);
  const float exponent = std::ceil(kernels.max_row(x, n_vector, work.visible.data()));
  float lanes[16] = {};
  kernels.weigh_row(x, n_vector, work.visible.data(), 0, exponent, lanes);
  const double scale = 1.0 / TotalWeight(lanes);
  // Groups that lie across two units, behind segments that end within a tile, belong to both.
  for (int64_t c = 0; c < n; ++c) {
    const double mass = x[c] * scale;
    const int32_t begin = work.first[c], end = work.first[c + 1];
    const auto unit = std::min<int64_t>(begin, queries.n_before) / kPrefillBlock;
    const auto last = std::min<int64_t>(end - 1, queries.n_before) / kPrefillBlock;
    if (unit == last) {
      work.mass[unit] += mass;
    } else {
      const double share = static_cast<double>(last * kPrefillBlock - begin) / (end - begin);
      work.mass[unit] += mass * share;
      work.mass[last] += mass * (1 - share);
    }
  }
}

void XAttention::Pick(Work& work, std::span<uint8_t> chosen) const {
  const auto n_unit = static_cast<int64_t>(chosen.size());
  const int64_t n_most = most_.Of(n_unit * kPrefillBlock) / kPrefillBlock;
  double total = 0;
  for (int64_t u = 0; u <= n_unit; ++u) total += work.mass[u];
  const bool whole = n_most >= n_unit && tau_ >= 1;
  if (whole || !std::isfinite(total)) {  // what is no number is read, and shows
    std::fill(chosen.begin(), chosen.end(), uint8_t{1});
    return;
  }
  // Forced are the first unit and those in front.
  const int64_t local = std::max<int64_t>(1, n_unit - n_local_);
  double covered = work.mass[n_unit];
  const auto read = [&](int64_t unit) {
    covered += work.mass[unit];
    chosen[unit] = 1;
  };
  read(0);
  for (int64_t u = local; u < n_unit; ++u) read(u);
  const auto others = work.order.first(static_cast<size_t>(local - 1));
  for (size_t i = 0; i < others.size(); ++i) others[i] = static_cast<int32_t>(i) + 1;
  std::sort(others.begin(), others.end(), [&](int32_t a, int32_t b) {
    return work.mass[a] > work.mass[b] || (work.mass[a] == work.mass[b] && a > b);
  });
  int64_t n_read = 1 + n_unit - local;
  for (const int32_t unit : others) {
    if (n_read >= n_most || (tau_ < 1 && covered >= tau_ * total)) return;
    read(unit);
    ++n_read;
  }
}

Status XAttention::Choose(const PrefillQueries& queries, const SegmentList& list,
                          AttendScratch& scratch, PrefillRoom room,
                          std::span<uint8_t> chosen) const {
  const int first_group = queries.pos / stride_;
  const int n_group = (queries.pos + queries.n_token - 1) / stride_ - first_group + 1;
  Work work =
      Lay({queries.n_head, queries.head_dim, list.n_kv(), CountTiles(list)}, n_group, &room);
  std::fill(work.bias.begin(), work.bias.end(), 0.0f);
  FillRows(queries, first_group, n_group, &work);
  KVASIR_RETURN_IF_ERROR(Score(queries, list, scratch, &work));
  const int64_t n_unit = queries.n_before / kPrefillBlock;
  for (int head = 0; head < queries.n_head; ++head) {
    std::fill_n(work.mass.begin(), n_unit + 1, 0.0);
    for (int g = 0; g < n_group; ++g) {
      const int end = std::min(queries.n_token, (first_group + g + 1) * stride_ - queries.pos);
      AddMass(queries, queries.index + end - 1, &work.x[(head * n_group + g) * work.stride], work);
    }
    Pick(work, chosen.subspan(static_cast<size_t>(head * n_unit), static_cast<size_t>(n_unit)));
  }
  return Status::Ok();
}

Result<std::shared_ptr<const Part>> Make(const PartArgs& args) {
  const int64_t stride = args.Int("stride");
  if (stride != 8 && stride != 16) {
    return Status::InvalidArgument(
        fmt::format("recipe: prefill=xattention: stride: expected 8 or 16, found '{}'", stride));
  }
  return MakePart<XAttention>(args);
}

}  // namespace

const PartInfo& prefill_xattention_part() {
  static constexpr ParamInfo params[] = {
      {"tau", ParamType::kReal, "0.9", 0, 1, "share of a block's attention that is read"},
      {"most", ParamType::kAmount, "100%", 1, 1e9,
       "tokens before a block that it reads at most, in blocks of 128"},
      {"stride", ParamType::kInt, "16", 8, 16, "tokens of an anti-diagonal, 8 or 16"},
      {"local", ParamType::kInt, "128", 0, 1e9,
       "tokens in front of a block that it always reads, in blocks of 128"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kPrefill,
      .name = "xattention",
      .summary = "the blocks of 128 that hold most of a head's attention, by anti-diagonal sums",
      .card = "XAttention, arXiv:2503.16428",
      .params = params,
      .needs = kNeedKeys,
      .cost = "1/stride of the products of queries and keys",
      .make = Make};
  return info;
}

}  // namespace kvasir
