/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* arp.h: answers a task's questions in place; nothing is ever flooded. */
#ifndef SWN_ARP_H
#define SWN_ARP_H

#include "deliver.h"

struct arp {
	__be16 hw, proto;
	__u8 hw_len, proto_len;
	__be16 op;
	__u8 sha[6];
	__u8 spa[4];
	__u8 tha[6];
	__u8 tpa[4];
};

static __always_inline __be32 addr_of(const __u8 *bytes)
{
	__be32 addr;

	__builtin_memcpy(&addr, bytes, 4);
	return addr;
}

/* Loads a plain question by the owner of the interface; returns 0 or a drop reason. */
static __noinline int load_arp(struct __sk_buff *skb, const struct iface *ifc, struct arp *a)
{
	__be32 spa, tpa;

	if (bpf_skb_load_bytes(skb, L3, a, sizeof(*a)))
		return DROP_MALFORMED;
	if (a->hw != bpf_htons(1) || a->proto != bpf_htons(ETH_P_IP) || a->hw_len != 6 ||
	    a->proto_len != 4)
		return DROP_MALFORMED;
	spa = addr_of(a->spa);
	tpa = addr_of(a->tpa);
	if (a->op != bpf_htons(1) || !same_mac(a->sha, ifc->mac))
		return DROP_SPOOF_ARP;
	if (spa && (spa != ifc->addr || spa == tpa)) /* foreign or gratuitous */
		return DROP_SPOOF_ARP;
	return 0;
}

/* Turns the question into the answer "the target is at `mac`" and sends it back. */
static __noinline int answer_arp(struct __sk_buff *skb, struct arp *a, const __u8 *mac)
{
	__u8 asker[6], asker_addr[4];

	__builtin_memcpy(asker, a->sha, 6);
	__builtin_memcpy(asker_addr, a->spa, 4);
	a->op = bpf_htons(2);
	__builtin_memcpy(a->sha, mac, 6);
	__builtin_memcpy(a->spa, a->tpa, 4);
	__builtin_memcpy(a->tha, asker, 6);
	__builtin_memcpy(a->tpa, asker_addr, 4);
	if (bpf_skb_store_bytes(skb, L3, a, sizeof(*a), BPF_F_RECOMPUTE_CSUM))
		DROP(DROP_HELPER_FAILED);
	return send_back(skb, asker, mac);
}

/* A question on an overlay: any address of the network but the asker's own, or the resolver. */
static __noinline int arp_overlay(struct __sk_buff *skb, const struct iface *ifc)
{
	struct arp a;
	struct ep_key key;
	__u8 mac[6] = { 0x02, 0x42 };
	int rc = load_arp(skb, ifc, &a);

	if (rc)
		DROP(rc);
	key.vni = ifc->vni;
	key.addr = addr_of(a.tpa);
	if (key.addr != bpf_htonl(SWN_RESOLVER) &&
	    (key.addr == ifc->addr || !bpf_map_lookup_elem(&eps, &key)))
		DROP(DROP_ARP_UNKNOWN);
	__builtin_memcpy(mac + 2, a.tpa, 4);
	return answer_arp(skb, &a, mac);
}

/* A question on a gateway veth: only the next hop of the default route. */
static __noinline int arp_gateway(struct __sk_buff *skb, const struct iface *ifc)
{
	struct arp a;
	int rc = load_arp(skb, ifc, &a);

	if (rc)
		DROP(rc);
	if (addr_of(a.tpa) != bpf_htonl(SWN_NEXT_HOP))
		DROP(DROP_ARP_UNKNOWN);
	return answer_arp(skb, &a, vmac);
}

#endif /* SWN_ARP_H */
