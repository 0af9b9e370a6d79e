// PCRE2 with Unicode properties, as tokenizer patterns need it: look-ahead, possessive
// quantifiers, \p{..}. \s means Unicode White_Space, as in the engines those patterns come from.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "kvasir/status.h"

namespace kvasir {

// Immutable; safe to share between threads.
class Regex {
 public:
  // Errors: kUnsupported shows the pattern and what is wrong with it.
  static Result<Regex> Compile(std::string_view pattern);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  struct Match {
    enum class Outcome { kFound, kNone, kGaveUp } outcome;
    size_t begin = 0;
    size_t end = 0;
  };
  // The first match at or after `from`, a character boundary. `text` must be valid UTF-8.
  // kGaveUp: the pattern backtracks beyond all measure here; the text cannot be searched further.
  Match Find(std::string_view text, size_t from) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

}  // namespace kvasir
