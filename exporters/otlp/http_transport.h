// OTLP/HTTP (specification: protocol/otlp.md, "OTLP/HTTP"), with protobuf or JSON bodies.
#pragma once

#include <memory>
#include <string>

#include "agent/http/client.h"
#include "exporters/otlp/encoder.h"
#include "exporters/otlp/transport.h"

namespace zerotap::otlp {

struct HttpTransportOptions {
  std::string url;
  BodyFormat format = BodyFormat::kProtobuf;
  HttpHeaders headers;
  HttpClientOptions client;
};

class HttpTransport : public Transport {
 public:
  static Result<std::unique_ptr<Transport>> Create(HttpTransportOptions options);

  Attempt Post(const OutgoingBody& body, std::chrono::milliseconds timeout) override;
  void RequestStop() override { client_->RequestStop(); }
  bool stop_requested() const override { return client_->stop_requested(); }
  const std::string& url() const override { return options_.url; }

 private:
  HttpTransport(HttpTransportOptions options, std::unique_ptr<HttpClient> client);

  const HttpTransportOptions options_;
  const std::unique_ptr<HttpClient> client_;
};

// An error that names the first header that cannot be sent, never its value.
Status CheckHeaders(const HttpHeaders& headers);

}  // namespace zerotap::otlp
