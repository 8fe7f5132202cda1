#!/bin/bash
# node.sh join | run: one node, over the machine's own root but with its own mounts, network, host name, processes and
# control groups. node.rs starts `join` under unshare(1) and has written the files of $FOLDER.
# Writes nothing to the machine but in $CLUSTER: its root is read-only, /run, /tmp and /var/lib are in memory.
# From the environment: NODE ADDRESS GATEWAY FOLDER CLUSTER BIN LOGS KUBELET_CONFIG FIREWALL_CONFIG SERVICES NODE_GROUPS
# HIERARCHIES ARCHIVES.
set -euo pipefail

if [ "$1" = join ]; then
  for group in $NODE_GROUPS; do echo 0 > "$group/cgroup.procs"; done # 0: this process
  exec unshare --cgroup bash "$0" run
fi

hostname "$NODE"
# The machine's number of this process: its /proc is still the one that is seen here.
read -r pid _ < /proc/self/stat
echo "$pid" > "$FOLDER/pid.new"
mv "$FOLDER/pid.new" "$FOLDER/pid"

root=$FOLDER/root
mount --rbind / "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs sysfs sys
if [ "$HIERARCHIES" = v2 ]; then
  mount -t cgroup2 cgroup2 sys/fs/cgroup
  # A group that has processes cannot limit groups in it.
  mkdir sys/fs/cgroup/init
  echo 0 > sys/fs/cgroup/init/cgroup.procs
  for controller in $(< sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" > sys/fs/cgroup/cgroup.subtree_control
  done
else
  mount -t tmpfs tmpfs sys/fs/cgroup
  for hierarchy in $HIERARCHIES; do
    folder=sys/fs/cgroup/${hierarchy#name=}
    mkdir "$folder"
    case $hierarchy in
      name=*) mount -t cgroup -o "none,$hierarchy" cgroup "$folder" ;;
      *) mount -t cgroup -o "$hierarchy" cgroup "$folder" ;;
    esac
  done
fi
for folder in run tmp var/lib; do mount -t tmpfs tmpfs "$folder"; done
mkdir -p run/netns run/lock
# kubelet sets these for the whole machine; it gets copies of its own.
for setting in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
  copy=run/sysctl-$(basename "${setting%=*}")
  echo "${setting#*=}" > "$copy"
  mount --bind "$copy" "proc/sys/${setting%=*}"
done
# The folder of clusters may lie below what is covered now.
mkdir -p ".$CLUSTER"
mount --bind "$CLUSTER" ".$CLUSTER"
mount --bind "$FOLDER/log" var/log
mount --bind "$FOLDER/hosts" etc/hosts
# For volumes of a node's own disk.
mount --bind "$FOLDER/data" srv
mkdir -p "$FOLDER/old"
pivot_root . ".$FOLDER/old"
cd /
umount -l "$FOLDER/old"
mount -o remount,bind,ro /

ip link set lo up
for _ in $(seq 200); do
  ip link show eth0 > /dev/null 2>&1 && break
  sleep .05
done
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
ip route add default via "$GATEWAY"
sysctl -qw net.ipv4.ip_forward=1

export PATH=$BIN:$PATH
# start NAME COMMAND…: in the background; when it ends, so does the node, and says where to look.
start() {
  local log=$LOGS/$NODE-$1.log
  shift
  {
    status=0
    "$@" > "$log" 2>&1 || status=$?
    echo "$1 ended with status $status; its log is $log, which ends:"
    tail -n 5 "$log"
  } &
}
start containerd containerd --config "$FOLDER/containerd.toml"
for _ in $(seq 200); do
  ctr version > /dev/null 2>&1 && break
  sleep .05
done
for archive in $ARCHIVES; do ctr --namespace k8s.io images import "$archive" > /dev/null; done
start proxy kube-proxy --config "$FOLDER/proxy.json"
start kubelet kubelet --config "$FOLDER/kubelet.json" --kubeconfig "$KUBELET_CONFIG" --root-dir "$FOLDER/kubelet" \
  --cert-dir "$FOLDER/pki" --hostname-override "$NODE" --node-ip "$ADDRESS"
# It reads its node when it starts, and ends where there is none yet.
for _ in $(seq 200); do
  kubectl --kubeconfig "$FIREWALL_CONFIG" get --raw "/api/v1/nodes/$NODE" > /dev/null 2>&1 && break
  sleep .2
done
start firewall kube-router --kubeconfig "$FIREWALL_CONFIG" --hostname-override "$NODE" \
  --run-router=false --run-service-proxy=false --service-cluster-ip-range "$SERVICES"
# This is the first process of the node: it reaps what others leave, and all end with it.
wait -n
exit 1
