#include "kvasir/model/chat_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace kvasir {
namespace {

using testing::HasSubstr;

std::string Error(const std::string& text) {
  const auto messages = ParseChatFile(text, "chat.json");
  EXPECT_FALSE(messages.ok()) << text;
  return messages.ok() ? "" : messages.status().message();
}

TEST(ChatFile, IsAListOfMessagesOrAnObjectAroundOne) {
  const std::string list =
      R"([{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"text","text":"a"}]}])";
  const auto bare = ParseChatFile(list, "chat.json");
  ASSERT_TRUE(bare.ok()) << bare.status().ToString();
  EXPECT_EQ(bare->size(), 2u);
  EXPECT_EQ((*bare)[0]["content"], "hi");
  const auto inside = ParseChatFile(R"({"model":"x","messages":)" + list + "}", "chat.json");
  ASSERT_TRUE(inside.ok()) << inside.status().ToString();
  EXPECT_EQ(*inside, *bare);
}

TEST(ChatFile, NamesWhatIsMalformed) {
  EXPECT_THAT(Error("[{"), HasSubstr("chat.json: not valid JSON at byte"));
  EXPECT_THAT(Error("{}"), HasSubstr("a list of messages, found object"));
  EXPECT_THAT(Error("[]"), HasSubstr("an empty list"));
  EXPECT_THAT(Error("[3]"), HasSubstr("messages[0]: expected an object, found number"));
  EXPECT_THAT(Error(R"([{"role":"user","content":"a"},{"content":"b"}])"),
              HasSubstr("messages[1].role: expected text, found nothing"));
  EXPECT_THAT(Error(R"([{"role":1,"content":"b"}])"), HasSubstr("found number"));
  EXPECT_THAT(Error(R"([{"role":"user"}])"), HasSubstr("messages[0].content"));
  EXPECT_THAT(Error(std::string(100, '[') + std::string(100, ']')), HasSubstr("levels"));
}

}  // namespace
}  // namespace kvasir
