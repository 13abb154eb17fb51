// Bodies of PostgreSQL messages, as far as they are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace zerotap::postgres {

constexpr size_t kMaxNameBytes =
    256;                              // statements and portals with longer names are not remembered
constexpr size_t kMaxTagBytes = 128;  // PostgreSQL's own COMPLETION_TAG_BUFSIZE is 64
constexpr size_t kMaxErrorBytes = 1024;  // severity and code are the first fields

// Codes of packets without a type.
constexpr uint32_t kCancelRequestCode = 80877102;
constexpr uint32_t kSslRequestCode = 80877103;
constexpr uint32_t kGssEncRequestCode = 80877104;
constexpr uint32_t kProtocolMajor = 3;

// "INSERT 0 5", "SELECT 3", "CREATE TABLE".
struct CommandTag {
  bool valid = false;        // looks like a tag: upper-case words, then at most two numbers
  std::string_view command;  // the words
  std::optional<uint64_t> rows;
};
CommandTag ParseCommandTag(std::string_view tag);

// ErrorResponse and NoticeResponse: fields of one type byte and a text, a zero byte at the end.
struct ErrorFields {
  std::string_view sql_state;  // five digits and upper-case letters, else empty
  bool fatal = false;          // FATAL or PANIC: the connection ends
  bool whole = false;          // well-formed to its last byte
};
ErrorFields ParseErrorFields(std::string_view body);

// Text up to the next NUL, which is consumed too. Empty when there is none.
std::optional<std::string_view> TakeText(std::string_view& from);

}  // namespace zerotap::postgres
