#include "agent/app/replay_command.h"

#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <utility>

#include "agent/app/command_line.h"
#include "agent/app/version.h"
#include "agent/base/hash.h"
#include "agent/base/log.h"
#include "agent/pcap/pcap_source.h"
#include "agent/pipeline/replay.h"
#include "agent/telemetry/semconv.h"
#include "exporters/otlp/json.h"

namespace zerotap {
namespace {

constexpr size_t kMagicSize = 8;

// Spans and metrics as lines on the output.
class Printer {
 public:
  Printer(std::FILE* out, bool metrics) : out_(out), metrics_(metrics) {
    scope_.version = std::string(kVersion);
  }

  void PrintSpans(std::vector<Span>&& spans) {
    for (const Span& span : spans) last_unix_ns_ = std::max(last_unix_ns_, span.end_unix_ns);
    Print(otlp::EncodeTracesJson(spans, scope_));
  }
  void PrintEnd(Pipeline& pipeline) {
    const LedgerCounts total = pipeline.ledger().Total();
    spdlog::debug("{} records, {} requests seen, {} dropped", pipeline.stats().records, total.seen,
                  total.dropped_total());
    if (!metrics_) return;
    std::vector<Metric> collected;
    pipeline.CollectMetrics(last_unix_ns_, collected);
    if (!collected.empty()) Print(otlp::EncodeMetricsJson(collected, scope_));
  }
  Replayer::OnSpans on_spans() {
    return [this](std::vector<Span>&& spans) { PrintSpans(std::move(spans)); };
  }
  Replayer::OnEnd on_end() {
    return [this](Pipeline& pipeline) { PrintEnd(pipeline); };
  }

 private:
  void Print(std::string line) {
    line += '\n';
    std::fwrite(line.data(), 1, line.size(), out_);
  }

  std::FILE* out_;
  const bool metrics_;
  otlp::InstrumentationScope scope_;
  uint64_t last_unix_ns_ = 0;
};

// A packet capture, or several files that one was cut into, through one pipeline.
class CaptureReplay {
 public:
  CaptureReplay(const ReplayOptions& options, const Config& config, Printer& printer)
      : config_(config),
        printer_(printer),
        source_(PacketOptions{.ends = options.ends, .connection = {}}) {}

  bool begun() const { return replayer_ != nullptr; }
  // Whether a file whose first packet is of this time goes on where the last one ended. Packets of
  // different CPUs are written a little out of order, at the cut between files too.
  bool Continues(uint64_t first_unix_ns) const {
    constexpr uint64_t kDisorderNs = 1'000'000;
    return first_unix_ns + kDisorderNs >= source_.tracker().now_ns();
  }

  Status Read(std::unique_ptr<PcapFile> file, const RawPacket& first) {
    if (!begun()) {
      // Ids come from the capture itself: the same file gives the same ones.
      RecordingHeader header;
      header.id_seed = HashText(AsText(first.bytes), MixHash(first.unix_ns));
      auto created = Replayer::Create(header, config_.pipeline, printer_.on_spans(),
                                      [this](uint32_t tgid) { return Resolve(tgid); });
      if (!created) return tl::unexpected<Error>(created.error());
      replayer_ = std::move(*created);
    }
    source_.Read(std::move(file));
    while (!source_.ended()) {
      Result<size_t> drained =
          source_.Drain(0, [this](ByteSpan record) { replayer_->OnRecord(record); });
      replayer_->OnClock(source_.tracker().now_ns());
      if (!drained) return tl::unexpected<Error>(drained.error());
    }
    return {};
  }

  void Finish() {
    if (!begun()) return;
    source_.Finish([this](ByteSpan record) { replayer_->OnRecord(record); });
    replayer_->Finish(printer_.on_end());
    LogStats();
  }

 private:
  // Nothing is known of the processes: a service is called by its address.
  std::optional<TracedProcess> Resolve(uint32_t tgid) const {
    TracedProcess process;
    process.tgid = tgid;
    auto resource = std::make_shared<Resource>();
    resource->service_name = source_.tracker().NameOf(tgid);
    AttributeSet& attributes = resource->attributes;
    attributes.Add(semconv::kServiceName, resource->service_name);
    attributes.Add(semconv::kTelemetrySdkName, std::string_view("opentelemetry"));
    attributes.Add(semconv::kTelemetrySdkLanguage, std::string_view("cpp"));
    attributes.Add(semconv::kTelemetrySdkVersion, kVersion);
    attributes.Add(semconv::kTelemetryDistroName, std::string_view("zerotap"));
    attributes.Add(semconv::kTelemetryDistroVersion, kVersion);
    for (const auto& [key, value] : config_.resource_attributes) {
      if (!attributes.Has(key)) attributes.AddOwnedKey(key, value);
    }
    process.resource = std::move(resource);
    return process;
  }

  void LogStats() const {
    const PacketStats& stats = source_.tracker().stats();
    spdlog::debug("{} packets, {} connections, {} bytes sent again", stats.packets,
                  stats.connections, stats.repeated_bytes);
    if (stats.gaps != 0 || stats.cut_bytes != 0) {
      spdlog::warn(
          "the capture is not whole: {} bytes are missing in {} places, {} were cut off by its "
          "snap "
          "length; requests that they hide give no span",
          stats.missing_bytes, stats.gaps, stats.cut_bytes);
    }
    if (stats.fragments + stats.truncated + stats.malformed != 0) {
      spdlog::warn("not read: {} IP fragments, {} packets without whole headers, {} malformed ones",
                   stats.fragments, stats.truncated, stats.malformed);
    }
    if (stats.connections_evicted != 0) {
      spdlog::warn("{} connections were given up: too many at one time", stats.connections_evicted);
    }
  }

  const Config& config_;
  Printer& printer_;
  PcapSource source_;
  std::unique_ptr<Replayer> replayer_;
};

// The files in their order; what is wrong with one is said and does not stop the others.
class ReplayCommand {
 public:
  ReplayCommand(const ReplayOptions& options, const Config& config, std::FILE* out)
      : options_(options), config_(config), printer_(out, options.metrics) {
    config_.pipeline.shards = std::max<uint64_t>(1, config_.shards);
  }

  bool Run() {
    bool good = true;
    for (const std::string& file : options_.files) {
      if (Status status = One(file); !status) {
        spdlog::error("{}", status.error().message);
        good = false;
      }
    }
    EndCapture();
    return good;
  }

 private:
  Status One(const std::string& file) {
    const bool is_input = file == "-";
    const std::string name = is_input ? "standard input" : file;
    UniqueFd fd(is_input ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                         : ::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return FailErrno("cannot open " + name);
    std::string start;
    while (start.size() < kMagicSize) {
      char bytes[kMagicSize];
      const ssize_t got = ::read(fd.get(), bytes, kMagicSize - start.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return FailErrno("cannot read " + name);
      if (got == 0) break;
      start.append(bytes, static_cast<size_t>(got));
    }
    if (PcapFile::HasMagic(AsBytes(start))) return Capture(std::move(fd), name, start);
    EndCapture();
    if (!RecordingReader::HasMagic(AsBytes(start))) {
      return Fail(name + " is neither a zerotap recording nor a pcap or pcapng capture");
    }
    auto reader = RecordingReader::Open(std::move(fd), name, start);
    if (!reader) return tl::unexpected<Error>(reader.error());
    return ReplayReader(**reader, config_.pipeline, printer_.on_spans(), printer_.on_end());
  }

  Status Capture(UniqueFd fd, const std::string& name, const std::string& start) {
    auto file = PcapFile::Open(std::move(fd), name, start);
    if (!file) return tl::unexpected<Error>(file.error());
    RawPacket first;
    Result<bool> any = (*file)->Peek(first);
    if (!any) return tl::unexpected<Error>(any.error());
    if (!*any) return {};
    if (capture_ && !capture_->Continues(first.unix_ns)) EndCapture();
    if (!capture_) capture_ = std::make_unique<CaptureReplay>(options_, config_, printer_);
    return capture_->Read(std::move(*file), first);
  }

  void EndCapture() {
    if (capture_) capture_->Finish();
    capture_.reset();
  }

  const ReplayOptions& options_;
  Config config_;
  Printer printer_;
  std::unique_ptr<CaptureReplay> capture_;
};

}  // namespace

int RunReplay(const ReplayOptions& options, const Config& config, std::FILE* out) {
  const bool good = ReplayCommand(options, config, out).Run();
  if (std::fflush(out) != 0 || std::ferror(out) != 0) {
    spdlog::error("cannot write the spans: {}", Error::FromErrno("standard output").message);
    return kExitRuntimeFailure;
  }
  return good ? kExitOk : kExitRuntimeFailure;
}

}  // namespace zerotap
