/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* frag.h: later fragments have no ports; the first one's are remembered. */
#ifndef SWN_FRAG_H
#define SWN_FRAG_H

#include "packet.h"

/* Records the first fragment's ports, fills in a later one's; returns 0 or a drop reason. */
CHECKED_ONCE int frag_ports(struct pkt *p, __u32 vni)
{
	struct frag_key key = { .vni = vni };
	struct frag_val val = {};
	struct frag_val *seen;

	if (!p || p->frag == FRAG_NONE || p->err)
		return 0;
	key.src = p->osrc;
	key.dst = p->odst;
	key.id = p->id;
	key.proto = p->proto;
	if (p->frag == FRAG_FIRST) {
		val.sport = p->sport;
		val.dport = p->dport;
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
