# What a guest does, case by case; each leaves its files in /tmp/results/CASE, and tests/kernels/judge.py judges them. The
# exit status only says whether all of it was gone through. ZT_CASES (kernel command line): names, separated by commas.
results=/tmp/results
mkdir -p $results/conformance

# settings CASE PORT: the agent's configuration for a case, with what it exports in the case's folder.
settings() {
  mkdir -p "$results/$1"
  cat > "$results/$1/zerotap.yaml" <<END
{"capture": {"tier": "${tier:-auto}", "rings": "${rings:-auto}"${capture:-}}, "metrics": {"interval": "500ms"}, "health": {"address": "127.0.0.1:$2"},
 "export": {"traces": ["file"], "metrics": ["file"], "flush_interval": "100ms", "file": {"path": "$results/$1/telemetry.jsonl"}}}
END
}

# start CASE PORT [PREFIX...]: the agent, until it is ready or has ended.
start() {
  case_name=$1 port=$2
  shift 2
  settings "$case_name" "$port"
  "$@" /t/zerotap run --config "$results/$case_name/zerotap.yaml" --log-level debug --record "$results/$case_name/recording" > "$results/$case_name/log" 2>&1 &
  agent=$!
  tries=0
  until wget -q -O /dev/null "http://127.0.0.1:$port/readyz"; do
    kill -0 $agent 2>/dev/null || return 1
    tries=$((tries + 1))
    [ $tries -lt 300 ] || return 1
    sleep 0.1
  done
}

# stop CASE PORT PID: what it counted, then its orderly end.
stop() {
  sleep 0.3
  wget -q -O "$results/$1/ledger.json" "http://127.0.0.1:$2/ledger"
  wget -q -O "$results/$1/metrics.txt" "http://127.0.0.1:$2/metrics"
  kill -TERM $3 2>/dev/null
  wait $3
  echo $? > "$results/$1/status"
}

# until_said FILE COUNT: waits for COUNT lines in it.
until_said() {
  tries=0
  while [ "$(wc -l < "$1")" -lt "$2" ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || return 1
    sleep 0.1
  done
}

servers() {
  /t/web_server serve http tcp:8080 tcp6:8081 unix:/tmp/web.sock > "$results/web_server" 2>&1 &
  web=$!
  /t/sql_server serve postgres tcp:5432 unix:/tmp/.s.PGSQL.5432 > "$results/sql_server" 2>&1 &
  sql=$!
  until_said "$results/web_server" 1
  until_said "$results/sql_server" 1
}

# talk CASE: one HTTP conversation, the least that shows an agent at work.
talk() {
  /t/web_client talk http tcp:8080 >> "$results/$1/said" 2>&1 || echo "failed" >> "$results/$1/said"
}

case_load() {
  mkdir -p $results/load
  for compiler in clang-14 clang-19; do
    # Its status says that a program was refused, which some are on purpose: the judge knows which.
    /t/load_programs /t/$compiler.o > $results/load/$compiler 2> $results/load/log || true
  done
}

case_conformance() {
  /t/conformance --tier auto --json $results/conformance/auto.json > $results/conformance/auto.log 2>&1
  echo $? > $results/conformance/auto.status
  grep -q '"tier" *: *"a"' $results/conformance/auto.json 2>/dev/null || return 0
  /t/conformance --tier b --json $results/conformance/b.json > $results/conformance/b.log 2>&1
  echo $? > $results/conformance/b.status
}

# As with little memory: one ring for both CPUs, each of which has its own in the other cases.
case_rings() {
  /t/conformance --tier auto --rings 1 --only threads,time_order --json $results/conformance/rings.json > $results/conformance/rings.log 2>&1
  echo $? > $results/conformance/rings.status
  rings=1
  start rings 8686 && talk rings
  stop rings 8686 $agent
  rings=
}

case_spans() {
  folder=$results/spans
  mkdir -p $folder
  said=$folder/said
  : > $said
  for address in tcp:8080 tcp6:8081 unix:/tmp/web.sock; do
    /t/old_client talk http $address --wait /tmp/go >> $said 2>&1 &
    old="$old $!"
  done
  for address in tcp:5432 unix:/tmp/.s.PGSQL.5432; do
    /t/old_client talk postgres $address --wait /tmp/go >> $said 2>&1 &
    old="$old $!"
  done
  until_said $said 5 || return 1
  start spans 8686 || return 0
  touch /tmp/go
  for pid in $old; do wait $pid || echo "failed" >> $said; done
  for address in tcp:8080 tcp6:8081 unix:/tmp/web.sock; do
    /t/web_client talk http $address >> $said 2>&1 || echo "failed" >> $said
  done
  for address in tcp:5432 unix:/tmp/.s.PGSQL.5432; do
    /t/sql_client talk postgres $address >> $said 2>&1 || echo "failed" >> $said
  done
  /t/web_client brief tcp:8080 5 >> $said 2>&1 || echo "failed" >> $said
  stop spans 8686 $agent
}

# The agent is killed under load and started again; the load's bytes are checked by its two ends.
case_restart() {
  folder=$results/restart
  mkdir -p $folder
  start killed 8686 || return 0
  /t/load_client load tcp:8080 /tmp/mark /tmp/halt > $folder/load 2>&1 &
  load=$!
  sleep 1
  kill -9 $agent
  wait $agent 2>/dev/null
  start restart 8686 || return 0
  touch /tmp/mark
  sleep 1
  talk restart
  touch /tmp/halt
  wait $load
  echo $? > $folder/load_status
  stop restart 8686 $agent
}

# No tracefs mounted: the agent makes an instance of its own.
case_tracefs_detached() {
  umount /sys/kernel/tracing
  start tracefs_detached 8686 && talk tracefs_detached
  stop tracefs_detached 8686 $agent
  mount -t tracefs tracefs /sys/kernel/tracing
}

# And where mounting is not allowed either, as in a container: BTF tracepoints.
case_tracefs_none() {
  umount /sys/kernel/tracing
  start tracefs_none 8686 /t/odd_host without sys_admin && talk tracefs_none
  stop tracefs_none 8686 $agent
  mount -t tracefs tracefs /sys/kernel/tracing
}

# Another agent, another BPF program on the same hooks, and the kernel's switches for BPF.
case_beside() {
  echo 1 > /proc/sys/kernel/bpf_stats_enabled
  echo 1 > /proc/sys/kernel/unprivileged_bpf_disabled
  mkdir -p $results/beside
  /t/odd_host bystander > $results/beside/bystander 2>&1 &
  bystander=$!
  until_said $results/beside/bystander 1 || return 1
  start second 8687
  second=$agent
  start beside 8686 && talk beside
  cp $results/beside/said $results/second/said
  stop beside 8686 $agent
  stop second 8687 $second
  kill -TERM $bystander
  wait $bystander
  echo 0 > /proc/sys/kernel/bpf_stats_enabled
}

# Before 5.11 BPF maps count as locked memory.
case_memlock() {
  (ulimit -l 64; start memlock 8686 && talk memlock; stop memlock 8686 $agent)
}

case_memlock_strict() {
  (ulimit -l 64; start memlock_strict 8686 /t/odd_host without sys_resource && talk memlock_strict; stop memlock_strict 8686 $agent)
}

case_no_btf() {
  mount -t tmpfs none /sys/kernel/btf
  start no_btf 8686
  stop no_btf 8686 $agent
  umount /sys/kernel/btf
}

# The kernel's BTF where libbpf looks beside sysfs: a container that has no /sys can bring it along.
case_btf_elsewhere() {
  mkdir -p /boot
  cp /sys/kernel/btf/vmlinux /boot/vmlinux-$(uname -r)
  mount -t tmpfs none /sys/kernel/btf
  start btf_elsewhere 8686 && talk btf_elsewhere
  stop btf_elsewhere 8686 $agent
  umount /sys/kernel/btf
  rm /boot/vmlinux-$(uname -r)
}

# And where the option says, which `zerotap doctor` tells too; a file of another kernel is not taken where the kernel tells its own.
case_btf_by_option() {
  cp /sys/kernel/btf/vmlinux /tmp/kernel.btf
  head -c 100000 /tmp/kernel.btf > /tmp/cut.btf
  mount -t tmpfs none /sys/kernel/btf
  capture=', "btf": "/tmp/cut.btf"'
  start btf_cut 8686
  stop btf_cut 8686 $agent
  /t/odd_host other_types /tmp/kernel.btf /tmp/other.btf || return 1
  capture=', "btf": "/tmp/other.btf"'
  start btf_other 8686
  stop btf_other 8686 $agent
  capture=', "btf": "/tmp/kernel.btf"'
  start btf_by_option 8686 && talk btf_by_option
  /t/zerotap doctor --config $results/btf_by_option/zerotap.yaml > $results/btf_by_option/doctor 2>&1
  stop btf_by_option 8686 $agent
  capture=
  umount /sys/kernel/btf
  rm /tmp/kernel.btf /tmp/cut.btf /tmp/other.btf
}

container=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
# in_cgroup FOLDER: a server in a unit and one in a container below FOLDER, with one conversation each.
in_cgroups() {
  name=$1
  shift
  for below in system.slice/shop.service docker/$container; do
    for folder in "$@"; do
      mkdir -p $folder/$below
    done
    sh -c "for folder in $*; do echo \$\$ > \$folder/$below/cgroup.procs || exit 1; done; exec /t/web_server serve http tcp:8090" \
      > $results/$name.server 2>&1 &
    server=$!
    until_said $results/$name.server 1
    mkdir -p $results/$name
    /t/web_client talk http tcp:8090 >> $results/$name/said 2>&1 || echo "failed" >> $results/$name/said
    kill -9 $server
    wait $server 2>/dev/null
  done
}

case_cgroup2() {
  start cgroup2 8686 && in_cgroups cgroup2 /sys/fs/cgroup
  stop cgroup2 8686 $agent
}

# systemd's "hybrid": v1 beside a v2 hierarchy that has the names too.
case_cgroup_hybrid() {
  umount /sys/fs/cgroup
  mount -t tmpfs tmpfs /sys/fs/cgroup
  mkdir -p /sys/fs/cgroup/unified /sys/fs/cgroup/systemd
  mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
  mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd || return 1
  start cgroup_hybrid 8686 && in_cgroups cgroup_hybrid /sys/fs/cgroup/unified /sys/fs/cgroup/systemd
  stop cgroup_hybrid 8686 $agent
  umount /sys/fs/cgroup/unified
}

# Only v1; after cgroup_hybrid.
case_cgroup1() {
  start cgroup1 8686 && in_cgroups cgroup1 /sys/fs/cgroup/systemd
  stop cgroup1 8686 $agent
}

case_lockdown() {
  echo integrity > /sys/kernel/security/lockdown || return 1
  start lockdown 8686 && talk lockdown
  stop lockdown 8686 $agent
}

# There is no way back from this one: the last.
case_lockdown_strict() {
  echo confidentiality > /sys/kernel/security/lockdown || return 1
  start lockdown_strict 8686
  stop lockdown_strict 8686 $agent
}

[ ! -e /t/real.sh ] || . /t/real.sh
servers
status=0
for name in $(echo "$ZT_CASES" | tr , ' '); do
  began=$(cut -d ' ' -f 1 /proc/uptime)
  case_$name || { echo "case $name could not be gone through"; status=1; }
  echo "@@CASE $name $began $(cut -d ' ' -f 1 /proc/uptime)"
done
kill -9 $web $sql
exit $status
