/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* icmp.h: packets we make ourselves: a TCP reset, "port unreachable" or "too big" to the sender. */
#ifndef SWN_ICMP_H
#define SWN_ICMP_H

#include "deliver.h"

#define QUOTE_MIN 28 /* IP header and 8 bytes, what an ICMP error quotes */
#define QUOTE_MAX 68 /* with as many IP options as there can be */

enum { UNREACH_PORT = 3, UNREACH_FRAG_NEEDED = 4 };

struct rst_packet {
	struct iphdr ip;
	struct tcphdr tcp;
};

struct unreach_packet {
	struct iphdr ip;
	struct icmp icmp;
	__u8 quote[QUOTE_MAX];
};

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* An IP header from `src` to `dst`, checksum included. */
static __always_inline void make_ip(struct iphdr *ip, const struct pkt *p, __u8 proto, __u16 len)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = proto;
	ip->tot_len = bpf_htons(len);
	ip->frag_off = bpf_htons(0x4000);
	ip->saddr = p->odst;
	ip->daddr = p->osrc;
	ip->check = ~fold(bpf_csum_diff(0, 0, (__be32 *)ip, sizeof(*ip), 0));
}

/*
 * Whether the frame's L4 sum is still to be finished by a NIC (CHECKSUM_PARTIAL). The kernel
 * applies a delta without pseudo-header flag only to complete sums.
 */
static __noinline int is_partial(struct __sk_buff *skb, __u32 check)
{
	__u16 before = 0, after = 0;

	bpf_skb_load_bytes(skb, check, &before, 2);
	bpf_l4_csum_replace(skb, check, 0, bpf_htons(1), 2);
	bpf_skb_load_bytes(skb, check, &after, 2);
	if (before == after)
		return 1;
	bpf_skb_store_bytes(skb, check, &before, 2, 0);
	return 0;
}

/* Sum of the pseudo-header of a reset. */
static __always_inline __u64 pseudo_sum(const struct iphdr *ip)
{
	__u64 sum = (ip->saddr & 0xffff) + (ip->saddr >> 16);

	sum += (ip->daddr & 0xffff) + (ip->daddr >> 16);
	return sum + bpf_htons(IPPROTO_TCP) + bpf_htons(sizeof(struct tcphdr));
}

/* Puts a packet of ours in the place of the one received. */
static __always_inline int replace_packet(struct __sk_buff *skb, const void *packet, __u32 len)
{
	if (bpf_skb_change_tail(skb, L3 + len, 0) ||
	    bpf_skb_store_bytes(skb, L3, packet, len, BPF_F_RECOMPUTE_CSUM))
		return DROP_HELPER_FAILED;
	return 0;
}

/* Writes the reset that a closed port would send (RFC 9293, 3.10.7.1). */
static __noinline int make_rst(struct __sk_buff *skb, struct pkt *p)
{
	struct rst_packet r;
	struct tcphdr t;
	__u32 used, partial;

	if (bpf_skb_load_bytes(skb, p->l4, &t, sizeof(t)))
		return DROP_MALFORMED;
	partial = is_partial(skb, p->l4 + 16);
	make_ip(&r.ip, p, IPPROTO_TCP, sizeof(r));
	__builtin_memset(&r.tcp, 0, sizeof(r.tcp));
	r.tcp.source = t.dest;
	r.tcp.dest = t.source;
	r.tcp.doff = 5;
	r.tcp.rst = 1;
	if (t.ack) {
		r.tcp.seq = t.ack_seq;
	} else {
		used = p->len - (p->l4 - L3) - t.doff * 4 + t.syn + t.fin;
		r.tcp.ack = 1;
		r.tcp.ack_seq = bpf_htonl(bpf_ntohl(t.seq) + used);
	}
	if (partial)
		r.tcp.check = fold(pseudo_sum(&r.ip));
	else
		r.tcp.check = ~fold(bpf_csum_diff(0, 0, (__be32 *)&r.tcp, sizeof(r.tcp), 0) +
				    pseudo_sum(&r.ip));
	return replace_packet(skb, &r, sizeof(r));
}

/* Writes ICMP destination unreachable about the packet. */
static __noinline int make_unreach(struct __sk_buff *skb, struct pkt *p, __u8 code, __u16 mtu)
{
	__u32 quote = p->ihl * 4 + 8;
	struct unreach_packet u;

	__builtin_memset(&u, 0, sizeof(u));
	if (quote < QUOTE_MIN || quote > QUOTE_MAX || bpf_skb_load_bytes(skb, L3, u.quote, quote))
		return DROP_MALFORMED;
	make_ip(&u.ip, p, IPPROTO_ICMP, sizeof(u) - QUOTE_MAX + quote);
	u.icmp.type = ICMP_UNREACH;
	u.icmp.code = code;
	u.icmp.seq = bpf_htons(mtu);
	/* the unused end of the quote is zero and does not count */
	u.icmp.check = ~fold(
		bpf_csum_diff(0, 0, (__be32 *)&u.icmp, sizeof(u) - sizeof(u.ip), 0));
	return replace_packet(skb, &u, sizeof(u) - QUOTE_MAX + quote);
}

/* Whether an answer of ours may be made: never about ICMP errors, RST, later fragments, multicast. */
static __always_inline int may_answer(const struct pkt *p)
{
	return !p->err && p->frag != FRAG_LATER && !(p->tcp & TCP_RST) &&
	       !is_mcast_bcast(p->odst) && reply_allowed();
}

/*
 * Tells the sender why its packet does not arrive, and counts it under `reason`. With `mtu`: how
 * long it may be (RFC 1191). With `reset`: TCP gets RST. Else: ICMP port unreachable.
 */
CHECKED_ONCE int answer(struct __sk_buff *skb, struct pkt *p, __u32 reason, __u32 reset, __u32 mtu)
{
	struct ether eth;
	int rc;

	if (!p || !may_answer(p) || load_ether(skb, &eth))
		DROP(reason);
	count_drop(skb, reason);
	if (mtu)
		rc = make_unreach(skb, p, UNREACH_FRAG_NEEDED, mtu);
	else if (reset && p->proto == IPPROTO_TCP)
		rc = make_rst(skb, p);
	else
		rc = make_unreach(skb, p, UNREACH_PORT, 0);
	if (rc)
		DROP(rc);
	return send_back(skb, eth.src, eth.dst);
}

/* Nobody answers, and the sender learns it at once. */
static __always_inline int refuse(struct __sk_buff *skb, struct pkt *p, __u32 reason, __u32 reset)
{
	return answer(skb, p, reason, reset, 0);
}

static __always_inline int refuse_too_big(struct __sk_buff *skb, struct pkt *p, __u32 mtu)
{
	return answer(skb, p, DROP_TOO_BIG, 0, mtu);
}

#endif /* SWN_ICMP_H */
