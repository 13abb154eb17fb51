// The hot path allocates nothing once its buffers have grown.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <string>

#include "agent/protocols/http1.h"

namespace {

bool g_counting = false;
size_t g_allocations = 0;

void* Allocate(size_t size) {
  if (g_counting) ++g_allocations;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return Allocate(size); }
void* operator new[](size_t size) { return Allocate(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return Allocate(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return Allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

namespace zerotap {
namespace {

class CountingSink : public ExchangeSink {
 public:
  WorkId BeginRequest(const RequestStart&) override { return ++begun; }
  void EndExchange(const Exchange& exchange) override {
    ++ended;
    headers += exchange.http->request_headers.size() + exchange.http->response_headers.size();
  }
  void DropRequest(WorkId, DropReason) override { ++dropped; }

  uint64_t begun = 0, ended = 0, dropped = 0, headers = 0;
};

TEST(Http1AllocationTest, NothingIsAllocatedInASteadyState) {
  const std::string request =
      "GET /api/v1/items/1234?full=true HTTP/1.1\r\nHost: shop.example:8080\r\n"
      "User-Agent: wrk/4.2.0\r\nX-Tenant: t1\r\nX-Forwarded-For: 203.0.113.9, 10.0.0.1\r\n"
      "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
      "tracestate: vendor=value\r\n\r\n";
  const std::string response =
      "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
  ParserOptions options;
  options.request_headers = {"x-tenant"};
  options.response_headers = {"content-type"};
  CountingSink sink;
  auto parser = kHttp1Protocol.make_parser(Role::kServer, true, options, sink);
  uint64_t offsets[2] = {0, 0};
  auto feed = [&](Direction direction, std::string_view text) {
    Chunk chunk;
    chunk.bytes = AsBytes(text);
    chunk.offset = offsets[static_cast<size_t>(direction)];
    offsets[static_cast<size_t>(direction)] += text.size();
    ASSERT_EQ(parser->OnData(direction, chunk), ParseStatus::kOk);
  };
  auto exchange_once = [&](int round) {
    // Every other message comes in two pieces, every eighth request with another one behind it.
    size_t cut = round % 2 == 0 ? 0 : 40;
    if (cut > 0) feed(Direction::kIngress, std::string_view(request).substr(0, cut));
    feed(Direction::kIngress, std::string_view(request).substr(cut));
    if (round % 8 == 0) feed(Direction::kIngress, request);
    if (cut > 0) feed(Direction::kEgress, std::string_view(response).substr(0, cut));
    feed(Direction::kEgress, std::string_view(response).substr(cut));
    if (round % 8 == 0) feed(Direction::kEgress, response);
  };
  for (int i = 0; i < 32; ++i) exchange_once(i);
  g_counting = true;
  for (int i = 0; i < 1600; ++i) exchange_once(i);
  g_counting = false;
  EXPECT_EQ(g_allocations, 0u);
  EXPECT_EQ(sink.ended, 1632u + 1632 / 8);
  EXPECT_EQ(sink.ended, sink.begun);
  EXPECT_EQ(sink.headers, 2 * sink.ended);
  EXPECT_LT(parser->MemorySize(), 8192u);
}

}  // namespace
}  // namespace zerotap
