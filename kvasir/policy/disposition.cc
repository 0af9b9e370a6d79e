#include "kvasir/policy/disposition.h"

#include <algorithm>

#include "kvasir/cache/coded_segment.h"

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

// Calls use(pos, k, v, n) for the rows of `tokens`, block by block.
template <typename Use>
Status ForRows(const Segment& segment, std::span<const int32_t> tokens, const Use& use) {
  const int d = segment.head_dim();
  std::vector<float> k(static_cast<size_t>(kBlock * d)), v(k.size());
  std::vector<int32_t> pos;
  for (size_t next = 0; next < tokens.size();) {
    const int64_t begin = tokens[next], end = std::min(begin + kBlock, segment.n_kv());
    KVASIR_RETURN_IF_ERROR(segment.Decode(begin, end, k.data(), v.data()));
    pos.clear();
    for (; next < tokens.size() && tokens[next] < end; ++next) {
      // Rows only ever move down, so packing in place is safe.
      const int64_t from = (tokens[next] - begin) * d, to = static_cast<int64_t>(pos.size()) * d;
      std::copy_n(k.begin() + from, d, k.begin() + to);
      std::copy_n(v.begin() + from, d, v.begin() + to);
      pos.push_back(segment.pos()[tokens[next]]);
    }
    KVASIR_RETURN_IF_ERROR(use(std::span<const int32_t>(pos), k.data(), v.data()));
  }
  return Status::Ok();
}

void FlushTail(ListContents* contents) {
  if (contents->tail.n_kv() > 0) {
    contents->sealed.push_back(contents->tail.Seal(contents->tail.n_kv()));
  }
}

Positions PositionsOf(const Segment& segment, std::span<const int32_t> tokens) {
  Positions pos;
  for (int32_t t : tokens) pos.Append(segment.pos()[t]);
  return pos;
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
      segment.head_dim(), PositionsOf(segment, tokens), std::string(segment.format()),
      std::move(*k), std::move(*v), BiasOf(segment, tokens)));
}

// Appends the tokens of one segment to the contents.
Status GatherSegment(const std::shared_ptr<const Segment>& shared, const Segment& segment,
                     std::span<const int32_t> tokens, ListContents* contents) {
  const auto* coded = dynamic_cast<const CodedSegment*>(&segment);
  const bool whole = static_cast<int64_t>(tokens.size()) == segment.n_kv();
  std::shared_ptr<const Segment> gathered;
  if (whole && shared != nullptr && (coded != nullptr || contents->tail.n_kv() == 0)) {
    gathered = shared;
  } else if (coded != nullptr) {
    KVASIR_ASSIGN_OR_RETURN(gathered, GatherCoded(*coded, tokens));
  }
  if (gathered != nullptr) {
    FlushTail(contents);
    contents->sealed.push_back(std::move(gathered));
    return Status::Ok();
  }
  size_t done = 0;
  return ForRows(
      segment, tokens, [&](std::span<const int32_t> pos, const float* k, const float* v) {
        const std::vector<float> bias = BiasOf(segment, tokens.subspan(done, pos.size()));
        done += pos.size();
        return contents->tail.Append(pos, k, v, segment.head_dim(), bias);
      });
}

}  // namespace

Result<ListContents> GatherKept(const SegmentList& list, std::span<const int32_t> kept,
                                SlabArena& arena) {
  ListContents contents = {{}, Tail(list.tail().layout(), arena)};
  KVASIR_RETURN_IF_ERROR(ForSegments(list, kept,
                                     [&](const std::shared_ptr<const Segment>& shared,
                                         const Segment& segment, std::span<const int32_t> tokens) {
                                       return GatherSegment(shared, segment, tokens, &contents);
                                     }));
  return contents;
}

Status DecodeTokens(const SegmentList& list, std::span<const int32_t> tokens, float* k, float* v) {
  return ForSegments(
      list, tokens,
      [&](const std::shared_ptr<const Segment>&, const Segment& segment,
          std::span<const int32_t> inside) {
        return ForRows(segment, inside,
                       [&](std::span<const int32_t> pos, const float* k_rows, const float* v_rows) {
                         const size_t n = pos.size() * static_cast<size_t>(segment.head_dim());
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
  if (!status.ok() || !any) bias.clear();
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
