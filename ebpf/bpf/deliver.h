/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* deliver.h: the last step of every walk: to a task, to a client, to the host. */
#ifndef SWN_DELIVER_H
#define SWN_DELIVER_H

#include "csum.h"
#include "tunnel.h"

#define ADDRESS_FAMILY_V4 2

/* Where a packet goes; copied from maps, whose elements may change under us. */
struct hop {
	__u32 vni;
	__u32 node;
	__u32 ifindex;
	__u32 lidx;
	__u8 mac[6];
	__u16 pad;
};

static __always_inline void hop_of_be(struct hop *h, const struct be *b)
{
	h->vni = b->vni;
	h->node = b->node;
	h->ifindex = b->ifindex;
	h->lidx = b->lidx;
	__builtin_memcpy(h->mac, b->mac, 6);
}

static __always_inline int set_macs(struct __sk_buff *skb, const __u8 *dst, const __u8 *src)
{
	__u8 macs[12];

	__builtin_memcpy(macs, dst, 6);
	__builtin_memcpy(macs + 6, src, 6);
	return bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0);
}

static __always_inline void count_rx(struct __sk_buff *skb, __u32 lidx)
{
	struct ep_stat *s = bpf_map_lookup_elem(&ep_stats, &lidx);

	if (s) {
		s->rx_packets += 1;
		s->rx_bytes += skb->len;
	}
}

static __always_inline void count_tx(struct __sk_buff *skb, __u32 lidx)
{
	struct ep_stat *s = bpf_map_lookup_elem(&ep_stats, &lidx);

	if (s) {
		s->tx_packets += 1;
		s->tx_bytes += skb->len;
	}
}

/* Into a task: straight to the other end of the veth `ifindex`. */
static __noinline int to_peer(struct __sk_buff *skb, __u32 ifindex, const __u8 *mac)
{
	if (set_macs(skb, mac, vmac))
		DROP(DROP_HELPER_FAILED);
	/* The MAC was not that of the device the frame came in on: ip_rcv would drop it. */
	if (skb->pkt_type != PKT_HOST && bpf_skb_change_type(skb, PKT_HOST))
		DROP(DROP_HELPER_FAILED);
	note(ACT_PEER, ifindex, 0, 0);
	return bpf_redirect_peer(ifindex, 0);
}

/* To a local task with statistics, or to its node. */
CHECKED_ONCE int to_hop(struct __sk_buff *skb, const struct hop *h, __u32 vni)
{
	if (!h)
		DROP(DROP_MALFORMED);
	if (h->node)
		return to_node(skb, h->node, vni);
	count_rx(skb, h->lidx);
	return to_peer(skb, h->ifindex, h->mac);
}

/* Into the host's own stack, as if received on swn-host. */
static __noinline int to_host(struct __sk_buff *skb, const __u8 *mac)
{
	struct conf *c = the_conf();

	if (!c || set_macs(skb, mac, vmac))
		DROP(DROP_HELPER_FAILED);
	note(ACT_INGRESS, c->host_if, 0, 0);
	return bpf_redirect(c->host_if, BPF_F_INGRESS);
}

/* Back out of the device the frame came from, with `dst` as its new destination MAC. */
static __noinline int send_back(struct __sk_buff *skb, const __u8 *dst, const __u8 *src)
{
	__u32 ifindex = in_dev(skb);

	if (set_macs(skb, dst, src))
		DROP(DROP_HELPER_FAILED);
	note(ACT_EGRESS, ifindex, 0, 0);
	return bpf_redirect(ifindex, 0);
}

/* To an outside client from a frame without tunnel data: the kernel resolves the next hop. */
static __always_inline int to_client_neigh(__u32 ifindex)
{
	note(ACT_NEIGH, ifindex, 0, 0);
	return bpf_redirect_neigh(ifindex, 0, 0, 0);
}

/*
 * To an outside client from a frame that came out of the tunnel. bpf_redirect_neigh would leak
 * the tunnel's metadata on kernels before October 2025. Usually nothing has resolved the client
 * (NO_NEIGH): the MAC learned with the flow serves.
 */
CHECKED_ONCE int to_client_fib(struct __sk_buff *skb, const struct xlate *x, __u32 ifindex,
			       const struct hop *learned)
{
	struct bpf_fib_lookup f = {};
	struct iface *uplink;

	if (!x || !learned)
		DROP(DROP_MALFORMED);
	f.family = ADDRESS_FAMILY_V4;
	f.ifindex = ifindex;
	f.ipv4_src = x->saddr;
	f.ipv4_dst = x->daddr;
	if (bpf_fib_lookup(skb, &f, sizeof(f), BPF_FIB_LOOKUP_OUTPUT) == BPF_FIB_LKUP_RET_SUCCESS) {
		if (set_macs(skb, f.dmac, f.smac))
			DROP(DROP_HELPER_FAILED);
		ifindex = f.ifindex;
	} else {
		uplink = bpf_map_lookup_elem(&ifaces, &ifindex);
		if (!uplink)
			DROP(DROP_NO_IFACE);
		if (set_macs(skb, learned->mac, uplink->mac))
			DROP(DROP_HELPER_FAILED);
	}
	note(ACT_EGRESS, ifindex, 0, 0);
	return bpf_redirect(ifindex, 0);
}

#endif /* SWN_DELIVER_H */
