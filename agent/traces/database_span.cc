// Databases by docs/db/database-spans.md and postgresql.md of the semantic conventions v1.44.0.
#include <array>
#include <string>

#include "agent/telemetry/semconv.h"
#include "agent/traces/attribute_text.h"
#include "agent/traces/span_assembler.h"

namespace zerotap {
namespace {

constexpr std::array<double, 9> kDatabaseBounds = {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10};
constexpr MetricDescriptor kOperationDuration = {semconv::kDbClientOperationDuration,
                                                 "s",
                                                 "Duration of database client operations.",
                                                 MetricType::kHistogram,
                                                 true,
                                                 kDatabaseBounds};

std::string_view ErrorType(const Exchange& exchange) {
  return exchange.transport_error.empty() ? exchange.database->status_code
                                          : exchange.transport_error;
}

// The words of a command tag before its counts: "INSERT" of "INSERT 0 1", "CREATE TABLE".
std::string_view TagWords(std::string_view tag) {
  size_t end = tag.size();
  while (end > 0 && ((tag[end - 1] >= '0' && tag[end - 1] <= '9') || tag[end - 1] == ' ')) --end;
  return tag.substr(0, end);
}

std::string_view ServerAddress(const Exchange& exchange, const ConnectionFacts& facts) {
  if (!facts.unix_path.empty()) return facts.unix_path;
  return exchange.role == Role::kServer ? facts.local_address : facts.peer_address;
}
uint16_t ServerPort(const Exchange& exchange, const ConnectionFacts& facts) {
  return exchange.role == Role::kServer ? facts.local_port : facts.peer_port;
}

}  // namespace

void AssembleDatabaseSpan(const Exchange& exchange, const ConnectionFacts& facts,
                          const AssemblerOptions& options, Span& span) {
  const DatabaseFields& database = *exchange.database;
  const bool is_server = exchange.role == Role::kServer;
  const std::string_view error = ErrorType(exchange);
  const std::string_view server = ServerAddress(exchange, facts);
  const uint16_t port = ServerPort(exchange, facts);
  const std::string_view tag = TagWords(database.command_tag);
  const std::string_view operation = database.operation.empty() ? tag : database.operation;
  auto cut = [&options](std::string_view text) {
    return CutText(text, options.attribute_value_limit);
  };

  span.kind = is_server ? SpanKind::kServer : SpanKind::kClient;
  span.status = error.empty() ? SpanStatus::kUnset : SpanStatus::kError;
  // Without the text (prepared before we came) the server's own word for the command is all there is.
  if (!database.summary.empty()) {
    span.name.assign(database.summary);
  } else {
    span.name.assign(!tag.empty() ? tag : database.system);
  }

  AttributeSet& out = span.attributes;
  out.Reserve(24, 256 + database.sanitized_text.size());
  out.Add(semconv::kDbSystemName, database.system);
  if (options.legacy_attributes) out.Add(semconv::kDbSystem, database.system);
  if (!database.name_space.empty()) {
    out.Add(semconv::kDbNamespace, cut(database.name_space));
    if (options.legacy_attributes) out.Add(semconv::kDbName, cut(database.name_space));
  }
  if (!database.summary.empty()) out.Add(semconv::kDbQuerySummary, database.summary);
  if (!database.sanitized_text.empty()) {
    out.Add(semconv::kDbQueryText, cut(database.sanitized_text));
  }
  if (options.legacy_attributes && !operation.empty()) out.Add(semconv::kDbOperation, operation);
  if (!database.status_code.empty()) out.Add(semconv::kDbResponseStatusCode, database.status_code);
  if (!facts.peer_address.empty()) {
    out.Add(semconv::kNetworkPeerAddress, facts.peer_address);
    out.Add(semconv::kNetworkPeerPort, int64_t{facts.peer_port});
  } else if (!facts.unix_path.empty()) {
    out.Add(semconv::kNetworkTransport, "unix");
  }
  if (!server.empty()) out.Add(semconv::kServerAddress, server);
  if (port != 0 && port != database.default_port) out.Add(semconv::kServerPort, int64_t{port});
  if (!is_server && options.legacy_attributes && !server.empty()) {
    out.Add(semconv::kNetPeerName, server);
  }
  if (!error.empty()) out.Add(semconv::kErrorType, error);
  if (database.rows_returned) {
    out.Add(semconv::kDbResponseReturnedRows, static_cast<int64_t>(*database.rows_returned));
  }
  if (database.rows_affected) {
    out.Add(semconv::kDbResponseAffectedRows, static_cast<int64_t>(*database.rows_affected));
  }
  if (database.transaction != 0) {
    out.Add(semconv::kDbTransactionId, static_cast<int64_t>(database.transaction));
  }
  if (!database.user.empty()) out.Add(semconv::kDbUser, cut(database.user));
  if (!database.application_name.empty()) {
    out.Add(semconv::kDbApplicationName, cut(database.application_name));
  }
  if (exchange.incomplete) out.Add(semconv::kCaptureIncomplete, true);
}

MetricSample DatabaseMetricSample(const Exchange& exchange, const ConnectionFacts& facts) {
  MetricSample sample;
  if (exchange.role != Role::kClient) return sample;  // the conventions know no server-side one
  const DatabaseFields& database = *exchange.database;
  sample.descriptor = &kOperationDuration;
  sample.Add(semconv::kDbSystemName, database.system);
  if (!database.name_space.empty()) sample.Add(semconv::kDbNamespace, database.name_space);
  if (!database.summary.empty()) sample.Add(semconv::kDbQuerySummary, database.summary);
  if (!database.status_code.empty()) {
    sample.Add(semconv::kDbResponseStatusCode, database.status_code);
  }
  std::string_view error = ErrorType(exchange);
  if (!error.empty()) sample.Add(semconv::kErrorType, error);
  std::string_view server = ServerAddress(exchange, facts);
  if (!server.empty()) sample.Add(semconv::kServerAddress, server);
  uint16_t port = ServerPort(exchange, facts);
  if (port != 0 && port != database.default_port) sample.Add(semconv::kServerPort, int64_t{port});
  return sample;
}

}  // namespace zerotap
