// A string whose bytes know where they come from: the template, or the request it renders. Every
// operation of the language keeps these marks, so that a control token spelled inside a user's
// words can still be told from one that the template wrote.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kvasir::jinja {

class Text {
 public:
  Text() = default;
  explicit Text(std::string bytes, bool from_input = false)
      : bytes_(std::move(bytes)), first_(from_input) {}

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  // What the string holds in memory.
  size_t footprint() const { return bytes_.size() + flips_.size() * sizeof(size_t); }

  // `at` must be below size().
  bool from_input(size_t at) const;
  void Append(std::string_view bytes, bool from_input);
  void Append(const Text& other) { AppendRange(other, 0, other.size()); }
  // Bytes [begin, end) of `other`, which must be another object.
  void AppendRange(const Text& other, size_t begin, size_t end);
  Text Slice(size_t begin, size_t end) const;

  // Calls visit(std::string_view run, bool from_input) for each longest run of one origin within
  // [begin, end).
  template <typename Visit>
  void ForEachRun(size_t begin, size_t end, const Visit& visit) const {
    size_t flip = FlipsUpTo(begin);
    while (begin < end) {
      const size_t stop = flip < flips_.size() && flips_[flip] < end ? flips_[flip] : end;
      visit(std::string_view(bytes_).substr(begin, stop - begin), first_ != (flip % 2 == 1));
      begin = stop;
      ++flip;
    }
  }

 private:
  size_t FlipsUpTo(size_t at) const;  // number of flips at or before `at`

  std::string bytes_;
  bool first_ = false;         // origin of the first byte
  std::vector<size_t> flips_;  // ascending offsets in (0, size) where the origin changes
};

}  // namespace kvasir::jinja
