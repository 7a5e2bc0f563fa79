/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * packet.h: what a frame is. All packet access goes through helpers with offsets, never through
 * packet pointers: IP options, non-linear frames and rewrites need no further care.
 */
#ifndef SWN_PACKET_H
#define SWN_PACKET_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

/*
 * CHECKED_ONCE: a function the verifier checks once instead of once per path that leads to it. Its pointers may
 * be null as far as the verifier knows, so each such function asks. They all return a number: in a static
 * function without result clang may leave a stack pointer in r0, which is refused.
 */
#define CHECKED_ONCE __attribute__((noinline))

#define L3 ETH_HLEN
/* Not ours: programs of other tools behind us see it too (TC_ACT_OK would end their chain). */
#define PASS_ON TC_ACT_UNSPEC
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define PKT_HOST 0

enum { FRAG_NONE, FRAG_FIRST, FRAG_LATER };
enum { ICMP_ECHOREPLY = 0, ICMP_UNREACH = 3, ICMP_ECHO = 8, ICMP_TIME_EXCEEDED = 11, ICMP_PARAM = 12 };

struct ether {
	__u8 dst[6];
	__u8 src[6];
	__be16 proto;
};

struct icmp {
	__u8 type;
	__u8 code;
	__u16 check;
	__be16 id;
	__be16 seq;
};

/*
 * A parsed IPv4 packet. src..dport is the flow the packet belongs to: for an ICMP error that is
 * the quoted packet's tuple reversed, so that every table is asked the same way.
 */
struct pkt {
	__be32 src, dst;     /* of the flow */
	__be32 osrc, odst;   /* of the packet itself */
	__be16 sport, dport; /* ICMP echo: the identifier in both */
	__be16 id;
	__u16 l4;            /* offset of the L4 header in the frame */
	__u16 len;           /* IP total length */
	__u16 in3, in4;      /* ICMP error: offsets of the quoted headers */
	__u8 proto;          /* of the flow */
	__u8 tcp;            /* TCP flags */
	__u8 err;            /* ICMP error */
	__u8 frag;
	__u8 ttl;
	__u8 ihl;
	__u8 df;             /* must not be fragmented */
};

static const __u8 vmac[6] = { 0x02, 0x73, 0x77, 0x6e, 0x00, 0x01 };

static __always_inline struct conf *the_conf(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&conf, &zero);
}

static __always_inline struct test_in *the_test(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&test_in, &zero);
}

/* Where test builds record what happened to the frame. */
static __always_inline struct test_out *the_note(void)
{
	__u32 zero = 0;

	return swn_test ? bpf_map_lookup_elem(&test_out, &zero) : 0;
}

/* The device the frame came from. */
static __always_inline __u32 in_dev(struct __sk_buff *skb)
{
	if (swn_test) {
		struct test_in *t = the_test();

		return t ? t->ifindex : 0;
	}
	return skb->ifindex;
}

/* First statements of every tc program: what earlier programs left behind is not ours. */
static __always_inline void start(struct __sk_buff *skb)
{
	skb->cb[0] = 0;
	skb->cb[1] = 0;
	skb->cb[2] = 0;
	skb->cb[3] = 0;
	skb->cb[4] = 0;
	skb->tc_classid = 0;
}

static __always_inline int load_ether(struct __sk_buff *skb, struct ether *eth)
{
	return bpf_skb_load_bytes(skb, 0, eth, sizeof(*eth));
}

static __always_inline int is_vlan(struct __sk_buff *skb, const struct ether *eth)
{
	return skb->vlan_present || eth->proto == bpf_htons(ETH_P_8021Q) ||
	       eth->proto == bpf_htons(ETH_P_8021AD);
}

static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	/* clang 14 makes a call of memcmp, which BPF has not */
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) |
		 (a[5] ^ b[5]));
}

/* Fills addresses, lengths and fragment state from the header at `off`. */
static __noinline int parse_ip(struct __sk_buff *skb, __u32 off, struct pkt *p)
{
	struct iphdr ip;
	__u16 frag;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return DROP_MALFORMED;
	if (ip.version != 4 || ip.ihl < 5)
		return DROP_MALFORMED;
	frag = bpf_ntohs(ip.frag_off);
	p->frag = frag & 0x1fff ? FRAG_LATER : frag & 0x2000 ? FRAG_FIRST : FRAG_NONE;
	p->df = !!(frag & 0x4000);
	p->src = ip.saddr;
	p->dst = ip.daddr;
	p->id = ip.id;
	p->ihl = ip.ihl;
	p->ttl = ip.ttl;
	p->proto = ip.protocol;
	p->len = bpf_ntohs(ip.tot_len);
	p->l4 = off + ip.ihl * 4;
	p->sport = 0;
	p->dport = 0;
	p->tcp = 0;
	return 0;
}

enum { NO_ICMP = -1, CUT_OFF = -2 };

/* Fills ports and TCP flags; returns the ICMP type, NO_ICMP, or CUT_OFF if they are not there. */
static __noinline int parse_ports(struct __sk_buff *skb, struct pkt *p)
{
	struct icmp icmp;
	__be16 ports[2];

	if (p->frag == FRAG_LATER)
		return NO_ICMP;
	if (p->proto == IPPROTO_ICMP) {
		if (bpf_skb_load_bytes(skb, p->l4, &icmp, sizeof(icmp)))
			return CUT_OFF;
		if (icmp.type == ICMP_ECHO || icmp.type == ICMP_ECHOREPLY) {
			p->sport = icmp.id;
			p->dport = icmp.id;
		}
		return icmp.type;
	}
	if (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP && p->proto != IPPROTO_SCTP)
		return NO_ICMP;
	if (bpf_skb_load_bytes(skb, p->l4, ports, sizeof(ports)))
		return CUT_OFF;
	p->sport = ports[0];
	p->dport = ports[1];
	if (p->proto == IPPROTO_TCP)
		bpf_skb_load_bytes(skb, p->l4 + 13, &p->tcp, 1);
	return NO_ICMP;
}

static __always_inline int is_icmp_error(int type)
{
	return type == ICMP_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAM;
}

/* Replaces the flow by the tuple that the ICMP error quotes, reversed. */
static __noinline int parse_quoted(struct __sk_buff *skb, struct pkt *p)
{
	struct pkt in = {};
	int type;

	if (parse_ip(skb, p->l4 + sizeof(struct icmp), &in))
		return DROP_ICMP_BAD_INNER;
	type = parse_ports(skb, &in);
	if (type == CUT_OFF || is_icmp_error(type) || in.frag == FRAG_LATER)
		return DROP_ICMP_BAD_INNER;
	p->err = 1;
	p->in3 = p->l4 + sizeof(struct icmp);
	p->in4 = in.l4;
	p->src = in.dst;
	p->dst = in.src;
	p->sport = in.dport;
	p->dport = in.sport;
	p->proto = in.proto;
	return 0;
}

/* Bytes of an L4 header that every packet but a later fragment has. */
static __always_inline __u32 l4_head(__u8 proto)
{
	if (proto == IPPROTO_TCP)
		return 20;
	if (proto == IPPROTO_SCTP)
		return 12;
	return proto == IPPROTO_UDP || proto == IPPROTO_ICMP ? 8 : 0;
}

/*
 * Whether the lengths fit the frame and each other. A first fragment that is too short for its L4
 * header exists only to deceive filters. Segments of more than 64 KB have a length of 0.
 */
static __always_inline int is_whole(struct __sk_buff *skb, struct pkt *p)
{
	__u32 need = p->ihl * 4;

	if (!p->len && skb->gso_size)
		p->len = 0xffff;
	else if (L3 + p->len > skb->len)
		return 0;
	if (p->frag != FRAG_LATER)
		need += l4_head(p->proto);
	return p->len >= need;
}

/* Parses the packet; returns 0 or a drop reason. */
CHECKED_ONCE int parse(struct __sk_buff *skb, struct pkt *p)
{
	int rc, type;

	if (!p)
		return DROP_MALFORMED;

	rc = parse_ip(skb, L3, p);
	if (rc)
		return rc;
	p->osrc = p->src;
	p->odst = p->dst;
	p->err = 0;
	if (!is_whole(skb, p))
		return DROP_MALFORMED;
	type = parse_ports(skb, p);
	if (p->proto == IPPROTO_ICMP && is_icmp_error(type))
		return parse_quoted(skb, p);
	return 0;
}

static __always_inline int is_syn(const struct pkt *p)
{
	return p->proto == IPPROTO_TCP && !p->err && (p->tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline __u32 now_s(void)
{
	return bpf_ktime_get_coarse_ns() / 1000000000ull;
}

#endif /* SWN_PACKET_H */
