#include "agent/process/process_survey.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/process/fake_root.h"
#include "tests/unit/symbolizers/elf_image.h"

namespace zerotap {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kTcpHead =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
constexpr const char* kUnixHead =
    "Num       RefCount Protocol Flags    Type St Inode Path\n";

std::string TcpLine(const std::string& local, const std::string& remote, const std::string& state,
                    int inode) {
  return "   0: 0100007F:" + local + " 0100007F:" + remote + " " + state +
         " 00000000:00000000 00:00000000 00000000     0        0 " + std::to_string(inode) +
         " 1 0000000000000000 100 0 0 10 0\n";
}

class SurveyTest : public ::testing::Test {
 protected:
  void AddProcess(uint32_t pid, const std::vector<std::string>& descriptors,
                  const std::string& network = "net:[1]") {
    FakeProcess process;
    process.pid = pid;
    root_.Add(process);
    const std::string base = "/proc/" + std::to_string(pid);
    int number = 0;
    std::filesystem::create_directories(root_.path() + base + "/fd");
    for (const std::string& target : descriptors) {
      root_.Link(base + "/fd/" + std::to_string(number++), target);
    }
    root_.Link(base + "/ns/net", network);
  }
  FakeRoot root_;
};

TEST_F(SurveyTest, SocketsAreFoundByTheirDescriptors) {
  AddProcess(100, {"/dev/null", "socket:[11]", "socket:[11]", "socket:[12]", "socket:[13]",
                   "socket:[21]", "socket:[22]", "socket:[99]", "pipe:[11]"});
  root_.Write("/proc/100/net/tcp", kTcpHead + TcpLine("1F90", "0000", "0A", 11) +
                                       TcpLine("A000", "01BB", "01", 12) +
                                       TcpLine("A001", "01BB", "01", 77) +
                                       TcpLine("A002", "0050", "06", 13));
  root_.Write("/proc/100/net/tcp6", kTcpHead + std::string(
      "   0: 00000000000000000000000000000000:0051 00000000000000000000000000000000:0000 0A "
      "00000000:00000000 00:00000000 00000000     0        0 14 1 0000000000000000 100 0 0 10 0\n"));
  root_.Write("/proc/100/net/unix",
              kUnixHead + std::string("0: 00000002 00000000 00010000 0001 01 21 /run/app.sock\n"
                                      "0: 00000003 00000000 00000000 0001 03 22\n"
                                      "0: 00000003 00000000 00000000 0002 03 23 /run/datagram\n"));
  const ProcessSurvey survey = ProcessSurveyor(root_.path()).Survey(100);
  EXPECT_TRUE(survey.readable);
  EXPECT_THAT(survey.listening, ElementsAre(8080));
  EXPECT_THAT(survey.remote_ports, ElementsAre(443));
  EXPECT_THAT(survey.unix_paths, ElementsAre("/run/app.sock"));
  EXPECT_EQ(survey.tcp_connections, 1u);
  EXPECT_EQ(survey.tls_connections, 1u);
  EXPECT_EQ(survey.unix_connections, 1u);
  EXPECT_TRUE(survey.has_sockets());
  EXPECT_FALSE(survey.io_uring);
}

TEST_F(SurveyTest, EachNetworkNamespaceHasItsOwnTable) {
  AddProcess(100, {"socket:[11]"}, "net:[1]");
  AddProcess(200, {"socket:[11]"}, "net:[2]");
  root_.Write("/proc/100/net/tcp", kTcpHead + TcpLine("0050", "0000", "0A", 11));
  root_.Write("/proc/200/net/tcp", kTcpHead + TcpLine("0051", "0000", "0A", 11));
  ProcessSurveyor surveyor(root_.path());
  EXPECT_THAT(surveyor.Survey(100).listening, ElementsAre(80));
  EXPECT_THAT(surveyor.Survey(200).listening, ElementsAre(81));
}

TEST_F(SurveyTest, LibrariesAndRingsAreSeen) {
  AddProcess(100, {"anon_inode:[io_uring]"});
  root_.Write("/proc/100/maps",
              "7f0000000000-7f0000001000 r-xp 00000000 08:01 1 /usr/lib/libssl.so.3\n"
              "7f0000001000-7f0000002000 r--p 00001000 08:01 1 /usr/lib/libssl.so.3\n"
              "7f0000002000-7f0000003000 r-xp 00000000 08:01 2 /usr/lib/libgnutls.so.30 (deleted)\n"
              "7f0000003000-7f0000004000 r-xp 00000000 08:01 3 /usr/lib/libcrypto.so.3\n"
              "7f0000004000-7f0000005000 rw-p 00000000 00:00 0\n");
  const ProcessSurvey survey = ProcessSurveyor(root_.path()).Survey(100);
  EXPECT_TRUE(survey.io_uring);
  EXPECT_THAT(survey.tls_libraries, ElementsAre("libssl.so.3", "libgnutls.so.30"));
}

TEST_F(SurveyTest, WordSizeAndTlsInsideTheProgram) {
  for (const auto& [pid, is_64_bit] : {std::pair(100u, true), std::pair(200u, false)}) {
    AddProcess(pid, {"socket:[11]"});
    root_.Write("/proc/" + std::to_string(pid) + "/net/tcp",
                kTcpHead + TcpLine("0050", "0000", "0A", 11));
    ElfImage image(is_64_bit);
    image.Add(".dynstr", SHT_STRTAB, std::string("\0exit\0SSL_read\0", 15));
    const std::string name = "/program" + std::to_string(pid);
    root_.Write(name, image.Build());
    root_.Link("/proc/" + std::to_string(pid) + "/exe", root_.path() + name);
  }
  ProcessSurveyor surveyor(root_.path());
  EXPECT_FALSE(surveyor.Survey(100).is_32_bit);
  EXPECT_TRUE(surveyor.Survey(200).is_32_bit);
  EXPECT_THAT(surveyor.Survey(100).tls_libraries, ElementsAre("OpenSSL in the program"));
}

TEST_F(SurveyTest, WhatIsNotThereIsNotReadable) {
  EXPECT_FALSE(ProcessSurveyor(root_.path()).Survey(4242).readable);
}

TEST_F(SurveyTest, GarbageInTablesIsPassedOver) {
  AddProcess(100, {"socket:[11]", "socket:[]", "socket:[x]", "socket:["});
  root_.Write("/proc/100/net/tcp", "\n\nx y z\n   0: : : 0A a b c d e f\n");
  root_.Write("/proc/100/net/unix", "\n0: 1\n");
  root_.Write("/proc/100/maps", "/\n /libssl.so\n");
  EXPECT_THAT(ProcessSurveyor(root_.path()).Survey(100).listening, IsEmpty());
}

TEST_F(SurveyTest, KernelThreadsAreLeftOut) {
  AddProcess(300, {});
  AddProcess(100, {});
  AddProcess(200, {});
  root_.Write("/proc/200/cmdline", "");
  root_.Write("/proc/sys/x", "");
  EXPECT_THAT(ProcessSurveyor(root_.path()).Processes(), ElementsAre(100, 300));
}

TEST(OwnTelemetryHint, SaysWhatSaysSo) {
  ProcessFacts facts;
  facts.arguments = {"java", "-jar", "app.jar"};
  EXPECT_EQ(OwnTelemetryHint(facts), "");
  facts.arguments = {"java", "-javaagent:/opt/opentelemetry-javaagent.jar", "-jar", "app.jar"};
  EXPECT_THAT(OwnTelemetryHint(facts), HasSubstr("Java agent"));
  facts.arguments = {"/usr/bin/python3", "/usr/bin/opentelemetry-instrument", "python3", "x.py"};
  EXPECT_THAT(OwnTelemetryHint(facts), HasSubstr("opentelemetry-instrument"));
  facts.arguments = {"node", "--require", "@opentelemetry/auto-instrumentations-node/register", "x.js"};
  EXPECT_THAT(OwnTelemetryHint(facts), HasSubstr("auto-instrumentations-node"));
  facts.arguments.clear();
  facts.environment = {"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318"};
  EXPECT_THAT(OwnTelemetryHint(facts), HasSubstr("OTEL_EXPORTER_OTLP_ENDPOINT"));
  facts.environment.push_back("OTEL_TRACES_EXPORTER=none");
  EXPECT_EQ(OwnTelemetryHint(facts), "");
}

}  // namespace
}  // namespace zerotap
