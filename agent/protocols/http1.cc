#include "agent/protocols/http1.h"

#include <memory>

#include "agent/protocols/http1_head.h"
#include "agent/protocols/http1_parser.h"

namespace zerotap {
namespace {

// What the first bytes of one direction are.
struct Opening {
  LineMatch request = LineMatch::kNeedMore;
  LineMatch response = LineMatch::kNeedMore;

  bool refused() const { return request == LineMatch::kNo && response == LineMatch::kNo; }
  bool decided() const { return request == LineMatch::kYes || response == LineMatch::kYes; }
};

Opening ReadOpening(std::string_view text, bool at_run_start) {
  if (text.empty() || !at_run_start) return {};
  return {MatchRequestLine(text), MatchStatusLine(text)};
}

Role RoleOf(const Opening& egress, const Opening& ingress) {
  if (egress.request == LineMatch::kYes || ingress.response == LineMatch::kYes)
    return Role::kClient;
  return Role::kServer;
}

DetectResult Detect(const DetectInput& input) {
  Opening egress = ReadOpening(input.egress, input.egress_at_run_start);
  Opening ingress = ReadOpening(input.ingress, input.ingress_at_run_start);
  // Where the connection began, both directions must make sense; later, one may be amid a message.
  if (input.from_first_byte && (egress.refused() || ingress.refused())) return {};
  if (egress.decided() || ingress.decided()) {
    bool client = egress.request == LineMatch::kYes || ingress.response == LineMatch::kYes;
    bool server = ingress.request == LineMatch::kYes || egress.response == LineMatch::kYes;
    if (client && server) return {};
    return {Match::kYes, RoleOf(egress, ingress)};
  }
  if (egress.refused() || ingress.refused()) return {};
  return {Match::kNeedMore, Role::kUnknown};
}

std::unique_ptr<Parser> MakeParser(Role role, bool from_first_byte, const ParserOptions& options,
                                   ExchangeSink& sink) {
  return std::make_unique<Http1Parser>(role, from_first_byte, options, sink);
}

}  // namespace

const Protocol kHttp1Protocol = {
    "http", Detect, MakeParser, {/*request*/ 32, /*response*/ 8, /*edge*/ 64}};

}  // namespace zerotap
