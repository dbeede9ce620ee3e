#!/usr/bin/env bash
# Installs the Debian packages that `make demo` and `make test` use, if any is missing.
set -euo pipefail

packages=(
  bird2 frr gobgpd openbgpd          # BGP peers we did not write
  containernetworking-plugins        # ptp, bridge, host-local
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
[ ${#missing[@]} -eq 0 ] && exit 0

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
