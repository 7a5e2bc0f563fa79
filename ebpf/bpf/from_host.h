/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* from_host.h: a host process calls the mesh by way of swn-host (walk G), or the resolver answers (N). */
#ifndef SWN_FROM_HOST_H
#define SWN_FROM_HOST_H

#include "mesh.h"
#include "resolver.h"

static __noinline int host_ip(struct __sk_buff *skb, const struct conf *c, const struct ether *eth)
{
	struct entry e = { .ifindex = c->host_if, .flags = CT_TO_HOST };
	struct pkt p = {};
	int rc = parse(skb, &p);

	if (rc)
		DROP(rc);
	if (is_asker(p.odst))
		return answer_asker(skb, &p);
	rc = frag_ports(&p, VNI_HOST);
	if (rc)
		DROP(rc);
	if (is_mcast_bcast(p.odst))
		DROP(DROP_MCAST_BCAST);
	if (p.odst != bpf_htonl(SWN_MESH_SELF))
		DROP(DROP_NO_ENDPOINT);
	if (is_loopback(p.osrc))
		DROP(DROP_LOOPBACK_SRC);
	if (!find_port(&p, &e))
		return refuse(skb, &p, DROP_PORT_NO_BACKEND, 1);
	__builtin_memcpy(e.mac, eth->src, 6);
	rc = mesh_entry(skb, &p, &e);
	if (rc == PASS_ON) /* an ICMP error about no flow; there is no stack behind this device */
		DROP(DROP_ICMP_BAD_INNER);
	return rc;
}

SEC("classifier")
int sn_from_host(struct __sk_buff *skb)
{
	struct conf *c = the_conf();
	struct ether eth;

	start(skb);
	if (!c)
		DROP(DROP_NO_IFACE);
	if (load_ether(skb, &eth))
		DROP(DROP_MALFORMED);
	if (is_vlan(skb, &eth))
		DROP(DROP_VLAN);
	if (eth.proto == bpf_htons(ETH_P_IPV6))
		DROP(DROP_IPV6_OFF);
	if (eth.proto != bpf_htons(ETH_P_IP))
		DROP(DROP_ETHERTYPE);
	return host_ip(skb, c, &eth);
}

#endif /* SWN_FROM_HOST_H */
