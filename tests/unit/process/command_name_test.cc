#include "agent/process/command_name.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "tests/unit/process/fake_root.h"

namespace zerotap {
namespace {

struct CommandCase {
  const char* situation;
  std::string executable;
  std::vector<std::string> arguments;
  std::string directory;
  std::string name;
};

std::string NameOf(const CommandCase& c, const RootDirectory& files = RootDirectory(),
                   std::vector<std::string> environment = {}) {
  ProcessFacts facts;
  facts.executable = c.executable;
  facts.arguments = c.arguments;
  facts.working_directory = c.directory;
  facts.environment = std::move(environment);
  facts.comm = "comm";
  BinaryFacts binary;
  binary.runtime = RuntimeFromName(c.executable);
  return NameFromCommand(facts, binary, files).name;
}

void ExpectNames(const std::vector<CommandCase>& cases) {
  for (const CommandCase& c : cases) EXPECT_EQ(NameOf(c), c.name) << c.situation;
}

TEST(CommandName, Node) {
  const std::string node = "/usr/bin/node";
  ExpectNames({
      {"script", node, {"node", "server.js"}, "/srv/shop", "server"},
      {"script with arguments", node, {"node", "/srv/shop/api.mjs", "--port", "80"}, "/", "api"},
      {"generic script: its directory", node, {"node", "index.js"}, "/srv/shop", "shop"},
      {"generic script deep in a build", node, {"node", "dist/src/main.js"}, "/srv/shop", "shop"},
      {"generic script in a generic directory", node, {"node", "index.js"}, "/app", "index"},
      {"required module", node, {"node", "-r", "dotenv/config", "worker.js"}, "/app", "worker"},
      {"long required module",
       node,
       {"node", "--require", "./tracing.js", "worker.js"},
       "/",
       "worker"},
      {"joined flags",
       node,
       {"node", "--require=./t.js", "--max-old-space-size=512", "worker.js"},
       "/",
       "worker"},
      {"import flag", node, {"node", "--import", "tsx", "src/worker.ts"}, "/srv/shop", "worker"},
      {"inspect", node, {"node", "--inspect=0.0.0.0:9229", "worker.js"}, "/", "worker"},
      {"eval", node, {"node", "-e", "require('http')"}, "/srv/shop", "node"},
      {"joined eval", node, {"node", "--eval=1"}, "/srv/shop", "node"},
      {"no script", node, {"node"}, "/srv/shop", "node"},
      {"versioned", "/usr/local/bin/node20", {"node20", "-p", "1"}, "/", "node"},
      {"Debian's name", "/usr/bin/nodejs", {"nodejs"}, "/", "node"},
      {"current directory", node, {"node", "."}, "/srv/shop", "shop"},
      {"ts-node",
       node,
       {"node", "/srv/shop/node_modules/.bin/ts-node", "-P", "x.json", "src/pay.ts"},
       "/srv/shop",
       "pay"},
      {"tsx",
       node,
       {"node", "/srv/shop/node_modules/tsx/dist/cli.mjs", "watch", "src/pay.ts"},
       "/srv/shop",
       "pay"},
      {"nodemon",
       node,
       {"node", "/usr/lib/node_modules/nodemon/bin/nodemon.js", "api.js"},
       "/srv",
       "api"},
      {"next without package",
       node,
       {"node", "/srv/shop/node_modules/.bin/next", "start"},
       "/srv/shop",
       "shop"},
      {"nest without package",
       node,
       {"node", "/srv/pay/node_modules/@nestjs/cli/bin/nest.js", "start"},
       "/srv/pay",
       "pay"},
      {"global tool", node, {"node", "/usr/lib/node_modules/n8n/bin/n8n"}, "/root", "n8n"},
      {"global scoped tool",
       node,
       {"node", "/usr/lib/node_modules/@acme/tool/cli.js"},
       "/",
       "tool"},
      {"npm",
       node,
       {"node", "/usr/lib/node_modules/npm/bin/npm-cli.js", "start"},
       "/srv/shop",
       "npm"},
      {"npm's title", node, {"npm start"}, "/srv/shop", "npm"},
      {"PM2's title", node, {"node /srv/shop/api.js"}, "/srv/shop", "api"},
      {"PM2 itself", node, {"PM2 v5.3.0: God Daemon (/home/app/.pm2)"}, "/", "pm2"},
      {"Next's title", node, {"next-server (v14.1.0)"}, "/srv/shop", "shop"},
      {"one-word title", node, {"checkout"}, "/", "checkout"},
      {"unknown title", node, {"serving 3 clients for bob"}, "/", "node"},
      {"end of options", node, {"node", "--", "api.js"}, "/", "api"},
      {"run script", node, {"node", "--run", "start"}, "/srv/shop", "node"},
  });
}

TEST(CommandName, NodePackageIsTheNearestThatHasAName) {
  FakeRoot root;
  root.Write("/srv/shop/package.json",
             R"({"version":"1.0.0","name":"@acme/shop","deps":{"name":"no"}})");
  root.Write("/srv/shop/dist/package.json", R"({"type":"module"})");
  root.Write("/srv/bad/package.json", "{\"name\":");
  root.Write("/srv/number/package.json", R"({"name":7})");
  root.Write("/srv/shop/node_modules/.bin/next", "");
  root.Write("/srv/deno/deno.json", R"({"name":"@acme/ferry"})");
  RootDirectory files(root.path());
  const std::string node = "/usr/bin/node";
  EXPECT_EQ(NameOf({"", node, {"node", "server.js"}, "/srv/shop", ""}, files), "shop");
  EXPECT_EQ(NameOf({"", node, {"node", "dist/api.js"}, "/srv/shop", ""}, files), "shop");
  EXPECT_EQ(NameOf({"", node, {"node", "/srv/shop/dist/api.js"}, "/", ""}, files), "shop");
  EXPECT_EQ(
      NameOf({"", node, {"node", "/srv/shop/node_modules/.bin/next", "start"}, "/", ""}, files),
      "shop");
  EXPECT_EQ(NameOf({"", node, {"next-server (v14.1.0)"}, "/srv/shop", ""}, files), "shop");
  EXPECT_EQ(NameOf({"", node, {"node", "."}, "/srv/shop", ""}, files), "shop");
  EXPECT_EQ(NameOf({"", node, {"node", "api.js"}, "/srv/bad", ""}, files), "api");
  EXPECT_EQ(NameOf({"", node, {"node", "api.js"}, "/srv/number", ""}, files), "api");
  EXPECT_EQ(NameOf({"", "/usr/bin/bun", {"bun", "run", "start"}, "/srv/shop", ""}, files), "shop");
  EXPECT_EQ(NameOf({"", "/usr/bin/deno", {"deno", "run", "-A", "main.ts"}, "/srv/deno", ""}, files),
            "ferry");
}

// The container made the file: it must not lead out of the container, nor hold us.
TEST(CommandName, HostilePackageFilesAreNotFollowed) {
  FakeRoot root;
  FakeRoot outside;
  outside.Write("/secret.json", R"({"name":"secret"})");
  root.Link("/srv/shop/package.json", outside.path() + "/secret.json");
  std::filesystem::create_directories(root.path() + "/srv/fifo");
  ASSERT_EQ(mkfifo((root.path() + "/srv/fifo/package.json").c_str(), 0644), 0);
  root.Link("/srv/loop/package.json", "package.json");
  root.Write("/srv/deep/package.json", "{\"a\":" + std::string(100'000, '['));
  RootDirectory files(root.path());
  for (const char* directory : {"/srv/shop", "/srv/fifo", "/srv/loop", "/srv/deep"}) {
    EXPECT_EQ(NameOf({"", "/usr/bin/node", {"node", "api.js"}, directory, ""}, files), "api");
  }
}

TEST(CommandName, NodeUnderProcessManagers) {
  CommandCase c{"", "/usr/bin/node", {"node", "/srv/x/api.js"}, "/srv/x", ""};
  EXPECT_EQ(NameOf(c, RootDirectory(), {"pm_id=0", "name=checkout"}), "checkout");
  EXPECT_EQ(NameOf(c, RootDirectory(), {"name=checkout"}), "api") << "anyone's variable";
  EXPECT_EQ(NameOf(c, RootDirectory(), {"pm_id=0", "name=index"}), "api");
  EXPECT_EQ(NameOf(c, RootDirectory(), {"npm_package_name=@acme/cart"}), "cart");
}

TEST(CommandName, DenoAndBun) {
  ExpectNames({
      {"deno",
       "/usr/bin/deno",
       {"deno", "run", "--allow-net", "-c", "deno.json", "ferry.ts"},
       "/srv",
       "ferry"},
      {"deno serve", "/usr/bin/deno", {"deno", "serve", "ferry.ts"}, "/srv", "ferry"},
      {"deno from the web",
       "/usr/bin/deno",
       {"deno", "run", "https://user:secret@example.com/x/ferry.ts?token=1"},
       "/",
       "ferry"},
      {"deno repl", "/usr/bin/deno", {"deno"}, "/", "deno"},
      {"bun script", "/usr/bin/bun", {"bun", "ferry.ts"}, "/", "ferry"},
      {"bun run script",
       "/usr/bin/bun",
       {"bun", "--hot", "run", "src/index.ts"},
       "/srv/shop",
       "shop"},
      {"bun run task", "/usr/bin/bun", {"bun", "run", "start"}, "/srv/shop", "shop"},
  });
}

TEST(CommandName, Python) {
  const std::string python = "/usr/bin/python3.11";
  ExpectNames({
      {"script", python, {"python3", "cart.py"}, "/srv", "cart"},
      {"unbuffered", python, {"python3", "-u", "/srv/cart.py", "-m", "x"}, "/", "cart"},
      {"generic script: its directory", python, {"python", "main.py"}, "/srv/cart", "cart"},
      {"generic everything", python, {"python", "main.py"}, "/app", "main"},
      {"by its first line",
       python,
       {"/usr/bin/python3", "/usr/local/bin/cartd", "--fast"},
       "/",
       "cartd"},
      {"module", python, {"python3", "-m", "cart.web"}, "/", "cart"},
      {"module after joined flags", python, {"python3", "-um", "cart"}, "/", "cart"},
      {"attached module", python, {"python3", "-mcart"}, "/", "cart"},
      {"http.server", python, {"python3", "-m", "http.server", "8000"}, "/", "http.server"},
      {"flags with values",
       python,
       {"python3", "-X", "dev", "-W", "ignore", "cart.py"},
       "/",
       "cart"},
      {"attached values", python, {"python3", "-Xdev", "-Wignore", "cart.py"}, "/", "cart"},
      {"code", python, {"python3", "-c", "import cart"}, "/", "python"},
      {"standard input", python, {"python3", "-"}, "/", "python"},
      {"alone", python, {"python3"}, "/", "python"},
      {"uvicorn", python, {"python3", "/usr/bin/uvicorn", "shop.main:app"}, "/", "shop"},
      {"uvicorn, generic module",
       python,
       {"python3", "/usr/bin/uvicorn", "main:app", "--port", "80"},
       "/srv/cart",
       "cart"},
      {"uvicorn, generic package",
       python,
       {"python3", "-m", "uvicorn", "app.main:app"},
       "/srv/cart",
       "cart"},
      {"uvicorn, all generic", python, {"python3", "-m", "uvicorn", "app.main:app"}, "/app", "app"},
      {"uvicorn, options before",
       python,
       {"python3", "/usr/bin/uvicorn", "--host", "0.0.0.0", "--app-dir", "/srv/pay", "main:app"},
       "/",
       "pay"},
      {"gunicorn",
       python,
       {"python3", "/usr/bin/gunicorn", "-w", "4", "-b", "0.0.0.0:8000", "-k",
        "uvicorn.workers.UvicornWorker", "cart.wsgi:application"},
       "/",
       "cart"},
      {"gunicorn without object",
       python,
       {"python3", "/usr/bin/gunicorn", "-w", "4", "cart.wsgi"},
       "/",
       "cart"},
      {"gunicorn, factory",
       python,
       {"python3", "/usr/bin/gunicorn", "cart:create_app()"},
       "/",
       "cart"},
      {"gunicorn, its name",
       python,
       {"python3", "/usr/bin/gunicorn", "--name", "basket", "cart:app"},
       "/",
       "basket"},
      {"gunicorn, Django's config package",
       python,
       {"python3", "/usr/bin/gunicorn", "config.wsgi"},
       "/srv/cart",
       "cart"},
      {"gunicorn's title", python, {"gunicorn: worker [cart.wsgi:application]"}, "/", "cart"},
      {"gunicorn's title with a name", python, {"gunicorn: master [basket]"}, "/", "basket"},
      {"hypercorn", python, {"python3", "/usr/bin/hypercorn", "cart.asgi:app"}, "/", "cart"},
      {"daphne",
       python,
       {"python3", "/usr/bin/daphne", "-p", "80", "cart.asgi:application"},
       "/",
       "cart"},
      {"celery",
       python,
       {"python3", "/usr/bin/celery", "-A", "cart.celery", "worker", "-l", "info"},
       "/",
       "cart"},
      {"celery's title",
       python,
       {"[celeryd: celery@host:MainProcess] -active- (-A cart worker)"},
       "/",
       "cart"},
      {"flask", python, {"python3", "/usr/bin/flask", "--app", "cart", "run"}, "/", "cart"},
      {"flask with a file",
       python,
       {"python3", "/usr/bin/flask", "--app", "web/cart.py:make", "run"},
       "/srv",
       "cart"},
      {"flask by directory", python, {"python3", "-m", "flask", "run"}, "/srv/cart", "cart"},
      {"Django", python, {"python3", "manage.py", "runserver"}, "/srv/cart", "cart"},
      {"Django settings",
       python,
       {"python", "manage.py", "runserver", "--settings", "basket.settings"},
       "/srv/x",
       "basket"},
      {"streamlit", python, {"python3", "/usr/bin/streamlit", "run", "board.py"}, "/", "board"},
      {"debugger",
       python,
       {"python3", "-m", "debugpy", "--listen", "5678", "cart.py"},
       "/",
       "cart"},
      {"uWSGI", "/usr/bin/uwsgi", {"uwsgi", "--ini", "/etc/uwsgi/cart.ini"}, "/", "uwsgi"},
      {"embedding program", "/usr/bin/blender", {"blender", "-b"}, "/", "blender"},
      {"pypy", "/usr/bin/pypy3.10", {"pypy3", "-c", "1"}, "/", "pypy"},
      {"one-word title", python, {"cart-worker"}, "/", "cart-worker"},
  });
  CommandCase flask{"", python, {"python3", "-m", "flask", "run"}, "/app", ""};
  EXPECT_EQ(NameOf(flask, RootDirectory(), {"FLASK_APP=cart.web:app"}), "cart");
  CommandCase django{"", python, {"python3", "manage.py", "runserver"}, "/app", ""};
  EXPECT_EQ(NameOf(django, RootDirectory(), {"DJANGO_SETTINGS_MODULE=cart.settings"}), "cart");
}

TEST(CommandName, ProgramsThatEmbedPython) {
  ProcessFacts facts;
  facts.executable = "/usr/bin/uwsgi-core";
  facts.arguments = {"uwsgi", "--ini", "/etc/uwsgi/cart.ini"};
  BinaryFacts binary;
  binary.runtime = RuntimeKind::kPython;  // it links libpython
  RootDirectory none;
  EXPECT_EQ(NameFromCommand(facts, binary, none).name, "cart");
  facts.arguments = {"uwsgi", "-w", "basket.wsgi:app"};
  EXPECT_EQ(NameFromCommand(facts, binary, none).name, "basket");
  facts.executable = "/usr/bin/gdb";
  facts.arguments = {"gdb", "x.py"};
  EXPECT_EQ(NameFromCommand(facts, binary, none).name, "gdb");
}

TEST(CommandName, PythonWorkersBelongToTheirParent) {
  ProcessFacts facts;
  facts.executable = "/usr/bin/python3.11";
  facts.arguments = {"python3", "-c", "from multiprocessing.spawn import spawn_main; spawn_main(5)",
                     "--multiprocessing-fork"};
  BinaryFacts binary;
  binary.runtime = RuntimeKind::kPython;
  CommandName name = NameFromCommand(facts, binary, RootDirectory());
  EXPECT_TRUE(name.is_parents);
  EXPECT_EQ(name.name, "python");
}

TEST(CommandName, Java) {
  const std::string java = "/usr/lib/jvm/java-17/bin/java";
  ExpectNames({
      {"jar", java, {"java", "-jar", "shop.jar"}, "/", "shop"},
      {"jar with version",
       java,
       {"java", "-Xmx512m", "-jar", "/srv/shop-api-1.4.2-SNAPSHOT.jar"},
       "/",
       "shop-api"},
      {"jar with version and packer's suffix",
       java,
       {"java", "-jar", "shop-2.0.0.RELEASE-exec.jar"},
       "/",
       "shop"},
      {"jar with short version", java, {"java", "-jar", "shop-7.jar"}, "/", "shop"},
      {"a number inside the name", java, {"java", "-jar", "log4j-2-shop.jar"}, "/", "log4j-2-shop"},
      {"fat jar", java, {"java", "-jar", "shop-all.jar"}, "/", "shop"},
      {"generic jar: its directory", java, {"java", "-jar", "app.jar"}, "/srv/shop/target", "shop"},
      {"generic everything", java, {"java", "-jar", "/app.jar"}, "/", "app"},
      {"Quarkus",
       java,
       {"java", "-jar", "target/quarkus-app/quarkus-run.jar"},
       "/srv/shop",
       "shop"},
      {"main class",
       java,
       {"java", "-cp", "a.jar:b.jar", "com.acme.ShopServer", "x"},
       "/",
       "ShopServer"},
      {"generic main class: its package",
       java,
       {"java", "-cp", "a.jar", "com.acme.shop.Main"},
       "/",
       "shop"},
      {"generic Kotlin class",
       java,
       {"java", "-cp", "a", "com.acme.shop.ApplicationKt"},
       "/",
       "shop"},
      {"class without package", java, {"java", "Shop"}, "/", "Shop"},
      {"flags with values",
       java,
       {"java", "--add-opens", "java.base/java.lang=ALL-UNNAMED", "-Da=b", "-XX:+UseG1GC",
        "com.acme.Shop"},
       "/",
       "Shop"},
      {"agent", java, {"java", "-javaagent:/opt/agent.jar", "-jar", "shop.jar"}, "/", "shop"},
      {"module",
       java,
       {"java", "-p", "mods", "-m", "com.acme.shop/com.acme.shop.Run"},
       "/",
       "shop"},
      {"module without class", java, {"java", "-p", "mods", "-m", "com.acme.shop"}, "/", "shop"},
      {"Spring name",
       java,
       {"java", "-Dspring.application.name=cart", "-jar", "app.jar"},
       "/",
       "cart"},
      {"Spring name as argument",
       java,
       {"java", "-jar", "app.jar", "--spring.application.name=cart"},
       "/",
       "cart"},
      {"Spring's loader",
       java,
       {"java", "-cp", "/srv/shop-1.0.jar", "org.springframework.boot.loader.launch.JarLauncher"},
       "/",
       "shop"},
      {"unpacked Spring Boot",
       java,
       {"java", "org.springframework.boot.loader.JarLauncher"},
       "/srv/shop",
       "shop"},
      {"Tomcat",
       java,
       {"java", "-cp", "b.jar", "org.apache.catalina.startup.Bootstrap", "start"},
       "/",
       "tomcat"},
      {"Kafka", java, {"java", "-cp", "x", "kafka.Kafka", "server.properties"}, "/", "kafka"},
      {"source file", java, {"java", "Shop.java"}, "/", "Shop"},
      {"alone", java, {"java", "-version"}, "/", "java"},
      {"argument file that cannot be read", java, {"java", "@args"}, "/", "java"},
  });
}

TEST(CommandName, JavaArgumentFiles) {
  FakeRoot root;
  root.Write("/srv/args", "# comment\n-cp \"a b.jar\"\n  -Dx='y z'\ncom.acme.Shop");
  root.Write("/srv/hostile", std::string(1 << 20, '"'));
  RootDirectory files(root.path());
  EXPECT_EQ(NameOf({"", "/usr/bin/java", {"java", "@args"}, "/srv", ""}, files), "Shop");
  EXPECT_EQ(NameOf({"", "/usr/bin/java", {"java", "@/srv/args", "x"}, "/", ""}, files), "Shop");
  EXPECT_EQ(NameOf({"", "/usr/bin/java", {"java", "@hostile"}, "/srv", ""}, files), "java");
}

TEST(CommandName, RubyAndPhp) {
  const std::string ruby = "/usr/bin/ruby3.1";
  const std::string php = "/usr/bin/php8.2";
  ExpectNames({
      {"script", ruby, {"ruby", "-I", "lib", "cart.rb"}, "/", "cart"},
      {"rails", ruby, {"ruby", "bin/rails", "server"}, "/srv/cart", "cart"},
      {"rails in Capistrano's tree",
       ruby,
       {"ruby", "bin/rails", "s"},
       "/var/www/cart/releases/20240101120000",
       "cart"},
      {"puma",
       ruby,
       {"ruby", "/usr/bin/puma", "-C", "config/puma.rb"},
       "/srv/cart/current",
       "cart"},
      {"puma's title", ruby, {"puma 6.4.0 (tcp://0.0.0.0:3000) [cart]"}, "/", "cart"},
      {"puma worker's title", ruby, {"puma: cluster worker 0: 1234 [cart]"}, "/", "cart"},
      {"sidekiq's title", ruby, {"sidekiq 7.1.0 cart [0 of 5 busy]"}, "/", "cart"},
      {"unicorn's title", ruby, {"unicorn worker[0] -c config/unicorn.rb"}, "/srv/cart", "cart"},
      {"code", ruby, {"ruby", "-e", "sleep"}, "/", "ruby"},
      {"php script", php, {"php", "/srv/cart.php"}, "/", "cart"},
      {"artisan", php, {"php", "artisan", "queue:work"}, "/var/www/cart", "cart"},
      {"artisan's router",
       php,
       {"php", "-S", "127.0.0.1:8000", "/srv/cart/vendor/laravel/framework/src/server.php"},
       "/",
       "cart"},
      {"Symfony console", php, {"php", "bin/console", "messenger:consume"}, "/srv/cart", "cart"},
      {"development server", php, {"php", "-S", "0.0.0.0:80", "-t", "public"}, "/srv/cart", "cart"},
      {"code", php, {"php", "-r", "echo 1;"}, "/", "php"},
      {"pool", "/usr/sbin/php-fpm8.2", {"php-fpm: pool cart"}, "/", "cart"},
      {"default pool", "/usr/sbin/php-fpm8.2", {"php-fpm: pool www"}, "/", "php-fpm"},
      {"fpm's master",
       "/usr/sbin/php-fpm8.2",
       {"php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)"},
       "/",
       "php-fpm"},
      {"composer", php, {"php", "/usr/bin/composer.phar", "install"}, "/", "composer"},
  });
}

TEST(CommandName, EverythingElse) {
  ExpectNames({
      {"dotnet",
       "/usr/bin/dotnet",
       {"dotnet", "/app/Shop.Api.dll", "--urls", "x"},
       "/",
       "Shop.Api"},
      {"dotnet exec",
       "/usr/bin/dotnet",
       {"dotnet", "exec", "--runtimeconfig", "a.json", "Shop.dll"},
       "/",
       "Shop"},
      {"dotnet run",
       "/usr/bin/dotnet",
       {"dotnet", "run", "--project", "src/Shop.csproj"},
       "/",
       "Shop"},
      {"dotnet run here", "/usr/bin/dotnet", {"dotnet", "run"}, "/srv/Shop", "Shop"},
      {"dotnet alone", "/usr/bin/dotnet", {"dotnet", "--info"}, "/", "dotnet"},
      {"shell script", "/usr/bin/dash", {"sh", "/srv/backup.sh", "now"}, "/", "backup"},
      {"shell script with flags",
       "/usr/bin/bash",
       {"bash", "-eu", "-o", "pipefail", "backup.sh"},
       "/",
       "backup"},
      {"shell commands", "/usr/bin/bash", {"bash", "-c", "curl x"}, "/", "bash"},
      {"shell commands, joined", "/usr/bin/dash", {"sh", "-ec", "curl x"}, "/", "dash"},
      {"login shell", "/usr/bin/bash", {"-bash"}, "/", "bash"},
      {"perl", "/usr/bin/perl", {"perl", "-w", "cart.pl"}, "/", "cart"},
      {"erlang",
       "/usr/lib/erlang/erts/bin/beam.smp",
       {"beam.smp", "-W", "w", "--", "-sname", "cart@h"},
       "/",
       "cart"},
      {"rabbitmq",
       "/usr/lib/erlang/bin/beam.smp",
       {"beam.smp", "--", "-s", "rabbit", "boot"},
       "/",
       "rabbitmq"},
      {"nginx master",
       "/usr/sbin/nginx",
       {"nginx: master process /usr/sbin/nginx -g daemon off;"},
       "/",
       "nginx"},
      {"nginx worker", "/usr/sbin/nginx", {"nginx: worker process"}, "/", "nginx"},
      {"postgres",
       "/usr/lib/postgresql/15/bin/postgres",
       {"postgres", "-D", "/var/lib"},
       "/",
       "postgresql"},
      {"postgres backend",
       "/usr/lib/postgresql/15/bin/postgres",
       {"postgres: 15/main: alice shop [local] idle"},
       "/",
       "postgresql"},
      {"redis",
       "/usr/bin/redis-server",
       {"/usr/bin/redis-server 127.0.0.1:6379"},
       "/",
       "redis-server"},
      {"mysqld", "/usr/sbin/mysqld", {"/usr/sbin/mysqld"}, "/", "mysqld"},
      {"sshd's title", "/usr/sbin/sshd", {"sshd: alice@pts/0"}, "/", "sshd"},
      {"native", "/usr/local/bin/shopd", {"/usr/local/bin/shopd", "--config", "x"}, "/", "shopd"},
      {"generic native", "/srv/shop/bin/main", {"./main"}, "/", "shop"},
      {"generic everything", "/app/main", {"./main"}, "/", "main"},
      {"busybox applet", "/bin/busybox", {"httpd", "-f"}, "/", "httpd"},
      {"busybox by name", "/bin/busybox", {"busybox", "httpd"}, "/", "httpd"},
      {"dynamic loader",
       "/lib64/ld-linux-x86-64.so.2",
       {"/lib64/ld-linux-x86-64.so.2", "--library-path", "/l", "/srv/shopd", "-x"},
       "/",
       "shopd"},
      {"memory file", "/memfd:sealed-1", {"bin/shopd", "-x"}, "/", "shopd"},
      {"memory file with a title", "/memfd:shopd", {"shopd: serving bob"}, "/", "shopd"},
      {"shell script from a pipe", "/usr/bin/bash", {"bash", "/dev/fd/3"}, "/srv/shop", "bash"},
      {"Python script from a pipe",
       "/usr/bin/python3",
       {"python3", "/dev/stdin"},
       "/srv/shop",
       "python"},
      {"Node script from a pipe",
       "/usr/bin/node",
       {"node", "/proc/self/fd/0"},
       "/srv/shop",
       "node"},
      {"path with spaces", "/opt/My Shop/shopd", {"/opt/My Shop/shopd"}, "/", "shopd"},
      {"kernel thread", "", {}, "", "comm"},
  });
}

TEST(CommandName, Go) {
  struct GoCase {
    const char* package;
    const char* module;
    const char* name;
  };
  const GoCase cases[] = {
      {"github.com/acme/shop/cmd/checkout", "github.com/acme/shop", "checkout"},
      {"github.com/acme/shop", "github.com/acme/shop", "shop"},
      {"github.com/acme/shop/v2", "github.com/acme/shop/v2", "shop"},
      {"github.com/acme/shop/cmd/server", "github.com/acme/shop", "shop"},
      {"go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", "etcd"},
      {"gopkg.in/shop.v3", "gopkg.in/shop.v3", "shop"},
      {"command-line-arguments", "github.com/acme/shop", "shop"},
      {"command-line-arguments", "", "prog"},
      {"shop", "shop", "shop"},
      {"example.com", "example.com", "prog"},
      {"", "", "prog"},
      {"main", "", "prog"},
  };
  for (const GoCase& c : cases) {
    ProcessFacts facts;
    facts.executable = "/usr/bin/prog";
    facts.arguments = {"prog"};
    BinaryFacts binary;
    binary.runtime = RuntimeKind::kGo;
    binary.go = GoBuildInfo{"go1.22.1", c.package, c.module, ""};
    EXPECT_EQ(NameFromCommand(facts, binary, RootDirectory()).name, c.name) << c.package;
  }
}

TEST(CommandName, AnyArgumentsGiveANameWithoutTrouble) {
  const std::vector<std::string> words = {"",    "-",  "--",   "-c",  "-m",  "-jar", "@",
                                          ":",   ".",  "/",    "..",  "[",   "]",    "a:b",
                                          "-m:", "-e", "x.py", "run", "-Dx", "\x01"};
  for (const char* executable :
       {"/bin/node", "/bin/python3", "/bin/java", "/bin/ruby", "/bin/php", "/bin/dotnet", "/bin/sh",
        "/bin/perl", "/bin/beam.smp", "/bin/deno", "/bin/bun", "/bin/php-fpm", "/bin/busybox",
        "/lib/ld-linux.so.2", "/"}) {
    for (const std::string& first : words) {
      for (const std::string& second : words) {
        for (const std::string& third : words) {
          EXPECT_NE(NameOf({"", executable, {"x", first, second, third}, "/", ""}), "")
              << executable << " " << first << " " << second << " " << third;
        }
      }
      NameOf({"", executable, {first}, "", ""});
      NameOf({"", executable, {first + " " + first}, "", ""});
    }
    NameOf({"", executable, {}, "", ""});
  }
}

}  // namespace
}  // namespace zerotap
