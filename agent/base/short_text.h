// A text that is set once and is mostly shorter than 16 bytes, as IPv4 addresses are: half the size
// of a std::string.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>

namespace zerotap {

class ShortText {
 public:
  ShortText() = default;
  ~ShortText() { Clear(); }
  ShortText(const ShortText&) = delete;
  ShortText& operator=(const ShortText&) = delete;

  // At most 255 bytes are kept.
  void Set(std::string_view text) {
    Clear();
    text = text.substr(0, std::numeric_limits<uint8_t>::max());
    char* bytes = here_;
    if (text.size() > sizeof(here_)) {
      bytes = new char[text.size()];
      std::memcpy(here_, &bytes, sizeof(bytes));
    }
    if (!text.empty()) std::memcpy(bytes, text.data(), text.size());
    size_ = static_cast<uint8_t>(text.size());
  }

  std::string_view view() const { return {size_ > sizeof(here_) ? there() : here_, size_}; }
  size_t MemorySize() const { return size_ > sizeof(here_) ? size_ : 0; }

 private:
  char* there() const {
    char* bytes;
    std::memcpy(&bytes, here_, sizeof(bytes));
    return bytes;
  }
  void Clear() {
    if (size_ > sizeof(here_)) delete[] there();
    size_ = 0;
  }

  alignas(char*) char here_[15] = {};  // or where the text is
  uint8_t size_ = 0;
};

}  // namespace zerotap
