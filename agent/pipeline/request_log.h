// What a shard says of requests while it handles records, kept until the book takes it: record by record, so that the book
// hears everything in the order in which one shard would have said it.
//
// One thread at a time: first the one that handles the shard's records, then the book's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <string_view>
#include <vector>

#include "agent/pipeline/request_book.h"

namespace zerotap {

class RequestLog final : public RequestBook {
 public:
  RequestLog();

  // Of which record what follows is said. Numbers rise.
  void SetRecord(uint32_t record) { record_ = record; }
  // What is in there should be taken before more records are handled.
  bool full() const { return bytes_ >= kFullBytes; }

  // Tells `book` what was said of this record, which is the next one.
  void Deliver(uint32_t record, RequestBook& book);
  void DeliverAll(RequestBook& book);

  // RequestBook. Works are known by numbers of the log's own, which the book never sees.
  WorkId Begin(Connection& connection, const Protocol& protocol, WorkOrigin& origin,
               const RequestStart& start) override;
  void End(Connection& connection, const Exchange& exchange, uint32_t answering_tid) override;
  void Drop(Connection& connection, WorkId work, DropReason reason, bool by_rules) override;
  void Count(Connection& connection, const Protocol& protocol, Role role, uint32_t tgid,
             uint64_t requests) override;
  void ForgetRow(Connection& connection) override;
  void Decide(uint64_t connection_id, const zt_verdict& verdict) override;

  static constexpr size_t kFullBytes = size_t{512} << 10;

 private:
  enum class Kind : uint8_t { kBegin, kEnd, kDrop, kCount, kForgetRow, kDecide };
  struct Entry {
    uint32_t record = 0;
    Kind kind = Kind::kForgetRow;
    bool by_rules = false;
    Role role = Role::kUnknown;
    DropReason reason = DropReason::kInvalid;
    uint32_t detail = 0;  // place in begins_ or ends_, or a process
    Connection* connection = nullptr;
    const Protocol* protocol = nullptr;
    uint64_t number = 0;  // work, number of requests or connection id
    zt_verdict verdict{};
  };
  struct Beginning {
    WorkOrigin origin;
    RequestStart start;
  };
  struct Ending {
    Exchange exchange;
    HttpFields http;
    DatabaseFields database;
    uint32_t answering_tid = 0;
  };

  Entry& Append(Kind kind);
  void Tell(const Entry& entry, RequestBook& book);
  void Clear();
  std::string_view Keep(std::string_view text);
  void KeepTexts(HttpFields& http);
  void KeepTexts(DatabaseFields& database);
  WorkId TakeWork(WorkId own);

  std::vector<Entry> entries_;
  std::vector<Beginning> begins_;
  std::vector<Ending> ends_;
  size_t next_ = 0;  // of entries_: the first that was not delivered
  uint32_t record_ = 0;
  size_t bytes_ = 0;
  const std::unique_ptr<std::byte[]> first_texts_;
  std::pmr::monotonic_buffer_resource texts_;
  // The book's ids by our own, which are one more than the place here.
  std::vector<WorkId> works_;
  std::vector<uint32_t> free_works_;
};

}  // namespace zerotap
