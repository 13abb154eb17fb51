// Messages of the PostgreSQL protocol for tests, and whole conversations made of them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/parser_harness.h"

namespace zerotap::postgres_test {

inline std::string Int32(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}
inline std::string Int16(uint32_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value)};
}
inline std::string Text(std::string_view text) { return std::string(text) + '\0'; }
inline std::string Message(char type, std::string_view body = {}) {
  return std::string(1, type) + Int32(static_cast<uint32_t>(body.size() + 4)) + std::string(body);
}
inline std::string Packet(uint32_t code, std::string_view body = {}) {
  return Int32(static_cast<uint32_t>(body.size() + 8)) + Int32(code) + std::string(body);
}

// ---- Frontend ----
using Parameters = std::vector<std::pair<std::string, std::string>>;
inline std::string Startup(const Parameters& parameters, uint32_t version = 3 << 16) {
  std::string body;
  for (const auto& [name, value] : parameters) body += Text(name) + Text(value);
  return Packet(version, body + '\0');
}
inline std::string SslRequest() { return Packet(80877103); }
inline std::string GssEncRequest() { return Packet(80877104); }
inline std::string CancelRequest() { return Packet(80877102, Int32(4711) + Int32(815)); }
inline std::string Query(std::string_view sql) { return Message('Q', Text(sql)); }
inline std::string Parse(std::string_view name, std::string_view sql, uint32_t types = 0) {
  std::string body = Text(name) + Text(sql) + Int16(types);
  for (uint32_t i = 0; i < types; ++i) body += Int32(23);
  return Message('P', body);
}
inline std::string Bind(std::string_view portal, std::string_view name,
                        const std::vector<std::string>& values = {}) {
  std::string body =
      Text(portal) + Text(name) + Int16(0) + Int16(static_cast<uint32_t>(values.size()));
  for (const std::string& value : values)
    body += Int32(static_cast<uint32_t>(value.size())) + value;
  return Message('B', body + Int16(0));
}
inline std::string DescribeStatement(std::string_view name = "") {
  return Message('D', "S" + Text(name));
}
inline std::string DescribePortal(std::string_view name = "") {
  return Message('D', "P" + Text(name));
}
inline std::string CloseStatement(std::string_view name) { return Message('C', "S" + Text(name)); }
inline std::string ClosePortal(std::string_view name) { return Message('C', "P" + Text(name)); }
inline std::string Execute(std::string_view portal = "", uint32_t limit = 0) {
  return Message('E', Text(portal) + Int32(limit));
}
inline std::string Sync() { return Message('S'); }
inline std::string Flush() { return Message('H'); }
inline std::string Terminate() { return Message('X'); }
inline std::string Password(std::string_view secret) { return Message('p', Text(secret)); }
inline std::string CopyData(std::string_view data) { return Message('d', data); }
inline std::string CopyDone() { return Message('c'); }
inline std::string CopyFail(std::string_view why) { return Message('f', Text(why)); }
inline std::string FunctionCall() {
  return Message('F', Int32(1598) + Int16(0) + Int16(0) + Int16(0));
}
// Parse, Bind, Describe, Execute of the unnamed statement.
inline std::string Statement(std::string_view sql, const std::vector<std::string>& values = {}) {
  return Parse("", sql) + Bind("", "", values) + DescribePortal() + Execute();
}

// ---- Backend ----
inline std::string AuthenticationOk() { return Message('R', Int32(0)); }
inline std::string AuthenticationSasl() {
  return Message('R', Int32(10) + Text("SCRAM-SHA-256") + '\0');
}
inline std::string ParameterStatus(std::string_view name, std::string_view value) {
  return Message('S', Text(name) + Text(value));
}
inline std::string BackendKeyData() { return Message('K', Int32(4711) + Int32(815)); }
inline std::string Ready(char status = 'I') { return Message('Z', std::string(1, status)); }
inline std::string Complete(std::string_view tag) { return Message('C', Text(tag)); }
inline std::string Error(std::string_view code, std::string_view severity = "ERROR") {
  return Message('E', "S" + Text(severity) + "V" + Text(severity) + "C" + Text(code) + "M" +
                          Text("it failed") + '\0');
}
inline std::string Notice() {
  return Message('N', "S" + Text("NOTICE") + "V" + Text("NOTICE") + "C" + Text("00000") + "M" +
                          Text("mind") + '\0');
}
inline std::string Notification() {
  return Message('A', Int32(12) + Text("channel") + Text("payload"));
}
inline std::string RowDescription(uint32_t columns = 1) {
  std::string body = Int16(columns);
  for (uint32_t i = 0; i < columns; ++i) {
    body += Text("column") + Int32(0) + Int16(0) + Int32(25) + Int16(0xffff) + Int32(0xffffffff) +
            Int16(0);
  }
  return Message('T', body);
}
inline std::string DataRow(std::string_view value) {
  return Message('D', Int16(1) + Int32(static_cast<uint32_t>(value.size())) + std::string(value));
}
inline std::string Rows(int count, std::string_view value = "some value") {
  std::string rows;
  for (int i = 0; i < count; ++i) rows += DataRow(value);
  return rows;
}
inline std::string ParseComplete() { return Message('1'); }
inline std::string BindComplete() { return Message('2'); }
inline std::string CloseComplete() { return Message('3'); }
inline std::string NoData() { return Message('n'); }
inline std::string PortalSuspended() { return Message('s'); }
inline std::string EmptyQuery() { return Message('I'); }
inline std::string ParameterDescription(uint32_t types = 0) {
  std::string body = Int16(types);
  for (uint32_t i = 0; i < types; ++i) body += Int32(23);
  return Message('t', body);
}
inline std::string CopyInResponse() {
  return Message('G', std::string(1, '\0') + Int16(1) + Int16(0));
}
inline std::string CopyOutResponse() {
  return Message('H', std::string(1, '\0') + Int16(1) + Int16(0));
}
inline std::string CopyBothResponse() { return Message('W', std::string(1, '\0') + Int16(0)); }
inline std::string FunctionResult() { return Message('V', Int32(4) + Int32(7)); }
// Answers to Statement().
inline std::string Selected(int rows) {
  return ParseComplete() + BindComplete() + RowDescription() + Rows(rows) +
         Complete("SELECT " + std::to_string(rows));
}
inline std::string Done(std::string_view tag) {
  return ParseComplete() + BindComplete() + NoData() + Complete(tag);
}

// The answer to a simple query.
inline std::string SelectAnswer(int rows = 1) {
  return RowDescription() + Rows(rows) + Complete("SELECT " + std::to_string(rows)) + Ready();
}

// A session that has logged in as app on shop.
inline Conversation LoggedIn(Role role) {
  Conversation talk(role);
  talk.Client(Startup({{"user", "app"}, {"database", "shop"}, {"application_name", "till"}}))
      .Server(AuthenticationOk() + ParameterStatus("server_version", "17.2") + BackendKeyData() +
              Ready());
  return talk;
}

}  // namespace zerotap::postgres_test
