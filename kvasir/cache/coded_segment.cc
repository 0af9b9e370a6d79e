#include "kvasir/cache/coded_segment.h"

#include <algorithm>
#include <cassert>

namespace kvasir {

namespace {

// Queries in the basis of the stored keys.
QueryRows Rotated(QueryRows rows, const ChannelRotation* rotation, AttendScratch& scratch) {
  if (rotation == nullptr) return rows;
  float* q = scratch.rotated_q();
  QueryForms& forms = scratch.forms;
  const bool stays = rows.q == forms.q;
  if (!stays || forms.rotation == nullptr || !forms.rotation->SameAs(*rotation)) {
    std::copy_n(rows.q, int64_t{rows.n_row} * rows.head_dim, q);
    for (int r = 0; r < rows.n_row; ++r) rotation->Forward(q + int64_t{r} * rows.head_dim);
    forms.rotation = stays ? rotation : nullptr;
    if (forms.rounded == q) forms.rounded = nullptr;
  }
  rows.q = q;
  return rows;
}

Status LoadRotated(const CodedPart& part, std::span<const int64_t> tiles, float* scratch,
                   TileFormat* format, const void** at) {
  while (!tiles.empty()) {
    const int n = RunLength(tiles);
    KVASIR_RETURN_IF_ERROR(part.LoadRotatedTiles(tiles[0], n, scratch, format, at));
    at += n;
    tiles = tiles.subspan(static_cast<size_t>(n));
  }
  return Status::Ok();
}

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

Segment::AttendLimit CodedSegment::AttendLimitFrom(int64_t tile) const {
  AttendLimit limit = {INT64_MAX, true, true};
  for (const CodedPart* part : {k_.get(), v_.get()}) {
    const int64_t n_code = part->n_code_tile();
    if (tile < n_code) {
      limit.end = std::min(limit.end, n_code);
    } else {
      limit.in_place = limit.in_place && part->in_place();
      limit.codes = false;
    }
  }
  return limit;
}

Status CodedSegment::LoadAttendTiles(std::span<const int64_t> tiles, AttendScratch& scratch,
                                     TileRun* run) const {
  if (tiles[0] < k_->n_code_tile()) {
    run->k_code = k_->code_format();
    k_->CodeTiles(tiles, run->k_codes);
  } else {
    KVASIR_RETURN_IF_ERROR(LoadRotated(*k_, tiles, scratch.k_tiles(), &run->k_format, run->k));
  }
  if (tiles[0] < v_->n_code_tile()) {
    run->v_code = v_->code_format();
    v_->CodeTiles(tiles, run->v_codes);
    return Status::Ok();
  }
  return LoadRotated(*v_, tiles, scratch.v_tiles(), &run->v_format, run->v);
}

Status CodedSegment::Attend(const QueryRows& rows, std::span<const IndexRange> ranges, int lane,
                            AttendScratch& scratch, const StateView& states) const {
  return Segment::Attend(Rotated(rows, k_->rotation(), scratch), ranges, lane, scratch, states);
}

Status CodedSegment::VisitWeights(const QueryRows& rows, const RowNorm* norms, int64_t begin,
                                  int64_t end, AttendScratch& scratch,
                                  const WeightSink& sink) const {
  return Segment::VisitWeights(Rotated(rows, k_->rotation(), scratch), norms, begin, end, scratch,
                               sink);
}

}  // namespace kvasir
