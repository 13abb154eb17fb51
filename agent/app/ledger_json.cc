#include "agent/app/ledger_json.h"

#include <nlohmann/json.hpp>

namespace zerotap {
namespace {

using Json = nlohmann::ordered_json;

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kClient:
      return "client";
    case Role::kServer:
      return "server";
    case Role::kUnknown:
      break;
  }
  return "unknown";
}

void PutCounts(const LedgerCounts& counts, Json& out) {
  out["seen"] = counts.seen;
  out["emitted"] = counts.emitted;
  out["filtered"] = counts.filtered();
  out["sampled_out"] = counts.sampled_out;
  Json filtered = Json::object();
  for (size_t i = 0; i < counts.filtered_by.size(); ++i) {
    if (counts.filtered_by[i] != 0) {
      filtered[std::string(FilterReasonName(static_cast<FilterReason>(i)))] = counts.filtered_by[i];
    }
  }
  out["filtered_by"] = std::move(filtered);
  Json dropped = Json::object();
  for (size_t i = 0; i < counts.dropped.size(); ++i) {
    if (counts.dropped[i] != 0)
      dropped[std::string(DropReasonName(static_cast<DropReason>(i)))] = counts.dropped[i];
  }
  out["dropped"] = std::move(dropped);
  out["in_flight"] = InFlight(counts);
}

}  // namespace

uint64_t InFlight(const LedgerCounts& counts) {
  const uint64_t ended =
      counts.emitted + counts.filtered() + counts.sampled_out + counts.dropped_total();
  return counts.seen > ended ? counts.seen - ended : 0;
}

std::string LedgerJson(const std::vector<LedgerRow>& rows, uint64_t unseen_bytes,
                       const std::vector<LimitedProcess>& limited) {
  Json list = Json::array();
  LedgerCounts total;
  for (const LedgerRow& row : rows) {
    Json entry;
    entry["service"] = row.service;
    entry["pid"] = row.pid;
    entry["protocol"] = row.protocol;
    entry["role"] = RoleName(row.role);
    PutCounts(row.counts, entry);
    total.Add(row.counts);
    list.push_back(std::move(entry));
  }
  Json result;
  result["rows"] = std::move(list);
  PutCounts(total, result["total"]);
  result["unseen_bytes"] = unseen_bytes;
  result["limited"] = Json::array();
  for (const LimitedProcess& process : limited) {
    result["limited"].push_back({{"service", process.service},
                                 {"pid", process.pid},
                                 {"rung", HarmRungName(process.rung)},
                                 {"cpu_share", process.share}});
  }
  // Names come from other programs' environments: what is not UTF-8 is replaced, not thrown at.
  return result.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace zerotap
