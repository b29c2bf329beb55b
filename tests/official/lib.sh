# Shared by the scripts of this folder; source it. Needs bash.

OFFICIAL=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
JAVA_OPENINGS=(
  --add-exports=java.base/sun.nio.ch=ALL-UNNAMED
  --add-opens=java.base/java.nio=ALL-UNNAMED
  --add-opens=java.base/sun.nio.ch=ALL-UNNAMED
  --add-opens=java.base/java.lang=ALL-UNNAMED
  --add-opens=java.base/java.util=ALL-UNNAMED
)

die() {
  echo "error: $*" >&2
  exit 1
}

# need TOOL...: ends the script when a tool is missing; nothing is ever skipped.
need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null 2>&1 || die "\`$tool\` is needed and not on the PATH"
  done
}

# port_taken PORT: whether something listens there on loopback.
port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port: a random port P below the ephemeral range with P-2, P and P+1 free (a broker takes all three).
free_port() {
  local port tries
  for tries in {1..50}; do
    port=$((15000 + RANDOM % 15000))
    port_taken "$port" || port_taken $((port - 2)) || port_taken $((port + 1)) || {
      echo "$port"
      return
    }
  done
  die "no free port found in $tries tries"
}

# cluster_info NAMESRV_PORT: the body of GET_BROKER_CLUSTER_INFO (106), asked in plain bash.
cluster_info() {
  local header='{"code":106,"flag":0,"language":"JAVA","opaque":1,"serializeTypeCurrentRPC":"JSON","version":479}'
  local size=${#header} length
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
  # Total length (header and its own length word), then the header's length; both fit in two bytes.
  printf "\\0\\0\\x$(printf %02x $(((size + 4) >> 8)))\\x$(printf %02x $(((size + 4) & 255)))" >&3
  printf "\\0\\0\\x$(printf %02x $((size >> 8)))\\x$(printf %02x $((size & 255)))%s" "$header" >&3
  length=$(timeout 2 head -c 4 <&3 | od -An -tu1 | awk '{ print (($1 * 256 + $2) * 256 + $3) * 256 + $4 }')
  timeout 2 head -c "${length:-0}" <&3 | tr -d '\0'
  exec 3>&-
}

# wait_registered NAMESRV_PORT BROKER_PORT PID SECONDS: until the name server lists the broker, or the process is gone.
wait_registered() {
  local end=$((SECONDS + $4))
  while ((SECONDS < end)); do
    kill -0 "$3" 2>/dev/null || return 1
    [[ $(cluster_info "$1" 2>/dev/null) == *"127.0.0.1:$2"* ]] && return 0
    sleep 0.2
  done
  return 1
}

# end_process PID SECONDS: SIGTERM, then SIGKILL once the time is over.
end_process() {
  local end=$((SECONDS + $2))
  kill -TERM "$1" 2>/dev/null || return 0
  while kill -0 "$1" 2>/dev/null; do
    ((SECONDS < end)) || {
      echo "process $1 ignored SIGTERM for $2 s: killed" >&2
      kill -KILL "$1" 2>/dev/null
      return 1
    }
    sleep 0.1
  done
}

# apache_lib: the folder with the jars of Apache RocketMQ 5.3.3, fetched when missing or older than the pom.
apache_lib() {
  local here=$OFFICIAL/apache
  mkdir -p "$here/target"
  (
    flock 9
    [[ -e $here/target/complete && $here/target/complete -nt $here/pom.xml ]] && exit 0
    need mvn
    timeout 900 mvn -B -q -ntp -Dstyle.color=never -f "$here/pom.xml" package >&2 || exit 1
    touch "$here/target/complete"
  ) 9>"$here/target/lock" || die "could not fetch Apache RocketMQ"
  echo "$here/target/lib"
}
