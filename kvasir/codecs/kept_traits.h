// What a list's formats have learnt of its head.
#pragma once

#include <memory>

#include "kvasir/cache/segment_list.h"
#include "kvasir/codecs/codec.h"

namespace kvasir {

// CodecInput::traits for tokens of the list: of its oldest coded tokens that have any.
std::shared_ptr<const HeadTraits> KeptTraits(const SegmentList& list, KvSide side);

}  // namespace kvasir
