#include "kvasir/policy/codec_parts.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvasir {

std::vector<std::string_view> CodecNames() { return {"f16", "f32"}; }

Result<PartCall> CanonicalCodec(const PartCall& call) {
  const std::vector<std::string_view> names = CodecNames();
  if (std::find(names.begin(), names.end(), call.name) == names.end()) {
    const std::string nearest = NearestName(call.name, names);
    return Status::NotFound(fmt::format("no codec is called '{}'{}", call.name,
                                        nearest.empty() ? "" : "; did you mean " + nearest + "?"));
  }
  if (!call.args.empty()) {
    return Status::InvalidArgument(fmt::format("{} takes no parameters", call.name));
  }
  return call;
}

Result<CodecChoice> MakeCodecChoice(const PartCall& call) {
  return CodecChoice{call.name == "f32" ? TileFormat::kF32 : TileFormat::kF16, nullptr};
}

}  // namespace kvasir
