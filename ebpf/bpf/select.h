/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* select.h: from a service to one of its backends. */
#ifndef SWN_SELECT_H
#define SWN_SELECT_H

#include "packet.h"

/*
 * Mixes words into one hash. The mesh uses it on every node: a change of constants moves flows
 * between backends while nodes of both kinds run.
 */
static __always_inline __u32 mix(__u32 h, __u32 word)
{
	h ^= word;
	h ^= h >> 16;
	h *= 0x7feb352d;
	h ^= h >> 15;
	h *= 0x846ca68b;
	h ^= h >> 16;
	return h;
}

/* Element `r` modulo count of a slot range; 0 if the range is empty. */
static __noinline __u32 pick(__u64 range, __u32 r)
{
	__u32 base = range, count = range >> 32 & 0xffff;
	__u32 *id, index;

	if (!count)
		return 0;
	index = base + r % count;
	id = bpf_map_lookup_elem(&slots, &index);
	return id ? *id : 0;
}

/* One word of a service, read once: the agent switches ranges by storing it. */
static __always_inline __u64 read_range(const __u64 *word)
{
	return *(const volatile __u64 *)word;
}

static __always_inline __u32 flow_hash(const struct ct_key *k)
{
	__u32 h = mix(k->src, k->dst);

	return mix(mix(h, (__u32)k->sport << 16 | k->dport), k->proto);
}

/* The mesh's hash: not over the entry address, so that all entry nodes choose alike. */
static __always_inline __u32 mesh_hash(const struct ct_key *k, __u32 flags)
{
	__u32 h = mix(0x73776e01, k->src);

	if (flags & PORT_CLIENT_AFFINITY)
		return h;
	return mix(mix(h, (__u32)k->sport << 16 | k->dport), k->proto);
}

#endif /* SWN_SELECT_H */
