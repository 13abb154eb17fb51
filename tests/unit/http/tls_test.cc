// TLS against a real server: Python's ssl module, with certificates made by the openssl command for
// this run.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "agent/http/client.h"

namespace zerotap {
namespace {

constexpr std::chrono::milliseconds kLong{10'000};

// Answers every POST with its length; asks for a client certificate. Prints its port.
constexpr char kServer[] = R"(
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        answer = str(len(body)).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, address):
        pass
folder = sys.argv[1]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + '/server.pem', folder + '/server.key')
if sys.argv[2] == 'mutual':
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(folder + '/ca.pem')
server = Server(('127.0.0.1', 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
)";

bool Shell(const std::string& command) { return std::system(command.c_str()) == 0; }

class TlsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!Shell("command -v openssl >/dev/null && command -v python3 >/dev/null")) {
      GTEST_SKIP() << "needs openssl and python3";
    }
    char path[] = "/tmp/tls_test.XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    folder_ = path;
    std::ofstream(folder_ + "/server.py") << kServer;
    std::ofstream(folder_ + "/names") << "subjectAltName=IP:127.0.0.1,DNS:localhost\n";
    std::string in_folder = "cd " + folder_ + " && openssl ";
    std::string quiet = " 2>/dev/null";
    ASSERT_TRUE(Shell(in_folder +
                      "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                      "-keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca" +
                      quiet));
    for (std::string name : {"server", "client"}) {
      ASSERT_TRUE(Shell(in_folder +
                        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                        "-keyout " +
                        name + ".key -out " + name + ".csr -subj /CN=" + name + quiet));
      ASSERT_TRUE(Shell(in_folder + "x509 -req -in " + name +
                        ".csr -CA ca.pem -CAkey ca.key "
                        "-CAcreateserial -days 2 -extfile names -out " +
                        name + ".pem" + quiet));
    }
  }

  void TearDown() override {
    if (server_ > 0) {
      kill(server_, SIGKILL);
      waitpid(server_, nullptr, 0);
    }
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  // Returns the URL.
  std::string StartServer(const char* mode) {
    int fds[2];
    if (pipe(fds) != 0) return {};
    std::string script = folder_ + "/server.py";
    server_ = fork();
    if (server_ == 0) {
      dup2(fds[1], STDOUT_FILENO);
      execlp("python3", "python3", script.c_str(), folder_.c_str(), mode, nullptr);
      _exit(127);
    }
    close(fds[1]);
    char text[16] = "";
    ssize_t count = read(fds[0], text, sizeof(text) - 1);
    close(fds[0]);
    EXPECT_GT(count, 0);
    return "https://127.0.0.1:" + std::to_string(std::atoi(text)) + "/v1/traces";
  }

  HttpResult Post(const HttpClientOptions& options, const std::string& url) {
    auto client = HttpClient::Create(options);
    EXPECT_TRUE(client.has_value());
    return (*client)->Post(url, {}, "12345", kLong);
  }

  std::string folder_;
  pid_t server_ = -1;
};

TEST_F(TlsTest, TrustsTheGivenCaOnly) {
  std::string url = StartServer("simple");
  HttpResult untrusted = Post({}, url);
  ASSERT_FALSE(untrusted.has_value());
  EXPECT_EQ(untrusted.error().failure, HttpFailure::kTls) << untrusted.error().message;
  EXPECT_FALSE(untrusted.error().retryable());

  HttpClientOptions options;
  options.ca_file = folder_ + "/ca.pem";
  HttpResult trusted = Post(options, url);
  ASSERT_TRUE(trusted.has_value()) << trusted.error().message;
  EXPECT_EQ(trusted->body, "5");
}

TEST_F(TlsTest, ShowsItsClientCertificate) {
  std::string url = StartServer("mutual");
  HttpClientOptions options;
  options.ca_file = folder_ + "/ca.pem";
  EXPECT_FALSE(Post(options, url).has_value());
  options.client_certificate_file = folder_ + "/client.pem";
  options.client_key_file = folder_ + "/client.key";
  HttpResult result = Post(options, url);
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->status, 200);
}

TEST_F(TlsTest, AKeyThatIsNoKeyIsATlsFailure) {
  std::string url = StartServer("simple");
  HttpClientOptions options;
  options.ca_file = folder_ + "/ca.pem";
  options.client_certificate_file = folder_ + "/client.pem";
  options.client_key_file = folder_ + "/names";
  HttpResult result = Post(options, url);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().failure, HttpFailure::kTls) << result.error().message;
}

}  // namespace
}  // namespace zerotap
