// A gRPC server in the test's own process, on libnghttp2 and without TLS, that answers unary calls
// by a script, also with what no sane server does. Header-only.
#pragma once

#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/scripted_server.h"

namespace zerotap::testing {

enum class GrpcBehaviour {
  kAnswer,        // header fields, `body`, trailers
  kTrailersOnly,  // one block of header fields that ends the stream
  kNoTrailers,    // header fields and `body`, then the end of the stream
  kCutTrailers,   // header fields and `body`, then the connection ends
  kResetStream,   // RST_STREAM instead of an answer
  kHang,          // no answer
  kReset,         // the connection is reset instead of an answer
  kEndless,       // a body that does not end
};

struct GrpcReply {
  int code = 0;  // grpc-status; negative: none
  std::string message = {};
  std::string body = {};  // as it is, with its prefix; see GrpcFrame
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::vector<std::pair<std::string, std::string>> trailers = {};
  GrpcBehaviour behaviour = GrpcBehaviour::kAnswer;
  int http_status = 200;
  std::string content_type = "application/grpc";
};

struct GrpcRequest {
  std::map<std::string, std::string> headers;  // with :path and the like
  std::string body;
  std::chrono::steady_clock::time_point received_at;
};

inline std::string GrpcFrame(std::string_view message, bool compressed = false) {
  std::string frame(1, compressed ? '\1' : '\0');
  for (int shift : {24, 16, 8, 0}) frame += static_cast<char>((message.size() >> shift) & 0xff);
  return frame.append(message);
}

class FakeGrpcServer : public ScriptedServer<GrpcRequest, GrpcReply> {
 public:
  FakeGrpcServer() {
    Start([this](int fd) { Serve(fd); });
  }
  ~FakeGrpcServer() { Stop(); }

 private:
  struct Stream {
    GrpcRequest request;
    GrpcReply reply;
    size_t sent = 0;
  };
  struct Connection {
    FakeGrpcServer* server = nullptr;
    nghttp2_session* session = nullptr;
    std::map<int32_t, Stream> streams;
    bool reset = false;            // the connection ends with RST
    bool close_when_sent = false;  // it ends in order once everything is written
  };

  void Serve(int fd) {
    Connection connection;
    connection.server = this;
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, &OnHeader);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, &OnData);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, &OnFrame);
    nghttp2_session_server_new(&connection.session, callbacks, &connection);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(connection.session, NGHTTP2_FLAG_NONE, nullptr, 0);
    while (Flush(fd, connection) && !connection.close_when_sent && !Stopping()) {
      pollfd waiting{fd, POLLIN, 0};
      if (::poll(&waiting, 1, 10) <= 0) continue;
      uint8_t piece[65536];
      ssize_t count = ::recv(fd, piece, sizeof(piece), 0);
      if (count <= 0) break;
      if (nghttp2_session_mem_recv(connection.session, piece, static_cast<size_t>(count)) < 0)
        break;
      if (connection.reset) {
        linger hard{1, 0};
        ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        break;
      }
    }
    nghttp2_session_del(connection.session);
    ::close(fd);
  }

  // False when the connection is over.
  bool Flush(int fd, Connection& connection) {
    while (!Stopping()) {
      const uint8_t* data = nullptr;
      ssize_t count = nghttp2_session_mem_send(connection.session, &data);
      if (count <= 0) return count == 0;
      while (count > 0) {
        ssize_t sent = ::send(fd, data, static_cast<size_t>(count), MSG_NOSIGNAL);
        if (sent <= 0) return false;
        data += sent;
        count -= sent;
      }
    }
    return false;
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_size, const uint8_t* value, size_t value_size, uint8_t,
                      void* user) {
    auto* connection = static_cast<Connection*>(user);
    connection->streams[frame->hd.stream_id].request.headers.emplace(
        std::string(reinterpret_cast<const char*>(name), name_size),
        std::string(reinterpret_cast<const char*>(value), value_size));
    return 0;
  }

  static int OnData(nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t size,
                    void* user) {
    auto* connection = static_cast<Connection*>(user);
    connection->streams[id].request.body.append(reinterpret_cast<const char*>(data), size);
    return 0;
  }

  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    auto* connection = static_cast<Connection*>(user);
    const bool request = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (request && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      connection->server->Answer(*connection, frame->hd.stream_id);
    }
    return 0;
  }

  static nghttp2_nv Field(const std::pair<std::string, std::string>& field) {
    return {reinterpret_cast<uint8_t*>(const_cast<char*>(field.first.data())),
            reinterpret_cast<uint8_t*>(const_cast<char*>(field.second.data())), field.first.size(),
            field.second.size(), NGHTTP2_NV_FLAG_NONE};
  }

  static std::vector<std::pair<std::string, std::string>> Trailers(const GrpcReply& reply) {
    std::vector<std::pair<std::string, std::string>> fields;
    if (reply.code >= 0) fields.emplace_back("grpc-status", std::to_string(reply.code));
    if (!reply.message.empty()) fields.emplace_back("grpc-message", reply.message);
    fields.insert(fields.end(), reply.trailers.begin(), reply.trailers.end());
    return fields;
  }

  static ssize_t OnRead(nghttp2_session* session, int32_t id, uint8_t* buffer, size_t size,
                        uint32_t* flags, nghttp2_data_source* source, void*) {
    auto* connection = static_cast<Connection*>(source->ptr);
    Stream& stream = connection->streams[id];
    const GrpcReply& reply = stream.reply;
    if (reply.behaviour == GrpcBehaviour::kEndless) {
      std::fill_n(buffer, size, 'x');
      return static_cast<ssize_t>(size);
    }
    size = std::min(size, reply.body.size() - stream.sent);
    std::copy_n(reply.body.data() + stream.sent, size, buffer);
    stream.sent += size;
    if (stream.sent < reply.body.size()) return static_cast<ssize_t>(size);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (reply.behaviour == GrpcBehaviour::kNoTrailers) return static_cast<ssize_t>(size);
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (reply.behaviour == GrpcBehaviour::kCutTrailers) {
      connection->close_when_sent = true;
      return static_cast<ssize_t>(size);
    }
    std::vector<nghttp2_nv> fields;
    const auto trailers = Trailers(reply);
    for (const auto& field : trailers) fields.push_back(Field(field));
    nghttp2_submit_trailer(session, id, fields.data(), fields.size());
    return static_cast<ssize_t>(size);
  }

  void Answer(Connection& connection, int32_t id) {
    Stream& stream = connection.streams[id];
    stream.reply = Take(stream.request);
    const GrpcReply& reply = stream.reply;
    if (reply.behaviour == GrpcBehaviour::kHang) return;
    if (reply.behaviour == GrpcBehaviour::kReset) {
      connection.reset = true;
      return;
    }
    if (reply.behaviour == GrpcBehaviour::kResetStream) {
      nghttp2_submit_rst_stream(connection.session, NGHTTP2_FLAG_NONE, id, NGHTTP2_INTERNAL_ERROR);
      return;
    }
    std::vector<std::pair<std::string, std::string>> head = {
        {":status", std::to_string(reply.http_status)}};
    if (!reply.content_type.empty()) head.emplace_back("content-type", reply.content_type);
    head.insert(head.end(), reply.headers.begin(), reply.headers.end());
    const bool trailers_only = reply.behaviour == GrpcBehaviour::kTrailersOnly;
    if (trailers_only) {
      for (auto& field : Trailers(reply)) head.push_back(std::move(field));
    }
    std::vector<nghttp2_nv> fields;
    for (const auto& field : head) fields.push_back(Field(field));
    nghttp2_data_provider body{{.ptr = &connection}, &OnRead};
    nghttp2_submit_response(connection.session, id, fields.data(), fields.size(),
                            trailers_only ? nullptr : &body);
  }
};

}  // namespace zerotap::testing
