// tokenizer.json's normalizer, pre_tokenizer, post_processor and decoder, in our terms.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "kvasir/model/text_pipeline.h"
#include "kvasir/status.h"

namespace kvasir {

// `root` is the whole document. Errors: kCorruption for a field of the wrong type, kUnsupported
// names a step that is not known.
Result<TextPipeline> PipelineFromJson(const nlohmann::json& root);

// Whether decoding drops a space at the start of the text.
bool DecoderDropsLeadingSpace(const nlohmann::json& root);

// The special token that the post-processor puts first; empty when there is none.
Result<std::string> LeadingSpecialToken(const nlohmann::json& root);

}  // namespace kvasir
