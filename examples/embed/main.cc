// A program of its own that uses the installed library.
#include <cstdio>

#include <kvasir/status.h>

int main() {
  const kvasir::Status status = kvasir::Status::NotFound("a model");
  std::printf("%s\n", status.ToString().c_str());
  return status.ok() ? 1 : 0;
}
