/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * resolver.h: a task asks the resolver of its host, and the answer (walk N). No state: the address
 * under which the host sees a task names the attachment.
 */
#ifndef SWN_RESOLVER_H
#define SWN_RESOLVER_H

#include "deliver.h"

#define DNS_PORT 53

/* Fragments are refused: a query is small, and answers do not leave the host in pieces. */
static __always_inline int is_dns(const struct pkt *p, __be16 port)
{
	return !p->err && p->frag == FRAG_NONE && port == bpf_htons(DNS_PORT) &&
	       (p->proto == IPPROTO_UDP || p->proto == IPPROTO_TCP);
}

/* A task's packet to the resolver's address: into the host, as if received on swn-host. */
static __noinline int ask_resolver(struct __sk_buff *skb, const struct iface *ifc, struct pkt *p)
{
	struct conf *c = the_conf();
	int rc;

	if (!is_dns(p, p->dport))
		DROP(DROP_RESOLVER_ONLY);
	if (!c || !c->host_if || !ifc->lidx || ifc->lidx >= SWN_MAX_ASKERS)
		DROP(DROP_NO_IFACE);
	rc = set_flow_addr(skb, p, IP_SADDR, bpf_htonl(SWN_ASKERS + ifc->lidx));
	if (rc)
		DROP(rc);
	return to_host(skb, c->host_mac);
}

/* What the host sends to a task's stand-in address: only the resolver may. */
static __noinline int answer_asker(struct __sk_buff *skb, struct pkt *p)
{
	__u32 lidx = bpf_ntohl(p->odst) - SWN_ASKERS;
	struct asker *a;
	struct hop h = {};
	int rc;

	if (p->osrc != bpf_htonl(SWN_RESOLVER) || !is_dns(p, p->sport))
		DROP(DROP_RESOLVER_ONLY);
	a = bpf_map_lookup_elem(&askers, &lidx);
	if (!a)
		DROP(DROP_ASKER_GONE);
	h.lidx = lidx;
	h.ifindex = a->ifindex;
	__builtin_memcpy(h.mac, a->mac, 6);
	rc = set_flow_addr(skb, p, IP_DADDR, a->addr);
	if (rc)
		DROP(rc);
	return to_hop(skb, &h, 0);
}

#endif /* SWN_RESOLVER_H */
