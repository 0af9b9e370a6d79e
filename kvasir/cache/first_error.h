// The error of tasks that run side by side.
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>

#include "kvasir/status.h"

namespace kvasir {

// Keeps the error of the lowest task, so that what is reported does not depend on timing.
class FirstError {
 public:
  void Set(int64_t task, Status status) {
    std::lock_guard lock(mutex_);
    if (status_.ok() || task < task_) {
      task_ = task;
      status_ = std::move(status);
    }
  }
  Status Take() { return std::move(status_); }

 private:
  std::mutex mutex_;
  int64_t task_ = 0;
  Status status_;
};

}  // namespace kvasir
