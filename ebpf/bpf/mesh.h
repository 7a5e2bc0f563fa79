/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * mesh.h: published ports. The entry node chooses a backend and rewrites the destination only;
 * the backend's node remembers which entry node the client uses (walks E, F, G, J).
 */
#ifndef SWN_MESH_H
#define SWN_MESH_H

#include "vip.h"

/* How a client reached this entry node. */
struct entry {
	__u32 svc;
	__u32 ifindex;      /* device towards the client */
	__be16 target_port;
	__u16 port_flags;
	__u16 flags;        /* CT_TO_HOST, CT_TO_TASK */
	__u8 mac[6];        /* next hop towards the client */
};

/* Finds the published port a packet is for; 0 if there is none. */
static __noinline int find_port(const struct pkt *p, struct entry *e)
{
	struct port_key k = { .addr = p->dst, .port = p->dport, .proto = p->proto, .pad = 0 };
	struct port *port = bpf_map_lookup_elem(&ports, &k);

	if (!port) {
		k.addr = 0;
		port = bpf_map_lookup_elem(&ports, &k);
	}
	if (!port)
		return 0;
	e->svc = port->svc;
	e->target_port = port->target_port;
	e->port_flags = port->flags;
	return 1;
}

static __always_inline int client_allowed(const struct pkt *p, const struct entry *e)
{
	struct allow_key k = { .prefixlen = 64, .svc = e->svc, .addr = p->src };

	return !(e->port_flags & PORT_ALLOWLIST) || bpf_map_lookup_elem(&allow_src, &k);
}

/* Whether the task could not answer this client: it would look for it in its own overlay. */
static __noinline int client_is_inside(const struct mesh_target *t, __be32 client)
{
	int i;

	for (i = 0; i < SWN_MAX_SUBNETS; i++) {
		if (i >= t->nets)
			return 0;
		if (in_net(client, t->net[i].addr, t->net[i].mask))
			return 1;
	}
	return 0;
}

/* The client address a backend of this node can answer. */
static __noinline __be32 client_for(const struct ct_key *rev, __be32 client)
{
	struct mesh_key mk = {
		.gw_addr = rev->src, .port = rev->sport, .proto = rev->proto, .pad = 0,
	};
	struct mesh_target *t = bpf_map_lookup_elem(&mesh_local, &mk);

	return t && client_is_inside(t, client) ? bpf_htonl(SWN_STAND_IN) : client;
}

/* Takes the tuple a backend answers to and completes the forward entry; 0 or a drop reason. */
static __always_inline int entry_claim(const struct ct_key *k, struct ct_val *v, const struct be *b,
				  const struct entry *e, __u32 stream)
{
	struct conf *c = the_conf();
	struct ct_key rev = *k;
	int rc;

	if (!c)
		return DROP_HELPER_FAILED;
	rev.node = v->node;
	rev.src = b->addr;
	rev.sport = e->target_port;
	rev.dport = k->sport;
	rev.dir = v->node ? CT_ENTRY_REV : CT_BACK_REV;
	rev.dst = e->flags & CT_TO_TASK ? c->node_addr : k->src;
	if (!v->node)
		rev.dst = client_for(&rev, rev.dst);
	if (rev.dst != k->src) {
		v->flags |= CT_CLIENT_RW;
		rev.dport = bpf_htons(1024 + bpf_get_prandom_u32() % (65536 - 1024));
	}
	v->xaddr = k->dst;
	v->xport = k->dport;
	v->caddr = k->src;
	v->cport = k->sport;
	rc = ct_claim_client(&rev, v, stream);
	v->xaddr = rev.src;
	v->xport = rev.sport;
	v->caddr = rev.dst;
	v->cport = rev.dport;
	return rc;
}

/* Chooses a backend for a new client and makes both halves; returns 0 or a drop reason. */
CHECKED_ONCE int entry_create(const struct ct_key *k, const struct pkt *p, const struct entry *e)
{
	struct conf *c = the_conf();
	struct ct_val v = {};
	__u32 index, hash;
	struct svc *s;
	struct be *b;
	int rc;

	if (!k || !p || !e)
		return DROP_MALFORMED;
	index = e->svc;
	hash = mesh_hash(k, e->port_flags);
	s = bpf_map_lookup_elem(&svc, &index);
	if (!s || !c)
		return DROP_PORT_NO_BACKEND;
	if (e->port_flags & PORT_LOCAL_PREF)
		v.be = pick(read_range(&s->mgl), hash);
	if (!v.be)
		v.be = pick(read_range(&s->mg), hash);
	b = bpf_map_lookup_elem(&backends, &v.be);
	if (!b)
		return DROP_PORT_NO_BACKEND;
	if (!flow_allowed(c))
		return DROP_CT_FLOOD;
	v.svc = index;
	v.node = b->node;
	v.ifindex = e->ifindex;
	v.flags = e->flags | (b->node ? 0 : CT_LOCAL_ENTRY);
	__builtin_memcpy(v.mac, e->mac, 6);
	ct_start(&v, k->proto);
	rc = entry_claim(k, &v, b, e, p->proto == IPPROTO_TCP && !is_syn(p));
	if (rc)
		return rc;
	count_flow(index, 0);
	return bpf_map_update_elem(&ct, k, &v, BPF_ANY) ? DROP_CT_FULL : 0;
}

/* The router towards the client may change; both halves follow. */
CHECKED_ONCE int entry_learn(const struct ct_key *k, struct ct_val *v, const struct entry *e)
{
	struct ct_key other = {};
	struct ct_val *o;

	if (!k || !v || !e)
		return 0;
	if (same_mac(v->mac, e->mac) && v->ifindex == e->ifindex)
		return 0;
	__builtin_memcpy(v->mac, e->mac, 6);
	v->ifindex = e->ifindex;
	ct_pair(k, v, &other);
	o = bpf_map_lookup_elem(&ct, &other);
	if (o) {
		__builtin_memcpy(o->mac, e->mac, 6);
		o->ifindex = e->ifindex;
	}
	return 0;
}

/* Finds or makes the flow; fills what the packet becomes and where it goes. */
static __always_inline int entry_flow(const struct pkt *p, const struct entry *e, struct xlate *x,
				 struct hop *h)
{
	struct ct_val *v;
	struct ct_key k;
	struct be *b;
	int rc, use;
	__u32 id;

	ct_key_of(&k, p, VNI_HOST, 0, CT_ENTRY_FWD);
	v = bpf_map_lookup_elem(&ct, &k);
	use = v ? ct_usable(v, p) : RESELECT;
	if (use == RESET)
		return DROP_ENDPOINT_GONE;
	if (use == RESELECT) {
		if (p->err)
			return DROP_ICMP_BAD_INNER;
		if (v)
			ct_forget_pair(&k, v);
		rc = entry_create(&k, p, e);
		if (rc)
			return rc;
		v = bpf_map_lookup_elem(&ct, &k);
	}
	if (!v)
		return DROP_CT_FULL;
	id = v->be;
	b = bpf_map_lookup_elem(&backends, &id);
	if (!b)
		return DROP_PORT_NO_BACKEND;
	hop_of_be(h, b);
	if (!p->err)
		entry_learn(&k, v, e);
	ct_update(&k, v, p, 0);
	x->saddr = v->caddr;
	x->sport = v->cport;
	x->daddr = v->xaddr;
	x->dport = v->xport;
	return 0;
}

/* A client's packet to a published port. */
CHECKED_ONCE int mesh_entry(struct __sk_buff *skb, struct pkt *p, const struct entry *e)
{
	struct xlate x = {};
	struct hop h = {};
	int rc;

	if (!p || !e)
		DROP(DROP_MALFORMED);
	if (!p->err && !client_allowed(p, e))
		DROP(DROP_NOT_ALLOWED);
	if (p->ttl <= 1)
		DROP(DROP_TTL_EXPIRED);
	rc = entry_flow(p, e, &x, &h);
	if (rc == DROP_ICMP_BAD_INNER)
		return PASS_ON; /* about a connection of this host itself */
	if (rc == DROP_PORT_NO_BACKEND)
		count_flow(e->svc, 1);
	if (rc == DROP_PORT_NO_BACKEND || rc == DROP_ENDPOINT_GONE)
		return refuse(skb, p, rc, 1);
	if (rc)
		DROP(rc);
	count_svc(skb, e->svc);
	if (h.node) /* a client outside is not told: its packet arrives whole */
		tunnel_limit(skb, p, h.node, 0);
	rc = dec_ttl(skb, p);
	if (!rc)
		rc = apply(skb, p, &x);
	if (rc)
		DROP(rc);
	return to_hop(skb, &h, VNI_MESH_FWD);
}

/* A reply at the entry node: published address back in, then to the client. */
CHECKED_ONCE int mesh_reply(struct __sk_buff *skb, struct pkt *p, const struct ct_key *k,
			    struct ct_val *v)
{
	struct xlate x = {};
	struct hop client = {};
	__u32 flags;
	int rc;

	if (!p || !k || !v)
		DROP(DROP_MALFORMED);
	x.saddr = v->xaddr;
	x.sport = v->xport;
	x.daddr = v->caddr;
	x.dport = v->cport;
	flags = v->flags;
	client.ifindex = v->ifindex;
	__builtin_memcpy(client.mac, v->mac, 6);
	ct_update(k, v, p, 1);
	rc = dec_ttl(skb, p);
	if (!rc)
		rc = apply(skb, p, &x);
	if (rc)
		DROP(rc);
	if (flags & CT_TO_TASK)
		return to_peer(skb, client.ifindex, client.mac);
	if (flags & CT_TO_HOST)
		return to_host(skb, client.mac);
	if (k->dir == CT_BACK_REV)
		return to_client_neigh(client.ifindex);
	return to_client_fib(skb, &x, client.ifindex, &client);
}

/* A reply at the backend's node: the client as the entry node knows it, then back there. */
CHECKED_ONCE int mesh_return(struct __sk_buff *skb, struct pkt *p, const struct ct_key *k,
			     struct ct_val *v)
{
	__u32 entry_node, limit;
	struct xlate x = {};
	int rc;

	if (!p || !k || !v)
		DROP(DROP_MALFORMED);
	x.saddr = p->src;
	x.sport = p->sport;
	x.daddr = v->caddr;
	x.dport = v->cport;
	entry_node = v->node;
	limit = tunnel_limit(skb, p, entry_node, 1);
	if (limit)
		return refuse_too_big(skb, p, limit);
	ct_update(k, v, p, 1);
	rc = apply(skb, p, &x);
	if (rc)
		DROP(rc);
	return to_node(skb, entry_node, VNI_MESH_RET);
}

/* Makes both halves of a flow that arrived from an entry node; returns 0 or a drop reason. */
static __noinline int back_create(const struct ct_key *k, const struct pkt *p)
{
	struct ct_key rev = *k;
	struct ct_val v = {};
	int rc;

	rev.node = 0;
	rev.src = k->dst;
	rev.sport = k->dport;
	rev.dst = k->src;
	rev.dport = k->sport;
	rev.dir = CT_BACK_REV;
	rev.dst = client_for(&rev, k->src);
	if (rev.dst != k->src) {
		v.flags |= CT_CLIENT_RW;
		rev.dport = bpf_htons(1024 + bpf_get_prandom_u32() % (65536 - 1024));
	}
	v.node = k->node;
	v.caddr = k->src;
	v.cport = k->sport;
	ct_start(&v, k->proto);
	rc = ct_claim_client(&rev, &v, p->proto == IPPROTO_TCP && !is_syn(p));
	if (rc)
		return rc;
	v.xaddr = k->dst;
	v.xport = k->dport;
	v.caddr = rev.dst;
	v.cport = rev.dport;
	return bpf_map_update_elem(&ct, k, &v, BPF_ANY) ? DROP_CT_FULL : 0;
}

/* Finds or makes the flow of a packet from an entry node and fills what it becomes. */
static __noinline int back_flow(struct pkt *p, __u32 entry_node, struct xlate *x)
{
	struct ct_val *v;
	struct ct_key k;
	int rc;

	ct_key_of(&k, p, VNI_HOST, entry_node, CT_BACK_FWD);
	v = bpf_map_lookup_elem(&ct, &k);
	if (!v || (!p->err && (p->proto != IPPROTO_TCP || is_syn(p)) && ct_dead(v))) {
		if (p->err)
			return DROP_ICMP_BAD_INNER;
		rc = back_create(&k, p);
		if (rc)
			return rc;
		v = bpf_map_lookup_elem(&ct, &k);
	}
	if (!v)
		return DROP_CT_FULL;
	x->saddr = v->caddr;
	x->sport = v->cport;
	x->daddr = v->xaddr;
	x->dport = v->xport;
	ct_update(&k, v, p, 0);
	return 0;
}

#endif /* SWN_MESH_H */
