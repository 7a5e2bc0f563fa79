/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * conntrack.h: a flow is two entries, one per direction. State is made by the forward direction
 * only; the reverse entry is claimed first, since it decides whether the rewritten tuple is free.
 */
#ifndef SWN_CONNTRACK_H
#define SWN_CONNTRACK_H

#include "guard.h"

#define EEXIST 17
#define CT_STATE (CT_SEEN_REPLY | CT_FIN_A | CT_FIN_B | CT_RST)

enum verdict { USE, RESELECT, RESET };

static __always_inline void ct_key_of(struct ct_key *k, const struct pkt *p, __u32 vni, __u32 node,
				      __u8 dir)
{
	__builtin_memset(k, 0, sizeof(*k));
	k->vni = vni;
	k->node = node;
	k->src = p->src;
	k->dst = p->dst;
	k->sport = p->sport;
	k->dport = p->dport;
	k->proto = p->proto;
	k->dir = dir;
}

static __always_inline int ct_closing(const struct ct_val *v)
{
	return v->flags & CT_RST || (v->flags & (CT_FIN_A | CT_FIN_B)) == (CT_FIN_A | CT_FIN_B);
}

static __always_inline int ct_dead(const struct ct_val *v)
{
	return ct_closing(v) || v->expires < now_s();
}

static __always_inline __u32 ct_timeout(__u8 proto, __u32 flags)
{
	if (proto == IPPROTO_ICMP)
		return CT_ICMP;
	if (proto != IPPROTO_TCP)
		return CT_OTHER;
	if (flags & CT_RST || (flags & (CT_FIN_A | CT_FIN_B)) == (CT_FIN_A | CT_FIN_B))
		return CT_TCP_CLOSING;
	return flags & CT_SEEN_REPLY ? CT_TCP_ESTABLISHED : CT_TCP_NEW;
}

/* Writes the key of the other half; abi.h has the table. */
CHECKED_ONCE int ct_pair(const struct ct_key *k, const struct ct_val *v, struct ct_key *out)
{
	if (!k || !v || !out)
		return 0;
	*out = *k;
	out->node = 0;
	if (v->flags & CT_HAIRPIN) {
		out->sport = k->dport;
		out->dport = k->sport;
		return 0;
	}
	if (k->dir == CT_VIP_REV || k->dir == CT_ENTRY_REV || k->dir == CT_BACK_REV) {
		/* to the client's direction: client -> what the client called */
		int remote = k->dir == CT_BACK_REV && !(v->flags & CT_LOCAL_ENTRY);
		int vip = k->dir == CT_VIP_REV;

		out->src = vip ? k->dst : v->caddr;
		out->sport = vip ? k->dport : v->cport;
		out->dst = remote ? k->src : v->xaddr;
		out->dport = remote || vip ? k->sport : v->xport;
		out->node = remote ? v->node : 0;
		out->dir = vip ? CT_VIP_FWD : remote ? CT_BACK_FWD : CT_ENTRY_FWD;
		return 0;
	}
	/* to the reply's direction: backend -> client as the backend sees it */
	out->src = v->xaddr;
	out->sport = k->dir == CT_VIP_FWD ? k->dport : v->xport;
	out->dst = k->dir == CT_VIP_FWD ? k->src : v->caddr;
	out->dport = k->dir == CT_VIP_FWD ? k->sport : v->cport;
	out->dir = k->dir == CT_VIP_FWD ? CT_VIP_REV : CT_BACK_REV;
	if (k->dir == CT_ENTRY_FWD && v->node) {
		out->node = v->node;
		out->dir = CT_ENTRY_REV;
	}
	return 0;
}

/* Notes a packet of the flow: moves the timeout of both halves, at most once per second. */
CHECKED_ONCE int ct_update(const struct ct_key *k, struct ct_val *v, const struct pkt *p, __u32 reply)
{
	__u32 flags, expires;
	struct ct_key other = {};
	struct ct_val *o;

	if (!k || !v || !p || p->err)
		return 0;
	flags = v->flags;
	if (reply)
		flags |= CT_SEEN_REPLY;
	if (p->proto == IPPROTO_TCP && p->tcp & TCP_RST)
		flags |= CT_RST;
	if (p->proto == IPPROTO_TCP && p->tcp & TCP_FIN)
		flags |= reply ? CT_FIN_B : CT_FIN_A;
	expires = now_s() + ct_timeout(p->proto, flags);
	if (flags == v->flags && expires == v->expires)
		return 0;
	v->flags = flags;
	v->expires = expires;
	ct_pair(k, v, &other);
	o = bpf_map_lookup_elem(&ct, &other);
	if (o) {
		o->flags |= flags & CT_STATE;
		o->expires = expires;
	}
	return 0;
}

/* Removes the other half of a flow that gets a new backend. */
CHECKED_ONCE int ct_forget_pair(const struct ct_key *k, const struct ct_val *v)
{
	struct ct_key other = {};

	ct_pair(k, v, &other);
	bpf_map_delete_elem(&ct, &other);
	return 0;
}

/* Whether a flow may go on with its backend (section "draining" of the design). */
CHECKED_ONCE int ct_usable(const struct ct_val *v, const struct pkt *p)
{
	struct be *b;
	int stream;
	__u32 id;

	if (!v || !p)
		return RESELECT;
	id = v->be;
	stream = p->proto == IPPROTO_TCP && !is_syn(p);
	b = bpf_map_lookup_elem(&backends, &id);
	if (p->err)
		return b ? USE : RESELECT;
	if (!stream && ct_dead(v))
		return RESELECT;
	if (!b)
		return stream ? RESET : RESELECT;
	if (b->state == BE_DRAINING)
		return is_syn(p) ? RESELECT : USE;
	if (b->state == BE_DOWN)
		return stream ? USE : RESELECT;
	return USE;
}

/* Whether an existing reverse entry belongs to the very flow that claims it. */
static __always_inline int ct_same_flow(const struct ct_val *a, const struct ct_val *b)
{
	return a->be == b->be && a->xaddr == b->xaddr && a->xport == b->xport &&
	       a->caddr == b->caddr && a->cport == b->cport && a->node == b->node;
}

/* Whether the same client's flow comes by another entry node now. */
static __always_inline int ct_moved(const struct ct_val *old, const struct ct_val *v)
{
	return old->caddr == v->caddr && old->cport == v->cport &&
	       (old->xport == v->xport || !old->xport || !v->xport);
}

/*
 * Claims a reverse tuple; returns 0 or a drop reason. Its own half that outlived the other one is
 * adopted, a dead one replaced. `stream`: the packet is TCP but no SYN, so the flow existed before
 * and may have moved here from another entry node.
 */
CHECKED_ONCE int ct_claim(const struct ct_key *k, struct ct_val *v, __u32 stream)
{
	struct ct_val *old;
	int rc;

	if (!k || !v)
		return DROP_MALFORMED;
	rc = bpf_map_update_elem(&ct, k, v, BPF_NOEXIST);
	if (!rc)
		return 0;
	if (rc != -EEXIST)
		return DROP_CT_FULL;
	old = bpf_map_lookup_elem(&ct, k);
	if (old && !ct_dead(old)) {
		if (!ct_same_flow(old, v) && !(stream && ct_moved(old, v)))
			return DROP_CT_COLLISION;
		v->flags |= old->flags & CT_STATE;
	}
	return bpf_map_update_elem(&ct, k, v, BPF_ANY) ? DROP_CT_FULL : 0;
}

/* Claims a reverse tuple, with another client port if the client's own is taken. */
CHECKED_ONCE int ct_claim_client(struct ct_key *k, struct ct_val *v, __u32 stream)
{
	__u32 port = bpf_get_prandom_u32() % (65536 - 1024);
	int i, rc;

	if (!k || !v)
		return DROP_MALFORMED;
	rc = ct_claim(k, v, stream);
	if (rc != DROP_CT_COLLISION)
		return rc;
	v->flags |= CT_CLIENT_RW;
	for (i = 0; i < SWN_CLAIM_TRIES; i++) {
		k->dport = bpf_htons(1024 + (port + i) % (65536 - 1024));
		rc = ct_claim(k, v, 0);
		if (rc != DROP_CT_COLLISION)
			return rc;
	}
	return rc;
}

static __always_inline void ct_start(struct ct_val *v, __u8 proto)
{
	v->created = now_s();
	v->expires = v->created + ct_timeout(proto, v->flags);
}

#endif /* SWN_CONNTRACK_H */
