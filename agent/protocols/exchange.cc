#include "agent/protocols/exchange.h"

namespace zerotap {

std::string_view DropReasonName(DropReason reason) {
  switch (reason) {
    case DropReason::kCaptureGap:
      return "capture_gap";
    case DropReason::kRingFull:
      return "ring_full";
    case DropReason::kParserLimit:
      return "parser_limit";
    case DropReason::kInvalid:
      return "invalid";
    case DropReason::kEvicted:
      return "evicted";
    case DropReason::kShutdown:
      return "shutdown";
    case DropReason::kSpanQueueFull:
      return "span_queue_full";
    case DropReason::kExportRejected:
      return "export_rejected";
    case DropReason::kExportFailed:
      return "export_failed";
    case DropReason::kHeldLimit:
      return "held_limit";
    case DropReason::kMemoryLimit:
      return "memory_limit";
    case DropReason::kHarmBudget:
      return "harm_budget";
    case DropReason::kCount:
      break;
  }
  return "unknown";
}

}  // namespace zerotap
