// A conversation as flags ask for it.
#pragma once

#include "cli/common_args.h"
#include "kvasir/model/conversation.h"
#include "kvasir/status.h"

namespace kvasir::cli {

// The template is that of --chat-template-file, of --chat-template (a built-in name, or Jinja if
// it holds a tag), or the model's own. The system prompt of `args` becomes the first message.
// Errors: kInvalidArgument when both flags are given; kUnsupported when there is no template;
// those of the file and of the template. `model` must outlive the object.
Result<Conversation> OpenConversation(const Model& model, const ChatArgs& args);

}  // namespace kvasir::cli
