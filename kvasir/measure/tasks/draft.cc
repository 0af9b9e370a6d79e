#include "kvasir/measure/tasks/draft.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "kvasir/core/join.h"
#include "kvasir/measure/tasks/filler.h"

namespace kvasir {
namespace {

constexpr size_t kSentencesPerLine = 6;

// The t-th j, counted from 0, for which (i + j) % 4 == 3 is as `held_out` says.
size_t SideIndex(size_t i, size_t t, bool held_out) {
  const size_t odd_one = 3 - i % 4;
  if (held_out) return 4 * t + odd_one;
  const size_t rest = t % 3;
  return 4 * (t / 3) + rest + (rest >= odd_one ? 1 : 0);
}

size_t SideSize(size_t n, bool held_out) { return n / 4 * (held_out ? 1 : 3); }

TaskOptions Resolved(TaskOptions options, const TaskInfo& task) {
  if (!options.count) {
    options.count = [](std::string_view text) { return static_cast<int64_t>(text.size()); };
  }
  if (options.n_turn == 0) options.n_turn = task.n_turn;
  if (options.n_key == 0) options.n_key = task.n_key;
  return options;
}

}  // namespace

std::string ShuffledLine(std::vector<std::string> words, SplitMix64& random) {
  std::vector<std::string> line;
  for (Deck order(words.size()); !order.empty();) {
    line.push_back(std::move(words[order.Draw(random)]));
  }
  return Join(line, " ");
}

std::string_view IndefiniteArticle(std::string_view word) {
  return kVowels.find(word.front()) != std::string_view::npos ? "an" : "a";
}

size_t Deck::Draw(SplitMix64& random) {
  assert(left_ > 0);
  const auto at = [&](size_t i) {
    const auto it = moved_.find(i);
    return it == moved_.end() ? i : it->second;
  };
  const size_t i = random.Below(left_--);
  const size_t drawn = at(i);
  moved_[i] = at(left_);
  moved_.erase(left_);
  return drawn;
}

PairDeck::PairDeck(WordList first, WordList second, bool held_out)
    : first_(first),
      second_(second),
      held_out_(held_out),
      deck_(first.size() * SideSize(second.size(), held_out)) {
  assert(second.size() % 4 == 0);
}

std::string PairDeck::Draw(SplitMix64& random, std::string_view separator) {
  const size_t drawn = deck_.Draw(random), side = SideSize(second_.size(), held_out_);
  const size_t i = drawn / side;
  return fmt::format("{}{}{}", first_[i], separator,
                     second_[SideIndex(i, drawn % side, held_out_)]);
}

TaskDraft::TaskDraft(const TaskInfo& task, const TaskOptions& options)
    : random(Mix64(HashText(task.name)) ^ Mix64(options.seed)),
      fill_random(random.Next()),
      task_(task),
      options_(Resolved(options, task)),
      held_out_(options.seed >= kFirstHeldOutSeed),
      keys_(KeyAdjectives(), KeyNouns(), held_out_),
      nouns_(SideSize(KeyNouns().size(), held_out_)) {}

std::string TaskDraft::Key(std::string_view separator) {
  if (keys_.empty()) {
    exhausted_ |= !filling_;
    return {};
  }
  std::string key = keys_.Draw(filling_ ? fill_random : random, separator);
  if (!filling_) reserved_.push_back(key);
  return key;
}

std::string TaskDraft::Noun() {
  if (nouns_.empty()) {
    exhausted_ |= !filling_;
    return {};
  }
  const size_t drawn = nouns_.Draw(filling_ ? fill_random : random);
  std::string noun(KeyNouns()[SideIndex(0, drawn, held_out_)]);
  if (!filling_) reserved_.push_back(noun);
  return noun;
}

std::string TaskDraft::Number() {
  if (numbers_.empty()) {
    exhausted_ |= !filling_;
    return {};
  }
  std::string number = fmt::to_string(1000 + numbers_.Draw(filling_ ? fill_random : random));
  if (!filling_) reserved_.push_back(number);
  return number;
}

void TaskDraft::AddFact(std::string text) { facts_.push_back({std::move(text), random.Uniform()}); }

void TaskDraft::AddOrdered(std::vector<std::string> texts) {
  std::vector<double> depths(texts.size());
  for (double& depth : depths) depth = random.Uniform();
  std::sort(depths.begin(), depths.end());
  for (size_t i = 0; i < texts.size(); ++i) facts_.push_back({std::move(texts[i]), depths[i]});
}

void TaskDraft::Ask(std::string question, std::vector<std::string> expected, std::string answer) {
  if (answer.empty()) answer = Join(expected);
  turns_.push_back({std::move(question), std::move(answer), std::move(expected)});
}

void TaskDraft::SetFrame(std::string head, std::string tail) {
  head_ = std::move(head);
  tail_ = std::move(tail);
}

std::string TaskDraft::Assemble(size_t n) const {
  std::string text = head_;
  size_t n_unit = 0;
  const auto add = [&](const std::string& unit) {
    if (n_unit > 0) {
      text += !separator_.empty() ? separator_ : n_unit % kSentencesPerLine == 0 ? "\n" : " ";
    }
    text += unit;
    ++n_unit;
  };
  auto fact = facts_.begin();
  for (size_t i = 0; i <= n; ++i) {
    for (; fact != facts_.end() &&
           (i == n || static_cast<size_t>(fact->depth * static_cast<double>(n + 1)) <= i);
         ++fact) {
      add(fact->text);
    }
    if (i < n) add(units_[i]);
  }
  return text + tail_;
}

std::string TaskDraft::NextSentence() {
  if (options_.filler.empty()) return FillerSentence(fill_random);
  if (units_.empty()) next_sentence_ = fill_random.Below(options_.filler.size());
  for (size_t tries = 0; tries < options_.filler.size(); ++tries) {
    const std::string& sentence = options_.filler[next_sentence_++ % options_.filler.size()];
    const bool tells = std::any_of(
        reserved_.begin(), reserved_.end(),
        [&](const std::string& word) { return sentence.find(word) != std::string::npos; });
    if (!tells && !sentence.empty()) return sentence;
  }
  return {};
}

bool TaskDraft::Grow(size_t n) {
  while (units_.size() < n) {
    std::string unit = filler_ ? filler_(units_.size()) : NextSentence();
    if (unit.empty()) return false;
    units_.push_back(std::move(unit));
  }
  return true;
}

// A search between the largest number of units known to fit and the smallest known not to, guided
// by the mean length of a unit.
Result<size_t> TaskDraft::FitFiller() {
  int64_t fitting_length = Count(0);
  if (fitting_length > options_.length) {
    return Status::InvalidArgument(fmt::format("task {}: the facts alone have length {}, found {}",
                                               task_.name, fitting_length, options_.length));
  }
  const int64_t bare_length = fitting_length;
  size_t fits = 0, passes = static_cast<size_t>(options_.length) + 1;
  double mean = static_cast<double>(options_.length);  // the first unit tells a better one
  while (passes - fits > 1) {
    const double more = static_cast<double>(options_.length - fitting_length) / mean;
    size_t n = std::clamp(fits + static_cast<size_t>(more), fits + 1, passes - 1);
    if (!Grow(n)) {
      n = units_.size();
      if (n == fits || Count(n) <= options_.length) {
        return Status::InvalidArgument(
            fmt::format("task {}: length {}: the word lists or the filler give less", task_.name,
                        options_.length));
      }
    }
    const int64_t length = Count(n);
    mean = std::max(1.0, static_cast<double>(length - bare_length) / static_cast<double>(n));
    if (length <= options_.length) {
      fits = n;
      fitting_length = length;
    } else {
      passes = n;
    }
  }
  return fits;
}

Status TaskDraft::TooManyKeys() const {
  return Status::InvalidArgument(fmt::format("task {}: keys: {} are more than the word lists hold",
                                             task_.name, options_.n_key));
}

Result<TaskCase> TaskDraft::Finish() {
  assert(!turns_.empty());
  if (exhausted_) {
    return Status::InvalidArgument(fmt::format(
        "task {}: keys: {} are more than the word lists hold", task_.name, options_.n_key));
  }
  std::stable_sort(facts_.begin(), facts_.end(),
                   [](const Fact& a, const Fact& b) { return a.depth < b.depth; });
  filling_ = true;
  KVASIR_ASSIGN_OR_RETURN(const size_t n, FitFiller());
  if (n < least_filler_) {
    return Status::InvalidArgument(
        fmt::format("task {}: length {} is too short: expected room for {} lines, found {}",
                    task_.name, options_.length, least_filler_, n));
  }
  return TaskCase{std::string(task_.name), options_.seed, Assemble(n), std::move(turns_)};
}

}  // namespace kvasir
