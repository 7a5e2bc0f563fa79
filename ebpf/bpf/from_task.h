/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* from_task.h: a frame that a task sent into an overlay (walks A, B, C, I, K, N). */
#ifndef SWN_FROM_TASK_H
#define SWN_FROM_TASK_H

#include "arp.h"
#include "resolver.h"
#include "vip.h"

/* Sends the packet where its address is. */
static __noinline int route_task(struct __sk_buff *skb, const struct iface *ifc, struct pkt *p)
{
	struct ep_key k = { .vni = ifc->vni, .addr = p->odst };
	struct ep *ep = bpf_map_lookup_elem(&eps, &k);
	struct hop h = {};
	__u32 limit;

	if (!ep || ep->addr != k.addr)
		DROP(DROP_NO_ENDPOINT);
	if (ep->kind == EP_VIP)
		return vip_forward(skb, ifc, p, ep->svc);
	if (ep->kind == EP_GONE)
		return refuse(skb, p, DROP_ENDPOINT_GONE, 1);
	if (ep->kind != EP_LOCAL && ep->kind != EP_REMOTE)
		DROP(DROP_NO_ENDPOINT);
	h.vni = ifc->vni;
	h.node = ep->kind == EP_REMOTE ? ep->node : 0;
	h.ifindex = ep->ifindex;
	h.lidx = ep->lidx;
	__builtin_memcpy(h.mac, ep->mac, 6);
	if (h.node && ifc->flags & IFACE_ENCRYPTED)
		DROP(DROP_ENCRYPT_REQUIRED);
	limit = h.node ? tunnel_limit(skb, p, h.node, 1) : 0;
	if (limit)
		return refuse_too_big(skb, p, limit);
	return to_overlay(skb, p, &h);
}

static __always_inline int task_ip(struct __sk_buff *skb, const struct iface *ifc)
{
	struct pkt p = {};
	int rc = parse(skb, &p);

	if (rc)
		DROP(rc);
	if (p.osrc != ifc->addr)
		DROP(DROP_SPOOF_IP);
	if (quotes_foreign(&p, ifc->addr))
		DROP(DROP_ICMP_BAD_INNER);
	if (is_mcast_bcast(p.odst) || p.odst == (ifc->addr | ~ifc->mask))
		DROP(DROP_MCAST_BCAST);
	count_tx(skb, ifc->lidx);
	if (p.odst == bpf_htonl(SWN_RESOLVER))
		return ask_resolver(skb, ifc, &p);
	return route_task(skb, ifc, &p);
}

/* Checks what every frame of a task must fulfil; returns 0 or a drop reason. */
static __always_inline int check_ether(struct __sk_buff *skb, const struct iface *ifc,
				       struct ether *eth)
{
	if (load_ether(skb, eth))
		return DROP_MALFORMED;
	if (is_vlan(skb, eth))
		return DROP_VLAN;
	if (!same_mac(eth->src, ifc->mac))
		return DROP_SPOOF_MAC;
	if (eth->proto == bpf_htons(ETH_P_IPV6))
		return DROP_IPV6_OFF;
	if (eth->proto != bpf_htons(ETH_P_IP) && eth->proto != bpf_htons(ETH_P_ARP))
		return DROP_ETHERTYPE;
	return 0;
}

SEC("classifier")
int sn_from_task(struct __sk_buff *skb)
{
	__u32 ifindex = in_dev(skb);
	struct iface *ifc = bpf_map_lookup_elem(&ifaces, &ifindex);
	struct ether eth;
	int rc;

	start(skb);
	if (!ifc || ifc->flags & (IFACE_GW | IFACE_UPLINK))
		DROP(DROP_NO_IFACE);
	rc = check_ether(skb, ifc, &eth);
	if (rc)
		DROP(rc);
	if (eth.proto == bpf_htons(ETH_P_ARP))
		return arp_overlay(skb, ifc);
	return task_ip(skb, ifc);
}

#endif /* SWN_FROM_TASK_H */
