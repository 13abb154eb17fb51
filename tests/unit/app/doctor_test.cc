#include "agent/app/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/fake_collector.h"
#include "tests/support/fake_grpc_server.h"
#include "tests/unit/process/fake_root.h"

namespace zerotap {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

KernelFacts GoodKernel() {
  KernelFacts facts;
  facts.release = "6.1.0-18-amd64";
  facts.machine = "x86_64";
  facts.is_5_10 = true;
  facts.btf = "/sys/kernel/btf/vmlinux";
  facts.tracefs = "mounted";
  facts.lockdown = "integrity";
  facts.memlock_bytes = 8 << 20;
  for (const char* name : {"CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"}) {
    facts.capabilities.emplace_back(name, true);
  }
  return facts;
}

std::function<TierCheck(CaptureTier)> Tiers(bool a, bool b) {
  return [=](CaptureTier tier) {
    TierCheck check;
    check.tier = tier;
    check.works = tier == CaptureTier::kA ? a : b;
    check.why_not = check.works ? "" : "this kernel lacks its hooks";
    check.report.attach_form = "tracepoint";
    check.report.unseen = {tier == CaptureTier::kA ? "unseen by a" : "unseen by b"};
    return check;
  };
}

const HostCheck& Find(const DoctorReport& report, const std::string& name) {
  for (const HostCheck& check : report.host) {
    if (check.name == name) return check;
  }
  static const HostCheck none;
  ADD_FAILURE() << "no check called " << name;
  return none;
}

TEST(DoctorKernel, BetterTierIsChosenAndItsBlindSpotsAreTold) {
  DoctorReport report;
  CheckKernel(GoodKernel(), {}, Tiers(true, true), report);
  EXPECT_TRUE(report.would_capture);
  EXPECT_EQ(report.tier, "a");
  EXPECT_THAT(report.blind_everywhere, ElementsAre("unseen by a"));
  for (const HostCheck& check : report.host) EXPECT_NE(check.finding, Finding::kBad) << check.name;
}

TEST(DoctorKernel, WithoutTierAItIsB) {
  DoctorReport report;
  CheckKernel(GoodKernel(), {}, Tiers(false, true), report);
  EXPECT_TRUE(report.would_capture);
  EXPECT_EQ(report.tier, "b");
  EXPECT_THAT(Find(report, "tier_a").text, HasSubstr("lacks its hooks"));
  EXPECT_THAT(Find(report, "tier_b").text, HasSubstr("chosen"));
}

TEST(DoctorKernel, ATierThatWasAskedForAndDoesNotWorkIsBad) {
  CaptureConfig config;
  config.tier = "a";
  DoctorReport report;
  CheckKernel(GoodKernel(), config, Tiers(false, true), report);
  EXPECT_FALSE(report.would_capture);
  EXPECT_EQ(Find(report, "tier_a").finding, Finding::kBad);
  EXPECT_THAT(Find(report, "tier_a").remedy, HasSubstr("auto"));
}

TEST(DoctorKernel, EveryHindranceHasARemedy) {
  KernelFacts facts;
  facts.release = "4.18.0";
  facts.lockdown = "confidentiality";
  facts.charges_memlock = true;
  facts.memlock_bytes = 65536;
  facts.in_initial_pid_namespace = false;
  facts.capabilities = {{"CAP_BPF", false}};
  DoctorReport report;
  CheckKernel(facts, {}, Tiers(false, false), report);
  EXPECT_FALSE(report.would_capture);
  for (const char* name : {"kernel", "btf", "lockdown", "pid_namespace", "capabilities", "memlock"}) {
    EXPECT_EQ(Find(report, name).finding, Finding::kBad) << name;
    EXPECT_FALSE(Find(report, name).remedy.empty()) << name;
  }
  EXPECT_EQ(Find(report, "tier_b").finding, Finding::kBad);
}

TEST(DoctorKernel, WhereTheTypesAreReadFromIsTold) {
  CaptureConfig config;
  config.btf = "/etc/zerotap/kernel.btf";
  KernelFacts facts = GoodKernel();
  facts.btf = config.btf;
  DoctorReport report;
  CheckKernel(facts, config, Tiers(true, true), report);
  EXPECT_EQ(Find(report, "btf").text, "/etc/zerotap/kernel.btf (capture.btf)");
  facts.btf.clear();
  facts.why_no_btf = "it is of another kernel";
  DoctorReport refused;
  CheckKernel(facts, config, Tiers(false, false), refused);
  EXPECT_EQ(Find(refused, "btf").finding, Finding::kBad);
  EXPECT_EQ(Find(refused, "btf").text, "it is of another kernel");
  EXPECT_THAT(Find(refused, "btf").remedy, HasSubstr("remove capture.btf"));
}

TEST(DoctorKernel, AnotherPidNamespaceStopsCaptureWhateverLoads) {
  KernelFacts facts = GoodKernel();
  facts.in_initial_pid_namespace = false;
  DoctorReport report;
  CheckKernel(facts, {}, Tiers(true, true), report);
  EXPECT_FALSE(report.would_capture);
}

LoadedConfig Exporting(const std::string& endpoint) {
  LoadedConfig loaded;
  loaded.config.exports.traces = {"otlp"};
  loaded.config.exports.metrics = {"none"};
  loaded.config.exports.otlp.endpoint = endpoint;
  return loaded;
}

TEST(DoctorConfiguration, AReceiverThatNobodyIsNamesTheError) {
  DoctorReport report;
  CheckConfiguration(Exporting("http://user:s3cret@127.0.0.1:1"), report);
  EXPECT_EQ(Find(report, "traces_to").finding, Finding::kNote);
  EXPECT_THAT(Find(report, "traces_to").text, HasSubstr("http://127.0.0.1:1/v1/traces: "));
  EXPECT_THAT(DoctorText(report), Not(HasSubstr("s3cret")));
  EXPECT_EQ(Find(report, "metrics_to").text, "none");
}

TEST(DoctorConfiguration, WhatKeepsRunFromStartingIsBad) {
  LoadedConfig loaded = Exporting("https://127.0.0.1:1");
  loaded.config.exports.otlp.certificate = "/nonexistent/authority.pem";
  DoctorReport report;
  report.would_capture = true;
  CheckConfiguration(loaded, report);
  EXPECT_EQ(Find(report, "traces_to").finding, Finding::kBad);
  EXPECT_THAT(Find(report, "traces_to").text, HasSubstr("/nonexistent/authority.pem"));
  EXPECT_FALSE(report.would_capture);
}

TEST(DoctorConfiguration, ReceiversAreAskedByTheProtocolOfTheConfiguration) {
  testing::FakeGrpcServer grpc;
  LoadedConfig loaded = Exporting(grpc.authority());
  loaded.config.exports.otlp.protocol = "grpc";
  loaded.config.exports.otlp.insecure = "true";
  loaded.config.exports.otlp.headers = {{"x-key", "s3cret"}};
  DoctorReport report;
  CheckConfiguration(loaded, report);
  EXPECT_EQ(Find(report, "traces_to").finding, Finding::kGood) << Find(report, "traces_to").text;
  EXPECT_THAT(Find(report, "traces_to").text, HasSubstr("(grpc)"));
  ASSERT_EQ(grpc.requests().size(), 1u);
  EXPECT_EQ(grpc.requests()[0].body, testing::GrpcFrame(""));
  EXPECT_EQ(grpc.requests()[0].headers.at("x-key"), "s3cret");
  EXPECT_THAT(DoctorText(report), Not(HasSubstr("s3cret")));

  testing::FakeCollector collector;
  loaded = Exporting(collector.url());
  loaded.config.exports.otlp.protocol = "http/json";
  report = {};
  CheckConfiguration(loaded, report);
  EXPECT_EQ(Find(report, "traces_to").finding, Finding::kGood) << Find(report, "traces_to").text;
  ASSERT_EQ(collector.requests().size(), 1u);
  EXPECT_EQ(collector.requests()[0].body, "{}");
  EXPECT_EQ(collector.requests()[0].Header("content-type"), "application/json");

  loaded.config.exports.otlp.protocol = "grpc";
  report = {};
  CheckConfiguration(loaded, report);
  EXPECT_EQ(Find(report, "traces_to").finding, Finding::kNote);
  EXPECT_THAT(Find(report, "traces_to").text, HasSubstr("4317"));
}

TEST(DoctorConfiguration, FileAndWarningsAreTold) {
  LoadedConfig loaded = Exporting("http://127.0.0.1:1");
  loaded.config.exports.traces = {"console", "file"};
  loaded.path = "/etc/zerotap/zerotap.yaml";
  loaded.warnings = {"a variable is ignored"};
  DoctorReport report;
  CheckConfiguration(loaded, report);
  EXPECT_EQ(Find(report, "config").text, "/etc/zerotap/zerotap.yaml");
  EXPECT_THAT(DoctorText(report), HasSubstr("a variable is ignored"));
  EXPECT_EQ(Find(report, "traces_to").text, "console, file");
}

class DoctorProcessesTest : public ::testing::Test {
 protected:
  void Add(uint32_t pid, std::vector<std::string> environment = {}, int inode = 11) {
    FakeProcess process;
    process.pid = pid;
    process.executable = "/usr/bin/python3.11";
    process.arguments = {"python3", "cart.py"};
    process.environment = std::move(environment);
    root_.Add(process);
    const std::string base = "/proc/" + std::to_string(pid);
    root_.Link(base + "/fd/3", "socket:[" + std::to_string(inode) + "]");
    root_.Link(base + "/ns/net", "net:[1]");
    root_.Write(base + "/net/tcp",
                "head\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 "
                "    0        0 11 1 0000000000000000 100 0 0 10 0\n");
  }
  DoctorReport Check(const RunningAgent& agent = {}, bool all = false) {
    DoctorReport report;
    report.tier = "a";
    Status status = CheckProcesses(config_, root_.path(), agent, all, report);
    EXPECT_TRUE(status);
    return report;
  }
  static std::vector<std::string> Kinds(const ProcessFinding& process) {
    std::vector<std::string> kinds;
    for (const BlindSpot& spot : process.blind) kinds.push_back(spot.kind);
    return kinds;
  }
  FakeRoot root_;
  Config config_;
};

TEST_F(DoctorProcessesTest, APlainServerIsCapturedWhole) {
  Add(100);
  const DoctorReport report = Check();
  ASSERT_EQ(report.processes.size(), 1u);
  const ProcessFinding& process = report.processes[0];
  EXPECT_EQ(process.service, "cart");
  EXPECT_EQ(process.runtime, "Python");
  EXPECT_THAT(process.listening, ElementsAre(8080));
  EXPECT_THAT(process.captured, ElementsAre("http", "postgresql"));
  EXPECT_THAT(process.blind, IsEmpty());
  EXPECT_THAT(DoctorText(report), HasSubstr("8080"));
}

TEST_F(DoctorProcessesTest, RulesAndDisabledProtocolsCount) {
  Add(100);
  config_.pipeline.disabled_protocols = {"http"};
  EXPECT_THAT(Check().processes[0].captured, ElementsAre("postgresql"));
  config_.targets.exclude = {{.command_contains = "cart"}};
  const ProcessFinding process = Check().processes[0];
  EXPECT_FALSE(process.traced);
  EXPECT_THAT(process.captured, IsEmpty());
  EXPECT_THAT(Kinds(process), ElementsAre("excluded"));
  EXPECT_THAT(process.blind[0].text, HasSubstr("targets.exclude[0]"));
}

TEST_F(DoctorProcessesTest, BlindSpotsAreNamed) {
  Add(100, {"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318"});
  root_.Link("/proc/100/fd/4", "anon_inode:[io_uring]");
  root_.Write("/proc/100/maps", "1-2 r-xp 0 08:01 1 /usr/lib/libssl.so.3\n");
  const ProcessFinding process = Check().processes[0];
  EXPECT_THAT(Kinds(process), ElementsAre("tls", "io_uring", "own_spans"));
  EXPECT_THAT(process.blind[0].text, HasSubstr("libssl.so.3"));
  EXPECT_THAT(process.blind[2].text, HasSubstr("OTEL_EXPORTER_OTLP_ENDPOINT"));
  config_.pipeline.exclude_otel_instrumented = false;
  EXPECT_THAT(Kinds(Check().processes[0]), ElementsAre("tls", "io_uring"));
}

TEST_F(DoctorProcessesTest, TheRunningAgentKnowsWhoExports) {
  Add(100);
  RunningAgent agent;
  agent.answers = true;
  agent.own_spans[100] = 42;
  const ProcessFinding process = Check(agent).processes[0];
  EXPECT_THAT(Kinds(process), ElementsAre("own_spans"));
  EXPECT_THAT(process.blind[0].text, HasSubstr("42 requests"));
}

TEST_F(DoctorProcessesTest, ProcessesWithoutSocketsAreCounted) {
  Add(100);
  Add(200, {}, 77);
  EXPECT_EQ(Check().processes.size(), 1u);
  EXPECT_EQ(Check().processes_without_sockets, 1u);
  EXPECT_EQ(Check({}, true).processes.size(), 2u);
}

TEST(DoctorReportText, NamesOfOthersCannotWriteToTheTerminal) {
  DoctorReport report;
  report.processes.push_back({});
  report.processes[0].service = "a\x1b[2Jb\n";
  EXPECT_THAT(DoctorText(report), HasSubstr("a?[2Jb?"));
}

TEST(DoctorReportJson, HasEveryPart) {
  DoctorReport report;
  report.would_capture = true;
  report.tier = "b";
  report.host = {{"btf", Finding::kBad, "none", "a remedy"}};
  report.processes.push_back({});
  report.processes[0].service = "x\xff";
  report.processes[0].blind = {{"tls", "why"}};
  const nlohmann::json json = nlohmann::json::parse(DoctorJson(report));
  EXPECT_EQ(json["would_capture"], true);
  EXPECT_EQ(json["tier"], "b");
  EXPECT_EQ(json["host"][0]["finding"], "bad");
  EXPECT_EQ(json["host"][0]["remedy"], "a remedy");
  EXPECT_EQ(json["processes"][0]["blind"][0]["kind"], "tls");
}

}  // namespace
}  // namespace zerotap
