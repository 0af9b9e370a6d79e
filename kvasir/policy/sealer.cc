#include "kvasir/policy/sealer.h"

#include <algorithm>
#include <cassert>
#include <numeric>

#include "kvasir/codecs/registry.h"
#include "kvasir/codecs/reposition.h"
#include "kvasir/policy/disposition.h"

namespace kvasir {
namespace {

constexpr int64_t kMaxSegment = 2048;  // tokens encoded at once

// What stands for a side that waits, or that is never coded.
std::shared_ptr<const KvCodec> DenseCodec(TileFormat format) {
  auto codec = MakeCodec(format == TileFormat::kF16 ? "f16" : "f32");
  assert(codec.ok());
  return std::move(*codec);
}

// Of the first n tokens; empty where there is none.
std::vector<float> BiasOf(const Segment& segment, int64_t n) {
  if (segment.bias() == nullptr) return {};
  return {segment.bias(), segment.bias() + n};
}

// Dense tokens, their keys turned, between what is coded and the tail.
int64_t CountLoose(const SegmentList& list) {
  int64_t n = 0;
  for (auto it = list.sealed().rbegin(); it != list.sealed().rend(); ++it) {
    const auto* turned = dynamic_cast<const TurnedSegment*>(it->get());
    if (turned == nullptr || dynamic_cast<const DenseSegment*>(turned->stored().get()) == nullptr) {
      break;
    }
    n += turned->n_kv();
  }
  return n;
}

}  // namespace

Sealer::Sealer(std::shared_ptr<const KvCodec> k, std::shared_ptr<const KvCodec> v) {
  k_.codec = std::move(k);
  v_.codec = std::move(v);
  for (const auto& [side, kv_side] : {std::pair{&k_, KvSide::kKey}, {&v_, KvSide::kValue}}) {
    side->coded = side->codec != nullptr;
    if (!side->coded) continue;
    side->rule = side->codec->tail(kv_side);
    block_ = std::lcm(block_, int64_t{side->rule.block});
    sinks_ = std::max(sinks_, int64_t{side->rule.sinks});
  }
  sinks_ = (sinks_ + kTileTokens - 1) / kTileTokens * kTileTokens;
}

std::vector<int32_t> Sealer::Place::Angles(int64_t first, const Positions& pos) const {
  std::vector<int32_t> angles(static_cast<size_t>(pos.size()));
  for (int64_t i = 0; i < pos.size(); ++i) {
    angles[i] = first_angle ? *first_angle + static_cast<int32_t>(first + i) : pos[i];
  }
  return angles;
}

std::string Sealer::Format(Pending pending) const {
  const auto name = [&](const Side& side, Pending waits) {
    return side.coded && pending != waits ? side.codec->name() : std::string("dense");
  };
  return name(k_, Pending::kKey) + "/" + name(v_, Pending::kValue);
}

// Of the newest n_token tokens, how many from the oldest on the side may seal.
int64_t Sealer::Ready(const Side& side, int64_t n_token) const {
  if (!side.coded) return 0;
  return std::max<int64_t>(0, n_token - side.rule.keep) / block_ * block_;
}

Status Sealer::Reopen(const Place& place, int64_t n, SegmentList& list) const {
  const int d = list.tail().head_dim();
  std::vector<float> k(static_cast<size_t>(n * d)), v(k.size());
  const int64_t first = list.n_kv() - n;
  KVASIR_RETURN_IF_ERROR(list.Decode(first, list.n_kv(), k.data(), v.data()));
  std::vector<int32_t> pos, tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), static_cast<int32_t>(first));
  for (int32_t t : tokens) pos.push_back(list.pos(t));
  KVASIR_ASSIGN_OR_RETURN(ListContents contents,
                          MakeContents(list.tail().layout(), *place.arena, pos, k.data(), v.data(),
                                       GatherBias(list, tokens)));
  int64_t n_sealed = 0;
  for (const auto& segment : list.sealed()) {
    if (n_sealed == first) break;
    contents.sealed.push_back(segment);
    n_sealed += segment->n_kv();
  }
  list.Replace(std::move(contents.sealed), std::move(contents.tail));
  return Status::Ok();
}

int64_t Sealer::ScratchBytes(int64_t n_tail, int head_dim) {
  // Keys and values of a segment, and what encoders copy of one side.
  return std::min(n_tail, kMaxSegment) * head_dim * 3 * static_cast<int64_t>(sizeof(float));
}

Status Sealer::Seal(const Place& place, SegmentList& list) const {
  if (const int64_t n_loose = CountLoose(list); n_loose > 0) {
    const int64_t n = n_loose + list.tail().n_kv();
    if (std::max(Ready(k_, n), Ready(v_, n)) == 0) return Status::Ok();
    KVASIR_RETURN_IF_ERROR(Reopen(place, n, list));
  }
  if (sinks_ > 0 && list.sealed().empty()) {
    if (list.tail().n_kv() < sinks_) return Status::Ok();
    list.SealTail(sinks_);
  }
  const int64_t n_tail = list.tail().n_kv();
  const int64_t k_ready = Ready(k_, n_tail), v_ready = Ready(v_, n_tail);
  const bool one_side = !k_.coded || !v_.coded;
  const int64_t both = one_side ? std::max(k_ready, v_ready) : std::min(k_ready, v_ready);
  const Pending pending = k_ready > v_ready ? Pending::kValue : Pending::kKey;
  for (int64_t done = 0; done < both;) {
    const int64_t n = std::min(both - done, std::max(block_, kMaxSegment / block_ * block_));
    KVASIR_RETURN_IF_ERROR(SealBlocks(place, n, Pending::kNone, list));
    done += n;
  }
  for (int64_t done = both; done < std::max(k_ready, v_ready); done += block_) {
    KVASIR_RETURN_IF_ERROR(SealBlocks(place, block_, pending, list));
  }
  return one_side ? Status::Ok() : Complete(place, list);
}

Result<std::shared_ptr<const CodedPart>> Sealer::Encode(const Place& place, KvSide kv_side,
                                                        const KvCodec& codec, int head_dim,
                                                        std::span<const int32_t> pos,
                                                        const float* rows, int64_t first) const {
  CodecInput input;
  input.side = kv_side;
  input.layer = place.layer;
  input.kv_head = place.kv_head;
  input.head_dim = head_dim;
  input.pos = pos;
  input.rows = rows;
  input.rope = place.rope;
  if (codec.reads_importance() && !place.importance.empty()) {
    input.importance = place.importance.subspan(first, pos.size());
  }
  input.arena = place.arena;
  return codec.Encode(input);
}

Status Sealer::SealBlocks(const Place& place, int64_t n, Pending pending, SegmentList& list) const {
  const Tail& tail = list.tail();
  const int d = tail.head_dim();
  const int64_t first = list.n_kv() - tail.n_kv();
  std::vector<float> k(static_cast<size_t>(n * d)), v(k.size());
  KVASIR_RETURN_IF_ERROR(tail.Decode(0, n, k.data(), v.data()));
  const Positions pos = tail.pos().Slice(0, n);
  const std::vector<int32_t> angles = place.Angles(first, pos);
  const auto k_codec =
      k_.coded && pending != Pending::kKey ? k_.codec : DenseCodec(tail.layout().k_format);
  const auto v_codec =
      v_.coded && pending != Pending::kValue ? v_.codec : DenseCodec(tail.layout().v_format);
  KVASIR_ASSIGN_OR_RETURN(auto k_part,
                          Encode(place, KvSide::kKey, *k_codec, d, angles, k.data(), first));
  KVASIR_ASSIGN_OR_RETURN(auto v_part,
                          Encode(place, KvSide::kValue, *v_codec, d, angles, v.data(), first));
  list.SealTailAs(n,
                  std::make_shared<const CodedSegment>(d, pos, Format(pending), std::move(k_part),
                                                       std::move(v_part), BiasOf(tail, n)));
  return Status::Ok();
}

// Codes the dense side of segments that have waited long enough.
Status Sealer::Complete(const Place& place, SegmentList& list) const {
  std::vector<std::shared_ptr<const Segment>> sealed(list.sealed().begin(), list.sealed().end());
  bool changed = false;
  int64_t first = 0;
  for (auto& segment : sealed) {
    const int64_t begin = first;
    first += segment->n_kv();
    const bool key = segment->format() == Format(Pending::kKey);
    if (!key && segment->format() != Format(Pending::kValue)) continue;
    const Side& side = key ? k_ : v_;
    const auto* turned = dynamic_cast<const TurnedSegment*>(segment.get());
    const Segment& stored = turned == nullptr ? *segment : *turned->stored();
    const auto* coded = dynamic_cast<const CodedSegment*>(&stored);
    // Eviction may have left part of a block, which no codec takes.
    if (coded == nullptr || first > list.n_kv() - side.rule.keep ||
        segment->n_kv() % side.rule.block != 0) {
      continue;
    }
    const int d = segment->head_dim();
    std::vector<float> k(static_cast<size_t>(segment->n_kv() * d)), v(k.size());
    KVASIR_RETURN_IF_ERROR(stored.Decode(0, stored.n_kv(), k.data(), v.data()));
    std::vector<int32_t> angles = place.Angles(begin, segment->pos());
    std::vector<int32_t> turns;
    for (int64_t i = 0; turned != nullptr && i < stored.n_kv(); ++i) {
      turns.push_back(turned->turn(i));
      angles[i] -= turns.back();
    }
    KVASIR_ASSIGN_OR_RETURN(
        auto part, Encode(place, key ? KvSide::kKey : KvSide::kValue, *side.codec, d, angles,
                          key ? k.data() : v.data(), begin));
    Positions pos = segment->pos();
    std::shared_ptr<const Segment> whole = std::make_shared<const CodedSegment>(
        d, stored.pos(), Format(Pending::kNone), key ? part : coded->k(), key ? coded->v() : part,
        BiasOf(stored, stored.n_kv()));
    segment = turned == nullptr
                  ? whole
                  : std::make_shared<const TurnedSegment>(std::move(whole), std::move(pos),
                                                          std::move(turns), turned->table());
    changed = true;
  }
  if (changed) list.ReplaceSealed(std::move(sealed));
  return Status::Ok();
}

}  // namespace kvasir
