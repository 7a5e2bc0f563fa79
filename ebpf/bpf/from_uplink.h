/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* from_uplink.h: a frame from outside (walks E, F, L). What is not ours passes untouched. */
#ifndef SWN_FROM_UPLINK_H
#define SWN_FROM_UPLINK_H

#include "decap.h"
#include "from_net.h"

static __noinline int uplink_ip(struct __sk_buff *skb, const struct ether *eth)
{
	struct entry e = { .ifindex = in_dev(skb) };
	struct conf *c = the_conf();
	struct pkt p = {};
	int rc = parse(skb, &p);
	__be32 dst = p.odst;

	if (dst == bpf_htonl(SWN_RESOLVER)) /* whatever else it is: the stack must not assemble it */
		DROP(DROP_RESOLVER_ONLY);
	if (!c || rc)
		return PASS_ON;
	if (!bpf_map_lookup_elem(&local_addrs, &dst))
		return PASS_ON;
	if (p.frag == FRAG_LATER && frag_ports(&p, VNI_HOST))
		return PASS_ON;
	if (!find_port(&p, &e))
		return PASS_ON;
	if (!is_client(c, p.osrc) || !is_client(c, p.src))
		DROP(DROP_MESH_CLIENT);
	if (p.frag == FRAG_FIRST)
		frag_ports(&p, VNI_HOST);
	__builtin_memcpy(e.mac, eth->src, 6);
	return mesh_entry(skb, &p, &e);
}

SEC("classifier")
int sn_from_uplink(struct __sk_buff *skb)
{
	__u32 vni = 0, from = 0;
	struct ether eth;

	start(skb);
	if (skb->pkt_type != PKT_HOST || load_ether(skb, &eth) || is_vlan(skb, &eth) ||
	    eth.proto != bpf_htons(ETH_P_IP))
		return PASS_ON;
	if (decap(skb, &vni, &from))
		return net_ip(skb, vni, from);
	return uplink_ip(skb, &eth);
}

#endif /* SWN_FROM_UPLINK_H */
