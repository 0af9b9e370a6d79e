#include "kvasir/cache/coded_segment.h"

#include <algorithm>
#include <cassert>

namespace kvasir {

namespace {

// Queries in the basis of the stored keys.
class RotatedQueries {
 public:
  RotatedQueries(const QueryRows& rows, const ChannelRotation* rotation) : rows_(rows) {
    if (rotation == nullptr) return;
    q_.assign(rows.q, rows.q + int64_t{rows.n_row} * rows.head_dim);
    for (int r = 0; r < rows.n_row; ++r) rotation->Forward(&q_[int64_t{r} * rows.head_dim]);
    rows_.q = q_.data();
  }
  const QueryRows& rows() const { return rows_; }

 private:
  QueryRows rows_;
  std::vector<float> q_;
};

}  // namespace

Result<std::shared_ptr<const CodedPart>> CodedPart::Gather(std::span<const int32_t>) const {
  return Status::Unsupported("this format encodes tokens together and cannot give up single ones");
}

CodedSegment::CodedSegment(int head_dim, Positions pos, std::string format,
                           std::shared_ptr<const CodedPart> k, std::shared_ptr<const CodedPart> v,
                           std::vector<float> bias)
    : Segment(head_dim),
      format_(std::move(format)),
      k_(std::move(k)),
      v_(std::move(v)),
      bias_(std::move(bias)) {
  pos_ = std::move(pos);
  assert(k_->n_token() == n_kv() && v_->n_token() == n_kv());
  if (!bias_.empty()) bias_.resize((bias_.size() + kTileTokens - 1) / kTileTokens * kTileTokens);
}

int64_t CodedSegment::bytes() const {
  return k_->bytes() + v_->bytes() + pos_.bytes() +
         static_cast<int64_t>(bias_.capacity() * sizeof(float));
}

Status CodedSegment::LoadTiles(int64_t first, int n, AttendScratch& scratch, TileRun* run) const {
  KVASIR_RETURN_IF_ERROR(k_->LoadTiles(first, n, scratch.k_tiles(), &run->k_format, run->k));
  return v_->LoadTiles(first, n, scratch.v_tiles(), &run->v_format, run->v);
}

Status CodedSegment::LoadAttendTiles(int64_t first, int n, AttendScratch& scratch,
                                     TileRun* run) const {
  KVASIR_RETURN_IF_ERROR(k_->LoadRotatedTiles(first, n, scratch.k_tiles(), &run->k_format, run->k));
  return v_->LoadRotatedTiles(first, n, scratch.v_tiles(), &run->v_format, run->v);
}

Status CodedSegment::Attend(const QueryRows& rows, int64_t begin, int64_t end, int lane,
                            AttendScratch& scratch, const StateView& states) const {
  const RotatedQueries queries(rows, k_->rotation());
  const ChannelRotation* rotation = v_->rotation();
  if (rotation == nullptr) {
    return Segment::Attend(queries.rows(), begin, end, lane, scratch, states);
  }
  // Rows that see nothing keep their bits.
  std::vector<float*> seeing;
  for (int r = 0; r < rows.n_row; ++r) {
    const int32_t p = rows.pos[r];
    const int64_t from = rows.window > 0 ? pos_.CountBelow(p - rows.window + 1) : 0;
    const int64_t to = std::min(end, pos_.CountBelow(p + 1));
    const bool sees_sinks = begin < std::min(to, pos_.CountBelow(rows.sinks));
    if (sees_sinks || std::max(begin, from) < to) {
      seeing.push_back(states.acc + int64_t{r} * states.d_pad);
    }
  }
  for (float* acc : seeing) rotation->Forward(acc);
  Status status = Segment::Attend(queries.rows(), begin, end, lane, scratch, states);
  for (float* acc : seeing) rotation->Backward(acc);
  return status;
}

Status CodedSegment::VisitWeights(const QueryRows& rows, const RowNorm* norms, int64_t begin,
                                  int64_t end, AttendScratch& scratch,
                                  const WeightSink& sink) const {
  const RotatedQueries queries(rows, k_->rotation());
  return Segment::VisitWeights(queries.rows(), norms, begin, end, scratch, sink);
}

}  // namespace kvasir
