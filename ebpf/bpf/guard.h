/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* guard.h: drops with a reason, rate limits, and who may send what. */
#ifndef SWN_GUARD_H
#define SWN_GUARD_H

#include "packet.h"

#define MAX_REPLIES 1000 /* generated RST and ICMP packets per second and CPU */

#define MAX_PROBES 5000 /* frames of the connectivity test sent back per second and CPU */

/* The only way to drop. */
#define DROP(reason) return drop(skb, reason)

static __always_inline int sample(struct __sk_buff *skb, __u32 reason)
{
	struct conf *c = the_conf();
	struct event *e;
	struct pkt p = {};

	if (!c || !c->trace || bpf_get_prandom_u32() % c->trace)
		return 0;
	if (!parse_ip(skb, L3, &p))
		parse_ports(skb, &p);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->time_ns = bpf_ktime_get_ns();
	e->reason = reason;
	e->ifindex = in_dev(skb);
	e->src = p.src;
	e->dst = p.dst;
	e->sport = p.sport;
	e->dport = p.dport;
	e->proto = p.proto;
	e->len = skb->len;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

CHECKED_ONCE int count_drop(struct __sk_buff *skb, __u32 reason)
{
	struct counter *c = bpf_map_lookup_elem(&drops, &reason);

	struct test_out *t = the_note();

	if (c) {
		c->packets += 1;
		c->bytes += skb->len;
	}
	if (t)
		t->reasons |= 1ull << (reason & 63);
	sample(skb, reason);
	return 0;
}

static __always_inline int drop(struct __sk_buff *skb, __u32 reason)
{
	count_drop(skb, reason);
	return TC_ACT_SHOT;
}

static __always_inline struct budget *this_second(void)
{
	__u32 zero = 0, now = now_s();
	struct budget *b = bpf_map_lookup_elem(&budget, &zero);

	if (b && b->second != now) {
		b->second = now;
		b->flows = 0;
		b->replies = 0;
		b->probes = 0;
	}
	return b;
}

/* Whether one more flow may be created this second. */
static __noinline int flow_allowed(const struct conf *c)
{
	struct budget *b = this_second();

	if (!b || !c->flow_budget)
		return 1;
	b->flows += 1;
	return b->flows <= c->flow_budget;
}

/* Whether one more RST or ICMP packet may be generated this second. */
static __noinline int reply_allowed(void)
{
	struct budget *b = this_second();

	if (!b)
		return 0;
	b->replies += 1;
	return b->replies <= MAX_REPLIES;
}

/* Whether one more frame of the connectivity test may be sent back this second. */
static __noinline int probe_allowed(void)
{
	struct budget *b = this_second();

	if (!b)
		return 0;
	b->probes += 1;
	return b->probes <= MAX_PROBES;
}

static __always_inline int in_net(__be32 addr, __be32 net, __be32 mask)
{
	return (addr & mask) == net;
}

static __always_inline int is_mcast_bcast(__be32 addr)
{
	return (addr & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || addr == 0xffffffff;
}

static __always_inline int is_loopback(__be32 addr)
{
	return (addr & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

static __always_inline int in_gw_pool(const struct conf *c, __be32 addr)
{
	return c->gw_mask && in_net(addr, c->gw_pool, c->gw_mask);
}

/* A task as the resolver sees it. */
static __always_inline int is_asker(__be32 addr)
{
	return in_net(addr, bpf_htonl(SWN_ASKERS), bpf_htonl(SWN_ASKERS_MASK));
}

/* Addresses only this host may use; 169.254.169.254 (cloud metadata) is not among them. */
static __always_inline int is_ours(__be32 addr)
{
	return in_net(addr, bpf_htonl(SWN_MESH_SELF & 0xffffff00), bpf_htonl(0xffffff00)) ||
	       addr == bpf_htonl(SWN_RESOLVER) || addr == bpf_htonl(SWN_NEXT_HOP) ||
	       is_asker(addr);
}

/* Clients another node may present to us. */
static __always_inline int is_client(const struct conf *c, __be32 addr)
{
	return addr && !is_loopback(addr) && !is_mcast_bcast(addr) && !in_gw_pool(c, addr);
}

/*
 * A task can only complain about packets it was sent. Flows are found by the quoted packet: a task that quotes
 * somebody else's would speak for that task.
 */
static __always_inline int quotes_foreign(const struct pkt *p, __be32 own)
{
	return p->err && p->src != own;
}

#endif /* SWN_GUARD_H */
