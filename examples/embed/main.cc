// A program of its own that uses the installed library: embed MODEL [PROMPT].
#include <kvasir/engine.h>

#include <cstdio>
#include <string>

namespace {

kvasir::Status Write(const char* model, const std::string& prompt) {
  KVASIR_ASSIGN_OR_RETURN(const auto engine, kvasir::Engine::Load({.model_path = model}));
  KVASIR_ASSIGN_OR_RETURN(const auto session, engine->NewSession());
  kvasir::GenerateOptions options;
  options.n_predict = 32;
  options.sampling.temperature = 0;
  KVASIR_ASSIGN_OR_RETURN(const kvasir::GenerateResult result,
                          session->Generate(engine->Tokenize(prompt), options));
  std::printf("%s%s\n", prompt.c_str(), result.text.c_str());
  return kvasir::Status::Ok();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: embed MODEL [PROMPT]\n");
    return 2;
  }
  const kvasir::Status status = Write(argv[1], argc > 2 ? argv[2] : "Once upon a time");
  if (!status.ok()) std::fprintf(stderr, "embed: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
