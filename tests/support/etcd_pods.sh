#!/usr/bin/env bash
# Pods of etcd, as far as processes can be: each with a network, a volume, a user and no privilege of
# its own, on a copy-on-write copy of this machine. Run as root within namespaces of its own:
#
#   unshare --mount --net --pid --fork etcd_pods.sh STAGE COMMAND...
#
# STAGE holds for each pod NAME: NAME.command and NAME.env (a word each line), NAME.mounts (lines of
# VOLUME TARGET, VOLUME below STAGE); and the file `members`, the names of those that run on. Each
# COMMAND is `pod NAME`, which runs one to its end and leaves NAME.out and NAME.code; `insist NAME`, the
# same again and again until it succeeds; or `lose NAME`.
set -euo pipefail
stage="$1"
shift

# Of these namespaces, as process ids are.
mount -t proc proc /proc
scratch="$(mktemp -d)"
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
root="$scratch/root"
mount -t overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mkdir -p "$root/usr/local/bin"
for program in etcd etcdctl; do
    ln -sf "$(command -v "$program")" "$root/usr/local/bin/$program"
done

# The cluster's network, and its names: the members', and a Service that leads to the last of them.
ip link set lo up
ip link add cluster type bridge
ip address add 10.96.0.1/24 dev cluster
ip link set cluster up
number=10
{
    echo 127.0.0.1 localhost
    while read -r member; do
        number=$((number + 1))
        echo "10.96.0.$number $member.etcd-peers"
    done <"$stage/members"
    echo "10.96.0.$number etcd"
} >"$root/etc/hosts.new"
rm -f "$root/etc/hosts"
mv "$root/etc/hosts.new" "$root/etc/hosts"

# pod NAME ADDRESS: its process in the foreground.
cat >"$scratch/inside" <<'INSIDE'
#!/usr/bin/env bash
set -euo pipefail
stage="$1" root="$2" name="$3" address="$4"
until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done
ip link set lo up
ip address add "$address/24" dev eth0
ip link set eth0 up
while read -r volume target; do
    mkdir -p "$root$target"
    mount --bind "$stage/$volume" "$root$target"
done <"$stage/$name.mounts"
mapfile -t command <"$stage/$name.command"
mapfile -t variables <"$stage/$name.env"
# Programs of this project may stand where nobody else can read.
who=(setpriv --reuid 10001 --regid 10001 --clear-groups --bounding-set=-all --no-new-privs)
case "${command[0]}" in /usr/local/bin/*) ;; *) who=() ;; esac
exec chroot "$root" "${who[@]}" env -i PATH=/usr/bin:/bin "${variables[@]}" "${command[@]}"
INSIDE
chmod +x "$scratch/inside"

next=100
# Begins a pod; its process id is in $begun.
begin() {
    local name="$1" address="$2" link="p$next"
    next=$((next + 1))
    unshare --mount --net "$scratch/inside" "$stage" "$root" "$name" "$address" \
        >"$stage/$name.out" 2>&1 </dev/null &
    begun=$!
    until [ "$(readlink "/proc/$begun/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do
        sleep 0.02
    done
    ip link add "$link" type veth peer name eth0 netns "$begun"
    ip link set "$link" master cluster up
}

number=10
while read -r member; do
    number=$((number + 1))
    begin "$member" "10.96.0.$number"
    declare "pid_${member//-/_}=$begun"
done <"$stage/members"

# Runs a pod until it ends, at most a minute.
pod() {
    begin "$1" "10.96.0.$next"
    local waited=0 code=0
    while kill -0 "$begun" 2>/dev/null && [ "$waited" -lt 600 ]; do
        sleep 0.1
        waited=$((waited + 1))
    done
    kill -9 "$begun" 2>/dev/null && echo "$1 did not end" >>"$stage/$1.out"
    wait "$begun" || code=$?
    echo "$code" >"$stage/$1.code"
    return "$code"
}

# While members choose a leader, they refuse what they are asked.
insist() {
    local left=20
    until pod "$1" || [ "$left" -eq 0 ]; do
        left=$((left - 1))
    done
}

# Ends a member as a power cut would.
lose() {
    local variable="pid_${1//-/_}"
    kill -9 "${!variable}"
}

for each in "$@"; do
    # shellcheck disable=SC2086 # a word and a name
    case "$each" in "pod "* | "insist "* | "lose "*) $each || true ;; *) exit 2 ;; esac
done
