"""Another computer with a libvirt, as far as anybody can tell: a namespace with sshd, reached over a cable.

For scripts that `ownlibvirt.run_inside` runs; all of it ends with them.
"""

from __future__ import annotations

from tests.e2e.ownlibvirt import LIBVIRT

HERE, FAR = "198.18.200.1", "198.18.200.2"
# What runs over there. $1 is a directory with the server's key and the operator's public key.
OVER_THERE = f"""
# libvirtd locks a file with its number in /run.
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/lock
# libvirt sets a port's flags through sysfs, which shows the network namespace that mounted it.
mount -t sysfs sysfs /sys
{LIBVIRT}
ip link set eth0 up
ip address add {FAR}/30 dev eth0
mkdir -p /run/sshd
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
"""
# Sets $FAR to the URI of a libvirt that is another computer's.
START = rf"""
place=$(mktemp -d)
ssh-keygen -q -t ed25519 -N '' -f "$place/host"
ssh-keygen -q -t ed25519 -N '' -f "$place/operator"
cat > "$place/sshd_config" <<END
ListenAddress {FAR}
HostKey $place/host
AuthorizedKeysFile $place/operator.pub
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
END
cat > "$place/ssh_config" <<END
IdentityFile $place/operator
IdentitiesOnly yes
UserKnownHostsFile $place/known_hosts
StrictHostKeyChecking yes
END
echo "{FAR} $(cut -d' ' -f1,2 "$place/host.pub")" > "$place/known_hosts"
printf '#!/bin/sh\nexec ssh -F %s/ssh_config "$@"\n' "$place" > "$place/ssh"
chmod +x "$place/ssh"
cat > "$place/over-there" <<'OVER-THERE'
{OVER_THERE}
OVER-THERE
unshare --net --mount bash "$place/over-there" "$place" > "$place/log" 2>&1 &
far=$!
ip link add far type veth peer name eth0
for attempt in $(seq 50); do
    [ "$(readlink /proc/$far/ns/net)" != "$(readlink /proc/self/ns/net)" ] && break
    sleep 0.1
done
ip link set eth0 netns $far
ip link set far up
ip address add {HERE}/30 dev far
for attempt in $(seq 150); do
    "$place/ssh" -o ConnectTimeout=2 {FAR} true 2> /dev/null && break
    sleep 0.2
done
"$place/ssh" {FAR} true || {{ cat "$place/log"; exit 1; }}
FAR="qemu+ssh://root@{FAR}/system?command=$place/ssh"
"""
