/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* from_gw.h: a frame that a task sent to its gateway (walks E and F back, H, J). */
#ifndef SWN_FROM_GW_H
#define SWN_FROM_GW_H

#include "from_task.h"
#include "mesh.h"

/* A task calls a published port of its own node (walk J). */
static __always_inline int gw_entry(struct __sk_buff *skb, const struct iface *ifc, struct pkt *p)
{
	struct entry e = { .ifindex = in_dev(skb), .flags = CT_TO_TASK };
	__be32 dst = p->odst;

	if (!bpf_map_lookup_elem(&local_addrs, &dst) || !find_port(p, &e))
		return PASS_ON;
	__builtin_memcpy(e.mac, ifc->mac, 6);
	return mesh_entry(skb, p, &e);
}

/* Outside (walk H), unless that is another task's gateway or the network is internal. */
static __noinline int gw_egress(struct __sk_buff *skb, const struct iface *ifc,
				const struct pkt *p)
{
	struct conf *c = the_conf();

	if (!c || ifc->flags & IFACE_INTERNAL || in_gw_pool(c, p->odst) || is_ours(p->odst))
		DROP(DROP_GW_ISOLATION);
	return TC_ACT_OK;
}

static __noinline int gw_ip(struct __sk_buff *skb, const struct iface *ifc, struct pkt *p)
{
	struct ct_val *v;
	struct ct_key k;
	int rc;

	if (p->osrc != ifc->addr)
		DROP(DROP_SPOOF_IP);
	if (quotes_foreign(p, ifc->addr))
		DROP(DROP_ICMP_BAD_INNER);
	if (is_mcast_bcast(p->odst))
		DROP(DROP_MCAST_BCAST);
	count_tx(skb, ifc->lidx);
	rc = frag_ports(p, VNI_HOST);
	if (rc)
		return gw_egress(skb, ifc, p); /* the stack reassembles what is not ours */
	ct_key_of(&k, p, VNI_HOST, 0, CT_BACK_REV);
	v = bpf_map_lookup_elem(&ct, &k);
	if (v)
		return v->flags & CT_LOCAL_ENTRY ? mesh_reply(skb, p, &k, v) :
						   mesh_return(skb, p, &k, v);
	rc = gw_entry(skb, ifc, p);
	return rc == PASS_ON ? gw_egress(skb, ifc, p) : rc;
}

SEC("classifier")
int sn_from_gw(struct __sk_buff *skb)
{
	__u32 ifindex = in_dev(skb);
	struct iface *ifc = bpf_map_lookup_elem(&ifaces, &ifindex);
	struct ether eth;
	struct pkt p = {};
	int rc;

	start(skb);
	if (!ifc || !(ifc->flags & IFACE_GW))
		DROP(DROP_NO_IFACE);
	rc = check_ether(skb, ifc, &eth);
	if (rc)
		DROP(rc);
	if (eth.proto == bpf_htons(ETH_P_ARP))
		return arp_gateway(skb, ifc);
	rc = parse(skb, &p);
	if (rc)
		DROP(rc);
	return gw_ip(skb, ifc, &p);
}

#endif /* SWN_FROM_GW_H */
