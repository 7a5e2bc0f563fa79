/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* frag.h: later fragments have no ports; the first one's are remembered. */
#ifndef SWN_FRAG_H
#define SWN_FRAG_H

#include "packet.h"

/* Records the first fragment's ports, fills in a later one's; returns 0 or a drop reason. */
static __noinline int frag_ports(struct pkt *p, __u32 vni)
{
	struct frag_key key = {
		.vni = vni, .src = p->osrc, .dst = p->odst, .id = p->id, .proto = p->proto,
	};
	struct frag_val val = { .sport = p->sport, .dport = p->dport, .time = 0 };
	struct frag_val *seen;

	if (p->frag == FRAG_NONE || p->err)
		return 0;
	if (p->frag == FRAG_FIRST) {
		val.time = now_s();
		bpf_map_update_elem(&frags, &key, &val, BPF_ANY);
		return 0;
	}
	seen = bpf_map_lookup_elem(&frags, &key);
	if (!seen)
		return DROP_FRAG_NO_FIRST;
	p->sport = seen->sport;
	p->dport = seen->dport;
	return 0;
}

#endif /* SWN_FRAG_H */
