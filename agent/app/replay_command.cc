#include "agent/app/replay_command.h"

#include <utility>
#include <vector>

#include "agent/app/command_line.h"
#include "agent/app/version.h"
#include "agent/base/log.h"
#include "agent/pipeline/replay.h"
#include "exporters/otlp/json.h"

namespace zerotap {

int RunReplay(const std::string& path, const Config& config, bool metrics, std::FILE* out) {
  otlp::InstrumentationScope scope;
  scope.version = std::string(kVersion);
  const auto print = [out](std::string line) {
    line += '\n';
    std::fwrite(line.data(), 1, line.size(), out);
  };
  uint64_t last_unix_ns = 0;
  const Status status = ReplayFile(
      path, config.pipeline,
      [&](std::vector<Span>&& spans) {
        for (const Span& span : spans) {
          if (span.end_unix_ns > last_unix_ns) last_unix_ns = span.end_unix_ns;
        }
        print(otlp::EncodeTracesJson(spans, scope));
      },
      [&](Pipeline& pipeline) {
        const LedgerCounts total = pipeline.ledger().Total();
        spdlog::debug("{} records, {} requests seen", pipeline.stats().records, total.seen);
        if (!metrics) return;
        std::vector<Metric> collected;
        pipeline.CollectMetrics(last_unix_ns, collected);
        if (!collected.empty()) print(otlp::EncodeMetricsJson(collected, scope));
      });
  if (std::fflush(out) != 0 || std::ferror(out) != 0) {
    spdlog::error("cannot write the spans: {}", Error::FromErrno("standard output").message);
    return kExitRuntimeFailure;
  }
  if (!status) {
    spdlog::error("{}", status.error().message);
    return kExitRuntimeFailure;
  }
  return kExitOk;
}

}  // namespace zerotap
