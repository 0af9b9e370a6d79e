#include "kvasir/codecs/registry.h"

#include <fmt/format.h>

#include <charconv>

namespace kvasir {

#define KVASIR_CODEC(id, name) const CodecInfo& name##_codec();
#include "kvasir/codecs/codecs.def"
#undef KVASIR_CODEC

namespace {

std::string KnownNames() {
  std::string names;
  for (const CodecEntry& entry : Codecs()) {
    if (!names.empty()) names += ", ";
    names += entry.info->name;
  }
  return names;
}

std::string KnownParams(const CodecInfo& info) {
  if (info.params.empty()) return "it takes no parameters";
  std::string names = "its parameters are ";
  for (const CodecParam& param : info.params) {
    if (&param != info.params.data()) names += ", ";
    names += param.name;
  }
  return names;
}

// Index of the parameter called `name`, or params.size().
size_t FindParam(const CodecInfo& info, std::string_view name) {
  size_t i = 0;
  while (i < info.params.size() && info.params[i].name != name) ++i;
  return i;
}

Result<double> ParseChoice(const CodecInfo& info, const CodecParam& param, std::string_view text) {
  std::string names;
  for (size_t i = 0; i < param.choices.size(); ++i) {
    if (param.choices[i] == text) return static_cast<double>(i);
    if (i > 0) names += i + 1 < param.choices.size() ? ", " : " or ";
    names += param.choices[i];
  }
  return Status::InvalidArgument(
      fmt::format("{}: {} must be {}, not \"{}\"", info.name, param.name, names, text));
}

Result<double> ParseValue(const CodecInfo& info, const CodecParam& param, std::string_view text) {
  if (!param.choices.empty()) return ParseChoice(info, param, text);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool number = error == std::errc() && end == text.data() + text.size();
  if (number && value >= param.min && value <= param.max) return value;
  return Status::InvalidArgument(fmt::format("{}: {} must be a number from {} to {}, not \"{}\"",
                                             info.name, param.name, param.min, param.max, text));
}

Result<std::vector<double>> ParseArgs(const CodecInfo& info, const CodecArgs& args) {
  std::vector<double> values;
  for (const CodecParam& param : info.params) values.push_back(param.default_value);
  size_t next = 0;  // of the positional values
  for (const auto& [name, text] : args) {
    if (name.empty()) {
      const size_t flag = FindParam(info, text);
      if (flag < values.size() && info.params[flag].is_flag()) {
        values[flag] = 1;
        continue;
      }
    }
    const size_t i = name.empty() ? next++ : FindParam(info, name);
    if (i >= values.size()) {
      return Status::InvalidArgument(fmt::format("{} has no place for \"{}\"; {}", info.name,
                                                 name.empty() ? text : name, KnownParams(info)));
    }
    KVASIR_ASSIGN_OR_RETURN(values[i], ParseValue(info, info.params[i], text));
  }
  return values;
}

}  // namespace

std::span<const CodecEntry> Codecs() {
  static const CodecEntry kCodecs[] = {
#define KVASIR_CODEC(id, name) {id, &name##_codec()},
#include "kvasir/codecs/codecs.def"
#undef KVASIR_CODEC
  };
  return kCodecs;
}

const CodecInfo* FindCodec(std::string_view name) {
  for (const CodecEntry& entry : Codecs()) {
    if (entry.info->name == name) return entry.info;
  }
  return nullptr;
}

Result<std::shared_ptr<const KvCodec>> MakeCodec(std::string_view name, const CodecArgs& args) {
  const CodecInfo* info = FindCodec(name);
  if (info == nullptr) {
    return Status::NotFound(
        fmt::format("no KV codec is called \"{}\"; there are {}", name, KnownNames()));
  }
  KVASIR_ASSIGN_OR_RETURN(const std::vector<double> values, ParseArgs(*info, args));
  return info->make(values);
}

std::string CodecName(const CodecInfo& info, CodecValues values) {
  std::string inside;
  for (size_t i = 0; i < values.size(); ++i) {
    const CodecParam& param = info.params[i];
    if (values[i] == param.default_value) continue;
    if (!inside.empty()) inside += ',';
    if (param.is_flag()) {
      inside += param.name;
    } else if (!param.choices.empty()) {
      inside += fmt::format("{}={}", param.name, param.choices[static_cast<size_t>(values[i])]);
    } else {
      inside += fmt::format("{}={}", param.name, values[i]);
    }
  }
  return inside.empty() ? std::string(info.name) : fmt::format("{}({})", info.name, inside);
}

}  // namespace kvasir
