#include "agent/protocols/postgres.h"

#include "agent/protocols/postgres_session.h"

namespace zerotap {
namespace {

std::unique_ptr<Parser> MakePostgresParser(Role role, bool from_first_byte,
                                           const ParserOptions& options, ExchangeSink& sink) {
  return std::make_unique<postgres::Session>(role, from_first_byte, options, sink);
}

}  // namespace

const Protocol kPostgresProtocol = {
    .name = "postgresql",
    .detect = &postgres::Detect,
    .make_parser = &MakePostgresParser,
    .capture = {.request_budget_kib = 16, .response_budget_kib = 16, .edge_bytes = 128},
};

}  // namespace zerotap
