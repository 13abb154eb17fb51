#include "agent/app/config_yaml.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <optional>

#include "agent/app/config_schema.h"
#include "agent/app/config_units.h"

namespace zerotap {
namespace {

constexpr std::string_view kMask = "***";

std::string Quoted(std::string_view text) { return '"' + std::string(text) + '"'; }

std::string JoinChoices(std::span<const std::string_view> choices) {
  std::string result;
  for (std::string_view choice : choices) {
    if (!result.empty()) result += ", ";
    result += choice;
  }
  return result;
}

class YamlReader : public ConfigVisitor {
 public:
  YamlReader(const YAML::Node& root, std::string_view file, const Environment& environment,
             std::vector<std::string>& errors, ConfigOrigins* origins)
      : file_(file),
        environment_(environment),
        errors_(errors),
        origins_(origins),
        all_keys_(ConfigKeys()) {
    Enter(root, "");
  }
  void Finish() { Leave(); }

  void BeginGroup(std::string_view name) override { Enter(Find(name), Path(name)); }
  void EndGroup() override { Leave(); }

  size_t BeginList(std::string_view name, size_t current) override {
    std::optional<YAML::Node> node = Find(name);
    Frame frame;
    frame.path = Path(name);
    if (node && !node->IsNull() && !node->IsSequence()) {
      Complain(*node, frame.path, "must be a list, each item after a dash");
      node.reset();
    }
    if (node && node->IsNull()) node.reset();
    frame.node = node;
    const size_t size = node ? node->size() : current;
    frames_.push_back(std::move(frame));
    return size;
  }
  void BeginItem(size_t index) override {
    const Frame& list = frames_.back();
    std::optional<YAML::Node> item;
    if (list.node) item = (*list.node)[index];
    Enter(item, list.path + "[" + std::to_string(index) + "]");
  }
  void EndItem() override { Leave(); }
  void EndList() override { frames_.pop_back(); }

  void Text(std::string_view name, std::string& value) override {
    ReadScalar(name, [&](const std::string& text) {
      value = text;
      return std::string();
    });
  }
  void Url(std::string_view name, std::string& value) override { Text(name, value); }
  void Choice(std::string_view name, std::string& value,
              std::span<const std::string_view> choices) override {
    ReadScalar(name, [&](const std::string& text) { return TakeChoice(text, choices, value); });
  }
  void Flag(std::string_view name, bool& value) override {
    ReadScalar(name, [&](const std::string& text) {
      std::optional<bool> parsed = ParseBool(text);
      if (!parsed) return Quoted(text) + " must be true or false";
      value = *parsed;
      return std::string();
    });
  }
  void Count(std::string_view name, uint64_t& value, uint64_t min, uint64_t max) override {
    ReadNumber(name, value, min, max, ParseUnsigned, "a whole number",
               [](uint64_t number) { return std::to_string(number); });
  }
  void Bytes(std::string_view name, uint64_t& value, uint64_t min, uint64_t max) override {
    ReadNumber(name, value, min, max, ParseByteSize, "a size such as 64KiB or 16MiB", ByteSizeText);
  }
  void Duration(std::string_view name, uint64_t& value, uint64_t min, uint64_t max) override {
    ReadNumber(name, value, min, max, ParseDuration,
               "a duration with its unit such as 200ms, 1s or 5m", DurationText);
  }
  void TextList(std::string_view name, std::vector<std::string>& value) override {
    ReadList(name, value, [](const std::string& text, std::string& item) {
      item = text;
      return std::string();
    });
  }
  void ChoiceList(std::string_view name, std::vector<std::string>& value,
                  std::span<const std::string_view> choices) override {
    ReadList(name, value, [&](const std::string& text, std::string& item) {
      return TakeChoice(text, choices, item);
    });
  }
  void PortList(std::string_view name, std::vector<uint16_t>& value) override {
    ReadList(name, value, [](const std::string& text, uint16_t& item) {
      std::optional<uint64_t> port = ParseUnsigned(text);
      if (!port || *port == 0 || *port > 65535)
        return Quoted(text) + " must be a port from 1 to 65535";
      item = static_cast<uint16_t>(*port);
      return std::string();
    });
  }
  void Values(std::string_view name, std::vector<NamedValue>& value, bool) override {
    std::optional<YAML::Node> node = Find(name);
    if (!node || node->IsNull()) return;
    NoteOrigin(*node, name);
    if (!node->IsMap()) {
      Complain(*node, Path(name), "must be a map of names to values, for example {name: value}");
      return;
    }
    std::vector<NamedValue> result;
    for (const auto& entry : *node) {
      std::string key = entry.first.Scalar();
      if (!entry.second.IsScalar()) {
        Complain(entry.second, Path(name) + "." + key, "must be a single value");
        continue;
      }
      if (std::optional<std::string> text = Expand(entry.second, Path(name) + "." + key)) {
        result.emplace_back(std::move(key), std::move(*text));
      }
    }
    value = std::move(result);
  }

 private:
  struct Frame {
    std::optional<YAML::Node> node;  // empty: nothing in the file
    std::string path;
    std::vector<std::string> known;  // keys that the schema asked for
  };

  std::string Path(std::string_view name) const {
    const std::string& path = frames_.back().path;
    return path.empty() ? std::string(name) : path + "." + std::string(name);
  }

  void Enter(std::optional<YAML::Node> node, std::string path) {
    if (node && node->IsNull()) node.reset();
    if (node && !node->IsMap()) {
      Complain(*node, path, "must be a map of keys to values");
      node.reset();
    }
    Frame frame;
    frame.node = std::move(node);
    frame.path = std::move(path);
    frames_.push_back(std::move(frame));
  }

  // All keys of the group are known now: the others are mistakes.
  void Leave() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    if (!frame.node) return;
    std::vector<std::string> seen;
    for (const auto& entry : *frame.node) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "?";
      const std::string path = frame.path.empty() ? key : frame.path + "." + key;
      if (std::find(seen.begin(), seen.end(), key) != seen.end()) {
        Complain(entry.first, path, "is here twice; remove one of the two");
      }
      seen.push_back(key);
      if (std::find(frame.known.begin(), frame.known.end(), key) != frame.known.end()) continue;
      Complain(entry.first, path, "is not a key that zerotap knows" + Hint(key, frame));
    }
  }

  std::string Hint(const std::string& key, const Frame& frame) const {
    std::string near = ClosestWord(key, frame.known);
    if (!near.empty()) return "; did you mean " + Quoted(near) + "?";
    for (const std::string& path : all_keys_) {
      const size_t dot = path.rfind('.');
      if (dot != std::string::npos && path.substr(dot + 1) == key) {
        return "; did you mean " + Quoted(path) + "?";
      }
    }
    return "; known here: " + JoinList(frame.known);
  }

  // The value of a key of the current group; registers the key as known.
  std::optional<YAML::Node> Find(std::string_view name) {
    Frame& frame = frames_.back();
    frame.known.emplace_back(name);
    if (!frame.node) return std::nullopt;
    for (const auto& entry : *frame.node) {
      if (entry.first.IsScalar() && entry.first.Scalar() == name) return entry.second;
    }
    return std::nullopt;
  }

  void NoteOrigin(const YAML::Node& node, std::string_view name) {
    if (origins_ == nullptr) return;
    std::string& origin = (*origins_)[Path(name)];
    origin = file_;
    if (!node.Mark().is_null()) origin += ":" + std::to_string(node.Mark().line + 1);
  }

  void Complain(const YAML::Node& node, const std::string& path, const std::string& what) {
    std::string message = std::string(file_);
    if (!node.Mark().is_null()) message += ":" + std::to_string(node.Mark().line + 1);
    errors_.push_back(message + ": " + (path.empty() ? what : path + ": " + what));
  }

  // The scalar with its ${...} replaced; empty, with an error, when a variable has no value.
  std::optional<std::string> Expand(const YAML::Node& node, const std::string& path) {
    const std::string& text = node.Scalar();
    std::string result;
    size_t position = 0;
    while (true) {
      const size_t begin = text.find("${", position);
      result += text.substr(position, begin - position);
      if (begin == std::string::npos) return result;
      const size_t end = text.find('}', begin);
      if (end == std::string::npos) {
        Complain(node, path, Quoted(text) + " has ${ without }");
        return std::nullopt;
      }
      std::string name = text.substr(begin + 2, end - begin - 2);
      std::optional<std::string> fallback;
      if (const size_t dash = name.find(":-"); dash != std::string::npos) {
        fallback = name.substr(dash + 2);
        name.resize(dash);
      }
      std::optional<std::string> value = environment_(name);
      if (!value || value->empty()) value = fallback;
      if (!value) {
        Complain(node, path,
                 "the variable " + name + " is not set; set it, or write ${" + name +
                     ":-value} to give a default");
        return std::nullopt;
      }
      result += *value;
      position = end + 1;
    }
  }

  static std::string TakeChoice(const std::string& text, std::span<const std::string_view> choices,
                                std::string& value) {
    for (std::string_view choice : choices) {
      if (text == choice) {
        value = text;
        return std::string();
      }
    }
    return Quoted(text) + " must be one of " + JoinChoices(choices);
  }

  // `take` gives what is wrong with the text, or nothing.
  template <typename Take>
  void ReadScalar(std::string_view name, const Take& take) {
    std::optional<YAML::Node> node = Find(name);
    if (!node || node->IsNull()) return;
    NoteOrigin(*node, name);
    if (!node->IsScalar()) {
      Complain(*node, Path(name), "must be a single value");
      return;
    }
    std::optional<std::string> text = Expand(*node, Path(name));
    if (!text) return;
    std::string wrong = take(*text);
    if (!wrong.empty()) Complain(*node, Path(name), wrong);
  }

  template <typename Parse, typename Format>
  void ReadNumber(std::string_view name, uint64_t& value, uint64_t min, uint64_t max,
                  const Parse& parse, std::string_view kind, const Format& format) {
    ReadScalar(name, [&](const std::string& text) {
      std::optional<uint64_t> parsed = parse(text);
      if (!parsed) return Quoted(text) + " must be " + std::string(kind);
      if (*parsed < min || *parsed > max) {
        return Quoted(text) + " must be between " + format(min) + " and " + format(max);
      }
      value = *parsed;
      return std::string();
    });
  }

  template <typename T, typename Take>
  void ReadList(std::string_view name, std::vector<T>& value, const Take& take) {
    std::optional<YAML::Node> node = Find(name);
    if (!node || node->IsNull()) return;
    NoteOrigin(*node, name);
    if (!node->IsSequence()) {
      Complain(*node, Path(name),
               "must be a list, for example [" +
                   std::string(node->IsScalar() ? node->Scalar() : "a, b") + "]");
      return;
    }
    std::vector<T> result;
    for (const YAML::Node& entry : *node) {
      if (!entry.IsScalar()) {
        Complain(entry, Path(name), "each item must be a single value");
        continue;
      }
      std::optional<std::string> text = Expand(entry, Path(name));
      if (!text) continue;
      T item{};
      std::string wrong = take(*text, item);
      if (!wrong.empty()) {
        Complain(entry, Path(name), wrong);
      } else {
        result.push_back(std::move(item));
      }
    }
    value = std::move(result);
  }

  std::string_view file_;
  const Environment& environment_;
  std::vector<std::string>& errors_;
  ConfigOrigins* const origins_;
  const std::vector<std::string> all_keys_;
  std::vector<Frame> frames_;
};

class YamlPrinter : public ConfigVisitor {
 public:
  explicit YamlPrinter(const ConfigOrigins* origins) : origins_(origins) {
    out_ << YAML::BeginMap;
  }
  std::string Finish() {
    out_ << YAML::EndMap;
    return std::string(out_.c_str()) + "\n";
  }

  void BeginGroup(std::string_view name) override {
    Key(name) << YAML::BeginMap;
    path_.push_back(Path(name));
  }
  void EndGroup() override {
    out_ << YAML::EndMap;
    path_.pop_back();
  }
  size_t BeginList(std::string_view name, size_t current) override {
    Key(name);
    if (current == 0) out_ << YAML::Flow;
    out_ << YAML::BeginSeq;
    path_.push_back(Path(name));
    in_item_ = true;
    return current;
  }
  void BeginItem(size_t index) override {
    out_ << YAML::BeginMap;
    path_.push_back(path_.back() + "[" + std::to_string(index) + "]");
  }
  void EndItem() override {
    out_ << YAML::EndMap;
    path_.pop_back();
  }
  void EndList() override {
    out_ << YAML::EndSeq;
    path_.pop_back();
    in_item_ = false;
  }

  // What is empty in a list item was not asked for.
  void Text(std::string_view name, std::string& value) override {
    if (in_item_ && value.empty()) return;
    Key(name) << YAML::DoubleQuoted << value;
    Say(name);
  }
  void Url(std::string_view name, std::string& value) override {
    std::string shown = value;
    const size_t scheme = shown.find("://");
    const size_t authority = scheme == std::string::npos ? 0 : scheme + 3;
    const size_t end = shown.find_first_of("/?#", authority);
    const size_t at = shown.rfind('@', end);
    if (at != std::string::npos && at >= authority) shown.replace(authority, at - authority, kMask);
    Text(name, shown);
  }
  void Choice(std::string_view name, std::string& value,
              std::span<const std::string_view>) override {
    if (value.empty()) return;  // as for both signals
    Key(name) << value;
    Say(name);
  }
  void Flag(std::string_view name, bool& value) override {
    Key(name) << value;
    Say(name);
  }
  void Count(std::string_view name, uint64_t& value, uint64_t min, uint64_t) override {
    if (value < min) return;
    Key(name) << value;
    Say(name);
  }
  void Bytes(std::string_view name, uint64_t& value, uint64_t, uint64_t) override {
    Key(name) << ByteSizeText(value);
    Say(name);
  }
  void Duration(std::string_view name, uint64_t& value, uint64_t min, uint64_t) override {
    if (value < min) return;
    Key(name) << DurationText(value);
    Say(name);
  }
  void TextList(std::string_view name, std::vector<std::string>& value) override {
    Key(name) << YAML::Flow << YAML::BeginSeq;
    for (const std::string& item : value) out_ << YAML::DoubleQuoted << item;
    out_ << YAML::EndSeq;
    Say(name);
  }
  void ChoiceList(std::string_view name, std::vector<std::string>& value,
                  std::span<const std::string_view>) override {
    Key(name) << YAML::Flow << value;
    Say(name);
  }
  void PortList(std::string_view name, std::vector<uint16_t>& value) override {
    Key(name) << YAML::Flow << YAML::BeginSeq;
    for (uint16_t port : value) out_ << static_cast<unsigned>(port);
    out_ << YAML::EndSeq;
    Say(name);
  }
  void Values(std::string_view name, std::vector<NamedValue>& value, bool secret) override {
    Key(name);
    if (value.empty()) out_ << YAML::Flow;
    out_ << YAML::BeginMap;
    for (const NamedValue& entry : value) {
      out_ << YAML::Key << entry.first << YAML::Value << YAML::DoubleQuoted
           << (secret ? std::string(kMask) : entry.second);
      Say(name);
    }
    out_ << YAML::EndMap;
    if (value.empty()) Say(name);
  }

 private:
  YAML::Emitter& Key(std::string_view name) {
    return out_ << YAML::Key << std::string(name) << YAML::Value;
  }
  std::string Path(std::string_view name) const {
    return path_.empty() ? std::string(name) : path_.back() + "." + std::string(name);
  }
  // After a value.
  void Say(std::string_view name) {
    if (origins_ == nullptr) return;
    auto found = origins_->find(Path(name));
    out_ << YAML::Comment(found == origins_->end() ? std::string("default") : found->second);
  }
  const ConfigOrigins* const origins_;
  YAML::Emitter out_;
  std::vector<std::string> path_;
  bool in_item_ = false;
};

}  // namespace

void ReadYamlConfig(std::string_view text, std::string_view file, const Environment& environment,
                    Config& config, std::vector<std::string>& errors, ConfigOrigins* origins) {
  try {
    YAML::Node root = YAML::Load(std::string(text));
    YamlReader reader(root, file, environment, errors, origins);
    VisitConfig(config, reader);
    reader.Finish();
  } catch (const YAML::Exception& exception) {
    std::string place(file);
    if (!exception.mark.is_null()) place += ":" + std::to_string(exception.mark.line + 1);
    errors.push_back(place + ": not valid YAML: " + exception.msg);
  }
}

std::string PrintYamlConfig(const Config& config, const ConfigOrigins* origins) {
  Config copy = config;
  YamlPrinter printer(origins);
  VisitConfig(copy, printer);
  return printer.Finish();
}

}  // namespace zerotap
