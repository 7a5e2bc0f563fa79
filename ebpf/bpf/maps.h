/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* maps.h: every map: name, type, size, pinning. Sizes can be changed at load. */
#ifndef SWN_MAPS_H
#define SWN_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"

#define PINNED_MAP(name_, type_, entries_, flags_, key_, value_)           \
	struct {                                                            \
		__uint(type, type_);                                        \
		__uint(max_entries, entries_);                              \
		__uint(map_flags, flags_);                                  \
		__type(key, key_);                                          \
		__type(value, value_);                                      \
		__uint(pinning, LIBBPF_PIN_BY_NAME);                        \
	} name_ SEC(".maps")

#define HASH BPF_MAP_TYPE_HASH
#define ARRAY BPF_MAP_TYPE_ARRAY
#define LRU BPF_MAP_TYPE_LRU_HASH
#define PERCPU BPF_MAP_TYPE_PERCPU_ARRAY
#define LPM BPF_MAP_TYPE_LPM_TRIE
#define LAZY BPF_F_NO_PREALLOC
#define MMAP BPF_F_MMAPABLE

/* what the agent writes */
PINNED_MAP(conf, ARRAY, 1, MMAP, __u32, struct conf);
PINNED_MAP(ifaces, HASH, 16384, LAZY, __u32, struct iface);
PINNED_MAP(eps, HASH, 262144, LAZY, struct ep_key, struct ep);
PINNED_MAP(peers, HASH, 16384, 0, __be32, struct peer);
PINNED_MAP(nodes, ARRAY, 4096, 0, __u32, struct node);
PINNED_MAP(vnis, HASH, 16384, 0, __u32, struct vni);
PINNED_MAP(svc, ARRAY, 16384, MMAP, __u32, struct svc);
PINNED_MAP(slots, ARRAY, 1048576, MMAP, __u32, __u32);
PINNED_MAP(backends, HASH, 262144, LAZY, __u32, struct be);
PINNED_MAP(ports, HASH, 16384, 0, struct port_key, struct port);
PINNED_MAP(local_addrs, HASH, 1024, 0, __be32, __u32);
PINNED_MAP(mesh_local, HASH, 65536, 0, struct mesh_key, struct mesh_target);
PINNED_MAP(askers, HASH, SWN_MAX_ASKERS, LAZY, __u32, struct asker);
PINNED_MAP(netns, HASH, 16384, 0, __u64, struct netns);
PINNED_MAP(allow_src, LPM, 16384, LAZY, struct allow_key, __u32);
PINNED_MAP(probes, HASH, 4096, LAZY, __u64, struct probe);

/* what the programs write */
PINNED_MAP(ct, LRU, 131072, 0, struct ct_key, struct ct_val);
PINNED_MAP(frags, LRU, 8192, 0, struct frag_key, struct frag_val);
PINNED_MAP(sock_rev, LRU, 131072, 0, struct sock_key, struct sock_val);
PINNED_MAP(lflags, ARRAY, 8192, MMAP, __u32, __u32);
PINNED_MAP(drops, PERCPU, SWN_MAX_DROPS, 0, __u32, struct counter);
PINNED_MAP(ep_stats, PERCPU, 8192, 0, __u32, struct ep_stat);
PINNED_MAP(svc_stats, PERCPU, 16384, 0, __u32, struct svc_stat);
PINNED_MAP(heard, ARRAY, 4096, 0, __u32, __u64); /* node -> test of its last probe */
PINNED_MAP(budget, PERCPU, 1, 0, __u32, struct budget);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} events SEC(".maps");

/* tests only, never pinned */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct test_in);
} test_in SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct test_out);
} test_out SEC(".maps");

/* Set at load and frozen, so that the verifier removes dead branches. */
volatile const __u32 swn_test = 0;       /* test build: record redirects, take metadata from test_in */
volatile const __u32 swn_tunnel_src = 0; /* the kernel knows bpf_tunnel_key.local_ipv4 (6.0) */

#endif /* SWN_MAPS_H */
