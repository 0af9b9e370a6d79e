// Nothing is lost: evicted tokens are stored in a smaller number format, for good. Blocks of the
// format are whole; what is left over stays dense until more tokens come.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "kvasir/cache/coded_segment.h"
#include "kvasir/codecs/kept_traits.h"
#include "kvasir/codecs/registry.h"
#include "kvasir/policy/disposition/merging.h"
#include "kvasir/policy/recipe_text.h"

namespace kvasir {
namespace {

// The settled tokens: sealed segments of the format, then at most one dense one of less than a
// block. The state is their number.
class Demote final : public Disposition {
 public:
  explicit Demote(std::shared_ptr<const KvCodec> codec)
      : codec_(std::move(codec)),
        block_(std::lcm(codec_->tail(KvSide::kKey).block, codec_->tail(KvSide::kValue).block)) {}

  bool settles() const override { return true; }
  int64_t n_settled(std::span<const float> state) const override {
    return state.empty() ? 0 : static_cast<int64_t>(state[0]);
  }
  Status CheckShape(const CacheShape& shape) const override {
    return codec_->CheckShape(shape.head_dim);
  }

  Result<ListContents> Cut(const CutInput& input, std::vector<float>* state) const override {
    const int64_t n_before = n_settled(*state);
    std::vector<std::shared_ptr<const Segment>> settled;
    std::vector<int32_t> leaving;  // indices into the list
    int64_t base = 0;
    for (const auto& segment : input.list->sealed()) {
      if (base >= n_before) break;
      if (dynamic_cast<const CodedSegment*>(segment.get()) != nullptr) {
        settled.push_back(segment);
      } else {
        for (int64_t i = 0; i < segment->n_kv(); ++i) {
          leaving.push_back(static_cast<int32_t>(base + i));
        }
      }
      base += segment->n_kv();
    }
    leaving.insert(leaving.end(), input.evicted.begin(), input.evicted.end());
    const int64_t n = static_cast<int64_t>(leaving.size()), n_coded = n / block_ * block_;
    // Rows of all of them, once more where they must be sorted, and what the encoder copies.
    KVASIR_ASSIGN_OR_RETURN(const ByteCharge scratch,
                            ByteCharge::Take(input.arena->ledger(), ByteKind::kScratch,
                                             n * (5 * int64_t{input.list->tail().head_dim()} + 8) *
                                                 static_cast<int64_t>(sizeof(float))));
    KVASIR_ASSIGN_OR_RETURN(ListContents contents,
                            GatherKept(*input.list, input.kept, *input.arena));
    KVASIR_ASSIGN_OR_RETURN(const TokenRows rows, ReadByPosition(*input.list, leaving));
    if (n_coded > 0) {
      KVASIR_ASSIGN_OR_RETURN(std::shared_ptr<const Segment> coded, Encode(input, rows, n_coded));
      settled.push_back(std::move(coded));
    }
    if (n_coded < n) {
      const int64_t first = n_coded * rows.head_dim;
      KVASIR_ASSIGN_OR_RETURN(
          std::shared_ptr<const Segment> dense,
          MakeDenseSegment(input.list->tail().layout(), *input.arena,
                           std::span(rows.pos).subspan(static_cast<size_t>(n_coded)),
                           rows.k.data() + first, rows.v.data() + first));
      settled.push_back(std::move(dense));
    }
    contents.sealed.insert(contents.sealed.begin(), settled.begin(), settled.end());
    state->assign(1, static_cast<float>(n_before + static_cast<int64_t>(input.evicted.size())));
    return contents;
  }

 private:
  // Left-overs of earlier cuts stand before tokens of lower positions.
  static Result<TokenRows> ReadByPosition(const SegmentList& list,
                                          std::span<const int32_t> tokens) {
    KVASIR_ASSIGN_OR_RETURN(TokenRows rows, ReadTokens(list, tokens));
    if (std::ranges::is_sorted(rows.pos)) return rows;
    std::vector<int64_t> order(rows.pos.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    std::ranges::sort(order, {}, [&](int64_t i) { return rows.pos[i]; });
    TokenRows sorted;
    sorted.head_dim = rows.head_dim;
    for (int64_t i : order) {
      sorted.pos.push_back(rows.pos[i]);
      sorted.count.push_back(rows.count[i]);
      sorted.k.insert(sorted.k.end(), rows.key(i).begin(), rows.key(i).end());
      sorted.v.insert(sorted.v.end(), rows.value(i).begin(), rows.value(i).end());
    }
    return sorted;
  }

  // The first n of the rows.
  Result<std::shared_ptr<const Segment>> Encode(const CutInput& input, const TokenRows& rows,
                                                int64_t n) const {
    const std::span<const int32_t> pos = std::span(rows.pos).first(static_cast<size_t>(n));
    CodecInput codec_input;
    codec_input.layer = input.layer;
    codec_input.kv_head = input.kv_head;
    codec_input.head_dim = rows.head_dim;
    codec_input.pos = pos;
    codec_input.arena = input.arena;
    codec_input.rope = input.rope;
    codec_input.rows = rows.k.data();
    codec_input.traits = KeptTraits(*input.list, KvSide::kKey);
    KVASIR_ASSIGN_OR_RETURN(std::shared_ptr<const CodedPart> k, codec_->Encode(codec_input));
    codec_input.side = KvSide::kValue;
    codec_input.rows = rows.v.data();
    codec_input.traits = KeptTraits(*input.list, KvSide::kValue);
    KVASIR_ASSIGN_OR_RETURN(std::shared_ptr<const CodedPart> v, codec_->Encode(codec_input));
    return std::shared_ptr<const Segment>(std::make_shared<const CodedSegment>(
        rows.head_dim, Positions(pos), codec_->name(), std::move(k), std::move(v)));
  }

  std::shared_ptr<const KvCodec> codec_;
  int64_t block_;
};

// "kivi:2" names a codec and its first parameter.
Result<std::shared_ptr<const Part>> MakeDemote(const PartArgs& args) {
  KVASIR_ASSIGN_OR_RETURN(const auto items, SplitRecipe(args.Text("codec")));
  const PartCall& call = items.front().calls.front();
  auto codec = MakeCodec(call.name, call.args);
  if (!codec.ok()) return std::move(codec).status().WithContext("disposition=demote: codec");
  if ((*codec)->reads_importance()) {
    return Status::InvalidArgument(fmt::format(
        "disposition=demote: codec {} asks which tokens matter; those that do are not demoted",
        (*codec)->name()));
  }
  return std::shared_ptr<const Part>(std::make_shared<const Demote>(std::move(*codec)));
}

}  // namespace

const PartInfo& disposition_demote_part() {
  static constexpr ParamInfo params[] = {
      {"codec", ParamType::kText, "kivi:2", 0, 0, "number format of evicted tokens"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kDisposition,
                                    .name = "demote",
                                    .summary = "evicted tokens stay, in a smaller number format",
                                    .card = "MiKV, arXiv:2402.18096",
                                    .params = params,
                                    .needs = kNeedKeys | kNeedValues,
                                    .cost = "one encoding of each evicted token",
                                    .make = MakeDemote};
  return info;
}

}  // namespace kvasir
