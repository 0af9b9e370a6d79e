// Runs the built program the way a shell does, for end-to-end tests.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace kvasir::cli {

struct ProgramResult {
  int exit_code = -1;  // 128 + signal when a signal ended it
  std::string out;
  std::string err;
};

// A new directory that goes away with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kvasir-test-XXXXXX").string();
    if (mkdtemp(pattern.data())) path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  std::string Path(const std::string& name) const { return (path_ / name).string(); }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name), std::ios::binary) << text;
    return Path(name);
  }

 private:
  std::filesystem::path path_;
};

inline std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// `kvasir ARGS` with `input` on stdin.
// `signal` is sent once `signal_after` bytes stand on its stdout.
inline ProgramResult RunProgram(const std::vector<std::string>& args, const std::string& input = "",
                                int signal = 0, size_t signal_after = 1) {
  TemporaryDirectory directory;
  const std::string in = directory.Write("in", input);
  const std::string out = directory.Path("out"), err = directory.Path("err");
  std::vector<std::string> words = {KVASIR_PROGRAM};
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const pid_t child = fork();
  if (child == 0) {
    const int create = O_WRONLY | O_CREAT | O_TRUNC;
    dup2(open(in.c_str(), O_RDONLY), 0);
    dup2(open(out.c_str(), create, 0600), 1);
    dup2(open(err.c_str(), create, 0600), 2);
    execv(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  if (signal != 0) {
    std::error_code ignored;
    while (waitpid(child, &status, WNOHANG) == 0) {
      const auto size = std::filesystem::file_size(out, ignored);
      if (!ignored && size >= signal_after) {
        kill(child, signal);
        break;
      }
      usleep(1000);
    }
  }
  waitpid(child, &status, 0);
  ProgramResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = ReadText(out);
  result.err = ReadText(err);
  return result;
}

}  // namespace kvasir::cli
