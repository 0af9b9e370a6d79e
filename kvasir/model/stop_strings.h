// Watches generated text for stop strings that may be split over any number of tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvasir {

// Text is released as soon as it can no longer be part of a stop string; the stop string itself and
// all after it never is. The stop string that is complete first counts; of several that end at the
// same byte, the longest. How the text is cut into pushes makes no difference. Empty stop strings
// are ignored. Works on bytes, so a character split between tokens is no special case. One per
// sequence.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);

  // Adds generated text and returns what may be shown now; nothing after a stop.
  std::string Push(std::string_view text);
  // At the end of generation: the text still held back, which is part of the output.
  std::string Finish();

  bool stopped() const { return !matched_.empty(); }
  // The stop string that ended the text; empty while there is none.
  const std::string& matched() const { return matched_; }

 private:
  size_t HeldBytes() const;

  std::vector<std::string> stops_;
  std::string held_;
  std::string matched_;
};

}  // namespace kvasir
