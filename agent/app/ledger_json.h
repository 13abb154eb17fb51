#pragma once

#include <string>
#include <vector>

#include "agent/pipeline/ledger.h"

namespace zerotap {

// {"rows": [{"service", "pid", "protocol", "role", <counts>}], "total": {<counts>}}; counts: seen,
// emitted, filtered, sampled_out, filtered_by{reason}, dropped{reason}, in_flight. The total is the sum of the rows
// shown. Beside them "unseen_bytes": what passed without a record.
std::string LedgerJson(const std::vector<LedgerRow>& rows, uint64_t unseen_bytes);

// Rows are written by other threads while they are read: what ended since must not make in_flight
// negative.
uint64_t InFlight(const LedgerCounts& counts);

}  // namespace zerotap
