#include "kvasir/policy/sealer.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <numeric>

#include "kvasir/codecs/kept_traits.h"
#include "kvasir/codecs/registry.h"
#include "kvasir/codecs/reposition.h"
#include "kvasir/policy/disposition.h"

namespace kvasir {
namespace {

constexpr int64_t kMaxSegment = 2048;  // tokens encoded at once
constexpr int64_t kMaxJoined = 8192;   // tokens of a segment that grows by what is sealed after it

// What stands for a side that waits, or that is never coded.
std::shared_ptr<const KvCodec> DenseCodec(TileFormat format) {
  auto codec = MakeCodec(format == TileFormat::kF16 ? "f16" : "f32");
  assert(codec.ok());
  return std::move(*codec);
}

std::vector<float> BiasOf(const Segment& segment) {
  if (segment.bias() == nullptr) return {};
  return {segment.bias(), segment.bias() + segment.n_kv()};
}

// Indices of the tokens [begin, end).
std::vector<int32_t> Tokens(int64_t begin, int64_t end) {
  std::vector<int32_t> tokens(static_cast<size_t>(end - begin));
  std::iota(tokens.begin(), tokens.end(), static_cast<int32_t>(begin));
  return tokens;
}

// Of the tokens [begin, end) of the list.
Positions PositionsOf(const SegmentList& list, int64_t begin, int64_t end) {
  std::vector<int32_t> pos;
  int64_t base = 0;
  const auto add = [&](const Segment& segment) {
    for (int64_t i = std::max(begin, base); i < std::min(end, base + segment.n_kv()); ++i) {
      pos.push_back(segment.pos()[i - base]);
    }
    base += segment.n_kv();
  };
  for (const auto& segment : list.sealed()) add(*segment);
  add(list.tail());
  return Positions(pos);
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

int64_t Sealer::OpenTokens(const SegmentList& list) {
  return CountLoose(list) + list.tail().n_kv();
}

int64_t Sealer::ScratchBytes(int64_t n_open, int head_dim) {
  // Keys and values of a segment, and what encoders copy of one side.
  return std::min(n_open, kMaxSegment) * head_dim * 3 * static_cast<int64_t>(sizeof(float));
}

bool Sealer::Learns(const Side& side, KvSide kv_side, int head_dim) {
  return side.coded && side.codec->head_bytes(kv_side, head_dim) > 0;
}

int64_t Sealer::LeastRun(const Side& side, KvSide kv_side, int head_dim,
                         const Traits& traits) const {
  const auto& known = kv_side == KvSide::kKey ? traits.k : traits.v;
  return Learns(side, kv_side, head_dim) && known == nullptr
             ? (side.rule.first + block_ - 1) / block_ * block_
             : 0;
}

std::vector<Sealer::Run> Sealer::ReadyRuns(int64_t n_open, int head_dim,
                                           const Traits& traits) const {
  const int64_t k_ready = Ready(k_, n_open), v_ready = Ready(v_, n_open);
  const int64_t k_least = LeastRun(k_, KvSide::kKey, head_dim, traits);
  const int64_t v_least = LeastRun(v_, KvSide::kValue, head_dim, traits);
  if (k_ready < k_least || v_ready < v_least) return {};
  const bool one_side = !k_.coded || !v_.coded;
  const int64_t all = std::max(k_ready, v_ready),
                both = one_side ? all : std::min(k_ready, v_ready);
  const int64_t longest = std::max(block_, kMaxSegment / block_ * block_);
  std::vector<Run> runs;
  for (int64_t done = 0; done < both; done += runs.back().n_token) {
    runs.push_back({std::min(both - done, longest), Pending::kNone});
  }
  const Pending pending = k_ready > v_ready ? Pending::kValue : Pending::kKey;
  for (int64_t done = both; done < all; done += runs.back().n_token) {
    runs.push_back({done == 0 ? std::max({block_, k_least, v_least}) : block_, pending});
  }
  return runs;
}

Result<int64_t> Sealer::Seal(const Place& place, SegmentList& list) const {
  const int64_t n_loose = CountLoose(list);
  int64_t n_open = n_loose + list.tail().n_kv();
  if (sinks_ > 0 && n_open == list.n_kv()) {
    if (n_open < sinks_) return list.n_kv();
    if (n_loose == 0) list.SealTail(sinks_);
    n_open -= sinks_;
  }
  // Every step comes by here, and most have nothing to do.
  if (!Parts() && Ready(k_, n_open) == 0 && Ready(v_, n_open) == 0) return list.n_kv();
  const int64_t first = list.n_kv() - n_open;
  const int d = list.tail().head_dim();
  Traits traits;
  if (Learns(k_, KvSide::kKey, d)) traits.k = KeptTraits(list, KvSide::kKey);
  if (Learns(v_, KvSide::kValue, d)) traits.v = KeptTraits(list, KvSide::kValue);
  std::vector<std::shared_ptr<const Segment>> made;
  int64_t next = first;
  for (const Run& run : ReadyRuns(n_open, d, traits)) {
    KVASIR_ASSIGN_OR_RETURN(auto segment, Encoded(place, list, next, run, &traits));
    next += run.n_token;
    if (n_loose == 0) {
      list.SealTailAs(run.n_token, std::move(segment));
      if (place.joins) JoinNewest(list);
    } else {
      made.push_back(std::move(segment));
    }
  }
  if (!made.empty()) KVASIR_RETURN_IF_ERROR(Splice(place, first, next, std::move(made), list));
  int64_t changed = next > first ? first : list.n_kv();
  if (Parts()) {
    KVASIR_ASSIGN_OR_RETURN(const int64_t completed, Complete(place, &traits, list));
    changed = std::min(changed, completed);
  }
  return changed;
}

void Sealer::JoinNewest(SegmentList& list) {
  while (list.sealed().size() >= 2) {
    const auto last = list.sealed().last(2);
    const auto* a = dynamic_cast<const CodedSegment*>(last[0].get());
    const auto* b = dynamic_cast<const CodedSegment*>(last[1].get());
    if (a == nullptr || b == nullptr || a->n_kv() > b->n_kv() ||
        a->n_kv() + b->n_kv() > kMaxJoined || a->format() != b->format() || a->bias() != nullptr ||
        b->bias() != nullptr || last[0].use_count() > 1 || last[1].use_count() > 1) {
      return;
    }
    // Without memory for it things stay as they are.
    auto v = a->v()->Join(*b->v());
    if (!v.ok() || *v == nullptr) return;
    auto k = a->k()->Join(*b->k());
    if (!k.ok() || *k == nullptr) return;
    Positions pos = a->pos();
    for (int64_t i = 0; i < b->n_kv(); ++i) pos.Append(b->pos()[i]);
    list.JoinLast(std::make_shared<const CodedSegment>(
        a->head_dim(), std::move(pos), std::string(a->format()), std::move(*k), std::move(*v)));
  }
}

Status Sealer::Splice(const Place& place, int64_t begin, int64_t end,
                      std::vector<std::shared_ptr<const Segment>> made, SegmentList& list) const {
  KVASIR_ASSIGN_OR_RETURN(ListContents before, GatherKept(list, Tokens(0, begin), *place.arena));
  KVASIR_ASSIGN_OR_RETURN(ListContents after,
                          GatherKept(list, Tokens(end, list.n_kv()), *place.arena));
  std::vector<std::shared_ptr<const Segment>> sealed = std::move(before.sealed);
  if (before.tail.n_kv() > 0) sealed.push_back(before.tail.Seal(before.tail.n_kv()));
  std::ranges::move(made, std::back_inserter(sealed));
  std::ranges::move(after.sealed, std::back_inserter(sealed));
  list.Replace(std::move(sealed), std::move(after.tail));
  return Status::Ok();
}

Result<std::shared_ptr<const CodedPart>> Sealer::Encode(const Place& place, KvSide kv_side,
                                                        const KvCodec& codec, int head_dim,
                                                        std::span<const int32_t> pos,
                                                        const float* rows, int64_t first,
                                                        Traits* traits) const {
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
  auto& known = kv_side == KvSide::kKey ? traits->k : traits->v;
  input.traits = known;
  input.arena = place.arena;
  KVASIR_ASSIGN_OR_RETURN(auto part, codec.Encode(input));
  if (known == nullptr) known = part->traits();
  return part;
}

Result<std::shared_ptr<const Segment>> Sealer::Encoded(const Place& place, const SegmentList& list,
                                                       int64_t first, const Run& run,
                                                       Traits* traits) const {
  const DenseLayout& layout = list.tail().layout();
  const int d = layout.head_dim;
  const int64_t end = first + run.n_token;
  std::vector<float> k(static_cast<size_t>(run.n_token * d)), v(k.size());
  KVASIR_RETURN_IF_ERROR(list.Decode(first, end, k.data(), v.data()));
  Positions pos = PositionsOf(list, first, end);
  const std::vector<int32_t> angles = place.Angles(first, pos);
  const auto k_codec =
      k_.coded && run.pending != Pending::kKey ? k_.codec : DenseCodec(layout.k_format);
  const auto v_codec =
      v_.coded && run.pending != Pending::kValue ? v_.codec : DenseCodec(layout.v_format);
  KVASIR_ASSIGN_OR_RETURN(
      auto k_part, Encode(place, KvSide::kKey, *k_codec, d, angles, k.data(), first, traits));
  KVASIR_ASSIGN_OR_RETURN(
      auto v_part, Encode(place, KvSide::kValue, *v_codec, d, angles, v.data(), first, traits));
  return std::shared_ptr<const Segment>(std::make_shared<const CodedSegment>(
      d, std::move(pos), Format(run.pending), std::move(k_part), std::move(v_part),
      GatherBias(list, Tokens(first, end))));
}

Result<int64_t> Sealer::Complete(const Place& place, Traits* traits, SegmentList& list) const {
  std::vector<std::shared_ptr<const Segment>> sealed(list.sealed().begin(), list.sealed().end());
  const std::string without_keys = Format(Pending::kKey), without_values = Format(Pending::kValue);
  int64_t first = 0, changed = list.n_kv();
  for (auto& segment : sealed) {
    const int64_t begin = first;
    first += segment->n_kv();
    const bool key = segment->format() == without_keys;
    if (!key && segment->format() != without_values) continue;
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
                          key ? k.data() : v.data(), begin, traits));
    Positions pos = segment->pos();
    std::shared_ptr<const Segment> whole = std::make_shared<const CodedSegment>(
        d, stored.pos(), Format(Pending::kNone), key ? part : coded->k(), key ? coded->v() : part,
        BiasOf(stored));
    segment = turned == nullptr
                  ? whole
                  : std::make_shared<const TurnedSegment>(std::move(whole), std::move(pos),
                                                          std::move(turns), turned->table());
    changed = std::min(changed, begin);
  }
  if (changed < list.n_kv()) list.ReplaceSealed(std::move(sealed));
  return changed;
}

}  // namespace kvasir
