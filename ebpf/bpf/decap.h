/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * decap.h: a frame of another node, taken out of its outer packet on the uplink.
 *
 * This saves the UDP receive path, the VXLAN device and a second run of the backlog. Whatever is
 * not exactly what our nodes send each other goes that way, as does everything while
 * `conf.vxlan_port` is 0.
 */
#ifndef SWN_DECAP_H
#define SWN_DECAP_H

#include "guard.h"

#define VXLAN_HAS_VNI 0x08000000u
#define ECN_MARKED 1 /* the mark must move to the inner packet: the VXLAN device does that */

/* What follows the Ethernet header of the outer packet. */
struct outer {
	struct iphdr ip;
	__be16 sport, dport;
	__be16 len, check;
	__be32 flags, vni;
	struct ether eth;
	/* of the inner IP header as much as is asked for; the struct would be aligned */
	__u8 inner_version, inner_tos;
	__be16 inner_len;
	__be16 inner_id, inner_frag;
	__u8 inner_ttl, inner_proto;
};

/* Removed: IP, UDP, VXLAN, inner Ethernet. The outer Ethernet header stays and serves the packet. */
#define OUTER_LEN offsetof(struct outer, inner_version)

static __always_inline int is_vxlan(const struct outer *o, __be16 port)
{
	if (o->ip.version != 4 || o->ip.ihl != 5 || o->ip.protocol != IPPROTO_UDP)
		return 0;
	if (o->ip.frag_off & bpf_htons(0x3fff) || o->ip.tos & ECN_MARKED)
		return 0;
	return o->dport == port && !o->check && o->flags == bpf_htonl(VXLAN_HAS_VNI) &&
	       !(o->vni & bpf_htonl(0xff)) && o->eth.proto == bpf_htons(ETH_P_IP);
}

/*
 * Whether the lengths agree, of a train of segments too: not if each segment has an outer packet
 * of its own. Datagrams in a train are known by marks that only the VXLAN device removes.
 */
static __always_inline int is_one_packet(struct __sk_buff *skb, const struct outer *o)
{
	__u32 len = bpf_ntohs(o->ip.tot_len);

	if (skb->gso_size && o->inner_proto != IPPROTO_TCP)
		return 0;
	return L3 + len == skb->len && sizeof(o->ip) + bpf_ntohs(o->len) == len &&
	       OUTER_LEN + bpf_ntohs(o->inner_len) == len;
}

/* The sum over a header that is right, its own sum included, is 0xffff. */
static __always_inline int has_right_sum(struct outer *o)
{
	__s64 sum = bpf_csum_diff(0, 0, (__be32 *)&o->ip, sizeof(o->ip), 0);

	sum = (sum & 0xffff) + (sum >> 16 & 0xffff);
	return (sum & 0xffff) + (sum >> 16) == 0xffff;
}

/*
 * Removes the outer packet of a frame that another node sent to this one. Returns 1 and fills VNI
 * and node if the frame is the inner one now, 0 if it is as it was. What the inner packet may do
 * is for `net_ip` to decide, as if it had come by the VXLAN device.
 */
static __noinline int decap(struct __sk_buff *skb, __u32 *vni, __u32 *from)
{
	__u64 keep = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET;
	struct conf *c = the_conf();
	struct peer *peer;
	struct outer o;

	if (!c || !c->vxlan_port || bpf_skb_load_bytes(skb, L3, &o, sizeof(o)))
		return 0;
	if (!is_vxlan(&o, c->vxlan_port) || !is_one_packet(skb, &o) || !has_right_sum(&o))
		return 0;
	*vni = bpf_ntohl(o.vni) >> 8;
	if (*vni == VNI_PROBE || !bpf_map_lookup_elem(&local_addrs, &o.ip.daddr))
		return 0;
	peer = bpf_map_lookup_elem(&peers, &o.ip.saddr);
	if (!peer)
		return 0;
	*from = peer->node;
	if (bpf_skb_adjust_room(skb, -(int)OUTER_LEN, BPF_ADJ_ROOM_MAC, keep))
		return 0;
	bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC); /* the first sum that a NIC has checked was the outer one */
	return 1;
}

#endif /* SWN_DECAP_H */
