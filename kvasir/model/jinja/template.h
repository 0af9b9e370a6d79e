// The subset of Jinja that chat templates use, as Hugging Face transformers configures it:
// trim_blocks and lstrip_blocks on, nothing escaped, tojson without ASCII escapes, loop controls,
// raise_exception(message) and strftime_now(format).
#pragma once

#include <ctime>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/model/jinja/value.h"
#include "kvasir/model/tokenizer.h"
#include "kvasir/status.h"

namespace kvasir::jinja {

// What a template wrote. Bytes that come from the context's strings are known as such through every
// operation of the template, unless the context trusted them.
class Rendered {
 public:
  Rendered() = default;
  explicit Rendered(Text text) : text_(std::move(text)) {}
  const std::string& text() const { return text_.bytes(); }
  // The same text cut by origin: only what the template itself spelled may be read as control
  // tokens. Views borrow from this object.
  std::vector<Tokenizer::Piece> pieces() const;

 private:
  Text text_;
};

// A string of the context: where it stands and what it says.
struct ContextString {
  int depth;             // 0 for the context's own entries
  std::string_view key;  // of the nearest object around it
  std::string_view value;
};

struct RenderOptions {
  Limits limits = {};
  std::optional<std::time_t> now =
      {};  // what strftime_now() reads, shown in local time; else the clock
  // Strings that may spell control tokens as if the template had written them; none when empty.
  std::function<bool(const ContextString&)> trusts = {};
};

// A compiled template. Immutable; safe to share between threads.
class Template {
 public:
  // Errors name the line: kInvalidArgument for bad syntax or bytes that are not UTF-8,
  // kUnsupported for a tag this subset lacks.
  static Result<Template> Parse(std::string_view source);
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  // `context` must be an object; its entries are the template's variables.
  // Errors name the line: kInvalidArgument for what the template raises, wrong types, undefined
  // values in use and exceeded steps or depth; kUnsupported for an unknown filter or test;
  // kOutOfMemory past limits.max_bytes.
  Result<Rendered> Render(const nlohmann::ordered_json& context,
                          const RenderOptions& options = {}) const;

 private:
  struct Program;
  explicit Template(std::unique_ptr<const Program> program);
  std::unique_ptr<const Program> program_;
};

inline constexpr size_t kMaxTemplateBytes = size_t{4} << 20;

}  // namespace kvasir::jinja
