// Input: a template, then a byte 0, then a context as JSON (an empty one when it does not parse).
// Parsing and rendering must end, within their limits, in a result or a Status; pieces must add up
// to the text.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "kvasir/model/jinja/template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using Json = nlohmann::ordered_json;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t split = std::min(input.find('\0'), input.size());
  const auto parsed = kvasir::jinja::Template::Parse(input.substr(0, split));
  if (!parsed.ok()) return 0;
  Json context = Json::object();
  if (split < input.size()) {
    Json given = Json::parse(input.substr(split + 1), nullptr, false);
    if (given.is_object()) context = std::move(given);
  }
  const auto rendered =
      parsed->Render(context, {.limits = {.max_bytes = 16 << 20, .max_steps = 200'000}, .now = 0});
  if (!rendered.ok()) return 0;
  size_t n_byte = 0;
  for (const auto& piece : rendered->pieces()) n_byte += piece.text.size();
  if (n_byte != rendered->text().size()) std::abort();
  return 0;
}
