// Vertical-slash pattern of MInference: the attention of a block's newest queries tells which
// columns (tokens that all queries look at) and which diagonals (distances at which they look) the
// whole block reads.
//
// Counts are fixed, so that cost is known beforehand. Columns and diagonals come in tiles of 16: a
// diagonal of a block of n queries crosses n + 15 tokens. The newest queries of every block are
// asked, not those of the prompt alone: what only tokens in the middle of a prompt look at is
// found.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kvasir/cache/key_tiles.h"
#include "kvasir/policy/prefill_rule.h"

namespace kvasir {
namespace {

constexpr int kRows = 16;         // weighed at a time
constexpr int64_t kFirst = 2;     // tiles that are always columns: 30 tokens, in whole tiles
constexpr int64_t kDiagonal = 2;  // tiles before the block that are always read: 30 diagonals

// Working memory of one head.
struct Work {
  int64_t stride = 0;           // of x, whole vectors
  std::span<float> q;           // (kRows, head_dim) scaled
  std::span<float> partial;     // (head_dim, 16)
  std::span<float> logits;      // (kRows, 16 * kMaxTiles)
  std::span<float> x;           // (kRows, stride) by index in the list
  std::span<float> bias;        // (stride)
  std::span<float> columns;     // (stride) weights summed over the queries
  std::span<float> diagonals;   // (stride) the same by distance, [0] that of the newest token
  std::span<uint16_t> visible;  // (stride / 16)
  std::span<float> weight;      // (stride / 16) of a tile of columns or diagonals
  std::span<int32_t> order;     // (stride / 16)
};

Work Lay(const PrefillSize& size, PrefillRoom* room) {
  Work work;
  const int64_t d = size.head_dim;
  // The last tile may be written past the last token.
  work.stride = (size.n_kv + 2 * kTileTokens - 1) / kTileTokens * kTileTokens;
  work.q = room->Take<float>(kRows * d);
  work.partial = room->Take<float>(d * kTileTokens);
  work.logits = room->Take<float>(int64_t{kRows} * kTileTokens * TileRun::kMaxTiles);
  work.x = room->Take<float>(kRows * work.stride);
  work.bias = room->Take<float>(work.stride);
  work.columns = room->Take<float>(work.stride);
  work.diagonals = room->Take<float>(work.stride);
  work.visible = room->Take<uint16_t>(work.stride / 16);
  work.weight = room->Take<float>(work.stride / 16);
  work.order = room->Take<int32_t>(work.stride / 16);
  return work;
}

class MInference final : public PrefillRule {
 public:
  explicit MInference(const PartArgs& args)
      : vertical_(args.AmountOf("vertical")),
        slash_(args.AmountOf("slash")),
        n_query_(static_cast<int>(args.Int("queries"))) {}

  int unit_tokens() const override { return kTileTokens; }
  int64_t RoomBytes(const PrefillSize& size) const override {
    PrefillRoom room;
    Lay(size, &room);
    return room.bytes();
  }
  Status Choose(const PrefillQueries& queries, const SegmentList& list, AttendScratch& scratch,
                PrefillRoom room, std::span<uint8_t> chosen) const override;

 private:
  // Adds the weights of queries [first, first + n) of a head to the columns and diagonals.
  Status Weigh(const PrefillQueries& queries, int head, int first, int n, const SegmentList& list,
               AttendScratch& scratch, Work& work) const;
  void Pick(const PrefillQueries& queries, Work& work, std::span<uint8_t> chosen) const;

  Amount vertical_, slash_;
  int n_query_;
};

Status MInference::Weigh(const PrefillQueries& queries, int head, int first, int n,
                         const SegmentList& list, AttendScratch& scratch, Work& work) const {
  const AttendKernels& kernels = ActiveAttendKernels();
  const int d = queries.head_dim;
  for (int r = 0; r < n; ++r) {
    const float* q = queries.Row(first + r, head);
    for (int j = 0; j < d; ++j) work.q[r * d + j] = q[j] * queries.RowScale();
  }
  bool biased = false;
  KVASIR_RETURN_IF_ERROR(
      ForKeyTiles(list, queries.end(), scratch, work.partial, [&](const KeyTiles& tiles) {
        const auto logits =
            tiles.format == TileFormat::kF16 ? kernels.logits_f16 : kernels.logits_f32;
        const int stride = tiles.n_tile * kTileTokens;
        logits(work.q.data(), n, d, tiles.tiles, tiles.n_tile, nullptr, work.logits.data(), stride);
        for (int r = 0; r < n; ++r) {
          std::copy_n(&work.logits[static_cast<size_t>(r) * stride], tiles.n_token,
                      &work.x[r * work.stride + tiles.first]);
        }
        biased = biased || tiles.bias != nullptr;
        if (tiles.bias != nullptr) {
          std::copy_n(tiles.bias, tiles.n_token, work.bias.begin() + tiles.first);
        }
        return Status::Ok();
      }));
  for (int r = 0; r < n; ++r) {
    const int64_t n_seen = queries.index + first + r + 1;
    const int n_vector = static_cast<int>((n_seen + 15) / 16);
    float* x = &work.x[r * work.stride];
    if (!AllFinite({x, static_cast<size_t>(n_seen)})) {
      work.columns[0] = std::numeric_limits<float>::quiet_NaN();
      return Status::Ok();
    }
    std::fill(x + n_seen, x + n_vector * 16, 0.0f);
    std::fill_n(work.visible.begin(), n_vector, uint16_t{0xffff});
    if (n_seen % 16 != 0) {
      work.visible[n_vector - 1] = static_cast<uint16_t>((1u << n_seen % 16) - 1);
    }
    if (biased || queries.softcap > 0) {
      kernels.shape_row(x, n_vector, biased ? work.bias.data() : nullptr, queries.softcap);
    }
    const float exponent = std::ceil(kernels.max_row(x, n_vector, work.visible.data()));
    float lanes[16] = {};
    kernels.weigh_row(x, n_vector, work.visible.data(), 0, exponent, lanes);
    const float scale = 1.0f / TotalWeight(lanes);
    // From the far end on: the last entry of x is distance 0.
    for (int64_t t = 0; t < n_seen; ++t) work.columns[t] += x[t] * scale;
    float* far = &work.diagonals[n_seen - 1];
    for (int64_t t = 0; t < n_seen; ++t) far[-t] += x[t] * scale;
  }
  return Status::Ok();
}

// Sums of whole tiles of 16, and their numbers from the heaviest to the lightest; of equals, the
// first.
void Rank(std::span<const float> values, int64_t n_tile, Work* work) {
  for (int64_t i = 0; i < n_tile; ++i) {
    float sum = 0;
    for (int t = 0; t < kTileTokens; ++t) sum += values[i * kTileTokens + t];
    work->weight[i] = sum;
    work->order[i] = static_cast<int32_t>(i);
  }
  const auto order = work->order.first(static_cast<size_t>(n_tile));
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return work->weight[a] > work->weight[b] || (work->weight[a] == work->weight[b] && a < b);
  });
}

void MInference::Pick(const PrefillQueries& queries, Work& work, std::span<uint8_t> chosen) const {
  const auto n_unit = static_cast<int64_t>(chosen.size());
  double total = 0;
  for (float w : work.columns.first(static_cast<size_t>(queries.end()))) total += w;
  if (!std::isfinite(total)) {  // what is no number is read, and shows
    std::fill(chosen.begin(), chosen.end(), uint8_t{1});
    return;
  }
  std::fill_n(chosen.begin(), std::min(kFirst, n_unit), uint8_t{1});
  std::fill(chosen.end() - std::min(kDiagonal, n_unit), chosen.end(), uint8_t{1});
  Rank(work.columns, n_unit, &work);
  int64_t left = vertical_.Of(queries.n_before) / kTileTokens;
  for (int64_t i = 0; i < std::min(left, n_unit); ++i) chosen[work.order[i]] = 1;
  // Distances that are not the block's own.
  Rank(work.diagonals, (queries.end() - 1) / kTileTokens, &work);
  const auto n_distance = static_cast<size_t>((queries.end() - 1) / kTileTokens);
  left = slash_.Of(queries.n_before) / kTileTokens;
  for (const int32_t i : work.order.first(n_distance)) {
    const int64_t from = queries.index - int64_t{i} * kTileTokens - (kTileTokens - 1);
    const int64_t to = queries.end() - int64_t{i} * kTileTokens;
    const int64_t begin = std::clamp<int64_t>(from, 0, queries.n_before) / kTileTokens;
    const int64_t end =
        (std::clamp<int64_t>(to, 0, queries.n_before) + kTileTokens - 1) / kTileTokens;
    if (begin >= end) continue;
    const auto marks = chosen.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    const int64_t n_new = std::count(marks.begin(), marks.end(), uint8_t{0});
    if (n_new > left) return;
    left -= n_new;
    std::fill(marks.begin(), marks.end(), uint8_t{1});
  }
}

Status MInference::Choose(const PrefillQueries& queries, const SegmentList& list,
                          AttendScratch& scratch, PrefillRoom room,
                          std::span<uint8_t> chosen) const {
  Work work = Lay({queries.n_head, queries.head_dim, list.n_kv(), 0}, &room);
  std::fill(work.bias.begin(), work.bias.end(), 0.0f);
  const int64_t n_unit = queries.n_before / kTileTokens;
  for (int head = 0; head < queries.n_head; ++head) {
    std::fill(work.columns.begin(), work.columns.end(), 0.0f);
    std::fill(work.diagonals.begin(), work.diagonals.end(), 0.0f);
    for (int first = std::max(0, queries.n_token - n_query_); first < queries.n_token;
         first += kRows) {
      const int n = std::min(kRows, queries.n_token - first);
      KVASIR_RETURN_IF_ERROR(Weigh(queries, head, first, n, list, scratch, work));
    }
    Pick(queries, work,
         chosen.subspan(static_cast<size_t>(head * n_unit), static_cast<size_t>(n_unit)));
  }
  return Status::Ok();
}

}  // namespace

const PartInfo& prefill_minference_part() {
  static constexpr ParamInfo params[] = {
      {"vertical", ParamType::kAmount, "1024", 0, 1e9, "tokens of the heaviest columns"},
      {"slash", ParamType::kAmount, "2048", 0, 1e9,
       "tokens that the heaviest diagonals add; one crosses about 160"},
      {"queries", ParamType::kInt, "16", 1, 128, "newest queries of a block that are asked"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kPrefill,
      .name = "minference",
      .summary = "the heaviest columns and diagonals of a block's newest queries",
      .card = "MInference, arXiv:2407.02490",
      .params = params,
      .needs = kNeedKeys,
      .cost = "queries/128 of the products of queries and keys, and their weights",
      .make = MakePart<MInference>};
  return info;
}

}  // namespace kvasir
