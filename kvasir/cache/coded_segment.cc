#include "kvasir/cache/coded_segment.h"

#include <cassert>

namespace kvasir {

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

}  // namespace kvasir
