#pragma once

#include <string>
#include <vector>

#include "agent/app/harm_guard.h"
#include "agent/pipeline/ledger.h"

namespace zerotap {

// {"rows": [{"service", "pid", "protocol", "role", <counts>}], "total": {<counts>}}; counts: seen,
// emitted, filtered, sampled_out, filtered_by{reason}, dropped{reason}, in_flight. The total is the sum of the rows
// shown. Beside them "unseen_bytes": what passed without a record; and "limited": [{"service", "pid", "rung",
// "cpu_share"}], the processes of which less is watched to keep to the harm budget.
std::string LedgerJson(const std::vector<LedgerRow>& rows, uint64_t unseen_bytes,
                       const std::vector<LimitedProcess>& limited = {});

// Rows are written by other threads while they are read: what ended since must not make in_flight
// negative.
uint64_t InFlight(const LedgerCounts& counts);

}  // namespace zerotap
