#include "kvasir/codecs/reposition.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <utility>

namespace kvasir {
namespace {

// Query rows as the stored keys must see them.
class TurnedRows {
 public:
  TurnedRows(const QueryRows& rows, const RopeTable& table, int32_t turn, int32_t shift)
      : rows_(rows), q_(rows.q, rows.q + int64_t{rows.n_row} * rows.head_dim) {
    for (int r = 0; r < rows.n_row; ++r) table.Turn(&q_[int64_t{r} * rows.head_dim], -turn);
    rows_.q = q_.data();
    if (shift == 0) return;
    pos_.assign(rows.pos, rows.pos + rows.n_row);
    for (int32_t& pos : pos_) pos -= shift;
    rows_.pos = pos_.data();
    rows_.pos_min -= shift;
    rows_.pos_max -= shift;
    rows_.sinks = std::max(0, rows.sinks - shift);
  }
  const QueryRows& rows() const { return rows_; }

 private:
  QueryRows rows_;
  std::vector<float> q_;
  std::vector<int32_t> pos_;
};

bool AllEqual(std::span<const int32_t> values) {
  return std::ranges::adjacent_find(values, std::not_equal_to()) == values.end();
}

}  // namespace

TurnedSegment::TurnedSegment(std::shared_ptr<const Segment> stored, Positions pos,
                             std::vector<int32_t> turn, std::shared_ptr<const RopeTable> table)
    : Segment(stored->head_dim()),
      stored_(std::move(stored)),
      turn_(std::move(turn)),
      table_(std::move(table)) {
  pos_ = std::move(pos);
  assert(n_kv() > 0 && stored_->n_kv() == n_kv());
  assert(turn_.size() == 1 || static_cast<int64_t>(turn_.size()) == n_kv());
  shift_ = pos_[0] - stored_->pos()[0];
  even_ = turn_.size() == 1;
  for (int64_t i = 0; even_ && i < n_kv(); ++i) even_ = pos_[i] - stored_->pos()[i] == shift_;
}

int64_t TurnedSegment::bytes() const {
  return stored_->bytes() + pos_.bytes() +
         static_cast<int64_t>(turn_.capacity() * sizeof(turn_.front()));
}

Status TurnedSegment::Attend(const QueryRows& rows, std::span<const IndexRange> ranges, int lane,
                             AttendScratch& scratch, const StateView& states) const {
  if (!even_) return Segment::Attend(rows, ranges, lane, scratch, states);
  const TurnedRows turned(rows, *table_, turn_[0], shift_);
  return stored_->Attend(turned.rows(), ranges, lane, scratch, states);
}

Status TurnedSegment::VisitWeights(const QueryRows& rows, const RowNorm* norms, int64_t begin,
                                   int64_t end, AttendScratch& scratch,
                                   const WeightSink& sink) const {
  if (!even_) return Segment::VisitWeights(rows, norms, begin, end, scratch, sink);
  const TurnedRows turned(rows, *table_, turn_[0], shift_);
  return stored_->VisitWeights(turned.rows(), norms, begin, end, scratch, sink);
}

Status TurnedSegment::LoadTiles(int64_t first, int n, AttendScratch& scratch, TileRun* run) const {
  KVASIR_RETURN_IF_ERROR(stored_->LoadTiles(first, n, scratch, run));
  const int64_t floats = int64_t{kTileTokens} * head_dim_;
  for (int i = 0; i < n; ++i) {
    float* tile = scratch.k_tiles() + i * floats;
    if (run->k_format == TileFormat::kF16) {
      ActiveAttendKernels().unpack_f16(static_cast<const uint16_t*>(run->k[i]), tile, floats);
    } else if (run->k[i] != tile) {
      std::copy_n(static_cast<const float*>(run->k[i]), floats, tile);
    }
    run->k[i] = tile;
    const int64_t begin = (first + i) * kTileTokens;
    const auto n_token = static_cast<int>(std::min<int64_t>(kTileTokens, n_kv() - begin));
    int32_t by[kTileTokens];
    for (int t = 0; t < n_token; ++t) by[t] = turn(begin + t);
    table_->TurnTile(tile, {by, static_cast<size_t>(n_token)});
  }
  run->k_format = TileFormat::kF32;
  return Status::Ok();
}

Result<std::shared_ptr<const Segment>> Repositioner::Make(std::shared_ptr<const Segment> segment,
                                                          Positions pos,
                                                          std::vector<int32_t> turn) const {
  if (segment->n_kv() == 0) return segment;
  if (const auto* turned = dynamic_cast<const TurnedSegment*>(segment.get()); turned != nullptr) {
    for (size_t i = 0; i < turn.size(); ++i) turn[i] += turned->turn(static_cast<int64_t>(i));
    segment = turned->stored();
  }
  int32_t farthest = 0;
  for (int32_t t : turn) farthest = std::max(farthest, std::abs(t));
  bool stays = farthest == 0;
  for (int64_t i = 0; stays && i < pos.size(); ++i) stays = pos[i] == segment->pos()[i];
  if (stays) return segment;
  if (AllEqual(turn)) turn.resize(1);
  turn.shrink_to_fit();
  KVASIR_ASSIGN_OR_RETURN(auto table, GetRopeTable(*rope_, farthest, *ledger_));
  return std::shared_ptr<const Segment>(std::make_shared<const TurnedSegment>(
      std::move(segment), std::move(pos), std::move(turn), std::move(table)));
}

Result<std::shared_ptr<const Segment>> Repositioner::Shift(std::shared_ptr<const Segment> segment,
                                                           int32_t by) const {
  const int64_t n = segment->n_kv();
  if (n == 0) return segment;
  const int64_t first = int64_t{segment->pos()[0]} + by;
  const int64_t last = int64_t{segment->pos()[n - 1]} + by;
  if (first < 0 || last > INT32_MAX) {
    return Status::InvalidArgument(fmt::format(
        "shifting positions {} to {} by {}: expected results from 0 to {}, found {} to {}",
        segment->pos()[0], segment->pos()[n - 1], by, INT32_MAX, first, last));
  }
  Positions pos = segment->pos();
  pos.Shift(by);
  return Make(std::move(segment), std::move(pos), std::vector<int32_t>(static_cast<size_t>(n), by));
}

Result<std::shared_ptr<const Segment>> Repositioner::Renumber(
    std::shared_ptr<const Segment> segment, std::span<const int32_t> pos) const {
  if (static_cast<int64_t>(pos.size()) != segment->n_kv()) {
    return Status::InvalidArgument(
        fmt::format("renumbering {} tokens: found {} positions", segment->n_kv(), pos.size()));
  }
  std::vector<int32_t> turn(pos.size());
  for (size_t i = 0; i < pos.size(); ++i) {
    if (pos[i] < 0 || (i > 0 && pos[i] <= pos[i - 1])) {
      return Status::InvalidArgument(
          fmt::format("renumbering: expected positions that ascend from 0 or more, found {} at "
                      "index {}",
                      pos[i], i));
    }
    turn[i] = pos[i] - segment->pos()[static_cast<int64_t>(i)];
  }
  return Make(std::move(segment), Positions(pos), std::move(turn));
}

Result<std::shared_ptr<const Segment>> Repositioner::Turn(std::shared_ptr<const Segment> segment,
                                                          std::span<const int32_t> turn) const {
  assert(static_cast<int64_t>(turn.size()) == segment->n_kv());
  Positions pos = segment->pos();
  return Make(std::move(segment), std::move(pos), {turn.begin(), turn.end()});
}

}  // namespace kvasir
