// Runs the built program the way a shell does, for end-to-end tests.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "kvasir/core/file_testing.h"

namespace kvasir::cli {

struct ProgramResult {
  int exit_code = -1;  // 128 + signal when a signal ended it
  std::string out;
  std::string err;
};

struct ProgramOptions {
  int signal = 0;  // sent once `signal_after` bytes stand on stdout; 0 = none
  size_t signal_after = 1;
  std::string stdout_path = {};  // where stdout goes instead of the result
  size_t address_space = 0;      // limit in bytes, 0 = none; sanitizers need all of it and get it
};

inline void LimitAddressSpace([[maybe_unused]] size_t bytes) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  const rlimit limit = {bytes, bytes};
  if (bytes != 0) setrlimit(RLIMIT_AS, &limit);
#endif
}

// `kvasir ARGS` with `input` on stdin.
inline ProgramResult RunProgram(const std::vector<std::string>& args, const std::string& input = "",
                                const ProgramOptions& options = {}) {
  TemporaryDirectory directory;
  const std::string in = directory.Write("in", input);
  const std::string err = directory.Path("err");
  const std::string out = options.stdout_path.empty() ? directory.Path("out") : options.stdout_path;
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
    LimitAddressSpace(options.address_space);
    execv(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  if (options.signal != 0) {
    std::error_code ignored;
    while (waitpid(child, &status, WNOHANG) == 0) {
      const auto size = std::filesystem::file_size(out, ignored);
      if (!ignored && size >= options.signal_after) {
        kill(child, options.signal);
        break;
      }
      usleep(1000);
    }
  }
  waitpid(child, &status, 0);
  ProgramResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (options.stdout_path.empty()) result.out = ReadText(out);
  result.err = ReadText(err);
  return result;
}

}  // namespace kvasir::cli
