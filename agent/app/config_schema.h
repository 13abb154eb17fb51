// The keys of the configuration file, said once: the reader, the printer and the key list are
// visitors over them, so that what is read, what print-config shows and what errors suggest cannot
// differ.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/app/config.h"

namespace zerotap {

class ConfigVisitor {
 public:
  virtual ~ConfigVisitor() = default;
  virtual void BeginGroup(std::string_view name) = 0;
  virtual void EndGroup() = 0;
  // Items are groups. Gives the number of items that there shall be; `current` is what there is.
  virtual size_t BeginList(std::string_view name, size_t current) = 0;
  virtual void BeginItem(size_t index) = 0;
  virtual void EndItem() = 0;
  virtual void EndList() = 0;

  virtual void Text(std::string_view name, std::string& value) = 0;
  // A URL: may hold a password.
  virtual void Url(std::string_view name, std::string& value) = 0;
  virtual void Choice(std::string_view name, std::string& value,
                      std::span<const std::string_view> choices) = 0;
  virtual void Flag(std::string_view name, bool& value) = 0;
  virtual void Count(std::string_view name, uint64_t& value, uint64_t min, uint64_t max) = 0;
  virtual void Bytes(std::string_view name, uint64_t& value, uint64_t min, uint64_t max) = 0;
  virtual void Duration(std::string_view name, uint64_t& value, uint64_t min, uint64_t max) = 0;
  virtual void TextList(std::string_view name, std::vector<std::string>& value) = 0;
  virtual void ChoiceList(std::string_view name, std::vector<std::string>& value,
                          std::span<const std::string_view> choices) = 0;
  virtual void PortList(std::string_view name, std::vector<uint16_t>& value) = 0;
  // A map of names to values. Secret ones are never printed.
  virtual void Values(std::string_view name, std::vector<NamedValue>& value, bool secret) = 0;
};

void VisitConfig(Config& config, ConfigVisitor& visitor);

// Every key with its groups ("capture.ring_size", "targets.select[].pid"), in the order of the
// schema.
std::vector<std::string> ConfigKeys();

// Every value that is there as text, by its key with list places ("targets.select[0].pid"). Secrets
// included: for comparing, not for showing.
std::vector<std::pair<std::string, std::string>> ConfigTexts(const Config& config);
// The keys whose values differ, without list places ("targets.select", "http.routes").
std::vector<std::string> ChangedKeys(const Config& a, const Config& b);

// Words that more than one source of settings accepts.
std::span<const std::string_view> SamplerNames();
std::span<const std::string_view> ExporterNames();
std::span<const std::string_view> OtlpProtocols();
std::span<const std::string_view> LogLevelNames();

}  // namespace zerotap
