#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& fp8_codec();
const CodecInfo& fp8_codec() {
  static constexpr CodecParam kParams[] = {
      {.name = "scale", .max = 1, .meaning = "a scale for each token; without it the scale is 1"},
      kHadamardParam,
  };
  static const CodecInfo kInfo = {
      .name = "fp8",
      .summary = "8-bit floats (e4m3fn), saturating at 448",
      .card = "vLLM fp8_e4m3",
      .params = kParams,
      .make =
          [](CodecValues values) {
            GroupFormat format = {
                .quantiser = Quantiser(values[0] != 0 ? GridRule::kAbsMax : GridRule::kUnit, 8),
                .group = 0};
            format.hadamard = values[1] != 0;
            return MakeGroupCodec(
                {.name = CodecName(fp8_codec(), values), .k = format, .v = format});
          },
  };
  return kInfo;
}

}  // namespace kvasir
