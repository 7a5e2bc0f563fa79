#!/usr/bin/env bash
# Installs the Debian packages that building and running swarmnet's lab need, and only those missing.
# usage: tests/lab/install-packages.sh [bench]   (as root, or as a user who may use sudo)
# bench: also what only `make bench` needs
#
# A package counts as present when what we need of it is: a Docker Engine from elsewhere is fine.
# No service is started or enabled by this: the lab starts its own engines, registry and servers.
set -euo pipefail

missing=()
need() { # package, command or absolute path of a file
    local found
    case $2 in
        /*) [ -e "$2" ] && found=yes || found= ;;
        *) found=$(command -v "$2" || true) ;;
    esac
    [ -n "$found" ] || missing+=("$1")
}

export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
need gcc cc
need libc6-dev /usr/include/stdio.h
need linux-libc-dev /usr/include/linux/bpf.h
need clang clang
need libbpf-dev /usr/include/bpf/bpf_helpers.h
need iproute2 ip
need nftables nft
need ethtool ethtool
need iptables iptables
need procps ps
need curl curl
need ca-certificates /etc/ssl/certs/ca-certificates.crt
need docker.io dockerd
need docker-registry docker-registry
need nginx-light nginx
need busybox-static busybox
# The other busybox package needs libraries that a container of its own has not.
if ldd "$(command -v busybox)" 2>/dev/null | grep -q '=>'; then missing+=(busybox-static); fi
if [ "${1:-}" = bench ]; then
    need wrk wrk
    need util-linux taskset
    need dnsmasq-base dnsmasq
    need unbound unbound
fi

if [ ${#missing[@]} -eq 0 ]; then
    echo "Debian packages: all present"
    exit 0
fi

echo "Debian packages to install: ${missing[*]}"
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)

# The way Debian offers to say that services are not to be started now.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
    "${as_root[@]}" chmod 755 $policy
    trap '"${as_root[@]}" rm -f $policy' EXIT
fi

"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    "${missing[@]}" || {
    "${as_root[@]}" apt-get update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        "${missing[@]}"
}

# Nor with the next boot: they would take ports and addresses that are none of the lab's business.
if command -v systemctl >/dev/null; then
    for package in "${missing[@]}"; do
        case $package in
            docker.io) units="docker.service docker.socket containerd.service" ;;
            docker-registry) units=docker-registry.service ;;
            nginx-light) units=nginx.service ;;
            unbound) units=unbound.service ;;
            *) units= ;;
        esac
        for unit in $units; do
            "${as_root[@]}" systemctl disable "$unit" >/dev/null 2>&1 ||
                echo "note: could not disable $unit; it may start with the next boot"
        done
    done
fi
