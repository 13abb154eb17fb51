#include "agent/pipeline/request_log.h"

#include <algorithm>
#include <cstring>

namespace zerotap {
namespace {

constexpr size_t kFirstTextBytes = size_t{128} << 10;

// One record may hold very many requests: what it needed is not kept for the next ones.
template <typename T>
void Empty(std::vector<T>& of) {
  if (of.capacity() * sizeof(T) > RequestLog::kFullBytes) {
    of = std::vector<T>();
  } else {
    of.clear();
  }
}

}  // namespace

RequestLog::RequestLog()
    : first_texts_(new std::byte[kFirstTextBytes]), texts_(first_texts_.get(), kFirstTextBytes) {}

RequestLog::Entry& RequestLog::Append(Kind kind) {
  bytes_ += sizeof(Entry);
  Entry& entry = entries_.emplace_back();
  entry.record = record_;
  entry.kind = kind;
  return entry;
}

std::string_view RequestLog::Keep(std::string_view text) {
  if (text.empty()) return {};
  bytes_ += text.size();
  char* kept = static_cast<char*>(texts_.allocate(text.size(), 1));
  std::memcpy(kept, text.data(), text.size());
  return {kept, text.size()};
}

// Every text and list of these, or the book reads what the parser has given up.
void RequestLog::KeepTexts(HttpFields& http) {
  static_assert(sizeof(HttpFields) == 256, "does a new field have text of the parser's?");
  for (std::string_view* text :
       {&http.method, &http.target, &http.scheme, &http.host, &http.user_agent, &http.forwarded_for,
        &http.b3_trace_id, &http.b3_span_id, &http.request_id, &http.version, &http.route}) {
    *text = Keep(*text);
  }
  for (std::span<const HeaderField>* fields : {&http.request_headers, &http.response_headers}) {
    if (fields->empty()) continue;
    bytes_ += fields->size_bytes();
    auto* kept = static_cast<HeaderField*>(
        texts_.allocate(fields->size_bytes(), alignof(HeaderField)));
    for (size_t i = 0; i < fields->size(); ++i) {
      // Names are those of the options.
      new (kept + i) HeaderField{(*fields)[i].name, Keep((*fields)[i].value)};
    }
    *fields = {kept, fields->size()};
  }
}

void RequestLog::KeepTexts(DatabaseFields& database) {
  static_assert(sizeof(DatabaseFields) == 216, "does a new field have text of the parser's?");
  for (std::string_view* text :
       {&database.system, &database.name_space, &database.user, &database.application_name,
        &database.query_text, &database.command_tag, &database.status_code,
        &database.sanitized_text, &database.summary, &database.operation}) {
    *text = Keep(*text);
  }
}

WorkId RequestLog::Begin(Connection& connection, const Protocol& protocol, WorkOrigin& origin,
                         const RequestStart& start) {
  if (free_works_.empty()) {
    works_.push_back(0);
    free_works_.push_back(static_cast<uint32_t>(works_.size() - 1));
  }
  const uint32_t place = free_works_.back();
  free_works_.pop_back();
  works_[place] = 0;
  Entry& entry = Append(Kind::kBegin);
  entry.connection = &connection;
  entry.protocol = &protocol;
  entry.detail = static_cast<uint32_t>(begins_.size());
  entry.number = WorkId{place} + 1;
  bytes_ += sizeof(Beginning);
  Beginning& beginning = begins_.emplace_back(Beginning{origin, start});
  beginning.start.trace_state = Keep(start.trace_state);
  return WorkId{place} + 1;
}

void RequestLog::End(Connection& connection, const Exchange& exchange, uint32_t answering_tid) {
  Entry& entry = Append(Kind::kEnd);
  entry.connection = &connection;
  entry.detail = static_cast<uint32_t>(ends_.size());
  bytes_ += sizeof(Ending);
  Ending& ending = ends_.emplace_back();
  ending.exchange = exchange;
  ending.exchange.transport_error = Keep(exchange.transport_error);
  ending.answering_tid = answering_tid;
  if (exchange.http != nullptr) {
    ending.http = *exchange.http;
    KeepTexts(ending.http);
  }
  if (exchange.database != nullptr) {
    ending.database = *exchange.database;
    KeepTexts(ending.database);
  }
}

void RequestLog::Drop(Connection& connection, WorkId work, DropReason reason, bool by_rules) {
  Entry& entry = Append(Kind::kDrop);
  entry.connection = &connection;
  entry.number = work;
  entry.reason = reason;
  entry.by_rules = by_rules;
}

void RequestLog::Count(Connection& connection, const Protocol& protocol, Role role, uint32_t tgid,
                       uint64_t requests) {
  Entry& entry = Append(Kind::kCount);
  entry.connection = &connection;
  entry.protocol = &protocol;
  entry.role = role;
  entry.detail = tgid;
  entry.number = requests;
}

void RequestLog::ForgetRow(Connection& connection) {
  Append(Kind::kForgetRow).connection = &connection;
}

void RequestLog::Decide(uint64_t connection_id, const zt_verdict& verdict) {
  Entry& entry = Append(Kind::kDecide);
  entry.number = connection_id;
  entry.verdict = verdict;
}

// The book's id of a request that is over. One the parser never began is one that the book never had.
WorkId RequestLog::TakeWork(WorkId own) {
  if (own == 0 || own > works_.size()) return 0;
  const auto place = static_cast<uint32_t>(own - 1);
  const WorkId work = std::exchange(works_[place], 0);
  if (work != 0) free_works_.push_back(place);
  return work;
}

void RequestLog::Tell(const Entry& entry, RequestBook& book) {
  switch (entry.kind) {
    case Kind::kBegin: {
      Beginning& beginning = begins_[entry.detail];
      works_[entry.number - 1] =
          book.Begin(*entry.connection, *entry.protocol, beginning.origin, beginning.start);
      return;
    }
    case Kind::kEnd: {
      Ending& ending = ends_[entry.detail];
      Exchange& exchange = ending.exchange;
      exchange.work = TakeWork(exchange.work);
      if (exchange.http != nullptr) exchange.http = &ending.http;
      if (exchange.database != nullptr) exchange.database = &ending.database;
      book.End(*entry.connection, exchange, ending.answering_tid);
      return;
    }
    case Kind::kDrop:
      book.Drop(*entry.connection, TakeWork(entry.number), entry.reason, entry.by_rules);
      return;
    case Kind::kCount:
      book.Count(*entry.connection, *entry.protocol, entry.role, entry.detail, entry.number);
      return;
    case Kind::kForgetRow:
      book.ForgetRow(*entry.connection);
      return;
    case Kind::kDecide:
      book.Decide(entry.number, entry.verdict);
      return;
  }
}

void RequestLog::Deliver(uint32_t record, RequestBook& book) {
  while (next_ < entries_.size() && entries_[next_].record == record) Tell(entries_[next_++], book);
  if (next_ == entries_.size()) Clear();
}

void RequestLog::DeliverAll(RequestBook& book) {
  while (next_ < entries_.size()) Tell(entries_[next_++], book);
  Clear();
}

void RequestLog::Clear() {
  if (entries_.empty()) return;
  Empty(entries_);
  Empty(begins_);
  Empty(ends_);
  next_ = 0;
  bytes_ = 0;
  texts_.release();
}

}  // namespace zerotap
