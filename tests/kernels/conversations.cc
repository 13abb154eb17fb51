#include <cstdint>

#include "tests/kernels/peers.h"

namespace zerotap::peers {
namespace {

std::string Head(const std::string& first, const std::string& rest = "") {
  return first + " HTTP/1.1\r\nHost: shop.test\r\n" + rest + "\r\n";
}

std::string Answer(const std::string& status, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

std::string Big16(int value) {
  return {static_cast<char>(value >> 8 & 0xff), static_cast<char>(value & 0xff)};
}

std::string Big32(uint32_t value) {
  return Big16(static_cast<int>(value >> 16)) + Big16(static_cast<int>(value & 0xffff));
}

// A PostgreSQL message: type, length of all but the type, body.
std::string Message(char type, const std::string& body) {
  return std::string(1, type) + Big32(static_cast<uint32_t>(body.size() + 4)) + body;
}

std::string Text(const std::string& text) { return text + std::string(1, '\0'); }

std::string Startup() {
  const std::string body = Big32(196608) + Text("user") + Text("clerk") + Text("database") +
                           Text("shop") + std::string(1, '\0');
  return Big32(static_cast<uint32_t>(body.size() + 4)) + body;
}

std::string Ready() { return Message('Z', "I"); }
std::string Complete(const std::string& tag) { return Message('C', Text(tag)); }
std::string Column(const std::string& name) {
  return Text(name) + Big32(0) + Big16(0) + Big32(25) + Big16(-1) + Big32(0xffffffff) + Big16(0);
}
std::string Row(const std::string& value) {
  return Message('D', Big16(1) + Big32(static_cast<uint32_t>(value.size())) + value);
}
std::string Columns(const std::string& name) { return Message('T', Big16(1) + Column(name)); }
std::string Parse(const std::string& name, const std::string& query) {
  return Message('P', Text(name) + Text(query) + Big16(0));
}
std::string Bind(const std::string& statement, const std::string& value) {
  return Message('B', Text("") + Text(statement) + Big16(0) + Big16(1) +
                          Big32(static_cast<uint32_t>(value.size())) + value + Big16(0));
}
std::string Execute() { return Message('E', Text("") + Big32(0)); }
std::string Sync() { return Message('S', ""); }

}  // namespace

std::vector<Turn> HttpConversation() {
  return {
      {Head("GET /items/17"), Answer("200 OK", "seventeen")},
      {Head("POST /items", "Content-Length: 11\r\n") + "hello world",
       "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
      {Head("GET /nowhere"), Answer("404 Not Found", "no")},
      {Head("PUT /items/17", "Content-Length: 4\r\n") + "four",
       "HTTP/1.1 204 No Content\r\n\r\n", 23},
      {Head("HEAD /items/17"), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"},
      {Head("GET /broken"), Answer("500 Internal Server Error", "")},
      {Head("GET /large"), Answer("200 OK", std::string(200'000, 'x'))},
  };
}

Turn HttpLoadTurn(int index) {
  return {Head("GET /load/" + std::to_string(index)),
          Answer("200 OK", "load " + std::to_string(index))};
}

std::vector<Turn> PostgresConversation() {
  return {
      {Startup(),
       Message('R', Big32(0)) + Message('S', Text("server_version") + Text("15.0")) +
           Message('K', Big32(1) + Big32(2)) + Ready(),
       0, false},
      {Message('Q', Text("SELECT name FROM items WHERE id = 17")),
       Columns("name") + Row("seventeen") + Row("eighteen") + Complete("SELECT 2") + Ready()},
      {Message('Q', Text("SELECT nothing FROM nowhere")),
       Message('E', "S" + Text("ERROR") + "V" + Text("ERROR") + "C" + Text("42P01") + "M" +
                        Text("relation \"nowhere\" does not exist") + std::string(1, '\0')) +
           Ready()},
      {Parse("", "INSERT INTO log (who) VALUES ($1)") + Bind("", "clerk") + Execute() + Sync(),
       Message('1', "") + Message('2', "") + Complete("INSERT 0 1") + Ready(), 20},
      {Parse("named", "UPDATE items SET name = $1") + Sync(), Message('1', "") + Ready(), 0, false},
      {Bind("named", "nineteen") + Execute() + Sync(),
       Message('2', "") + Complete("UPDATE 3") + Ready()},
      {Bind("named", "twenty") + Execute() + Sync(),
       Message('2', "") + Complete("UPDATE 4") + Ready()},
  };
}

}  // namespace zerotap::peers
