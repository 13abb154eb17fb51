// OTLP/gRPC: unary calls as plain HTTP/2 requests (grpc/doc/PROTOCOL-HTTP2.md), so that one HTTP
// client serves all transports.
#pragma once

#include <memory>
#include <string>

#include "agent/http/client.h"
#include "exporters/otlp/transport.h"

namespace zerotap::otlp {

struct GrpcTransportOptions {
  std::string url;  // with the path of the call
  HttpHeaders headers;
  HttpClientOptions client;  // its version is HTTP/2 whatever it says
};

class GrpcTransport : public Transport {
 public:
  static Result<std::unique_ptr<Transport>> Create(GrpcTransportOptions options);

  Attempt Post(const OutgoingBody& body, std::chrono::milliseconds timeout) override;
  void RequestStop() override { client_->RequestStop(); }
  bool stop_requested() const override { return client_->stop_requested(); }
  const std::string& url() const override { return options_.url; }

 private:
  GrpcTransport(GrpcTransportOptions options, std::unique_ptr<HttpClient> client);

  const GrpcTransportOptions options_;
  const std::unique_ptr<HttpClient> client_;
  std::string frame_;  // kept for its memory
};

}  // namespace zerotap::otlp
