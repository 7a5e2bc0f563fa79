/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* icmp.h: packets we make ourselves: a TCP reset or "port unreachable" to the sender. */
#ifndef SWN_ICMP_H
#define SWN_ICMP_H

#include "deliver.h"

#define QUOTE 28 /* IP header and 8 bytes, what an ICMP error quotes */

struct rst_packet {
	struct iphdr ip;
	struct tcphdr tcp;
};

struct unreach_packet {
	struct iphdr ip;
	struct icmp icmp;
	__u8 quote[QUOTE];
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
	return before == after;
}

/* Sum of the pseudo-header of a reset. */
static __always_inline __u64 pseudo_sum(const struct iphdr *ip)
{
	__u64 sum = (ip->saddr & 0xffff) + (ip->saddr >> 16);

	sum += (ip->daddr & 0xffff) + (ip->daddr >> 16);
	return sum + bpf_htons(IPPROTO_TCP) + bpf_htons(sizeof(struct tcphdr));
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
	if (bpf_skb_change_tail(skb, L3 + sizeof(r), 0) ||
	    bpf_skb_store_bytes(skb, L3, &r, sizeof(r), 0))
		return DROP_HELPER_FAILED;
	return 0;
}

/* Writes ICMP port unreachable about the packet. */
static __noinline int make_unreach(struct __sk_buff *skb, struct pkt *p)
{
	struct unreach_packet u;

	if (p->ihl != 5) /* what we quote would not end at the options */
		return DROP_MALFORMED;
	if (bpf_skb_load_bytes(skb, L3, u.quote, QUOTE))
		return DROP_MALFORMED;
	make_ip(&u.ip, p, IPPROTO_ICMP, sizeof(u));
	__builtin_memset(&u.icmp, 0, sizeof(u.icmp));
	u.icmp.type = ICMP_UNREACH;
	u.icmp.code = 3;
	u.icmp.check = ~fold(
		bpf_csum_diff(0, 0, (__be32 *)&u.icmp, sizeof(u) - sizeof(u.ip), 0));
	if (bpf_skb_change_tail(skb, L3 + sizeof(u), 0) ||
	    bpf_skb_store_bytes(skb, L3, &u, sizeof(u), 0))
		return DROP_HELPER_FAILED;
	return 0;
}

/*
 * Tells the sender at once that nobody answers, and counts the packet under `reason`. `reset`:
 * TCP gets RST; everything else gets ICMP port unreachable. Never about ICMP errors, RST, later
 * fragments or multicast.
 */
CHECKED_ONCE int refuse(struct __sk_buff *skb, struct pkt *p, __u32 reason, __u32 reset)
{
	struct ether eth;
	int rc;

	if (!p || p->err || p->frag == FRAG_LATER || (p->tcp & TCP_RST) || is_mcast_bcast(p->odst) ||
	    !reply_allowed() || load_ether(skb, &eth))
		DROP(reason);
	count_drop(skb, reason);
	rc = reset && p->proto == IPPROTO_TCP ? make_rst(skb, p) : make_unreach(skb, p);
	if (rc)
		DROP(rc);
	return send_back(skb, eth.src, eth.dst);
}

#endif /* SWN_ICMP_H */
