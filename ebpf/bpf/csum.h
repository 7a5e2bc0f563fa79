/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * csum.h: rewrites addresses, ports and TTL with checksum deltas, never by recomputation: task
 * packets carry only a partial sum, and the helpers know the difference.
 */
#ifndef SWN_CSUM_H
#define SWN_CSUM_H

#include "packet.h"

#define IP_CHECK 10
#define IP_SADDR 12
#define IP_DADDR 16

/* What a flow's packet shall become. */
struct xlate {
	__be32 saddr, daddr;
	__be16 sport, dport;
};

/* Offset of the L4 checksum in the frame, 0 if there is none to fix. */
static __always_inline __u32 l4_check(const struct pkt *p)
{
	if (p->frag == FRAG_LATER)
		return 0;
	if (p->proto == IPPROTO_TCP)
		return p->l4 + 16;
	if (p->proto == IPPROTO_UDP)
		return p->l4 + 6;
	return 0;
}

static __always_inline __u64 udp_flag(const struct pkt *p)
{
	return p->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

/* Sets the address at `field` of the IP header at `l3`. */
static __always_inline int set_addr(struct __sk_buff *skb, __u32 l3, __u32 field, __be32 from, __be32 to)
{
	if (from == to)
		return 0;
	if (bpf_l3_csum_replace(skb, l3 + IP_CHECK, from, to, 4))
		return DROP_HELPER_FAILED;
	if (bpf_skb_store_bytes(skb, l3 + field, &to, 4, 0))
		return DROP_HELPER_FAILED;
	return 0;
}

/* Sets an address of the packet and the pseudo-header sum. */
static __noinline int set_flow_addr(struct __sk_buff *skb, struct pkt *p, __u32 field, __be32 to)
{
	__be32 from = field == IP_SADDR ? p->src : p->dst;
	__u32 check = l4_check(p);

	if (from == to)
		return 0;
	if (check &&
	    bpf_l4_csum_replace(skb, check, from, to, BPF_F_PSEUDO_HDR | 4 | udp_flag(p)))
		return DROP_HELPER_FAILED;
	return set_addr(skb, L3, field, from, to);
}

/*
 * A datagram without a sum has nothing that balances a new port, so the sum of the whole packet
 * (CHECKSUM_COMPLETE) must follow.
 */
static __always_inline __u64 store_flag(struct __sk_buff *skb, const struct pkt *p, __u32 check)
{
	__u16 sum = 1;

	if (p->proto == IPPROTO_UDP)
		bpf_skb_load_bytes(skb, check, &sum, 2);
	return sum ? 0 : BPF_F_RECOMPUTE_CSUM;
}

/* Sets the port at `field` (0 source, 2 destination). */
static __noinline int set_flow_port(struct __sk_buff *skb, struct pkt *p, __u32 field, __be16 to)
{
	__be16 from = field ? p->dport : p->sport;
	__u32 check = l4_check(p);

	if (from == to || p->frag == FRAG_LATER)
		return 0;
	if (!check) /* SCTP: its checksum covers the ports */
		return DROP_CT_INVALID;
	if (bpf_l4_csum_replace(skb, check, from, to, 2 | udp_flag(p)))
		return DROP_HELPER_FAILED;
	if (bpf_skb_store_bytes(skb, p->l4 + field, &to, 2, store_flag(skb, p, check)))
		return DROP_HELPER_FAILED;
	return 0;
}

/* Sets a port of the packet an ICMP error quotes; the ICMP sum covers it. */
static __noinline int set_quoted_port(struct __sk_buff *skb, struct pkt *p, __u32 field,
				      __be16 from, __be16 to)
{
	if (from == to || (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP))
		return 0;
	if (bpf_l4_csum_replace(skb, p->l4 + 2, from, to, 2))
		return DROP_HELPER_FAILED;
	if (bpf_skb_store_bytes(skb, p->in4 + field, &to, 2, 0))
		return DROP_HELPER_FAILED;
	return 0;
}

/*
 * Rewrites an ICMP error: the quoted packet is the flow reversed, so its destination follows the
 * flow's source. Changing a quoted address and its IP checksum together leaves the ICMP sum as it
 * is. A quoted L4 checksum is left alone: it need not be there.
 */
static __noinline int apply_quoted(struct __sk_buff *skb, struct pkt *p, const struct xlate *x)
{
	int rc;

	rc = set_addr(skb, p->in3, IP_DADDR, p->src, x->saddr);
	if (!rc)
		rc = set_addr(skb, p->in3, IP_SADDR, p->dst, x->daddr);
	if (!rc)
		rc = set_quoted_port(skb, p, 2, p->sport, x->sport);
	if (!rc)
		rc = set_quoted_port(skb, p, 0, p->dport, x->dport);
	if (!rc && p->osrc == p->src) /* otherwise a router reports: it keeps its address */
		rc = set_addr(skb, L3, IP_SADDR, p->osrc, x->saddr);
	if (!rc)
		rc = set_addr(skb, L3, IP_DADDR, p->odst, x->daddr);
	return rc;
}

/* Rewrites the packet; returns 0 or a drop reason. */
CHECKED_ONCE int apply(struct __sk_buff *skb, struct pkt *p, const struct xlate *x)
{
	int rc;

	if (!p || !x)
		return DROP_MALFORMED;

	if (p->err)
		return apply_quoted(skb, p, x);
	rc = set_flow_addr(skb, p, IP_SADDR, x->saddr);
	if (!rc)
		rc = set_flow_addr(skb, p, IP_DADDR, x->daddr);
	if (!rc)
		rc = set_flow_port(skb, p, 0, x->sport);
	if (!rc)
		rc = set_flow_port(skb, p, 2, x->dport);
	return rc;
}

/* TTL and protocol share one 16-bit word of the header. */
CHECKED_ONCE int dec_ttl(struct __sk_buff *skb, struct pkt *p)
{
	__u8 proto = 0, ttl;

	if (!p || p->ttl <= 1)
		return DROP_TTL_EXPIRED;
	ttl = p->ttl - 1;
	if (bpf_skb_load_bytes(skb, L3 + 9, &proto, 1))
		return DROP_MALFORMED;
	if (bpf_l3_csum_replace(skb, L3 + IP_CHECK, bpf_htons(p->ttl << 8 | proto),
				bpf_htons(ttl << 8 | proto), 2))
		return DROP_HELPER_FAILED;
	if (bpf_skb_store_bytes(skb, L3 + 8, &ttl, 1, 0))
		return DROP_HELPER_FAILED;
	p->ttl = ttl;
	return 0;
}

#endif /* SWN_CSUM_H */
