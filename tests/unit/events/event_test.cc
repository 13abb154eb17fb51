#include "agent/events/event.h"

#include <gtest/gtest.h>

#include "tests/support/record_builder.h"

namespace zerotap {
namespace {

using testing::ConnectionEnd;
using testing::MakeRecord;
using testing::Record;

TEST(DecodeEvent, GivesPayloadOfDataRecords) {
  ConnectionEnd end;
  Record record = end.Send(5, "hello");
  record.As<zt_data_event>().head = 3;
  record.As<zt_data_event>().tail = 2;
  auto event = DecodeEvent(record.bytes());
  ASSERT_TRUE(event);
  ASSERT_NE(event->data, nullptr);
  EXPECT_EQ(AsText(event->head), "hel");
  EXPECT_EQ(AsText(event->tail), "lo");
}

TEST(DecodeEvent, RefusesPayloadBeyondTheRecord) {
  ConnectionEnd end;
  Record record = end.Send(5, "hello");
  record.As<zt_data_event>().head = 0xFFFFFFFF;
  record.As<zt_data_event>().tail = 2;
  record.As<zt_data_event>().length = 0xFFFFFFFF;
  EXPECT_FALSE(DecodeEvent(record.bytes()));
}

TEST(DecodeEvent, RefusesMoreCapturedThanMoved) {
  ConnectionEnd end;
  Record record = end.Send(5, "hello");
  record.As<zt_data_event>().length = 4;
  EXPECT_FALSE(DecodeEvent(record.bytes()));
}

TEST(DecodeEvent, RefusesEveryTruncation) {
  ConnectionEnd end;
  for (Record record : {end.Opened(1), end.Send(2, "x"), end.Closed(3),
                        MakeRecord<zt_process_exec_event>(ZT_EVENT_PROCESS_EXEC, 4)}) {
    ASSERT_TRUE(DecodeEvent(record.bytes()));
    for (size_t size = 0; size < record.bytes().size(); ++size) {
      EXPECT_FALSE(DecodeEvent(record.bytes().first(size))) << size;
    }
  }
}

TEST(DecodeEvent, RefusesUnknownKindsAndDirections) {
  EXPECT_FALSE(DecodeEvent(MakeRecord<zt_event_header>(999, 1).bytes()));
  ConnectionEnd end;
  Record record = end.Send(5, "hello");
  record.As<zt_data_event>().direction = 2;
  EXPECT_FALSE(DecodeEvent(record.bytes()));
}

}  // namespace
}  // namespace zerotap
