// Java: -Dspring.application.name, the jar, or the main class.
#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "agent/process/command_name_rules.h"
#include "agent/process/path_name.h"
#include "agent/process/utf8.h"

namespace zerotap::command_name {
namespace {

constexpr size_t kMaxArgumentFile = 64 * 1024;
constexpr size_t kMaxExpanded = 512;

// Servers and tools that are known better by another word than their main class.
constexpr std::array<std::pair<std::string_view, std::string_view>, 16> kKnownClasses{{
    {"org.apache.catalina.startup.Bootstrap", "tomcat"},
    {"kafka.Kafka", "kafka"},
    {"org.apache.kafka.connect.cli.ConnectDistributed", "kafka-connect"},
    {"org.apache.zookeeper.server.quorum.QuorumPeerMain", "zookeeper"},
    {"org.elasticsearch.bootstrap.Elasticsearch", "elasticsearch"},
    {"org.elasticsearch.server.cli.ServerCli", "elasticsearch"},
    {"org.opensearch.bootstrap.OpenSearch", "opensearch"},
    {"org.apache.cassandra.service.CassandraDaemon", "cassandra"},
    {"org.eclipse.jetty.start.Main", "jetty"},
    {"org.jboss.modules.Main", "wildfly"},
    {"org.gradle.launcher.daemon.bootstrap.GradleDaemon", "gradle"},
    {"org.gradle.wrapper.GradleWrapperMain", "gradle"},
    {"org.codehaus.plexus.classworlds.launcher.Launcher", "maven"},
    {"org.apache.hadoop.hdfs.server.namenode.NameNode", "namenode"},
    {"com.sun.enterprise.glassfish.bootstrap.ASMain", "glassfish"},
    {"com.ibm.ws.kernel.boot.cmdline.EnvCheck", "liberty"},
}};

const std::initializer_list<std::string_view> kWithValue = {"-cp",
                                                            "-classpath",
                                                            "--class-path",
                                                            "-p",
                                                            "--module-path",
                                                            "--upgrade-module-path",
                                                            "--add-modules",
                                                            "--add-exports",
                                                            "--add-opens",
                                                            "--add-reads",
                                                            "--limit-modules",
                                                            "--patch-module",
                                                            "--enable-native-access",
                                                            "--source",
                                                            "-d",
                                                            "--describe-module",
                                                            "--finalize-field-access",
                                                            "--illegal-native-access",
                                                            "--sun-misc-unsafe-memory-access"};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// "shop-1.4.2-SNAPSHOT-exec" -> "shop": from the first "-<digit>" on it is a version, and what
// packers add goes too.
std::string_view WithoutVersion(std::string_view stem) {
  for (std::string_view suffix : {"-exec", "-all", "-fat", "-uber", "-shaded", "-runner", "-boot",
                                  "-jar-with-dependencies", "-standalone"}) {
    if (stem.size() > suffix.size() && EndsWith(stem, suffix)) stem.remove_suffix(suffix.size());
  }
  for (size_t i = 1; i + 1 < stem.size(); ++i) {
    bool version =
        stem[i] == '-' && (IsDigit(stem[i + 1]) ||
                           (stem[i + 1] == 'v' && i + 2 < stem.size() && IsDigit(stem[i + 2])));
    // A version has a dot or ends the name: "log4j-2-shop" is a name.
    std::string_view rest = stem.substr(i + 1);
    bool whole = rest.find('.') != std::string_view::npos ||
                 rest.find('-') == std::string_view::npos ||
                 rest.find("SNAPSHOT") != std::string_view::npos;
    if (version && whole) return stem.substr(0, i);
  }
  return stem;
}

std::string NameOfJar(const Command& command, std::string_view path) {
  std::string_view base = WithoutExtension(BaseName(path), {".jar", ".war", ".ear"});
  std::string_view stem = WithoutVersion(base);
  if (!IsGenericStem(stem) && !IsOneOf(stem, {"quarkus-run", "ROOT", "server", "service"})) {
    return std::string(stem);
  }
  std::string absolute = AbsolutePath(command.facts.working_directory, path);
  std::string directory = ApplicationDirectory(DirectoryName(absolute));
  return directory.empty() ? std::string(stem) : directory;
}

std::string NameOfClass(const Command& command, std::string_view name,
                        std::string_view class_path) {
  for (const auto& [known, service] : kKnownClasses) {
    if (name == known) return std::string(service);
  }
  // Spring Boot's loader started from an unpacked or given jar: the program is what is in the class
  // path.
  if (StartsWith(name, "org.springframework.boot.loader.")) {
    std::string_view first = class_path.substr(0, class_path.find(':'));
    if (EndsWith(first, ".jar") || EndsWith(first, ".war")) return NameOfJar(command, first);
    return ApplicationDirectory(command.facts.working_directory);
  }
  size_t dot = name.rfind('.');
  std::string_view simple = name.substr(dot + 1);
  std::string_view stem = WithoutExtension(simple, {"Kt"});
  bool generic = IsGenericStem(stem) || IsOneOf(stem, {"Server", "Launch", "Startup"});
  if (generic && dot != std::string_view::npos) {
    std::string_view package = name.substr(0, dot);
    return std::string(package.substr(package.rfind('.') + 1));
  }
  return std::string(simple);
}

// Splits an @argfile: blanks separate, quotes join, backslashes escape inside quotes, # starts a
// comment.
void AppendArgumentFile(std::string_view text, std::vector<std::string>& expanded) {
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i <= text.size() && expanded.size() < kMaxExpanded; ++i) {
    char c = i < text.size() ? text[i] : '\n';
    if (quote != 0 && i < text.size()) {
      if (c == quote) {
        quote = 0;
      } else if (c == '\\' && i + 1 < text.size()) {
        word.push_back(text[++i]);
      } else {
        word.push_back(c);
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
      in_word = true;
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f') {
      if (in_word) expanded.push_back(ToUtf8(word, 512));
      word.clear();
      in_word = false;
    } else if (c == '#' && !in_word) {
      i = std::min(text.find('\n', i), text.size());
    } else {
      word.push_back(c);
      in_word = true;
    }
  }
}

// The launcher expands @files up to the main class or the jar; those after it are the program's
// own.
std::vector<std::string> Expand(const Command& command) {
  std::vector<std::string> expanded;
  int files = 0;
  for (const std::string& argument : command.arguments) {
    bool is_file = argument.size() > 1 && argument[0] == '@' && argument[1] != '@' && files < 4;
    std::optional<std::string> text;
    if (is_file) {
      ++files;
      std::string path =
          AbsolutePath(command.facts.working_directory, std::string_view(argument).substr(1));
      text = command.files.Read(path, kMaxArgumentFile);
    }
    if (text) {
      AppendArgumentFile(*text, expanded);
    } else if (!is_file) {
      expanded.push_back(argument);
    }
  }
  return expanded;
}

}  // namespace

CommandName NameJava(const Command& command) {
  std::vector<std::string> arguments = Expand(command);
  std::string_view spring = command.facts.Environment("SPRING_APPLICATION_NAME");
  std::string_view class_path;
  std::string program;
  std::string shown;
  for (size_t i = 0; i < arguments.size() && shown.empty(); ++i) {
    std::string_view argument = arguments[i];
    std::string_view next = i + 1 < arguments.size() ? arguments[i + 1] : std::string_view();
    if (StartsWith(argument, "-Dspring.application.name=")) {
      spring = argument.substr(argument.find('=') + 1);
    } else if (argument == "-jar" && !next.empty()) {
      program = NameOfJar(command, next);
      shown = "-jar " + std::string(next);
      ++i;
    } else if ((argument == "-m" || argument == "--module") && !next.empty()) {
      // module[/main.Class]
      size_t slash = next.find('/');
      program = slash == std::string_view::npos ? std::string(next.substr(next.rfind('.') + 1))
                                                : NameOfClass(command, next.substr(slash + 1), "");
      shown = "-m " + std::string(next);
      ++i;
    } else if (IsOneOf(argument, kWithValue)) {
      if (IsOneOf(argument, {"-cp", "-classpath", "--class-path"})) class_path = next;
      ++i;
    } else if (!argument.empty() && argument.front() != '-' && argument.front() != '@') {
      // Java 11 and later run a source file.
      bool source = EndsWith(argument, ".java");
      program = source ? NameFromScript(argument, command.facts.working_directory, {".java"})
                       : NameOfClass(command, argument, class_path);
      shown = argument;
    }
  }
  // Arguments of the program: --spring.application.name=shop.
  for (const std::string& argument : arguments) {
    if (StartsWith(argument, "--spring.application.name=")) {
      spring = std::string_view(argument).substr(argument.find('=') + 1);
    }
  }
  return {spring.empty() ? program : std::string(spring), shown, false};
}

}  // namespace zerotap::command_name
