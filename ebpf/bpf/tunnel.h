/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* tunnel.h: into the VXLAN device and out of it. */
#ifndef SWN_TUNNEL_H
#define SWN_TUNNEL_H

#include "guard.h"

/* Test builds record what happened to the frame. */
static __always_inline void note(__u32 action, __u32 ifindex, __u32 vni, __be32 remote)
{
	struct test_out *t = the_note();

	if (t) {
		t->action = action;
		t->ifindex = ifindex;
		t->vni = vni;
		t->remote = remote;
	}
}

/* Length of the packet, of its longest segment if the frame is a train of them. */
static __always_inline __u32 packet_len(struct __sk_buff *skb, const struct pkt *p)
{
	__u32 head = p->ihl * 4 + l4_head(p->proto);
	__u32 segment = *(volatile __u32 *)&skb->gso_size; /* read once: clang would keep ctx + offset */
	__u8 doff = 0;

	if (!segment)
		return p->len;
	if (p->proto == IPPROTO_TCP && !bpf_skb_load_bytes(skb, p->l4 + 12, &doff, 1))
		head = p->ihl * 4 + (doff >> 4) * 4;
	return head + segment;
}

/*
 * Compares the packet with what the tunnel to a node carries in one piece. Returns 0 if it may go,
 * else the MTU to tell its sender. `tell`: the sender can be told, if it asked to know (DF).
 * Whoever is not told is served: the outer packet is fragmented, and counted here.
 */
CHECKED_ONCE __u32 tunnel_limit(struct __sk_buff *skb, const struct pkt *p, __u32 node_index, __u32 tell)
{
	struct node *n = bpf_map_lookup_elem(&nodes, &node_index);

	if (!p || !n || !n->mtu || packet_len(skb, p) <= n->mtu)
		return 0;
	if (tell && p->df)
		return n->mtu;
	count_drop(skb, COUNT_OUTER_FRAG);
	return 0;
}

/* Sends the frame to a node inside the network `vni`. */
static __noinline int to_node(struct __sk_buff *skb, __u32 node_index, __u32 vni)
{
	struct node *n = bpf_map_lookup_elem(&nodes, &node_index);
	struct conf *c = the_conf();
	struct bpf_tunnel_key key = {};
	__u32 size = offsetof(struct bpf_tunnel_key, local_ipv6);

	if (!n || !c || !n->addr)
		DROP(DROP_NO_ENDPOINT);
	key.tunnel_id = vni;
	key.remote_ipv4 = bpf_ntohl(n->addr);
	key.tunnel_ttl = 64;
	if (swn_tunnel_src) {
		key.local_ipv4 = bpf_ntohl(n->src);
		size = sizeof(key);
	}
	if (bpf_skb_set_tunnel_key(skb, &key, size, BPF_F_ZERO_CSUM_TX))
		DROP(DROP_HELPER_FAILED);
	note(ACT_TUNNEL, c->vx_if, vni, n->addr);
	return bpf_redirect(c->vx_if, 0);
}

/* Reads VNI and outer source of a frame from the VXLAN device. */
static __always_inline int tunnel_source(struct __sk_buff *skb, __u32 *vni, __be32 *remote)
{
	struct bpf_tunnel_key key = {};

	if (swn_test) {
		struct test_in *t = the_test();

		if (!t || !t->has_key)
			return DROP_VTEP_NO_KEY;
		*vni = t->vni;
		*remote = t->remote;
		return 0;
	}
	if (bpf_skb_get_tunnel_key(skb, &key, offsetof(struct bpf_tunnel_key, local_ipv6), 0))
		return DROP_VTEP_NO_KEY;
	*vni = key.tunnel_id;
	*remote = bpf_htonl(key.remote_ipv4);
	return 0;
}

#endif /* SWN_TUNNEL_H */
