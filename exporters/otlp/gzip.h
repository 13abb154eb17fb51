// gzip for request bodies and for the answers of gRPC servers.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct libdeflate_compressor;

namespace zerotap::otlp {

// libdeflate at level 1. Of requests of recorded traffic (docs/testing.md says how to count) it leaves a tenth, as zlib's
// level 1 does with twice the instructions; higher levels take two to four times as many for at most 6 % fewer bytes.
class GzipCompressor {
 public:
  GzipCompressor();
  ~GzipCompressor();
  GzipCompressor(const GzipCompressor&) = delete;
  GzipCompressor& operator=(const GzipCompressor&) = delete;

  // Empty when it could not be compressed. Valid until the next call.
  std::string_view Compress(std::string_view body);

 private:
  libdeflate_compressor* compressor_;
  std::vector<char> buffer_;
};

// The content of one gzip member; empty when it is broken or longer than `max_bytes`.
std::optional<std::string> Gunzip(std::string_view compressed, size_t max_bytes);

}  // namespace zerotap::otlp
