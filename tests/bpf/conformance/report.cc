#include "tests/bpf/conformance/report.h"

namespace zerotap::conformance {
namespace {

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += ' ';
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace

size_t Report::Count(const char* result) const {
  size_t count = 0;
  for (const RowResult& row : rows) count += row.result == result ? 1 : 0;
  return count;
}

void Report::Add(RowResult row) {
  std::fprintf(out, "%-6s  %-22s  %-4s  %s\n", row.result.c_str(), row.variant.c_str(),
              row.family.c_str(), row.detail.c_str());
  std::fflush(out);
  rows.push_back(std::move(row));
}

void Report::PrintPrograms() const {
  for (const Program& program : programs) {
    std::fprintf(out, "program  %-20s  %7llu instructions  %llu recursion_misses\n",
                program.name.c_str(), static_cast<unsigned long long>(program.instructions),
                static_cast<unsigned long long>(program.recursion_misses));
  }
}

std::string Report::Json() const {
  std::string json = "{\"kernel\":" + Quoted(kernel) + ",\"tier\":" + Quoted(tier) +
                    ",\"attach_form\":" + Quoted(attach_form) + ",\"rows\":[";
  for (const RowResult& row : rows) {
    if (&row != rows.data()) json += ',';
    json += "\n{\"variant\":" + Quoted(row.variant) + ",\"family\":" + Quoted(row.family) +
           ",\"result\":" + Quoted(row.result) + ",\"detail\":" + Quoted(row.detail) + "}";
  }
  json += "],\"programs\":[";
  for (const Program& program : programs) {
    if (&program != programs.data()) json += ',';
    json += "\n{\"name\":" + Quoted(program.name) +
           ",\"instructions\":" + std::to_string(program.instructions) +
           ",\"recursion_misses\":" + std::to_string(program.recursion_misses) + "}";
  }
  return json + "],\"failed\":" + std::to_string(Count("FAIL")) + "}\n";
}

}  // namespace zerotap::conformance
