// libFuzzer target for the PostgreSQL parser. The input is a script: whole messages, raw bytes,
// gaps and ends in either direction. Besides not crashing, the parser must keep the sink's
// contract, hold bounded memory and report the same exchanges when the same bytes come in other
// pieces.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "agent/protocols/postgres.h"
#include "tests/support/parser_harness.h"
#include "tests/support/postgres_builders.h"

namespace {

using namespace zerotap;                 // NOLINT
using namespace zerotap::postgres_test;  // NOLINT

constexpr size_t kMaxSteps = 200;
constexpr size_t kMaxMemory = 16 << 20;

class Script {
 public:
  explicit Script(std::string_view bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  uint8_t Byte() {
    if (bytes_.empty()) return 0;
    uint8_t byte = static_cast<uint8_t>(bytes_[0]);
    bytes_.remove_prefix(1);
    return byte;
  }
  std::string Take(size_t count) {
    std::string taken(bytes_.substr(0, count));
    bytes_.remove_prefix(taken.size());
    return taken;
  }

 private:
  std::string_view bytes_;
};

std::string Name(uint8_t choice) {
  static const char* const kNames[] = {"", "a", "b", "statement"};
  return kNames[choice % 4];
}
std::string Sql(uint8_t choice, Script& script) {
  static const char* const kTexts[] = {
      "SELECT 1",     "BEGIN; SELECT ';'; COMMIT", "COPY t FROM STDIN",
      "DEALLOCATE a", "INSERT INTO t VALUES ($1)", "",
      "ROLLBACK"};
  if (choice % 8 == 7) return script.Take(choice / 8);
  return kTexts[choice % 8 % 7];
}

std::string FrontendMessage(Script& script) {
  uint8_t kind = script.Byte();
  uint8_t argument = script.Byte();
  switch (kind % 18) {
    case 0:
      return Query(Sql(argument, script));
    case 1:
      return Parse(Name(kind / 18), Sql(argument, script));
    case 2:
      return Bind(Name(argument), Name(argument / 4), {script.Take(argument / 16)});
    case 3:
      return DescribeStatement(Name(argument));
    case 4:
      return DescribePortal(Name(argument));
    case 5:
      return Execute(Name(argument), argument / 4);
    case 6:
      return CloseStatement(Name(argument));
    case 7:
      return ClosePortal(Name(argument));
    case 8:
      return Flush();
    case 9:
      return Terminate();
    case 10:
      return CopyData(script.Take(argument));
    case 11:
      return CopyDone();
    case 12:
      return CopyFail("no");
    case 13:
      return FunctionCall();
    case 14:
      return Password("secret");
    case 15:
      return argument % 2 == 0 ? SslRequest() : GssEncRequest();
    case 16:
      return Startup({{"user", "app"}, {"database", "shop"}});
    default:
      return Sync();
  }
}

std::string BackendMessage(Script& script) {
  static const char* const kTags[] = {"SELECT 1", "INSERT 0 1", "BEGIN",      "COMMIT",
                                      "ROLLBACK", "COPY 5",     "DEALLOCATE", "DISCARD ALL"};
  uint8_t kind = script.Byte();
  uint8_t argument = script.Byte();
  switch (kind % 24) {
    case 0:
      return Complete(kTags[argument % 8]);
    case 1:
      return Ready("ITE"[argument % 3]);
    case 2:
      return Error("22012", argument % 8 == 0 ? "FATAL" : "ERROR");
    case 3:
      return RowDescription(argument % 3);
    case 4:
      return Rows(argument % 5);
    case 5:
      return ParseComplete();
    case 6:
      return BindComplete();
    case 7:
      return CloseComplete();
    case 8:
      return NoData();
    case 9:
      return PortalSuspended();
    case 10:
      return EmptyQuery();
    case 11:
      return ParameterDescription(argument % 3);
    case 12:
      return CopyInResponse();
    case 13:
      return CopyOutResponse();
    case 14:
      return CopyBothResponse();
    case 15:
      return FunctionResult();
    case 16:
      return Notice();
    case 17:
      return Notification();
    case 18:
      return ParameterStatus("standard_conforming_strings", argument % 2 == 0 ? "off" : "on");
    case 19:
      return DataRow(script.Take(argument));
    case 20:
      return "N";
    case 21:
      return AuthenticationOk();
    case 22:
      return Complete("SELECT 1") + Ready();
    default:
      return CopyData(script.Take(argument));
  }
}

Conversation Compose(Script& script) {
  uint8_t flags = script.Byte();
  Conversation talk((flags & 1) != 0 ? Role::kClient : Role::kServer);
  if ((flags & 2) != 0) talk = LoggedIn(talk.role());
  talk.set_from_first_byte((flags & 4) == 0);
  while (!script.empty() && talk.steps().size() < kMaxSteps) {
    uint8_t action = script.Byte();
    switch (action % 16) {
      case 0:
        talk.ClientGap(1 + script.Byte(), (action & 16) != 0);
        break;
      case 1:
        talk.ServerGap(1 + script.Byte(), (action & 16) != 0);
        break;
      case 2:
        talk.Client(script.Take(1 + script.Byte()));
        break;
      case 3:
        talk.Server(script.Take(1 + script.Byte()));
        break;
      case 4:
        if (action / 16 == 0) talk.ClientEnd();
        if (action / 16 == 1) talk.ServerEnd(EndReason::kReset);
        if (action / 16 == 2) talk.Close(EndReason::kTimeout);
        break;
      case 5:
      case 6:
      case 7:
      case 8: {
        std::string messages;
        for (int i = 0; i <= action / 16 % 8; ++i) messages += FrontendMessage(script);
        talk.Client(messages);
        break;
      }
      default: {
        std::string messages;
        for (int i = 0; i <= action / 16 % 8; ++i) messages += BackendMessage(script);
        talk.Server(messages);
        break;
      }
    }
    // A step without bytes is none.
    if (talk.steps().empty()) continue;
    const Step& last = talk.steps().back();
    if (last.kind == Step::Kind::kData && last.bytes.empty()) talk.steps().pop_back();
  }
  return talk;
}

void Require(bool condition, const std::string& what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

void Check(const Outcome& outcome) {
  Require(outcome.violations.empty(), outcome.violations.empty() ? "" : outcome.violations[0]);
  Require(outcome.begun == outcome.exchanges.size() + outcome.drops.size(),
          "a request is not accounted for");
  Require(outcome.largest_memory < kMaxMemory, "memory is not bounded");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Script script({reinterpret_cast<const char*>(data), size});
  uint8_t options_choice = script.Byte();
  size_t piece = 1 + script.Byte() % 16;
  ParserOptions options;
  if ((options_choice & 1) != 0) options.max_requests_in_flight = 3;
  if ((options_choice & 2) != 0) options.max_prepared_statements = 1;
  if ((options_choice & 4) != 0) options.max_query_bytes = 10;
  Conversation talk = Compose(script);
  Outcome whole = RunConversation(kPostgresProtocol, talk, options);
  Check(whole);
  Outcome cut = RunConversation(kPostgresProtocol, CutEvery(talk, piece), options);
  Check(cut);
  Require(cut.status == whole.status, "another status when cut");
  Require(cut.exchanges == whole.exchanges, "other exchanges when cut");
  Require(cut.drops == whole.drops, "other drops when cut");

  // Whatever comes, detection answers.
  for (const Step& step : talk.steps()) {
    DetectInput input;
    input.egress = step.bytes;
    input.egress_at_run_start = true;
    input.from_first_byte = (options_choice & 8) != 0;
    (void)kPostgresProtocol.detect(input);
  }
  return 0;
}
