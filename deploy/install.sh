#!/bin/sh
# Installs Mainstay under DESTDIR (default: the system itself). Starts nothing, and leaves files
# alone that an operator has written.
#
#   deploy/install.sh [DESTDIR]
#
#   BUILD=target/release   where the built programs are
#   MODE=none              installs the CNI configuration of a node without container network;
#                          MODE=skip installs none, e.g. where another network still serves
set -eu

here=$(cd "$(dirname "$0")" && pwd)
destdir=${1:-}
build=${BUILD:-$here/../target/release}
mode=${MODE:-bgp}

fail() {
	echo "install.sh: $*" >&2
	exit 1
}

case $mode in
bgp) conflist=10-mainstay.conflist other=10-mainstay-none.conflist ;;
none) conflist=10-mainstay-none.conflist other=10-mainstay.conflist ;;
skip) conflist= other= ;;
*) fail "MODE=$mode is neither bgp, none nor skip" ;;
esac

programs="mainstay mainstay-bgpd mainstay-keeper mainstay-ipamd mainstay-netmon"
plugins="mainstay-ipam mainstay-none"
for program in $programs $plugins; do
	[ -x "$build/$program" ] || fail "$build/$program is missing: cargo build --release --bins --workspace"
done

# A program in use is replaced, never overwritten: `install` unlinks first.
for program in $programs; do
	install -D -m 0755 "$build/$program" "$destdir/usr/local/bin/$program"
done
for plugin in $plugins; do
	install -D -m 0755 "$build/$plugin" "$destdir/opt/cni/bin/$plugin"
done

data() { # file, directory
	install -D -m 0644 "$here/$1" "$destdir$2/$(basename "$1")"
}
for unit in "$here"/systemd/*.service; do
	data "systemd/$(basename "$unit")" /usr/local/lib/systemd/system
done
data systemd/logind.conf.d/50-mainstay.conf /usr/local/lib/systemd/logind.conf.d
data iproute2/mainstay.conf /etc/iproute2/rt_protos.d
for file in cni/10-mainstay.conflist cni/10-mainstay-none.conflist examples/mainstay.yaml \
	prometheus/mainstay-alerts.yaml grafana/mainstay-node.json; do
	data "$file" "/usr/local/share/mainstay/$(dirname "$file")"
done

if [ -n "$conflist" ]; then
	net_d=$destdir/etc/cni/net.d
	if [ -e "$net_d/$conflist" ]; then
		echo "kept $net_d/$conflist"
	else
		data "cni/$conflist" /etc/cni/net.d
	fi
	if [ -e "$net_d/$other" ]; then
		echo "there is $net_d/$other too: the runtime takes the first name in order, remove the one you do not want"
	fi
fi

config=$destdir/etc/mainstay/mainstay.yaml
mkdir -p "$destdir/etc/mainstay"
echo "installed under ${destdir:-/}"
if [ ! -e "$config" ]; then
	echo "next: write $config, starting from ${destdir}/usr/local/share/mainstay/examples/mainstay.yaml,"
	echo "      check it: mainstay config check $config"
fi
echo "then: systemctl daemon-reload"
if [ "$mode" = none ]; then
	echo "      systemctl enable --now mainstay-netmon"
else
	echo "      systemctl enable --now mainstay-ipamd mainstay-keeper mainstay-bgpd mainstay-netmon"
	echo "      systemctl kill --signal=HUP systemd-logind; systemctl enable --now mainstay-shutdown"
fi
