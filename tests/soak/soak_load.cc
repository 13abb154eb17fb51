// The traffic of the soak test, cheap enough to leave the machine to the agent, and counted.
//
// usage: soak_load serve HTTP_PORT PG_PORT
//        soak_load once PORT                          one request, then the end
//        soak_load drive HTTP_PORT PG_PORT SPAWNED CHURNED HTTP POSTGRES     each so many times a second
//        soak_load hold PORT PROCESSES CONNECTIONS    of each process; each asks now and then
//
// serve answers HTTP and simple queries in one thread. drive and hold go on until SIGTERM; drive then prints how many
// requests had their whole answer: {"spawned": N, "churned": N, "http": N, "postgres": N, "failed": N}.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace {

constexpr std::string_view kRequest = "GET /orders/4711 HTTP/1.1\r\nHost: soak.test\r\nAccept: */*\r\n\r\n";
constexpr std::string_view kAnswer =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello, soak\n";
constexpr std::string_view kQuery = "SELECT name FROM items WHERE id = 4711";

volatile sig_atomic_t stopping = 0;

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  std::exit(1);
}

uint64_t NowNs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

std::string Message(char type, std::string_view body) {
  std::string text(1, type);
  const uint32_t size = htonl(static_cast<uint32_t>(body.size() + 4));
  text.append(reinterpret_cast<const char*>(&size), sizeof(size));
  text.append(body);
  return text;
}

std::string Bytes(std::initializer_list<int> bytes) {
  std::string text;
  for (int byte : bytes) text += static_cast<char>(byte);
  return text;
}

std::string QueryAnswer() {
  std::string columns = Bytes({0, 1}) + "name" + Bytes({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 255, 255, 255, 255, 255, 255, 0, 0});
  return Message('T', columns) + Message('D', Bytes({0, 1, 0, 0, 0, 4}) + "soak") +
         Message('C', std::string("SELECT 1") + '\0') + Message('Z', "I");
}

bool SendAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    data.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool ReceiveExactly(int fd, size_t size) {
  char buffer[4096];
  while (size > 0) {
    const ssize_t got = ::recv(fd, buffer, std::min(size, sizeof(buffer)), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    size -= static_cast<size_t>(got);
  }
  return true;
}

// Connections of one end of TIME_WAIT add up: the other end has many addresses.
int Connect(uint16_t port, uint32_t number) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(0x7f000101 + number % 32);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return fd;
  ::close(fd);
  return -1;
}

bool Ask(int fd) { return fd >= 0 && SendAll(fd, kRequest) && ReceiveExactly(fd, kAnswer.size()); }

// ---------------------------------------------------------------------------------------------- the server

struct Client {
  bool postgres = false;
  bool started = false;  // PostgreSQL: the startup message came
  std::string pending;
};

int Listen(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int one = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) Die("bind");
  if (::listen(fd, 4096) != 0) Die("listen");
  return fd;
}

// False when the connection is over.
bool AnswerHttp(int fd, Client& client) {
  size_t end;
  while ((end = client.pending.find("\r\n\r\n")) != std::string::npos) {
    client.pending.erase(0, end + 4);
    if (!SendAll(fd, kAnswer)) return false;
  }
  return true;
}

bool AnswerPostgres(int fd, Client& client, std::string_view answer) {
  while (true) {
    const size_t head = client.started ? 5 : 4;
    if (client.pending.size() < head) return true;
    uint32_t size = 0;
    std::memcpy(&size, client.pending.data() + head - 4, sizeof(size));
    size = ntohl(size) + static_cast<uint32_t>(head) - 4;
    if (client.pending.size() < size) return true;
    const char type = client.started ? client.pending[0] : '\0';
    client.pending.erase(0, size);
    if (!client.started) {
      client.started = true;
      if (!SendAll(fd, Message('R', Bytes({0, 0, 0, 0})) + Message('Z', "I"))) return false;
    } else if (type == 'X') {
      return false;
    } else if (!SendAll(fd, answer)) {
      return false;
    }
  }
}

int Serve(uint16_t http_port, uint16_t postgres_port) {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  const int listeners[] = {Listen(http_port), Listen(postgres_port)};
  const auto watch = [epoll](int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) Die("epoll_ctl");
  };
  for (int listener : listeners) watch(listener);
  const std::string query_answer = QueryAnswer();
  std::unordered_map<int, Client> clients;
  std::vector<epoll_event> events(256);
  char buffer[16384];
  while (!stopping) {
    const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), 1000);
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<size_t>(i)].data.fd;
      if (fd == listeners[0] || fd == listeners[1]) {
        for (int made; (made = ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
          clients[made].postgres = fd == listeners[1];
          watch(made);
        }
        continue;
      }
      Client& client = clients[fd];
      const ssize_t got = ::recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      bool goes_on = got > 0;
      if (goes_on) {
        client.pending.append(buffer, static_cast<size_t>(got));
        goes_on = client.postgres ? AnswerPostgres(fd, client, query_answer) : AnswerHttp(fd, client);
      }
      if (!goes_on) {
        clients.erase(fd);
        ::close(fd);
      }
    }
  }
  return 0;
}

// ---------------------------------------------------------------------------------------------- the clients

int OpenPostgres(uint16_t port) {
  const int fd = Connect(port, 0);
  if (fd < 0) return -1;
  std::string body = Bytes({0, 3, 0, 0}) + "user" + '\0' + "soak" + '\0' + '\0';
  const std::string startup = Message('?', body).substr(1);
  if (SendAll(fd, startup) && ReceiveExactly(fd, 9 + 6)) return fd;
  ::close(fd);
  return -1;
}

struct Counts {
  uint64_t spawned = 0, churned = 0, http = 0, postgres = 0, failed = 0;
};

// Ends of children are counted when they are known.
void Reap(Counts& counts, int options) {
  int status = 0;
  while (::waitpid(-1, &status, options) > 0) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
      ++counts.spawned;
    } else {
      ++counts.failed;
    }
  }
}

// By its true path: that of a process which is gone already is known from what it was started as.
std::string OwnPath() {
  char path[4096] = {};
  if (::readlink("/proc/self/exe", path, sizeof(path) - 1) <= 0) Die("/proc/self/exe");
  return path;
}

void Spawn(const std::string& program, const char* port, Counts& counts) {
  const pid_t child = ::fork();
  if (child < 0) ++counts.failed;
  if (child != 0) return;
  ::execl(program.c_str(), "soak_load", "once", port, nullptr);
  ::_exit(127);
}

// So many times a second, evenly.
struct Pace {
  double per_second;
  double done = 0;
  bool Due(double seconds) {
    if (done >= seconds * per_second) return false;
    ++done;
    return true;
  }
};

int Drive(char** arguments) {
  const auto http_port = static_cast<uint16_t>(std::atoi(arguments[0]));
  const auto postgres_port = static_cast<uint16_t>(std::atoi(arguments[1]));
  Pace spawn{std::atof(arguments[2])}, churn{std::atof(arguments[3])}, http{std::atof(arguments[4])},
      postgres{std::atof(arguments[5])};
  Counts counts;
  std::vector<int> kept, databases;
  for (uint32_t i = 0; i < 8; ++i) kept.push_back(Connect(http_port, i));
  for (int i = 0; i < 4; ++i) databases.push_back(OpenPostgres(postgres_port));
  const std::string query = Message('Q', std::string(kQuery) + '\0');
  const std::string query_answer = QueryAnswer();
  const std::string program = OwnPath();
  const uint64_t begin_ns = NowNs();
  uint32_t number = 0;
  while (!stopping) {
    const double seconds = static_cast<double>(NowNs() - begin_ns) * 1e-9;
    bool any = false;
    if (spawn.Due(seconds)) {
      any = true;
      Spawn(program, arguments[0], counts);
    }
    if (churn.Due(seconds)) {
      any = true;
      const int fd = Connect(http_port, ++number);
      ++(Ask(fd) ? counts.churned : counts.failed);
      if (fd >= 0) ::close(fd);
    }
    if (http.Due(seconds)) {
      any = true;
      ++(Ask(kept[++number % kept.size()]) ? counts.http : counts.failed);
    }
    if (postgres.Due(seconds)) {
      any = true;
      const int fd = databases[++number % databases.size()];
      const bool good = fd >= 0 && SendAll(fd, query) && ReceiveExactly(fd, query_answer.size());
      ++(good ? counts.postgres : counts.failed);
    }
    Reap(counts, WNOHANG);
    if (!any) ::usleep(1000);
  }
  Reap(counts, 0);
  std::printf("{\"spawned\": %llu, \"churned\": %llu, \"http\": %llu, \"postgres\": %llu, \"failed\": %llu}\n",
              static_cast<unsigned long long>(counts.spawned), static_cast<unsigned long long>(counts.churned),
              static_cast<unsigned long long>(counts.http), static_cast<unsigned long long>(counts.postgres),
              static_cast<unsigned long long>(counts.failed));
  return 0;
}

int HoldOne(uint16_t port, int connections, uint32_t number) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::vector<int> kept;
  for (int i = 0; i < connections; ++i) {
    kept.push_back(Connect(port, number * 7 + static_cast<uint32_t>(i)));
    if (!Ask(kept.back())) return 1;
  }
  while (!stopping) {
    for (int fd : kept) {
      ::usleep(static_cast<useconds_t>(10'000'000 / connections));
      if (stopping) break;
      if (!Ask(fd)) return 1;
    }
  }
  return 0;
}

int Hold(char** arguments) {
  const auto port = static_cast<uint16_t>(std::atoi(arguments[0]));
  const int processes = std::atoi(arguments[1]);
  for (int i = 0; i < processes; ++i) {
    const pid_t child = ::fork();
    if (child < 0) Die("fork");
    if (child == 0) ::_exit(HoldOne(port, std::atoi(arguments[2]), static_cast<uint32_t>(i)));
  }
  // A child that ends before it is told to has failed.
  int status = 0;
  const pid_t first = ::wait(&status);
  const bool early = first > 0 && !stopping;
  ::kill(0, SIGTERM);
  while (::wait(&status) > 0) {
  }
  return early ? 1 : 0;
}

}  // namespace

int main(int count, char** arguments) {
  struct sigaction action {};
  action.sa_handler = [](int) { stopping = 1; };
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  rlimit files{65536, 65536};
  ::setrlimit(RLIMIT_NOFILE, &files);
  const std::string_view role = count > 1 ? arguments[1] : "";
  const auto port = [&](int index) { return static_cast<uint16_t>(std::atoi(arguments[index])); };
  if (role == "serve" && count == 4) return Serve(port(2), port(3));
  if (role == "once" && count == 3) return Ask(Connect(port(2), static_cast<uint32_t>(::getpid()))) ? 0 : 1;
  if (role == "drive" && count == 8) return Drive(arguments + 2);
  if (role == "hold" && count == 5) return Hold(arguments + 2);
  std::fprintf(stderr, "usage: see the top of soak_load.cc\n");
  return 2;
}
