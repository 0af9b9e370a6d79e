#include "kvasir/policy/disposition.h"

#include <algorithm>
#include <utility>

#include "kvasir/cache/coded_segment.h"
#include "kvasir/codecs/reposition.h"

namespace kvasir {
namespace {

constexpr int64_t kBlock = 256;  // tokens rebuilt at a time

// Calls visit(segment, tokens of it as indices into it) for every segment, in order.
template <typename Visit>
Status ForSegments(const SegmentList& list, std::span<const int32_t> tokens, const Visit& visit) {
  std::vector<int32_t> inside;
  int64_t base = 0;
  size_t next = 0;
  const auto visit_segment = [&](const std::shared_ptr<const Segment>& shared,
                                 const Segment& segment) {
    const int64_t end = base + segment.n_kv();
    inside.clear();
    for (; next < tokens.size() && tokens[next] < end; ++next) {
      inside.push_back(static_cast<int32_t>(tokens[next] - base));
    }
    base = end;
    return inside.empty() ? Status::Ok() : visit(shared, segment, std::span<const int32_t>(inside));
  };
  for (const auto& segment : list.sealed())
    KVASIR_RETURN_IF_ERROR(visit_segment(segment, *segment));
  return visit_segment(nullptr, list.tail());
}

// Calls use(these, k, v) for the rows of `tokens`, block by block; `these` are the tokens of one.
template <typename Use>
Status ForRows(const Segment& segment, std::span<const int32_t> tokens, const Use& use) {
  const int d = segment.head_dim();
  std::vector<float> k(static_cast<size_t>(kBlock * d)), v(k.size());
  for (size_t next = 0; next < tokens.size();) {
    const size_t first = next;
    const int64_t begin = tokens[next], end = std::min(begin + kBlock, segment.n_kv());
    KVASIR_RETURN_IF_ERROR(segment.Decode(begin, end, k.data(), v.data()));
    for (; next < tokens.size() && tokens[next] < end; ++next) {
      // Rows only ever move down, so packing in place is safe.
      const int64_t from = (tokens[next] - begin) * d, to = static_cast<int64_t>(next - first) * d;
      std::copy_n(k.begin() + from, d, k.begin() + to);
      std::copy_n(v.begin() + from, d, v.begin() + to);
    }
    KVASIR_RETURN_IF_ERROR(use(tokens.subspan(first, next - first), k.data(), v.data()));
  }
  return Status::Ok();
}

std::vector<int32_t> PositionsOf(const Segment& segment, std::span<const int32_t> tokens) {
  std::vector<int32_t> pos;
  for (int32_t t : tokens) pos.push_back(segment.pos()[t]);
  return pos;
}

// The turn of each of the tokens; empty where the segment turns none.
std::vector<int32_t> TurnsOf(const TurnedSegment* turned, std::span<const int32_t> tokens) {
  std::vector<int32_t> turns;
  if (turned == nullptr) return turns;
  for (int32_t t : tokens) turns.push_back(turned->turn(t));
  return turns;
}

std::vector<float> BiasOf(const Segment& segment, std::span<const int32_t> tokens) {
  std::vector<float> bias;
  if (segment.bias() == nullptr) return bias;
  for (int32_t t : tokens) bias.push_back(segment.bias()[t]);
  return bias;
}

// The tokens of a coded segment in its own format; null where the format cannot give up tokens.
Result<std::shared_ptr<const Segment>> GatherCoded(const CodedSegment& segment,
                                                   std::span<const int32_t> tokens) {
  auto k = segment.k()->Gather(tokens);
  auto v = k.ok() ? segment.v()->Gather(tokens) : k.status();
  if (!v.ok()) {
    if (v.status().code() != StatusCode::kUnsupported) return v.status();
    return std::shared_ptr<const Segment>();
  }
  return std::shared_ptr<const Segment>(std::make_shared<const CodedSegment>(
      segment.head_dim(), Positions(PositionsOf(segment, tokens)), std::string(segment.format()),
      std::move(*k), std::move(*v), BiasOf(segment, tokens)));
}

// Collects tokens: dense ones, as they are stored, in a tail, with the turns of their keys.
class Gatherer {
 public:
  Gatherer(const DenseLayout& layout, SlabArena& arena) : contents_{{}, Tail(layout, arena)} {}

  //   shared  the segment itself; null for a tail
  Status Add(const std::shared_ptr<const Segment>& shared, const Segment& segment,
             std::span<const int32_t> tokens) {
    const auto* turned = dynamic_cast<const TurnedSegment*>(&segment);
    const Segment& stored = turned == nullptr ? segment : *turned->stored();
    const auto* coded = dynamic_cast<const CodedSegment*>(&stored);
    const bool whole = static_cast<int64_t>(tokens.size()) == segment.n_kv();
    if (whole && shared != nullptr && (coded != nullptr || contents_.tail.n_kv() == 0)) {
      return AddSealed(shared);
    }
    if (coded != nullptr) {
      KVASIR_ASSIGN_OR_RETURN(std::shared_ptr<const Segment> gathered, GatherCoded(*coded, tokens));
      if (gathered != nullptr && turned != nullptr) {
        gathered = std::make_shared<const TurnedSegment>(std::move(gathered),
                                                         Positions(PositionsOf(segment, tokens)),
                                                         TurnsOf(turned, tokens), turned->table());
      }
      if (gathered != nullptr) return AddSealed(std::move(gathered));
    }
    return AddRows(segment, stored, turned, tokens);
  }

  ListContents Take() && {
    if (Turns()) Flush();
    return std::move(contents_);
  }

 private:
  bool Turns() const {
    return std::ranges::any_of(turns_, [](int32_t turn) { return turn != 0; });
  }

  Status AddSealed(std::shared_ptr<const Segment> segment) {
    Flush();
    contents_.sealed.push_back(std::move(segment));
    return Status::Ok();
  }

  Status AddRows(const Segment& segment, const Segment& stored, const TurnedSegment* turned,
                 std::span<const int32_t> tokens) {
    KVASIR_RETURN_IF_ERROR(ForRows(
        stored, tokens, [&](std::span<const int32_t> these, const float* k, const float* v) {
          return contents_.tail.Append(PositionsOf(segment, these), k, v, segment.head_dim(),
                                       BiasOf(segment, these));
        }));
    const std::vector<int32_t> turns = TurnsOf(turned, tokens);
    turns_.insert(turns_.end(), turns.begin(), turns.end());
    turns_.resize(static_cast<size_t>(contents_.tail.n_kv()));
    if (turned != nullptr && (table_ == nullptr || table_->n_pos() < turned->table()->n_pos())) {
      table_ = turned->table();
    }
    return Status::Ok();
  }

  void Flush() {
    if (contents_.tail.n_kv() == 0) return;
    std::shared_ptr<const Segment> segment = contents_.tail.Seal(contents_.tail.n_kv());
    if (Turns()) {
      Positions pos = segment->pos();
      segment = std::make_shared<const TurnedSegment>(std::move(segment), std::move(pos),
                                                      std::move(turns_), std::move(table_));
    }
    contents_.sealed.push_back(std::move(segment));
    turns_.clear();
    table_ = nullptr;
  }

  ListContents contents_;
  std::vector<int32_t> turns_;              // of the tokens in the tail
  std::shared_ptr<const RopeTable> table_;  // of those that turn; null where none does
};

}  // namespace

Result<ListContents> GatherKept(const SegmentList& list, std::span<const int32_t> kept,
                                SlabArena& arena) {
  Gatherer gatherer(list.tail().layout(), arena);
  KVASIR_RETURN_IF_ERROR(ForSegments(
      list, kept,
      [&](const std::shared_ptr<const Segment>& shared, const Segment& segment,
          std::span<const int32_t> tokens) { return gatherer.Add(shared, segment, tokens); }));
  return std::move(gatherer).Take();
}

Status DecodeTokens(const SegmentList& list, std::span<const int32_t> tokens, float* k, float* v) {
  return ForSegments(
      list, tokens,
      [&](const std::shared_ptr<const Segment>&, const Segment& segment,
          std::span<const int32_t> inside) {
        return ForRows(
            segment, inside,
            [&](std::span<const int32_t> these, const float* k_rows, const float* v_rows) {
              const size_t n = these.size() * static_cast<size_t>(segment.head_dim());
              k = std::copy_n(k_rows, n, k);
              v = std::copy_n(v_rows, n, v);
              return Status::Ok();
            });
      });
}

std::vector<float> GatherBias(const SegmentList& list, std::span<const int32_t> tokens) {
  std::vector<float> bias;
  bool any = false;
  const Status status = ForSegments(list, tokens,
                                    [&](const std::shared_ptr<const Segment>&,
                                        const Segment& segment, std::span<const int32_t> inside) {
                                      for (int32_t t : inside) {
                                        any = any || segment.bias() != nullptr;
                                        bias.push_back(segment.bias() ? segment.bias()[t] : 0.0f);
                                      }
                                      return Status::Ok();
                                    });
  if (!status.ok() || !any) return {};
  return bias;
}

Result<ListContents> MakeContents(const DenseLayout& layout, SlabArena& arena,
                                  std::span<const int32_t> pos, const float* k_roped,
                                  const float* v, std::span<const float> bias) {
  ListContents contents = {{}, Tail(layout, arena)};
  KVASIR_RETURN_IF_ERROR(contents.tail.Append(pos, k_roped, v, layout.head_dim, bias));
  return contents;
}

}  // namespace kvasir
