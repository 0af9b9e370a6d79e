#include <fmt/format.h>

#include <memory>
#include <vector>

#include "kvasir/core/join.h"
#include "kvasir/measure/tasks/draft.h"
#include "kvasir/measure/tasks/filler.h"

namespace kvasir {
namespace {

struct Person {
  std::string name, town, job, animal, food;

  static Person Draw(PairDeck& names, SplitMix64& random) {
    const auto pick = [&](WordList words) {
      return std::string(words[random.Below(words.size())]);
    };
    return {names.Draw(random), pick(Towns()), pick(Jobs()), pick(Animals()), pick(Foods())};
  }

  // The first sentence alone has the full name; the others follow in any order.
  std::string Paragraph(SplitMix64& random) const {
    const std::string first = name.substr(0, name.find(' '));
    const std::string rest[] = {
        fmt::format("{} works as {} {}.", first, IndefiniteArticle(job), job),
        fmt::format("{} keeps {} {} at home.", first, IndefiniteArticle(animal), animal),
        fmt::format("{} likes to eat {}.", first, food),
    };
    std::string text = fmt::format("{} was born in {}.", name, town);
    for (Deck order(std::size(rest)); !order.empty();) text += " " + rest[order.Draw(random)];
    return text;
  }

  void Ask(TaskDraft& draft, size_t what) const {
    switch (what) {
      case 0: return draft.Ask(fmt::format("Where was {} born?", name), {town});
      case 1: return draft.Ask(fmt::format("What is the job of {}?", name), {job});
      case 2: return draft.Ask(fmt::format("What animal does {} keep?", name), {animal});
      default: return draft.Ask(fmt::format("What does {} like to eat?", name), {food});
    }
  }
};

std::string FillerParagraph(SplitMix64& random) {
  constexpr int kSentences = 4;
  std::string text = FillerSentence(random);
  for (int i = 1; i < kSentences; ++i) text.append(" ").append(FillerSentence(random));
  return text;
}

// Every second paragraph is about somebody nobody asks for.
Status Draft(TaskDraft& draft) {
  auto names = std::make_shared<PairDeck>(FirstNames(), LastNames(), draft.held_out());
  std::vector<Person> people;
  for (int i = 0; i < draft.n_key() && !names->empty(); ++i) {
    people.push_back(Person::Draw(*names, draft.random));
    draft.AddFact(people.back().Paragraph(draft.random));
  }
  constexpr size_t kQuestions = 4;
  Deck order(people.size() * kQuestions);
  for (int turn = 0; turn < draft.n_turn() && !order.empty(); ++turn) {
    const size_t drawn = order.Draw(draft.random);
    people[drawn / kQuestions].Ask(draft, drawn % kQuestions);
  }
  draft.SetSeparator("\n");
  draft.SetFiller([&draft, names](size_t index) {
    if (index % 2 == 1 || names->empty()) return FillerParagraph(draft.fill_random);
    return Person::Draw(*names, draft.fill_random).Paragraph(draft.fill_random);
  });
  return Status::Ok();
}

}  // namespace

const TaskInfo& qa_task() {
  static constexpr TaskInfo task = {
      .name = "qa",
      .summary = "questions about invented people over shuffled paragraphs",
      .card = "RULER question answering, arXiv:2404.06654",
      .n_turn = 1,
      .n_key = 4,
      .keys = "people that may be asked about",
      .draft = Draft,
  };
  return task;
}

}  // namespace kvasir
