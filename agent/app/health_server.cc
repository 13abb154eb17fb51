#include "agent/app/health_server.h"

#include <httplib.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "agent/base/log.h"

namespace zerotap {
namespace {

constexpr size_t kWorkers = 4;
constexpr size_t kMaxWaitingConnections = 16;
constexpr time_t kSocketTimeoutSeconds = 2;

// cpp-httplib's own pool queues without bound; here the accepting thread waits instead, and the
// kernel's backlog after it.
class BoundedTaskQueue : public httplib::TaskQueue {
 public:
  BoundedTaskQueue() {
    for (size_t i = 0; i < kWorkers; ++i) workers_.emplace_back([this] { Work(); });
  }

  void enqueue(std::function<void()> task) override {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [this] { return stopped_ || tasks_.size() < kMaxWaitingConnections; });
    tasks_.push_back(std::move(task));  // also when stopped: the task closes its socket
    ready_.notify_one();
  }

  void shutdown() override {
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    ready_.notify_all();
    room_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

 private:
  void Work() {
    pthread_setname_np(pthread_self(), "zt-health-work");
    while (true) {
      std::function<void()> task;
      {
        std::unique_lock lock(mutex_);
        ready_.wait(lock, [this] { return stopped_ || !tasks_.empty(); });
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      room_.notify_one();
      try {
        task();
      } catch (const std::exception& exception) {
        spdlog::debug("health server: {}", exception.what());
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable ready_;
  std::condition_variable room_;
  std::deque<std::function<void()>> tasks_;
  bool stopped_ = false;
  std::vector<std::thread> workers_;
};

void Answer(httplib::Response& response, bool good, const std::string& text) {
  response.status = good ? 200 : 503;
  response.set_content(text + "\n", "text/plain; charset=utf-8");
}

}  // namespace

struct HealthServer::State {
  HealthCallbacks callbacks;
  httplib::Server server;
  std::thread thread;
  std::atomic<bool> ended{false};
  uint16_t port = 0;

  void Route();
};

void HealthServer::State::Route() {
  server.Get("/livez", [this](const httplib::Request&, httplib::Response& response) {
    const HealthReport report = callbacks.report();
    Answer(response, report.live, report.live ? "ok" : report.reason);
  });
  server.Get("/readyz", [this](const httplib::Request&, httplib::Response& response) {
    const HealthReport report = callbacks.report();
    Answer(response, report.ready, report.ready ? "ok" : report.reason);
  });
  server.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
    response.set_content(callbacks.metrics(), "text/plain; version=0.0.4; charset=utf-8");
  });
  server.Get("/ledger", [this](const httplib::Request&, httplib::Response& response) {
    response.set_content(callbacks.ledger(), "application/json");
  });
  server.set_error_handler([](const httplib::Request&, httplib::Response& response) {
    if (response.body.empty()) {
      response.set_content("here are /livez, /readyz, /metrics and /ledger\n",
                           "text/plain; charset=utf-8");
    }
  });
  server.set_exception_handler(
      [](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
        response.status = 500;
        response.set_content("internal error\n", "text/plain; charset=utf-8");
      });
}

HealthServer::HealthServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

HealthServer::~HealthServer() {
  state_->server.stop();
  if (state_->thread.joinable()) state_->thread.join();
}

uint16_t HealthServer::port() const { return state_->port; }

Result<std::unique_ptr<HealthServer>> HealthServer::Start(const HostPort& address,
                                                          HealthCallbacks callbacks) {
  auto state = std::make_unique<State>();
  state->callbacks = std::move(callbacks);
  httplib::Server& server = state->server;
  server.new_task_queue = [] { return new BoundedTaskQueue; };
  // The default would set SO_REUSEPORT, and a second agent would then share the port without an
  // error.
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  server.set_keep_alive_max_count(1);
  server.set_keep_alive_timeout(1);  // for the first byte of the request, too
  server.set_read_timeout(kSocketTimeoutSeconds);
  server.set_write_timeout(kSocketTimeoutSeconds);
  server.set_payload_max_length(4096);
  state->Route();
  errno = 0;
  const std::string name = address.host + ":" + std::to_string(address.port);
  if (address.port == 0) {
    const int port = server.bind_to_any_port(address.host);
    if (port <= 0) return FailErrno("cannot listen on " + name);
    state->port = static_cast<uint16_t>(port);
  } else {
    if (!server.bind_to_port(address.host, address.port)) {
      return FailErrno("cannot listen on " + name, errno == 0 ? EADDRNOTAVAIL : errno);
    }
    state->port = address.port;
  }
  State& running = *state;
  state->thread = std::thread([&running] {
    pthread_setname_np(pthread_self(), "zt-health");
    try {
      running.server.listen_after_bind();
    } catch (const std::exception& exception) {
      spdlog::error("the health server stopped: {}", exception.what());
    }
    running.ended = true;
  });
  // stop() before the server runs would have no effect and the join would wait for ever.
  while (!server.is_running() && !running.ended)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return std::unique_ptr<HealthServer>(new HealthServer(std::move(state)));
}

}  // namespace zerotap
