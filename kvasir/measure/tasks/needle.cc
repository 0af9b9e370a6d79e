#include "kvasir/measure/tasks/codes.h"

namespace kvasir {

const TaskInfo& needle_task() {
  static constexpr TaskInfo task = {
      .name = "needle",
      .summary = "one number under one key in a long text",
      .card = "RULER single needle, arXiv:2404.06654",
      .n_turn = 1,
      .n_key = 1,
      .keys = "needles",
      .draft = DraftCodes,
  };
  return task;
}

}  // namespace kvasir
