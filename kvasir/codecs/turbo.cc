// TurboQuant, arXiv:2504.19874, without its sign sketch: a random rotation makes every channel of a
// token nearly normal, so one fixed table serves all; the token's length is stored apart.
#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& turbo_codec();
const CodecInfo& turbo_codec() {
  static constexpr CodecParam kParams[] = {
      {.name = "bits", .default_value = 3, .min = 1, .max = 4, .meaning = "of keys and values"},
  };
  static const CodecInfo kInfo = {
      .name = "turbo",
      .summary = "random rotation, one length a token, codes of a fixed table for normal values",
      .card = "arXiv:2504.19874",
      .params = kParams,
      .make =
          [](CodecValues values) {
            const GroupFormat format = {
                .quantiser = Quantiser(GridRule::kNorm, static_cast<int>(values[0])),
                .group = 0,
                .hadamard = true,
                .random_signs = true,
                .table = CodeTable::kNormal};
            return MakeGroupCodec(
                {.name = CodecName(turbo_codec(), values), .k = format, .v = format});
          },
  };
  return kInfo;
}

}  // namespace kvasir
