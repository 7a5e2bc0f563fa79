/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * probe.h: frames of the connectivity test between nodes (walk O).
 *
 * A node's agent sends a VXLAN datagram of its own making in VNI_PROBE, without fragmentation, so
 * that its size says what the underlay carries. The other node sends the frame back through its
 * tunnel device, as it sends frames of tasks, and keeps nothing but the test's number. No task and
 * no socket ever sees a frame.
 */
#ifndef SWN_PROBE_H
#define SWN_PROBE_H

#include "tunnel.h"

static __noinline int probe_back(struct __sk_buff *skb, struct probe_header *h, __u32 from)
{
	__u64 test = h->test;

	bpf_map_update_elem(&heard, &from, &test, BPF_ANY);
	if (!probe_allowed())
		DROP(DROP_PROBE);
	if (h->kind == PROBE_REQUEST && bpf_skb_change_tail(skb, L3 + sizeof(*h), 0))
		DROP(DROP_HELPER_FAILED);
	h->kind = PROBE_REPLY;
	if (bpf_skb_store_bytes(skb, L3, h, sizeof(*h), 0))
		DROP(DROP_HELPER_FAILED);
	return to_node(skb, from, VNI_PROBE);
}

/* From the node that was asked, and while it is waited for. */
static __noinline int probe_answered(struct __sk_buff *skb, const struct probe_header *h, __u32 from)
{
	__u64 nonce = h->nonce;
	struct probe *p = bpf_map_lookup_elem(&probes, &nonce);

	if (!p || p->node != from)
		DROP(DROP_PROBE);
	if (!p->answered_ns)
		p->answered_ns = bpf_ktime_get_ns();
	return TC_ACT_UNSPEC; /* nothing in the stack takes this ethertype */
}

static __noinline int net_probe(struct __sk_buff *skb, const struct ether *eth, __u32 from)
{
	struct probe_header h;

	if (eth->proto != bpf_htons(SWN_ETH_PROBE))
		DROP(DROP_VTEP_VNI);
	if (bpf_skb_load_bytes(skb, L3, &h, sizeof(h)))
		DROP(DROP_MALFORMED);
	if (h.kind == PROBE_REPLY)
		return probe_answered(skb, &h, from);
	if (h.kind != PROBE_REQUEST && h.kind != PROBE_WHOLE)
		DROP(DROP_MALFORMED);
	return probe_back(skb, &h, from);
}

#endif /* SWN_PROBE_H */
