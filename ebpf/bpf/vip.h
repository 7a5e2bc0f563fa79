/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* vip.h: a VIP on the packet path, on the client task's node only (walks C and K). */
#ifndef SWN_VIP_H
#define SWN_VIP_H

#include "conntrack.h"
#include "frag.h"
#include "icmp.h"
#include "select.h"

static __always_inline void count_svc(struct __sk_buff *skb, __u32 index)
{
	struct svc_stat *s = bpf_map_lookup_elem(&svc_stats, &index);

	if (s) {
		s->packets += 1;
		s->bytes += skb->len;
	}
}

static __always_inline void count_flow(__u32 index, __u32 refused)
{
	struct svc_stat *s = bpf_map_lookup_elem(&svc_stats, &index);

	if (s && refused)
		s->refused += 1;
	else if (s)
		s->flows += 1;
}

/* A packet to `lidx` must look for VIP_REV from now on. */
static __always_inline void mark_vip_flows(__u32 lidx)
{
	__u32 *f = bpf_map_lookup_elem(&lflags, &lidx);

	if (f && !(*f & LFLAG_VIP_FLOWS))
		*f |= LFLAG_VIP_FLOWS;
}

/*
 * A task that chose itself: packets of both directions go from the task to the VIP, so there are
 * two forward entries and no reverse one.
 */
static __noinline int vip_claim_hairpin(const struct ct_key *k, struct ct_val *v)
{
	struct ct_key back;
	long rc;

	v->flags |= CT_HAIRPIN | CT_HAIRPIN_BACK;
	ct_pair(k, v, &back);
	rc = bpf_map_update_elem(&ct, &back, v, BPF_ANY);
	v->flags &= ~CT_HAIRPIN_BACK;
	return rc ? DROP_CT_FULL : 0;
}

/* Chooses a backend and makes both halves; returns 0 or a drop reason. */
CHECKED_ONCE int vip_create(const struct ct_key *k, __u32 index, const struct pkt *p)
{
	struct svc *s = bpf_map_lookup_elem(&svc, &index);
	struct conf *c = the_conf();
	struct ct_val v = {};
	struct ct_key rev = {};
	struct be *b;
	int rc;

	if (!s || !c || !k || !p)
		return DROP_VIP_NO_BACKEND;
	v.be = pick(read_range(&s->sel), flow_hash(k));
	b = bpf_map_lookup_elem(&backends, &v.be);
	if (!b)
		return DROP_VIP_NO_BACKEND;
	if (!flow_allowed(c))
		return DROP_CT_FLOOD;
	v.svc = index;
	v.xaddr = b->addr;
	ct_start(&v, k->proto);
	if (b->addr == k->src) {
		rc = vip_claim_hairpin(k, &v);
	} else {
		ct_pair(k, &v, &rev);
		v.xaddr = k->dst;
		rc = ct_claim(&rev, &v, 0);
		v.xaddr = rev.src;
	}
	if (rc)
		return rc;
	count_flow(index, 0);
	return bpf_map_update_elem(&ct, k, &v, BPF_ANY) ? DROP_CT_FULL : 0;
}

/* Finds or makes the flow and says where it goes; returns 0 or a drop reason. */
static __noinline int vip_flow(struct pkt *p, struct ct_key *k, __u32 index, struct hop *h)
{
	struct ct_val *v = bpf_map_lookup_elem(&ct, k);
	int rc, use = v ? ct_usable(v, p) : RESELECT;
	struct be *b;
	__u32 id;

	if (use == RESET)
		return DROP_ENDPOINT_GONE;
	if (use == RESELECT) {
		if (p->err)
			return DROP_ICMP_BAD_INNER;
		if (v)
			ct_forget_pair(k, v);
		rc = vip_create(k, index, p);
		if (rc)
			return rc;
		v = bpf_map_lookup_elem(&ct, k);
	}
	if (!v)
		return DROP_CT_FULL;
	id = v->be;
	b = bpf_map_lookup_elem(&backends, &id);
	if (!b)
		return DROP_VIP_NO_BACKEND;
	hop_of_be(h, b);
	/* what the packet becomes, handed back in the key's place */
	ct_update(k, v, p, v->flags & CT_HAIRPIN_BACK);
	k->src = v->flags & CT_HAIRPIN ? k->dst : k->src;
	k->dst = v->xaddr;
	return 0;
}

/* Sends a task's packet to a VIP to one of the backends. */
CHECKED_ONCE int vip_forward(struct __sk_buff *skb, const struct iface *ifc, struct pkt *p,
			     __u32 index)
{
	struct xlate x = {};
	struct ct_key k;
	struct hop h = {};
	__u32 limit;
	int rc;

	if (!ifc || !p)
		DROP(DROP_MALFORMED);
	rc = frag_ports(p, ifc->vni);
	if (rc)
		DROP(rc);
	ct_key_of(&k, p, ifc->vni, 0, CT_VIP_FWD);
	rc = vip_flow(p, &k, index, &h);
	if (rc == DROP_VIP_NO_BACKEND) {
		count_flow(index, 1);
		return refuse(skb, p, rc, 0);
	}
	if (rc == DROP_ENDPOINT_GONE)
		return refuse(skb, p, rc, 1);
	if (rc)
		DROP(rc);
	if (h.node && ifc->flags & IFACE_ENCRYPTED)
		DROP(DROP_ENCRYPT_REQUIRED);
	limit = h.node ? tunnel_limit(skb, p, h.node, 1) : 0;
	if (limit)
		return refuse_too_big(skb, p, limit);
	mark_vip_flows(ifc->lidx);
	count_svc(skb, index);
	x.saddr = k.src;
	x.daddr = k.dst;
	x.sport = p->sport;
	x.dport = p->dport;
	rc = apply(skb, p, &x);
	if (rc)
		DROP(rc);
	return to_hop(skb, &h, ifc->vni);
}

/* A packet for a local task that has VIP flows: a reply gets the VIP back as its source. */
CHECKED_ONCE int vip_reverse(struct __sk_buff *skb, struct pkt *p, __u32 vni)
{
	struct xlate x = {};
	struct ct_val *v;
	struct ct_key k;

	if (!p || frag_ports(p, vni)) /* perhaps a direct flow: deliver as it is */
		return 0;
	ct_key_of(&k, p, vni, 0, CT_VIP_REV);
	v = bpf_map_lookup_elem(&ct, &k);
	if (!v)
		return 0;
	x.saddr = v->xaddr;
	x.daddr = p->dst;
	x.sport = p->sport;
	x.dport = p->dport;
	ct_update(&k, v, p, 1);
	return apply(skb, p, &x);
}

/* To an overlay address of this or another node (walks A and B). */
static __noinline int to_overlay(struct __sk_buff *skb, struct pkt *p, const struct hop *h)
{
	__u32 lidx = h->lidx;
	__u32 *flags;
	int rc;

	if (h->node)
		return to_node(skb, h->node, h->vni);
	flags = bpf_map_lookup_elem(&lflags, &lidx);
	if (flags && *flags & LFLAG_VIP_FLOWS) {
		rc = vip_reverse(skb, p, h->vni);
		if (rc)
			DROP(rc);
	}
	return to_hop(skb, h, h->vni);
}

#endif /* SWN_VIP_H */
