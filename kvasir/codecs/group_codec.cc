#include <fmt/format.h>

#include "kvasir/codecs/group_format.h"

namespace kvasir {
namespace {

class GroupCodec final : public KvCodec {
 public:
  explicit GroupCodec(GroupCodecSpec spec) : spec_(std::move(spec)) {}

  std::string name() const override { return spec_.name; }
  TailRule tail(KvSide side) const override {
    TailRule rule = side == KvSide::kKey ? spec_.k_tail : spec_.v_tail;
    if (Format(side).sort != ChannelSort::kNone) rule.first = std::max(rule.block, kOrderTokens);
    return rule;
  }
  double bits_per_element(KvSide side, int head_dim) const override {
    const BlockLayout layout(Format(side), {side, head_dim});
    return BlockBitsPerElement(layout.bytes, Format(side).block, head_dim);
  }
  int64_t head_bytes(KvSide side, int head_dim) const override {
    return Format(side).sorts(head_dim) ? ChannelOrder::Bytes(head_dim) : 0;
  }
  Status CheckShape(int head_dim) const override { return CheckHeadDim(spec_.name, head_dim); }
  bool can_gather(KvSide side) const override { return Format(side).can_gather(); }
  Result<std::shared_ptr<const CodedPart>> Encode(const CodecInput& input) const override {
    KVASIR_RETURN_IF_ERROR(CheckInput(name(), input));
    return EncodeGroups(Format(input.side), input);
  }

 private:
  const GroupFormat& Format(KvSide side) const { return side == KvSide::kKey ? spec_.k : spec_.v; }

  GroupCodecSpec spec_;
};

Status CheckTokens(std::string_view codec, std::string_view what, int n, int multiple) {
  if (n > 0 && n % multiple == 0) return Status::Ok();
  return Status::InvalidArgument(
      fmt::format("{}: {} must be a multiple of {}, not {}", codec, what, multiple, n));
}

Status CheckSide(std::string_view codec, const GroupFormat& format, const TailRule& tail) {
  KVASIR_RETURN_IF_ERROR(CheckTokens(codec, "the token group", format.block, kTileTokens));
  if (format.group != 0) {
    KVASIR_RETURN_IF_ERROR(CheckTokens(codec, "the channel group", format.group, kStripCodes));
  }
  if (format.sort != ChannelSort::kNone) {
    if (format.grouping == Grouping::kPerChannel) {
      return Status::InvalidArgument(
          fmt::format("{}: a group along tokens has one channel, so no order can help it", codec));
    }
    if (format.hadamard && format.sort != ChannelSort::kMean) {
      return Status::InvalidArgument(
          fmt::format("{}: a rotation makes channels alike, so there is nothing left to sort by; "
                      "leave had out, or sort by mean",
                      codec));
    }
  }
  return CheckTokens(codec, "the tail", tail.block, format.block);
}

}  // namespace

Result<std::shared_ptr<const KvCodec>> MakeGroupCodec(GroupCodecSpec spec) {
  KVASIR_RETURN_IF_ERROR(CheckSide(spec.name, spec.k, spec.k_tail));
  KVASIR_RETURN_IF_ERROR(CheckSide(spec.name, spec.v, spec.v_tail));
  return std::shared_ptr<const KvCodec>(std::make_shared<GroupCodec>(std::move(spec)));
}

Result<std::shared_ptr<const KvCodec>> MakeGgmlCodec(const CodecInfo& info, CodecValues values,
                                                     Quantiser quantiser, CodeTable table) {
  const GroupFormat format = {.quantiser = quantiser,
                              .hadamard = values[0] != 0,
                              .sort = static_cast<ChannelSort>(values[1]),
                              .table = table};
  return MakeGroupCodec({.name = CodecName(info, values), .k = format, .v = format});
}

}  // namespace kvasir
