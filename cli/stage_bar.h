// Progress of work that has several stages, and of loading a model.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cli/progress.h"
#include "kvasir/model/model.h"

namespace kvasir::cli {

// A bar per stage, on stderr.
class StageBar {
 public:
  void Update(std::string_view stage, int64_t done, int64_t total) {
    if (!bar_ || stage != stage_) {
      stage_ = stage;
      bar_.emplace(stage_, ProgressUnit::kTokens);
    }
    bar_->Update(static_cast<uint64_t>(done), static_cast<uint64_t>(total));
  }
  void Clear() { bar_.reset(); }

 private:
  std::string stage_;
  std::optional<ProgressBar> bar_;
};

// LoadModel with a bar. Errors as there.
inline Result<std::shared_ptr<const Model>> LoadWithBar(const std::string& path) {
  ProgressBar bar("load", ProgressUnit::kBytes);
  return LoadModel(path,
                   {.progress = [&](uint64_t done, uint64_t total) { bar.Update(done, total); }});
}

}  // namespace kvasir::cli
