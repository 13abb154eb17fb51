#include "exporters/otlp/gzip.h"

#include <libdeflate.h>

#include <algorithm>

#include "exporters/otlp/wire_buffer.h"

namespace zerotap::otlp {

GzipCompressor::GzipCompressor() : compressor_(libdeflate_alloc_compressor(1)) {}
GzipCompressor::~GzipCompressor() { libdeflate_free_compressor(compressor_); }

std::string_view GzipCompressor::Compress(std::string_view body) {
  if (compressor_ == nullptr) return {};
  size_t bound = libdeflate_gzip_compress_bound(compressor_, body.size());
  if (bound > buffer_.size() || IsOversized(bound, buffer_.size())) {
    std::vector<char>(bound).swap(buffer_);
  }
  size_t size = libdeflate_gzip_compress(compressor_, body.data(), body.size(), buffer_.data(),
                                         buffer_.size());
  return {buffer_.data(), size};
}

std::optional<std::string> Gunzip(std::string_view compressed, size_t max_bytes) {
  // The last four bytes say how long the content is, unless they lie: never more than is allowed.
  if (compressed.size() < 18) return std::nullopt;
  size_t size = 0;
  for (size_t i = 0; i < 4; ++i) {
    size |= size_t{static_cast<uint8_t>(compressed[compressed.size() - 4 + i])} << (8 * i);
  }
  if (size > max_bytes) return std::nullopt;
  libdeflate_decompressor* decompressor = libdeflate_alloc_decompressor();
  if (decompressor == nullptr) return std::nullopt;
  std::string content(std::max<size_t>(size, 1), '\0');
  size_t written = 0;
  const libdeflate_result result = libdeflate_gzip_decompress(
      decompressor, compressed.data(), compressed.size(), content.data(), content.size(), &written);
  libdeflate_free_decompressor(decompressor);
  if (result != LIBDEFLATE_SUCCESS) return std::nullopt;
  content.resize(written);
  return content;
}

}  // namespace zerotap::otlp
