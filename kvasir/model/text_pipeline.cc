#include "kvasir/model/text_pipeline.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <span>
#include <utility>

#include "kvasir/model/byte_alphabet.h"
#include "kvasir/model/utf8.h"

namespace kvasir {
namespace {

// Calls `visit(stretch, is_utf8)` over alternating stretches of well-formed and other bytes.
template <typename Visit>
void ForEachStretch(std::string_view text, Visit visit) {
  while (!text.empty()) {
    size_t n = ValidUtf8Prefix(text);
    if (n > 0) visit(text.substr(0, n), true);
    text.remove_prefix(n);
    for (n = 0; n < text.size();) {
      const Utf8Unit unit = NextUtf8(text.substr(n));
      if (unit.kind == Utf8Kind::kValid) break;
      n += unit.length;
    }
    if (n > 0) visit(text.substr(0, n), false);
    text.remove_prefix(n);
  }
}

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t found = std::min(text.find(from, at), text.size());
    out += text.substr(at, found - at);
    if (found < text.size()) out += to;
    at = found + from.size();
  }
  return out;
}

int Utf8ProcOptions(NormalizeStep::Kind kind) {
  switch (kind) {
    case NormalizeStep::Kind::kNfc: return UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    case NormalizeStep::Kind::kNfkc: return UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
    case NormalizeStep::Kind::kNfkd: return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
    default: return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
  }
}

std::string UnicodeForm(std::string_view text, NormalizeStep::Kind kind) {
  if (std::all_of(text.begin(), text.end(),
                  [](char c) { return static_cast<uint8_t>(c) < 0x80; })) {
    return std::string(text);
  }
  std::string out;
  ForEachStretch(text, [&](std::string_view stretch, bool is_utf8) {
    uint8_t* mapped = nullptr;
    const auto n = is_utf8 ? utf8proc_map(reinterpret_cast<const uint8_t*>(stretch.data()),
                                          static_cast<utf8proc_ssize_t>(stretch.size()), &mapped,
                                          static_cast<utf8proc_option_t>(Utf8ProcOptions(kind)))
                           : -1;
    if (n >= 0) {
      out.append(reinterpret_cast<const char*>(mapped), static_cast<size_t>(n));
    } else {
      out += stretch;
    }
    std::free(mapped);
  });
  return out;
}

struct Segment {
  std::string_view text;
  bool is_match;
};

void FindSegments(const Regex& pattern, std::string_view text, std::vector<Segment>& out) {
  size_t done = 0;
  for (size_t from = 0; from <= text.size();) {
    const Regex::Match match = pattern.Find(text, from);
    if (match.outcome != Regex::Match::Outcome::kFound) break;
    if (match.begin > done) out.push_back({text.substr(done, match.begin - done), false});
    out.push_back({text.substr(match.begin, match.end - match.begin), true});
    done = from = match.end;
    if (match.begin == match.end) {
      if (from == text.size()) break;
      from += NextUtf8(text.substr(from)).length;
    }
  }
  if (done < text.size()) out.push_back({text.substr(done), false});
}

// Both views are of one buffer and `right` starts where `left` ends.
std::string_view Joined(std::string_view left, std::string_view right) {
  return {left.data(), left.size() + right.size()};
}

void MergeWithPrevious(std::span<const Segment> segments, std::vector<std::string_view>& words) {
  const size_t first = words.size();
  bool previous_match = false;
  for (const Segment& segment : segments) {
    if (segment.is_match && !previous_match && words.size() > first) {
      words.back() = Joined(words.back(), segment.text);
    } else {
      words.push_back(segment.text);
    }
    previous_match = segment.is_match;
  }
}

void MergeWithNext(std::span<const Segment> segments, std::vector<std::string_view>& words) {
  for (size_t i = 0; i < segments.size(); ++i) {
    // Of a run of matches the last belongs to what follows.
    if (segments[i].is_match && i + 1 < segments.size() && !segments[i + 1].is_match) {
      words.push_back(Joined(segments[i].text, segments[i + 1].text));
      ++i;
    } else {
      words.push_back(segments[i].text);
    }
  }
}

void Apply(const SplitStep& step, std::span<const Segment> segments,
           std::vector<std::string_view>& words) {
  using Behavior = SplitStep::Behavior;
  switch (step.behavior) {
    case Behavior::kMergedWithPrevious: return MergeWithPrevious(segments, words);
    case Behavior::kMergedWithNext: return MergeWithNext(segments, words);
    case Behavior::kIsolated:
    case Behavior::kRemoved:
      for (const Segment& segment : segments) {
        if (!segment.is_match || step.behavior == Behavior::kIsolated) {
          words.push_back(segment.text);
        }
      }
      return;
    case Behavior::kContiguous:
      for (size_t i = 0; i < segments.size(); ++i) {
        if (i > 0 && segments[i].is_match == segments[i - 1].is_match) {
          words.back() = Joined(words.back(), segments[i].text);
        } else {
          words.push_back(segments[i].text);
        }
      }
      return;
  }
}

std::vector<std::string_view> SplitByRegex(const SplitStep& step,
                                           std::span<const std::string_view> words) {
  std::vector<std::string_view> out;
  std::vector<Segment> segments;
  for (const std::string_view word : words) {
    ForEachStretch(word, [&](std::string_view stretch, bool is_utf8) {
      segments.clear();
      if (is_utf8) {
        FindSegments(*step.pattern, stretch, segments);
      } else {
        segments.push_back({stretch, false});
      }
      if (step.invert) {
        for (Segment& segment : segments) segment.is_match = !segment.is_match;
      }
      // Bytes that no pattern can judge are never removed.
      if (is_utf8) {
        Apply(step, segments, out);
      } else {
        out.push_back(stretch);
      }
    });
  }
  std::erase_if(out, [](std::string_view word) { return word.empty(); });
  return out;
}

// Rebuilds the buffer with `respell(index, word)` for each word.
template <typename Respell>
void Rewrite(Words& words, Respell respell) {
  std::string buffer;
  std::vector<size_t> ends;
  ends.reserve(words.words.size());
  for (size_t i = 0; i < words.words.size(); ++i) {
    respell(i, words.words[i], buffer);
    ends.push_back(buffer.size());
  }
  words.buffer = std::move(buffer);
  size_t begin = 0;
  for (size_t i = 0; i < ends.size(); ++i) {
    words.words[i] = std::string_view(words.buffer).substr(begin, ends[i] - begin);
    begin = ends[i];
  }
}

void AddPrefix(Words& words, const std::string& marker, bool first_only) {
  Rewrite(words, [&](size_t i, std::string_view word, std::string& buffer) {
    if ((i == 0 || !first_only) && !word.starts_with(marker)) buffer += marker;
    buffer += word;
  });
}

}  // namespace

std::string Normalize(const TextPipeline& pipeline, std::string_view text) {
  std::string out(text);
  for (const NormalizeStep& step : pipeline.normalize) {
    switch (step.kind) {
      case NormalizeStep::Kind::kPrepend:
        if (!out.empty()) out.insert(0, step.to);
        break;
      case NormalizeStep::Kind::kReplace: out = ReplaceAll(out, step.from, step.to); break;
      default: out = UnicodeForm(out, step.kind);
    }
  }
  return out;
}

void SplitWords(const TextPipeline& pipeline, std::string_view text, bool at_text_start,
                Words& out) {
  out.buffer = text;
  out.words.clear();
  if (text.empty()) return;
  out.words.push_back(out.buffer);
  for (const SplitStep& step : pipeline.split) {
    switch (step.kind) {
      case SplitStep::Kind::kRegex: out.words = SplitByRegex(step, out.words); break;
      case SplitStep::Kind::kBytes:
        Rewrite(out, [](size_t, std::string_view word, std::string& buffer) {
          buffer += BytesToAlphabet(word);
        });
        break;
      case SplitStep::Kind::kReplaceSpaces:
        Rewrite(out, [&](size_t, std::string_view word, std::string& buffer) {
          buffer += ReplaceAll(word, " ", step.marker);
        });
        break;
      case SplitStep::Kind::kSpacePrefix: AddPrefix(out, step.marker, false); break;
      case SplitStep::Kind::kTextSpacePrefix:
        if (at_text_start) AddPrefix(out, step.marker, true);
        break;
    }
  }
}

Result<SplitStep> IsolatingStep(std::string_view pattern) {
  KVASIR_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
  SplitStep step{.kind = SplitStep::Kind::kRegex};
  step.pattern = std::make_shared<const Regex>(std::move(regex));
  return step;
}

}  // namespace kvasir
