#!/usr/bin/env bash
# Installs the Debian packages that `make demo` and `make test` use, and builds the CNI programs that
# Debian has not or has too old, if any is missing.
set -euo pipefail

packages=(
  bird2 frr gobgpd openbgpd exabgp   # BGP peers we did not write
  stayrtr                            # an RPKI cache
  pmacct bgpdump                     # a BMP station, a reader of MRT
  containernetworking-plugins        # ptp, bridge, host-local
  containerd runc busybox-static     # a container runtime, and what runs in its pods
  iptables                           # portmap
  tcpdump                            # make capture
  conntrack nftables iproute2 iputils-ping procps
  prometheus                         # promtool, and a server to ask the dashboard's queries
  systemd systemd-container dbus     # systemd-analyze; machines with a systemd of their own
  curl
  gcc libc6-dev                      # the linker that rustc calls
)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
# The programs of CNI in Go: cnitool is libcni's own client; the plugins are the first to speak CNI
# 1.1.0, which Debian's do not. Made once, into the user's cache (`tests/src/cnitool.rs` looks there).
cni=github.com/containernetworking/cni/cnitool@v1.3.0
plugins=github.com/containernetworking/plugins/plugins
plugins_version=v1.6.2
go_programs=("$cni" "$plugins"/{main/ptp,main/bridge,main/macvlan,meta/portmap}@"$plugins_version")
go_least=1.23
go_bin="${XDG_CACHE_HOME:-$HOME/.cache}/mainstay/cni-${cni##*@}-$plugins_version"
[ -d "$go_bin" ] || command -v go >/dev/null || missing+=(golang-go)

install_missing() {
  echo "setup: installing ${missing[*]}"
  sudo=; [ "$(id -u)" -eq 0 ] || sudo=sudo
  export DEBIAN_FRONTEND=noninteractive
  # The packages start daemons of their own where there is an init system; these hosts want only the
  # programs, so a policy that says no stands while they are installed.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    trap '$sudo rm -f "$policy"' EXIT
  fi
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

build_go_programs() {
  echo "setup: building cnitool and the plugins of CNI 1.1.0"
  local version
  version=$(GOTOOLCHAIN=local go env GOVERSION)
  if [ "$(printf '%s\n' "go$go_least" "$version" | sort -V | head -n1)" != "go$go_least" ]; then
    echo "setup: $(command -v go) is $version; cnitool and its plugins need go$go_least or newer." >&2
    echo "setup: put one first on PATH (Debian 12: golang-go of bookworm-backports)." >&2
    exit 1
  fi
  mkdir -p "$(dirname "$go_bin")"
  local made
  made=$(mktemp -d "$go_bin.XXXXXX")
  for program in "${go_programs[@]}"; do
    GOTOOLCHAIN=local GOFLAGS= CGO_ENABLED=0 GOBIN="$made" go install "$program" && continue
    echo "setup: cannot build $program: is the Go module proxy reachable ($(go env GOPROXY))?" >&2
    rm -rf "$made"
    exit 1
  done
  chmod 755 "$made"
  mv -T "$made" "$go_bin" 2>/dev/null || rm -rf "$made" # another may have been faster
}

[ ${#missing[@]} -eq 0 ] || install_missing
[ -d "$go_bin" ] || build_go_programs
