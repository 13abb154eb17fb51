#include "agent/traces/context_correlator.h"

#include <gtest/gtest.h>

namespace zerotap {
namespace {

constexpr uint64_t kMs = 1'000'000;

struct Case {
  CorrelatorOptions options;
  std::vector<std::pair<Span, bool>> released;
  std::optional<bool> always;  // sampling decision of roots
  bool exact_positions = false;
  ContextCorrelator correlator{options,
                               [this](const TraceId&, std::optional<bool> parent) {
                                 return parent.value_or(always.value_or(true));
                               },
                               [this](Span&& span, bool sampled) {
                                 released.emplace_back(std::move(span), sampled);
                               }};

  WorkId Server(uint64_t connection, uint64_t peer, uint64_t offset, uint64_t time, uint32_t tid,
                bool blocking = true, std::optional<TraceContext> carried = std::nullopt) {
    return Begin(Role::kServer, connection, peer, offset, time, tid, blocking, carried);
  }
  WorkId Client(uint64_t connection, uint64_t peer, uint64_t offset, uint64_t time, uint32_t tid,
                std::optional<TraceContext> carried = std::nullopt) {
    return Begin(Role::kClient, connection, peer, offset, time, tid, true, carried);
  }
  WorkId Begin(Role role, uint64_t connection, uint64_t peer, uint64_t offset, uint64_t time,
               uint32_t tid, bool blocking, std::optional<TraceContext> carried) {
    WorkOrigin origin;
    origin.role = role;
    origin.connection_id = connection;
    origin.peer_connection_id = peer;
    origin.exact_positions = exact_positions;
    RequestStart start;
    start.start_ns = time;
    start.request_offset = offset;
    start.tid = tid;
    start.blocking = blocking;
    start.trace_context = carried;
    return correlator.Begin(origin, start);
  }
  WorkContext At(WorkId id) {
    const WorkContext* context = correlator.Find(id);
    EXPECT_NE(context, nullptr);
    return context == nullptr ? WorkContext{} : *context;
  }
};

TEST(ContextCorrelator, PlacesOfABurstAreGivenBackAndOldIdsStayUnknown) {
  Case c;
  std::vector<WorkId> burst;
  for (uint64_t i = 0; i < 10'000; ++i) burst.push_back(c.Server(i + 1, 0, 0, 10 + i, 5, false));
  EXPECT_GE(c.correlator.kept_works(), burst.size());
  for (size_t i = 1; i < burst.size(); ++i) c.correlator.End(burst[i], 20'000);
  c.correlator.Advance(10'000 * kMs);
  EXPECT_LE(c.correlator.kept_works(), 1024u);
  EXPECT_EQ(c.correlator.live_works(), 1u);
  EXPECT_NE(c.correlator.Find(burst[0]), nullptr);
  for (size_t i = 1; i < burst.size(); ++i) ASSERT_EQ(c.correlator.Find(burst[i]), nullptr);
  // The places are made anew: who still has an old id must not find what is there now.
  std::vector<WorkId> later;
  for (uint64_t i = 0; i < 10'000; ++i) later.push_back(c.Server(i + 1, 0, 1, 30'000 + i, 5, false));
  for (size_t i = 1; i < burst.size(); ++i) ASSERT_EQ(c.correlator.Find(burst[i]), nullptr);
  for (WorkId id : later) ASSERT_NE(c.correlator.Find(id), nullptr);
  c.correlator.End(burst[0], 40'000);
  for (WorkId id : later) c.correlator.End(id, 40'000);
  EXPECT_EQ(c.correlator.live_works(), 0u);
}

TEST(ContextCorrelator, RequestFromElsewhereIsARoot) {
  Case c;
  WorkContext context = c.At(c.Server(1, 0, 0, 10, 5));
  EXPECT_TRUE(context.resolved);
  EXPECT_TRUE(context.trace_id.valid());
  EXPECT_FALSE(context.parent_span_id.valid());
}

TEST(ContextCorrelator, CarriedContextIsTheParent) {
  Case c;
  TraceContext carried{{1, 2}, {3}, kTraceFlagSampled};
  WorkContext context = c.At(c.Server(1, 0, 0, 10, 5, true, carried));
  EXPECT_EQ(context.trace_id, carried.trace_id);
  EXPECT_EQ(context.parent_span_id, carried.span_id);
  EXPECT_TRUE(context.parent_is_remote);
}

TEST(ContextCorrelator, UnsampledCarriedContextIsHonoured) {
  Case c;
  EXPECT_FALSE(c.At(c.Server(1, 0, 0, 10, 5, true, TraceContext{{1, 2}, {3}, 0})).sampled);
}

TEST(ContextCorrelator, ServerIsTheChildOfTheClientEndOnThisHost) {
  Case c;
  WorkContext client = c.At(c.Client(1, 2, 100, 10, 5));
  WorkContext server = c.At(c.Server(2, 1, 100, 20, 6));
  EXPECT_EQ(server.trace_id, client.trace_id);
  EXPECT_EQ(server.parent_span_id, client.span_id);
  EXPECT_TRUE(server.parent_is_remote);
}

TEST(ContextCorrelator, ClientEndMayBecomeKnownLater) {
  Case c;
  WorkId server = c.Server(2, 1, 100, 20, 6);
  EXPECT_FALSE(c.At(server).resolved);
  Span span;
  span.name = "held";
  EXPECT_TRUE(c.correlator.EndHeld(server, 30, std::move(span)));
  WorkContext client = c.At(c.Client(1, 2, 100, 19, 5));
  ASSERT_EQ(c.released.size(), 1u);
  EXPECT_EQ(c.released[0].first.parent_span_id, client.span_id);
  EXPECT_EQ(c.released[0].first.trace_id, client.trace_id);
  EXPECT_EQ(c.correlator.held_spans(), 0u);
}

TEST(ContextCorrelator, WhoHasMetItsOtherEndIsKeptNoLongerThanItsAnswerTakes) {
  for (bool server_first : {false, true}) {
    Case c;
    WorkId server = server_first ? c.Server(2, 1, 100, 20, 6) : 0;
    WorkId client = c.Client(1, 2, 100, 10, 5);
    if (!server_first) server = c.Server(2, 1, 100, 20, 6);
    const WorkContext outer = c.At(client);
    EXPECT_EQ(c.At(server).parent_span_id, outer.span_id);
    c.correlator.End(server, 30);
    EXPECT_EQ(c.correlator.live_works(), 1u);
    c.correlator.End(client, 40);
    EXPECT_EQ(c.correlator.live_works(), 0u);
    EXPECT_EQ(c.correlator.Find(client), nullptr);
  }
}

TEST(ContextCorrelator, WhoHasNotMetItsOtherEndWaitsForIt) {
  Case c;
  WorkId client = c.Client(1, 2, 100, 10, 5);
  const WorkContext outer = c.At(client);
  c.correlator.End(client, 40);
  EXPECT_EQ(c.correlator.live_works(), 1u);
  WorkId server = c.Server(2, 1, 100, 20, 6);  // told of late
  EXPECT_EQ(c.At(server).parent_span_id, outer.span_id);
  EXPECT_EQ(c.correlator.live_works(), 1u) << "the server's";
  c.correlator.End(server, 30);
  EXPECT_EQ(c.correlator.live_works(), 0u);
}

TEST(ContextCorrelator, WaitingEndsAndGivesARoot) {
  Case c;
  WorkId server = c.Server(2, 1, 100, 20, 6);
  EXPECT_TRUE(c.correlator.EndHeld(server, 30, Span{}));
  c.correlator.Advance(100 * kMs);
  EXPECT_TRUE(c.released.empty());
  c.correlator.Advance(300 * kMs);
  ASSERT_EQ(c.released.size(), 1u);
  EXPECT_FALSE(c.released[0].first.parent_span_id.valid());
  EXPECT_EQ(c.correlator.unresolved_parents(), 1u);
  EXPECT_EQ(c.correlator.live_works(), 0u);
}

TEST(ContextCorrelator, AnotherPositionIsNoParent) {
  Case c;
  c.Client(1, 2, 100, 10, 5);
  WorkId server = c.Server(2, 1, 101, 20, 6);
  EXPECT_FALSE(c.At(server).resolved);
  c.correlator.Finish();
  EXPECT_FALSE(c.At(server).parent_span_id.valid());
}

// Connections are numbered densely and many are at nearly the same offset.
TEST(ContextCorrelator, NeighbouringConnectionsNeverShareAHop) {
  Case c;
  c.exact_positions = true;
  std::vector<SpanId> clients;
  const auto connection = [](uint64_t i) { return 100 + 2 * i; };
  constexpr uint64_t kConnections = 32;
  constexpr uint64_t kOffsets = 64;
  for (uint64_t i = 0; i < kConnections; ++i) {
    for (uint64_t offset = 0; offset < kOffsets; ++offset) {
      clients.push_back(c.At(c.Client(connection(i), connection(i) + 1, offset, 10, 0)).span_id);
    }
  }
  for (uint64_t i = 0; i < kConnections; ++i) {
    for (uint64_t offset = 0; offset < kOffsets; ++offset) {
      const WorkContext server = c.At(c.Server(connection(i) + 1, connection(i), offset, 20, 0));
      EXPECT_EQ(server.parent_span_id, clients[i * kOffsets + offset]) << i << " at " << offset;
    }
  }
}

TEST(ContextCorrelator, EqualPositionAtAnotherTimeIsNoParent) {
  Case c;
  WorkId client = c.Client(1, 2, 100, 10, 5);
  c.correlator.End(client, 20);
  EXPECT_FALSE(c.At(c.Server(2, 1, 100, 50 * kMs, 6)).parent_span_id.valid());
}

TEST(ContextCorrelator, ExactPositionsAreProofWhateverTheTimesAre) {
  Case c;
  c.exact_positions = true;
  // One call sends megabytes: it is told of when it returns, long after the other end began to read.
  WorkId server = c.Server(2, 1, 100, 10, 6);
  WorkContext client = c.At(c.Client(1, 2, 100, 90'000'000, 5));
  EXPECT_EQ(c.At(server).parent_span_id, client.span_id);
  EXPECT_EQ(c.At(server).trace_id, client.trace_id);
}

TEST(ContextCorrelator, CallOfAServingThreadIsItsChild) {
  Case c;
  WorkContext server = c.At(c.Server(1, 0, 0, 10, 7));
  WorkContext call = c.At(c.Client(3, 0, 0, 20, 7));
  EXPECT_EQ(call.parent_span_id, server.span_id);
  EXPECT_EQ(call.trace_id, server.trace_id);
  EXPECT_FALSE(call.parent_is_remote);
}

TEST(ContextCorrelator, CallAfterTheAnswerHasNoParent) {
  Case c;
  WorkId server = c.Server(1, 0, 0, 10, 7);
  c.correlator.End(server, 15);
  EXPECT_FALSE(c.At(c.Client(3, 0, 0, 20, 7)).parent_span_id.valid());
}

TEST(ContextCorrelator, CallOfAnotherThreadHasNoParent) {
  Case c;
  c.Server(1, 0, 0, 10, 7);
  EXPECT_FALSE(c.At(c.Client(3, 0, 0, 20, 8)).parent_span_id.valid());
}

TEST(ContextCorrelator, EventLoopsAreNotGuessedAt) {
  Case c;
  c.Server(1, 0, 0, 10, 7, /*blocking=*/false);
  EXPECT_FALSE(c.At(c.Client(3, 0, 0, 20, 7)).parent_span_id.valid());
}

TEST(ContextCorrelator, AThreadSeenWithTwoRequestsIsNeverTrustedAgain) {
  Case c;
  WorkId first = c.Server(1, 0, 0, 10, 7);
  WorkId second = c.Server(2, 0, 0, 11, 7);
  EXPECT_FALSE(c.At(c.Client(3, 0, 0, 12, 7)).parent_span_id.valid());
  c.correlator.End(first, 13);
  EXPECT_FALSE(c.At(c.Client(3, 0, 9, 14, 7)).parent_span_id.valid());
  c.correlator.End(second, 15);
  c.Server(1, 0, 50, 16, 7);
  EXPECT_FALSE(c.At(c.Client(3, 0, 20, 17, 7)).parent_span_id.valid());
}

TEST(ContextCorrelator, AWholeChainWaitsForItsFirstHop) {
  Case c;
  // proxy client (1) -> server (2) on thread 7 -> its database call (3) -> database (4)
  WorkId server = c.Server(2, 1, 100, 20, 7);
  WorkId call = c.Client(3, 4, 0, 30, 7);
  WorkId database = c.Server(4, 3, 0, 31, 9, false);
  for (WorkId id : {database, call, server}) EXPECT_TRUE(c.correlator.EndHeld(id, 40, Span{}));
  EXPECT_EQ(c.correlator.held_spans(), 3u);
  WorkContext proxy = c.At(c.Client(1, 2, 100, 19, 5));
  ASSERT_EQ(c.released.size(), 3u);
  for (const auto& [span, sampled] : c.released) {
    EXPECT_EQ(span.trace_id, proxy.trace_id);
    EXPECT_TRUE(span.parent_span_id.valid());
    EXPECT_TRUE(sampled);
  }
}

TEST(ContextCorrelator, SdkSpanStaysBetween) {
  Case c;
  TraceContext sdk{{1, 2}, {3}, kTraceFlagSampled};
  WorkContext client = c.At(c.Client(1, 2, 100, 10, 5, sdk));
  EXPECT_EQ(client.parent_span_id, sdk.span_id);
  WorkContext server = c.At(c.Server(2, 1, 100, 11, 6, true, sdk));
  EXPECT_EQ(server.trace_id, sdk.trace_id);
  EXPECT_EQ(server.parent_span_id, client.span_id);
}

// The client end of a unix socket becomes known only after its first bytes were read and answered.
TEST(ContextCorrelator, AServerRequestWaitsForAClientEndThatIsToldOfLater) {
  Case c;
  c.exact_positions = true;
  WorkOrigin origin;
  origin.role = Role::kServer;
  origin.connection_id = 2;
  origin.expect_peer = origin.await_peer = origin.exact_positions = true;
  RequestStart start;
  start.start_ns = 10 * kMs;
  WorkId server = c.correlator.Begin(origin, start);
  EXPECT_FALSE(c.At(server).resolved);
  EXPECT_TRUE(c.correlator.EndHeld(server, 11 * kMs, Span{}));
  WorkContext client = c.At(c.Client(1, 2, 0, 20 * kMs, 5));
  ASSERT_EQ(c.released.size(), 1u);
  EXPECT_EQ(c.released[0].first.parent_span_id, client.span_id);
  EXPECT_EQ(c.released[0].first.trace_id, client.trace_id);
}

TEST(ContextCorrelator, AClientEndThatNeverComesLeavesARoot) {
  Case c;
  WorkOrigin origin;
  origin.role = Role::kServer;
  origin.connection_id = 2;
  origin.expect_peer = origin.await_peer = true;
  WorkId server = c.correlator.Begin(origin, RequestStart{});
  c.correlator.Advance(1000 * kMs);
  WorkContext context = c.At(server);
  EXPECT_TRUE(context.resolved);
  EXPECT_FALSE(context.parent_span_id.valid());
}

// What waits for the other end of its connection.
WorkId BeginHeld(ContextCorrelator& correlator, uint64_t offset) {
  WorkOrigin origin;
  origin.role = Role::kServer;
  origin.connection_id = 2;
  origin.peer_connection_id = 1;
  RequestStart start;
  start.request_offset = offset;
  return correlator.Begin(origin, start);
}

TEST(ContextCorrelator, HeldSpansAreBounded) {
  Case c;
  ContextCorrelator bounded({1, 200 * kMs, 2}, [](const TraceId&, std::optional<bool>) { return true; },
                            [](Span&&, bool) {});
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(bounded.EndHeld(BeginHeld(bounded, i), 1, Span{}), i < 2);
  }
  bounded.Advance(1000 * kMs);
  EXPECT_EQ(bounded.live_works(), 0u);
}

TEST(ContextCorrelator, HeldSpansAreBoundedInBytesToo) {
  ContextCorrelator bounded({1, 200 * kMs, 1000, 25'000},
                            [](const TraceId&, std::optional<bool>) { return true; }, [](Span&&, bool) {});
  for (uint64_t i = 0; i < 4; ++i) {
    Span span;
    span.name = std::string(10'000, 'n');
    EXPECT_EQ(bounded.EndHeld(BeginHeld(bounded, i), 1, std::move(span)), i < 2);
  }
  EXPECT_GT(bounded.held_bytes(), 20'000u);
  EXPECT_LE(bounded.held_bytes(), 25'000u);
  bounded.Advance(1000 * kMs);
  EXPECT_EQ(bounded.held_bytes(), 0u);
  EXPECT_EQ(bounded.held_spans(), 0u);
}

TEST(ContextCorrelator, NothingStaysBehind) {
  Case c;
  for (uint64_t i = 0; i < 1000; ++i) {
    uint64_t now = i * kMs;
    WorkId client = c.Client(1, 2, i, now, 5);
    WorkId server = c.Server(2, 1, i, now + 1, 6);
    c.correlator.End(server, now + 2);
    c.correlator.End(client, now + 3);
    c.correlator.Advance(now);
  }
  EXPECT_LE(c.correlator.live_works(), 250u);
  c.correlator.Advance(5000 * kMs);
  EXPECT_EQ(c.correlator.live_works(), 0u);
}

}  // namespace
}  // namespace zerotap
