#include "kvasir/measure/tasks/filler.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <span>

namespace kvasir {
namespace {

using Phrases = std::span<const std::string_view>;

// A '$' and a letter in a pattern stand for a phrase of that letter's list.
constexpr std::string_view kPatterns[] = {
    "$T the $a $p $v the $o $w.",
    "The $p $v the $a $o $w.",
    "The $a $p $i $d $w.",
    "$T the $p $i $w because $r.",
    "The $p said that $r.",
    "Nobody $w knew that $r.",
    "$W, so the $p $v the $o.",
    "$W, and the $a $p $i $d.",
    "Although $r, the $p $v the $o $d.",
    "When the $p $v the $o, the $q $i.",
    "The $a $o $w was $b than the $a $m.",
    "The $o and the $m were both $b than before.",
    "It was $d that the $p $v the $a $o.",
    "Every $p $w liked the $a $o.",
    "There was a $a $o $w.",
    "There were many $a visitors $w.",
    "$T there was nothing $w but the $a $o.",
    "The $p and the $q $i together $w.",
    "Neither the $p nor the $q $v the $m.",
    "The $p asked the $q about the $a $o.",
    "The $p told the $q that $r.",
    "$T the $q wrote about the $o $w.",
    "Most people $w thought the $o was $a.",
    "The $m of the $p was $a and $c.",
    "The $m $w looked $a.",
    "As usual, the $p $i $d.",
    "Before long the $a $p $v the $m.",
    "After that the $q $i $w.",
    "If the $p had seen the $o, the $q would have smiled.",
    "The $a $p never $v the $o again.",
    "Without a word the $p $v the $o.",
    "For a while the $q $i $d $w.",
    "One $p $v the $o while the other $i.",
    "The $p wanted a $a $o more than a $c $m.",
    "The $a $m belonged to a $p from far away.",
    "People $w still talk about the $a $q.",
    "$W.",
    "$T $r.",
    "The $q was $d $c.",
    "A $c $p often $v the $m $w.",
    "The $o cost less than the $m.",
    "Both the $p and the $q knew that $r.",
};

constexpr std::string_view kTimes[] = {
    "In the morning",       "Last winter",        "Years ago",          "At noon",
    "After the rain",       "Before dinner",      "One evening",        "During the holiday",
    "At the weekend",       "On a quiet day",     "Late at night",      "In early spring",
    "Toward the end",       "All summer long",    "Once a week",        "At dawn",
    "That afternoon",       "Every autumn",       "Between meetings",   "When school was over",
    "In those days",        "Not long afterward", "Just before sunset", "On the first warm day",
    "After a long journey", "Since that day",     "From time to time",  "By midnight",
};
constexpr std::string_view kPersons[] = {
    "farmer",    "neighbor", "student",  "merchant", "traveler", "soldier",  "cook",
    "mayor",     "artist",   "fiddler",  "shepherd", "captain",  "waiter",   "scholar",
    "stranger",  "tenant",   "girl",     "boy",      "widow",    "postman",  "clown",
    "collector", "inventor", "writer",   "musician", "tourist",  "cousin",   "uncle",
    "aunt",      "brother",  "landlord", "official", "sergeant", "reporter", "customer",
};
constexpr std::string_view kOthers[] = {
    "committee", "family",   "crowd",   "manager",    "old woman", "old man", "choir",
    "team",      "children", "council", "professor",  "guest",     "host",    "nephew",
    "niece",     "partner",  "sister",  "apprentice", "owner",     "expert",  "audience",
};
constexpr std::string_view kTransitive[] = {
    "carried",  "repaired", "painted",   "admired",  "forgot",    "described", "lifted",
    "found",    "cleaned",  "sold",      "bought",   "borrowed",  "lost",      "watched",
    "examined", "moved",    "finished",  "covered",  "noticed",   "opened",    "closed",
    "brought",  "returned", "measured",  "praised",  "mentioned", "avoided",   "tasted",
    "polished", "wrapped",  "delivered", "replaced", "decorated", "studied",   "ignored",
};
constexpr std::string_view kIntransitive[] = {
    "waited",   "slept",   "laughed", "sang",     "argued",    "walked",   "rested",
    "listened", "worked",  "danced",  "smiled",   "whispered", "arrived",  "hurried",
    "paused",   "cried",   "nodded",  "stayed",   "read",      "wandered", "talked",
    "prayed",   "shouted", "yawned",  "stumbled", "trembled",  "returned", "vanished",
};
constexpr std::string_view kObjects[] = {
    "letter",   "fence",    "loaf",    "coat",      "roof",      "shelf", "bench",   "newspaper",
    "cart",     "chimney",  "wall",    "blanket",   "cabinet",   "sofa",  "plate",   "cushion",
    "chair",    "parcel",   "window",  "door",      "staircase", "table", "bicycle", "sweater",
    "sack",     "portrait", "diary",   "telescope", "curtain",   "bowl",  "shirt",   "ticket",
    "suitcase", "recipe",   "machine", "package",   "poster",    "novel", "garage",  "boots",
};
constexpr std::string_view kMore[] = {
    "meal",   "story",   "song",    "soup",    "answer",  "speech", "view",
    "plan",   "idea",    "promise", "custom",  "rumor",   "melody", "journey",
    "lesson", "picture", "holiday", "weather", "smell",   "voice",  "dream",
    "habit",  "market",  "harvest", "debate",  "project", "theory", "joke",
};
constexpr std::string_view kAdjectives[] = {
    "quiet",      "famous",    "strange", "tired",    "careful",  "cheerful", "lovely",
    "useful",     "expensive", "cheap",   "warm",     "cold",     "pleasant", "clumsy",
    "curious",    "tall",      "short",   "serious",  "friendly", "ordinary", "beautiful",
    "ugly",       "handsome",  "busy",    "elegant",  "nervous",  "popular",  "practical",
    "remarkable", "grumpy",    "hungry",  "shabby",   "splendid", "sleepy",   "stubborn",
    "thoughtful", "wonderful", "worn",    "spacious",
};
constexpr std::string_view kMoreAdjectives[] = {
    "well known", "difficult", "pretty",  "dull",        "rich",      "poor",   "careless",
    "skillful",   "wise",      "foolish", "fair",        "generous",  "strict", "grateful",
    "satisfied",  "surprised", "healthy", "comfortable", "important",
};
constexpr std::string_view kComparatives[] = {
    "larger",  "smaller", "older",   "newer",  "better", "worse",    "cleaner",
    "dirtier", "heavier", "lighter", "nicer",  "wider",  "stronger", "weaker",
    "thicker", "thinner", "louder",  "softer", "darker", "brighter",
};
constexpr std::string_view kAdverbs[] = {
    "quietly",   "slowly",  "suddenly",  "gladly", "carefully", "in silence",  "with great care",
    "as before", "at last", "for hours", "rarely", "usually",   "with a sigh", "in a hurry",
    "politely",  "alone",   "patiently", "calmly", "of course", "once more",   "without noise",
};
constexpr std::string_view kPlaces[] = {
    "near the river",   "in the village",     "at the station",
    "behind the barn",  "on the hill",        "in the kitchen",
    "at the market",    "under the stairs",   "beside the lake",
    "in the library",   "at the theater",     "in the cellar",
    "on the terrace",   "along the road",     "across the street",
    "outside the city", "in the old quarter", "by the sea",
    "in the attic",     "at the corner",      "in front of the school",
    "among the trees",  "in the meadow",      "at the farm",
    "on the platform",  "next to the bakery", "inside the hall",
    "in the office",    "at the border",      "in the mountains",
    "above the shop",   "on the beach",
};
constexpr std::string_view kWeather[] = {
    "The rain had stopped",    "Snow covered the fields",  "The wind blew from the north",
    "The night was clear",     "The sun was setting",      "It was getting cold",
    "The sky was grim",        "The fog had lifted",       "A storm was coming",
    "The streets were wet",    "The air smelled of smoke", "The leaves were falling",
    "The summer had been dry", "The river was high",       "The evening grew long",
    "Thunder rolled far away",
};
constexpr std::string_view kReasons[] = {
    "the road was closed",
    "dinner was ready",
    "the visitors were late",
    "nothing could be done",
    "the work was finished",
    "the price had gone up",
    "the news was true",
    "everyone needed rest",
    "the shop opened early",
    "money was scarce",
    "the train did not come",
    "the roof leaked",
    "the music was too slow",
    "the holidays were over",
    "the tea was still hot",
    "time passed quickly",
    "the harvest had been good",
    "the windows were open",
    "somebody had left the door open",
    "the story was not finished",
    "the water was warm",
    "the house stood idle for years",
    "the party went on all night",
    "the letter never arrived",
};

Phrases PhrasesOf(char letter) {
  switch (letter) {
    case 'T': return kTimes;
    case 'W': return kWeather;
    case 'p': return kPersons;
    case 'q': return kOthers;
    case 'v': return kTransitive;
    case 'i': return kIntransitive;
    case 'o': return kObjects;
    case 'm': return kMore;
    case 'a': return kAdjectives;
    case 'c': return kMoreAdjectives;
    case 'b': return kComparatives;
    case 'd': return kAdverbs;
    case 'w': return kPlaces;
    default: return kReasons;
  }
}

constexpr std::string_view kVowels = "aeiou";

bool EndsInArticle(std::string_view text) { return text == "A " || text.ends_with(" a "); }

constexpr std::string_view kLetters = "TWpqviomacbdwr";

bool IsSpace(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

void AddWords(std::string_view text, std::set<std::string>* words) {
  std::string word;
  for (size_t i = 0; i <= text.size(); ++i) {
    const bool in_slot = i < text.size() && (text[i] == '$' || (i > 0 && text[i - 1] == '$'));
    if (i < text.size() && !in_slot && std::isalpha(static_cast<unsigned char>(text[i]))) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(text[i])));
    } else if (!word.empty()) {
      words->insert(std::move(word));
      word.clear();
    }
  }
}

}  // namespace

std::string FillerSentence(SplitMix64& random) {
  const std::string_view pattern = kPatterns[random.Below(std::size(kPatterns))];
  std::string text;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '$') {
      text += pattern[i];
      continue;
    }
    const Phrases phrases = PhrasesOf(pattern[++i]);
    const std::string_view phrase = phrases[random.Below(phrases.size())];
    if (EndsInArticle(text) && kVowels.find(phrase.front()) != std::string_view::npos) {
      text.insert(text.size() - 1, "n");
    }
    text += phrase;
  }
  return text;
}

std::vector<std::string> FillerVocabulary() {
  std::set<std::string> words;
  for (const std::string_view pattern : kPatterns) AddWords(pattern, &words);
  for (const char letter : kLetters) {
    for (const std::string_view phrase : PhrasesOf(letter)) AddWords(phrase, &words);
  }
  return {words.begin(), words.end()};
}

std::vector<std::string> SplitSentences(std::string_view text) {
  constexpr size_t kLongest = 400;
  std::vector<std::string> sentences;
  std::string sentence;
  const auto end = [&] {
    if (!sentence.empty()) sentences.push_back(std::move(sentence));
    sentence.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (IsSpace(text[i])) {
      const bool stop = !sentence.empty() &&
                        std::string_view(".!?").find(sentence.back()) != std::string_view::npos;
      if (stop || sentence.size() >= kLongest) {
        end();
      } else if (!sentence.empty() && sentence.back() != ' ') {
        sentence += ' ';
      }
    } else {
      sentence += text[i];
    }
  }
  if (!sentence.empty() && sentence.back() == ' ') sentence.pop_back();
  end();
  return sentences;
}

}  // namespace kvasir
