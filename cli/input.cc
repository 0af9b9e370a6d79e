#include "cli/input.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "kvasir/core/mapped_file.h"

namespace kvasir::cli {

Result<std::string> ReadAll(int fd, std::string_view name, size_t max_bytes) {
  std::string text;
  char chunk[1 << 16];
  for (;;) {
    const ssize_t n = read(fd, chunk, sizeof(chunk));
    if (n == 0) return text;
    if (n < 0) return Status::IoError(fmt::format("{}: {}", name, std::strerror(errno)));
    text.append(chunk, static_cast<size_t>(n));
    if (text.size() > max_bytes) {
      return Status::InvalidArgument(
          fmt::format("{}: expected at most {} bytes, found more", name, max_bytes));
    }
  }
}

Result<std::string> ReadPrompt(const PromptArgs& args, bool p_given) {
  if (p_given && !args.file.empty()) {
    return Status::InvalidArgument("prompt: expected one of -p and -f, found both");
  }
  if (p_given) return args.escape ? ProcessEscapes(args.prompt) : args.prompt;
  if (!args.file.empty() && args.file != "-") return ReadFile(args.file);
  if (args.file.empty() && isatty(STDIN_FILENO) == 1) {
    return Status::InvalidArgument(
        "prompt: expected -p TEXT, -f FILE or text on stdin, found none");
  }
  return ReadAll(STDIN_FILENO, "stdin");
}

Result<std::vector<TokenId>> ParseTokenIds(std::string_view source, std::string_view text,
                                           int32_t n_vocab) {
  constexpr std::string_view kSeparators = " ,\t\r\n";
  std::vector<TokenId> ids;
  for (size_t begin = text.find_first_not_of(kSeparators); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kSeparators, begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    int64_t id = 0;
    const auto [rest, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || rest != word.data() + word.size()) {
      return Status::InvalidArgument(
          fmt::format("{}: expected token ids, found '{}' at index {}", source, word, ids.size()));
    }
    if (id < 0 || id >= n_vocab) {
      return Status::InvalidArgument(
          fmt::format("{}: expected ids from 0 to {}, found {} at index {}", source, n_vocab - 1,
                      id, ids.size()));
    }
    ids.push_back(static_cast<TokenId>(id));
    begin = text.find_first_not_of(kSeparators, end);
  }
  if (ids.empty()) {
    return Status::InvalidArgument(fmt::format("{}: expected token ids, found none", source));
  }
  return ids;
}

LineReader::Outcome LineReader::NextRaw(std::string* line) {
  for (;;) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      *line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return Outcome::kLine;
    }
    if (ended_) {
      *line = std::exchange(buffer_, {});
      return line->empty() ? Outcome::kEnd : Outcome::kLine;
    }
    char chunk[4096];
    const ssize_t n = read(fd_, chunk, sizeof(chunk));
    if (n < 0 && errno == EINTR) {
      buffer_.clear();
      return Outcome::kInterrupted;
    }
    if (n <= 0) {
      ended_ = true;
    } else {
      buffer_.append(chunk, static_cast<size_t>(n));
    }
  }
}

LineReader::Outcome LineReader::Next(std::string* line) {
  Outcome outcome = NextRaw(line);
  while (outcome == Outcome::kLine && line->ends_with('\\')) {
    std::string more;
    outcome = NextRaw(&more);
    line->back() = '\n';
    if (outcome == Outcome::kEnd) return Outcome::kLine;
    *line += more;
  }
  return outcome;
}

}  // namespace kvasir::cli
