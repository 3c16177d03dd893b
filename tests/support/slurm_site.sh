#!/bin/bash
# slurm_site.sh up | down | login CMD… (root) | user CMD… (alice on login) | other nK CMD… (bob on a node) | node nK CMD… (root)
#   | laptop CMD… | ssh ARGS… (from the laptop)
# A real Slurm 22.05 "site" out of Debian packages: one laptop, one login node
# (munged, slurmctld, sshd), N compute nodes (slurmd).  Every host is a set of namespaces
# (net+uts+mount+pid), so each has its own address, hostname, /etc/hosts, /tmp,
# /dev/shm and process table; the file system is otherwise shared as on a cluster.
# Needs root and: apt-get install slurm-wlm munge openssh-server iproute2
set -euo pipefail
S=${CLUSTER_STATE:-/srv/slurm-site}     # under /tmp only if listed in SHARE: every node has a private /tmp
N=${CLUSTER_NODES:-2}
CPUS=${CLUSTER_CPUS:-8}         # may exceed the machine's (SlurmdParameters=config_overrides)
GPUS=${CLUSTER_GPUS:-2}
SHARE=${CLUSTER_SHARE:-}         # colon list of dirs under /tmp to keep visible on every node
# /root is 0700: what is needed of it (an interpreter of pyenv, a clone) is shown to the job user, and nothing else of it
EXPOSE=${CLUSTER_EXPOSE:-$(python3 -c 'import sys; p = sys.base_prefix; print(p if p.startswith("/root/") else "")')}
SSH_PORT=${CLUSTER_SSH_PORT:-2222}
USR=${CLUSTER_USER:-alice} USRID=5001
OTHER=bob OTHERID=5002          # a second user, who should get at nothing of the first
KILL_WAIT=${CLUSTER_KILL_WAIT:-5}
NET=10.77.0 LNET=10.78.0

pid1() { cat "$S/hosts.d/$1.pid"; }              # host pid of that namespace's init
CGP=slurmtest-$(printf %s "$S" | cksum | cut -d' ' -f1)       # cgroup name prefix of this cluster
CG=""; [ "${CLUSTER_CGROUP:-1}" = 1 ] && for c in freezer memory devices cpuset cpuacct; do
  [ -e /sys/fs/cgroup/$c/cgroup.procs ] && CG="$CG $c"; done      # cgroup v1 hierarchies of this kernel
# shellcheck disable=SC2086  # $CG is a word list
case " $CG " in *" freezer "*) ;; *) CG="";; esac
cgjoin() { local c; for c in $CG; do echo $$ >"/sys/fs/cgroup/$c/$CGP-$1/cgroup.procs"; done; }
# run CMD as a process of host h (its namespaces, and its cgroups)
# shellcheck disable=SC2016
in_host() { local h=$1; shift; cgjoin "$h"
  exec nsenter -t "$(pid1 "$h")" -n -u -m -p ${CG:+-C} -- /bin/bash -c 'cd "$1" 2>/dev/null || cd /; shift; exec "$@"' in_host "$PWD" "$@"; }
nsin() { local h=$1; shift; CG="$CG" H="$h" CGP="$CGP" P="$(pid1 "$h")" /bin/bash -c '
  for c in $CG; do echo $$ >/sys/fs/cgroup/$c/$CGP-$H/cgroup.procs; done
  exec nsenter -t $P -n -u -m -p ${CG:+-C} -- "$@"' nsin "$@"; }

start_host() { local h=$1 
  local c d; for c in $CG; do d=/sys/fs/cgroup/$c/$CGP-$h; mkdir -p "$d"
    [ "$c" != cpuset ] || { cat /sys/fs/cgroup/cpuset/cpuset.cpus >"$d/cpuset.cpus"; cat /sys/fs/cgroup/cpuset/cpuset.mems >"$d/cpuset.mems"; }; done
  # shellcheck disable=SC2097,SC2098,SC2016
  CG="$CG" H="$h" CGP="$CGP" setsid /bin/bash -c 'for c in $CG; do echo $$ >/sys/fs/cgroup/$c/$CGP-$H/cgroup.procs; done; exec "$@"' join \
    unshare --net --uts --mount --pid ${CG:+--cgroup} --fork --kill-child --propagation private \
    /bin/bash "$S/init.sh" "$h" </dev/null >"$S/log/init-$h.log" 2>&1 &
  echo $! >"$S/hosts.d/$h.unshare"; disown
  for _ in $(seq 200); do [ -e "$S/hosts.d/$h.ready" ] && break; sleep 0.02; done
  [ -e "$S/hosts.d/$h.ready" ] || { echo "namespace $h did not start" >&2; cat "$S/log/init-$h.log" >&2; exit 1; }
  ps -o pid= --ppid "$(cat "$S/hosts.d/$h.unshare")" | tr -d ' ' >"$S/hosts.d/$h.pid"
}

up() {
  [ ! -e "$S/hosts.d/login.pid" ] || { echo "already up (or stale): $0 down first" >&2; exit 1; }
  mkdir -p "$S"/{ctld,log,dev,munge,hosts.d,tmp,sshd}; chmod 755 "$S" "$S/munge"
  umask 022
  # --- files ---------------------------------------------------------------
  [ ! -c /dev/fuse ] || [ -c "$S/dev/fuse" ] || mknod -m 666 "$S/dev/fuse" c 10 229; [ ! -c "$S/dev/fuse" ] || chmod 666 "$S/dev/fuse"
  (umask 077; head -c 1024 /dev/urandom >"$S/munge/munge.key")
  for i in $(seq 0 $((GPUS-1))); do [ -c "$S/dev/nvidia$i" ] || mknod -m 666 "$S/dev/nvidia$i" c 195 "$i"; done
  printf '%s\n' "127.0.0.1 localhost" "$LNET.1 login-ext" "$LNET.2 laptop" >"$S/etc-hosts.laptop"      # the laptop knows no node
  { echo "127.0.0.1 localhost"; echo "$NET.1 login"
    for i in $(seq "$N"); do echo "$NET.$((10+i)) n$i"; done; } >"$S/etc-hosts"
  { cat /etc/passwd; echo "$USR:x:$USRID:$USRID:cluster user:$S/home/$USR:/bin/bash"
    echo "$OTHER:x:$OTHERID:$OTHERID:another user:$S/home/$OTHER:/bin/bash"; } >"$S/passwd"
  { cat /etc/group; echo "$USR:x:$USRID:"; echo "$OTHER:x:$OTHERID:"; } >"$S/group"
  (umask 077; { cat /etc/shadow; echo "$USR:*:19000:0:99999:7:::"; } >"$S/shadow")     # '*', not '!': sshd refuses locked accounts
  mkdir -p "$S/home/$USR/.ssh"; chmod 700 "$S/home/$USR"; chown -R "$USRID:$USRID" "$S/home/$USR"
  mkdir -p "$S/home/$OTHER"; chmod 700 "$S/home/$OTHER"; chown "$OTHERID:$OTHERID" "$S/home/$OTHER"
  cat >"$S/init.sh" <<I
set -eu
h=\$1
hostname "\$h"
mount -t proc proc /proc
mkdir -p "$S/tmp/\$h"; chmod 1777 "$S/tmp/\$h"
d=; list="$SHARE"; IFS=:; for d in \$list; do mkdir -p "$S/tmp/\$h/\${d#/tmp/}"; mount --rbind "\$d" "$S/tmp/\$h/\${d#/tmp/}"; done; unset IFS
mount --rbind "$S/tmp/\$h" /tmp
mount -t tmpfs -o size=4g,mode=1777 tmpfs /dev/shm
case \$h in laptop) mount --bind "$S/etc-hosts.laptop" /etc/hosts;; *) mount --bind "$S/etc-hosts" /etc/hosts;; esac
[ ! -c "$S/dev/fuse" ] || mount --bind "$S/dev/fuse" /dev/fuse          # 0666 as on clusters: squashfuse by users
if [ -n "$EXPOSE" ]; then
  list="$EXPOSE"; IFS=:; for d in \$list; do mkdir -p "$S/root.\$h/\${d#/root/}"; mount --rbind "\$d" "$S/root.\$h/\${d#/root/}"; done; unset IFS
  mount --rbind "$S/root.\$h" /root; fi
for f in passwd group shadow; do mount --bind "$S/\$f" "/etc/\$f"; done
if [ -n "\$CG" ]; then umount -l /sys/fs/cgroup; mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  for c in \$CG; do mkdir "/sys/fs/cgroup/\$c"; mount -t cgroup -o "\$c" cgroup "/sys/fs/cgroup/\$c"; done; fi
ip link set lo up
touch "$S/hosts.d/\$h.ready"
trap 'exit 0' TERM
while :; do sleep 3600 & wait \$! || true; done
I
  cat >"$S/slurm.conf" <<C
ClusterName=site
SlurmctldHost=login($NET.1)
AuthType=auth/munge
AuthInfo=socket=$S/munge/munge.sock,cred_expire=${CLUSTER_CRED_EXPIRE:-20}
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$S/ctld
SlurmdSpoolDir=$S/spool-%n
SlurmctldPidFile=$S/slurmctld.pid
SlurmdPidFile=$S/slurmd-%n.pid
SlurmctldLogFile=$S/log/slurmctld.log
SlurmdLogFile=$S/log/slurmd-%n.log
ProctrackType=proctrack/$([ -n "$CG" ] && echo cgroup || echo linuxproc)
TaskPlugin=task/$([ -n "$CG" ] && echo cgroup || echo none)
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
SlurmdParameters=config_overrides
ReturnToService=2
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$S/log/jobcomp.txt
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=0,sched_min_interval=0
SlurmctldTimeout=30
SlurmdTimeout=30
InactiveLimit=0
KillWait=$KILL_WAIT
OverTimeLimit=0
MinJobAge=300
EnforcePartLimits=ALL
GresTypes=gpu
PropagateResourceLimits=NONE
NodeName=DEFAULT CPUs=$CPUS RealMemory=16000 Gres=gpu:h200:$GPUS State=UNKNOWN
C
  for i in $(seq "$N"); do echo "NodeName=n$i NodeAddr=$NET.$((10+i))" >>"$S/slurm.conf"; done
  cat >>"$S/slurm.conf" <<C
PartitionName=gpu Nodes=n[1-$N] Default=YES MaxTime=08:00:00 DefaultTime=04:00:00 State=UP
PartitionName=batch_cnms Nodes=n[1-$N] Default=NO MaxTime=2-00:00:00 DefaultTime=01:00:00 State=UP
C
  echo "AutoDetect=off" >"$S/gres.conf"
  if [ "$GPUS" != 0 ]; then echo "Name=gpu Type=h200 File=$S/dev/nvidia[0-$((GPUS-1))]" >>"$S/gres.conf"; fi
  : >"$S/plugstack.conf"; 
  printf '%s\n' CgroupPlugin=cgroup/v1 CgroupMountpoint=/sys/fs/cgroup CgroupAutomount=no ConstrainDevices=yes ConstrainRAMSpace=yes ConstrainCores=no AllowedRAMSpace=100 >"$S/cgroup.conf"
  # --- hosts ---------------------------------------------------------------
  local h i p
  start_host login; start_host laptop
  for i in $(seq "$N"); do start_host "n$i"; done
  local L; L=$(pid1 login)
  nsenter -t "$L" -n ip link add br0 type bridge
  nsenter -t "$L" -n ip addr add "$NET.1/24" dev br0
  nsenter -t "$L" -n ip link set br0 up
  for i in $(seq "$N"); do p=$(pid1 "n$i")
    nsenter -t "$L" -n ip link add "v$i" type veth peer name eth0 netns "$p"
    nsenter -t "$L" -n ip link set "v$i" master br0 up
    nsenter -t "$p" -n ip addr add "$NET.$((10+i))/24" dev eth0
    nsenter -t "$p" -n ip link set eth0 up
  done
  p=$(pid1 laptop)
  nsenter -t "$L" -n ip link add vlap type veth peer name eth0 netns "$p"
  nsenter -t "$L" -n ip addr add "$LNET.1/24" dev vlap; nsenter -t "$L" -n ip link set vlap up
  nsenter -t "$p" -n ip addr add "$LNET.2/24" dev eth0; nsenter -t "$p" -n ip link set eth0 up
  # --- daemons -------------------------------------------------------------
  nsin login /usr/sbin/munged --force --key-file="$S/munge/munge.key" --socket="$S/munge/munge.sock" \
     --pid-file="$S/munge/munged.pid" --log-file="$S/munge/munged.log" --seed-file="$S/munge/munged.seed" --num-threads=2
  nsin login /usr/sbin/slurmctld -c -f "$S/slurm.conf"
  for i in $(seq "$N"); do mkdir -p "$S/spool-n$i"; nsin "n$i" /usr/sbin/slurmd -f "$S/slurm.conf"; done
  # --- sshd on the login node ------------------------------------------------
  mkdir -p /run/sshd
  [ -f "$S/sshd/host_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -f "$S/sshd/host_ed25519"
  [ -f "$S/sshd/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C site -f "$S/sshd/id_ed25519"
  cp "$S/sshd/id_ed25519.pub" "$S/sshd/authorized_keys"; chmod 644 "$S/sshd/authorized_keys"; chmod 755 "$S/sshd"
  echo "[login-ext]:$SSH_PORT $(cut -d' ' -f1,2 "$S/sshd/host_ed25519.pub")" >"$S/sshd/known_hosts"
  cat >"$S/sshd/sshd_config" <<C
Port $SSH_PORT
ListenAddress $LNET.1
HostKey $S/sshd/host_ed25519
PidFile $S/sshd/sshd.pid
AuthorizedKeysFile $S/sshd/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding local
X11Forwarding no
PrintMotd no
SetEnv SLURM_CONF=$S/slurm.conf
Subsystem sftp internal-sftp
C
  cat >"$S/sshd/ssh_config" <<C
Host login
  HostName login-ext
  Port $SSH_PORT
  User $USR
  IdentityFile $S/sshd/id_ed25519
  IdentitiesOnly yes
  UserKnownHostsFile $S/sshd/known_hosts
  StrictHostKeyChecking yes
  ExitOnForwardFailure yes
  ServerAliveInterval 30
C
  nsin login /usr/sbin/sshd -f "$S/sshd/sshd_config" -E "$S/log/sshd.log"
  # --- wait ------------------------------------------------------------------
  for _ in $(seq 150); do
    [ "$(nsin login env SLURM_CONF="$S/slurm.conf" sinfo -h -N -p gpu -o %T 2>/dev/null | grep -cx idle)" = "$N" ] && { nsin login env SLURM_CONF="$S/slurm.conf" sinfo -N -o '%N %P %T %c %m %G'; return 0; }
    sleep 0.1; done
  echo "nodes not idle after 15 s" >&2; nsin login env SLURM_CONF="$S/slurm.conf" sinfo -R >&2 || true; tail -n 20 "$S"/log/*.log >&2; exit 1
}

down() { local f p u c
  [ -d "$S/hosts.d" ] || return 0
  if [ -e "$S/hosts.d/login.pid" ] && kill -0 "$(pid1 login)" 2>/dev/null; then
    nsin login env SLURM_CONF="$S/slurm.conf" timeout 5 scancel --full -u root 2>/dev/null || true
  fi
  for f in "$S"/hosts.d/*.pid; do [ -e "$f" ] || continue      # SIGKILL to a pid-namespace init ends all in it
    p=$(cat "$f"); u=$(cat "${f%.pid}.unshare")
    if [ -n "$p" ] && [ "$(ps -o ppid= -p "$p" | tr -d ' ')" = "$u" ]; then kill -KILL "$p" 2>/dev/null || true; fi
  done
  for f in "$S"/hosts.d/*.unshare; do [ -e "$f" ] || continue
    p=$(cat "$f")
    for _ in $(seq 100); do                                    # a zombie counts as gone
      if [ ! -d "/proc/$p" ] || grep -q '^State:.Z' "/proc/$p/status" 2>/dev/null; then break; fi
      sleep 0.05
    done
  done
  for f in "$S"/hosts.d/*.unshare; do for c in $CG; do
    find "/sys/fs/cgroup/$c/$CGP-$(basename "$f" .unshare)" -depth -type d -exec rmdir {} + 2>/dev/null || true; done; done
  rm -rf "$S/hosts.d"
  [ "${KEEP:-}" ] || rm -rf "$S"
}

case ${1:-} in
  up) up;;
  down) down;;
  login) shift; export SLURM_CONF="$S/slurm.conf"; in_host login "$@";;                 # as root
  user) shift; export SLURM_CONF="$S/slurm.conf"; in_host login runuser -u "$USR" -- env HOME="$S/home/$USR" USER="$USR" LOGNAME="$USR" "$@";;
  other) h=$2; shift 2; export SLURM_CONF="$S/slurm.conf"; in_host "$h" runuser -u "$OTHER" -- env HOME="$S/home/$OTHER" USER="$OTHER" LOGNAME="$OTHER" "$@";;
  laptop) shift; in_host laptop "$@";;
  ssh) shift; in_host laptop ssh -F "$S/sshd/ssh_config" "$@";;                           # from the laptop
  node) h=$2; shift 2; export SLURM_CONF="$S/slurm.conf"; in_host "$h" "$@";;
  *) sed -n '2,8p' "$0"; exit 2;;
esac
