// The table of KV codecs (codecs.def): what recipes, flags, tests and benchmarks walk.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvasir/codecs/codec.h"

namespace kvasir {

// A number that a codec takes. All parameters are numbers; flags are 0 or 1, and choices count from
// 0 and are given by name.
struct CodecParam {
  std::string_view name;
  double default_value = 0;
  double min = 0;
  double max = 0;
  std::string_view meaning;
  std::span<const std::string_view> choices = {};  // (max + 1), or empty

  bool is_flag() const { return min == 0 && max == 1 && default_value == 0 && choices.empty(); }
};

// What follows a codec's name in brackets, in order. An empty name is positional: the name of a
// flag, which turns it on, or else the value of the codec's next parameter. So "kivi(2,g=64)" is
// {{"", "2"}, {"g", "64"}} and "q4_0(had)" is {{"", "had"}}.
using CodecArgs = std::vector<std::pair<std::string, std::string>>;

// Values of all parameters, in the order of CodecInfo::params, checked against their ranges.
using CodecValues = std::span<const double>;

struct CodecInfo {
  std::string_view name;
  std::string_view summary;  // one line
  std::string_view card;     // the paper or format it comes from; empty for plain floats
  std::span<const CodecParam> params;
  // Errors: kInvalidArgument for values that do not go together.
  Result<std::shared_ptr<const KvCodec>> (*make)(CodecValues values) = nullptr;
};

struct CodecEntry {
  uint16_t id = 0;  // goes to disk; never reused
  const CodecInfo* info = nullptr;
};

// All codecs, in the order of codecs.def.
std::span<const CodecEntry> Codecs();
// Null when there is no such name.
const CodecInfo* FindCodec(std::string_view name);

// Errors: kNotFound lists the names there are; kInvalidArgument names the parameter, what it may be
// and what was given.
Result<std::shared_ptr<const KvCodec>> MakeCodec(std::string_view name, const CodecArgs& args = {});

// "kivi(4,g=64)": the name with the parameters that differ from their defaults.
std::string CodecName(const CodecInfo& info, CodecValues values);

}  // namespace kvasir
