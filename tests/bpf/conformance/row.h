// A row of the table: one way of moving bytes, on one kind of socket.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/bpf/conformance/judge.h"

namespace zerotap::conformance {

class Row {
 public:
  Row(Family row_family, Witness& row_witness, bool expected_blind)
      : family(row_family), witness(row_witness), blind(expected_blind) {}

  const Family family;
  Witness& witness;
  // This tier is known not to see what is special about the row.
  const bool blind;
  Sight SightOf(Sight otherwise) const { return blind ? Sight::kUnseen : otherwise; }

  // A new connection, judged when the row is over.
  Link& Connect() {
    Link& link = NewLink();
    conformance::Connect(link);
    return link;
  }
  Link& NewLink() {
    links.push_back(std::make_unique<Link>());
    links.back()->family = family;
    return *links.back();
  }

  void Expect(bool good, const char* what) {
    if (!good) findings.Problem(what);
  }
  // This kernel does not have it; `reason` names what it answered.
  void Absent(std::string reason) { absent = std::move(reason); }

  std::vector<std::unique_ptr<Link>> links;
  // Instead of the links' comparison, where order is not certain.
  std::function<void(Findings&)> judge;
  bool count_unseen = true;  // false: writers whose order is not known may leave holes for a while
  Findings findings;
  std::string absent;
  std::string remark;  // for the row's last column
};

struct Variant {
  const char* name;
  unsigned families;  // of enum class Family
  void (*run)(Row&);
};

constexpr unsigned kOnlyTcp4 = static_cast<unsigned>(Family::kTcp4);
constexpr unsigned kTcp = kOnlyTcp4 | static_cast<unsigned>(Family::kTcp6);
constexpr unsigned kOnlyUnix = static_cast<unsigned>(Family::kUnix);
constexpr unsigned kAll = kTcp | kOnlyUnix;

// One function for each source file with variants.
std::vector<Variant> CallVariants();
std::vector<Variant> FlagVariants();
std::vector<Variant> KernelMoveVariants();
std::vector<Variant> OpeningVariants();
std::vector<Variant> SharingVariants();
std::vector<Variant> ThreadVariants();
std::vector<Variant> CompatVariants();

// Connections that the row about old ones needs: made before the agent's side is there.
void MakeOldLinks();

}  // namespace zerotap::conformance
