#include "cli/args.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "cli/arg_values.h"
#include "kvasir/core/edit_distance.h"
#include "kvasir/core/join.h"

namespace kvasir::cli {
namespace {

std::string EnvName(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (!name.starts_with("--")) continue;
    std::string env = "KVASIR_";
    for (const char c : name.substr(2)) {
      env += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    }
    return env;
  }
  return {};
}

bool IsBool(const Option& option) { return std::holds_alternative<bool*>(option.target); }

bool TakesValue(const Option& option) {
  const auto* ignored = std::get_if<Ignored>(&option.target);
  return ignored ? ignored->takes_value : !IsBool(option);
}

bool IsList(const Option& option) {
  return std::holds_alternative<std::vector<std::string>*>(option.target) ||
         std::holds_alternative<std::vector<int64_t>*>(option.target);
}

bool Contains(const std::vector<std::string>& values, std::string_view value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

void ClearList(const Target& target) {
  if (auto* const* strings = std::get_if<std::vector<std::string>*>(&target)) (*strings)->clear();
  if (auto* const* numbers = std::get_if<std::vector<int64_t>*>(&target)) (*numbers)->clear();
}

// A word that can only be meant as a flag: "-5" and "-" are values.
bool LooksLikeFlag(std::string_view word) {
  if (word.size() < 2 || word[0] != '-') return false;
  return !(word[1] >= '0' && word[1] <= '9') && word[1] != '.';
}

// The help text broken into lines of at most `width` columns, continued at `indent`.
std::string Wrap(const std::string& text, size_t width, size_t indent) {
  std::string out;
  size_t column = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const size_t length = end - begin;
    if (column != 0 && column + 1 + length > width) {
      out += '\n';
      out.append(indent, ' ');
      column = 0;
    } else if (column != 0) {
      out += ' ';
      ++column;
    }
    out.append(text, begin, length);
    column += length;
    begin = end + 1;
  }
  return out;
}

std::string HelpLine(const std::string& left, const std::string& right) {
  constexpr size_t kLeft = 34, kRight = 66;
  const std::string gap = left.size() < kLeft ? std::string(kLeft - left.size(), ' ')
                                              : "\n" + std::string(kLeft + 2, ' ');
  return "  " + left + gap + Wrap(right, kRight, kLeft + 2) + "\n";
}

}  // namespace

const char* ProcessEnvironment(const char* name) { return std::getenv(name); }

ArgTable::ArgTable(std::string command, std::string summary)
    : command_(std::move(command)), summary_(std::move(summary)) {}

void ArgTable::Add(std::string title, std::vector<Option> options) {
  const size_t begin = entries_.size();
  for (Option& option : options) {
    Entry entry;
    for (const std::string_view name : option.names) entry.names.emplace_back(name);
    for (const std::string_view name : option.negative) entry.negatives.emplace_back(name);
    if (IsBool(option)) {
      for (const std::string& name : entry.names) {
        if (name.starts_with("--")) entry.negatives.push_back("--no-" + name.substr(2));
      }
    }
    if (!std::holds_alternative<Ignored>(option.target)) entry.env = EnvName(entry.names);
    entry.default_text = ShowValue(option.target);
    entry.option = std::move(option);
    entries_.push_back(std::move(entry));
  }
  sections_.push_back({std::move(title), begin, entries_.size()});
}

const ArgTable::Entry* ArgTable::Find(std::string_view flag) const {
  for (const Entry& entry : entries_) {
    if (Contains(entry.names, flag) || Contains(entry.negatives, flag)) return &entry;
  }
  return nullptr;
}

ArgTable::Match ArgTable::Find(std::string_view flag) {
  for (Entry& entry : entries_) {
    if (Contains(entry.names, flag)) return {&entry, false};
    if (Contains(entry.negatives, flag)) return {&entry, true};
  }
  return {};
}

bool ArgTable::Given(std::string_view name) const {
  const Entry* entry = Find(name);
  assert(entry && "Given() asks for a flag that the table lacks");
  return entry->given;
}

Status ArgTable::Parse(std::span<const std::string> args, const Environment& env) {
  KVASIR_RETURN_IF_ERROR(ReadEnvironment(env));
  bool flags_ended = false;
  for (size_t i = 0; i < args.size();) {
    const std::string& word = args[i];
    if (!flags_ended && word == "--") {
      flags_ended = true;
      ++i;
    } else if (!flags_ended && LooksLikeFlag(word)) {
      size_t used = 1;
      KVASIR_RETURN_IF_ERROR(ParseFlag(word, args.subspan(i + 1), &used));
      if (help_requested_) return Status::Ok();
      i += used;
    } else if (positionals_.target && positionals_.target->size() < positionals_.max) {
      positionals_.target->push_back(word);
      ++i;
    } else {
      return Status::InvalidArgument(
          fmt::format("{}: expected a flag, found '{}'; `kvasir {} --help` lists them", command_,
                      word, command_));
    }
  }
  return CheckPositionals();
}

Status ArgTable::ParseFlag(const std::string& word, std::span<const std::string> rest,
                           size_t* used) {
  const size_t equals = word.find('=');
  const std::string flag = word.substr(0, equals);
  const std::string inline_text = equals == std::string::npos ? "" : word.substr(equals + 1);
  const std::string* inline_value = equals == std::string::npos ? nullptr : &inline_text;

  const Match match = Find(flag);
  if (!match.entry) {
    if (flag == "-h" || flag == "--help") {
      help_requested_ = true;
      return Status::Ok();
    }
    return UnknownFlag(flag);
  }
  Entry& entry = *match.entry;
  Note(entry, flag);
  if (IsBool(entry.option)) return ParseBool(entry, match.negated, flag, inline_value);
  if (!TakesValue(entry.option)) return Status::Ok();

  const bool first = !std::exchange(entry.given_by_word, true);
  if (first && IsList(entry.option)) ClearList(entry.option.target);
  if (inline_value) return Set(entry, flag, *inline_value);
  const bool has_next = !rest.empty();
  if (!entry.option.implied.empty() &&
      !(has_next && Contains(entry.option.choices, rest.front()))) {
    return Set(entry, flag, std::string(entry.option.implied));
  }
  if (!has_next) {
    return Status::InvalidArgument(fmt::format("{}: expected {}, found the end of the command line",
                                               flag, ExpectedText(entry.option)));
  }
  if (LooksLikeFlag(rest.front()) && Find(std::string_view(rest.front())).entry) {
    return Status::InvalidArgument(
        fmt::format("{0}: expected {1}, found the flag {2} (write {0}={2} if that is the value)",
                    flag, ExpectedText(entry.option), rest.front()));
  }
  *used = 2;
  return Set(entry, flag, rest.front());
}

Status ArgTable::ParseBool(Entry& entry, bool negated, std::string_view flag,
                           const std::string* inline_value) {
  bool value = true;
  if (inline_value) {
    KVASIR_ASSIGN_OR_RETURN(value, ParseBoolean(flag, *inline_value));
  }
  *std::get<bool*>(entry.option.target) = value != negated;
  entry.given = true;
  return Status::Ok();
}

Status ArgTable::Set(Entry& entry, std::string_view source, const std::string& value) {
  entry.given = true;
  return SetValue(entry.option, source, value);
}

Status ArgTable::ReadEnvironment(const Environment& env) {
  for (Entry& entry : entries_) {
    if (entry.env.empty()) continue;
    std::vector<std::string> variables = {entry.env};
    if (!entry.option.llama_env.empty()) {
      variables.push_back(fmt::format("LLAMA_ARG_{}", entry.option.llama_env));
    }
    for (const std::string& variable : variables) {
      const char* text = env(variable.c_str());
      if (!text || *text == '\0') continue;
      if (IsList(entry.option)) ClearList(entry.option.target);
      KVASIR_RETURN_IF_ERROR(Set(entry, variable, text));
      break;
    }
  }
  return Status::Ok();
}

Status ArgTable::CheckPositionals() const {
  if (!positionals_.target || positionals_.target->size() >= positionals_.min) return Status::Ok();
  return Status::InvalidArgument(fmt::format("{}: expected {}, found {} of {}", command_,
                                             positionals_.metavar, positionals_.target->size(),
                                             positionals_.min));
}

Status ArgTable::UnknownFlag(std::string_view flag) const {
  const std::string* nearest = nullptr;
  // Beyond a third of its letters a flag is a different word.
  size_t best = flag.size() / 3 + 1;
  for (const Entry& entry : entries_) {
    for (const auto* names : {&entry.names, &entry.negatives}) {
      for (const std::string& name : *names) {
        const size_t distance = EditDistance(flag, name);
        if (distance < best || (distance == best && !nearest)) {
          best = distance;
          nearest = &name;
        }
      }
    }
  }
  return Status::InvalidArgument(
      nearest ? fmt::format("{}: unknown flag {}; did you mean {}?", command_, flag, *nearest)
              : fmt::format("{}: unknown flag {}; `kvasir {} --help` lists them", command_, flag,
                            command_));
}

void ArgTable::Note(Entry& entry, std::string_view flag) {
  if (!entry.option.notice.empty()) {
    notices_.push_back(fmt::format("{}: {}", flag, entry.option.notice));
  }
}

std::string ArgTable::Help() const {
  std::string out = fmt::format("{}\n\nusage: kvasir {} [FLAGS]", summary_, command_);
  if (positionals_.target) {
    out += fmt::format(" {}\n\n", positionals_.metavar);
    out += HelpLine(std::string(positionals_.metavar), std::string(positionals_.help));
  } else {
    out += '\n';
  }
  for (const Section& section : sections_) {
    out += fmt::format("\n{}:\n", section.title);
    for (size_t i = section.begin; i < section.end; ++i) {
      const Entry& entry = entries_[i];
      std::string left = Join(entry.names);
      if (!entry.negatives.empty()) left += fmt::format(", {}", Join(entry.negatives));
      if (!entry.option.metavar.empty()) left += fmt::format(" {}", entry.option.metavar);
      std::string right = entry.option.help;
      if (!entry.option.choices.empty()) {
        right += fmt::format(" ({})", Join(entry.option.choices));
      }
      if (!entry.default_text.empty()) right += fmt::format(" [{}]", entry.default_text);
      out += HelpLine(left, right);
    }
  }
  out += "\nEach --flag can also be set in the environment as KVASIR_FLAG.\n";
  return out;
}

Result<bool> ParseOrHelp(ArgTable& table, std::span<const std::string> args) {
  KVASIR_RETURN_IF_ERROR(table.Parse(args));
  if (table.help_requested()) {
    fmt::print("{}", table.Help());
    return false;
  }
  for (const std::string& notice : table.notices()) fmt::print(stderr, "kvasir: {}\n", notice);
  return true;
}

}  // namespace kvasir::cli
