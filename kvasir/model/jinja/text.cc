#include "kvasir/model/jinja/text.h"

#include <algorithm>
#include <cassert>

namespace kvasir::jinja {

size_t Text::FlipsUpTo(size_t at) const {
  return std::upper_bound(flips_.begin(), flips_.end(), at) - flips_.begin();
}

bool Text::from_input(size_t at) const { return first_ != (FlipsUpTo(at) % 2 == 1); }

void Text::Append(std::string_view bytes, bool from_input) {
  if (bytes.empty()) return;
  if (bytes_.empty()) {
    first_ = from_input;
  } else if ((first_ != (flips_.size() % 2 == 1)) != from_input) {
    flips_.push_back(bytes_.size());
  }
  bytes_.append(bytes);
}

void Text::AppendRange(const Text& other, size_t begin, size_t end) {
  assert(this != &other);
  other.ForEachRun(begin, end,
                   [this](std::string_view run, bool from_input) { Append(run, from_input); });
}

Text Text::Slice(size_t begin, size_t end) const {
  Text out;
  out.AppendRange(*this, begin, end);
  return out;
}

}  // namespace kvasir::jinja
