// Command-line flags as a table: a command lists its options, each bound to the variable it sets,
// and the table parses words and environment, checks them and prints its own help.
//
// llama.cpp's spellings work as they are, multi-letter single-dash flags (-ctk) included. A value
// follows as the next word or after '=' (`-c 4096`, `-c=4096`). A flag given twice: the last wins,
// save for lists, which collect. Order of precedence: command line, KVASIR_<FLAG>,
// LLAMA_ARG_<FLAG> where llama.cpp has the flag, the variable's own value.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kvasir/status.h"

namespace kvasir::cli {

// A number of bytes with an optional suffix: "512M", "1.5G", "4096" (K, M, G, T are powers of 1024;
// "GB" and "GiB" mean the same).
struct ByteSize {
  int64_t* bytes;
};

// A flag that other engines have and this one has no use for: it is accepted, with the option's
// `notice`, so that their command lines run unchanged.
struct Ignored {
  bool takes_value = false;
};

// What an option sets. Before parsing the variable holds the default. Lists are replaced by the
// first use and extended by later ones; integer lists also split at commas.
using Target = std::variant<Ignored, bool*, int32_t*, int64_t*, float*, double*, std::string*,
                            std::vector<std::string>*, std::vector<int64_t>*, ByteSize>;

struct Option {
  std::vector<std::string_view> names;  // all with their dashes, the shortest first
  std::string_view metavar = {};        // "FILE"; of a bool: empty
  std::string help = {};
  Target target = Ignored{};
  double min = -std::numeric_limits<double>::infinity();  // of numbers, each list item included
  double max = std::numeric_limits<double>::infinity();
  std::vector<std::string> choices = {};  // of strings; empty = any
  std::string_view implied = {};  // value of the flag written bare (-fa); the next word is taken
                                  // only if it is one of `choices`
  std::vector<std::string_view> negative = {};  // of a bool; --no-x is there without being listed
  bool comma_list = false;                      // string lists split at commas too
  std::string_view llama_env = {};              // what follows LLAMA_ARG_; empty = no such variable
  std::string_view notice = {};                 // shown on stderr when the flag is used
};

// Words that are not flags.
struct Positionals {
  std::string_view metavar;
  std::string_view help;
  std::vector<std::string>* target = nullptr;
  size_t min = 0;
  size_t max = 0;
};

// Reads an environment variable; null when unset.
using Environment = std::function<const char*(const char* name)>;
const char* ProcessEnvironment(const char* name);

class ArgTable {
 public:
  // `summary` is the first line of the help.
  ArgTable(std::string command, std::string summary);

  // `title` heads the options in the help.
  void Add(std::string title, std::vector<Option> options);
  void SetPositionals(Positionals positionals) { positionals_ = positionals; }

  // Sets the targets. A word that is `--` ends the flags.
  // Errors: kInvalidArgument, one line that names the flag or the variable, what was expected and
  // what was found; an unknown flag names its nearest neighbour. Targets set before the error stay.
  Status Parse(std::span<const std::string> args, const Environment& env = ProcessEnvironment);

  bool help_requested() const { return help_requested_; }
  // Whether the flag was set by the command line or the environment. `name` is any of its names.
  bool Given(std::string_view name) const;
  // Lines for stderr about flags that were accepted without effect.
  const std::vector<std::string>& notices() const { return notices_; }
  std::string Help() const;

 private:
  struct Entry {
    Option option;
    std::vector<std::string> names;      // of the value or of true
    std::vector<std::string> negatives;  // of false
    std::string default_text;
    std::string env;
    bool given = false;  // by anyone
    bool given_by_word = false;
  };
  struct Section {
    std::string title;
    size_t begin, end;  // entries
  };
  struct Match {
    Entry* entry = nullptr;
    bool negated = false;
  };

  Match Find(std::string_view flag);
  const Entry* Find(std::string_view flag) const;
  Status ParseFlag(const std::string& word, std::span<const std::string> rest, size_t* used);
  Status ParseBool(Entry& entry, bool negated, std::string_view flag,
                   const std::string* inline_value);
  Status Set(Entry& entry, std::string_view source, const std::string& value);
  Status ReadEnvironment(const Environment& env);
  Status CheckPositionals() const;
  Status UnknownFlag(std::string_view flag) const;
  void Note(Entry& entry, std::string_view flag);

  std::string command_;
  std::string summary_;
  std::vector<Entry> entries_;
  std::vector<Section> sections_;
  Positionals positionals_{};
  std::vector<std::string> notices_;
  bool help_requested_ = false;
};

// What every command does first: parses, prints the help to stdout or the notices to stderr.
// False means that the help was printed and the command is done.
Result<bool> ParseOrHelp(ArgTable& table, std::span<const std::string> args);

}  // namespace kvasir::cli
