// What a command reads: prompts, typed lines, token lists.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/common_args.h"
#include "kvasir/model/tokenizer.h"
#include "kvasir/status.h"

namespace kvasir::cli {

// The prompt of -p (escapes processed unless --no-escape), of -f, or of stdin when it is no
// terminal. `p_given`: -p was there, if only with an empty text. Errors: kInvalidArgument when both
// or neither are given; those of the file.
Result<std::string> ReadPrompt(const PromptArgs& args, bool p_given);

// All of a file descriptor up to `max_bytes`. Errors: kIoError, kInvalidArgument past the limit.
Result<std::string> ReadAll(int fd, std::string_view name, size_t max_bytes = size_t{256} << 20);

// "1 2 3" or "1,2,3" to ids, each in [0, n_vocab).
// Errors: kInvalidArgument names the word or the id out of range and its index.
Result<std::vector<TokenId>> ParseTokenIds(std::string_view source, std::string_view text,
                                           int32_t n_vocab);

// Lines of a file descriptor, one at a time; a line that ends in a backslash goes on in the next.
class LineReader {
 public:
  enum class Outcome { kLine, kEnd, kInterrupted };

  explicit LineReader(int fd) : fd_(fd) {}
  // kInterrupted: a signal came first; what was typed of the line is dropped.
  Outcome Next(std::string* line);

 private:
  Outcome NextRaw(std::string* line);

  int fd_;
  bool ended_ = false;
  std::string buffer_;
};

}  // namespace kvasir::cli
