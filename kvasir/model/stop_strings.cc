#include "kvasir/model/stop_strings.h"

#include <algorithm>
#include <utility>

namespace kvasir {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, std::string());
}

// The longest end of `held_` that begins a stop string.
size_t StopMatcher::HeldBytes() const {
  size_t held = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > held; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) held = n;
    }
  }
  return held;
}

std::string StopMatcher::Push(std::string_view text) {
  if (stopped()) return {};
  held_ += text;
  size_t begin = 0, end = std::string::npos;
  const std::string* match = nullptr;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos || std::pair(at + stop.size(), at) >= std::pair(end, begin))
      continue;
    begin = at;
    end = at + stop.size();
    match = &stop;
  }
  if (match) {
    matched_ = *match;
    held_.resize(begin);
    return std::exchange(held_, {});
  }
  const size_t n_free = held_.size() - HeldBytes();
  std::string free = held_.substr(0, n_free);
  held_.erase(0, n_free);
  return free;
}

std::string StopMatcher::Finish() { return std::exchange(held_, {}); }

}  // namespace kvasir
